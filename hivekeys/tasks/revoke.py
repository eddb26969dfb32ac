"""`fab revoke`: replaces a token that leaked, on every host that answers."""

import functools
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import FleetOptions, host_names
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.pace import amount, batch_of
from hivekeys.tasks.options.turning import ForceOptions, WithoutOption
from hivekeys.tasks.options.verb import leave, verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from hivekeys.fleet import Fleet, Host
    from hivekeys.journal.run import Run
    from hivekeys.rotation.crew import Crew
    from hivekeys.rotation.preview import Foreseen
    from hivekeys.tasks.work.request import Request
    from hivekeys.token import Fingerprint


@dataclass(frozen=True, kw_only=True)
class RevokeOptions(WithoutOption, ForceOptions):
    """Which tokens are revoked, and how hard it is tried."""

    reason: str = option("what happened, for the record and the report; required")
    batch: str = option(
        "how many hives turn together: a number, a share, or by groups, as `fab rotate` has it (default: all at once)"
    )
    attempts: str = option("how often a host that fails is tried (default 3)")
    take_over: bool = option("end the session of another run that has a host's lock, such as a thief's", default=False)
    token_file: str = option(
        "revoke the token in this file too (- is stdin): one that leaked, wherever it may still be accepted"
    )
    all_known: bool = option(
        "revoke every token that the journal knows, not only those of the last runs", default=False
    )


@verb
def revoke(
    scope: FleetOptions, own: RevokeOptions, change: ChangeOptions, output: OutputOptions, notify: NotifyOptions
) -> None:
    """A token leaked: bring a new one to every host that answers, now, and prove that the old one is refused."""
    from hivekeys.bastion import secrets_given
    from hivekeys.bastion.after_run import backup_after_run
    from hivekeys.bastion.earlier import tokens_to_revoke
    from hivekeys.bastion.excluding import split_excluded
    from hivekeys.journal.run import REVOKE
    from hivekeys.rotation.drive import Drive, paced
    from hivekeys.rotation.moves import REVOCATION
    from hivekeys.tasks.terminal.live import Show
    from hivekeys.tasks.work.request import Request
    from hivekeys.tasks.work.run import runner_of

    fleet = scope.load()
    fleet = paced(fleet, batch_of(fleet, own.batch) if own.batch else None)
    hosts, excluded = split_excluded(
        fleet, fleet.hosts, host_names(fleet, own.without), scope.state_dir, in_emergency=Show.warn
    )
    attempts = REVOCATION.attempts
    if own.attempts:
        attempts = amount("--attempts", own.attempts, 1, percent=False, of="attempts").value
    if not own.reason.strip() and not change.dry_run:
        raise UserError("a revocation needs its reason", hint='fab revoke --reason "what happened"')
    leaked = secrets_given.leaked_token(own.token_file) if own.token_file else None
    if not (change.yes or change.dry_run):
        _confirm(fleet, hosts, excluded, scope.state_dir, from_stdin=own.token_file == "-")  # noqa: S105  a dash
    request = Request(
        reason=own.reason,
        output=output,
        on_finish=notify.command,
        log=notify.log,
        task=REVOKE,
        state_dir=scope.state_dir,
        fence=own.fence,
        take_over=own.take_over,
        excluded=excluded,
    )

    tokens_of = functools.partial(tokens_to_revoke, leaked=leaked, state_dir=scope.state_dir, all_known=own.all_known)
    if change.dry_run:
        _foresee(fleet, hosts, request, tokens_of)
        return
    with runner_of(fleet, hosts, request) as (runner, show):
        plan = replace(REVOCATION, attempts=attempts, census=True, leaked=frozenset(tokens_of(runner)))
        code = Drive(runner, replace(plan, ends_survivors=own.end_survivors)).go()
        show.result(runner.run, fleet, code, backup_after_run(fleet, runner, code, scope.state_dir))
    leave(code)


def _foresee(
    fleet: "Fleet", hosts: "tuple[Host, ...]", request: "Request", tokens_of: "Callable[[Crew], set[Fingerprint]]"
) -> None:
    """What the revocation would do to every host that answers, and which tokens it would revoke."""
    from hivekeys.fleet import services_of
    from hivekeys.rotation.preview import foreseen
    from hivekeys.tasks.work import foreseeing

    def would(run: "Run") -> "list[Foreseen]":
        return foreseen([run.hosts[host.name] for host in hosts], None, services=services_of(hosts))

    def lines(runner: "Crew") -> list[str]:
        held = {token for one in runner.controllers for token in (*one.held, *one.loaded_token)}
        tokens = ", ".join(sorted(f"token:{token}" for token in held | tokens_of(runner)))
        before = _lines_before(fleet, hosts, request.state_dir)
        fence = ["a host that cannot be turned: its service would be stopped"] if request.fence else []
        return [*before, f"would be revoked: {tokens or 'nothing that is known'}; there is no way back", *fence]

    foreseeing.preview(fleet, hosts, request, f"fleet {fleet.name}: what a revocation would do", would, lines)


def _confirm(
    fleet: "Fleet", hosts: "tuple[Host, ...]", excluded: tuple[str, ...], state_dir: str, *, from_stdin: bool
) -> None:
    """Asks on the terminal, before any host is contacted: what leaked cannot wait for a look."""
    from hivekeys.tasks.terminal.live import Show
    from hivekeys.text.names import fold_names

    if from_stdin or not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for confirmation on", hint="add --yes")
    cut = f", without {fold_names(excluded)}" if excluded else ""
    question = f"Revoke the token of fleet {fleet.name} on {len(hosts)} hosts{cut}? There is no way back. [y/N] "
    if not Show().agrees("\n".join([*_lines_before(fleet, hosts, state_dir), question])):
        raise UserError("not confirmed: nothing was changed")


def _lines_before(fleet: "Fleet", hosts: "tuple[Host, ...]", state_dir: str) -> list[str]:
    """What it restarts, for how long, and what ends with it; no host has been looked at yet."""
    from hivekeys.journal.run import REVOKE, Run
    from hivekeys.rotation import waves
    from hivekeys.rotation.question import before_run
    from hivekeys.tasks.terminal.asking import paces

    order = waves.plan(hosts, fleet.policy)
    return before_run(fleet, order, paces(fleet.name, state_dir, REVOKE), Run(task=REVOKE))
