"""A run on the screen: everything that counts is there, at any size, and nothing of a host is obeyed."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import chain

import pytest
from rich.text import Text

from hivekeys.errors import ExitCode
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import (
    Event,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    Paused,
    Phase,
    PhaseStarted,
    Retried,
    RunEnded,
    State,
    Status,
    Stopped,
)
from hivekeys.journal.progress import Direction, Progress, to_go
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.report.view import view
from hivekeys.token import Token
from tests.builders.running import NOON, at, begun, fails, followed, midway, names, passed


def drawn(progress: Progress, seconds: float = 14.2, width: int = 80, height: int = 23) -> list[str]:
    """The picture as an operator reads it."""
    return [line.plain for line in view(progress, at(seconds), width, height)]


def clock(seconds: float) -> str:
    return datetime.fromtimestamp(NOON + seconds).strftime("%H:%M:%S")


# -- what is on it

SMALL_FLEET_60 = """\
rotation of fleet blue      14 s, about 6 s to go ({end})
✓ look  ✓ claim  ✓ stage  ✓ queen  ✓ canary  ▸ wave 1 of 2
· 1 wave  · settle  · retire
━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╍╍╍╍╍╍╍╍╍╍────────────────────
3 proven  3 waiting  0 failed  0 unreachable

wave 1 of 2  1 of 2 through  4 s
  hive3  swap restart prove  4 s"""

SIXTY_HOSTS_80 = """\
rotation of fleet blue  blue-5f0e12ab          14 s, about 16 s to go ({end})
✓ look  ✓ claim  ✓ stage  ✓ queen  ✓ canary  ▸ wave 1 of 5  · 4 waves  · settle
· retire
━━━╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍××───────────────────────────────────────────────────────────
3 proven  57 waiting  1 failed  0 unreachable

wave 1 of 5  2 of 14 through  4 s
  hive4  swap restart prove  4 s    hive5  swap restart prove  4 s
  hive6  swap restart prove  4 s    hive7  swap restart prove  4 s
  hive8  swap restart prove  4 s    hive9  swap restart prove  4 s
  hive10  swap restart prove  4 s   hive11  swap restart prove  4 s
  hive12  swap restart prove  4 s   hive13  swap restart prove  4 s
  hive14  swap restart prove  4 s   hive15  swap restart prove  4 s
