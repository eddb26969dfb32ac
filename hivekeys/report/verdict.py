"""What a run came to: exit code and sentence, from the states of its hosts alone. Pure.

Status, history, report, metrics and the shell all take it from here. A sentence never says more than the counts beside
it. "Done" and "every host" appear only where every host was seen to be there.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from hivekeys.errors import ExitCode
from hivekeys.journal.events import State
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run, is_as_before
from hivekeys.protocol.causes import Trouble
from hivekeys.text.names import fold_names


class Verdict(NamedTuple):
    """The sentence; its tone (good, fair or bad); and a word or two for it, unless the exit code's own name will do."""

    words: str
    tone: str
    word: str = ""


NOT_BEGUN = Verdict("not begun: nothing was changed", "plain", "not begun")
AS_IT_IS = {
    ExitCode.LOCKED: Verdict("another run is at work on these hosts: this run changes nothing more", "fair"),
    ExitCode.INTERRUPTED: Verdict("interrupted: the run is not over", "fair"),
    ExitCode.USAGE: NOT_BEGUN,
}
INCOMPLETE = Verdict("incomplete: see the hosts above", "bad")
ILL = (State.CORDONED, State.FAILED, State.UNREACHABLE, State.UNKNOWN)


def exit_code(run: Run) -> ExitCode:
    """What a run that is over means to the shell (DESIGN.md, "Exit code")."""
    states = {host.state for host in run.here}
    if run.is_overlapping:
        return ExitCode.DONE
    if run.bears_out(Trouble.SUPERSEDED):
        return ExitCode.LOCKED
    if states == {State.PROVEN}:
        return ExitCode.INCOMPLETE if run.is_held or _may_be_trusted(run) else ExitCode.DONE
    if run.is_revocation and run.has_touched:
        return ExitCode.INCOMPLETE  # never rolled back, and not ended because another run holds a host
    busy = any(host.cause and host.cause.trouble is Trouble.HOST_BUSY for host in run.hosts.values())
    if run.bears_out(Trouble.HOST_BUSY) or (busy and not run.has_touched):
        return ExitCode.LOCKED
    if is_as_before(run) and not run.is_revocation:
        return ExitCode.ROLLED_BACK
    return ExitCode.INCOMPLETE


def verdict(run: Run, code: ExitCode) -> Verdict:
    """The verdict of a run that ended, or ends, with this code."""
    if code in AS_IT_IS:
        return _overtaken(run) if code is ExitCode.LOCKED and run.overtaken_by else AS_IT_IS[code]
    if not run.brings_token:
        return _upkeep_verdict(run, code)
    if run.is_revocation:
        return _revoked(run)
    if run.rolled_back or code is ExitCode.ROLLED_BACK:
        return _taken_back(run, code)
    if run.is_overlapping and code is ExitCode.DONE:
        until = f"{datetime.fromtimestamp(run.overlap_until, UTC):%Y-%m-%d %H:%M} UTC"
        return Verdict(f"overlapping: the old token and the new one are accepted until {until}", "good", "overlapping")
    if code is ExitCode.DONE and _all_proven(run.here):
        return Verdict(f"done, and proven, on every host{_but_those_gone(run)}", "good")
    if _all_proven(run.counted) and run.excluded and not run.is_held:
        return Verdict(f"incomplete: proven on every other host; excluded from the fleet: {_cut_out(run)}", "bad")
    return INCOMPLETE


def looked_verdict(run: Run, code: ExitCode) -> Verdict:
    """The verdict of a look at the hosts, which changed nothing: whether a run can begin with them."""
    if code is ExitCode.INTERRUPTED:
        return Verdict("interrupted: nothing was changed", "fair")
    asked = [host for host in run.counted if host.name not in run.left_out]
    ill = [host for host in asked if host.cause]
    if ill or code is not ExitCode.DONE:
        return Verdict(f"not ready: {len(ill)} of {len(asked)} hosts; nothing was changed", "bad")
    return Verdict(f"ready: {len(asked)} hosts; nothing was changed", "good")


def came_to(run: Run) -> ExitCode | None:
    """The exit code of an earlier run; None for a run that was cut off and recorded no end.

    A rollback that reached every host ends its command with 0. The run itself still counts as taken back.
    """
    if run.code is ExitCode.DONE and run.is_back and any(host.touched for host in run.here):
        return ExitCode.ROLLED_BACK
    return run.paused if run.code is None else run.code


def past_verdict(run: Run) -> Verdict:
    """The verdict of an earlier run, which may be open, or at work now."""
    if run.at_work:
        where = f" in phase {run.phase.value}" if run.phase else ""
        return Verdict(f"at work{where}: {run.at_work}", "fair", "at work")
    if run.superseded_by:
        return Verdict(f"cut off; run {run.superseded_by} took its place", "fair", f"superseded by {run.superseded_by}")
    if run.settled_by:
        word = f"superseded by {run.settled_by}"
        return Verdict(f"{word}: no host owes it anything", "fair", word)
    if run.code is not None:
        return verdict(run, run.code)
    if run.is_open:
        return Verdict(f"cut off in phase {run.phase.value if run.phase else '–'}", "fair", "cut off")
    return NOT_BEGUN if run.brings_token else Verdict("it did not end", "fair", "–")


