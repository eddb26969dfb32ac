"""Takes up a run that was interrupted, or that left hosts behind: which one, and whether it may be."""

import itertools
from dataclasses import replace

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, Host, services_of
from hivekeys.journal import state_folder
from hivekeys.journal.history import gone_back
from hivekeys.journal.past import past_run, past_runs, tombstones
from hivekeys.journal.run import Run
from hivekeys.report.onward import typed
from hivekeys.report.verdict import past_verdict
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import Drive, paced
from hivekeys.rotation.moves import REVOCATION, ROTATION
from hivekeys.rotation.preview import Foreseen, foreseen
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.turning import EarlierRunOptions, ForwardOptions, TurnOptions
from hivekeys.tasks.options.verb import leave
from hivekeys.tasks.work import foreseeing
from hivekeys.tasks.work.after_run import backup_after_run
from hivekeys.tasks.work.request import Request
from hivekeys.tasks.work.run import runner_of
from hivekeys.tasks.work.window import await_window
from hivekeys.text.names import fold_names
from hivekeys.token import refuse_revoked


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


def request_for(
    past: Run,
    scope: EarlierRunOptions,
    output: OutputOptions,
    notify: NotifyOptions,
    excluded: tuple[str, ...],
    forward: ForwardOptions | None = None,
) -> Request:
    """What was asked of a run that is taken up; without `forward` it goes back."""
    return Request(
        reason=past.reason,
        output=output,
        on_finish=notify.command,
        log=notify.log,
        past=past,
        state_dir=scope.state_dir,
        ends_survivors=forward is not None and forward.end_survivors,
        fence=forward is not None and forward.fence,
        goes_back=forward is None,
        excluded=excluded,
    )


def take_up(
    fleet: Fleet,
    hosts: tuple[Host, ...],
    request: Request,
    verb: str,
    retire_anyway: bool = False,
    later: frozenset[str] = frozenset(),
    *,
    dry_run: bool,
) -> None:
    if request.past:
        refuse_revoked_run(request.past, request.state_dir)
    revokes = request.past is not None and request.past.is_revocation
    option = "--end-survivors" if request.ends_survivors else "--fence" if request.fence else ""
    if option and request.past and not revokes:
        raise UserError(
            f"{option}: run {request.past.id} revoked nothing, and its old token may still be used",
            hint=f'a token that leaked: fab revoke --fleet {fleet.typed} {option} --reason "what happened"',
        )
    fleet = paced(fleet) if revokes else fleet
    if dry_run and request.past:
        foresee_rest(fleet, hosts, request, request.past, verb)
        return
    with runner_of(fleet, hosts, request) as (runner, show):
        code = goes_on(runner, verb, retire_anyway, later, request.ends_survivors)
        show.result(runner.run, fleet, code, backup_after_run(fleet, runner, code, request.state_dir))
    leave(code)


def is_bound(past: Run) -> bool:
    """True for a run that `resume` takes forward, at allowed times alone; what goes back, or leaked, can't wait."""
    return not past.is_revocation and not is_stopped(past)


def is_stopped(past: Run) -> bool:
    """True for a run that `resume` takes back."""
    return bool(past.stopped) and not past.reconciling


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


def finish_overlap(fleet: Fleet, run: Run | None, options: TurnOptions, request: Request, *, dry_run: bool) -> None:
    """Ends the overlap of a run: every host of it drops the old token, unless a client was seen to use it."""
    if run is None:
        raise UserError(
            f"fleet {fleet.name} has no run that overlaps: there is nothing to finish", hint="`fab status` shows it"
        )
    if not dry_run:
        await_window(fleet, options, request.output)
    request = replace(request, past=run, reason=run.reason)
    take_up(fleet, hosts_of(fleet, run), request, "finish", options.retire_anyway, dry_run=dry_run)


def foresee_rest(fleet: Fleet, hosts: tuple[Host, ...], request: Request, past: Run, verb: str) -> None:
    """Where every host would go: back, or on with the run's token, or with a new one where that was lost."""
    is_back = verb == "roll_back" or (verb == "resume" and is_stopped(past))
    goes_back = is_back and not past.is_revocation and not past.retiring
    title = f"run {past.id}: what {verb.replace('_', '')} would do"

    def would(run: Run) -> list[Foreseen]:
        return foreseen([run.hosts[host.name] for host in hosts], run.want, goes_back, services_of(hosts))

    foreseeing.preview(fleet, hosts, request, title, would)


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
