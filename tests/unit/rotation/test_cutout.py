"""A host that is cut out of the fleet: before, during and after a run nobody contacts it, and every report names it."""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Host, Policy
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Event, Phase, Readmitted, Resumed, RunStarted, State, TokensRevoked
from hivekeys.journal.exposure import exposure_of
from hivekeys.journal.fold import fold
from hivekeys.journal.history import gone_back
from hivekeys.journal.run import REVOKE, ROTATE, Run
from hivekeys.journal.store import KINDS
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.ask_all import ask_all
from hivekeys.ssh.excluded import CutOut, Guarded, cut_out
from hivekeys.ssh.line import Applicant
from hivekeys.token import generate
from tests.builders.documents import valid
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessDialer, InProcessFleet

DONE, OPEN = ExitCode.DONE, ExitCode.INCOMPLETE
POLICY = Policy(revocation_recheck=0.0, canary=1, batch=Amount(1))
HOSTS = ("queen", "hive1", "hive2", "hive3")


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, policy=POLICY)


def cut_off(fleet: InProcessFleet, task: str, phase: Phase, without: Collection[str] = ()) -> Run:
    """A run with a Ctrl-C as this phase begins, as its journal tells it; whoever is to blame looks at it later."""
    operator = Operator(fleet, task=task, stops_in=phase, without=without)
    code = operator.revoke() if task == REVOKE else operator.rotate()
    assert code is ExitCode.INTERRUPTED
    fleet.dialled.clear()
    return fold(operator.events)


def take_out(fleet: InProcessFleet, *names: str) -> None:
    """The operator removes these hosts from the inventory."""
    hosts = tuple(host for host in fleet.inventory.hosts if host.name not in names)
    fleet.inventory = replace(fleet.inventory, hosts=hosts)


def words_of(operator: Operator, code: ExitCode) -> str:
    return "\n".join(report.summary_lines(operator.runner.run, code, operator.runner.fleet))


# -- before


@pytest.mark.parametrize("lost", [("hive2",), ("queen",), ("queen", "hive1")], ids=" ".join)
def test_a_revocation_without_a_host_never_contacts_it_and_ends_with_4(
    fleet: InProcessFleet, lost: tuple[str, ...]
) -> None:
    ann = Operator(fleet, task=REVOKE, without=lost)
    assert ann.revoke() is OPEN
    assert not set(lost) & set(fleet.dialled)
    assert {name for name, state in ann.states.items() if state is State.EXCLUDED} == set(lost)
    assert serving(fleet, ann.token) == {name: "old" if name in lost else "new" for name in HOSTS}
    said = words_of(ann, OPEN)
    assert "NOT OVER: every other host refuses the old token; excluded, and may still accept it: " in said
    assert "excluded by the operator; as far as is known it still accepts the old token" in said
    assert set(exposure_of(ann.runner.run).open) == set(lost)
    for name in lost:
        assert name in said.splitlines()[-1] and "--readmit" in said.splitlines()[-1]


def test_every_report_of_the_run_names_it(fleet: InProcessFleet) -> None:
    ann = Operator(fleet, task=REVOKE, without=["hive2"])
    ann.revoke()
    run = ann.runner.run
    document = valid(report.document(run, fleet.inventory))
    assert document["excluded"] == ["hive2"]
    assert [host["state"] for host in document["hosts"] if host["host"] == "hive2"] == ["excluded"]
    assert report.history_document([run], fleet.inventory, [], ExitCode.DONE)["runs"][0]["excluded"] == ["hive2"]
    assert "hive2" in report.standing(run, "1 h")


def test_a_rotation_without_a_host_finishes_on_the_others_and_waits_for_nobody(fleet: InProcessFleet) -> None:
    """Distrust, not absence: the old token is not kept for it, and it is no debt."""
    ann = Operator(fleet, without=["hive3"])
    assert ann.rotate() is OPEN
    assert "hive3" not in fleet.dialled
    assert set(slots_used(fleet)) == set()
    run = ann.runner.run
    assert run.debts == () and run.is_served
    assert report.summary(run, OPEN).startswith(
        "incomplete: proven on every other host; excluded from the fleet: hive3 ("
    )
    assert "reconcile" not in report.next_step(run, ann.runner.fleet)


def test_a_rotation_without_the_queen_turns_the_hives(fleet: InProcessFleet) -> None:
    ann = Operator(fleet, without=["queen"])
    assert ann.rotate() is OPEN
    assert "queen" not in fleet.dialled
    assert serving(fleet, ann.token) == {"queen": "old", "hive1": "new", "hive2": "new", "hive3": "new"}


# -- during


