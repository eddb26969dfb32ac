"""What an operator sees of a run: progress while it goes on (stderr), the result at its end (stdout).

On a terminal the progress is one small picture that is drawn over; elsewhere it is plain lines, one a fact.
"""

import json
import os
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.model import Event, Intent, Outcome, PhaseStarted, RunEnded, Status, Stopped
from hivekeys.run import Run, advance

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.shelf import Taken

WIDTH = 160  # characters, where there is no terminal to ask
SHOWN_HOSTS = 12  # hosts in flight that get a line of their own


class Show:
    """Listens to a run's events. Safe to call from the threads that drive the hosts."""

    def __init__(self, as_json: bool = False, past: Run | None = None) -> None:
        self._json = as_json
        wide = None if sys.stdout.isatty() else WIDTH
        self._out = Console(highlight=False, width=wide)
        self._talk = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDTH)
        self._run = past or Run()
        self._title = ""
        self._told: set[tuple[str, str]] = set()  # a host whose way back fails as well says so only once
        self._of_phase: tuple[str, ...] = ()
        self._ready: set[str] = set()
        self._in_flight: dict[str, tuple[str, float]] = {}
        self._mutex = threading.Lock()
        self._live: Live | None = None
        self.asking = False  # the operator is being asked something

    def __enter__(self) -> Self:
        self._start_live()
        return self

    def _start_live(self) -> None:
        if self._talk.is_terminal and os.environ.get("TERM") != "dumb":
            self._live = Live(self, console=self._talk, refresh_per_second=8, transient=True)
            self._live.start()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stop_live()

    def _stop_live(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    # -- events

    def record(self, event: Event) -> None:
        """Takes one event of the run."""
        with self._mutex:
            line = self._take(event)
        if line:  # outside: to print is to draw the picture anew, which asks for the mutex
            self._talk.print(Text(time.strftime("%H:%M:%S "), "dim") + line)

    def _take(self, event: Event) -> Text | None:
        """The line that stays of an event; beside the picture only what went wrong needs one."""
        self._run = advance(self._run, event)
        match event:
            case PhaseStarted():
                self._title, self._of_phase, self._ready = event.title, event.hosts, set()
                if event.hosts and self._live is None:
                    return Text(f"{event.title}: {self._names(event.hosts)}")
            case Intent():
                verbs = " ".join(verb.value for verb in event.verbs)
                self._in_flight[event.host] = (verbs, time.monotonic())
            case Outcome():
                self._in_flight.pop(event.host, None)
                self._ready.add(event.host)
                told = (event.host, str(event.cause))
                if event.status is not Status.OK and told not in self._told:
                    self._told.add(told)
                    return Text(f"  {event.host}: {event.status.value}: {event.cause}", "red")
            case Stopped():
                return Text(f"stopped in phase {event.phase.value}: {event.why}", "red")
            case RunEnded():
                self._in_flight.clear()
        return None

    @staticmethod
    def _names(hosts: tuple[str, ...]) -> str:
        return f"{len(hosts)} hosts" if len(hosts) > 1 else hosts[0]

    def __rich__(self) -> Group:
        """The picture: phase, counts, and the hosts in flight with what they do and for how long."""
        with self._mutex:
            now = time.monotonic()
            states: dict[str, int] = {}
            for host in self._run.hosts.values():
                states[host.state.value] = states.get(host.state.value, 0) + 1
            counts = ", ".join(f"{count} {state}" for state, count in states.items())
            elapsed = now - self._run.clock if self._run.clock else 0.0
            progress = f"{len(self._ready)}/{len(self._of_phase)}"
            lines = [Text(f"{self._title}  {progress}  {elapsed:.0f} s  {counts}", "bold")]
            if self._run.is_revocation:
                lines += [Text(f"  {line}") for line in report.exposure_lines(self._run)]
            flying = list(self._in_flight.items())
            for name, (verbs, since) in flying[:SHOWN_HOSTS]:
                lines.append(Text(f"  {name}  {verbs}  {now - since:.0f} s", overflow="ellipsis", no_wrap=True))
            if len(flying) > SHOWN_HOSTS:
                lines.append(Text(f"  and {len(flying) - SHOWN_HOSTS} more"))
        return Group(*lines)

    # -- results

    def plan(self, run: Run, fleet: "Fleet") -> None:
        """What a rotation would do."""
        self._stop_live()
        if self._json:
            self._print_json(run, fleet)
            return
        self._out.print(report.plan_table(run, fleet))
        for line in report.wave_lines(run):
            self._out.print(Text(line))
        if run.left_out:
            self._out.print(Text(f"left out, will owe the new token: {', '.join(run.left_out)}", "yellow"))
        if report.disagreement(run):
            self._out.print(Text(report.disagreement(run), "yellow"))
        self._failures(run)

    def result(self, run: Run, fleet: "Fleet", code: ExitCode, backup: "Taken | None" = None) -> None:
        """How it went, and what to type next; and the backup that was taken of it, or should have been."""
        self._stop_live()
        if self._json:
            self._print_json(run, fleet, {"backup": backup.document()} if backup else {})
            return
        self._out.print(report.result_table(run, fleet))
        self._failures(run)
        if run.stopped:
            self._out.print(Text(f"stopped: {run.stopped}"))
        for line in (*(report.exposure_lines(run) if run.is_revocation else ()), *report.census_lines(run)):
            self._out.print(Text(line))
        self._out.print(Text(report.summary(run, code), "bold"))
        for line in backup.lines() if backup else ():
            self._out.print(Text(line, "" if backup and backup.kept else "yellow"))
        if step := report.next_step(run, fleet.typed):
            self._out.print(Text(step))

    def table(self, table: Table) -> None:
        """A table on stdout."""
        self._out.print(table)

    def line(self, line: str) -> None:
        """A line on stdout, as it is."""
        self._out.print(Text(line))

    def ask(self, question: str) -> str:
        """The operator's answer."""
        self._stop_live()
        self.asking = True
        try:
            return self._talk.input(Text(question))
        finally:
            self.asking = False
            self._start_live()

    def agrees(self, question: str) -> bool:
        """True when the operator said yes."""
        try:
            return self.ask(question).strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            return False

    def go_on(self) -> bool:
        """Asked between two waves."""
        return self.agrees("Go on with the next wave? [y/N] ")

    def _failures(self, run: Run) -> None:
        for line in report.failure_lines(run):
            self._out.print(Text(line))

    @staticmethod
    def _print_json(run: Run, fleet: "Fleet", more: dict[str, Any] | None = None) -> None:
        sys.stdout.write(json.dumps({**report.document(run, fleet), **(more or {})}, indent=2) + "\n")
