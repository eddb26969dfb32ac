"""Every fault of a host, before a rotation and in the middle of one: where host and fleet end, and what is said."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import State
from hivekeys.protocol.causes import HINTS, Trouble
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.inprocess import FAULTS, InProcessFleet, When

DONE, BACK, OPEN = ExitCode.DONE, ExitCode.ROLLED_BACK, ExitCode.INCOMPLETE
PROVEN, ROLLED_BACK, FAILED, UNKNOWN = State.PROVEN, State.ROLLED_BACK, State.FAILED, State.UNKNOWN
UNREACHABLE, UNCHANGED = State.UNREACHABLE, State.UNCHANGED


@dataclass(frozen=True)
class End:
    """How a run with one fault ends: its code, the host's state and trouble."""

    code: ExitCode
    state: State
    trouble: Trouble | None = None


WELL = End(DONE, PROVEN)
LOST = End(OPEN, UNKNOWN, Trouble.NO_CONNECTION)
FROZEN = End(OPEN, UNKNOWN, Trouble.NO_BANNER)
SILENT = End(OPEN, UNKNOWN, Trouble.SILENT)

BEFORE = {
    "start-fails": End(OPEN, FAILED, Trouble.START_FAILED),
    "start-slow": WELL,
    "keeps-old-token": End(BACK, ROLLED_BACK, Trouble.NEW_REFUSED),
    "accepts-any-token": End(BACK, FAILED, Trouble.FAIL_OPEN),
    "crash-loops": End(OPEN, FAILED, Trouble.UNSTABLE),
    "disk-full": End(BACK, FAILED, Trouble.WRITE_FAILED),
    "read-only": End(BACK, FAILED, Trouble.WRITE_FAILED),
    "var-full": End(BACK, FAILED, Trouble.WRITE_FAILED),
    "link-down": End(BACK, UNREACHABLE, Trouble.NO_CONNECTION),
    "link-slow": WELL,
    "sshd-frozen": End(BACK, UNREACHABLE, Trouble.NO_BANNER),
    "frozen": End(BACK, UNREACHABLE, Trouble.NO_BANNER),
    "sudo-refused": End(BACK, UNREACHABLE, Trouble.SUDO_REFUSED),
    "host-key-changed": End(BACK, UNREACHABLE, Trouble.HOST_KEY_CHANGED),
}

# A line that is open does not ask for sudo or the host key again; a disk that is full still takes a rename.
AT_STAGE = BEFORE | {
    "accepts-any-token": End(OPEN, FAILED, Trouble.FAIL_OPEN),
    "disk-full": End(BACK, UNCHANGED, Trouble.WRITE_FAILED),
    "read-only": End(BACK, UNCHANGED, Trouble.WRITE_FAILED),
    "var-full": End(BACK, UNCHANGED, Trouble.WRITE_FAILED),
    "link-down": LOST,
    "sshd-frozen": FROZEN,
    "frozen": FROZEN,
    "sudo-refused": WELL,
    "host-key-changed": WELL,
}
AT_SWAP = AT_STAGE | {
    "disk-full": WELL,
    "var-full": WELL,
    "read-only": End(OPEN, FAILED, Trouble.WRITE_FAILED),  # not swapped; what was staged cannot be removed
}
# Nothing is restarted any more: only what the service answers by itself, and the line, still matter.
AT_SETTLE = dict.fromkeys(FAULTS, WELL) | {
    "accepts-any-token": End(OPEN, FAILED, Trouble.FAIL_OPEN),
    "read-only": End(OPEN, FAILED, Trouble.WRITE_FAILED),  # serves the new token; the old file cannot be retired
    "link-down": SILENT,
    "sshd-frozen": SILENT,
    "frozen": SILENT,
}
LOST_AT_SETTLE = {fault: end for fault, end in AT_SETTLE.items() if end is SILENT}
FOUND_AT_SETTLE = {fault: end for fault, end in AT_SETTLE.items() if end is not SILENT}


def cases(host: str, table: dict[str, End]) -> list[ParameterSet]:
    """One case a fault."""
    return [pytest.param(host, name, end, id=f"{host}-{name}") for name, end in table.items()]


