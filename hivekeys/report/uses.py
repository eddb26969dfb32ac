"""Says who used an old token after it was replaced. Pure."""

from collections import defaultdict
from datetime import UTC, datetime

from hivekeys.journal.events import CensusTaken
from hivekeys.journal.run import Run
from hivekeys.protocol.audited import Use, who
from hivekeys.text.clean import one_line
from hivekeys.text.names import fold_names

LATEST = 1e11  # seconds since the epoch that a date can have: a host can say anything


def census_lines(run: Run) -> list[str]:
    """Who used an old token after it was replaced, and which records say nothing of it."""
    if run.census is None:
        return []
    lines = use_lines(run.census)
    if run.census.anyway and any(use.ok for use in run.census.uses):
        lines.append("the old tokens were retired anyway (--retire-anyway)")
    return lines


def use_lines(census: CensusTaken) -> list[str]:
    """A line for each use, and why records say nothing."""
    lines = [_use(use) for use in census.uses]
    if lines:
        lines.insert(0, "calls with the old token after it was replaced, by the services' records:")
    silent: dict[str, list[str]] = defaultdict(list)
    for name, why in census.unread:
        silent[one_line(why)].append(name)
    return lines + [f"no audit records could be read on {fold_names(names)}: {why}" for why, names in silent.items()]


def _use(use: Use) -> str:
    called = f"{who(use.address)} called {use.path or 'it'} of {use.service or 'a service'}"
    answer = "was accepted" if use.ok else "was refused"
    last = datetime.fromtimestamp(min(max(use.last, 0.0), LATEST), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return (
        f"  {use.host}: {one_line(called)} with token:{use.token}, {answer} {use.count} times, last {last} (its clock)"
    )
