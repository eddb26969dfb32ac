"""What is said of a run follows from its counts: every combination of states, told in every way there is."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.journal.events import Phase, State, Status
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.milestones import Heading, Milestone
from hivekeys.journal.run import REVOKE, Run
from hivekeys.report.page import page
from hivekeys.report.verdict import ended, exit_code, verdict
from hivekeys.text.names import fold_names
from tests.builders.recorded import NEW, OLD, fleet_of

TASKS = {
    "rotate": Run(id="run-1", fleet="paper", want=NEW),
    "rollback": Run(id="run-1", fleet="paper", want=NEW, sittings=2, heading=Heading.BACK, stopped="asked for"),
    "resume": Run(id="run-1", fleet="paper", want=NEW, sittings=2),
    "reconcile": Run(
        id="run-1", fleet="paper", want=NEW, sittings=2, heading=Heading.RECONCILE, came_to=Milestone.PROVEN
    ),
    "revoke": Run(id="run-1", fleet="paper", want=NEW, task=REVOKE, revoked=(OLD,)),
}
CODES = (ExitCode.DONE, ExitCode.ROLLED_BACK, ExitCode.INCOMPLETE, ExitCode.LOCKED, ExitCode.INTERRUPTED)
ILL = (State.FAILED, State.UNREACHABLE, State.UNKNOWN)
BACK = (State.UNCHANGED, State.ROLLED_BACK)
# Where a host may end, whether it was touched, and whether it was seen to refuse the old token.
ENDS = [
    HostRun("", was=OLD, status=Status.OK, state=state, touched=touched, refused=refused)
    for state in State
    for touched in (True, False)
    for refused in ((1.0, None) if state is State.PROVEN else (None,))
]


def runs(task: str, most: int) -> Iterator[Run]:
    """Every run of that kind over one to `most` hosts; the order of hosts means nothing."""
    for count in range(1, most + 1):
        for ends in itertools.combinations_with_replacement(ENDS, count):
            hosts = [replace(end, name="queen" if not at else f"hive{at}") for at, end in enumerate(ends)]
            waves = ((Phase.QUEEN, ("queen",)), (Phase.WAVE, tuple(host.name for host in hosts[1:])))
            run = replace(TASKS[task], waves=waves, hosts={host.name: host for host in hosts})
            out = tuple(host.name for host in hosts if host.state is State.EXCLUDED)
            yield replace(run, excluded=out)
            if out:
                yield replace(run, excluded=(), gone=out)


def too_much(words: str, run: Run) -> list[str]:
    """What a sentence says that the hosts of the run do not bear out.

    "Every host of the inventory" is all but those that are gone from it, "every other host" all but those cut out; each
    of these is named beside it.
    """
    said = words.lower().replace("every host that it had touched", "all touched").replace("cordoned", "drained")
    hosts = [host for host in run.hosts.values() if host.name not in run.gone]
    if "every host of the inventory" in said or "and that the inventory has" in said:
        assert run.gone and all(name in said for name in fold_names(run.gone).split(", "))
    elif run.gone and ("every host" in said or "all touched" in said):
        return ["gone hosts are not named"]
    if "every other host" in said:
        assert run.excluded and fold_names(run.excluded) in said
        hosts = [host for host in hosts if host.state is not State.EXCLUDED]
        said = said.replace("every other host", "every host")
    proven = bool(hosts) and all(host.state is State.PROVEN for host in hosts)
    touched = [host for host in hosts if host.touched]
    claims = {
        "done": proven and not run.rolled_back,
        "proven on every": proven,
        "every host": proven,
        "revoked:": all(host.refused is not None for host in hosts),
        "refuses the old token": all(host.refused is not None for host in hosts),
        "all touched": all(host.state in BACK for host in touched),
        f"({len(touched)})": True,
        "before any host was changed": not any(host.touched for host in run.hosts.values()),
        "nothing was changed": not any(host.touched for host in run.hosts.values()),
        "taken back": bool(touched) or "(0)" in said or "0 of" in said,
    }
    wrong = [claim for claim, is_so in claims.items() if claim in said and not is_so]
    if "all touched" in said or "before any host" in said:  # whoever else is not well is named beside it
        unnamed = {host.state for host in hosts if host.state in ILL and not host.touched}
        wrong += [state.value for state in unnamed if state.value not in said]
    return wrong


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_no_sentence_says_more_than_its_counts(task: str, code: ExitCode) -> None:
    for run in runs(task, 3):
        over = replace(run, code=code)
        words = verdict(over, code).words
        assert not too_much(words, run), (words, run.hosts)
        assert not too_much(report.standing(over, "1 h"), run)
        assert not too_much(ended(over), run), (ended(over), run.hosts)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_no_page_says_more_than_its_counts(task: str, code: ExitCode) -> None:
    fleet = fleet_of(1)
    for run in runs(task, 2):
        told = page(replace(run, code=code), [], fleet)
        assert not too_much(told.headline, run), (told.headline, run.hosts)
        if told.tone == "good":
            assert all(host.state is State.PROVEN for host in run.here)
        boxes = [item.text for item in told.checklist if item.done]
        assert "Verify services healthy" not in boxes, "nobody was seen to be healthy here"


@pytest.mark.parametrize("task", TASKS)
def test_the_code_is_0_only_for_what_was_seen(task: str) -> None:
    """And 3 only where every host that was touched is as it was before."""
    for run in runs(task, 3):
        hosts = run.here
        code = exit_code(run)
        if code is ExitCode.DONE:
            assert all(host.state is State.PROVEN for host in hosts)
            assert not run.is_revocation or all(host.refused is not None for host in hosts)
        if code is ExitCode.ROLLED_BACK:
            assert all(host.state in BACK for host in hosts if host.touched)


@pytest.mark.parametrize("task", TASKS)
def test_the_last_line_offers_a_way_back_only_where_there_is_one(task: str) -> None:
    for run in runs(task, 2):
        step = report.next_step(run, fleet_of(1))
        assert "rollback" not in step or any(host.touched for host in run.hosts.values())


def test_four_hosts_of_every_state_are_told_as_they_are() -> None:
    """Four at once only by their states: with all the rest it would be a million runs."""
    for states in itertools.combinations_with_replacement(State, 4):
        hosts = {f"hive{at}": HostRun(f"hive{at}", state=state, touched=True) for at, state in enumerate(states)}
        for task, code in itertools.product(TASKS.values(), CODES):
            run = replace(task, hosts=hosts, code=code)
            assert not too_much(verdict(run, code).words, run)


def test_after_a_way_back_the_sentence_names_who_was_not_touched_and_is_not_well() -> None:
    touched = {f"hive{at}": HostRun(f"hive{at}", state=State.ROLLED_BACK, touched=True) for at in range(3)}
    away = {f"hive{at}": HostRun(f"hive{at}", state=State.UNREACHABLE) for at in range(3, 7)}
    run = replace(TASKS["rollback"], hosts=touched | away)
    words = "taken back on every host that it had touched (3); 4 unreachable, not touched by it"
    assert verdict(run, ExitCode.DONE).words == words
    assert verdict(run, ExitCode.ROLLED_BACK).words == f"failed; {words}"


def test_a_run_that_a_bastion_of_an_older_release_called_done_is_not_called_so_again() -> None:
    """Its journal has code 0 for a way back on which nobody answered."""
    hosts = {name: HostRun(name, state=State.UNREACHABLE) for name in ("queen", "hive1")}
    run = replace(TASKS["rotate"], hosts=hosts, code=ExitCode.DONE)
    assert ended(run) == "0 not proven"
    assert verdict(run, ExitCode.DONE).words == "incomplete: see the hosts above"