def fleet_of(folder: Path) -> InProcessFleet:
    """A queen, a canary, and two waves of one."""
    return InProcessFleet(folder, hives=3, policy=Policy(batch=Amount(1)))


def check(operator: Operator, name: str, end: End) -> None:
    """The end is the one expected, and nobody is left in a condition that the report does not tell."""
    fleet, code = operator.fleet, operator.rotate()
    assert (code, operator.states[name]) == (end.code, end.state)
    assert operator.troubles == ({name: end.trouble} if end.trouble else {})
    assert end.trouble is None or HINTS[end.trouble]
    others = {host: token for host, token in serving(fleet, operator.token).items() if host != name}
    assert len(set(others.values())) == 1, "the hosts without a fault agree"
    assert set(slots_used(fleet)) <= {name}
    if code is DONE:
        assert serving(fleet, operator.token)[name] in ("new", "both")
    if code is BACK and end.trouble is not Trouble.FAIL_OPEN:
        assert set(serving(fleet, operator.token).values()) == {"old"}
        assert slots_used(fleet) == []
    for host in fleet.hosts.values():
        assert host.active_token() in (fleet.token.reveal(), operator.token.reveal()), "no file is half-written"
        assert host.active.stat().st_mode & 0o777 == 0o600


def test_every_fault_is_in_every_table() -> None:
    for table in (BEFORE, AT_STAGE, AT_SWAP, AT_SETTLE):
        assert table.keys() == FAULTS.keys()


@pytest.mark.parametrize(("host", "fault", "end"), [*cases("queen", BEFORE), *cases("hive2", BEFORE)])
def test_a_fault_that_is_there_before_the_run(tmp_path: Path, host: str, fault: str, end: End) -> None:
    fleet = fleet_of(tmp_path)
    fleet.hosts[host].fault = fault
    check(Operator(fleet), host, end)


@pytest.mark.parametrize(("host", "fault", "end"), [*cases("queen", AT_STAGE), *cases("hive2", AT_STAGE)])
def test_a_fault_that_arises_while_the_token_is_staged(tmp_path: Path, host: str, fault: str, end: End) -> None:
    fleet = fleet_of(tmp_path)
    fleet.at(host, "stage", breaks(fault))
    check(Operator(fleet), host, end)


@pytest.mark.parametrize(
    ("host", "fault", "end"),
    [*cases("queen", AT_SWAP), *cases("hive1", AT_SWAP), *cases("hive3", AT_SWAP)],
)
def test_a_fault_that_arises_when_the_host_turns(tmp_path: Path, host: str, fault: str, end: End) -> None:
    """The queen, the canary, and the last wave of all."""
    fleet = fleet_of(tmp_path)
    fleet.at(host, "swap", breaks(fault))
    check(Operator(fleet), host, end)


@pytest.mark.parametrize(("host", "fault", "end"), [*cases("queen", FOUND_AT_SETTLE), *cases("hive3", FOUND_AT_SETTLE)])
def test_a_fault_that_arises_when_all_have_turned(tmp_path: Path, host: str, fault: str, end: End) -> None:
    """The third proof of a host is the one at settle, after look and turn."""
    fleet = fleet_of(tmp_path)
    fleet.at(host, "prove", breaks(fault), nth=3)
    check(Operator(fleet), host, end)


@pytest.mark.parametrize(("host", "fault", "end"), [*cases("queen", LOST_AT_SETTLE), *cases("hive3", LOST_AT_SETTLE)])
def test_a_host_that_is_lost_when_all_have_turned_parts_nobody_from_it(
    tmp_path: Path, host: str, fault: str, end: End
) -> None:
    """It has the new token, proven: to go back would leave it alone with it. Nor is the old one retired without it."""
    fleet = fleet_of(tmp_path)
    fleet.at(host, "prove", breaks(fault), nth=3)
    operator = Operator(fleet)
    assert operator.rotate() is end.code
    assert (operator.states[host], operator.troubles) == (end.state, {host: end.trouble})
    assert set(serving(fleet, operator.token).values()) == {"new"}
    assert "retire" not in {entry.verb for entry in fleet.log}
    assert operator.run.debts == (host,)


