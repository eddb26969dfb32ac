"""`fab revoke`: replaces a token that leaked, on every host that answers."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.engine import Asked, runner_of
from tasks.options import foreseeing, secrets_given
from tasks.options.after_run import kept
from tasks.options.excluding import WITHOUT, left
from tasks.options.frame import CHANGES_HELP, FLEET_HELP, NOTICE_HELP, TOLD_HELP, chosen, finish, told, verb
from tasks.options.pace import END_SURVIVORS, FENCE, amount

if TYPE_CHECKING:
    from collections.abc import Callable

    from hivekeys.fleet import Fleet, Host
    from hivekeys.journal.run import Run
    from hivekeys.rotation.crew import Crew
    from hivekeys.rotation.preview import Foreseen
    from hivekeys.token import Fingerprint

HELP = {
    "fleet": FLEET_HELP["fleet"],
    "reason": "what happened, for the record and the report; required",
    "without": WITHOUT,
    "batch": "how many hives turn together: a number or a percentage (default: all at once)",
    "attempts": "how often a host that fails is tried (default 3)",
    "take-over": "end the session of whoever else has a host's lock, such as a thief's",
    "token-file": "condemn the token in this file too (- is stdin): one that leaked, wherever it may still be accepted",
    "all-known": "condemn every token that the journal knows, not only those of the last runs",
    "fence": FENCE,
    "end-survivors": END_SURVIVORS,
    "state-dir": FLEET_HELP["state-dir"],
    **CHANGES_HELP,
    "json": FLEET_HELP["json"],
    **TOLD_HELP,
    **NOTICE_HELP,
}


@task(help=HELP, auto_shortflags=False)
@verb
def revoke(
    _: Context,
    fleet: str = "",
    reason: str = "",
    without: str = "",
    batch: str = "",
    attempts: str = "",
    take_over: bool = False,
    token_file: str = "",
    all_known: bool = False,
    fence: bool = False,
    end_survivors: bool = False,
    state_dir: str = "",
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
    quiet: bool = False,
    events: bool = False,
    on_finish: str = "",
) -> None:
    """A token leaked: bring a new one to every host that answers, now, and prove that the old one is refused."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import superseded_tokens
    from hivekeys.journal.run import REVOKE
    from hivekeys.rotation.course import REVOCATION
    from hivekeys.rotation.drive import RECENT, Drive, paced

    how = told(json, quiet, events, on_finish)
    found, hosts = chosen(fleet, "", "")
    found = paced(found, amount("--batch", batch, 1) if batch else None)
    hosts, out = left(found, hosts, without, state_dir, in_emergency=True)
    tries = amount("--attempts", attempts, 1, percent=False, of="attempts").value if attempts else REVOCATION.attempts
    if not reason.strip() and not dry_run:
        raise UserError("a revocation needs its reason", hint='fab revoke --reason "what happened"')
    leaked = secrets_given.leaked_token(token_file) if token_file else None
    if not (yes or dry_run) and (token_file == "-" or not sys.stdin.isatty()):  # noqa: S105  a dash, not a secret
        raise UserError("there is no terminal to ask for confirmation on", hint="add --yes")
    if not (yes or dry_run):
        _confirm(found, hosts, out, state_dir)
    asked = Asked(reason, how, REVOKE, state_dir=state_dir, fence=fence, take_over=take_over, excluded=out)

    def condemned_by(runner: "Crew") -> "set[Fingerprint]":
        known = runner.history.tokens
        condemned = {*(known if all_known else known[:RECENT]), *([runner.vouch(leaked)] if leaked else [])}
        return condemned | superseded_tokens(state_folder.folder_for(found.name, state_dir))

    if dry_run:
        _foresee(found, hosts, asked, condemned_by)
        return
    with runner_of(found, hosts, asked) as (runner, show):
        condemned = condemned_by(runner)
        plan = replace(REVOCATION, attempts=tries, census=True, leaked=frozenset(condemned))
        code = Drive(runner, replace(plan, ends_survivors=end_survivors)).go()
        show.result(runner.run, found, code, kept(found, runner, code, state_dir))
    finish(code)


def _foresee(
    fleet: "Fleet", hosts: "tuple[Host, ...]", asked: Asked, condemned_by: "Callable[[Crew], set[Fingerprint]]"
) -> None:
    """What the revocation would do to every host that answers, and which tokens it would condemn."""
    from hivekeys.rotation.preview import foreseen

    def would(run: "Run") -> "list[Foreseen]":
        return foreseen([run.hosts[host.name] for host in hosts], None)

    def lines(runner: "Crew") -> list[str]:
        held = {token for story in runner.controllers for token in (*story.held, *story.loaded)}
        tokens = ", ".join(sorted(f"token:{token}" for token in held | condemned_by(runner)))
        told = _told_before(fleet, hosts, asked.state_dir)
        fence = ["a host that cannot be turned: its service would be stopped"] if asked.fence else []
        return [*told, f"would be condemned: {tokens or 'nothing that is known'}; there is no way back", *fence]

    foreseeing.preview(fleet, hosts, asked, f"fleet {fleet.name}: what a revocation would do", would, lines)


def _confirm(fleet: "Fleet", hosts: "tuple[Host, ...]", out: tuple[str, ...], state_dir: str) -> None:
    """Asks on the terminal, before any host is contacted: what leaked cannot wait for a look."""
    from hivekeys.text.names import fold_names
    from tasks.terminal.live import Show

    cut = f", without {fold_names(out)}" if out else ""
    question = f"Revoke the token of fleet {fleet.name} on {len(hosts)} hosts{cut}? There is no way back. [y/N] "
    if not Show().agrees("\n".join([*_told_before(fleet, hosts, state_dir), question])):
        raise UserError("not confirmed: nothing was changed")


def _told_before(fleet: "Fleet", hosts: "tuple[Host, ...]", state_dir: str) -> list[str]:
    """What it restarts, for how long, and what ends with it; no host has been looked at yet."""
    from hivekeys.journal.run import REVOKE, Run
    from hivekeys.rotation import waves
    from hivekeys.rotation.question import before_run
    from tasks.terminal.asking import paces

    order = waves.plan(hosts, fleet.policy)
    return before_run(fleet, order, paces(fleet.name, state_dir, REVOKE), Run(task=REVOKE))
