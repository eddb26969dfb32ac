"""`--dry-run`: what a verb would do, from a read-only look at the hosts. It takes no lock and writes no journal."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.events import Phase
from hivekeys.journal.past import newest_served
from hivekeys.journal.run import Run
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import Drive
from hivekeys.rotation.preview import Foreseen
from hivekeys.tasks.options.verb import leave
from hivekeys.tasks.terminal.output import cry
from hivekeys.tasks.work.request import Request
from hivekeys.tasks.work.run import runner_of

UNTOUCHED = "a dry run: nothing was changed"


def look(request: Request) -> Request:
    """The same, but only looked at: nothing is recorded, and no command is told that a run is over."""
    return replace(request, on_finish=(), log="", records=False, fence=False, take_over=False)


def plan(
    fleet: Fleet,
    hosts: tuple[Host, ...],
    request: Request,
    check: Callable[[Crew], None] | None = None,
    lines: Sequence[str] = (),
) -> None:
    """What a rotation would do, as `fab plan` shows it; `check` may refuse it by what the hosts show.

    `lines` come last; on standard error where a program reads the rest.
    """
    with runner_of(fleet, hosts, look(request)) as (runner, show):
        code = ExitCode.DONE if Drive(runner).look() else ExitCode.INCOMPLETE
        if check:
            check(runner)
        runner.end(code)
        then = lines[-1] if lines else ""
        show.planned(runner.run, fleet, code, newest_served(fleet.name, request.state_dir), then)
    for line in lines:
        if request.output.json or request.output.events:
            cry(f"{line}\n")
        else:
            show.line(line)
    leave(code)


def preview(
    fleet: Fleet,
    hosts: tuple[Host, ...],
    request: Request,
    title: str,
    would: Callable[[Run], list[Foreseen]],
    lines: Callable[[Crew], Sequence[str]] = lambda _: (),
) -> None:
    """What any other run would do to each host, by what all of them show, and `lines` on the whole."""
    with runner_of(fleet, hosts, look(request)) as (runner, show):
        want = runner.run.want
        runner.phase(Phase.LOOK, runner.controllers, lambda story: story.look_again(want))
        runner.fail_doubles()
        seen = runner.run
        well = len(runner.standing()) == len(runner.controllers)
        code = runner.end(None if runner.interrupted.is_set() else ExitCode.DONE if well else ExitCode.INCOMPLETE)
        show.foreseen(seen, fleet, code, would(seen), title, (*lines(runner), UNTOUCHED))
    leave(code)