def test_a_host_that_answers_wrongly_when_all_have_turned_takes_the_fleet_back_though_another_is_lost(
    tmp_path: Path,
) -> None:
    fleet = fleet_of(tmp_path)
    fleet.at("hive2", "prove", breaks("accepts-any-token"), nth=3)
    fleet.at("hive3", "prove", breaks("link-down"), nth=3)
    operator = Operator(fleet)
    assert operator.rotate() is OPEN
    found = serving(fleet, operator.token)
    assert (found["queen"], found["hive1"], found["hive3"]) == ("old", "old", "new")
    assert operator.run.behind == ("hive2", "hive3")


@pytest.mark.parametrize("host", ["queen", "hive1", "hive3"])
def test_a_service_that_takes_the_old_token_as_well_is_not_proven(tmp_path: Path, host: str) -> None:
    """A cache, or a second source of tokens: whoever has the old one could go on using it."""
    fleet = fleet_of(tmp_path)
    fleet.hosts[host].also_accepts.add(fleet.token.reveal())
    check(Operator(fleet), host, End(BACK, ROLLED_BACK, Trouble.OLD_ACCEPTED))


def test_a_way_back_is_proven_only_when_the_new_token_is_refused_again(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    operator = Operator(fleet)
    fleet.hosts["hive1"].also_accepts.add(operator.token.reveal())
    fleet.hosts["hive3"].fault = "keeps-old-token"
    assert operator.rotate() is OPEN
    assert operator.states["hive1"] is FAILED
    assert operator.troubles["hive1"] is Trouble.OLD_ACCEPTED


# -- the line


VERBS = [("stage", 1), ("swap", 1), ("restart", 1), ("prove", 2), ("prove", 3), ("retire", 1)]  # prove: turn, settle


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("verb", "nth"), VERBS)
@pytest.mark.parametrize(("host", "silent"), [("queen", False), ("hive2", False), ("hive2", True)])
def test_a_line_that_is_cut_at_any_verb_is_looked_into_and_the_run_ends_undisturbed(
    tmp_path: Path, host: str, silent: bool, verb: str, nth: int, when: When
) -> None:
    """Before the effect, or after it and before the reply: the bastion cannot tell, so it looks (ceph/ceph#71703)."""
    fleet = InProcessFleet(tmp_path, hives=2)
    fleet.cut(host, verb, when=when, nth=nth, silent=silent)
    operator = Operator(fleet)
    assert operator.rotate() is DONE
    assert set(operator.states.values()) == {PROVEN}
    assert set(serving(fleet, operator.token).values()) == {"new"}
    assert slots_used(fleet) == []
    assert fleet.dialled.count(host) == 2
    assert [fleet.verbs(name).count("restart") for name in fleet.hosts] == [1, 1, 1], "what was done is not done again"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("verb", "nth"), VERBS)
def test_a_host_that_never_comes_back_is_unknown(tmp_path: Path, verb: str, nth: int, when: When) -> None:
    fleet = fleet_of(tmp_path)
    fleet.at("hive3", verb, breaks("link-down"), when=when, nth=nth)
    operator = Operator(fleet)
    assert operator.rotate() is OPEN
    assert operator.states["hive3"] is UNKNOWN
    assert operator.troubles.keys() == {"hive3"}
    others = {token for name, token in serving(fleet, operator.token).items() if name != "hive3"}
    all_had_turned = verb == "retire" or (verb, nth) == ("prove", 3)
    assert others == ({"new"} if all_had_turned else {"old"})


def test_a_lost_host_is_tried_for_a_while_before_it_is_given_up(tmp_path: Path) -> None:
    """Twice the time that a connection may take; the wave waits for it."""
    fleet = fleet_of(tmp_path)
    fleet.at("hive3", "swap", breaks("link-down"))
    operator = Operator(fleet)
    operator.rotate()
    assert fleet.dialled.count("hive3") > 10
    assert 20.0 <= operator.clock.monotonic() < 60.0


def test_a_line_that_breaks_each_time_is_not_tried_for_ever(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    for time in range(1, 21):
        fleet.cut("hive3", "swap", nth=time)
    operator = Operator(fleet)
    assert operator.rotate() in (BACK, OPEN)
    assert fleet.verbs("hive3").count("restart") == 0
