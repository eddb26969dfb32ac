"""A wave with more hosts than may be at work at once: all are turned, then all are watched, and none is forgotten."""

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import TURNS, Event, Intent, Outcome, Phase, PhaseStarted, State
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.verbs import Verb
from hivekeys.service import Accepts, Apply, Drain
from tests.builders.operator import Operator, breaks, serving
from tests.inprocess import InProcessFleet, SimulatedHost

IN_THREES = Policy(batch=Amount(3), width=2, stable_seconds=3.0)
WAVE = ("hive2", "hive3", "hive4")


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """A queen, a canary, two waves of three; two hosts may be at work at once."""
    return InProcessFleet(tmp_path, hives=7, policy=IN_THREES)


def meanwhile(fleet: InProcessFleet, happens: Callable[[], None]) -> Operator:
    """A run in which something happens as the hosts of the first wave have turned, and are to be watched."""
    begun = Counter[str]()

    def on_event(event: Event) -> None:
        if isinstance(event, PhaseStarted):
            begun[event.title] += 1
            if event.title == "wave 1 of 2" and begun[event.title] == 2:
                happens()

    return Operator(fleet, on_event=on_event)


# -- undisturbed


def test_each_place_is_free_for_the_next_host_once_a_service_is_proven(fleet: InProcessFleet) -> None:
    """By the hosts' own clocks: nobody was watched before the last of the wave was turned."""
    assert Operator(fleet).rotate() is ExitCode.DONE
    log = [(entry.host, entry.verb, entry.time) for entry in fleet.log if entry.host in WAVE]
    places = [at for at, (_, verb, _) in enumerate(log) if verb == "restart"]
    second = [at for at, (_, verb, _) in enumerate(log) if verb == "prove" and at > max(places)]
    waited = {host: [time for name, verb, time in log if (name, verb) == (host, "prove")] for host in WAVE}
    assert len(places) == 3 and len(second) >= 3
    for look, turned, watched, settled in waited.values():
        assert (turned - look, watched - turned, settled - watched) == (0.0, 0.0, 3.0)


