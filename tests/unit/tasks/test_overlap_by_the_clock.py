"""`fab rotate` by a timer, and `--finish`, where the last run gave clients time: it is taken up, or none is begun."""

import contextlib
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.journal.events import CensusTaken, Outcome, OverlapBegan, Phase, PhaseStarted, RunEnded, State, Status
from hivekeys.journal.fold import fold
from hivekeys.journal.state_folder import fingerprint_key
from hivekeys.journal.store import Journal
from hivekeys.protocol.audited import Use
from tests.builders.fab import Fab, refusing, state_of
from tests.builders.project import PROJECT
from tests.builders.recorded import NEW, OLD, Teller, fleet_of
from tests.builders.seen import seen

UNIT = PROJECT / "docs/systemd/hivekeys-rotate@.service"


def timer() -> list[str]:
    """What the documented unit types."""
    (command,) = re.findall("^ExecStart=.*/fab (.*)$", UNIT.read_text(), re.MULTILINE)
    return [word for word in shlex.split(command) if word not in ("--fleet", "%i")]


@pytest.fixture
def fab(tmp_path: Path) -> Iterator[Fab]:
    """No host answers: what is taken up ends with 4, and nothing is done."""
    with refusing(tmp_path) as fab:
        fingerprint_key(state_of(fab))
        yield fab


def overlaps(fab: Fab, seconds: float, *, is_held: bool = False) -> None:
    """A run whose hosts accept both tokens, for so many seconds from now; `is_held`: it was tried to finish it."""
    teller = Teller(fleet_of(2), "paper-1")
    teller.before()
    teller.tell(PhaseStarted(Phase.USE, ("queen", "hive1", "hive2"), teller.now()))
    for name in ("queen", "hive1", "hive2"):
        teller.tell(Outcome(name, Phase.USE, Status.OK, State.BOTH, teller.now(), None, seen(NEW)))
    teller.tell(OverlapBegan(time.time() + seconds, teller.now()))
    if is_held:
        use = Use("hive1", "rbee-hive", OLD.fp6, "/v1/workers/list", "10.0.0.9", True, 3, time.time())
        teller.tell(CensusTaken((use,), (), False, teller.now()))
    teller.tell(RunEnded(ExitCode.INCOMPLETE if is_held else ExitCode.DONE, teller.now()))
    run = fold(teller.events)
    assert (run.is_overlapping, run.is_held) == (not is_held, is_held)
    with contextlib.closing(Journal(state_of(fab))) as journal:
        journal.append(teller.run, *teller.events)


def runs(fab: Fab) -> dict[str, bool]:
    """The runs that the journal has, and whether each was taken up again."""
    with contextlib.closing(Journal(state_of(fab))) as journal:
        return {run: fold(journal.events(run)).resumed for run in journal.runs()}


def test_before_an_overlap_is_over_nothing_is_due_and_no_host_is_asked(fab: Fab) -> None:
    overlaps(fab, 3600.0)
    answer = fab(*timer())
    assert answer.code == 0, answer.err
    assert answer.out.startswith("not due: run paper-1: overlapping: the old token and the new one are accepted until")
    assert runs(fab) == {"paper-1": False}


@pytest.mark.parametrize("is_held", [False, True], ids=["never tried", "held the last time"])
def test_after_it_the_timer_takes_the_run_up_each_time_and_begins_no_other(fab: Fab, is_held: bool) -> None:
    overlaps(fab, -1.0, is_held=is_held)
    answer = fab(*timer())
    assert answer.code == 4, answer.err
    assert runs(fab) == {"paper-1": True}


def test_what_a_held_run_is_hinted_to_type_takes_it_up(fab: Fab) -> None:
    overlaps(fab, 3600.0, is_held=True)
    shown = fab("status", "--run", "last").out
    assert "rotate --fleet paper --finish" in shown
    assert fab("rotate", "--finish").code == 4
    assert runs(fab) == {"paper-1": True}
