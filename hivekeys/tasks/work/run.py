"""A run that rotates or revokes, ready to begin: with lock, journal, SSH, screen and signals."""

import contextlib
from collections.abc import Iterator

from hivekeys.bastion.connection import new_run
from hivekeys.bastion.running import crew_of
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.progress import Direction
from hivekeys.rotation.crew import Crew
from hivekeys.tasks.notifications import spans
from hivekeys.tasks.notifications.log import Log
from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.terminal.stopping import stoppable
from hivekeys.tasks.work.notifying import notified
from hivekeys.tasks.work.request import Request


@contextlib.contextmanager
def runner_of(fleet: Fleet, hosts: tuple[Host, ...], request: Request) -> Iterator[tuple[Crew, Show]]:
    """A run that is ready to begin, or to be taken up again."""
    run = request.past.id if request.past else new_run(fleet.name)
    with contextlib.ExitStack() as stack:
        way = Direction.LOOK if not request.records else Direction.BACK if request.goes_back else Direction.FORWARD
        show = Show(request.output, request.past, way, fleet)
        stack.enter_context(notified(fleet, run, request, show))
        if request.log:
            log = stack.enter_context(contextlib.closing(Log(request.log, show.warn)))
            show.listeners.append(log.on_event)
        if request.records and spans.is_asked() and (traced := spans.spans(show.warn)):
            stack.callback(traced.close)
            show.listeners.append(traced.on_event)
        runner = stack.enter_context(crew_of(fleet, hosts, run, request, show, shown=show))
        stack.enter_context(stoppable(runner, show))
        yield runner, show
