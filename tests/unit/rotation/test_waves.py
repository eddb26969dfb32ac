"""Who changes together, and when a run must not go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.fleet import SERVICES, Amount, Host, Order, Policy, Role
from hivekeys.journal.events import Phase
from hivekeys.rotation.waves import among, plan, stop_reason


def hosts(hives: int) -> tuple[Host, ...]:
    roles = {"queen": Role.QUEEN} | {f"hive{number}": Role.HIVE for number in range(1, hives + 1)}
    return tuple(Host(name, role, name, service=SERVICES[role]) for name, role in roles.items())


amounts = st.builds(Amount, st.integers(0, 100), percent=st.booleans(), least=st.integers(0, 3))
policies = st.builds(Policy, order=st.sampled_from(Order), canary=st.integers(0, 5), batch=amounts)


@given(st.integers(0, 60), policies, st.booleans())
def test_every_host_has_one_turn_and_the_queen_has_hers_alone(hives: int, policy: Policy, canary: bool) -> None:
    fleet = hosts(hives)
    waves = plan(fleet, policy, canary=canary)
    turns = [host for wave in waves for host in wave.hosts]
    assert sorted(host.name for host in turns) == sorted(host.name for host in fleet)
    assert all(wave.hosts for wave in waves)
    assert all(len({host.role for host in wave.hosts}) == 1 for wave in waves)
    at = 0 if policy.order is Order.QUEEN_FIRST else -1
    assert waves[at].phase is Phase.QUEEN


@given(st.integers(1, 60), policies)
def test_no_wave_is_larger_than_was_asked_for(hives: int, policy: Policy) -> None:
    assert isinstance(policy.batch, Amount)
    most = max(1, policy.batch.of(hives), policy.canary)
    assert all(len(wave.hosts) <= most for wave in plan(hosts(hives), policy))


@given(st.integers(0, 20), policies, st.data())
def test_who_is_out_of_it_is_in_no_wave_and_everybody_else_in_one(
    hives: int, policy: Policy, data: st.DataObject
) -> None:
    fleet = hosts(hives)
    standing = data.draw(st.sets(st.sampled_from(fleet)))
    waves = among(plan(fleet, policy), standing)
    turns = [host for wave in waves for host in wave.hosts]
    assert sorted(host.name for host in turns) == sorted(host.name for host in standing)
    canaries = sum(len(wave.hosts) for wave in waves if wave.phase is Phase.CANARY)
    assert canaries == min(policy.canary, sum(host.role is Role.HIVE for host in standing))
    assert among(plan(fleet, policy), fleet) == plan(fleet, policy)


def test_a_canary_that_is_away_is_replaced_by_the_next_hive() -> None:
    fleet = hosts(4)
    waves = among(plan(fleet, Policy(canary=1, batch=Amount(2))), [host for host in fleet if host.name != "hive1"])
    assert [(wave.title, [host.name for host in wave.hosts]) for wave in waves] == [
        ("queen", ["queen"]),
        ("canary", ["hive2"]),
        ("wave 1 of 2", ["hive3"]),
        ("wave 2 of 2", ["hive4"]),
    ]


def test_titles_count_the_waves() -> None:
    waves = plan(hosts(5), Policy(canary=1, batch=Amount(2)))
    assert [wave.title for wave in waves] == ["queen", "canary", "wave 1 of 2", "wave 2 of 2"]


def test_nobody_means_no_wave() -> None:
    assert plan((), Policy()) == ()


REASONS = [
    # phase, failed now, failed in all, max_failures, does it stop
    (Phase.WAVE, (), 3, Amount(0), False),
    (Phase.WAVE, ("hive2",), 1, Amount(0), True),
    (Phase.WAVE, ("hive2",), 1, Amount(1), False),
    (Phase.WAVE, ("hive3",), 2, Amount(1), True),  # one in each wave adds up
    (Phase.WAVE, ("hive2", "hive3"), 2, Amount(20, percent=True), False),
    (Phase.WAVE, ("hive2", "hive3", "hive4"), 3, Amount(20, percent=True), True),
    (Phase.CANARY, ("hive1",), 1, Amount(9), True),
    (Phase.QUEEN, ("queen",), 1, Amount(9), True),
    (Phase.LOOK, ("queen",), 1, Amount(9), True),
    (Phase.CLAIM, ("hive2", "queen"), 2, Amount(9), True),
    (Phase.SETTLE, ("hive2",), 1, Amount(1), False),
]


@pytest.mark.parametrize(("phase", "failed", "in_all", "budget", "stops"), REASONS)
def test_when_a_run_must_not_go_on(
    phase: Phase, failed: tuple[str, ...], in_all: int, budget: Amount, stops: bool
) -> None:
    assert bool(stop_reason(phase, failed, in_all, 10, Policy(max_failures=budget), "queen")) is stops


def test_a_reason_names_the_hosts_but_not_a_whole_fleet_of_them() -> None:
    names = [f"hive{number}" for number in range(1, 41)]
    why = stop_reason(Phase.WAVE, names, 40, 100, Policy(max_failures=Amount(10, percent=True)), "queen")
    assert why == "40 of 100 hosts failed (hive1, hive2, hive3, hive4, hive5 …); max_failures is 10%"
