"""Findings as JUnit XML: a test suite for each host, a test case for each check. Pure.

JUnit knows no warning: what neither passed nor failed is `skipped`, with the word for it in front, and so is what is
waived. So a run is red in CI exactly when `fab verify` ends with 6. The layout is the Ant schema's, the strictest.
"""

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from hivekeys import __version__
from hivekeys.text.clean import one_line
from hivekeys.verify.checklist import counts, expired_line
from hivekeys.verify.findings import Finding, Report, Verdict


def junit(report: Report) -> str:
    """The whole document. What hosts said is text of an attribute, and can be nothing else."""
    root = ET.Element("testsuites")
    of_host: dict[str, list[Finding]] = {}
    for finding in report.findings:
        of_host.setdefault(finding.host, []).append(finding)
    for number, (host, found) in enumerate(of_host.items()):
        root.append(_suite(report, number, host, found))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report, number: int, host: str, found: list[Finding]) -> ET.Element:
    words = counts(found)
    suite = ET.Element(
        "testsuite",
        id=str(number),
        name=host,
        package=report.fleet,
        hostname=host,
        timestamp=datetime.fromtimestamp(report.at, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        tests=str(len(found)),
        failures=str(words["fail"]),
        errors="0",
        skipped=str(len(found) - words["fail"] - words["pass"]),
        time=f"{report.seconds:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", name="hivekeys", value=__version__)
    for waiver in report.expired:
        ET.SubElement(properties, "property", name="expired waiver", value=one_line(expired_line(waiver)))
    for finding in found:
        suite.append(_case(report.fleet, finding))
    ET.SubElement(suite, "system-out")
    ET.SubElement(suite, "system-err")
    return suite


def _case(fleet: str, finding: Finding) -> ET.Element:
    case = ET.Element("testcase", classname=f"{fleet}.{finding.host}", name=finding.check.id, time="0")
    said = one_line(finding.text)
    if finding.word == Verdict.FAIL.value:
        failure = ET.SubElement(case, "failure", type=finding.check.severity.value, message=said)
        failure.text = f"{finding.check.title} (guide: {finding.check.section})"
    elif finding.verdict is not Verdict.PASS:
        ET.SubElement(case, "skipped", message=f"{finding.word}: {said}")
    return case
