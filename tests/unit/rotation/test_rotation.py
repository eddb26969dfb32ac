"""A rotation on a quiet day, and the rules that it keeps: order, pace, budget, nothing retired too early."""

from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Order, Policy
from hivekeys.journal.events import Intent, Outcome, Phase, PhaseStarted, State, Stopped, TokenChosen
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.verbs import Verb
from hivekeys.token import generate
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.inprocess import InProcessFleet, SimulatedHost

IN_TWOS = Policy(batch=Amount(2))
CHANGES = ("stage", "swap", "restart", "revert", "retire", "discard")


def changes(fleet: InProcessFleet) -> list[tuple[str, str]]:
    """What was done to the hosts that changed anything, in order."""
    return [(entry.host, entry.verb) for entry in fleet.log if entry.verb in CHANGES]


def order_of(fleet: InProcessFleet, verb: str) -> list[str]:
    return [host for host, done in changes(fleet) if done == verb]


# -- undisturbed


@pytest.fixture
def quiet(tmp_path: Path) -> Operator:
    """Queen and five hives, in waves of two, after a rotation that nothing disturbed."""
    operator = Operator(InProcessFleet(tmp_path, hives=5, policy=IN_TWOS))
    assert operator.rotate() is ExitCode.DONE
    return operator


def test_every_host_ends_proven_on_the_new_token(quiet: Operator) -> None:
    assert set(quiet.states.values()) == {State.PROVEN}
    assert quiet.troubles == {}


def test_the_old_token_is_refused_on_every_host_and_nothing_is_left_over(quiet: Operator) -> None:
    assert set(serving(quiet.fleet, quiet.token).values()) == {"new"}
    for host in quiet.fleet.hosts.values():
        assert host.slots() == {"active": quiet.token.reveal(), "staged": None, "previous": None}


def test_the_queen_turns_first_then_one_hive_then_the_others_in_twos(quiet: Operator) -> None:
    restarted = order_of(quiet.fleet, "restart")
    assert restarted[:2] == ["queen", "hive1"]
    assert [set(restarted[2:4]), set(restarted[4:6])] == [{"hive2", "hive3"}, {"hive4", "hive5"}]


def test_a_wave_is_proven_before_the_next_one_begins(quiet: Operator) -> None:
    log = [(entry.host, entry.verb) for entry in quiet.fleet.log]
    swapped = {host: log.index((host, "swap")) for host in quiet.fleet.hosts}
    proven = {host: log.index((host, "prove"), at) for host, at in swapped.items()}
    for earlier, later in (("queen", "hive1"), ("hive1", "hive2"), ("hive3", "hive4")):
        assert proven[earlier] < swapped[later]


def test_never_more_hosts_are_out_of_service_than_a_wave_has(quiet: Operator) -> None:
    assert max(map(len, quiet.fleet.out_together)) <= 2
    assert all(out == {"queen"} for out in quiet.fleet.out_together if "queen" in out)


def test_everything_is_staged_before_anything_is_restarted(quiet: Operator) -> None:
    verbs = [verb for _, verb in changes(quiet.fleet)]
    assert verbs[:6] == ["stage"] * 6
    assert "stage" not in verbs[6:]


def test_the_old_token_is_retired_last(quiet: Operator) -> None:
    assert [verb for _, verb in changes(quiet.fleet)][-6:] == ["retire"] * 6


def test_a_host_is_restarted_once(quiet: Operator) -> None:
    assert sorted(order_of(quiet.fleet, "restart")) == sorted(quiet.fleet.hosts)


def test_one_token_is_chosen_and_before_any_host_holds_it(quiet: Operator) -> None:
    chosen = [at for at, event in enumerate(quiet.events) if isinstance(event, TokenChosen)]
    staged = [at for at, event in enumerate(quiet.events) if isinstance(event, Intent) and Verb.STAGE in event.verbs]
    assert len(chosen) == 1
    assert chosen[0] < min(staged)


def test_an_intent_is_written_before_each_change(quiet: Operator) -> None:
    """Every outcome that did anything follows an intent for the same host and phase."""
    pending = set()
    for event in quiet.events:
        if isinstance(event, Intent):
            pending.add((event.host, event.phase))
        elif isinstance(event, Outcome) and any(result.changed for result in event.results):
            assert (event.host, event.phase) in pending


