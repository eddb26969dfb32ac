"""What is said of a run that is over, was cut off or never begun: one verdict, whoever tells it."""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hivekeys import report
from hivekeys.errors import ExitCode, UserError
from hivekeys.journal.debts import served
from hivekeys.journal.events import Paused, Phase, RunEnded, State
from hivekeys.journal.fold import fold
from hivekeys.journal.history import History
from hivekeys.journal.past import past_runs
from hivekeys.journal.run import Run
from hivekeys.journal.state_folder import at_work, fingerprint_key, hold_lock, operator
from hivekeys.journal.store import Journal
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.report.page import page
from hivekeys.report.verdict import came_to, ended
from hivekeys.status.metrics import metrics
from hivekeys.status.status import status_of
from hivekeys.tasks.options.output import OutputOptions
from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.work.standing import standing_lines
from hivekeys.tasks.work.turning import confirm
from hivekeys.token import generate
from hivekeys.verify.findings import Record, recorded
from tests.builders.documents import valid
from tests.builders.fab import Fab, refusing, state_of
from tests.builders.operator import Operator
from tests.builders.recorded import NEW, OLD, Teller, fleet_of
from tests.inprocess import KEY, InProcessFleet

PAPER = fleet_of(4)
ILL = Cause(Trouble.START_FAILED, "Job for rbee-hive.service failed")


@pytest.fixture
def fab(tmp_path: Path) -> Iterator[Fab]:
    with refusing(tmp_path) as fab:
        yield fab


def back_again() -> Teller:
    """Ctrl-C when two waves had turned, then `fab rollback`, which reaches every host."""
    teller = Teller(PAPER)
    teller.before()
    teller.turn()
    teller.cut(60.0)
    teller.phase(Phase.ROLLBACK, [host.name for host in PAPER.hosts])
    teller.tell(RunEnded(ExitCode.DONE, teller.now()))
    return teller