@pytest.mark.parametrize("phase", [Phase.LOOK, Phase.CLAIM, Phase.STAGE, Phase.QUEEN, Phase.WAVE, Phase.SETTLE])
@pytest.mark.parametrize("lost", ["hive3", "queen"])
def test_a_revocation_that_was_cut_off_goes_on_without_a_host_that_is_cut_out_meanwhile(
    fleet: InProcessFleet, phase: Phase, lost: str
) -> None:
    past = cut_off(fleet, REVOKE, phase)
    ann = Operator(fleet, task=REVOKE, past=past, without=[lost])
    code = ann.revoke()
    assert lost not in fleet.dialled
    assert (code, ann.states[lost]) == (OPEN, State.EXCLUDED)
    others = set(HOSTS) - {lost}
    assert {ann.states[name] for name in others} == {State.PROVEN}
    assert not any(fleet.hosts[name].accepts(fleet.token) for name in others)


@pytest.mark.parametrize("phase", [Phase.STAGE, Phase.QUEEN, Phase.CANARY, Phase.WAVE, Phase.SETTLE])
@pytest.mark.parametrize("lost", ["hive1", "hive3"])
def test_a_rotation_that_was_cut_off_goes_on_or_back_without_it(fleet: InProcessFleet, phase: Phase, lost: str) -> None:
    past = cut_off(fleet, ROTATE, phase)
    ann = Operator(fleet, past=past, without=[lost])
    assert ann.resume(generate) is OPEN
    assert lost not in fleet.dialled
    assert {ann.states[name] for name in HOSTS if name != lost} == {State.PROVEN}


@pytest.mark.parametrize("phase", [Phase.QUEEN, Phase.WAVE])
def test_a_way_back_without_a_host_that_was_touched_is_no_whole_way_back(fleet: InProcessFleet, phase: Phase) -> None:
    past = cut_off(fleet, ROTATE, phase)
    ann = Operator(fleet, past=past, without=["hive1"])
    assert ann.roll_back() is OPEN
    assert "hive1" not in fleet.dialled
    run = ann.runner.run
    assert report.summary(run, OPEN).startswith("incomplete: taken back on 3 of the 4 hosts that it had touched")
    assert run.behind == (), "nobody goes back there"
    assert {serving(fleet, ann.token)[name] for name in ("queen", "hive2", "hive3")} == {"old"}


# -- gone from the inventory


def test_a_revocation_that_was_killed_is_finished_though_a_host_is_gone_from_the_inventory(
    fleet: InProcessFleet,
) -> None:
    """Recipe R12. The hive was broken into, and the operator took it out; nobody hands it the new token."""
    past = cut_off(fleet, REVOKE, Phase.QUEEN)
    take_out(fleet, "hive3")
    ann = Operator(fleet, task=REVOKE, past=past)
    assert ann.revoke() is DONE
    assert "hive3" not in fleet.dialled
    run = ann.runner.run
    assert (run.gone, run.hosts["hive3"].state) == (("hive3",), State.EXCLUDED)
    said = words_of(ann, DONE)
    words = "revoked: every host of the inventory refuses the old token, and was tried twice; gone from it: hive3 ("
    assert words in said
    assert "hive3: gone from the inventory; as far as is known it still accepts the old token" in said
    again = Operator(fleet, task=REVOKE, past=run)
    assert again.revoke() is DONE and again.runner.run.gone == ("hive3",), "whoever goes on later names it as well"


@pytest.mark.parametrize("gone", ["hive1", "hive3"])
def test_a_rotation_goes_on_and_back_without_hosts_that_are_gone(fleet: InProcessFleet, gone: str) -> None:
    past = cut_off(fleet, ROTATE, Phase.WAVE)
    take_out(fleet, gone)
    ann = Operator(fleet, past=past)
    assert ann.roll_back() is DONE
    assert gone not in fleet.dialled
    words = "taken back on every host that it had touched and that the inventory has (3); gone from the inventory: "
    assert report.summary(ann.runner.run, DONE).startswith(words + gone)


# -- afterwards


