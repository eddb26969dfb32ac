"""Earlier runs that are taken up: which one is meant, and whether it may go on, or back."""

import itertools
from dataclasses import replace

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.journal.history import gone_back
from hivekeys.journal.past import past_run, past_runs, superseded_tokens, tombstones
from hivekeys.journal.run import Run
from hivekeys.report.onward import typed
from hivekeys.report.verdict import past_verdict
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import RECENT, Drive
from hivekeys.rotation.moves import REVOCATION, ROTATION
from hivekeys.text.names import fold_names
from hivekeys.token import Fingerprint, Token, refuse_revoked


def hosts_of(fleet: Fleet, past: Run) -> tuple[Host, ...]:
    """The hosts of a past run that the inventory still has, as it describes them now; the others are named as gone."""
    hosts = tuple(host for host in fleet.hosts if host.name in past.hosts and host.name not in past.left_out)
    if not hosts:
        raise UserError(
            f"{fleet.source}: every host of run {past.id} is gone from the inventory",
            hint="put back those that you trust until the run is over",
        )
    return hosts


def meant_run(fleet: str, name: str, state_dir: str, *, goes_back: bool = False) -> Run:
    """The run that was named, or the newest. Where that has nothing left to do, the newest that has: one that was cut
    off, or, for who `goes_back`, one whose way back did not reach every host.
    """
    past = past_run(fleet, name, state_dir)
    if name or past.is_open or (goes_back and past.has_touched and not past.is_back):
        return past
    runs = past_runs(fleet, state_dir)
    return next((run for run in runs if was_cut_off(run) or (goes_back and run.behind != run.barred)), past)


def was_cut_off(run: Run) -> bool:
    return run.is_open and run.left_a_trace


def refuse_while_cut_off(fleet: str, state_dir: str) -> None:
    """No other run goes on, or back, while one that was cut off and has changed something waits."""
    cut_off = next((run for run in past_runs(fleet, state_dir) if was_cut_off(run)), None)
    if cut_off:
        raise UserError(
            f"run {cut_off.id} was cut off",
            hint="`fab resume` goes on with it" + ("" if cut_off.is_revocation else ", `fab rollback` takes it back"),
        )


def refuse_superseded(past: Run, state_dir: str) -> None:
    """Another run took this one's place: there is one way on, and it is that one's."""
    if past.superseded_by:
        raise UserError(
            f"run {past.id} was superseded by run {past.superseded_by}, which revoked its token as well",
            hint="leave --run out: the newest run is meant then",
        )
    if past.overtaken_by:
        raise UserError(
            f"run {past.id} was superseded by {past.overtaken_by}: no host owes it anything",
            hint="go on from the bastion that made that one; or bring a new token from here: `fab rotate`",
        )
    refuse_revoked_run(past, state_dir)
    newer = next((run.id for run in reversed(runs_after(past, state_dir)) if run.is_served), "")
    if newer:
        owing = f"{fold_names(past.debts)} may still accept its old token" if past.debts else "no host owes it anything"
        raise UserError(
            f"run {past.id} was superseded by run {newer}: {owing}",
            hint="leave --run out: `fab reconcile` brings every host to the newest token",
        )


def runs_after(past: Run, state_dir: str) -> list[Run]:
    """The runs after this one, newest first."""
    return list(itertools.takewhile(lambda run: run.id != past.id, past_runs(past.fleet, state_dir)))


def gone_back_after(past: Run, state_dir: str) -> frozenset[str]:
    """Those of them that left the hosts as they were: it may go on behind them."""
    return gone_back(runs_after(past, state_dir))


def overlapping_run(fleet: str, state_dir: str) -> Run | None:
    """The newest run, if it gave clients time and its old token is still accepted; None for any other."""
    newest = next(past_runs(fleet, state_dir), None)
    waits = newest and (newest.is_overlapping or (newest.is_held and newest.overlap_until > 0))
    return newest if waits else None