def labels(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """A metric's samples, without the fleet's label."""
    found = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return [
        ({key: value for key, value in one.labels.items() if key != "fleet"}, one.value)
        for one in found
        if one.name == f"hivekeys_{name}"
    ]


def numbers(run: Run) -> str:
    """`fab status --metrics` of a fleet whose hosts say nothing, with this as its newest run."""
    return metrics(status_of(PAPER, {}, Record({}), (), 0.0), (run,), None)


# -- taken back


def test_a_run_that_was_taken_back_is_told_so_with_the_old_token_wherever_it_is_told() -> None:
    teller = back_again()
    run = fold(teller.events)
    document = valid(report.document(run, PAPER))
    (digest,) = valid(report.history_document([run], PAPER, [], ExitCode.DONE))["runs"]
    told = page(run, teller.events, PAPER)
    for facts in (document, digest):
        assert (facts["token"], facts["new_token"], facts["exit_code"]) == (str(OLD), str(NEW), 3)
        assert facts["verdict"] == "taken back on every host that it had touched (5)"
    assert ended(run) == "3 taken back"
    assert report.standing(run, "1 h").endswith("taken back on every host that it had touched (5)")
    assert told.headline == "Taken back on every host that it had touched (5)"
    assert [tile.value for tile in told.tiles if tile.name == "exit code"] == ["3"]
    assert "exit code 3)" in report.past_summary(run)
    assert labels(numbers(run), "rotation_last_exit_code") == [({}, 3.0)]
    assert labels(numbers(run), "rotation_last_verdict") == [({"verdict": "taken back"}, 1.0)]


def test_the_command_that_took_it_back_did_what_it_was_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """`fab rollback --json` ends with 0, and its document says so; the run itself was taken back."""
    Show(OutputOptions(json=True)).result(fold(back_again().events), PAPER, ExitCode.DONE)
    document = valid(json.loads(capsys.readouterr().out))
    assert (document["exit_code"], document["token"]) == (0, str(OLD))
    assert document["verdict"] == "taken back on every host that it had touched (5)"


# -- interrupted


def interrupted(fleet: InProcessFleet) -> Operator:
    ann = Operator(fleet, stops_in=Phase.CANARY)
    assert ann.rotate() is ExitCode.INTERRUPTED
    return ann


def test_a_run_that_is_interrupted_ends_with_130_in_its_document_and_in_every_later_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = InProcessFleet(tmp_path)
    run = interrupted(fleet).runner.run
    Show(OutputOptions(json=True)).result(run, fleet.inventory, ExitCode.INTERRUPTED)
    assert valid(json.loads(capsys.readouterr().out))["exit_code"] == 130
    assert report.document(run, fleet.inventory)["exit_code"] == 130
    assert report.history_document([run], fleet.inventory, [], ExitCode.DONE)["runs"][0]["exit_code"] == 130
    assert ended(run) == "cut off"
    assert labels(numbers(run), "rotation_open") == [({}, 1.0)]
    assert labels(numbers(run), "rotation_last_exit_code") == [], "it is open"


def test_an_interruption_that_an_older_release_wrote_down_is_one_too() -> None:
    teller = Teller(PAPER)
    teller.before()
    teller.tell(Paused(teller.now()))
    assert came_to(fold(teller.events)) is ExitCode.INTERRUPTED
    teller.cut(1.0)
    assert came_to(fold(teller.events)) is None, "it was taken up again, and then killed"


# -- not begun


def test_whoever_says_no_has_begun_nothing_and_asked_for_no_way_back(tmp_path: Path, keyboard: int) -> None:
    fleet = InProcessFleet(tmp_path)
    ann = Operator(fleet)
    assert ann.look()
    os.write(keyboard, b"n\n")
    with pytest.raises(UserError, match="not confirmed: nothing was changed"):
        confirm(ann.runner, Show(), "to a new token")
    run = fold(ann.events)
    assert ended(run) == "2 not begun"
    document = report.document(run, fleet.inventory)
    assert (document["verdict"], document["stopped"]) == ("not begun: nothing was changed", None)
    assert {host["state"] for host in document["hosts"]} == {"unchanged"}
    assert page(run, ann.events, fleet.inventory).headline == "Not begun: nothing was changed"
    assert labels(numbers(run), "rotation_last_verdict") == [({"verdict": "not begun"}, 1.0)]
    assert labels(numbers(run), "rotation_last_exit_code") == [], "nothing failed: nobody is to be woken"


def test_a_run_that_died_at_the_question_was_not_begun(tmp_path: Path) -> None:
    ann = Operator(InProcessFleet(tmp_path))
    assert ann.look()
    ann.runner.close()
    run = fold(ann.events)
    assert ended(run) == "not begun"
    assert report.standing(run, "1 h") == "not begun: nothing was changed, 1 h ago"


def test_a_run_that_stopped_before_it_changed_a_host_took_nobody_back(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    fleet.hosts["hive2"].fault = "link-down"
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ended(fold(ann.events)) == "3 nothing changed"


# -- at work


def written(fab: Fab, *tellers: Teller) -> Path:
    """The fleet's state folder, whose journal has these runs, the oldest first."""
    folder = state_of(fab)
    fingerprint_key(folder)
    with contextlib.closing(Journal(folder)) as journal:
        for teller in tellers:
            journal.append(teller.run, *teller.events)
    return folder


def waiting_for_an_answer() -> Teller:
    """It has looked at the hosts, and asks the operator."""
    teller = Teller(fleet_of(2), "paper-1")
    teller.begin()
    teller.phase(Phase.LOOK, ["queen", "hive1", "hive2"])
    return teller


def in_the_middle() -> Teller:
    teller = Teller(fleet_of(2), "paper-1")
    teller.before()
    return teller


def status_lines(folder: Path) -> str:
    """What `fab status` says below its table."""
    return "\n".join(standing_lines(PAPER, str(folder.parent)))


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    """What `fab history --json` says, by the runs' names."""
    runs = list(past_runs("paper", str(folder.parent), every=True))
    return {run["run"]: run for run in valid(report.history_document(runs, PAPER, [], ExitCode.DONE))["runs"]}


@pytest.mark.parametrize("tell", [waiting_for_an_answer, in_the_middle])
def test_a_run_that_works_or_waits_at_a_question_is_at_work_and_not_cut_off(
    fab: Fab, tell: Callable[[], Teller]
) -> None:
    teller = tell()
    folder = written(fab, teller)
    who = f"{operator()}, pid {os.getpid()}, since "
    with hold_lock(folder, "paper", "paper-1", "the yearly one"):
        (run,) = past_runs("paper", str(folder.parent))
        said, facts = status_lines(folder), valid(report.document(run, teller.fleet))
        assert "at work" in fab("history").out
    phase = run.phase.value if run.phase else ""
    assert f"; at work in phase {phase}: {who}" in said
    assert page(run, teller.events, teller.fleet).headline.startswith(f"At work in phase {phase}: {who}")
    assert (ended(run), report.next_step(run, teller.fleet)) == ("at work", "")
    assert facts["at_work"].startswith(who) and facts["at_work"].endswith(", the yearly one")
    assert facts["exit_code"] is None
    assert "at work" not in status_lines(folder), "whoever was killed is not at work"


def test_work_that_the_journal_does_not_know_yet_is_named_too(fab: Fab) -> None:
    folder = written(fab, back_again())
    with hold_lock(folder, "paper", "paper-9", ""):
        said, document = status_lines(folder), json.loads(fab("status", "--json").out)
    assert document["at_work"]["run"] == "paper-9"
    assert f"at work on the fleet now: {operator()}, pid {os.getpid()}, since " in said


def test_whoever_only_looks_whether_a_run_is_at_work_turns_none_away(tmp_path: Path) -> None:
    """He shares the lock for a moment; a run that comes just then waits for that, and is not refused."""
    with hold_lock(tmp_path, "paper", "paper-1", ""):
        assert at_work(tmp_path)
    assert at_work(tmp_path) is None
    with (tmp_path / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        with hold_lock(tmp_path, "paper", "paper-2", ""):
            found = at_work(tmp_path)
    assert found is not None and found.run == "paper-2"


# -- what an older run still owes


def left_hosts_behind() -> Teller:
    """It went back, and did not reach hive2."""
    teller = Teller(fleet_of(2), "paper-1", ill={"hive2": ILL})
    teller.before()
    teller.turn()
    teller.stop("1 of 3 hosts failed (hive2); max_failures is 0")
    teller.phase(Phase.ROLLBACK, ["queen", "hive1"])
    teller.tell(RunEnded(ExitCode.INCOMPLETE, teller.now()))
    return teller


def found_a_host_away(run: str = "paper-2") -> Teller:
    """It changed nothing, because hive2 could not be reached."""
    teller = Teller(fleet_of(2), run, lost=("hive2",), clock=6000.0)
    teller.begin()
    teller.phase(Phase.LOOK, ["queen", "hive1", "hive2"])
    teller.tell(RunEnded(ExitCode.ROLLED_BACK, teller.now()))
    return teller


def went_through(run: str, clock: float = 7000.0, **more: object) -> Teller:
    teller = Teller(fleet_of(2), run, clock=clock, **more)  # type: ignore[arg-type]  # a test's own keywords
    teller.whole()
    return teller


def test_what_a_run_owes_stays_in_status_after_one_that_changed_nothing(fab: Fab) -> None:
    """And the command that is named does it: `fab rollback` means the run that left hive2 behind."""
    folder = written(fab, left_hosts_behind(), found_a_host_away())
    said = status_lines(folder)
    assert "run paper-2: begun" in said
    assert "run paper-1: 1 of 3 hosts are not back on their token for" in said and ": fab rollback" in said
    again = fab("rotate", "--yes")
    assert again.code == 3 and "run paper-1: 1 of 3 hosts are not back" in again.out
    answer = fab("rollback", "--json")
    assert json.loads(answer.out)["run"] == "paper-1", "no host answers, so it stays as it is; it was not refused"


def test_a_run_that_was_cut_off_is_gone_on_with_though_a_later_one_looked(fab: Fab) -> None:
    cut_off = Teller(fleet_of(2), "paper-1")
    cut_off.before()
    folder = written(fab, cut_off, found_a_host_away())
    assert "run paper-1: cut off in phase stage" in status_lines(folder)
    assert json.loads(fab("resume", "--json").out)["run"] == "paper-1"


def test_what_an_older_run_owes_waits_for_the_one_that_was_cut_off(fab: Fab) -> None:
    """`fab reconcile` would be refused while that one is open: so it says which comes first."""
    owing = went_through("paper-1", clock=5000.0, lost=("hive2",))
    cut_off = Teller(fleet_of(2), "paper-2", clock=8000.0)
    cut_off.before()
    said = status_lines(written(fab, owing, cut_off))
    assert "run paper-2: cut off in phase stage" in said
    assert "run paper-1: when run paper-2 is over: 1 of 3 hosts owe token" in said
    answer = fab("reconcile")
    assert answer.code == 2 and "run paper-2 was cut off" in answer.err


def test_whoever_was_left_behind_owes_nothing_once_a_later_run_went_through(fab: Fab) -> None:
    folder = written(fab, left_hosts_behind(), went_through("paper-2"))
    said = status_lines(folder)
    assert "paper-1" not in said
    told = listed(folder)
    assert told["paper-1"]["verdict"] == "superseded by paper-2: no host owes it anything"
    answer = fab("rollback", "--run", "paper-1")
    assert answer.code == 2 and "run paper-1 was superseded by run paper-2: no host owes it anything" in answer.err


def leaked_and_not_over(run: str = "paper-1") -> Teller:
    """A revocation that did not reach hive2."""
    teller = Teller(fleet_of(2), run, lost=("hive2",))
    teller.revoke()
    return teller


def test_a_revocations_debt_is_paid_by_a_later_run_that_proves_the_host(fab: Fab) -> None:
    folder = written(fab, leaked_and_not_over(), went_through("paper-2"))
    told = listed(folder)
    assert (told["paper-1"]["debts"], told["paper-2"]["debts"]) == ([], [])
    assert told["paper-1"]["verdict"] == "superseded by paper-2: no host owes it anything"
    answer = fab("reconcile", "--run", "paper-1")
    assert (answer.code, answer.out) == (2, "")
    assert "run paper-1 was superseded by run paper-2: no host owes it anything" in answer.err
    assert "fab revoke" not in answer.err


def test_a_revocations_debt_stays_where_no_later_run_has_proven_the_host(fab: Fab) -> None:
    """hive2 is away in the later run too: it may still trust what leaked."""
    folder = written(fab, leaked_and_not_over(), went_through("paper-2", lost=("hive2",)))
    told = listed(folder)
    assert told["paper-1"]["debts"] == told["paper-2"]["debts"] == ["hive2"]
    said = status_lines(folder)
    assert "run paper-1: hive2 may still accept the token that leaked" in said
    answer = fab("reconcile", "--run", "paper-1")
    assert answer.code == 2 and "superseded by run paper-2: hive2 may still accept its old token" in answer.err


def test_the_status_of_a_revocation_that_is_not_over_says_what_is_at_stake(fab: Fab) -> None:
    folder = written(fab, leaked_and_not_over())
    said = status_lines(folder)
    assert (
        f"run paper-1: hive2 may still accept the token that leaked (token:{OLD}), for" in said
        and ": fab reconcile" in said
    )


# -- a newer run of another bastion


def test_a_run_that_finds_a_newer_one_is_superseded_and_no_host_owes_it_anything(tmp_path: Path) -> None:
    """ann was interrupted when two hosts had turned; bob rotated the fleet from another bastion; ann resumes."""
    fleet = InProcessFleet(tmp_path)
    past = fold(interrupted(fleet).events)
    bob = Operator(fleet, run="run-2", who="bob@b2", history=History(epoch=past.epoch))
    assert bob.rotate() is ExitCode.DONE
    again = Operator(fleet, past=past)
    assert again.resume(lambda: again.token) is ExitCode.LOCKED
    run = again.runner.run
    assert ended(run) == "5 superseded"
    assert (
        report.document(run, fleet.inventory)["verdict"] == "superseded: a newer run worked here (run run-2 of bob@b2)"
    )
    assert run.debts == () and State.OWES not in again.states.values()
    assert not [
        line for line in report.failure_lines(run, fleet.inventory) if "old token" in line or "reconcile" in line
    ]
    assert report.next_step(run, fleet.inventory) == ""
    assert recorded([run]).owing == (), "nor does the bastion's status say so for ever"
    assert served([run, fold(went_through("paper-0").events)]) is None, "nor does an older run become the newest again"


def test_no_command_is_named_for_a_run_that_hosts_would_refuse(fab: Fab) -> None:
    folder = written(fab, in_the_middle())
    said = standing_lines(PAPER, str(folder.parent), "paper-9 of bob@b2")
    assert len(said) == 1
    assert said[0].endswith("superseded by paper-9 of bob@b2: no host owes it anything"), said


# -- a bastion without a journal, and services that serve nobody


def test_a_bastion_without_a_journal_names_no_command_that_needs_one(fab: Fab) -> None:
    said = standing_lines(PAPER, str(state_of(fab).parent))
    assert said == ["this bastion knows of no earlier runs and no debts of hosts: there is nothing to reconcile"]
    assert "reconcile" not in fab("history").out
    assert fab("reconcile").code == 2


def test_a_journal_that_is_gone_is_missed_and_not_taken_for_none(fab: Fab) -> None:
    folder = written(fab, in_the_middle())
    (folder / "journal.db").unlink()
    answer = fab("rollback")
    assert answer.code == 2 and "it is empty, and by its mark there were " in answer.err


def test_a_plan_over_hosts_that_disagree_says_who_owes_only_where_that_is_known(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=2)
    newer = generate()
    fleet.hosts["queen"].write(newer)
    fleet.hosts["queen"].start()
    ann = Operator(fleet)
    assert ann.look()
    ann.runner.close()
    run, inventory = ann.runner.run, fleet.inventory
    assert "there is nothing to reconcile" in report.disagreement(run, None, inventory)
    brought = Run("run-0", want=newer.fingerprint(KEY))
    assert report.disagreement(run, brought, inventory).endswith(
        f"hive1, hive2 do not hold the newest one, token:{brought.want}: fab reconcile --fleet {inventory.typed}"
    )
    assert "a rotation gives all one token" in report.disagreement(run, Run("run-0", want=NEW), inventory)


@pytest.mark.parametrize("hosts", [("queen", "hive1", "hive2"), ("hive1",)])
def test_a_run_over_services_that_let_nobody_in_does_not_say_that_all_is_as_it_should_be(
    tmp_path: Path, hosts: tuple[str, ...]
) -> None:
    """Their processes run on another token than their files'. Nothing was changed, and nobody was served before."""
    fleet = InProcessFleet(tmp_path, hives=2)
    for name in hosts:
        process = fleet.hosts[name].process
        assert process is not None
        process.token = generate().reveal()
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    said = report.summary(ann.runner.run, ExitCode.ROLLED_BACK)
    assert said.startswith(
        "stopped before any host was changed; clients cannot use the service with the token in its file on "
        f"{', '.join(hosts)}; {len(hosts)} failed, not touched by it ("
    )
