"""Shows what a revocation cut: requests that fronts had let in with a token that leaked. Pure."""

from hivekeys.journal.run import Run

MOST_NAMED = 5  # hosts, those with most first


def streams_cut(run: Run) -> int:
    """How many requests were cut on all hosts together, long answers and others that were under way."""
    return sum(host.cut for host in run.hosts.values())


def cut_words(run: Run) -> str:
    """The same as a sentence, with the part of each host, which is its own word; "" where there was none to cut."""
    count = streams_cut(run)
    hosts = sorted((host for host in run.hosts.values() if host.cut), key=lambda host: -host.cut)
    if not hosts:
        return ""
    token = "the leaked token" if len(run.revoked) < 2 else "a leaked token"
    were, are = ("stream that was", "was") if count == 1 else ("streams that were", "were")
    parts = [f"{host.cut:,} on {host.name}" for host in hosts[:MOST_NAMED]]
    rest = hosts[MOST_NAMED:]
    parts += [f"{sum(host.cut for host in rest):,} on {len(rest)} more"] if rest else []
    where = f": {', '.join(parts)}" if len(hosts) > 1 else f" on {hosts[0].name}"
    return f"{count:,} {were} let in with {token} {are} cut{where}"


def cut_lines(run: Run) -> list[str]:
    """A line for the report."""
    return list(filter(None, [cut_words(run)]))
