"""Counts the findings of a `fab verify`, for `fab status --metrics`. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hivekeys.verify.findings import WAIVED, Report, Severity, Verdict

WORDS = (*(verdict.value for verdict in Verdict), WAIVED)


@dataclass(frozen=True)
class Tally:
    """The time (seconds since the epoch, the bastion's clock), and the number of findings by severity and verdict."""

    at: float
    found: Mapping[tuple[str, str], int]


def tally(report: Report) -> Tally:
    """The numbers of a report; none is left out because it is 0."""
    found = {(severity.value, word): 0 for severity in Severity for word in WORDS}
    for each in report.findings:
        found[each.check.severity.value, each.word] += 1
    return Tally(report.at, found)


def written(numbers: Tally) -> str:
    """As text, for a file."""
    rows = [[severity, word, count] for (severity, word), count in numbers.found.items()]
    return json.dumps({"at": numbers.at, "found": rows}) + "\n"


def read(text: str) -> Tally:
    """From such a text. Raises ValueError for any other."""
    try:
        document = json.loads(text)
        found = {(str(severity), str(word)): int(count) for severity, word, count in document["found"]}
        return Tally(float(document["at"]), found)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("not the numbers of a checklist") from error
