"""The recorder: events of many threads, each on the disk before its thread goes on; those that meet share a write."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Claimed, Event
from hivekeys.journal.recorder import Broadcast, Recorder
from hivekeys.journal.run import Run

PATIENCE = 60.0  # seconds; only a test that fails waits for so long


def claim(number: int) -> Claimed:
    return Claimed(number, Moment(1_700_000_000.0 + number, float(number)))


class Disk:
    """A disk that is busy with its first write until it may go on, or that is full from the next one on."""

    def __init__(self) -> None:
        self.groups: list[list[Event]] = []
        self.busy, self.may_go_on = threading.Event(), threading.Event()
        self.is_full = False

    def record(self, events: Sequence[Event]) -> None:
        if self.is_full:
            raise OSError("No space left on device")
        self.groups.append(list(events))
        self.busy.set()
        self.may_go_on.wait(PATIENCE)

    @property
    def events(self) -> list[Event]:
        return [event for group in self.groups for event in group]


def everybody_waits(recorder: Recorder, many: int) -> None:
    until = time.monotonic() + PATIENCE
    while len(recorder._waiting) < many:
        assert time.monotonic() < until, f"{len(recorder._waiting)} of {many} wait"
        threading.Event().wait(0.001)


def test_who_comes_while_the_disk_is_busy_is_written_with_all_others_who_wait() -> None:
    disk = Disk()
    recorder = Recorder(disk.record)
    with ThreadPoolExecutor(21) as threads:
        told = [threads.submit(recorder.record, claim(0))]
        assert disk.busy.wait(PATIENCE)
        told += [threads.submit(recorder.record, claim(number)) for number in range(1, 21)]
        everybody_waits(recorder, 20)
        assert not any(one.done() for one in told)
        disk.may_go_on.set()
        wait(told, PATIENCE)
    assert [len(group) for group in disk.groups] == [1, 20]
    assert {one.exception() for one in told} == {None}
    assert sorted(event.epoch for event in disk.events if isinstance(event, Claimed)) == list(range(21))


def test_nothing_is_counted_before_it_is_recorded() -> None:
    disk = Disk()
    recorder = Recorder(disk.record)
    with ThreadPoolExecutor(1) as threads:
        told = threads.submit(recorder.record, claim(7))
        assert disk.busy.wait(PATIENCE)
        assert recorder.run.epoch == 0
        disk.may_go_on.set()
        told.result(PATIENCE)
    assert recorder.run.epoch == 7


def test_all_who_wait_for_a_write_that_fails_are_told_so_and_so_is_whoever_comes_later() -> None:
    disk = Disk()
    recorder = Recorder(disk.record)
    with ThreadPoolExecutor(6) as threads:
        first = threads.submit(recorder.record, claim(1))
        assert disk.busy.wait(PATIENCE)
        told = [threads.submit(recorder.record, claim(number)) for number in range(2, 7)]
        everybody_waits(recorder, 5)
        disk.is_full = True
        disk.may_go_on.set()
        first.result(PATIENCE)
        wait(told, PATIENCE)
    assert [str(one.exception()) for one in told] == ["No space left on device"] * 5
    disk.is_full = False
    with pytest.raises(OSError, match="No space left"):
        recorder.record(claim(8))
    assert disk.events == [claim(1)]
    assert recorder.run.epoch == 1


def test_who_listens_gets_each_event_that_is_on_the_disk_with_the_run_that_has_it() -> None:
    """Written first, then part of the run, then told: so what is seen of a run is true even if it ends there."""
    seen: list[tuple[str, int, int]] = []

    def write(events: Sequence[Event]) -> None:
        seen.extend(("written", event.epoch, recorder.run.epoch) for event in events if isinstance(event, Claimed))

    def listen(event: Event, run: Run) -> None:
        assert isinstance(event, Claimed)
        assert run is recorder.run
        seen.append(("listened", event.epoch, run.epoch))

    recorder = Recorder(Broadcast(write, listen))
    recorder.record(claim(7))
    recorder.record(claim(8))
    assert seen == [("written", 7, 0), ("listened", 7, 7), ("written", 8, 7), ("listened", 8, 8)]


def test_of_events_that_share_a_write_each_comes_with_the_run_as_it_was_then() -> None:
    disk, runs = Disk(), list[Run]()
    recorder = Recorder(Broadcast(disk.record, lambda _, run: runs.append(run)))
    with ThreadPoolExecutor(4) as threads:
        written = [threads.submit(recorder.record, claim(1))]
        assert disk.busy.wait(PATIENCE)
        written += [threads.submit(recorder.record, claim(number)) for number in range(2, 5)]
        everybody_waits(recorder, 3)
        disk.may_go_on.set()
        wait(written, PATIENCE)
    assert [run.epoch for run in runs] == [event.epoch for event in disk.events if isinstance(event, Claimed)]


def test_nothing_happens_any_more_once_somebody_who_listens_fails() -> None:
    """A bug of ours: a run that nobody sees goes on no further. The event did happen."""
    recorder = Recorder(Broadcast(lambda _: None, lambda _, __: pytest.fail("a bug")))
    for number in (1, 2):
        with pytest.raises(pytest.fail.Exception, match="a bug"):
            recorder.record(claim(number))
    assert recorder.run.epoch == 1
