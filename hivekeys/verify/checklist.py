"""Shows findings: a table of what did not pass, JSON, Markdown. Pure.

Details came from hosts: they go into `rich.text.Text`, and in Markdown nothing of them is markup.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hivekeys.fleet import Waiver
from hivekeys.protocol.hints import limit_of
from hivekeys.text.commands import as_typed
from hivekeys.text.documents import verify as documents
from hivekeys.text.documents.head import head
from hivekeys.text.names import fold_names
from hivekeys.verify.findings import WAIVED, Finding, Report, Verdict

STYLES = {"fail": "red", "can't tell": "yellow", "warn": "yellow", WAIVED: "dim", "pass": "green"}
SHARED, DEAD = "shared-token", "dead-token"  # checks that want an option of their own
MENDABLE = {"acl", "audit", "directory-mode", "file-mode", "hard-links", "parents", "strays"}  # by `fab fix`
WORST = ("fail", "can't tell", "warn", WAIVED, "pass")


def counts(found: Iterable[Finding]) -> dict[str, int]:
    """How many findings each verdict has, and how many are waived."""
    every = [finding.word for finding in found]
    return {word: every.count(word) for word in WORST}


def folded(found: Iterable[Finding], everything: bool = False) -> list[tuple[Finding, tuple[str, ...]]]:
    """Equal findings joined, with all their hosts; the worst first. Passed ones only if `everything`."""
    hosts: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    first: dict[tuple[str, str, str], Finding] = {}
    for finding in found:
        key = (finding.check.id, finding.word, finding.text)
        first.setdefault(key, finding)
        hosts[key].append(finding.host)
    rows = [(first[key], tuple(names)) for key, names in hosts.items()]
    kept = [row for row in rows if everything or row[0].verdict is not Verdict.PASS]
    return sorted(kept, key=lambda row: WORST.index(row[0].word))


def table(found: Sequence[Finding], everything: bool = False) -> Table:
    """One row for each check that did not pass, hosts that say the same in one."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("verdict", "check", "hosts", "what", "found"):
        shown.add_column(title, overflow="fold")
    for finding, hosts in folded(found, everything):
        check = finding.check
        word = Text(finding.word, STYLES[finding.word])
        shown.add_row(word, check.id, fold_names(hosts), check.title, Text(finding.text))
    return shown


def summary(found: Sequence[Finding]) -> str:
    """The last line: how many of what, and which checks passed on every host."""
    said = ", ".join(f"{count} {name}" for name, count in counts(found).items() if count)
    hosts = len({finding.host for finding in found})
    return f"{len({finding.check.id for finding in found})} checks on {hosts} hosts: {said}"


def next_line(found: Sequence[Finding], typed: str) -> str:
    """The commands to type for what failed; "" where nothing did. `typed`: the words after --fleet."""
    failed = [one for one in found if one.verdict is Verdict.FAIL and not one.waiver]
    if not failed:
        return ""
    ids = list(dict.fromkeys(one.check.id for one in failed))
    where = f"--fleet {typed} --limit {limit_of(list(dict.fromkeys(one.host for one in failed)))}"
    asked = [name for name in ids if name != SHARED]  # the findings do not name the other fleet
    dead = " --dead-token" if DEAD in asked else ""
    again = as_typed(f"fab verify {where} --checks {','.join(asked)}{dead}") if asked else "the same again"
    strays = " --strays" if "strays" in ids else ""
    mend = as_typed(f"what hivekeys can repair: fab fix {where}{strays}   ") if MENDABLE & {*ids} else ""
    return f"{mend}when it is repaired: {again}"


def passed_line(found: Sequence[Finding]) -> str:
    """The checks that passed on every host."""
    ids = dict.fromkeys(finding.check.id for finding in found)
    open_ids = {finding.check.id for finding in found if finding.verdict is not Verdict.PASS}
    passed = [name for name in ids if name not in open_ids]
    return f"passed everywhere: {', '.join(passed)}" if passed else "no check passed everywhere"


def modes_line(found: Sequence[Finding]) -> str:
    """How hivekeys becomes root, and on which hosts; "" when no host was asked."""
    modes: dict[str, list[str]] = defaultdict(list)
    for finding in found:
        if finding.check.id == "mode":
            modes[(finding.detail or finding.word).partition(":")[0].partition(",")[0]].append(finding.host)
    said = "; ".join(f"{mode} on {fold_names(hosts)}" for mode, hosts in modes.items())
    return f"mode: {said}" if said else ""


def expired_line(waiver: Waiver) -> str:
    """A line: this waiver has expired."""
    of = fold_names(waiver.hosts) if waiver.hosts else "all hosts"
    return f"the waiver of {waiver.check} on {of} expired on {waiver.until}: {waiver.reason}"


def document(report: Report, typed: str) -> documents.Checklist:
    """Everything, for a program; `typed`: the words after --fleet."""
    return {
        "form": "verify",
        **head(summary(report.findings), next_line(report.findings, typed)),
        "fleet": report.fleet,
        "exit_code": int(report.code),
        "counts": counts(report.findings),
        "findings": [_finding(finding) for finding in report.findings],
        "expired_waivers": [_waiver(waiver) for waiver in report.expired],
    }


def _finding(finding: Finding) -> documents.Finding:
    return {
        "check": finding.check.id,
        "title": finding.check.title,
        "section": finding.check.section,
        "severity": finding.check.severity.value,
        "host": finding.host,
        "verdict": finding.verdict.value,
        "detail": finding.detail,
        "waived": _waiver(finding.waiver) if finding.waiver else None,
    }


def _waiver(waiver: Waiver) -> documents.Waiver:
    hosts = list(waiver.hosts) or None
    return {"check": waiver.check, "hosts": hosts, "reason": waiver.reason, "until": waiver.until.isoformat()}


def markdown(report: Report) -> str:
    """A page for a ticket or a review: the same rows as the table, all of them."""
    rows = [f"# Security checklist of fleet {report.fleet}", "", f"{summary(report.findings)}.", ""]
    rows += ["| Verdict | Check | Hosts | What | Found |", "| --- | --- | --- | --- | --- |"]
    for finding, hosts in folded(report.findings, everything=True):
        cells = (finding.word, finding.check.id, fold_names(hosts), finding.check.title, finding.text)
        rows.append("| " + " | ".join(_plain(cell) for cell in cells) + " |")
    rows += ["", *(f"- {_plain(expired_line(waiver))}" for waiver in report.expired)] if report.expired else []
    return "\n".join(rows) + "\n"


def _plain(text: str) -> str:
    """The text escaped for Markdown and HTML."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]()#+!|<>&" else char for char in text)
