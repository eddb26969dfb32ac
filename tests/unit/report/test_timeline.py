"""When each host was in which phase, and how that becomes a picture: by the events alone."""

from dataclasses import replace
from itertools import pairwise

import pytest

from hivekeys.journal.events import Intent, Phase, PhaseStarted, Status
from hivekeys.journal.fold import fold
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.verbs import Verb
from hivekeys.report.drawing import WIDTH, tick_label
from hivekeys.report.picture import LEFT, MOST_SINGLE_ROWS, RIGHT, Picture, picture, scale_of
from hivekeys.report.timeline import Span, merged, timeline
from tests.builders.recorded import Teller, fleet_of

ILL = Cause(Trouble.START_FAILED, "Job for rbee-hive.service failed")


def drawn(teller: Teller) -> Picture:
    found = picture(timeline(teller.events), fold(teller.events))
    assert found is not None
    return found


def test_every_host_is_in_every_phase_that_the_run_told_it_of() -> None:
    teller = Teller(fleet_of(2))
    line = timeline(teller.whole())
    phases = [Phase.LOOK, Phase.CLAIM, Phase.STAGE, Phase.CANARY, Phase.SETTLE, Phase.RETIRE]
    assert [work.phase for work in line.work["hive1"]] == phases
    assert all(work.status is Status.OK for work in line.work["hive1"])
    assert [band.phase for band in line.bands][-2:] == [Phase.SETTLE, Phase.RETIRE]
    ends = [work.span.end for work in line.work["hive1"]]
    assert ends == sorted(ends)


def test_a_turn_lasts_from_the_intent_to_the_answer_and_the_service_is_down_within_it() -> None:
    teller = Teller(fleet_of(1))
    (queen,) = [work for work in timeline(teller.whole()).work["queen"] if work.phase is Phase.QUEEN]
    assert queen.span.seconds == pytest.approx(0.02 + 0.1 + 3.1)
    assert queen.down is not None
    assert queen.down.begin == pytest.approx(queen.span.begin + 0.02), "swap first"
    assert queen.down.seconds == pytest.approx(0.1 + 0.05), "the restart, and until it was healthy"


def test_the_gap_is_drawn_where_the_run_counts_it() -> None:
    teller = Teller(fleet_of(3))
    run, line = fold(teller.whole()), timeline(teller.events)
    for name, host in run.hosts.items():
        gap = run.gap(host)
        assert gap is not None
        assert sum(span.seconds for span in line.gaps[name]) == pytest.approx(gap.seconds)
    queen = next(work.down for work in line.work["queen"] if work.down)
    assert line.gaps["hive3"][0].begin == pytest.approx(queen.begin), "it begins when the queen goes down"


def test_hosts_that_were_told_something_before_the_cut_are_shown_as_cut_off() -> None:
    teller = Teller(fleet_of(2))
    teller.before()
    teller.tell(PhaseStarted(Phase.QUEEN, ("queen",), teller.now(), "queen"))
    teller.tell(Intent("queen", Phase.QUEEN, (Verb.SWAP,), teller.now()))
    teller.clock += 4.0
    teller.cut(3600)
    last = timeline(teller.events).work["queen"][-1]
    assert (last.phase, last.status) == (Phase.QUEEN, None)
    assert last.span.seconds == pytest.approx(4.0), "not the hour that nobody worked"


def test_the_time_between_two_sittings_is_the_wall_clocks() -> None:
    """The bastion was started anew: its monotonic clock began again."""
    teller = Teller(fleet_of(2))
    teller.before()
    cut_at = timeline(teller.events).seconds
    teller.cut(7200)
    teller.phase(Phase.LOOK, [host.name for host in teller.fleet.hosts])
    line = timeline(teller.events)
    assert line.work["hive1"][-1].span.begin == pytest.approx(cut_at + 7200, abs=1)
    assert [turn.what for turn in line.turns] == [
        "begun by ann@bastion",
        "interrupted",
        "resumed by bob@bastion",
    ]


def test_a_wall_clock_that_was_put_back_does_not_turn_time_round() -> None:
    teller = Teller(fleet_of(2))
    teller.before()
    teller.cut(-900)
    teller.phase(Phase.LOOK, [host.name for host in teller.fleet.hosts])
    spans = [work.span for work in timeline(teller.events).work["hive1"]]
    assert all(one.end <= two.begin for one, two in pairwise(spans))


def test_a_host_that_is_not_reached_is_shown_for_as_long_as_it_was_waited_for() -> None:
    teller = Teller(fleet_of(3), lost=("hive2",))
    teller.before()
    look = timeline(teller.events).work["hive2"][0]
    assert look.status is Status.UNREACHABLE
    assert look.span.begin == 0.0
    assert look.span.seconds > 0.1


