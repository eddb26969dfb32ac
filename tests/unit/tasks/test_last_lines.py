"""The last line of a run takes the operator home: what it says is typed as it stands, and then all is well."""

import shlex
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys import inventory
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Policy
from hivekeys.journal.events import State
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE, Run
from hivekeys.report import next_step
from hivekeys.tasks.work.earlier_run import take_up as _take_up
from hivekeys.tasks.work.request import Request
from hivekeys.token import generate
from tests.builders.commands import bare_commands_in, commands_in, mistake_in
from tests.builders.operator import Operator, breaks, serving
from tests.inprocess import InProcessFleet

DONE, BACK, OPEN, LOCKED, INTERRUPTED = (
    ExitCode.DONE,
    ExitCode.ROLLED_BACK,
    ExitCode.INCOMPLETE,
    ExitCode.LOCKED,
    ExitCode.INTERRUPTED,
)


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, policy=Policy(revocation_recheck=0.0))


def rotates(fleet: InProcessFleet, run: str, missing: Collection[str] = (), exclude: str = "") -> Operator:
    hosts = inventory.select(fleet.inventory, "", exclude)
    ann = Operator(fleet, run=run, hosts=hosts)
    ann.plan = replace(ann.plan, may_be_missing=frozenset(missing))
    return ann


def last_line(operator: Operator, fleet: InProcessFleet) -> str:
    """The last line, once fab and OpenSSH have read every command of it."""
    said = next_step(operator.runner.run, fleet.inventory)
    typed = [*bare_commands_in(said), *(word for word in said.split("   ") if word.startswith("ssh "))]
    assert typed or not said
    assert {command: found for command in typed if (found := mistake_in(command, fleet.inventory))} == {}
    return said


def types(said: str, number: int, operator: Operator, fleet: InProcessFleet) -> tuple[ExitCode, Operator]:
    """Types a command of the last line: the first, or that `number`."""
    words = shlex.split(bare_commands_in(said)[number])
    given = dict(zip(words, [*words[1:], ""], strict=True))
    match words[1]:
        case "rotate":
            missing = [host.name for host in inventory.select(fleet.inventory, given.get("--allow-missing", ""))]
            out = given.get("--exclude", "")
            ann = rotates(fleet, "run-again", missing if "--allow-missing" in given else (), out)
            return ann.rotate(), ann
        case "revoke":
            assert given["--reason"] == "routine"
            ann = Operator(fleet, run="run-again", task=REVOKE)
            return ann.revoke(), ann
    past = fold(operator.events)
    fleet.advance(1000)  # whoever had a host's lock has it no longer
    ann = Operator(fleet, past=past, token=operator.token, fence="--fence" in given)
    ann.events[:0] = operator.events
    if past.is_revocation:
        return ann.revoke(ends_survivors="--end-survivors" in given), ann
    verbs = {
        "resume": lambda: ann.resume(generate),
        "rollback": ann.roll_back,
        "reconcile": ann.reconcile,
    }
    return verbs[words[1]](), ann


def does_not_start_once(fleet: InProcessFleet) -> None:
    """With the new token; with the old one it does."""
    fleet.at("hive1", "restart", breaks("start-fails"))
    fleet.at("hive1", "revert", lambda host: setattr(host, "fault", None))


def ended_well(code: ExitCode, operator: Operator, fleet: InProcessFleet) -> bool:
    return code is DONE and last_line(operator, fleet) == ""


# -- exit code 3


