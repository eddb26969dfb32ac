"""Outside of the allowed times: what is refused, what waits, and what never does."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from invoke.context import Context

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Windows
from hivekeys.inventory.windows import spans
from hivekeys.journal.fold import fold
from hivekeys.journal.state_folder import fingerprint_key
from hivekeys.journal.store import Journal
from hivekeys.report import document
from hivekeys.tasks.options.output import OutputOptions
from hivekeys.tasks.options.turning import WindowOption
from hivekeys.tasks.options.verb import BeginAgain, verb
from hivekeys.tasks.work.window import await_window
from tests.builders.fab import Fab, refusing, state_of
from tests.builders.operator import Operator
from tests.builders.recorded import Teller, fleet_of
from tests.inprocess import InProcessFleet

CLOSED = '[windows]\nzone = "UTC"\nfrozen = ["2020-01-01 to 2098-12-31"]\n'
REFUSED = "frozen (2020-01-01 to 2098-12-31)"


@pytest.fixture
def fab(tmp_path: Path) -> Iterator[Fab]:
    """A fleet that is frozen for years, whose hosts refuse every connection."""
    with refusing(tmp_path) as fab:
        file = fab.folder / "inventory" / "paper.toml"
        file.write_text(file.read_text() + CLOSED)
        yield fab


def journal(fab: Fab, task: str = "rotate", *, stopped: bool = False) -> None:
    """A run that was cut off."""
    teller = Teller(fleet_of(2), "paper-1", task)
    teller.before()
    if stopped:
        teller.stop("the operator asked to roll back")
    fingerprint_key(state_of(fab))
    with contextlib.closing(Journal(state_of(fab))) as journal:
        journal.append("paper-1", *teller.events)


def test_a_rotation_is_refused_and_no_host_is_contacted(fab: Fab) -> None:
    answer = fab("rotate", "--yes")
    assert answer.code == 2 and answer.out == ""
    assert "fleet paper may not be turned at " in answer.err and REFUSED in answer.err
    assert "there is no allowed time in the next year" in answer.err
    assert "hint: --wait-for-window" in answer.err
    assert "no run over fleet" in fab("status", "--run", "last").err


def test_a_wait_that_would_be_too_long_is_refused(fab: Fab) -> None:
    today = datetime.now(UTC).date()
    file = fab.folder / "inventory" / "paper.toml"
    file.write_text(file.read_text().replace("2098-12-31", str(today + timedelta(days=9))))
    answer = fab("rotate", "--yes", "--wait-for-window")
    assert answer.code == 2
    opens = f"{today + timedelta(days=10):%a %Y-%m-%d} 00:00 UTC"
    assert f"next allowed: {opens}, in " in answer.err
    assert "more than 7 days away: too long to wait for" in answer.err


def test_a_wait_says_until_when_and_ends_with_ctrl_c(fab: Fab) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    file = fab.folder / "inventory" / "paper.toml"
    file.write_text(file.read_text().replace("2098-12-31", str(tomorrow)))
    with fab.on_terminal("rotate", "--yes", "--wait-for-window") as terminal:
        shown = terminal.until("(Ctrl-C ends it)")
        assert f"waiting until {tomorrow + timedelta(days=1):%a %Y-%m-%d} 00:00 UTC, in " in shown
        terminal.type("\x03")
        assert terminal.end() == 130


@pytest.mark.parametrize("verb", ["resume", "reconcile"])
def test_a_run_that_goes_forward_is_not_taken_up(fab: Fab, verb: str) -> None:
    teller = Teller(fleet_of(2), "paper-1", lost=("hive2",) if verb == "reconcile" else ())
    events = teller.whole() if verb == "reconcile" else None
    if events is None:
        journal(fab)
    else:
        fingerprint_key(state_of(fab))
        with contextlib.closing(Journal(state_of(fab))) as base:
            base.append("paper-1", *events)
    answer = fab(verb)
    assert answer.code == 2 and REFUSED in answer.err


@pytest.mark.parametrize("verb", ["rollback", "resume"])
def test_a_way_back_is_never_refused(fab: Fab, verb: str) -> None:
    journal(fab, stopped=True)
    answer = fab(verb)
    assert answer.code != 2 and REFUSED not in answer.err


def test_a_revocation_is_never_refused_nor_when_it_is_taken_up(fab: Fab) -> None:
    answer = fab("revoke", "--yes", "--reason", "leaked")
    assert answer.code == 4 and "may not be turned" not in answer.err
    journal(fab, "revoke")
    assert "may not be turned" not in fab("resume").err
    assert "may not be turned" not in fab("reconcile").err


def test_plan_and_status_and_a_dry_run_only_tell(fab: Fab) -> None:
    for words in (("plan",), ("rotate", "--dry-run")):
        answer = fab(*words)
        assert answer.code == 4 and f"window: closed: {REFUSED}" in answer.out
    assert f"window: closed: {REFUSED}" in fab("status").out
    for words in (("plan", "--json"), ("status", "--json")):
        assert json.loads(fab(*words).out)["window"] == f"closed: {REFUSED}"


def test_a_rotation_by_the_clock_that_is_due_is_refused_as_well(fab: Fab) -> None:
    """Hosts that do not answer are a reason to rotate; nothing but a look comes before the refusal."""
    answer = fab("rotate", "--yes", "--if-older-than", "90d")
    assert answer.code == 2 and REFUSED in answer.err


# -- the wait


class Clock:
    """Time that passes only in a sleep."""

    def __init__(self, begin: datetime) -> None:
        self.at, self.slept = begin.timestamp(), list[float]()

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


def frozen(allowed: str) -> Fleet:
    return replace(fleet_of(1), windows=Windows("UTC", spans(allowed)))


WAITS, REFUSES = WindowOption(wait_for_window=True), WindowOption()
NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def test_a_wait_ends_when_the_window_opens_and_the_verb_begins_again(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock(NOON)
    with pytest.raises(BeginAgain):
        await_window(frozen("14:30-15:00"), WAITS, OutputOptions(), clock.now, clock.sleep)
    assert clock.at == (NOON + timedelta(hours=2.5)).timestamp()
    assert max(clock.slept) <= 20.0, "the clock may be set meanwhile"
    told = capfd.readouterr().err.splitlines()
    assert [line.split(",")[1].split(":")[0] for line in told] == [" in 2 h 30 min", " in 1 h 30 min", " in 30 min 0 s"]


def test_a_fleet_that_may_be_turned_waits_for_nothing() -> None:
    clock = Clock(NOON)
    await_window(frozen("11:00-13:00"), REFUSES, OutputOptions(), clock.now, clock.sleep)
    await_window(fleet_of(1), REFUSES, OutputOptions(), clock.now, clock.sleep)
    assert clock.slept == []


def test_who_does_not_wait_is_told_the_next_allowed_time() -> None:
    with pytest.raises(UserError, match=r"next allowed: Mon 2026-11-30 14:30 UTC, in 2 h 30 min$"):
        await_window(frozen("14:30-15:00"), REFUSES, OutputOptions(), Clock(NOON).now)


def test_a_quiet_wait_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock(NOON)
    with pytest.raises(BeginAgain):
        await_window(frozen("14:30-15:00"), WAITS, OutputOptions(quiet=True), clock.now, clock.sleep)
    assert capfd.readouterr().err == ""


def test_a_verb_that_has_waited_reads_everything_anew() -> None:
    begun: list[WindowOption] = []

    @verb
    def waits(own: WindowOption) -> None:
        """Waits once."""
        begun.append(own)
        if len(begun) == 1:
            raise BeginAgain

    waits(Context())
    assert len(begun) == 2


# -- the record


def test_a_run_is_recorded_with_its_window(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=1)
    fleet.inventory = replace(fleet.inventory, windows=Windows("UTC", spans("22:00-23:00")))
    ann = Operator(fleet)
    ann.rotate()
    said = "open until Tue 2023-11-14 23:00 UTC"  # the operator's clock begins at 22:13
    assert fold(ann.events).window == said
    assert document(ann.run, fleet.inventory)["window"] == said
