"""One host of the fleet lies, in any field of any answer: the others end as they would without it (promise 13).

The liar is hive2, which is no canary. Its own agent works honestly, as a liar's may; what the bastion hears is what the
lie makes of the answer. "Without it" is a fleet in which hive2 is honest, or one in which it fails: between those two
the liar may choose, and it has no third way.
"""

import functools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.host.state import STATE
from hivekeys.journal.events import Event, Intent, Phase, State
from hivekeys.journal.fold import fold
from hivekeys.journal.history import LEAD
from hivekeys.journal.run import REVOKE, Run
from hivekeys.protocol.causes import Trouble
from hivekeys.token import Token, generate
from tests.builders.operator import Operator
from tests.inprocess import KEY, InProcessFleet, Lie, Session, SimulatedHost

POLICY = Policy(canary=1, batch=Amount(1), max_failures=Amount(1), revocation_recheck=0.0)
LIAR, OTHERS = "hive2", ("queen", "hive1", "hive3")
EXAMPLES = 25  # lies a command
REQUESTS = 8  # as many as a run asks of a host, and one more


def honest(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
    return answer


def from_request(number: int, lie: Lie) -> Lie:
    """The lie from the n-th request on; before, the host is honest."""
    asked = 0

    def lies(request: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return lie(request, answer) if asked > number else answer

    return lies


def refusing(trouble: str, detail: str = "") -> Lie:
    """Every answer is a refusal with this trouble."""

    def lie(request: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        results = [{**answer["results"][0], "ok": False, "trouble": trouble, "detail": detail, "facts": {}}]
        return {"results": results}

    return lie


def keyed(text: str) -> str:
    return Token(text).fingerprint(KEY).keyed


# -- what an operator does, and what is left of it on the other hosts


def interrupted(fleet: InProcessFleet, task: str, phase: Phase) -> Run:
    """A run that stopped when a phase had begun on its first host, as its journal tells it."""

    def stop(event: Event) -> None:
        if isinstance(event, Intent) and event.phase is phase:
            ann.runner.interrupt()

    ann = Operator(fleet, task=task, on_event=stop)
    code = ann.revoke() if task == REVOKE else ann.rotate()
    assert code is ExitCode.INTERRUPTED
    return fold(ann.events)


def rotate(fleet: InProcessFleet) -> Operator:
    ann = Operator(fleet)
    ann.rotate()
    return ann


def revoke(fleet: InProcessFleet) -> Operator:
    ann = Operator(fleet, task=REVOKE)
    ann.revoke(attempts=2)
    return ann


def resume(fleet: InProcessFleet) -> Operator:
    ann = Operator(fleet, past=interrupted(fleet, "rotate", Phase.CANARY))
    fleet.hosts[LIAR].lies = fleet.hosts[LIAR].lies_later
    ann.resume(generate)
    return ann


def roll_back(fleet: InProcessFleet) -> Operator:
    ann = Operator(fleet, past=interrupted(fleet, "rotate", Phase.CANARY))
    fleet.hosts[LIAR].lies = fleet.hosts[LIAR].lies_later
    ann.roll_back()
    return ann


def resume_revocation(fleet: InProcessFleet) -> Operator:
    ann = Operator(fleet, task=REVOKE, past=interrupted(fleet, REVOKE, Phase.QUEEN))
    fleet.hosts[LIAR].lies = fleet.hosts[LIAR].lies_later
    ann.revoke(attempts=2)
    return ann


def reconcile(fleet: InProcessFleet) -> Operator:
    fleet.hosts["hive3"].fault = "link-down"
    bob = Operator(fleet)
    bob.rotate()
    fleet.hosts["hive3"].fault = None
    ann = Operator(fleet, past=fold(bob.events))
    fleet.hosts[LIAR].lies = fleet.hosts[LIAR].lies_later
    ann.reconcile()
    return ann


COMMANDS: dict[str, Callable[[InProcessFleet], Operator]] = {
    "rotate": rotate,
    "revoke": revoke,
    "resume": resume,
    "roll_back": roll_back,
    "resume a revocation": resume_revocation,
    "reconcile": reconcile,
}
AT_ONCE = ("rotate", "revoke")  # the liar lies from the beginning; in the others from when the run is taken up


def left(name: str, host: SimulatedHost, ann: Operator, old: str) -> tuple[object, ...]:
    """How a host ended: its state, its slots, its service, hivekeys' own record there."""
    run = ann.run
    want = run.want.keyed if run.want else ""

    def which(text: str | None) -> str:
        return {"": "-", want: "new", keyed(old): "old"}.get(keyed(text) if text else "", "another")

    record = json.loads((host.root / STATE / "run").read_text() or "{}")
    stones = host.root / STATE / "tombstones"
    return (
        name,
        run.hosts[name].state,
        tuple(which(text) for text in host.slots().values()),
        which(host.process.token if host.process else None),
        record.get("epoch"),
        record.get("changed", {}).get("epoch"),
        len(json.loads(stones.read_text())) if stones.exists() else 0,
    )


def ends(command: str, lie: Lie) -> list[tuple[object, ...]]:
    """How the other hosts end when hive2 lies so."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        fleet = InProcessFleet(Path(folder), policy=POLICY)
        liar = fleet.hosts[LIAR]
        liar.lies_later = lie
        if command in AT_ONCE:
            liar.lies = lie
        old = fleet.token.reveal()
        ann = COMMANDS[command](fleet)
        return [left(name, fleet.hosts[name], ann, old) for name in OTHERS]


@functools.cache
def without_it(command: str) -> tuple[list[tuple[object, ...]], ...]:
    """How they end when hive2 is honest, or fails from one of the requests on."""
    failing = (ends(command, from_request(number, refusing("start-failed"))) for number in range(REQUESTS))
    return (ends(command, honest), *failing)


# -- what it may say


@pytest.mark.parametrize("number", range(REQUESTS))
@pytest.mark.parametrize("trouble", [Trouble.SUPERSEDED, Trouble.HOST_BUSY, Trouble.RECORD_UNSOUND])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_refusal_of_one_host_is_that_hosts_failure(command: str, trouble: Trouble, number: int) -> None:
    assert ends(command, from_request(number, refusing(trouble.value))) in without_it(command)


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers(-(10**16), 10**16)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(("superseded", "host-busy", "run-1", "f" * 64, "", "9" * 70))
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)
)


def places(said: object, here: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The path of every value in an answer, from the whole of it down."""
    yield here
    inside = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    for name, value in inside:
        yield from places(value, (*here, name))


def with_value(said: Any, path: tuple[Any, ...], value: object) -> Any:
    """The answer with another value at that place."""
    if not path:
        return value
    copy = said.copy()
    copy[path[0]] = with_value(said[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("command", COMMANDS)
@given(place=st.integers(0, 10**6), value=ANYTHING, number=st.integers(0, REQUESTS - 1), always=st.booleans())
@settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_whatever_stands_in_any_field_of_its_answers_the_others_end_as_without_it(
    command: str, place: int, value: object, number: int, always: bool
) -> None:
    lied = False

    def lie(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        nonlocal lied
        if lied and not always:
            return answer
        lied = True
        below = [path for path in places(answer["results"]) if path]
        return {"results": with_value(answer["results"], below[place % len(below)], value)}

    assert ends(command, from_request(number, lie)) in without_it(command)


def saying(verb: str, **facts: object) -> Lie:
    """Its answer to this verb says these facts as well."""

    def lie(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        for result in answer["results"]:
            if result["verb"] == verb and result["ok"]:
                result["facts"].update(facts)
        return answer

    return lie


def slot(text: str) -> dict[str, object]:
    """A token file as a look shows it."""
    fingerprint = {"keyed": keyed(text), "fp6": Token(text).fingerprint(KEY).fp6}
    told = {"mode": 0o600, "owner": "root", "group": "root", "size": len(text), "modified": 1.0, "changed": 1.0}
    return {**told, "fault": "", "fingerprint": fingerprint, "revoked": "", "regular": True}


MEANT = {
    "the last epoch there is": saying("hello", epoch=10**9, run="x-1", changed={"epoch": 10**9, "run": "x-1"}),
    "an epoch beyond all": saying("hello", epoch=10**15, run="x-1", changed={"epoch": 10**15, "run": "x-1"}),
    "a run a little ahead": saying("hello", epoch=7, run="x-1", changed={"epoch": 7, "run": "x-1"}),
    "a token too short to be one": saying("observe", previous=slot("short")),
    "a token that every answer quotes": saying("observe", previous=slot("api-token")),
    "a token that is a word of every answer": saying("observe", active=slot('"refused_after":')),
    "a token staged by somebody": saying("observe", staged=slot("ab" * 32)),
}


@pytest.mark.parametrize("lie", MEANT.values(), ids=MEANT)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_it_says_of_epochs_and_tokens_reaches_no_other_host(command: str, lie: Lie) -> None:
    assert ends(command, lie) in without_it(command)


@pytest.mark.parametrize("planted", ["short", "c0ffee" * 5 + "00", '"refused_after":', "x" * 4000])
def test_a_token_file_planted_by_the_services_account_stops_no_revocation(tmp_path: Path, planted: str) -> None:
    """`echo short > api-token.backup` on one hive: every host was failed, "what arrived is no token"."""
    fleet = InProcessFleet(tmp_path, policy=POLICY)
    fleet.hosts[LIAR].write(Token(planted), ".backup")
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.DONE
    assert set(ann.states.values()) == {State.PROVEN}


def test_the_digits_of_a_fingerprint_planted_as_a_token_mute_the_host_that_has_them_at_most(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, policy=POLICY)
    fleet.hosts[LIAR].write(Token(fleet.token.fingerprint(KEY).keyed))
    fleet.hosts[LIAR].start()
    ann = Operator(fleet, task=REVOKE)
    ann.revoke()
    assert {name: ann.states[name] for name in OTHERS} == dict.fromkeys(OTHERS, State.PROVEN)


@pytest.mark.parametrize("task", ["rotate", REVOKE])
def test_a_fleet_on_a_token_of_32_digits_is_turned(tmp_path: Path, task: str) -> None:
    """What the guide's own `uuidgen | tr -d '-'` makes. Length is a rule for what is written."""
    fleet = InProcessFleet(tmp_path, policy=POLICY)
    for host in fleet.hosts.values():
        host.write(Token("0123456789abcdef0123456789abcdef"))
        host.start()
    ann = Operator(fleet, task=task)
    assert (ann.revoke() if task == REVOKE else ann.rotate()) is ExitCode.DONE


def test_a_rotation_from_such_a_token_that_was_killed_in_its_canary_can_be_taken_back(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, policy=POLICY)
    for host in fleet.hosts.values():
        host.write(Token("0123456789abcdef0123456789abcdef"))
        host.start()
    ann = Operator(fleet, past=interrupted(fleet, "rotate", Phase.CANARY))
    assert ann.roll_back() is ExitCode.DONE
    assert {host.active_token() for host in fleet.hosts.values()} == {"0123456789abcdef0123456789abcdef"}


def test_two_hosts_that_name_a_newer_run_are_believed(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, policy=POLICY)
    ann = Operator(fleet)
    assert ann.look()
    for name in ("hive1", "hive3"):
        newer = Session(fleet.hosts[name], run="newer", epoch=5)
        assert newer.do("discard")["ok"]
        newer.line.close()
    assert ann.go() is ExitCode.LOCKED


def test_the_queen_may_be_ahead_by_the_runs_that_got_no_further_and_not_by_all_numbers(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, policy=POLICY)
    fleet.hosts["queen"].lies = saying("hello", epoch=LEAD, run="x-1", changed={"epoch": 0, "run": ""})
    ann = rotate(fleet)
    assert ann.run.epoch == LEAD + 1
    fleet.hosts["queen"].lies = saying("hello", epoch=10**9, run="x-1", changed={"epoch": 0, "run": ""})
    assert rotate(fleet).run.epoch == LEAD + 2
