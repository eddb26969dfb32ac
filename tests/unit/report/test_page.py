"""A run as a page: what it says first, what it never says, and that nobody but us writes markup into it."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.journal.events import (
    CensusTaken,
    Event,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    Phase,
    RunEnded,
    RunStarted,
    State,
)
from hivekeys.journal.fold import fold
from hivekeys.protocol.audited import Use
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.hints import hint
from hivekeys.protocol.seen import HostRecord
from hivekeys.report.inputs import Finding, findings_of, review_of
from hivekeys.report.page import Page, page
from hivekeys.report.verdict import exit_code
from hivekeys.report.writing import html, markdown, plain
from tests.builders.findings import FINDINGS
from tests.builders.recorded import BEGAN, NEW, OLD, Teller, fleet_of

ILL = Cause(Trouble.START_FAILED, "Job for rbee-hive.service failed")
OLD_TAKEN = Cause(Trouble.OLD_ACCEPTED, "200 to the old token")
NASTY = "</title></svg><script>alert(1)</script><img src=x onerror=alert(1)> [a](http://evil) `x` | **b** \x1b[2J\n# no"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Counts tags, keeps text, and holds that every tag is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(teller: Teller, **more: Any) -> Page:
    return page(fold(teller.events), teller.events, teller.fleet, **more)


def rotated(**more: Any) -> Teller:
    teller = Teller(fleet_of(4), **more)
    teller.whole()
    return teller


def revoked(**more: Any) -> Teller:
    teller = Teller(fleet_of(4), **more)
    teller.revoke()
    return teller


def cut_off() -> Teller:
    teller = Teller(fleet_of(4))
    teller.before()
    return teller


def only_looked() -> Teller:
    teller = Teller(fleet_of(4))
    teller.begin()
    return teller


def taken_back(*hosts: str) -> Teller:
    """Stopped, and these hosts go back, or all."""
    teller = Teller(fleet_of(4), ill={"hive2": ILL})
    teller.before()
    teller.turn()
    teller.stop("1 of 5 hosts failed (hive2); max_failures is 0")
    teller.phase(Phase.ROLLBACK, hosts or [host.name for host in teller.fleet.hosts])
    teller.tell(RunEnded(exit_code(fold(teller.events)), teller.now()))
    return teller


def held() -> Teller:
    """All hosts are proven, and a client was let in with the old token after it was replaced."""
    teller = Teller(fleet_of(4))
    teller.before()
    teller.turn()
    teller.phase(Phase.SETTLE, [host.name for host in teller.fleet.hosts])
    use = Use("hive1", "rbee-hive", OLD.fp6, "/v1/workers/list", "10.0.0.9", True, 3, BEGAN)
    teller.tell(CensusTaken((use,), (("hive2", "no audit trail"),), False, teller.now()))
    teller.tell(RunEnded(exit_code(fold(teller.events)), teller.now()))
    return teller


def upkeep() -> Teller:
    teller = Teller(fleet_of(4), task="fix")
    teller.begin()
    teller.phase(Phase.FIX, ["queen", "hive1"])
    teller.tell(RunEnded(ExitCode.DONE, teller.now()))
    return teller


@pytest.mark.parametrize(
    ("teller", "headline", "tone"),
    [
        (rotated(), "Done, and proven, on every host", "good"),
        (rotated(ill={"hive2": ILL}), "Incomplete: 1 of 5 hosts needs you", "bad"),
        (rotated(ill={"hive2": ILL}, lost=("hive4",)), "Incomplete: 2 of 5 hosts need you", "bad"),
        (revoked(), "Revoked: every host refuses the old token, and was tried twice", "good"),
        (revoked(ill={"hive2": OLD_TAKEN}), "Not over: 1 of 5 hosts may still accept the old token", "bad"),
        (cut_off(), "Not over: cut off in phase stage", "fair"),
        (only_looked(), "Not begun: nothing was changed", "plain"),
        (taken_back(), "Failed; taken back on every host that it had touched (5)", "fair"),
        (taken_back("queen", "hive1"), "Incomplete: 3 of 5 hosts need you", "bad"),
        (held(), "Proven on every host; the old token is kept, because it is still used", "fair"),
        (upkeep(), "Done", "good"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_page_says_first_whether_it_worked(teller: Teller, headline: str, tone: str) -> None:
    found = page_of(teller)
    assert (found.headline, found.tone) == (headline, tone)
    read = Reader(html(found))
    assert headline in read.text
    assert markdown(found).startswith(f"# {plain(headline)}\n")


def test_every_host_has_a_row_with_its_four_proofs_and_its_gap() -> None:
    (group,) = page_of(rotated()).groups
    assert [line.name for line in group.lines] == ["queen", "hive1", "hive2", "hive3", "hive4"]
    hive = group.lines[-1]
    assert [(call.status, call.tone) for call in hive.calls] == [("200", "good"), *[("401", "good")] * 3]
    assert hive.gap != "–"
    assert hive.state == "proven"


def test_a_wrong_answer_is_marked_with_more_than_a_colour() -> None:
    teller = rotated(ill={"hive2": ILL})
    line = page_of(teller).groups[0].lines[2]
    assert [(call.name, call.tone) for call in line.calls if call.tone == "bad"] == [("new", "bad")]
    assert "✕ 401" in html(page_of(teller))


def test_a_token_that_was_taken_back_is_not_shown_as_the_one_of_now() -> None:
    shown = {"there": page_of(rotated()).tiles, "back": page_of(taken_back()).tiles}
    tokens = {name: next(tile.value for tile in tiles if tile.name == "token") for name, tiles in shown.items()}
    assert tokens == {"there": f"{OLD} → {NEW}", "back": f"{OLD} (not {NEW})"}


def test_took_is_one_number_whatever_the_operator_thought_and_however_long_it_was_cut_off() -> None:
    """14 s in the table and 94.7 s on the page, once."""
    teller = Teller(fleet_of(4))
    teller.before()
    teller.tell(OperatorAsked(teller.now()))
    teller.clock += 30
    teller.tell(OperatorAnswered(True, teller.now()))
    teller.cut(7200)
    teller.turn()
    teller.settle()
    run, quick = fold(teller.events), fold(rotated().events)
    assert run.seconds == pytest.approx(quick.seconds, abs=1.0)
    tile = next(tile.value for tile in page_of(teller).tiles if tile.name == "took")
    assert tile == f"{report.document(run, teller.fleet)['seconds']:.1f} s"
    assert f"; {tile}; exit code 0)" in report.summary(run, ExitCode.DONE).replace("), (", "; ")
    took = next(fact.value for fact in page_of(teller).facts if fact.name == "took")
    assert took.startswith(f"{tile}; 2 h 0 min from start to end")


def test_causes_come_with_the_next_step() -> None:
    (failure,) = page_of(rotated(ill={"hive2": ILL, "hive3": ILL})).failures
    assert (failure.hosts, failure.trouble) == ("hive2, hive3", "start-failed")
    assert failure.next == hint(ILL, fleet_of(4), "hive2", "hive3")
    assert "fab reconcile --fleet paper" in page_of(rotated(ill={"hive2": ILL})).next


def test_who_when_why_and_with_what_is_there() -> None:
    text = Reader(html(page_of(rotated()))).text
    for word in ("ann@bastion", "90 days", "2026-09-21 14:13:20 UTC", "paper-1a2b3c4d", "3.11.2 (5)", "5e5e5e5e"):
        assert word in text, word


def test_the_inventory_that_has_changed_since_is_told() -> None:
    teller = rotated()
    told = {}
    for digest in ("5e" * 32, "00" * 32, ""):
        run = fold(teller.events)
        facts = page(run, teller.events, replace(teller.fleet, digest=digest)).facts
        told[digest[:2]] = next(fact.value for fact in facts if fact.name == "inventory")
    assert told["5e"].endswith(", unchanged since")
    assert told["00"].endswith(", changed since")
    assert told[""].endswith("5e5e")


def test_a_revocation_has_its_exposure_per_host_and_as_a_picture() -> None:
    found = page_of(revoked(ill={"hive2": OLD_TAKEN}, lost=("hive3",)))
    assert found.curve is not None
    assert found.curve.says == "2 may accept it"
    refused = {line.name: line.refused for line in found.groups[0].lines}
    assert refused["hive2"] == refused["hive3"] == "may accept it"
    assert re.fullmatch(r"\d\.\d s", refused["hive1"])
    assert found.exposure[0].startswith("The old token was refused on 3 of 5 hosts after: median ")
    assert "Hosts that still accept the old token" in html(found)
    assert page_of(rotated()).curve is None, "a rotation has none"


def boxes(teller: Teller, **more: Any) -> dict[str, bool]:
    return {item.text: item.done for item in page_of(teller, **more).checklist}


def test_the_incident_checklist_is_ticked_by_what_was_seen_on_every_host() -> None:
    assert boxes(revoked()) == {
        "Generate new token": True,
        "Update all services": True,
        "Restart all services": True,
        "Verify services healthy": True,
        "Review audit logs for unauthorized access": False,
        "Document incident": False,
        "Update security procedures": False,
    }


def test_one_host_that_was_not_seen_keeps_the_boxes_open_and_is_named() -> None:
    teller = revoked(lost=("hive3",))
    assert [text for text, done in boxes(teller).items() if done] == ["Generate new token"]
    notes = [item.note for item in page_of(teller).checklist[1:4]]
    assert all(note.endswith("; not seen on hive3") for note in notes)
    assert "- [ ] Update all services" in markdown(page_of(teller))
    assert "- [x] Generate new token" in markdown(page_of(teller))


CENSUS = {
    "fleet": "paper",
    "exit_code": 0,
    "rows": [{"ok": 7, "failed": 2}],
    "forgotten": [{"ok_after": 1, "failed_after": 2}],
    "hosts": [{"host": "queen", "cause": None}, {"host": "hive1", "cause": None}],
}


def test_the_audit_box_is_ticked_with_the_figures_of_a_whole_review() -> None:
    review = review_of(json.dumps(CENSUS).encode(), "paper")
    assert boxes(revoked(), review=review)["Review audit logs for unauthorized access"]
    assert review.figures.startswith("7 calls let in and 2 refused, by the records of 2 hosts")
    assert review.figures.endswith("after it was replaced: 1 let in, 2 refused")


@pytest.mark.parametrize(
    "change",
    [{"exit_code": 4}, {"hosts": [{"host": "queen", "cause": None}, {"host": "hive1", "cause": {"trouble": "x"}}]}],
)
def test_a_review_that_could_not_read_everything_ticks_nothing(change: dict[str, Any]) -> None:
    review = review_of(json.dumps(CENSUS | change).encode(), "paper")
    assert not boxes(revoked(), review=review)["Review audit logs for unauthorized access"]


def test_who_still_used_the_old_token_is_named() -> None:
    for text in (Reader(html(page_of(held()))).text, markdown(page_of(held())).replace("\\", "")):
        assert "hive1: 10.0.0.9 called /v1/workers/list of rbee-hive" in text
        assert "no audit records could be read on hive2: no audit trail" in text
    assert "Who used the old token" not in html(page_of(rotated()))


def test_findings_of_verify_are_shown_folded_the_worst_first() -> None:
    found = findings_of(json.dumps(FINDINGS).encode(), "paper")
    assert [(one.verdict, one.check, one.hosts) for one in found] == [
        ("fail", "file-mode", "hive1, hive2"),
        ("waived", "credential", "hive1"),
    ]
    assert "file-mode" in html(page_of(rotated(), findings=found))
    assert "Everything passed" in html(page_of(rotated(), findings=()))
    assert "Security checklist" not in html(page_of(rotated()))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected an object with the lists findings"),
        (b'{"findings": {}}', "expected an object"),
        (b'{"findings": [], "fleet": "green"}', "this is of fleet green, not of paper"),
        (b'{"findings": [1], "fleet": "paper"}', "expected rows with the texts check"),
        (b'{"findings": [{"check": 1}], "fleet": "paper"}', "expected rows with the texts check"),
    ],
)
def test_a_file_that_is_no_such_document_is_refused_in_words(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        findings_of(content, "paper")


@pytest.mark.parametrize("change", [{"rows": [{"ok": "7"}]}, {"rows": [None]}, {"forgotten": [{}]}, {"hosts": ["x"]}])
def test_figures_that_are_none_are_refused_in_words(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected rows"):
        review_of(json.dumps(CENSUS | change).encode(), "paper")


def found_by_verify(words: str) -> tuple[Finding, ...]:
    row = {"check": words, "title": words, "host": words, "verdict": words, "detail": words, "waived": None}
    return findings_of(json.dumps({"fleet": "paper", "findings": [row]}).encode(), "paper")


def with_nasty_words(teller: Teller) -> list[Event]:
    """The same run, and everything in it that a host, an operator or another bastion can choose is an attack."""

    def nasty(event: Event) -> Event:
        if isinstance(event, RunStarted):
            return replace(event, who=NASTY, reason=NASTY, version=NASTY, inventory=NASTY)
        if isinstance(event, Outcome) and event.host == "hive2":
            event = replace(event, cause=event.cause and Cause(event.cause.trouble, NASTY), met=HostRecord(NASTY))
            return replace(event, proof=event.proof and replace(event.proof, path=NASTY))
        return event

    return [nasty(event) for event in teller.events]


def test_nothing_that_a_host_or_an_operator_says_is_markup() -> None:
    teller = rotated(ill={"hive2": ILL})
    tame = html(page_of(teller, findings=found_by_verify("x")))
    events = with_nasty_words(teller)
    wild = html(page(fold(events), events, teller.fleet, findings=found_by_verify(NASTY)))
    assert "<script>alert(1)</script>" in Reader(wild).text, "it is shown, as text"
    assert Reader(wild).tags == Reader(tame).tags
    assert Reader(wild).attributes == Reader(tame).attributes
    assert "\x1b" not in wild


def test_nothing_of_it_is_markdown_either() -> None:
    teller = rotated(ill={"hive2": ILL})
    events = with_nasty_words(teller)
    tame = markdown(page_of(teller, findings=found_by_verify("x")))
    wild = markdown(page(fold(events), events, teller.fleet, findings=found_by_verify(NASTY)))
    assert len(wild.splitlines()) == len(tame.splitlines()), "no line of its own"
    without = re.sub(r"\\.", "", wild)
    assert "\x1b" not in wild
    assert not re.search(r"[<>`\[\]]|\*\*b|http://", without.replace("- [ ]", "").replace("[x]", ""))
    rows = [line for line in without.splitlines() if re.match(r"\| hive\d", line)]
    assert {line.count("|") for line in rows} == {12}


def test_a_page_never_shows_more_of_a_token_than_fp6() -> None:
    for teller in (rotated(), revoked(ill={"hive2": OLD_TAKEN})):
        for text in (html(page_of(teller)), markdown(page_of(teller))):
            assert NEW.fp6 in text
            assert OLD.keyed not in text
            assert NEW.keyed not in text
            assert "a" * 64 not in text
            assert "b" * 64 not in text


def test_a_page_needs_nothing_from_anywhere() -> None:
    text = html(page_of(revoked()))
    assert "<script" not in text
    asked = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')>]*)""", text)
    assert asked
    assert all(one.startswith(("data:", "#")) for one in asked), asked
    assert "default-src 'none'" in text


def test_a_thousand_hosts_are_folded_and_those_that_need_somebody_are_open() -> None:
    teller = Teller(fleet_of(999), batch=100, ill={"hive17": ILL, "hive800": ILL}, lost=("hive42",))
    teller.whole()
    found = page_of(teller)
    text = html(found)
    read = Reader(text)
    assert read.tags["details"] == 3
    assert read.tags["tr"] > 1000
    assert [(group.state, len(group.lines)) for group in found.groups] == [
        (State.UNREACHABLE.value, 1),
        (State.FAILED.value, 2),
        (State.PROVEN.value, 997),
    ]
    assert text.count("<details open>") == 2
    assert len(text) < 700_000


def test_a_host_that_has_left_the_inventory_is_still_told() -> None:
    teller = rotated()
    smaller = replace(teller.fleet, hosts=teller.fleet.hosts[:-1])
    lines = page(fold(teller.events), teller.events, smaller).groups[0].lines
    assert (lines[-1].name, lines[-1].service) == ("hive4", "–")
