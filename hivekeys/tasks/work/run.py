"""A run that rotates or revokes, ready to begin: with lock, journal, SSH, screen and signals."""

import contextlib
from collections.abc import Iterator

from hivekeys.bastion.connection import new_run
from hivekeys.bastion.running import crew_of
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.progress import Direction
from hivekeys.protocol.hints import for_fleet
from hivekeys.rotation.crew import Crew
from hivekeys.tasks.notifications import command, spans
from hivekeys.tasks.notifications.log import Log
from hivekeys.tasks.notifications.notification import at_end, not_begun
from hivekeys.tasks.notifications.notifier import PATIENCE, Notifier
from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.terminal.stopping import stoppable
from hivekeys.tasks.work.request import Request


@contextlib.contextmanager
def runner_of(fleet: Fleet, hosts: tuple[Host, ...], request: Request) -> Iterator[tuple[Crew, Show]]:
    """A run that is ready to begin, or to be taken up again."""
    run = request.past.id if request.past else new_run(fleet.name)
    with contextlib.ExitStack() as stack:
        way = Direction.LOOK if not request.records else Direction.BACK if request.goes_back else Direction.FORWARD
        show = Show(request.output, request.past, way, fleet)
        stack.enter_context(_notified(fleet, run, request, show))
        if request.log:
            log = stack.enter_context(contextlib.closing(Log(request.log, show.warn)))
            show.listeners.append(log.on_event)
        if request.records and spans.is_asked() and (traced := spans.spans(show.warn)):
            stack.callback(traced.close)
            show.listeners.append(traced.on_event)
        runner = stack.enter_context(crew_of(fleet, hosts, run, request, show, shown=show))
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