def test_a_reconcile_pays_no_debt_to_a_host_that_is_cut_out(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "link-down"
    ann = Operator(fleet, task=REVOKE, without=["hive3"])
    assert ann.revoke() is OPEN
    assert ann.runner.run.debts == ("hive2",)
    fleet.hosts["hive2"].fault = None
    fleet.dialled.clear()
    late = Operator(fleet, task=REVOKE, past=fold(ann.events), without=["hive3"])
    assert late.revoke() is OPEN
    assert "hive3" not in fleet.dialled and not fleet.hosts["hive3"].accepts(ann.token)
    assert late.states["hive2"] is State.PROVEN


def test_a_run_that_left_a_host_out_takes_it_in_again_when_it_was_readmitted(fleet: InProcessFleet) -> None:
    ann = Operator(fleet, task=REVOKE, without=["hive3"])
    ann.revoke()
    late = Operator(fleet, task=REVOKE, past=fold(ann.events))
    assert late.revoke() is DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_a_later_run_that_went_back_without_it_bars_no_earlier_one(fleet: InProcessFleet) -> None:
    past = cut_off(fleet, ROTATE, Phase.WAVE)
    ann = Operator(fleet, past=past, without=["hive1"])
    ann.roll_back()
    assert gone_back([ann.runner.run]) == {past.id}


# -- an open run that a new revocation supersedes


def test_the_token_of_a_run_that_was_cut_off_is_condemned_though_only_the_lost_host_may_hold_it(
    fleet: InProcessFleet,
) -> None:
    past = cut_off(fleet, REVOKE, Phase.QUEEN)
    assert past.want
    for name in ("queen", "hive1", "hive2"):
        for path in fleet.hosts[name].secrets.glob("api-token.new"):
            path.unlink()
    ann = Operator(fleet, run="run-2", task=REVOKE, without=["hive3"])
    assert ann.revoke(leaked=[past.want]) is OPEN
    revoked = {one for event in ann.events if isinstance(event, TokensRevoked) for one in event.fingerprints}
    assert past.want in revoked and past.want != ann.runner.run.want
    assert "hive3" not in fleet.dialled


# -- who is cut out, and that nobody dials them


NOW = Moment(0.0, 0.0)
BEGUN = RunStarted("run-1", "paper", "ann@bastion", "", (), (), (), NOW, excluded=("hive1",))
names = st.lists(st.sampled_from(HOSTS), max_size=3).map(tuple)


def test_a_host_stays_cut_out_until_it_is_readmitted() -> None:
    taken_up = Resumed("bob@bastion", (), (), (), NOW, excluded=("hive1", "hive2"))
    assert cut_out([("run-1", BEGUN), ("run-1", taken_up)]) == {
        "hive1": CutOut("run-1", "ann@bastion"),
        "hive2": CutOut("run-1", "bob@bastion"),
    }
    later = replace(BEGUN, run="run-3", excluded=())
    back = ("run-2", Readmitted(("hive1",), NOW))
    assert cut_out([("run-1", BEGUN), back, ("run-3", later)]) == {}
    assert set(cut_out([("run-1", BEGUN), back, ("run-1", taken_up)])) == {"hive1", "hive2"}, "cut out once more"


@given(st.lists(st.tuples(st.booleans(), names), max_size=8))
def test_the_last_word_on_a_host_counts(told: list[tuple[bool, tuple[str, ...]]]) -> None:
    events: list[tuple[str, Event]] = [
        ("run", replace(BEGUN, excluded=hosts) if is_out else Readmitted(hosts, NOW)) for is_out, hosts in told
    ]
    last = {name: is_out for is_out, hosts in told for name in hosts}
    assert set(cut_out(events)) == {name for name, is_out in last.items() if is_out}


def test_a_guarded_dialer_dials_nobody_that_was_cut_out(fleet: InProcessFleet) -> None:
    """Whatever verb asks: status and verify log in as root, too."""
    dialer = Guarded(fleet.dialer(), {"hive1": CutOut("run-1", "ann@bastion")})
    answers = {host.name: dialer.dial(host) for host in fleet.inventory.hosts}
    assert answers["hive1"] == Cause(Trouble.EXCLUDED, "by run run-1 of ann@bastion")
    assert fleet.dialled == ["queen", "hive2", "hive3"]
    dialer.close()


def test_nor_does_it_connect_to_such_a_host_before_its_turn(tmp_path: Path) -> None:
    """It gets no SYN; its turn comes all the same, and is refused."""
    connected: list[str] = []

    class Connects(InProcessDialer):
        def connect(self, host: Host, applicant: Applicant) -> None:
            connected.append(host.name)
            super().connect(host, applicant)

    fleet = InProcessFleet(tmp_path)
    dialer = Guarded(Connects(fleet), {"hive1": CutOut("run-1", "ann@bastion")})
    asked = ask_all(dialer.dial, fleet.inventory.hosts, 1, dialer.connect)
    assert connected == ["queen", "hive2", "hive3"]
    assert [isinstance(answer, Cause) for answer in asked] == [False, True, False, False]


def test_a_journal_of_an_older_release_knows_nobody_who_is_cut_out() -> None:
    for event in (BEGUN, Resumed("ann", (), (), (), NOW)):
        kind = KINDS[type(event).__name__]
        facts = kind.dump_python(event, mode="json")
        old = {name: value for name, value in facts.items() if name not in ("excluded", "gone")}
        assert kind.validate_json(json.dumps(old)).excluded == ()
