"""`fab fix`, `install`, `uninstall`, `watch`: repairs hosts, sets them up, removes them, watches them."""

import json as jsonlib
import sys
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks import restricting
from tasks.engine import Asked, upkeep_of
from tasks.excluding import cut_out_now
from tasks.frame import CHANGES_HELP, FLEET_HELP, LOGIN_HELP, Told, chosen, finish, verb, with_login
from tasks.grounds import FROM_HELP, grounds_of, known_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hivekeys.errors import ExitCode
    from hivekeys.fleet import Host
    from hivekeys.upkeep.changes import UpkeepResult
    from hivekeys.upkeep.upkeep import Upkeep

VERBS = ("inspect", "fix", "install", "tombstones", "restrict", "uninstall", "watch")  # sent as well


@task(
    help={
        **FLEET_HELP,
        **LOGIN_HELP,
        "apply": "mend it (default: show what would be mended)",
        "record": "also begin the record of runs on a host anew, where it says what cannot be meant",
        "strays": "also remove copies of the token that people, editors and runs that are over have left",
        **CHANGES_HELP,
        "reason": "why, for the record",
    },
    auto_shortflags=False,
)
@verb
def fix(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    apply: bool = False,
    strays: bool = False,
    record: bool = False,
    login: str = "",
    become: str = "",
    dry_run: bool = False,
    yes: bool = False,
    reason: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Mend modes, owners, access lists and directories on every host; shows them first, and restarts nothing."""
    from hivekeys.journal import state_folder  # noqa: PLC0415  SSH, pydantic and rich take half a second that `fab --list` has not
    from hivekeys.journal.events import Phase  # noqa: PLC0415
    from hivekeys.journal.past import history_of  # noqa: PLC0415
    from hivekeys.upkeep import upkeep  # noqa: PLC0415  SSH, pydantic and rich take half a second that `fab --list` has not

    found, hosts = with_login(*chosen(fleet, limit, exclude), login, become)
    asked = Asked(reason, Told(json), state_dir=state_dir, records=apply and not dry_run)
    with upkeep_of(found, hosts, Phase.FIX, asked, VERBS) as work:
        known = known_token(found, state_dir)
        last = history_of(state_folder.folder_for(found.name, state_dir)).epoch if record else None
        kept = upkeep.fix(work, strays, lambda run: _is_over(found.name, run, state_dir), known, last)
        code = _tell(work, kept, json)
    finish(code)


@task(
    help={
        **FLEET_HELP,
        **LOGIN_HELP,
        "create-account": "create the services' account and group where they are missing",
        "harden": "give the units the hardening lines of the guide as well",
        "plain-file": "let the services read the token file itself, not a systemd credential",
        "readmit": "take the hosts of --limit back that were cut out of the fleet: they were rebuilt since",
        "restricted": "put the agent on the hosts and let the inventory's login run it and nothing else",
        "restrict-key": "with --restricted: let this public key (FILE.pub) start the agent and do nothing else",
        "print-sudoers": "print the rule for sudo that --restricted puts in place; contacts nobody",
        **FROM_HELP,
        **CHANGES_HELP,
        "reason": "why, for the record",
    },
    auto_shortflags=False,
)
@verb
def install(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    create_account: bool = False,
    harden: bool = False,
    plain_file: bool = False,
    readmit: bool = False,
    restricted: bool = False,
    restrict_key: str = "",
    print_sudoers: bool = False,
    from_: str = "",
    yes: bool = False,
    login: str = "",
    become: str = "",
    dry_run: bool = False,
    reason: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Set hosts up, from "the binary is there" to "proven in the fleet"; what is right already stays untouched."""
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.journal.events import Phase  # noqa: PLC0415
    from hivekeys.journal.past import tombstones  # noqa: PLC0415
    from hivekeys.token import generate  # noqa: PLC0415
    from hivekeys.upkeep import install  # noqa: PLC0415

    inventory = chosen(fleet, limit, exclude)
    wanted = {"create-account": create_account, "harden": harden, "plain-file": plain_file}
    options = [name for name, is_wanted in wanted.items() if is_wanted]
    if (restricted or print_sudoers) and options:
        raise UserError(f"--{options[0]}: --restricted touches no service", hint="first the one, then the other")
    if restricted and from_:
        raise UserError("--from: --restricted hands on no token", hint="leave one out")
    if readmit and restricted:
        raise UserError(
            "--readmit: --restricted brings no host its token", hint="first `fab install --readmit` without it"
        )
    if restrict_key and not restricted:
        raise UserError("--restrict-key: expected --restricted with it")
    asked = Asked(reason, Told(json), state_dir=state_dir, records=not dry_run)
    if print_sudoers:
        sys.stdout.write(restricting.sudoers_of(inventory[1]))
        return
    found, hosts = with_login(*inventory, login, become)
    if restricted:
        restricting.refuse_shared(*inventory)
        restrictions = restricting.restrictions_of(inventory[1], restrict_key)
        with upkeep_of(found, hosts, Phase.INSTALL, asked, VERBS) as work:
            kept = install.restrict(work, restrictions)
            kept = kept if dry_run else restricting.come_back(kept, *inventory, state_dir)
            code = _tell(work, kept, json)
        finish(code)
        return
    grounds = grounds_of(found, from_, yes or dry_run, state_dir)
    back = _readmitted(found.name, hosts, readmit, limit, state_dir)
    with upkeep_of(found, hosts, Phase.INSTALL, asked, VERBS, beside_open=False, readmitted=back) as work:
        gone = tombstones(state_folder.folder_for(found.name, state_dir))
        code = _tell(work, install.install(work, options, generate, gone, grounds), json)
    finish(code)


@task(
    help={
        **FLEET_HELP,
        **LOGIN_HELP,
        "restricted": "only take the restricted mode away: the agent, its sudo rule, its key; no service is touched",
        **CHANGES_HELP,
        "reason": "why, for the record",
    },
    auto_shortflags=False,
)
@verb
def uninstall(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    restricted: bool = False,
    login: str = "",
    become: str = "",
    dry_run: bool = False,
    reason: str = "",
    state_dir: str = "",
    yes: bool = False,
    json: bool = False,
) -> None:
    """Remove what `fab install` put on hosts, and nothing else; their services are stopped."""
    from hivekeys.journal.events import Phase  # noqa: PLC0415
    from hivekeys.upkeep import install  # noqa: PLC0415

    found, hosts = with_login(*chosen(fleet, limit, exclude), login, become)
    if not dry_run and not yes and not restricted:
        _confirm(found.name, [host.name for host in hosts])
    asked = Asked(reason, Told(json), state_dir=state_dir, records=not dry_run)
    with upkeep_of(found, hosts, Phase.UNINSTALL, asked, VERBS, beside_open=restricted) as work:
        code = _tell(work, install.unrestrict(work) if restricted else install.uninstall(work), json)
    finish(code)


@task(
    help={
        **FLEET_HELP,
        **LOGIN_HELP,
        "remove": "take the rule away again",
        **CHANGES_HELP,
        "reason": "why, for the record",
    },
    auto_shortflags=False,
)
@verb
def watch(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    remove: bool = False,
    login: str = "",
    become: str = "",
    dry_run: bool = False,
    yes: bool = False,
    reason: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Let auditd note on every host who reads the token file, now and after a reboot; a second time changes nothing."""
    from hivekeys.journal.events import Phase  # noqa: PLC0415
    from hivekeys.protocol.messages import Step, Verb  # noqa: PLC0415

    found, hosts = with_login(*chosen(fleet, limit, exclude), login, become)
    asked = Asked(reason, Told(json), state_dir=state_dir, records=not dry_run)
    with upkeep_of(found, hosts, Phase.WATCH, asked, VERBS) as work:
        step = Step(Verb.WATCH, apply=work.apply, options=("remove",) if remove else ())
        code = _tell(work, work.do("watch the token files", hosts, lambda _: (step,)), json)
    finish(code)


def _readmitted(fleet: str, hosts: "Sequence[Host]", readmit: bool, limit: str, state_dir: str) -> tuple[str, ...]:
    """The hosts of these that are cut out and come back; without the operator's word for it that is refused."""
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.protocol.hints import limit_of  # noqa: PLC0415
    from hivekeys.text.names import fold_names  # noqa: PLC0415

    cut = cut_out_now(state_folder.folder_for(fleet, state_dir))
    back = tuple(host.name for host in hosts if host.name in cut)
    if readmit and not limit:
        raise UserError("--readmit: expected --limit HOST with it", hint="name the hosts that were rebuilt")
    if back and not readmit:
        raise UserError(
            f"{fold_names(back)}: cut out of the fleet by run {cut[back[0]].run}: not to be given its token",
            hint=f"was it rebuilt? then --limit {limit_of(back)} --readmit; else --exclude {limit_of(back)}",
        )
    return back


def _confirm(fleet: str, hosts: list[str]) -> None:
    """Asks on the terminal; nobody there is a no."""
    from hivekeys.text.names import fold_names  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for confirmation on", hint="look at --dry-run, then add --yes")
    question = f"Stop the services of {fold_names(hosts)} in fleet {fleet} and remove their tokens? [y/N] "
    if not Show().agrees(question):
        raise UserError("not confirmed: nothing was changed")


def _tell(work: "Upkeep", kept: "Sequence[UpkeepResult]", json: bool) -> "ExitCode":
    """The result on stdout, and the exit code."""
    from hivekeys.errors import ExitCode  # noqa: PLC0415
    from hivekeys.journal.events import Phase  # noqa: PLC0415
    from hivekeys.upkeep import changes  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    code = work.end(changes.exit_code(kept, work.apply))
    kept = [changes.for_fleet(host, work.fleet) for host in kept]
    if json:
        document = changes.document(kept, work.fleet, work.phase.value, work.apply, code)
        sys.stdout.write(jsonlib.dumps(document, indent=2) + "\n")
    else:
        show = Show()
        if any(host.changes for host in kept):
            show.table(changes.table(kept, work.apply))
        for line in changes.lines(kept, work.fleet, work.apply):
            show.line(line)
        if code is ExitCode.FINDINGS and not work.apply:
            show.line(f"to do it: the same {'with --apply' if work.phase is Phase.FIX else 'without --dry-run'}")
    return code


def _is_over(fleet: str, run: str, state_dir: str) -> bool:
    """True when no way back and no going on can need what this run left on hosts."""
    from hivekeys.journal.past import past_runs  # noqa: PLC0415

    past = next((past for past in past_runs(fleet, state_dir) if past.id == run), None)
    return past is not None and not past.is_open and (past.retiring or past.is_back)
