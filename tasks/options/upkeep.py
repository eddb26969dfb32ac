"""What `fab fix`, `install`, `uninstall` and `watch` share."""

import json as jsonlib
import sys
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from tasks.options.excluding import cut_out_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hivekeys.errors import ExitCode
    from hivekeys.fleet import Host
    from hivekeys.upkeep.changes import UpkeepResult
    from hivekeys.upkeep.upkeep import Upkeep


VERBS = ("inspect", "fix", "install", "tombstones", "restrict", "uninstall", "watch")  # sent as well


def readmitted(fleet: str, hosts: "Sequence[Host]", readmit: bool, limit: str, state_dir: str) -> tuple[str, ...]:
    """The hosts of these that are cut out and come back; without the operator's word for it that is refused."""
    from hivekeys.journal import state_folder
    from hivekeys.protocol.hints import limit_of
    from hivekeys.text.names import fold_names

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


def confirm_uninstall(fleet: str, hosts: list[str]) -> None:
    """Asks on the terminal; nobody there is a no."""
    from hivekeys.text.names import fold_names
    from tasks.terminal.live import Show

    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for confirmation on", hint="look at --dry-run, then add --yes")
    question = f"Stop the services of {fold_names(hosts)} in fleet {fleet} and remove their tokens? [y/N] "
    if not Show().agrees(question):
        raise UserError("not confirmed: nothing was changed")


def show_changes(work: "Upkeep", kept: "Sequence[UpkeepResult]", json: bool) -> "ExitCode":
    """The result on stdout, and the exit code."""
    from hivekeys.errors import ExitCode
    from hivekeys.journal.events import Phase
    from hivekeys.upkeep import changes
    from tasks.terminal.live import Show

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


def is_over(fleet: str, run: str, state_dir: str) -> bool:
    """True when no way back and no going on can need what this run left on hosts."""
    from hivekeys.journal.past import past_runs

    past = next((past for past in past_runs(fleet, state_dir) if past.id == run), None)
    return past is not None and not past.is_open and (past.retiring or past.is_back)