def refuse_overlapping(fleet: Fleet, run: Run) -> None:
    """A further token would be a third one: first the old one goes, or the new one."""
    raise UserError(
        f"run {run.id} is not over: {past_verdict(run).words}",
        hint=f"`{typed('rotate', fleet, '--finish')}` drops the old token, `{typed('rollback', fleet)}` the new one",
    )


def refuse_revoked_run(past: Run, state_dir: str) -> None:
    """A later run revoked this one's token and all that lay beside it: there is nothing to go to, and nothing back."""
    if past.want:
        refuse_revoked(past.want, tombstones(state_folder.folder_for(past.fleet, state_dir)), f"run {past.id}")


def goes_on(runner: Crew, verb: str, retire_anyway: bool, later: frozenset[str], ends_survivors: bool) -> ExitCode:
    """A revocation has one direction, whatever it is taken up for."""
    plan = REVOCATION if runner.run.is_revocation else ROTATION
    plan = replace(plan, census=True, retire_anyway=retire_anyway, ends_survivors=ends_survivors)
    if not plan.revokes:
        plan = replace(plan, back=verb == "roll_back", goes_back=verb not in ("reconcile", "finish"))
        plan = replace(plan, overlap=runner.fleet.policy.overlap, finishes=verb == "finish")
    if plan.back or not plan.goes_back:
        plan = replace(plan, gone_back=later)
    return Drive(runner, plan).go()


def refuse_to_go_on(past: Run, state_dir: str) -> None:
    """Raises UserError for a run that is over, or that another one took the place of."""
    refuse_superseded(past, state_dir)
    if not past.is_open:
        raise UserError(
            f"run {past.id} is over: there is nothing to continue",
            hint=f"`fab status --run {past.id}` shows how it ended",
        )


def refuse_to_go_back(past: Run, state_dir: str) -> None:
    """Raises UserError for a run that cannot be taken back, or has nothing to take back."""
    refuse_superseded(past, state_dir)
    if not was_cut_off(past):
        refuse_while_cut_off(past.fleet, state_dir)
    if past.is_revocation:
        raise UserError(
            f"run {past.id} revoked a token that leaked: it is never taken back",
            hint="`fab resume` or `fab reconcile` goes on with it; `fab rotate` brings a new token",
        )
    if past.retiring:
        raise UserError(
            f"run {past.id} has begun to remove the old tokens: there is no way back",
            hint="`fab resume` finishes a run that was cut off; `fab rotate` brings a new token",
        )
    if not past.has_touched or (past.is_back and not past.is_open):
        on = "`fab resume` goes on with it, or begin anew: `fab rotate`"
        raise UserError(
            f"run {past.id} has nothing to take back" + ("" if past.has_touched else ": it changed no host"),
            hint=on if past.is_open else f"`fab status --run {past.id}` shows how it ended",
        )


def refuse_leaked(fleet: Fleet, token: Token, state_dir: str, source: str = "the token given") -> None:
    """Refuses a token that leaked, as this bastion knows; `source`: where it was found."""
    folder = state_folder.folder_for(fleet.name, state_dir)
    refuse_revoked(token.fingerprint(state_folder.fingerprint_key(folder)), tombstones(folder), source)


def tokens_to_revoke(crew: Crew, leaked: Token | None, state_dir: str, *, all_known: bool = False) -> set[Fingerprint]:
    """The tokens to revoke beside those that hosts show: what this bastion knows of, and the one that was given."""
    known = crew.history.tokens
    given = [crew.vouch(leaked)] if leaked else []
    superseded = superseded_tokens(state_folder.folder_for(crew.fleet.name, state_dir))
    return {*(known if all_known else known[:RECENT]), *given, *superseded}


def is_bound(past: Run) -> bool:
    """True for a run that `resume` takes forward, at allowed times alone; what goes back, or leaked, can't wait."""
    return not past.is_revocation and not is_stopped(past)


def is_stopped(past: Run) -> bool:
    """True for a run that `resume` takes back."""
    return bool(past.stopped) and not past.reconciling
