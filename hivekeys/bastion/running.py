"""A run that is ready to begin, or to be taken up again: with lock, journal and lines to its hosts."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from hivekeys.bastion.approval import refuse_unless_approved
from hivekeys.bastion.connection import greeting_of, shards_of
from hivekeys.bastion.recording import recorded
from hivekeys.bastion.request import Listener, Request
from hivekeys.fleet import Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.journal.past import history_of
from hivekeys.journal.recorder import Broadcast
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.program import modules_of
from hivekeys.rotation.crew import Crew


@contextlib.contextmanager
def crew_of(
    fleet: Fleet,
    hosts: tuple[Host, ...],
    run: str,
    request: Request,
    listener: Listener,
    shown: contextlib.AbstractContextManager[object] | None = None,
) -> Iterator[Crew]:
    """The crew of the run with this id. `shown`: what is entered when nothing is asked of the operator any more."""
    folder = state_folder.folder_for(fleet.name, request.state_dir)
    with contextlib.ExitStack() as stack:
        record = Broadcast(lambda _: None, listener.listen)  # a look alone is not written down
        if request.records:
            record = stack.enter_context(recorded(fleet, run, request, listener, request.past is not None))
            refuse_unless_approved(fleet, request, folder)  # under the lock: no other run begins with the same plan
        history = history_of(folder)
        greeting = greeting_of(fleet.name, folder, run)  # under the lock: the last run may have revoked tokens
        # Who writes also asks for the services' records, before old tokens go.
        revokes = request.past.is_revocation if request.past else request.task == REVOKE
        needed = {"audit": request.records, "sweep": revokes, "meter": request.meters}
        modules = [verb for verb, is_needed in needed.items() if is_needed]
        shards = shards_of(fleet, hosts, [*modules, *modules_of(fleet.hosts)], folder)
        if shown:
            stack.enter_context(shown)
        crew = Crew(
            fleet,
            shards,
            replace(greeting, take_over=request.take_over),
            record,
            reason=request.reason,
            task=request.task,
            past=request.past,
            fence=request.fence,
            history=history,
            excluded=request.excluded,
            meters=request.meters,
            plan=request.approved.proposed.id if request.approved else "",
        )
        stack.callback(crew.close)
        if request.approved and request.records:
            crew.recorder.record(request.approved.event(crew.recorder.now()))
        yield crew
