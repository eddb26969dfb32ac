"""What `fab rotate` and `fab restore` share: what is asked before a fleet is turned, and how it is driven."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from hivekeys.bastion.after_run import backup_after_run
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet
from hivekeys.journal.estimate import RunTimes
from hivekeys.journal.past import newest_served
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import Drive
from hivekeys.rotation.moves import ROTATION, Plan
from hivekeys.rotation.question import before_run
from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.pace import PaceOptions
from hivekeys.tasks.options.turning import TurnOptions
from hivekeys.tasks.terminal.asking import paces
from hivekeys.tasks.terminal.live import Show


def refuse_without_terminal(pace: PaceOptions, change: ChangeOptions, *, from_stdin: bool = False) -> None:
    """Who is to be asked must be able to answer. `from_stdin`: the token comes from where an answer would."""
    asks = (pace.pause_for_confirmation or not change.yes) and not change.dry_run
    if asks and (from_stdin or not sys.stdin.isatty()):
        raise UserError("there is no terminal to ask for confirmation on", hint="look at `fab plan`, then add --yes")


def plan_of(options: TurnOptions, pace: PaceOptions, missing: Collection[str], fleet: Fleet) -> Plan:
    """How the rotation goes. Raises UserError for a pause that is none."""
    return replace(
        ROTATION,
        may_be_missing=frozenset(missing),
        pause=pace.seconds_between,
        census=True,
        retire_anyway=options.retire_anyway,
        no_refusal=options.no_refusal,
        overlap=fleet.policy.overlap,
    )


def turn(
    runner: Crew, show: Show, drive: Drive, check: Callable[[Crew], None], question: str, state_dir: str
) -> ExitCode:
    """Drives a rotation to its end, unless the look, `check` or the operator is against it; shows the result.

    `question`: where to the fleet is to be turned, if that is asked.
    """
    if drive.look():
        check(runner)
        if question:
            show.plan(runner.run, runner.fleet, newest_served(runner.fleet.name, state_dir))
            confirm(runner, show, question, paces(runner.fleet.name, state_dir, runner.run.task))
        code = drive.go()
    else:
        code = runner.end()
    show.result(runner.run, runner.fleet, code, backup_after_run(runner.fleet, runner, code, state_dir))
    return code


def confirm(runner: Crew, show: Show, where: str, paces: Sequence[RunTimes] = ()) -> None:
    """Asks on the terminal before anything is changed; whatever is not a yes ends the run.

    `paces`: of the last runs, which tell how long this one may take.
    """
    question = f"Turn {len(runner.controllers)} hosts of fleet {runner.run.fleet} {where}? [y/N] "
    lines = before_run(runner.fleet, runner.waves, paces, runner.run)
    if not runner.ask_operator(lambda: show.agrees("\n".join([*lines, question]))):
        runner.end(ExitCode.USAGE)
        raise UserError("not confirmed: nothing was changed")
