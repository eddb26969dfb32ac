"""What `fab rotate`, `revoke` and `restore` ask before they turn a fleet."""

from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hivekeys.fleet import Fleet, Host
    from hivekeys.journal.estimate import Pace
    from hivekeys.rotation.crew import Crew
    from tasks.terminal.live import Show


def refuse_without_queen(
    fleet: "Fleet", hosts: "tuple[Host, ...]", out: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    """Hives that have a token which their queen has not are cut off from it: only where she is `out` for good."""
    if fleet.queen not in hosts and fleet.queen.name not in out:
        raise UserError("the queen is left out: its hives could not talk to it any more", hint="add it to --limit")
    if fleet.queen.name in missing:
        raise UserError(
            "--allow-missing: the queen turns first, or nobody does", hint="leave it out: --allow-missing is for hives"
        )


def confirm(runner: "Crew", show: "Show", where: str, paces: "Sequence[Pace]" = ()) -> None:
    """Asks on the terminal before anything is changed; whatever is not a yes ends the run.

    `paces`: of the last runs, which tell how long this one may take.
    """
    from hivekeys.rotation.question import before_run

    question = f"Turn {len(runner.controllers)} hosts of fleet {runner.run.fleet} {where}? [y/N] "
    lines = before_run(runner.fleet, runner.waves, paces, runner.run)
    if not runner.ask_operator(lambda: show.agrees("\n".join([*lines, question]))):
        runner.end(ExitCode.USAGE)
        raise UserError("not confirmed: nothing was changed")
