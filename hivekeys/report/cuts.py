"""Shows what a revocation cut: requests that fronts had let in with a token that leaked. Pure."""

from hivekeys.journal.run import Run
from hivekeys.text.names import fold_names


def streams_cut(run: Run) -> int:
    """How many requests were cut on all hosts together, long answers and others that were under way."""
    return sum(host.cut for host in run.hosts.values())


def cut_words(run: Run) -> str:
    """The same as a sentence; "" where there was none to cut."""
    count, names = streams_cut(run), [name for name, host in run.hosts.items() if host.cut]
    if not count:
        return ""
    token = "the leaked token" if len(run.revoked) < 2 else "a leaked token"
    were = "stream that was" if count == 1 else "streams that were"
    return f"{count:,} {were} let in with {token} {'was' if count == 1 else 'were'} cut, on {fold_names(names)}"


def cut_lines(run: Run) -> list[str]:
    """A line for the report."""
    return list(filter(None, [cut_words(run)]))