def test_the_phases_come_in_the_order_of_the_guide(quiet: Operator) -> None:
    phases = [event.phase for event in quiet.events if isinstance(event, PhaseStarted)]
    assert phases == [
        Phase.LOOK,
        Phase.CLAIM,  # the queen alone
        Phase.CLAIM,
        Phase.STAGE,
        Phase.QUEEN,
        Phase.CANARY,
        Phase.WAVE,
        Phase.WAVE,
        Phase.SETTLE,
        Phase.RETIRE,
    ]


def test_the_report_knows_how_long_each_host_and_the_queen_could_not_talk(quiet: Operator) -> None:
    run = quiet.run
    assert all(run.gap(host) is not None for host in run.hosts.values())


def test_hives_turn_first_when_the_inventory_says_so(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=2, policy=Policy(order=Order.HIVES_FIRST))
    assert Operator(fleet).rotate() is ExitCode.DONE
    assert order_of(fleet, "restart") == ["hive1", "hive2", "queen"]


def test_a_service_that_reads_a_systemd_credential_is_proven_too(tmp_path: Path) -> None:
    operator = Operator(InProcessFleet(tmp_path, hives=1, credentials=True))
    assert operator.rotate() is ExitCode.DONE
    assert set(serving(operator.fleet, operator.token).values()) == {"new"}


def test_rotating_again_brings_the_next_token(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=2)
    first, second = Operator(fleet), Operator(fleet, run="run-2")
    assert first.rotate() is ExitCode.DONE
    assert second.rotate() is ExitCode.DONE
    assert set(serving(fleet, second.token).values()) == {"new"}
    assert not any(host.accepts(first.token) for host in fleet.hosts.values())


def test_a_look_changes_nothing(tmp_path: Path) -> None:
    operator = Operator(InProcessFleet(tmp_path))
    assert operator.look()
    operator.runner.end(ExitCode.DONE)
    assert changes(operator.fleet) == []
    assert set(operator.states.values()) == {State.UNCHANGED}


# -- an operator who takes time


def idle_for_ten_minutes(fleet: InProcessFleet) -> None:
    """Nobody asks the agents anything, and they leave."""
    fleet.advance(600.0)
    for host in fleet.hosts.values():
        for line in list(host.lines):
            line.drop()


def test_ten_minutes_of_thought_about_the_plan_do_no_harm(tmp_path: Path) -> None:
    operator = Operator(InProcessFleet(tmp_path))
    assert operator.rotate(thinking=lambda: idle_for_ten_minutes(operator.fleet)) is ExitCode.DONE


def test_a_token_that_somebody_changed_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    operator, theirs = Operator(fleet), generate()

    def somebody_else_works() -> None:
        idle_for_ten_minutes(fleet)
        fleet.hosts["hive2"].write(theirs)

    assert operator.rotate(thinking=somebody_else_works) is ExitCode.ROLLED_BACK
    assert operator.troubles == {"hive2": Trouble.SLOT_CHANGED}
    assert changes(fleet) == []
    assert fleet.hosts["hive2"].active_token() == theirs.reveal()


# -- a part of the fleet


