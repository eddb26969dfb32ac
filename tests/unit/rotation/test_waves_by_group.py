"""Waves by groups and ramps: who changes together, and that a wave is never more than was allowed."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.errors import ExitCode
from hivekeys.fleet import (
    SERVICES,
    Amount,
    Batch,
    GroupByGroup,
    Host,
    OfEach,
    Order,
    Policy,
    Ramp,
    Role,
    Step,
    is_of_kind,
)
from hivekeys.journal.events import Phase, PhaseStarted
from hivekeys.report import wave_lines
from hivekeys.rotation.waves import Wave, among, beside, group_of, plan
from tests.builders.operator import Operator
from tests.inprocess import InProcessFleet

RACKS = ("rack1", "rack-2", "rack_b")


def fleet(*racks: str, queen: bool = True) -> tuple[Host, ...]:
    """A queen, and a hive in each of these racks: hive1, hive2, and so on."""
    hives = [
        Host(f"hive{number}", Role.HIVE, "", service=SERVICES[Role.HIVE], groups=("gpu-a100", rack))
        for number, rack in enumerate(racks, 1)
    ]
    return (*([Host("queen", Role.QUEEN, "", service=SERVICES[Role.QUEEN])] if queen else []), *hives)


def names(waves: tuple[Wave, ...]) -> list[list[str]]:
    return [[host.name for host in wave.hosts] for wave in waves if wave.phase is Phase.WAVE]


def turned(batch: Batch, *racks: str, canary: int = 0) -> list[list[str]]:
    return names(plan(fleet(*racks), Policy(canary=canary, batch=batch)))


def test_one_of_each_rack_turns_together() -> None:
    waves = turned(OfEach(Amount(1), "rack"), "rack1", "rack1", "rack1", "rack-2", "rack-2")
    assert waves == [["hive1", "hive4"], ["hive2", "hive5"], ["hive3"]]


def test_a_share_of_each_rack_is_counted_in_each_rack() -> None:
    share = OfEach(Amount(50, percent=True, least=1), "rack")
    waves = turned(share, "rack1", "rack1", "rack1", "rack1", "rack-2", "rack-2")
    assert waves == [["hive1", "hive2", "hive5"], ["hive3", "hive4", "hive6"]]


def test_rack_by_rack_turns_each_rack_as_a_whole_in_the_order_of_the_file() -> None:
    waves = turned(GroupByGroup("rack"), "rack-2", "rack1", "rack-2", "rack1")
    assert waves == [["hive1", "hive3"], ["hive2", "hive4"]]


def test_the_canary_is_out_of_its_racks_wave() -> None:
    assert turned(GroupByGroup("rack"), "rack1", "rack1", "rack-2", canary=1) == [["hive2"], ["hive3"]]


def test_a_ramp_goes_on_with_its_last_size() -> None:
    ramp = Ramp((Amount(1), Amount(3), Amount(25, percent=True, least=1)))
    assert list(map(len, turned(ramp, *["rack1"] * 20))) == [1, 3, 5, 5, 5, 1]


def test_a_ramp_may_begin_with_one_hive_and_go_on_by_racks() -> None:
    waves = turned(Ramp((Amount(1), GroupByGroup("rack"))), "rack1", "rack1", "rack-2", "rack-2")
    assert waves == [["hive1"], ["hive2"], ["hive3", "hive4"]]


@pytest.mark.parametrize(("group", "is_rack"), [("rack1", 1), ("rack-b", 1), ("rack.eu", 1), ("rack", 0), ("racks", 0)])
def test_which_groups_are_of_a_kind(group: str, is_rack: int) -> None:
    assert is_of_kind(group, "rack") is bool(is_rack)


amounts = st.builds(Amount, st.integers(1, 8), least=st.just(1)) | st.builds(
    Amount, st.integers(1, 100), percent=st.just(True), least=st.just(1)
)
steps: st.SearchStrategy[Step] = amounts | st.builds(OfEach, amounts, st.just("rack")) | st.just(GroupByGroup("rack"))
batches: st.SearchStrategy[Batch] = steps | st.builds(Ramp, st.lists(steps, min_size=1, max_size=4).map(tuple))
racks = st.lists(st.sampled_from(RACKS), max_size=30)
policies = st.builds(Policy, order=st.sampled_from(Order), canary=st.integers(0, 3), batch=batches)


def is_allowed(step: Step, out: list[Host], hives: list[Host]) -> bool:
    """True where so many hives may be out of service at once."""
    if isinstance(step, Amount):
        return len(out) <= max(1, step.of(len(hives)))
    if isinstance(step, GroupByGroup):
        return len({group_of(host, step) for host in out}) <= 1
    sizes, of_each = (Counter(group_of(host, step) for host in hosts) for hosts in (hives, out))
    return all(number <= max(1, step.amount.of(sizes[group])) for group, number in of_each.items())


@given(racks, policies, st.booleans())
def test_every_host_has_one_turn_and_no_wave_is_more_than_was_allowed(
    racks: list[str], policy: Policy, canary: bool
) -> None:
    hosts = fleet(*racks)
    waves = plan(hosts, policy, canary=canary)
    assert Counter(host.name for wave in waves for host in wave.hosts) == Counter(host.name for host in hosts)
    for wave in waves:
        if wave.phase is Phase.WAVE:
            assert wave.step is not None and is_allowed(wave.step, list(wave.hosts), list(hosts[1:]))


@given(racks, policies, st.data())
def test_without_those_that_are_away_no_wave_is_more_than_was_allowed(
    racks: list[str], policy: Policy, data: st.DataObject
) -> None:
    hosts = fleet(*racks)
    standing = data.draw(st.sets(st.sampled_from(hosts)))
    waves = among(plan(hosts, policy), standing)
    assert {host for wave in waves for host in wave.hosts} == standing
    assert all(is_allowed(wave.step, list(wave.hosts), list(hosts[1:])) for wave in waves if wave.step)


@given(racks.filter(bool), policies, st.data())
def test_beside_hosts_that_were_left_behind_no_wave_is_more_than_was_allowed(
    racks: list[str], policy: Policy, data: st.DataObject
) -> None:
    hives = list(fleet(*racks, queen=False))
    waves = plan(hives, replace(policy, canary=0))
    number = data.draw(st.integers(0, len(waves) - 1))
    earlier = [host for wave in waves[:number] for host in wave.hosts]
    wave, behind = waves[number], list[Host]()
    for host in data.draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else ():
        if is_allowed(wave.step or Amount(0), [*behind, host], hives):  # the waves before it held that as well
            behind.append(host)
    may = beside(wave, wave.hosts, behind, hives)
    assert set(may) <= set(wave.hosts)
    assert not may or is_allowed(wave.step or Amount(0), [*may, *behind], hives)
    assert behind or may == list(wave.hosts), "whoever is ready turns, where nobody was left behind"


def test_a_rack_waits_for_a_hive_of_another_rack_that_was_left_behind() -> None:
    hives = fleet("rack1", "rack1", "rack-2", queen=False)
    one, two = plan(hives, Policy(canary=0, batch=GroupByGroup("rack")))
    assert beside(two, two.hosts, [hives[0]], hives) == []
    assert beside(one, one.hosts[1:], [hives[0]], hives) == [hives[1]]


def test_only_the_rack_of_a_hive_that_was_left_behind_waits_for_it() -> None:
    hives = fleet("rack1", "rack1", "rack-2", "rack-2", queen=False)
    _, two = plan(hives, Policy(canary=0, batch=OfEach(Amount(1), "rack")))
    assert beside(two, two.hosts, [hives[0]], hives) == [hives[3]]


def test_a_small_wave_of_a_ramp_waits_for_whoever_was_left_behind_in_the_one_before() -> None:
    hives = fleet(*["rack1"] * 4, queen=False)
    _, two, *_ = plan(hives, Policy(canary=0, batch=Ramp((Amount(1), Amount(2)))))
    assert beside(two, two.hosts, [hives[0]], hives) == [hives[1]]


def test_a_run_turns_a_fleet_rack_by_rack_and_plans_it_so(tmp_path: Path) -> None:
    rotated = InProcessFleet(tmp_path, hives=4)
    racks = {"hive1": ("rack1",), "hive2": ("rack2",), "hive3": ("rack1",), "hive4": ("rack2",)}
    hosts = tuple(replace(host, groups=racks.get(host.name, ())) for host in rotated.inventory.hosts)
    policy = replace(rotated.inventory.policy, batch=GroupByGroup("rack"))
    rotated.inventory = replace(rotated.inventory, hosts=hosts, policy=policy)
    ann = Operator(rotated)
    assert ann.rotate() is ExitCode.DONE
    begun = [event for event in ann.events if isinstance(event, PhaseStarted)]
    assert [event.hosts for event in begun if event.phase is Phase.WAVE] == [("hive3",), ("hive2", "hive4")]
    assert wave_lines(ann.run, policy.batch)[-2:] == ["4. wave: hive2, hive4", "waves: rack by rack"]


def test_queen_and_hives_wait_for_each_other() -> None:
    hosts = fleet("rack1", "rack1")
    queen, wave, _ = plan(hosts, Policy(canary=0, batch=Amount(1)))
    assert beside(queen, queen.hosts, [hosts[1]], hosts[1:]) == []
    assert beside(wave, wave.hosts, [hosts[0]], hosts[1:]) == []
