"""Shows a run: its progress on stderr, its result on stdout.

On a terminal the progress is one picture that is drawn over; elsewhere it is plain lines, one a fact. What programs see
(`--json`, `--events`) is on stdout.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hivekeys import report
from hivekeys.backups.shelf import BackupResult
from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import (
    ENDING,
    PREPARING,
    Approved,
    Event,
    FellBack,
    Outcome,
    PhaseStarted,
    State,
    Status,
    Stopped,
    Waiting,
)
from hivekeys.journal.progress import Direction, Progress, after_event, holder_of
from hivekeys.journal.run import Run
from hivekeys.protocol.hints import for_fleet
from hivekeys.report import stream
from hivekeys.report.past import BECAUSE, earlier
from hivekeys.report.view import view
from hivekeys.report.words import failure_line, stop_line
from hivekeys.rotation import preview
from hivekeys.rotation.preview import Foreseen
from hivekeys.rotation.question import before_wave, drains
from hivekeys.rotation.waves import Wave
from hivekeys.tasks.options.output import TO_PEOPLE, OutputOptions
from hivekeys.tasks.terminal import asking, document
from hivekeys.tasks.terminal.output import cry
from hivekeys.tasks.terminal.screen import SHOW_CURSOR, Screen, fitted
from hivekeys.tasks.terminal.stopping import AT_ONCE, STOPPING
from hivekeys.tasks.terminal.stream import Stream
from hivekeys.text.commands import as_typed
from hivekeys.text.names import fold_names

UNTOUCHED = "nothing was changed: no host was given a token"
NO_FLEET = Fleet("", ())
QUIET = (*PREPARING, *ENDING)  # phases that leave a host's state as it was
WIDTH = 160  # characters, where there is no terminal to ask


class Show:
    """Listens to a run's events. Safe to call from the threads that drive the hosts."""

    def __init__(
        self,
        output: OutputOptions = TO_PEOPLE,
        past: Run | None = None,
        way: Direction = Direction.FORWARD,
        fleet: Fleet = NO_FLEET,
    ) -> None:
        self._output = output
        self._fleet = fleet
        wide = None if sys.stdout.isatty() else WIDTH
        self._out = Console(highlight=False, width=wide)
        self._talk = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDTH)
        self._progress = Progress(past or Run(), way, fleet.policy.width)
        self._printed: set[tuple[str, str]] = set()  # a host whose way back fails as well says so only once
        self._due: set[str] = set()  # whose state is to be said in this phase, whatever it is
        self._states = {name: host.state for name, host in past.hosts.items()} if past else {}  # as they were said last
        self._mutex = threading.Lock()
        self._screen: Screen | None = None
        self._stream = Stream(sys.stdout.fileno(), self.warn) if output.events else None
        self._is_watching = False  # a run goes on
        self._stopping = False
        self.asking = False  # the operator is being asked something
        self.summary: tuple[str, ExitCode] | None = None  # of a run that is over
        self.listeners: list[Callable[[Event, Run], None]] = []  # of each event, and of the run that has it

    def __enter__(self) -> Self:
        self._is_watching = True
        self._start_screen()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._end_screen(keep=True)
        if self._stream:
            self._stream.close()

    # -- the picture

    def _start_screen(self) -> None:
        mixed = self._output.events and sys.stdout.isatty()  # lines for programs would run through the picture
        if self._talk.is_terminal and os.environ.get("TERM") != "dumb" and not self._output.quiet and not mixed:
            self._screen = Screen(self._talk, self._draw)

    def _draw(self, width: int, height: int) -> list[Text]:
        progress = self._progress
        now = Moment(time.time(), time.monotonic())
        return view(progress, now, width, height, self._stopping) if progress.phase else []

    def _end_screen(self, keep: bool = False) -> None:
        if self._screen:
            self._screen.end(keep)
            self._screen = None

    def stop(self) -> None:
        """Says that the run has been asked to end. Takes no lock, and waits for nothing."""
        self._stopping = True
        if self._screen is None:
            cry(f"\n{STOPPING}\n")

    def leave(self, run: Run, fleet: Fleet) -> None:
        """The process is about to end in the middle of everything: what is to be typed then, and the cursor back."""
        if self._screen:
            self._screen.silence()
            cry(SHOW_CURSOR)
        cry(f"{AT_ONCE}\n{report.next_step(run, fleet) or UNTOUCHED}\n")

    # -- events

    def listen(self, event: Event, run: Run) -> None:
        """Takes an event of the run, and the run that has it."""
        with self._mutex:
            self._progress = after_event(self._progress, event, run)
            for listener in self.listeners:
                listener(event, run)
            if self._stream:
                self._stream.write(stream.line_of(event, run.id, self._fleet))
            if self._screen is None:
                self._say(event)

    def _say(self, event: Event) -> None:
        """The event in a line that stays, if it is worth one."""
        match event:
            case PhaseStarted() if event.hosts and not self._output.quiet:
                is_watched = self._is_watched(event)
                self._due = set() if event.phase in QUIET or is_watched else set(event.hosts)
                names = f"{len(event.hosts)} hosts" if len(event.hosts) > 1 else event.hosts[0]
                self._print(Text(f"{event.title}{', watched' if is_watched else ''}: {names}"))
            case Waiting():
                words = f"waiting for the lock of {holder_of(event)} on {event.host}, at most {event.seconds:.0f} s"
                self._print(Text(words, "yellow"))
            case Outcome():
                self._say_outcome(event)
            case Approved() if not self._output.quiet:
                self._print(Text(f"plan {event.plan}, approved by {', '.join(event.persons)}"))
            case FellBack():
                self._print(Text(f"one token at a time: {event.why}", "yellow"))
            case Stopped():
                self._print(Text(stop_line(event), "red"))
                for cause, ill in earlier(self._progress.run):
                    self._print(Text(f"  {fold_names(ill)}: {cause} ({BECAUSE})", "red"))

    def _is_watched(self, event: PhaseStarted) -> bool:
        """True for a wave of a rotation that begins a second time: its hosts have turned."""
        run = self._progress.run
        times = sum(begun.title == event.title for begun in run.begun)
        return event.phase not in QUIET and not run.is_revocation and times > 1

    def _say_outcome(self, event: Outcome) -> None:
        """A host's state, whenever it is another one or may have become so; and what it failed of."""
        before = self._states.get(event.host, State.UNCHANGED)
        said = (event.host, str(event.cause))
        if event.status is not Status.OK:
            if said not in self._printed:
                self._printed.add(said)
                self._print(Text(f"  {failure_line(event)}", "red"))
        elif not self._output.quiet and (event.host in self._due or event.state is not before):
            seconds = sum(step.seconds for step in event.steps)
            self._print(Text(f"  {event.host}: {event.state.value}, {seconds:.1f} s"))
        self._states[event.host] = event.state
        self._due.discard(event.host)

    def _print(self, line: Text) -> None:
        """One line, however long, with the time and how far it is from UTC."""
        _print_line(self._talk, Text(time.strftime("%H:%M:%S%z "), "dim") + line)

    @staticmethod
    def warn(words: str) -> None:
        """Something that is wrong beside the run."""
        cry(f"hivekeys: warning: {words}\n")

    # -- results

    def plan(self, run: Run, fleet: Fleet, newest: Run | None) -> None:
        """What a rotation would do; `newest`: the run whose token the fleet went on with, by the journal."""
        self._end_screen()
        out = self._talk if self._output.events or self._output.json else self._out
        out.print(report.plan_table(run, fleet, out.width))
        for line in report.wave_lines(run, fleet.policy.batch):
            _print_line(out, Text(line))
        if run.left_out:
            _print_line(out, Text(f"left out, will owe the new token: {fold_names(run.left_out)}", "yellow"))
        if run.excluded:
            _print_line(out, Text(f"excluded from the fleet, not contacted: {fold_names(run.excluded)}", "yellow"))
        if said := report.disagreement(run, newest, fleet):
            _print_line(out, Text(said, "yellow"))
        for line in report.unchecked_lines(run):
            _print_line(out, Text(line, "yellow"))
        for line in report.failure_lines(run, fleet):
            _print_line(out, Text(line))

    def planned(self, run: Run, fleet: Fleet, code: ExitCode, newest: Run | None, next_line: str = "") -> None:
        """The same, when that was all. `next_line`: what programs are told to type next."""
        if self._output.json:
            self._end_screen()
            document.print_document(report.looked_document(run, fleet, code, next_line=next_line))
        elif self._stream:
            self._end_lines(stream.looked_line(run, code, time.time(), fleet, next_line))
        else:
            self.plan(run, fleet, newest)
            hosts = [host for host in fleet.hosts if host.name in run.hosts]
            for line in drains(hosts, run):
                _print_line(self._out, Text(line))

    def foreseen(
        self, run: Run, fleet: Fleet, code: ExitCode, hosts: Sequence[Foreseen], title: str, lines: Sequence[str]
    ) -> None:
        """What a run would do to each host, and on the whole, when that was all."""
        self._end_screen()
        if self._output.json:
            document.print_document(report.looked_document(run, fleet, code, preview.document(hosts)))
        elif self._stream:
            self._end_lines(stream.looked_line(run, code, time.time(), fleet))
        else:
            self._out.print(preview.table(hosts, title))
            for line in (*report.failure_lines(run, fleet), *lines):
                self._out.print(Text(line))

    def result(self, run: Run, fleet: Fleet, code: ExitCode, backup: BackupResult | None = None) -> None:
        """How it went, and what to type next; and the backup that was taken of it, or should have been."""
        self._end_screen(keep=True)
        taken = [for_fleet(line, fleet.typed) for line in backup.lines()] if backup else []
        lines = report.summary_lines(run, code, fleet, taken)
        self.summary = ("\n".join(lines) + "\n", code)
        if self._output.json:
            made = report.document(run, fleet, code)
            if backup:
                made["backup"] = backup.facts()
            document.print_document(made)
        elif self._stream:
            self._end_lines(stream.result_line(run, code, time.time(), fleet))
        else:
            self._print_result(run, fleet)
            for line in lines:
                lost = backup is not None and not backup.file and line in taken
                style = "yellow" if lost else "bold" if line == report.summary(run, code) else ""
                _print_line(self._out, Text(line, style))

    def _print_result(self, run: Run, fleet: Fleet) -> None:
        """A row a host; or, where they would not fit on the terminal, a row a state."""
        if self._out.is_terminal:
            self._out.print()
        if self._out.is_terminal and len(run.hosts) > self._out.height:
            self.result_table(run, report.states_table(run))
            _print_line(
                self._out, Text(as_typed(f"every host: fab status --fleet {fleet.typed} --run {run.id}"), "dim")
            )
        else:
            self.result_table(run, report.result_table(run, fleet, self.width))

    @property
    def run(self) -> Run:
        """The run so far; one without an id, and without hosts, before it is one."""
        return self._progress.run

    @property
    def width(self) -> int:
        """Characters that a table may have."""
        return self._out.width

    def event(self, line: Mapping[str, object]) -> None:
        """A line for programs that is no event of a run."""
        if self._stream:
            self._stream.write(line)

    def table(self, table: Table) -> None:
        """A table on stdout."""
        self._out.print(table)

    def result_table(self, run: Run, table: Table) -> None:
        """The result of a run as a table, and below it what its columns mean."""
        self._out.print(table)
        for line in report.legend(run, table):
            _print_line(self._out, Text(line, "dim"))

    def line(self, line: str) -> None:
        """A line on stdout, as it is."""
        _print_line(self._out, Text(line))

    def agrees(self, question: str) -> bool:
        """True when the operator said yes. The picture so far stays above the question."""
        self.asking = True
        if self._talk.is_terminal:
            question = fitted(question, self._talk.width - 1)
        try:
            if self._screen:
                with self._screen.held(question):
                    return asking.agrees(question, self._talk)
            return asking.agrees(question, self._talk)
        finally:
            self.asking = False
            if self._is_watching and self._screen is None:
                self._start_screen()

    def go_on(self, wave: Wave) -> bool:
        """Asked between two waves."""
        return self.agrees(f"{before_wave(self._progress.run, wave)} Go on? [y/N] ")

    def _end_lines(self, last: Mapping[str, object]) -> None:
        """The last line for a program."""
        if self._stream:
            self._stream.write(last)
            document.fulfil()


def _print_line(out: Console, line: Text) -> None:
    """As one line where a program reads it, or a file keeps it; in the terminal's width for people."""
    out.print(line, soft_wrap=not out.is_terminal)
