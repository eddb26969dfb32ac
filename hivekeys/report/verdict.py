"""What a run came to, in one sentence that follows from where its hosts are. Pure.

The exit code is what the shell was told; a sentence never says more than the counts beside it. "Done" and "every host"
are said where every host was seen to be there, and nowhere else.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from hivekeys.errors import ExitCode
from hivekeys.model import State
from hivekeys.names import fold_names
from hivekeys.run import HostRun, Run


class Verdict(NamedTuple):
    """The sentence, and how it is meant: good, fair or bad."""

    words: str
    tone: str


AS_IT_IS = {
    ExitCode.LOCKED: Verdict("another run works on these hosts: this one changes nothing any more", "fair"),
    ExitCode.INTERRUPTED: Verdict("interrupted: the run is not over", "fair"),
}
INCOMPLETE = Verdict("incomplete: see the hosts above", "bad")
ILL = (State.FAILED, State.UNREACHABLE, State.UNKNOWN)


def verdict(run: Run, code: ExitCode) -> Verdict:
    """What is to be said of a run that ended, or ends, with this code."""
    if code in AS_IT_IS:
        return AS_IT_IS[code]
    if not run.brings_token:
        return _kept(run, code)
    if run.is_revocation:
        return _revoked(run)
    if run.rolled_back or code is ExitCode.ROLLED_BACK:
        return _taken_back(run, code)
    if code is ExitCode.DONE and _all_proven(run.here):
        return Verdict(f"done, and proven, on every host{_but_those_gone(run)}", "good")
    if _all_proven(run.counted) and run.excluded and not run.is_held:
        return Verdict(f"incomplete: proven on every other host; cut out of the fleet: {_cut_out(run)}", "bad")
    return INCOMPLETE


def ended(run: Run) -> str:
    """The same in a word or two, with the exit code, for a list of runs."""
    if run.superseded_by:
        return f"superseded by {run.superseded_by}"
    if run.code is None:
        return "cut off" if run.is_open else "–"
    word = run.code.name.lower().replace("_", " ")
    if run.code is ExitCode.DONE and verdict(run, run.code).tone != "good":
        came_back = run.is_back and any(host.touched for host in run.here)
        word = "taken back" if came_back else "not proven"
    missing = fold_names((*run.excluded, *run.gone))
    without = f", without {missing}" if missing else ""
    return f"{int(run.code)} {word}{without}"


def counts(hosts: Iterable[HostRun]) -> str:
    """So many hosts in each state: "3 proven, 1 failed"."""
    return ", ".join(f"{count} {state}" for state, count in Counter(host.state.value for host in hosts).items())


def _kept(run: Run, code: ExitCode) -> Verdict:
    """Of upkeep: it changes no host's token, so its hosts are well or they are not."""
    ill = [host for host in run.hosts.values() if host.state in ILL]
    if code is ExitCode.DONE and not ill:
        return Verdict("done", "good")
    return Verdict(f"ended with exit code {int(code)}{f': {counts(ill)}' if ill else ''}", "fair")


def _revoked(run: Run) -> Verdict:
    unseen = sum(host.refused is None for host in run.counted)
    if not _all_proven(run.counted):
        return Verdict("NOT OVER: see the hosts above", "bad")
    if unseen:
        return Verdict(f"NOT OVER: {unseen} of {len(run.counted)} hosts were not seen to refuse the old token", "bad")
    if run.excluded:
        words = f"NOT OVER: every other host refuses the old token; cut out, and may still trust it: {_cut_out(run)}"
        return Verdict(words, "bad")
    return Verdict(f"revoked: every host{_but_those_gone(run, ' refuses the old token, and was asked twice')}", "good")


def _taken_back(run: Run, code: ExitCode) -> Verdict:
    """Every host that was touched has its old token again, or so many have; and who else is not well."""
    touched = [host for host in run.here if host.touched]
    back = [host for host in touched if host.is_as_before]
    others = [host for host in run.here if not host.touched and host.state is not State.UNCHANGED]
    beside = f"; {counts(others)}, not touched by it" if others else ""
    beside += f"; gone from the inventory: {fold_names(run.gone)}" if run.gone else ""
    if not touched and not run.gone:
        return Verdict(f"stopped before any host was changed{beside}", "fair")
    if len(back) < len(touched):
        words = f"incomplete: taken back on {len(back)} of the {len(touched)} hosts that it had touched{beside}"
        return Verdict(words, "bad")
    failed = "" if code is ExitCode.DONE else "failed; "
    there = " and that the inventory has" if run.gone else ""
    return Verdict(f"{failed}taken back on every host that it had touched{there} ({len(touched)}){beside}", "fair")


def _all_proven(hosts: Collection[HostRun]) -> bool:
    return bool(hosts) and all(host.state is State.PROVEN for host in hosts)


def _cut_out(run: Run) -> str:
    return fold_names(run.excluded)


def _but_those_gone(run: Run, what: str = "") -> str:
    """What goes behind "every host" where the inventory has not all of them any more."""
    return f" of the inventory{what}; gone from it: {fold_names(run.gone)}" if run.gone else what
