"""What `fab fix`, `install`, `uninstall` and `watch` share: work on hosts beside a run, and how it is shown."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hivekeys.bastion.connection import dialer_of, greeting_of, new_run
from hivekeys.bastion.excluding import cut_out_now
from hivekeys.bastion.recording import recorded
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.journal.events import Phase
from hivekeys.journal.past import past_runs
from hivekeys.journal.recorder import Broadcast
from hivekeys.protocol.hints import limit_of
from hivekeys.protocol.program import modules_of, program_of
from hivekeys.tasks.terminal.document import print_document
from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.work.notifying import notified
from hivekeys.tasks.work.request import Request
from hivekeys.text.names import fold_names
from hivekeys.upkeep import changes
from hivekeys.upkeep.changes import UpkeepResult
from hivekeys.upkeep.upkeep import Upkeep

VERBS = ("inspect", "fix", "install", "tombstones", "restrict", "uninstall", "front", "watch")  # sent as well


@contextlib.contextmanager
def upkeep_of(
    fleet: Fleet,
    hosts: tuple[Host, ...],
    phase: Phase,
    request: Request,
    modules: tuple[str, ...] = (),
    *,
    beside_open: bool = True,
    only_asks: bool = False,
    readmitted: Sequence[str] = (),
) -> Iterator[Upkeep]:
    """Upkeep that is ready to begin; what is recorded is applied unless it `only_asks`, the rest only shown.

    `readmitted`: hosts that were cut out and come back into the fleet with it.
    """
    run = new_run(fleet.name)
    with contextlib.ExitStack() as stack:
        show = Show(request.output)
        if not only_asks:
            stack.enter_context(notified(fleet, run, replace(request, task=phase.value), show))
        record = Broadcast(lambda _: None, show.listen)
        if request.records:
            record = stack.enter_context(recorded(fleet, run, request, show, beside_open))
        folder = state_folder.folder_for(fleet.name, request.state_dir)
        greeting = greeting_of(fleet.name, folder, run)
        program = program_of(*modules, *modules_of(fleet.hosts))
        dialer = dialer_of(fleet, hosts, program, folder, readmitted=readmitted)
        stack.callback(dialer.close)
        stack.enter_context(show)
        apply = request.records and not only_asks
        work = Upkeep(fleet, hosts, dialer, greeting, record, phase, apply, request.reason)
        stack.callback(work.close)
        work.readmit(readmitted)
        try:
            yield work
        except KeyboardInterrupt:
            work.end(ExitCode.INTERRUPTED)
            raise


def readmitted(fleet: str, hosts: Sequence[Host], readmit: bool, limit: str, state_dir: str) -> tuple[str, ...]:
    """The hosts of these that are cut out and come back; without the operator's word for it that is refused."""
    cut = cut_out_now(state_folder.folder_for(fleet, state_dir))
    back = tuple(host.name for host in hosts if host.name in cut)
    if readmit and not limit:
        raise UserError("--readmit: expected --limit HOST with it", hint="name the hosts that were rebuilt")
    if back and not readmit:
        raise UserError(
            f"{fold_names(back)}: excluded from the fleet by run {cut[back[0]].run}: not to be given its token",
            hint=f"was it rebuilt? then --limit {limit_of(back)} --readmit; else --exclude {limit_of(back)}",
        )
    return back


def confirm_uninstall(fleet: str, hosts: list[str]) -> None:
    """Asks whether services are to be stopped."""
    _confirm(f"Stop the services of {fold_names(hosts)} in fleet {fleet} and remove their tokens?")


def confirm_open(fleet: str, hosts: list[str]) -> None:
    """Asks whether services that ask for no token are to be without their fronts."""
    names = fold_names(hosts)
    _confirm(f"The services of {names} in fleet {fleet} ask for no token. Let everybody in who reaches them?")


def _confirm(question: str) -> None:
    """Asks on the terminal; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for confirmation on", hint="look at --dry-run, then add --yes")
    if not Show().agrees(f"{question} [y/N] "):
        raise UserError("not confirmed: nothing was changed")


def show_changes(work: Upkeep, kept: Sequence[UpkeepResult], as_json: bool) -> ExitCode:
    """The result on stdout, and the exit code."""
    code = work.end(changes.exit_code(kept, work.apply))
    kept = [changes.for_fleet(host, work.fleet) for host in kept]
    if as_json:
        document = changes.document(kept, work.fleet, work.phase.value, work.apply, code)
        print_document(document)
    else:
        show = Show()
        if any(host.changes for host in kept):
            show.table(changes.table(kept, work.apply))
        for line in changes.lines(kept, work.fleet, work.apply):
            show.line(line)
        if code is ExitCode.FINDINGS and not work.apply:
            show.line(changes.remaining_line(work.phase.value))
    return code


def is_over(fleet: str, run: str, state_dir: str) -> bool:
    """True when no way back and no going on can need what this run left on hosts."""
    past = next((past for past in past_runs(fleet, state_dir) if past.id == run), None)
    gone = past is not None and past.retiring and not (past.passes and past.debts)  # one that accepts the old is asked
    return past is not None and not past.is_open and (gone or past.is_back)