def test_hosts_left_out_owe_the_token_and_the_old_one_is_not_retired(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    operator = Operator(fleet, hosts=fleet.inventory.hosts[:3])
    assert operator.rotate() is ExitCode.INCOMPLETE
    assert operator.states == {
        "queen": State.PROVEN,
        "hive1": State.PROVEN,
        "hive2": State.PROVEN,
        "hive3": State.OWES,
    }
    assert fleet.verbs("hive3") == []
    assert "retire" not in [verb for _, verb in changes(fleet)]
    assert fleet.hosts["queen"].slots()["previous"] == fleet.token.reveal()


# -- the budget


BUDGETS = [
    # max_failures, hives that fail, exit code, states of the failing hives
    ("0", (), ExitCode.DONE, ()),
    ("0", ("hive2",), ExitCode.ROLLED_BACK, (State.ROLLED_BACK,)),
    ("1", ("hive2",), ExitCode.INCOMPLETE, (State.OWES,)),
    ("1", ("hive2", "hive4"), ExitCode.ROLLED_BACK, (State.ROLLED_BACK, State.ROLLED_BACK)),
    ("2", ("hive2", "hive4"), ExitCode.INCOMPLETE, (State.OWES, State.OWES)),
    ("20%", ("hive2",), ExitCode.INCOMPLETE, (State.OWES,)),  # 20 % of six hosts is one
    ("20%", ("hive2", "hive5"), ExitCode.ROLLED_BACK, (State.ROLLED_BACK, State.ROLLED_BACK)),
    ("16%", ("hive2",), ExitCode.ROLLED_BACK, (State.ROLLED_BACK,)),  # and 16 % is none
    ("5", ("hive1",), ExitCode.ROLLED_BACK, (State.ROLLED_BACK,)),  # the canary may not fail
    ("5", ("queen",), ExitCode.ROLLED_BACK, (State.ROLLED_BACK,)),  # nor may the queen
]


def test_a_canary_that_is_away_is_replaced_or_a_whole_batch_would_be_the_first_to_try(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=4, policy=Policy(canary=1, batch=Amount(3), max_failures=Amount(1)))
    fleet.hosts["hive1"].fault = "link-down"
    fleet.hosts["hive2"].fault = "keeps-old-token"
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    turned = {host for host, verb in changes(fleet) if verb == "restart"}
    assert turned == {"queen", "hive2"}
    assert "canary failed (hive2)" in [event.why for event in operator.events if isinstance(event, Stopped)]


@pytest.mark.parametrize(("budget", "failing", "code", "states"), BUDGETS)
def test_the_budget_counts_over_the_whole_run(
    tmp_path: Path, budget: str, failing: tuple[str, ...], code: ExitCode, states: tuple[State, ...]
) -> None:
    amount = Amount(int(budget.removesuffix("%")), percent=budget.endswith("%"))
    fleet = InProcessFleet(tmp_path, hives=5, policy=Policy(batch=Amount(2), max_failures=amount))
    for name in failing:
        fleet.hosts[name].fault = "keeps-old-token"
    operator = Operator(fleet)
    assert operator.rotate() is code
    assert tuple(operator.states[name] for name in failing) == states
    if code is ExitCode.INCOMPLETE:
        expected = {name: "old" if name in failing else "new" for name in fleet.hosts}
        assert serving(fleet, operator.token) == expected
        assert "retire" not in [verb for host, verb in changes(fleet) if host not in failing]
    if code is ExitCode.ROLLED_BACK:
        assert set(serving(fleet, operator.token).values()) == {"old"}
        assert slots_used(fleet) == []


@pytest.mark.parametrize(("name", "code"), [("hive2", ExitCode.INCOMPLETE), ("queen", ExitCode.ROLLED_BACK)])
@pytest.mark.parametrize(
    ("fault", "trouble"), [("link-down", Trouble.NO_CONNECTION), ("disk-full", Trouble.WRITE_FAILED)]
)
def test_a_hive_that_cannot_begin_counts_in_the_budget_and_the_queen_never_does(
    tmp_path: Path, name: str, code: ExitCode, fault: str, trouble: Trouble
) -> None:
    """Hives on a new token beside a queen on the old one could not talk to her."""
    fleet = InProcessFleet(tmp_path, policy=Policy(max_failures=Amount(1)))
    fleet.hosts[name].fault = fault
    operator = Operator(fleet)
    assert operator.rotate() is code
    assert operator.troubles == {name: trouble}
    if name == "queen":
        assert changes(fleet) == []


# -- the way back


def test_the_failing_host_has_its_own_token_back_before_anything_else_happens(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=4, policy=IN_TWOS)
    fleet.hosts["hive4"].fault = "keeps-old-token"
    Operator(fleet).rotate()
    reverted = order_of(fleet, "revert")
    assert reverted[0] == "hive4"
    assert reverted[1] == "queen"


def test_the_way_back_has_the_order_and_the_pace_of_the_way_out(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=6, policy=IN_TWOS)
    fleet.hosts["hive6"].fault = "keeps-old-token"
    assert Operator(fleet).rotate() is ExitCode.ROLLED_BACK
    back = [host for host in order_of(fleet, "revert") if host != "hive6"]
    assert back[0] == "queen"
    assert [set(back[1:3]), set(back[3:5])] == [{"hive1", "hive2"}, {"hive3", "hive4"}]
    assert max(map(len, fleet.out_together)) <= 2
    assert all(out == {"queen"} for out in fleet.out_together if "queen" in out)


def test_hosts_that_were_only_staged_are_cleaned_and_not_restarted(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=4, policy=IN_TWOS)
    fleet.hosts["hive1"].fault = "keeps-old-token"
    operator = Operator(fleet)
    operator.rotate()
    for name in ("hive2", "hive3", "hive4"):
        assert operator.states[name] is State.UNCHANGED
        assert [verb for host, verb in changes(fleet) if host == name] == ["stage", "discard"]


def test_a_host_that_cannot_be_put_back_is_named_and_the_others_go_back(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=4, policy=IN_TWOS)
    fleet.at("hive4", "swap", breaks("start-fails"))
    fleet.at("hive2", "revert", breaks("start-fails"))
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.INCOMPLETE
    failed = {name for name, state in operator.states.items() if state is State.FAILED}
    assert failed == {"hive2", "hive4"}
    assert {serving(fleet, operator.token)[name] for name in ("queen", "hive1", "hive3")} == {"old"}


def test_a_host_is_rolled_back_only_when_its_old_token_is_proven_again(tmp_path: Path) -> None:
    """A queen that crash-loops on either token is out of service: exit code 3 would call the fleet whole."""
    fleet = InProcessFleet(tmp_path)
    fleet.at("queen", "restart", breaks("crash-loops"))
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.INCOMPLETE
    assert operator.states["queen"] is State.FAILED


def test_a_host_that_was_lost_and_is_back_in_time_goes_back_too(tmp_path: Path) -> None:
    """Its line broke after the swap; when the fleet goes back it answers again, on the new token."""
    fleet = InProcessFleet(tmp_path, hives=4, policy=IN_TWOS)
    fleet.at("hive4", "prove", breaks("link-down"), nth=2)

    def link_is_mended(event: object) -> None:
        if isinstance(event, Outcome) and event.host == "hive4" and event.state is State.UNKNOWN:
            fleet.hosts["hive4"].fault = None

    operator = Operator(fleet, on_event=link_is_mended)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert set(serving(fleet, operator.token).values()) == {"old"}
    assert slots_used(fleet) == []


def test_a_token_file_with_another_mode_goes_back_whole(tmp_path: Path) -> None:
    """0400 is as good as 0600 for the services; the way back leaves one file, and no old copy beside it."""
    fleet = InProcessFleet(tmp_path)
    for host in fleet.hosts.values():
        host.active.chmod(0o400)
        host.start()
    fleet.hosts["hive3"].fault = "keeps-old-token"
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert set(serving(fleet, operator.token).values()) == {"old"}
    assert slots_used(fleet) == []


def test_a_host_whose_staging_failed_is_unchanged(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    fleet.at("hive2", "stage", breaks("disk-full"))
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert operator.states["hive2"] is State.UNCHANGED


# -- what cannot be recorded does not happen


@pytest.mark.parametrize("kind", [TokenChosen, Intent])
def test_a_journal_that_cannot_be_written_stops_the_run_before_any_change(tmp_path: Path, kind: type) -> None:
    fleet = InProcessFleet(tmp_path)

    def disk_is_full(event: object) -> None:
        if isinstance(event, kind):
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        Operator(fleet, on_event=disk_is_full).rotate()
    assert changes(fleet) == []


# -- Ctrl-C (what a run that was interrupted becomes is tested with resume)


def interrupted_at(tmp_path: Path, host: str, verb: str) -> Operator:
    fleet = InProcessFleet(tmp_path, hives=4, policy=IN_TWOS)
    operator = Operator(fleet)

    def ctrl_c(_: SimulatedHost) -> None:
        operator.runner.interrupt()

    fleet.at(host, verb, ctrl_c)
    assert operator.rotate() is ExitCode.INTERRUPTED
    return operator


def test_after_ctrl_c_the_wave_under_way_is_proven_and_no_other_begins(tmp_path: Path) -> None:
    operator = interrupted_at(tmp_path, "hive1", "restart")
    assert order_of(operator.fleet, "restart") == ["queen", "hive1"]
    assert operator.states["hive1"] is State.PROVEN
    assert operator.states["hive2"] is State.UNCHANGED


def test_ctrl_c_while_the_hosts_are_looked_at_changes_nothing(tmp_path: Path) -> None:
    operator = interrupted_at(tmp_path, "queen", "observe")
    assert changes(operator.fleet) == []


def test_after_ctrl_c_no_line_to_a_host_is_left_open(tmp_path: Path) -> None:
    operator = interrupted_at(tmp_path, "hive2", "swap")
    assert [line for host in operator.fleet.hosts.values() for line in host.lines] == []
