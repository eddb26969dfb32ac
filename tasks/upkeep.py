"""`fab fix`: what `fab verify` found and can be mended without a new token or a restart."""

import contextlib
import json as jsonlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from tasks.engine import Asked, greeting_of, past_runs, program_of, recorded
from tasks.frame import FLEET_HELP, chosen, finish, verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hivekeys.errors import ExitCode
    from hivekeys.fleet import Fleet, Host
    from hivekeys.ledger import Record
    from hivekeys.model import Phase, Upkept
    from hivekeys.upkeep import Upkeep


@task(
    help={
        **FLEET_HELP,
        "apply": "mend it (default: show what would be mended)",
        "strays": "also remove copies of the token that people, editors and runs that are over have left",
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
    reason: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Mend modes, owners, access lists and directories on every host; shows them first, and restarts nothing."""
    from hivekeys import upkeep  # noqa: PLC0415  SSH, pydantic and rich take half a second that `fab --list` has not
    from hivekeys.model import Phase  # noqa: PLC0415

    found, hosts = chosen(fleet, limit, exclude)
    with _upkeep(found, hosts, Phase.FIX, Asked(reason, json, state_dir=state_dir, records=apply)) as work:
        kept = upkeep.fix(work, strays, lambda run: _is_over(found.name, run, state_dir))
        code = _tell(work, kept, json)
    finish(code)


@contextlib.contextmanager
def _upkeep(
    fleet: "Fleet", hosts: "tuple[Host, ...]", phase: "Phase", asked: Asked, beside_open: bool = True
) -> "Iterator[Upkeep]":
    """Upkeep that is ready to begin; what is recorded is applied, the rest only shown."""
    from hivekeys import state  # noqa: PLC0415
    from hivekeys.remote import SshDialer  # noqa: PLC0415
    from hivekeys.upkeep import Upkeep  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    greeting = greeting_of(fleet.name, state.folder_for(fleet.name, asked.state_dir))
    program = program_of("agent", "inspection", "repair")
    with contextlib.ExitStack() as stack:
        show = stack.enter_context(Show(asked.json))
        record: Record = show.record
        if asked.records:
            record = stack.enter_context(recorded(fleet, greeting.run, asked, show, beside_open))
        dialer = SshDialer(fleet, program)
        stack.callback(dialer.close)
        work = Upkeep(fleet, hosts, dialer, greeting, record, phase, asked.records, asked.reason)
        stack.callback(work.close)
        yield work


def _tell(work: "Upkeep", kept: "Sequence[Upkept]", json: bool) -> "ExitCode":
    """The result on stdout, and the exit code."""
    from hivekeys import changes  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    code = work.end(changes.exit_code(kept, work.apply))
    if json:
        document = changes.document(kept, work.fleet.name, work.phase.value, work.apply, code)
        sys.stdout.write(jsonlib.dumps(document, indent=2) + "\n")
    else:
        show = Show()
        if any(host.changes for host in kept):
            show.table(changes.table(kept, work.apply))
        for line in changes.lines(kept, work.apply):
            show.line(line)
    return code


def _is_over(fleet: str, run: str, state_dir: str) -> bool:
    """True when no way back and no going on can need what this run left on hosts."""
    past = next((past for past in past_runs(fleet, state_dir) if past.id == run), None)
    return past is not None and not past.is_open and (past.retiring or past.is_back)