def test_waits_in_which_nobody_works_take_little_room_and_are_named() -> None:
    teller = Teller(fleet_of(4))
    teller.before()
    teller.clock += 300
    teller.turn()
    found = drawn(teller)
    (wait,) = found.waits
    assert wait.width < 30
    assert wait.title == "nothing was done for 5 min 0 s"
    assert max(box.x + box.width for row in found.rows for box in row.boxes) <= WIDTH - RIGHT + 0.1


def test_no_mark_lies_outside_of_the_picture_and_time_runs_to_the_right() -> None:
    teller = Teller(fleet_of(9), ill={"hive3": ILL}, lost=("hive5",))
    teller.whole()
    found = drawn(teller)
    boxes = [box for row in found.rows for box in (*row.boxes, *row.downs, *row.gaps)]
    assert boxes
    assert all(box.width >= 2.0 for box in boxes), "everything can be seen"
    assert all(box.x >= LEFT and box.x + box.width <= WIDTH - RIGHT + 0.1 for box in boxes)
    scale = scale_of(timeline(teller.events))
    places = [scale.x(at / 10) for at in range(200)]
    assert places == sorted(places)
    labels = [(box.x, box.x + 6.4 * len(box.label)) for box in found.ticks]
    assert all(one[1] < two[0] for one, two in pairwise(labels)), "labels lie on each other"


def test_failed_and_lost_hosts_are_drawn_as_such() -> None:
    teller = Teller(fleet_of(9), ill={"hive3": ILL}, lost=("hive5",))
    teller.whole()
    rows = {row.title: row for row in drawn(teller).rows}
    assert "failed" in {box.kind for box in rows["hive3"].boxes}
    assert {box.kind for box in rows["hive5"].boxes} == {"lost"}
    assert rows["hive3"].tone == rows["hive5"].tone == "bad"
    assert rows["hive1"].tone == "good"


def test_a_bar_is_green_only_where_the_host_is_on_the_new_token() -> None:
    teller = Teller(fleet_of(3))
    teller.before()
    teller.turn()
    teller.phase(Phase.SETTLE, [host.name for host in teller.fleet.hosts])
    green = {row.title for row in drawn(teller).rows for box in row.boxes if box.kind == "settle"}
    assert green == {"queen", "hive1", "hive2", "hive3"}
    teller.stop("hive3 went away")
    teller.phase(Phase.ROLLBACK, ["queen", "hive1", "hive2"])
    green = {row.title for row in drawn(teller).rows for box in row.boxes if box.kind == "settle"}
    assert green == {"hive3"}, "the others were taken back"


def test_a_thousand_hosts_fit_and_each_that_failed_is_named_in_a_row() -> None:
    ill = {f"hive{number}": ILL for number in (17, 333, 334, 335, 800)}
    teller = Teller(fleet_of(999), batch=50, ill=ill, lost=("hive42",))
    teller.whole()
    found = drawn(teller)
    assert len(found.rows) < MOST_SINGLE_ROWS
    assert found.rows[0].title == "queen"
    assert {row.title for row in found.rows if row.tone == "bad"} == {"hive17, hive[333:335], hive800", "hive42"}
    shown = [row.label for row in found.rows]
    assert all(len(label) < 30 for label in shown)
    assert "(25)" in shown[-2], "how many a row stands for"


def test_a_run_that_did_nothing_has_no_picture() -> None:
    teller = Teller(fleet_of(1))
    teller.begin()
    assert picture(timeline(teller.events), fold(teller.events)) is None


def test_spans_that_touch_are_one() -> None:
    assert merged([Span(3, 4), Span(0, 1), Span(1, 2), Span(0.5, 0.7)]) == [Span(0, 2), Span(3, 4)]


@pytest.mark.parametrize(
    ("seconds", "label"), [(0.5, "0.5 s"), (30, "30 s"), (60, "1 min"), (90, "1 min 30 s"), (7200, "2 h")]
)
def test_seconds_are_written_short(seconds: float, label: str) -> None:
    assert tick_label(seconds) == label


def test_what_is_shown_is_said_too() -> None:
    teller = Teller(fleet_of(3), ill={"hive2": ILL})
    teller.whole()
    says = drawn(teller).says
    assert says.startswith("4 hosts in ")
    assert says.endswith("Not successful: hive2.")
    assert "longest gap for clients was" in says


def test_order_of_events_decides_not_the_order_of_names() -> None:
    teller = Teller(replace(fleet_of(3)))
    teller.whole()
    assert [row.title for row in drawn(teller).rows] == ["queen", "hive1", "hive2", "hive3"]