hive3: start-failed: exit code 1"""

THOUSAND_HOSTS_160 = """\
rotation of fleet blue  blue-5f0e12ab                                                                                    14 s, about 1 min 50 s to go ({end})
✓ look  ✓ claim  ✓ stage  ✓ queen  ✓ canary  ▸ wave 1 of 4  · 3 waves  · settle  · retire
╍╍╍╍╍───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
3 proven  997 waiting  0 failed  0 unreachable
wave 1 of 4  1 of 250 through  4 s
  hive3  swap restart prove  4 s    hive4  swap restart prove  4 s    hive5  swap restart prove  4 s    hive6  swap restart prove  4 s
  hive7  swap restart prove  4 s    hive8  swap restart prove  4 s    hive9  swap restart prove  4 s    hive10  swap restart prove  4 s
  and 23 more: hive[11:33]
  not yet: hive[34:251]"""  # noqa: E501  as wide as the terminal


def test_a_small_fleet_on_a_narrow_terminal() -> None:
    assert "\n".join(drawn(followed(midway(5, 2)), width=60)) == SMALL_FLEET_60.format(end=clock(19.9))


def test_sixty_hosts_on_a_usual_terminal_with_one_that_failed() -> None:
    failed = fails("hive3", Phase.WAVE, 13, Trouble.START_FAILED, "exit code 1")
    assert "\n".join(drawn(followed(chain(midway(60, 14), [failed])))) == SIXTY_HOSTS_80.format(end=clock(30.3))


def test_a_thousand_hosts_on_a_wide_terminal_of_few_lines() -> None:
    expected = THOUSAND_HOSTS_160.format(end=clock(14.2 + 109.8))
    assert "\n".join(drawn(followed(midway(999, 250)), width=160, height=9)) == expected


@pytest.mark.parametrize("hives", [5, 60, 999])
@pytest.mark.parametrize("width", [60, 80, 160])
@pytest.mark.parametrize("height", [9, 19, 29, 60])
def test_every_picture_fits_and_says_what_counts(hives: int, width: int, height: int) -> None:
    failed = [fails(host, Phase.WAVE, 13, Trouble.UNHEALTHY, "x" * 300) for host in names(hives)[3:]]
    for events in (midway(hives, hives // 3), chain(midway(hives, hives // 3), failed)):
        lines = drawn(followed(events), width=width, height=height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert "▸ wave 1 of" in "\n".join(lines)
        assert "3 proven" in "\n".join(lines)


def test_failures_stay_until_the_host_comes_through() -> None:
    failed = fails("hive2", Phase.CANARY, 12, Trouble.UNHEALTHY, "503")
    lost = fails("hive3", Phase.STAGE, 13, Trouble.NO_CONNECTION, "timed out")
    progress = followed(chain(begun(5, 2), [failed, lost]))
    assert drawn(progress)[-2:] == ["hive2: unhealthy: 503", "hive3: no-connection: timed out"]
    assert any("1 failed  1 unreachable" in line for line in drawn(progress))
    mended = chain(begun(5, 2), [failed, lost], passed(Phase.WAVE, ("hive2",), 14, 1))
    assert drawn(followed(mended), 15)[-1] == "hive3: no-connection: timed out"


def test_many_failures_are_one_line_a_kind() -> None:
    troubles = (Trouble.UNHEALTHY, Trouble.START_FAILED, Trouble.DEADLINE, Trouble.UNSTABLE, Trouble.SILENT)
    failed = [fails(host, Phase.STAGE, 9, troubles[number % 5]) for number, host in enumerate(names(999)[1:])]
    lines = drawn(followed(chain(begun(999, 250), failed)))
    assert lines[-5].startswith("200 hosts: hive1, hive6, hive11, h…: unhealthy")
    assert lines[-1] == "and 199 hosts for 1 other reasons"


def test_the_way_back_is_said_and_drawn() -> None:
    stopped = Stopped(Phase.WAVE, "3 of 6 hosts failed (hive2); max_failures is 0", at(13))
    going = PhaseStarted(Phase.ROLLBACK, ("queen", "hive1"), at(14), "rollback, queen")
    lines = drawn(followed(chain(midway(5, 2), [stopped])))
    assert "stopped: 3 of 6 hosts failed (hive2); max_failures is 0" in lines
    assert "▸ wave 1 of 2  · rollback" in lines[1]
    assert "to go" not in lines[0]
    assert "▸ rollback, queen" in "\n".join(drawn(followed(chain(midway(5, 2), [stopped, going]))))


def bar_of(progress: Progress) -> Text:
    return next(line for line in view(progress, at(18.5), 60, 23) if "──" in line.plain)


def test_only_what_is_on_the_new_token_is_green() -> None:
    back = passed(Phase.ROLLBACK, ("queen", "hive1", "hive2"), 15, 3, State.ROLLED_BACK, title="rollback, queen")
    bar = bar_of(followed(chain(midway(5, 2), back)))
    styles = {bar.plain[span.start]: span.style for span in bar.spans}
    assert styles["┄"] == "yellow"
    assert bar.plain.count("┄") == 30
    assert not any(span.style == "green" and span.end > span.start for span in bar.spans)
    bar = bar_of(followed(midway(5, 2)))
    assert bar.plain.count("━") == 30 and {span.style for span in bar.spans if bar.plain[span.start] == "━"} == {
        "green"
    }


def test_what_is_taken_back_or_only_looked_at_has_no_waves_ahead() -> None:
    look = [PhaseStarted(Phase.LOOK, names(5), at(0), "look")]
    assert drawn(followed([*list(begun(5, 2))[:1], *look], Direction.LOOK))[1] == "▸ look"
    assert drawn(followed([*list(begun(5, 2))[:1], *look], Direction.BACK))[1] == "▸ look  · rollback"
    assert drawn(followed(list(begun(5, 2))[:4], Direction.LOOK), 1)[3].startswith("1 through  5 waiting")


def test_the_last_picture_is_the_summary() -> None:
    well = chain(
        midway(5, 2),
        passed(Phase.WAVE, ("hive2", "hive3"), 10, 3, title="wave 1 of 2"),
        passed(Phase.WAVE, ("hive4", "hive5"), 14, 3, title="wave 2 of 2"),
        passed(Phase.SETTLE, names(5), 17, 1),
        passed(Phase.RETIRE, names(5), 18, 1),
        [RunEnded(ExitCode.DONE, at(19.2))],
    )
    assert drawn(followed(well)) == [
        "rotation of fleet blue  blue-5f0e12ab                                     19.2 s",
        "✓ look  ✓ claim  ✓ stage  ✓ queen  ✓ canary  ✓ 2 waves  ✓ settle  ✓ retire",
        "━" * 80,
        "6 proven  0 waiting  0 failed  0 unreachable",
    ]


def test_an_interrupted_run_shows_what_is_left() -> None:
    events = [*midway(5, 2), Paused(at(15))]
    assert "✓ wave 1 of 2  · 1 wave" in drawn(followed(events))[1]
    stopping = [line.plain for line in view(followed(midway(5, 2)), at(14), 80, 23, stopping=True)]
    assert "stopping: hosts in flight finish, no further host begins (again: stop at once)" in stopping


# -- when it ends


def test_the_end_is_expected_by_the_pace_of_the_waves_and_not_before_there_is_one() -> None:
    assert to_go(followed(begun(5, 2)), 103) is None
    two_waves_of_60 = followed(midway(122, 60))  # 1 round: 3.5 s; a wave of 60 at 32 at once: 2 rounds
    assert to_go(two_waves_of_60, 110) == pytest.approx(7 + 7 + 3.5 + 1 + 1, abs=4)
    assert to_go(two_waves_of_60, 112) == pytest.approx(to_go(two_waves_of_60, 110) or 0, abs=2.01)
    late = to_go(two_waves_of_60, 500)
    assert late is not None and late > 0


def thought(events: Iterable[Event], after: Phase, seconds: float) -> Iterator[Event]:
    """The same run, with an operator who took so long to say yes when that phase was over."""
    late, last = 0.0, None
    for event in events:
        if isinstance(event, PhaseStarted) and event.phase is not after and last is after:
            yield OperatorAsked(event.when)
            late = seconds
            yield OperatorAnswered(True, Moment(event.when.at + late, event.when.clock + late))
        last = event.phase if isinstance(event, PhaseStarted) else last
        yield replace(event, when=Moment(event.when.at + late, event.when.clock + late))


@pytest.mark.parametrize("after", [Phase.LOOK, Phase.QUEEN, Phase.CANARY])
def test_an_operator_who_thinks_for_a_minute_changes_no_countdown_and_no_duration(after: Phase) -> None:
    quick, slow = followed(midway(5, 2)), followed(thought(midway(5, 2), after, 60))
    assert to_go(slow, 114.2 + 60) == pytest.approx(to_go(quick, 114.2) or 0)
    assert slow.run.seconds == pytest.approx(quick.run.seconds)
    assert drawn(slow, 74.2)[0].count("  14 s, about 6 s to go (") == 1
    assert drawn(slow, 74.2)[1:] == drawn(quick)[1:]


def test_while_the_operator_is_asked_no_time_passes() -> None:
    asked = followed([*midway(5, 2), OperatorAsked(at(14))])
    assert to_go(asked, 500) == to_go(asked, 114)
    assert drawn(asked, 400)[0].count("  14 s, about")
    assert drawn(asked, 400)[1:6] == drawn(asked, 14)[1:6]


# -- a revocation


def test_the_exposure_clock_runs_until_no_host_can_trust_the_old_token() -> None:
    progress = followed(begun(5, 5, REVOKE))
    assert "exposed for 14 s: 6 of 6 hosts may still accept the old token" in drawn(progress)
    assert "exposed for 20 s: 6 of 6 hosts may still accept the old token" in drawn(progress, 20.1)
    hosts = progress.run.hosts
    some = {name: replace(host, refused=NOON + 4, state=State.PROVEN) for name, host in list(hosts.items())[:4]}
    closing = replace(progress, run=replace(progress.run, hosts={**hosts, **some}))
    assert "exposed for 14 s: 2 of 6 hosts may still accept the old token" in drawn(closing)
    refused = "the old token was refused on 4 of 6 hosts after: median 4.0 s, 95 %"
    assert any(line.startswith(refused) for line in drawn(closing, width=100))
    every = {name: replace(host, refused=NOON + 4, state=State.PROVEN) for name, host in hosts.items()}
    assert "exposed" not in "".join(drawn(replace(closing, run=replace(closing.run, hosts=every))))


def test_at_sixty_columns_the_exposure_clock_is_whole() -> None:
    progress = followed(begun(5, 5, REVOKE))
    hosts = progress.run.hosts
    some = {name: replace(host, refused=NOON + 4, state=State.PROVEN) for name, host in list(hosts.items())[:4]}
    lines = drawn(replace(progress, run=replace(progress.run, hosts={**hosts, **some})), 1000, width=60)
    assert "exposed 16 min 40 s: 2 of 6 hosts may still accept it" in lines
    assert "refused on 4 of 6 hosts after: median 4.0 s, last 4.0 s" in lines


def test_whoever_the_others_did_not_wait_for_is_named_until_he_answers() -> None:
    """And nobody knows when the end will be: he is tried again."""
    claim = PhaseStarted(Phase.CLAIM, ("queen", "hive1", "hive2"), at(3), "claim")
    claimed = [Outcome(name, Phase.CLAIM, Status.OK, State.UNCHANGED, at(4)) for name in ("queen", "hive1")]
    turned = passed(Phase.QUEEN, ("queen",), 4, 1)
    events = [*begun(2, 2, REVOKE), claim, *claimed, *turned, PhaseStarted(Phase.WAVE, ("hive1",), at(5), "wave")]
    assert "  still waiting for: hive2" in drawn(followed(events))
    assert to_go(followed(events), 104) is None
    answered = Outcome("hive2", Phase.CLAIM, Status.OK, State.UNCHANGED, at(9))
    assert "still waiting" not in "".join(drawn(followed([*events, answered])))
    assert to_go(followed([*events, answered]), 104) is not None


def test_another_attempt_is_said_and_begins_at_the_first_phase() -> None:
    again = Retried(2, ("hive3",), at(20))
    lines = drawn(followed([*begun(5, 5, REVOKE), again, PhaseStarted(Phase.LOOK, ("hive3",), at(20), "look")]), 21)
    assert "attempt 2" in lines[0]
    assert lines[1].startswith("▸ look  · claim")


# -- hostile hosts

HOSTILE = {
    "markup": "[bold red]all proven[/] [link=http://x]here[/link]",
    "escapes": "\x1b[2J\x1b]0;owned\x07 \x1b[31mred \x9b31m",
    "line breaks": "one\ntwo\r\nthree\rfour\x0bfive\u2028six\u0085seven",
    "direction": "\u202eneverp lla\u202c \u200f\u2066x\u2069",
    "invisible": "a\u200bb\ufeffc\x00d\x7f",
    "wide": "漢" * 300,
}


@pytest.mark.parametrize("detail", HOSTILE.values(), ids=HOSTILE)
def test_what_a_host_says_is_shown_and_never_obeyed(detail: str) -> None:
    events = [*midway(5, 2), fails("hive3", Phase.WAVE, 13, Trouble.UNHEALTHY, detail)]
    lines = view(followed(events), at(14), 60, 23)
    shown = next(line for line in lines if line.plain.startswith("hive3: unhealthy"))
    assert all(char.isprintable() for line in lines for char in line.plain)
    assert all(line.cell_len <= 60 for line in lines)
    assert [span.style for span in shown.spans] == []
    assert shown.style == "red"
    if detail.startswith("["):
        assert "[bold red]all proven[/]" in shown.plain


# -- what it costs


def test_a_picture_of_a_thousand_hosts_costs_far_less_than_a_twentieth_of_a_core() -> None:
    failed = [fails(host, Phase.WAVE, 13, Trouble.UNHEALTHY, "no") for host in names(999)[3:200]]
    progress = followed(chain(midway(999, 250), failed))
    before = time.thread_time()
    for number in range(20):
        view(progress, at(14 + number / 4), 160, 40)
    a_second = (time.thread_time() - before) / 20 * 4  # four frames a second
    assert a_second < 0.05


def test_a_host_that_answers_after_its_phase_is_no_part_of_the_next() -> None:
    """A revocation leaves the slow ones behind."""
    late = Outcome("hive5", Phase.STAGE, Status.OK, State.UNCHANGED, at(5))
    progress = followed([*begun(5, 5, REVOKE), PhaseStarted(Phase.QUEEN, ("queen",), at(4), "queen"), late])
    assert progress.left == ("queen",)


def test_no_fingerprint_is_drawn() -> None:
    assert Token("b" * 64).fingerprint(b"k").keyed not in "".join(drawn(followed(midway(5, 2))))
