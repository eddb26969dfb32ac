"""A run that rotates or revokes, ready to begin: with lock, journal, SSH, screen and signals."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.journal.past import history_of
from hivekeys.journal.progress import Direction
from hivekeys.journal.recorder import Record
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.hints import for_fleet
from hivekeys.protocol.program import modules_of, program_of
from hivekeys.rotation.crew import Crew
from hivekeys.tasks.notifications import command
from hivekeys.tasks.notifications.log import Log
from hivekeys.tasks.notifications.notification import at_end, not_begun
from hivekeys.tasks.notifications.notifier import PATIENCE, Notifier
from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.terminal.stopping import stoppable
from hivekeys.tasks.work.connection import dialer_of, greeting_of, new_run
from hivekeys.tasks.work.recording import recorded
from hivekeys.tasks.work.request import Request


@contextlib.contextmanager
def runner_of(fleet: Fleet, hosts: tuple[Host, ...], request: Request) -> Iterator[tuple[Crew, Show]]:
    """A run that is ready to begin, or to be taken up again."""
    folder = state_folder.folder_for(fleet.name, request.state_dir)
    run = request.past.id if request.past else new_run(fleet.name)
    with contextlib.ExitStack() as stack:
        way = Direction.LOOK if not request.records else Direction.BACK if request.goes_back else Direction.FORWARD
        show = Show(request.output, request.past, way, fleet)
        stack.enter_context(_notified(fleet, run, request, show))
        if request.log:
            log = stack.enter_context(contextlib.closing(Log(request.log, show.warn)))
            show.listeners.append(log.on_event)
        record: Record = show.record
        if request.records:
            record = stack.enter_context(recorded(fleet, run, request, show, request.past is not None))
        history = history_of(folder)
        greeting = greeting_of(fleet.name, folder, run)  # under the lock: the last run may have revoked tokens
        # Who writes also asks for the services' records, before old tokens go.
        revokes = request.past.is_revocation if request.past else request.task == REVOKE
        needed = {"audit": request.records, "sweep": revokes, "meter": request.meters}
        modules = [verb for verb, is_needed in needed.items() if is_needed]
        dialer = dialer_of(fleet, hosts, program_of(*modules, *modules_of(fleet.hosts)), folder)
        stack.enter_context(show)
        runner = Crew(
            fleet,
            hosts,
            dialer,
            replace(greeting, take_over=request.take_over),
            record,
            reason=request.reason,
            task=request.task,
            past=request.past,
            fence=request.fence,
            history=history,
            excluded=request.excluded,
            meters=request.meters,
        )
        stack.callback(runner.close)
        stack.enter_context(stoppable(runner, show))
        yield runner, show


@contextlib.contextmanager
def _notified(fleet: Fleet, run: str, request: Request, show: Show) -> Iterator[None]:
    """Tells whom the inventory names, and starts the operator's command at the end: also when it never began."""
    notifier = Notifier(fleet.notify if request.records else (), show.warn)
    show.listeners.append(notifier.on_event)
    text, code = "hivekeys ended without a result\n", ExitCode.BUG
    try:
        yield
        text, code = show.summary or (text, code)
    except UserError as error:
        text, code = f"{error.message}\nhint: {for_fleet(error.hint, fleet.typed)}\n", error.code
        raise
    except KeyboardInterrupt:
        text, code = "interrupted\n", ExitCode.INTERRUPTED
        raise
    finally:
        is_begun = bool(show.run.id)
        told = at_end(show.run, text, code) if is_begun else not_begun(fleet.name, request.task, run, text, code)
        notifier.end(told, code)
        if request.on_finish:
            facts = {"HIVEKEYS_EXIT_CODE": str(int(code)), "HIVEKEYS_RUN": run, "HIVEKEYS_FLEET": fleet.name}
            if wrong := command.start(request.on_finish, text, facts, PATIENCE):
                show.warn(f"--on-finish: {wrong}")
