"""The last line after a run: the command to type next. Pure."""

import re
import shlex
from collections.abc import Sequence

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.journal.debts import owes
from hivekeys.journal.events import State
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.hints import hint, limit_of
from hivekeys.text.clean import cut
from hivekeys.text.commands import program

ANYWAY = "or now, which cuts those clients off: the same with --retire-anyway"
LONGEST = 60  # characters of a reason that is typed again
_COMMAND = re.compile("`((?:ssh|fab|hivekeys) [^`]+)`")


def next_step(run: Run, fleet: Fleet) -> str:
    """The command to type now, as the last line of a run; "" when no command goes on with this run."""
    if not run.brings_token or run.at_work or run.is_settled:
        return ""  # a newer run has taken over, here or from another bastion
    if run.is_open:
        may_go_back = run.has_touched and not run.retiring and not run.is_revocation
        back = f"   go back: {typed('rollback', fleet)}" if may_go_back else ""
        return f"go on: {typed('resume', fleet)}{back}"
    return _not_begun(run, fleet) or _left_open(run, fleet) or _cut_out(run, fleet)


def looked_next(run: Run, fleet: Fleet) -> str:
    """What the first host needs that a look found ill; "" where none is."""
    return next((hint(host.cause, fleet, host.name) for host in run.hosts.values() if host.cause), "")


def next_of(runs: Sequence[Run], fleet: Fleet) -> str:
    """The command for the newest of these runs, or for the next one that still owes; "" where none does."""
    going_on = (next_step(run, fleet) for run in [*runs[:1], *(run for run in runs[1:] if owes(run))])
    return next(filter(None, going_on), "")


def typed(verb: str, fleet: Fleet, *options: str) -> str:
    """A command for this fleet, as it is typed."""
    return " ".join([program(), verb, "--fleet", fleet.typed, *options])


def unasked(run: Run) -> tuple[str, ...]:
    """The hosts of a revocation that serve the new token and could not be tried with the old one."""
    if not run.is_revocation:
        return ()
    proofs = {host.name: host.proof for host in run.counted if host.state is State.HEALTHY and host.cause is None}
    return tuple(name for name, one in proofs.items() if one and "new" in one.calls and "old" not in one.calls)


# -- a run that came to nothing


def _not_begun(run: Run, fleet: Fleet) -> str:
    """The next step after a run that left nothing behind: the same command again, and what must be true before."""
    if run.is_revocation:
        return _revoke_command(run, fleet)
    if run.code is ExitCode.LOCKED:
        return f"when the other run is over: {_rotate_command(run, fleet)}   how the hosts are: {typed('plan', fleet)}"
    if run.code is not ExitCode.ROLLED_BACK:
        return ""
    if missing := _missing(run):
        option = f"--allow-missing {limit_of(missing)}"
        without = f"without waiting for {_few(missing)}: {_rotate_command(run, fleet, option)}"
        return f"{without}   else: {_rotate_command(run, fleet)}"
    return f"find the cause: {_look(run, fleet)}   when it is repaired: {_rotate_command(run, fleet)}"


def _revoke_command(run: Run, fleet: Fleet) -> str:
    again = typed("revoke", fleet, "--reason", shlex.quote(cut(run.reason, LONGEST) or "a token leaked"))
    if run.code is ExitCode.LOCKED:
        return f"when the other run is over: {again}   or end it: the same with --take-over"
    if run.code is None and run.want is None:
        return f"the token that leaked is still accepted: {again}"
    if run.code is ExitCode.INCOMPLETE and (run.stopped or run.want is None):
        return f"when hosts answer again: {again}"
    if run.debts and set(run.debts) <= set(unasked(run)):
        with_it = f"{again} --token-file FILE"
        return f"no copy of the old token is left to try on {_few(run.debts)}; if you have it: {with_it}"
    return ""


def _rotate_command(run: Run, fleet: Fleet, *options: str) -> str:
    """The command for the same rotation again, with the same hosts."""
    if run.given:  # neither the token nor its file's name is stored
        return f"the same with {' '.join(options)}" if options else "the same command again"
    known = {host.name for host in fleet.hosts}
    others = tuple(name for name in run.left_out if name in known)
    return typed("rotate", fleet, *(["--exclude", limit_of(others)] if others else []), *options)


def _missing(run: Run) -> tuple[str, ...]:
    """The hives that stopped the run before it began, when these were unreachable and nothing else was wrong."""
    ill = [host for host in run.hosts.values() if host.cause]
    queen = run.queen.name if run.queen else ""
    away = all(host.state is State.UNREACHABLE and not host.touched and host.name != queen for host in ill)
    stands = [host for host in run.counted if host.cause is None and host.name not in (*run.left_out, queen)]
    return tuple(host.name for host in ill) if away and stands and not run.has_touched else ()


def _look(run: Run, fleet: Fleet) -> str:
    """The command that shows why the run stopped: the one in the first cause's hint, or `fab plan`."""
    first = next(((host.cause, host.name) for host in run.hosts.values() if host.cause), None)
    found = _COMMAND.search(hint(first[0], fleet, first[1])) if first else None
    return found[1] if found else typed("plan", fleet)


# -- a run that left something behind


def _left_open(run: Run, fleet: Fleet) -> str:
    """The next step for hosts that owe the new token or are not back on the old one, and for tokens still in use."""
    rollback, reconcile = typed("rollback", fleet), typed("reconcile", fleet)
    if run.is_overlapping:
        who = typed("audit", fleet, "--token", "previous")
        finish = typed("rotate", fleet, "--finish")
        return f"who still uses the old token: {who}   when no client does: {finish}   go back: {rollback}"
    if run.is_held:
        reconcile = typed("rotate", fleet, "--finish") if run.overlap_until else reconcile
        return f"the old token is kept: when no client has used it for an hour: {reconcile}   {ANYWAY}"
    if run.debts and not run.rolled_back:
        repaired = f"when {_few(run.debts)} can be reached and the causes are repaired: {reconcile}"
        return _harder(run, reconcile) + repaired
    if run.behind and run.behind == run.barred:
        return f"{_few(run.behind)}: no way back, its earlier token was revoked: {reconcile}"
    return f"when {_few(run.behind)} can be reached and the causes are repaired: {rollback}" if run.behind else ""


def _harder(run: Run, reconcile: str) -> str:
    """What else a revocation can do where a host answers and still accepts the leaked token."""
    if not run.is_revocation:
        return ""
    open_ = [(host.name, host.cause) for host in run.counted if host.state is State.FAILED]
    outlived = tuple(name for name, cause in open_ if _is_outlived(cause))
    trusting = tuple(name for name, cause in open_ if not _is_outlived(cause) and name not in run.clients)
    lines = f"end the old processes on {_few(outlived)}: {reconcile} --end-survivors   " if outlived else ""
    if trusting and not run.fence:
        lines += f"{_few(trusting)} may still accept the token that leaked: stop the service: {reconcile} --fence   "
    return lines


def _is_outlived(cause: Cause | None) -> bool:
    return cause is not None and cause.trouble is Trouble.SURVIVOR


def _cut_out(run: Run, fleet: Fleet) -> str:
    if not run.excluded or run.code is not ExitCode.INCOMPLETE:
        return ""
    install = typed("install", fleet, "--limit", limit_of(run.excluded), "--readmit")
    return f"excluded: {_few(run.excluded)}; when rebuilt: {install}; or remove it from the inventory"


def _few(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
