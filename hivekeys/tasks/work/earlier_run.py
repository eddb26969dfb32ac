"""Takes up a run that was interrupted, or that left hosts behind, and shows how it goes."""

from dataclasses import replace

from hivekeys.bastion.after_run import backup_after_run
from hivekeys.bastion.earlier import goes_on, hosts_of, is_stopped, refuse_revoked_run
from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Host, services_of
from hivekeys.journal.run import Run
from hivekeys.rotation.drive import paced
from hivekeys.rotation.preview import Foreseen, foreseen
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.turning import EarlierRunOptions, ForwardOptions, TurnOptions
from hivekeys.tasks.options.verb import leave
from hivekeys.tasks.work import foreseeing
from hivekeys.tasks.work.request import Request
from hivekeys.tasks.work.run import runner_of
from hivekeys.tasks.work.window import await_window


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