def word_of(run: Run) -> str:
    """The verdict in a word or two."""
    said, code = past_verdict(run), came_to(run)
    if said.word or code is None:
        return said.word
    if code is ExitCode.DONE and said.tone != "good":
        return "not proven"
    return code.name.lower().replace("_", " ")


def ended(run: Run) -> str:
    """The verdict in a word or two with the exit code, for a list of runs."""
    code = came_to(run)
    if run.at_work or run.superseded_by or run.settled_by or run.code is None or code is None:
        return word_of(run)
    missing = fold_names((*run.excluded, *run.gone))
    without = f", without {missing}" if missing else ""
    return f"{int(code)} {word_of(run)}{without}"


def counts(hosts: Iterable[HostRun]) -> str:
    """The number of hosts in each state: "3 proven, 1 failed"."""
    return ", ".join(f"{count} {state}" for state, count in Counter(host.state.value for host in hosts).items())


def _upkeep_verdict(run: Run, code: ExitCode) -> Verdict:
    """The verdict of upkeep, which changes no host's token: its hosts are fine or not."""
    ill = [host for host in run.hosts.values() if host.state in ILL]
    if code is ExitCode.DONE and not ill:
        return Verdict("done", "good")
    return Verdict(f"ended with exit code {int(code)}{f': {counts(ill)}' if ill else ''}", "fair")


def _revoked(run: Run) -> Verdict:
    unseen = sum(host.refused is None for host in _asked(run, run.counted))
    if not _all_proven(run.counted):
        return Verdict("NOT OVER: see the hosts above", "bad")
    if unseen:
        return Verdict(f"NOT OVER: {unseen} of {len(run.counted)} hosts were not seen to refuse the old token", "bad")
    accepting = [name for name in run.excluded if name not in run.clients]
    if accepting:
        names = fold_names(accepting)
        words = f"NOT OVER: every other host refuses the old token; excluded, and may still accept it: {names}"
        return Verdict(words, "bad")
    if run.excluded:
        words = f"incomplete: every host that accepts tokens refuses the old token; excluded clients: {_cut_out(run)}"
        return Verdict(words, "bad")
    who = "every host that accepts tokens" if run.clients else "every host"
    return Verdict(f"revoked: {who}{_but_those_gone(run, ' refuses the old token, and was tried twice')}", "good")


def _taken_back(run: Run, code: ExitCode) -> Verdict:
    """The verdict of a rollback: how many touched hosts have their old token again, and other hosts' problems."""
    touched = [host for host in run.here if host.touched]
    back = [host for host in touched if host.is_as_before]
    others = [host for host in run.here if not host.touched and host.state is not State.UNCHANGED]
    beside = f"; {counts(others)}, not touched by it" if others else ""
    beside += f"; gone from the inventory: {fold_names(run.gone)}" if run.gone else ""
    if not touched and not run.gone:
        words = f"stopped before any host was changed{_unserved(run)}{beside}"
        return Verdict(words, "fair", "nothing changed")
    if len(back) < len(touched):
        words = f"incomplete: taken back on {len(back)} of the {len(touched)} hosts that it had touched{beside}"
        return Verdict(words, "bad")
    failed = "" if code is ExitCode.DONE else "failed; "
    there = " and that the inventory has" if run.gone else ""
    words = f"{failed}taken back on every host that it had touched{there} ({len(touched)}){beside}"
    return Verdict(words, "fair", "taken back" if touched else "")


def _unserved(run: Run) -> str:
    """Names hosts whose service cannot be used with its own token: unchanged by the run, but not fine."""
    out = [host.name for host in run.here if not _serves(host)]
    return f"; clients cannot use the service with the token in its file on {fold_names(out)}" if out else ""


def _serves(host: HostRun) -> bool:
    """False for a service that is down, or did not accept the token in its own file."""
    return not host.is_out and (host.proof is None or 200 <= host.proof.calls.get("new", 200) < 300)


def _overtaken(run: Run) -> Verdict:
    return Verdict(f"superseded: a newer run worked here ({run.overtaken_by})", "fair", "superseded")


def _all_proven(hosts: Collection[HostRun]) -> bool:
    return bool(hosts) and all(host.state is State.PROVEN for host in hosts)


def _cut_out(run: Run) -> str:
    return fold_names(run.excluded)


def _but_those_gone(run: Run, what: str = "") -> str:
    """The words after "every host" when some hosts are gone from the inventory."""
    return f" of the inventory{what}; gone from it: {fold_names(run.gone)}" if run.gone else what


def _may_be_trusted(run: Run) -> bool:
    """True for a revocation in which a host was not seen to refuse the leaked token."""
    return run.is_revocation and any(host.refused is None for host in _asked(run, run.here))


def _asked(run: Run, hosts: Iterable[HostRun]) -> list[HostRun]:
    """Those that were asked whether they refuse a token: clients accept none."""
    clients = run.clients
    return [host for host in hosts if host.name not in clients]
