"""Findings as SARIF 2.1.0: a rule for each check, a result for what did not pass. Pure.

Hosts are logical locations, and lines of the inventory, where code scanning shows them; waivers are suppressions;
"can't tell" is SARIF's own kind for it: `open`. The text is OASIS' "Static Analysis Results Interchange Format (SARIF)
Version 2.1.0"; its sections are named below.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hivekeys import __version__
from hivekeys.fleet import Waiver
from hivekeys.verify.checklist import expired_line
from hivekeys.verify.findings import Check, Finding, Report, Severity, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}


@dataclass(frozen=True)
class Written:
    """Where the hosts are written: the inventory's file as a URI, relative where it can be, and each host's line."""

    uri: str
    lines: Mapping[str, int]


def sarif(report: Report, written: Written | None = None) -> dict[str, Any]:
    """The whole log: one run of one tool."""
    rules = list({finding.check.id: finding.check for finding in report.findings}.values())
    places = {check.id: place for place, check in enumerate(rules)}
    results = [
        _result(report.fleet, finding, places[finding.check.id], written)
        for finding in report.findings
        if finding.verdict is not Verdict.PASS
    ]
    driver = {"name": "hivekeys", "version": __version__, "rules": [_rule(check) for check in rules]}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"hivekeys/verify/{report.fleet}/"},
        "invocations": [_invocation(report)],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "shortDescription": _message(check.title),
        "help": _message(f"Secret Management Guide, {check.section}"),
        "defaultConfiguration": {"level": LEVELS[check.severity]},
        "properties": {"severity": check.severity.value, "section": check.section},
    }


def _result(fleet: str, finding: Finding, rule: int, written: Written | None) -> dict[str, Any]:
    """§3.27: only a failure has a level of its own; what could not be told is `open`."""
    undecided = finding.verdict is Verdict.UNTOLD
    level = "none" if undecided else "warning" if finding.verdict is Verdict.WARN else LEVELS[finding.check.severity]
    place = f"{fleet}/{finding.host}"
    identity = hashlib.sha256(f"{place}/{finding.check.id}".encode()).hexdigest()
    return {
        "ruleId": finding.check.id,
        "ruleIndex": rule,
        "kind": "open" if undecided else "fail",
        "level": level,
        "message": _message(f"{finding.host}: {finding.check.title}: {finding.word}: {finding.text}"),
        "locations": [_location(finding.host, place, written)],
        "partialFingerprints": {"host-and-check/v1": identity},
        "suppressions": [_suppression(finding.waiver)] if finding.waiver else [],
    }


def _location(host: str, place: str, written: Written | None) -> dict[str, Any]:
    """§3.28: the host itself, and its line in the inventory."""
    logical = {"logicalLocations": [{"name": host, "fullyQualifiedName": place, "kind": "resource"}]}
    if written is None:
        return logical
    region = {"startLine": written.lines.get(host, 1)}
    return {"physicalLocation": {"artifactLocation": {"uri": written.uri}, "region": region}, **logical}


def _suppression(waiver: Waiver) -> dict[str, Any]:
    """§3.35: kept outside of what was looked at, and accepted."""
    return {
        "kind": "external",
        "status": "accepted",
        "justification": waiver.reason,
        "properties": {"until": waiver.until.isoformat()},
    }


def _invocation(report: Report) -> dict[str, Any]:
    said = [{"level": "warning", "message": _message(expired_line(waiver))} for waiver in report.expired]
    return {
        "executionSuccessful": True,
        "exitCode": int(report.code),
        "startTimeUtc": _utc(report.at),
        "endTimeUtc": _utc(report.at + report.seconds),
        "toolConfigurationNotifications": said,
    }


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _message(text: str) -> dict[str, str]:
    """Plain text: brackets would be a link (§3.11.6), braces a placeholder (§3.11.5)."""
    plain = "".join(f"\\{char}" if char in "\\[]" else char * 2 if char in "{}" else char for char in text)
    return {"text": plain}