def test_a_hive_that_is_out_of_reach_is_gone_on_without_by_what_the_last_line_says(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "link-down"
    ann = Operator(fleet)
    assert ann.rotate() is BACK
    said = last_line(ann, fleet)
    assert said.startswith("without waiting for hive2: fab rotate --fleet inprocess --allow-missing hive2")
    code, again = types(said, 0, ann, fleet)
    assert (code, again.runner.run.debts) == (OPEN, ("hive2",))
    assert {state for name, state in again.states.items() if name != "hive2"} == {State.PROVEN}
    fleet.hosts["hive2"].fault = None
    code, last = types(last_line(again, fleet), 0, again, fleet)
    assert ended_well(code, last, fleet)


def test_a_hive_that_is_back_is_turned_by_the_other_half_of_the_line(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "link-down"
    ann = Operator(fleet)
    assert ann.rotate() is BACK
    said = last_line(ann, fleet)
    fleet.hosts["hive2"].fault = None
    code, again = types(said, 1, ann, fleet)
    assert ended_well(code, again, fleet)


@pytest.mark.parametrize("away", [["queen"], ["queen", "hive1"], ["hive1", "hive2", "hive3"]])
def test_nobody_goes_on_without_the_queen_nor_with_her_alone(fleet: InProcessFleet, away: list[str]) -> None:
    for name in away:
        fleet.hosts[name].fault = "link-down"
    ann = Operator(fleet)
    assert ann.rotate() is BACK
    said = last_line(ann, fleet)
    assert "--allow-missing" not in said
    assert said.startswith(f"find the cause: ssh -v {away[0]}.test true   ")


def test_a_service_that_does_not_start_is_looked_into_and_then_the_same_is_done_again(fleet: InProcessFleet) -> None:
    does_not_start_once(fleet)
    ann = Operator(fleet)
    assert ann.rotate() is BACK
    said = last_line(ann, fleet)
    assert said.startswith("find the cause: ssh hive1.test sudo journalctl -u rbee-hive.service -n 50   ")
    code, again = types(said, 0, ann, fleet)
    assert ended_well(code, again, fleet)


def test_what_was_left_out_is_left_out_again(fleet: InProcessFleet) -> None:
    does_not_start_once(fleet)
    ann = rotates(fleet, "run-1", exclude="hive3")
    assert ann.rotate() is BACK
    assert last_line(ann, fleet).endswith("fab rotate --fleet inprocess --exclude hive3")


def test_a_token_that_was_given_is_not_exchanged_for_a_made_one(fleet: InProcessFleet) -> None:
    does_not_start_once(fleet)
    ann = Operator(fleet)
    assert ann.look()
    assert ann.go(given=True) is BACK
    assert next_step(ann.runner.run, fleet.inventory).endswith("the same command again")


# -- exit codes 0, 4, 5, 130


def test_after_a_run_that_is_done_there_is_nothing_to_type(fleet: InProcessFleet) -> None:
    ann = Operator(fleet)
    assert ended_well(ann.rotate(), ann, fleet)
    bob = Operator(fleet, run="run-2", task=REVOKE)
    assert ended_well(bob.revoke(), bob, fleet)


def test_a_way_back_that_did_not_reach_a_host_is_gone_to_its_end(fleet: InProcessFleet) -> None:
    fleet.at("hive1", "prove", breaks("link-down"), nth=2)
    ann = Operator(fleet)
    assert ann.rotate() is OPEN
    fleet.hosts["hive1"].fault = None
    said = last_line(ann, fleet)
    assert said.endswith("fab rollback --fleet inprocess")
    code, back = types(said, 0, ann, fleet)
    assert ended_well(code, back, fleet)
    assert set(serving(fleet, ann.token).values()) == {"old"}


def test_who_met_another_run_does_the_same_when_that_is_over(fleet: InProcessFleet) -> None:
    bob = Operator(fleet, run="run-0", who="bob@bastion")
    assert bob.look()
    met: list[tuple[ExitCode, Operator]] = []

    def tries(_: object) -> None:
        ann = Operator(fleet, run="run-1")
        met.append((ann.rotate(), ann))

    fleet.at("hive1", "stage", tries)
    assert bob.go() is DONE
    ((code, ann),) = met
    assert code is LOCKED
    said = last_line(ann, fleet)
    assert said.startswith("when the other run is over: fab rotate --fleet inprocess   ")
    code, again = types(said, 0, ann, fleet)
    assert ended_well(code, again, fleet)


@pytest.mark.parametrize(("number", "verb", "there"), [(0, "resume", "new"), (1, "rollback", "old")])
def test_a_run_that_was_interrupted_goes_on_or_back(fleet: InProcessFleet, number: int, verb: str, there: str) -> None:
    ann = Operator(fleet)
    fleet.at("hive1", "swap", lambda _: ann.runner.interrupt())
    assert ann.rotate() is INTERRUPTED
    said = last_line(ann, fleet)
    assert bare_commands_in(said)[number] == f"fab {verb} --fleet inprocess"
    code, last = types(said, number, ann, fleet)
    assert ended_well(code, last, fleet)
    assert set(serving(fleet, ann.token).values()) == {there}


# -- a token that leaked


def test_a_host_that_answers_and_cannot_be_turned_is_fenced_by_what_the_last_line_says(fleet: InProcessFleet) -> None:
    fleet.at("hive2", "stage", breaks("disk-full"))
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is OPEN
    assert fleet.hosts["hive2"].accepts(fleet.token)
    said = last_line(ann, fleet)
    assert said.startswith("hive2 may still accept the token that leaked: stop the service: ")
    assert bare_commands_in(said)[0] == "fab reconcile --fleet inprocess --fence"
    begun = len(fleet.log)
    code, fenced = types(said, 0, ann, fleet)
    assert (code, fenced.states["hive2"]) == (OPEN, State.FENCED)
    assert {entry.host for entry in fleet.log[begun:] if entry.verb in ("restart", "swap")} <= {"hive2"}
    assert not fleet.hosts["hive2"].accepts(fleet.token)
    assert fleet.hosts["hive1"].accepts(ann.token), "the others keep the token that the revocation brought"
    fleet.hosts["hive2"].fault = None
    said = last_line(fenced, fleet)
    assert "--fence" not in said
    code, last = types(said, 0, fenced, fleet)
    assert ended_well(code, last, fleet)


@pytest.mark.parametrize(
    ("asked", "option"), [(Request(fence=True), "--fence"), (Request(ends_survivors=True), "--end-survivors")]
)
def test_a_rotation_that_is_taken_up_stops_no_service(fleet: InProcessFleet, asked: Request, option: str) -> None:
    """Its old token may still be used: nobody says that it leaked."""
    past = Run(id="run-1", fleet="inprocess")
    with pytest.raises(UserError, match=f"{option}: run run-1 revoked nothing") as refused:
        _take_up(fleet.inventory, fleet.inventory.hosts, replace(asked, past=past), "reconcile", dry_run=False)
    (command,) = bare_commands_in(refused.value.hint)
    assert mistake_in(command, fleet.inventory) == "" and option in command


def test_who_is_out_of_reach_cannot_be_fenced(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "link-down"
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is OPEN
    said = last_line(ann, fleet)
    assert "--fence" not in said
    fleet.hosts["hive2"].fault = None
    code, last = types(said, 0, ann, fleet)
    assert ended_well(code, last, fleet)


def test_a_revocation_that_reached_nobody_is_begun_again_for_the_same_reason(fleet: InProcessFleet) -> None:
    for host in fleet.hosts.values():
        host.fault = "link-down"
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is OPEN
    for host in fleet.hosts.values():
        host.fault = None
    said = last_line(ann, fleet)
    assert said.startswith("when hosts answer again: fab revoke --fleet inprocess --reason routine")
    code, last = types(said, 0, ann, fleet)
    assert ended_well(code, last, fleet)


def test_a_revocation_that_was_interrupted_at_once_says_that_the_token_is_still_trusted(fleet: InProcessFleet) -> None:
    ann = Operator(fleet, task=REVOKE)
    fleet.at("queen", "observe", lambda _: ann.runner.interrupt())
    assert ann.revoke() is INTERRUPTED
    said = last_line(ann, fleet)
    assert said.startswith("the token that leaked is still accepted: fab revoke ")
    code, last = types(said, 0, ann, fleet)
    assert ended_well(code, last, fleet)


def test_a_reason_of_several_words_is_one_word_to_a_shell(fleet: InProcessFleet) -> None:
    run = Run(fleet="inprocess", task=REVOKE, reason="token in ann's paste $(reboot)", code=OPEN)
    (command,) = bare_commands_in(next_step(run, fleet.inventory))
    assert shlex.split(command)[-1] == run.reason
    assert mistake_in(command, fleet.inventory) == ""


def test_who_was_cut_out_is_readmitted_by_name(fleet: InProcessFleet) -> None:
    ann = Operator(fleet, without=["hive2", "hive3"])
    assert ann.rotate() is OPEN
    assert "fab install --fleet inprocess --limit hive2,hive3 --readmit" in last_line(ann, fleet)


def test_upkeep_and_a_run_that_has_nothing_to_say_have_no_last_line(fleet: InProcessFleet) -> None:
    run = Run(fleet="inprocess", code=BACK)
    assert next_step(replace(run, task="fix"), fleet.inventory) == ""
    assert commands_in("no command") == []
