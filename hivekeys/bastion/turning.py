"""Turns a fleet, and tells of it event by event: what a program calls instead of typing a command."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hivekeys import report
from hivekeys.backups.shelf import BackupResult
from hivekeys.bastion.after_run import backup_after_run
from hivekeys.bastion.connection import new_run
from hivekeys.bastion.request import Request
from hivekeys.bastion.running import crew_of
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.events import Event
from hivekeys.journal.run import Run
from hivekeys.rotation.crew import Crew
from hivekeys.text.documents.run import Run as RunDocument
from hivekeys.token import Token


@dataclass
class _Events:
    """Listens to a run, from any thread."""

    due: "queue.SimpleQueue[Event | None]" = field(default_factory=queue.SimpleQueue)
    warnings: list[str] = field(default_factory=list)

    def listen(self, event: Event, _: Run) -> None:
        self.due.put(event)

    def warn(self, words: str) -> None:
        self.warnings.append(words)


class Turn:
    """A run over a fleet. Iterate over it: it begins then, and ends with its last event; or `finish` it at once.

    Events: hivekeys.journal.events. What was wrong beside the run is in `warnings`.
    """

    def __init__(self, crew: Crew, go: Callable[[], ExitCode], events: _Events, state_dir: str) -> None:
        self.fleet = crew.fleet
        self.code: ExitCode | None = None  # None until it is over
        self.backup: BackupResult | None = None  # of the new token, where the inventory asks for one
        self._crew, self._go, self._events, self._state_dir = crew, go, events, state_dir
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def run(self) -> Run:
        """The run so far: its hosts, their states, what it owes."""
        return self._crew.run

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._events.warnings)

    def __iter__(self) -> Iterator[Event]:
        """The events, each once it is on the disk. Raises UserError for what ended the run and no event could say."""
        self._begin()
        while (event := self._events.due.get()) is not None:
            yield event
        if self._thread:
            self._thread.join()
        if self._error:
            raise self._error

    def finish(self) -> ExitCode | None:
        """Waits until it is over, and begins it if need be; None after it was closed."""
        for _ in self:
            pass
        return self.code

    def stop(self) -> None:
        """As Ctrl-C does: hosts in flight finish, no further one begins; the run can be resumed. From any thread."""
        self._crew.interrupt()

    def document(self) -> RunDocument:
        """What `--json` prints of the run: docs/json.md, form `run`."""
        made = report.document(self.run, self.fleet, self.code)
        made["backup"] = self.backup.facts() if self.backup else None
        return made

    def summary(self) -> list[str]:
        """The lines that a person reads below the table: what failed and why, and what to type next."""
        if self.code is None:
            return []
        taken = self.backup.lines() if self.backup else []
        return report.summary_lines(self.run, self.code, self.fleet, taken)

    def warn(self, words: str) -> None:
        """Adds a warning."""
        self._events.warn(words)

    def close(self) -> None:
        """Stops a run that is not over; one that never began changed nothing. Safe to repeat."""
        if self._thread is None:
            if self.code is None:
                self.code = self._crew.end(ExitCode.USAGE)
            return
        if self._thread.is_alive():
            self.stop()
            self._thread.join()

    def _begin(self) -> None:
        if self._thread is None and self.code is None:
            self._thread = threading.Thread(target=self._work, name="run")
            self._thread.start()

    def _work(self) -> None:
        try:
            code = self._go()
            self.backup = backup_after_run(self.fleet, self._crew, code, self._state_dir)
            self.code = code
        except BaseException as error:  # raised again in the thread that reads the events
            self._error = error
        finally:
            self._events.due.put(None)


@contextlib.contextmanager
def turn(
    fleet: Fleet, hosts: tuple[Host, ...], request: Request, drive: Callable[[Crew], Callable[[], ExitCode]]
) -> Iterator[Turn]:
    """A run, ready to begin: the fleet's lock is taken. What is not over when the block ends is stopped."""
    run = request.past.id if request.past else new_run(fleet.name)
    events = _Events()
    with crew_of(fleet, hosts, run, request, events) as crew:
        turned = Turn(crew, drive(crew), events, request.state_dir)
        try:
            yield turned
        finally:
            turned.close()


def refuse_without_queen(fleet: Fleet, hosts: tuple[Host, ...], out: tuple[str, ...], missing: tuple[str, ...]) -> None:
    """Hives that have a token which their queen has not are cut off from it: only where she is `out` for good."""
    if fleet.queen not in hosts and fleet.queen.name not in out:
        raise UserError("the queen is left out: its hives could not talk to it any more", hint="add it to --limit")
    if fleet.queen.name in missing:
        raise UserError(
            "--allow-missing: the queen turns first, or no host does", hint="leave it out: --allow-missing is for hives"
        )


def refuse_known(crew: Crew, token: Token) -> None:
    """Refuses a token that a host already serves, by what the hosts show."""
    want = crew.fingerprint(token)
    serving = [host.name for host in crew.run.hosts.values() if host.was == want]
    if serving:
        crew.end(ExitCode.USAGE)
        raise UserError(
            f"the token given is the one that {', '.join(serving[:5])} already has (token:{want})",
            hint="leave --token-file out and let hivekeys make a token",
        )