def test_a_service_is_restarted_once_and_every_host_is_proven(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    assert set(serving(fleet, operator.token).values()) == {"new"}
    assert {fleet.verbs(host).count("restart") for host in fleet.hosts} == {1}


def test_the_next_wave_begins_when_the_last_was_watched(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    operator.rotate()
    waves = [event for event in operator.events if isinstance(event, PhaseStarted) and event.phase is Phase.WAVE]
    assert [event.title for event in waves] == ["wave 1 of 2"] * 2 + ["wave 2 of 2"] * 2
    assert [event.hosts for event in waves[:2]] == [WAVE, WAVE]
    assert max(map(len, fleet.out_together)) <= 3


def test_a_wave_that_fits_is_asked_once(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=7, policy=replace(IN_THREES, width=3))
    operator = Operator(fleet)
    operator.rotate()
    assert Counter(fleet.verbs("hive2"))["prove"] == 3  # look, wave, settle


def test_a_service_that_reads_its_file_anew_when_it_is_told_is_told_once(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=7, policy=IN_THREES, service={"apply": Apply.RELOAD})
    assert Operator(fleet).rotate() is ExitCode.DONE
    assert {fleet.verbs(host).count("notify") for host in fleet.hosts} == {1}


def test_passes_turn_and_watch_a_large_wave_in_the_same_manner(tmp_path: Path) -> None:
    service = {"accepts": Accepts.LINES, "apply": Apply.RESTART}
    fleet = InProcessFleet(tmp_path, hives=7, policy=IN_THREES, service=service)
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    waves = Counter(event.title for event in operator.events if isinstance(event, PhaseStarted))
    assert {waves[f"{phase}, wave {wave} of 2"] for phase in ("accept", "use", "drop") for wave in (1, 2)} == {2}


def test_a_drained_service_is_watched_before_it_is_given_work_again(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=7, policy=IN_THREES, drain=Drain())
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    waves = [event.title for event in operator.events if isinstance(event, PhaseStarted) and event.phase is Phase.WAVE]
    assert waves == ["wave 1 of 2", "wave 2 of 2"]
    times = {entry.verb: entry.time for entry in fleet.log if entry.host == "hive2" and entry.verb != "prove"}
    assert times["uncordon"] - times["restart"] >= 3.0


# -- who does not stay up


def test_a_service_that_dies_while_it_is_watched_takes_the_fleet_back_and_the_next_wave_never_begins(
    fleet: InProcessFleet,
) -> None:
    fleet.at("hive3", "restart", breaks("crash-loops"))
    operator = Operator(fleet)
    operator.rotate()
    assert operator.troubles["hive3"] is Trouble.UNSTABLE
    assert not any("restart" in fleet.verbs(host) for host in ("hive5", "hive6", "hive7"))
    assert operator.states["hive2"] is State.ROLLED_BACK


def test_a_service_that_died_before_its_turn_to_be_watched_has_not_stayed_up_though_systemd_started_another(
    fleet: InProcessFleet,
) -> None:
    def dies() -> None:
        host = fleet.hosts["hive3"]
        assert host.process
        host.process.dies_at = host.clock  # once: systemd starts another, which lives
        host.tick()
        assert host.process
        host.process.dies_at = float("inf")

    operator = meanwhile(fleet, dies)
    operator.rotate()
    assert operator.troubles["hive3"] is Trouble.UNSTABLE
    assert not any("restart" in fleet.verbs(host) for host in ("hive5", "hive6", "hive7"))


def test_a_line_that_breaks_meanwhile_is_opened_again_and_the_service_watched_in_full(fleet: InProcessFleet) -> None:
    fleet.cut("hive3", "prove", nth=3)  # after those of its look and of its turn
    assert Operator(fleet).rotate() is ExitCode.DONE
    times = [entry.time for entry in fleet.log if (entry.host, entry.verb) == ("hive3", "prove")]
    assert times[-1] - times[-2] == pytest.approx(3.0)


# -- whatever the wave, whoever fails


def turning(events: list[Event]) -> list[set[str]]:
    """The hosts that were told to restart and are not through their wave, as each other host is told so."""
    out, found = dict[str, str](), []
    last = {
        (event.host, event.phase): at
        for at, event in enumerate(events)
        if isinstance(event, Outcome) and event.phase in TURNS
    }
    for at, event in enumerate(events):
        if isinstance(event, Intent) and event.phase in TURNS and Verb.RESTART in event.verbs:
            out[event.host] = event.phase.value
            found.append(set(out))
        elif isinstance(event, Outcome) and last.get((event.host, event.phase)) == at:
            out.pop(event.host, None)
    return found


@given(
    hives=st.integers(1, 7),
    canary=st.integers(0, 2),
    batch=st.integers(1, 4),
    width=st.integers(1, 4),
    fault=st.sampled_from([None, "crash-loops", "start-fails", "keeps-old-token"]),
    ill=st.integers(1, 7),
)
@settings(max_examples=40, deadline=None)
def test_no_more_than_a_wave_is_turned_or_watched_and_who_fails_stops_what_has_not_begun(
    hives: int, canary: int, batch: int, width: int, fault: str | None, ill: int
) -> None:
    policy = Policy(canary=canary, batch=Amount(batch), width=width, stable_seconds=3.0)
    with tempfile.TemporaryDirectory() as folder:
        fleet = InProcessFleet(Path(folder), hives, policy=policy)
        name = f"hive{min(ill, hives)}"

        def begins(host: SimulatedHost) -> None:
            host.fault = fault

        fleet.at(name, "restart", begins)
        operator = Operator(fleet)
        code = operator.rotate()
        waves = [set(names) for _, names in operator.run.waves]
        for out in turning(operator.events):
            assert any(out <= wave for wave in waves), "two waves at once"
        assert (code is ExitCode.DONE) == (fault is None)
        mine = next(at for at, wave in enumerate(waves) if name in wave)
        later = {host for wave in waves[mine + 1 :] for host in wave}
        assert fault is None or not any("restart" in fleet.verbs(host) for host in later)
