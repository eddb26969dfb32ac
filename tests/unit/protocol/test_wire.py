"""Steps to JSON and answers back: a token is in two places only, and an answer is typed or it is rubbish."""

import json
from typing import Any

import pytest
from hypothesis import given

from hivekeys.fleet import HIVE_SERVICE, Policy
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply, Result
from hivekeys.protocol.seen import Answer, HostRecord, Proof
from hivekeys.protocol.verbs import Hello, Observe, Prove, Recall, Restart, Stage, Step, Swap, Verb
from hivekeys.protocol.wire import decode, encode, seconds_for
from tests.builders.answers import answers
from tests.builders.steps import GREETING, PRINT, TOKEN, every_step

POLICY = Policy(health_deadline=60.0, stable_seconds=3.0)


def answer(verb: str, facts: Any = None, /, **changed: Any) -> dict[str, Any]:
    whole = {
        "verb": verb,
        "ok": True,
        "changed": False,
        "seconds": 0.1,
        "facts": facts or {},
        "trouble": "",
        "detail": "",
    }
    return whole | changed


def reply_to(*given_answers: dict[str, Any]) -> Reply:
    found = decode({"results": list(given_answers)})
    assert isinstance(found, Reply), found
    return found


def refused(*given_answers: dict[str, Any]) -> Cause:
    found = decode({"results": list(given_answers)})
    assert isinstance(found, Cause)
    assert found.trouble is Trouble.RUBBISH
    return found


# -- out


def test_a_greeting_brings_the_tokens_that_a_proof_needs() -> None:
    words = encode(Hello(GREETING, HIVE_SERVICE), POLICY, {PRINT: TOKEN})
    assert words["tokens"] == [TOKEN.reveal()]
    assert (words["key"], words["epoch"], words["write"]) == ("01ff", 7, True)
    assert words["service"]["health"] == list(HIVE_SERVICE.health)
    assert encode(Hello(GREETING, HIVE_SERVICE), POLICY, {})["tokens"] == []


@pytest.mark.parametrize("step", [step for step in every_step() if not isinstance(step, Stage | Hello)], ids=repr)
def test_no_other_step_than_stage_carries_the_token(step: Step) -> None:
    words = encode(step, POLICY, {PRINT: TOKEN})
    assert words["verb"] == step.verb.value
    assert "recognisable" not in json.dumps(words)


def test_stage_carries_the_token_that_it_wants() -> None:
    assert encode(Stage(PRINT), POLICY, {PRINT: TOKEN})["token"] == TOKEN.reveal()


def test_stage_without_its_token_is_a_bug_here_and_not_sent() -> None:
    with pytest.raises(ValueError, match="token"):
        encode(Stage(PRINT), POLICY, {})


def test_a_proof_says_what_must_work_what_must_not_and_for_how_long() -> None:
    words = encode(Prove(PRINT, stable=True, log=True), POLICY, {})
    expected = {"want": PRINT.keyed, "refuse": [], "health_seconds": 60.0, "stable_seconds": 3.0, "log": True}
    assert words == {"verb": "prove", **expected}
    assert encode(Prove(stable=False), POLICY, {})["stable_seconds"] == 0.0


def test_every_request_ends_in_a_known_time() -> None:
    plain, turn = (Observe(),), (Swap(PRINT), Restart(), Prove())
    assert 0 < seconds_for(plain, POLICY) < seconds_for(turn, POLICY)
    assert seconds_for(turn, POLICY) >= 60.0 + 3.0


# -- in


def test_an_answer_is_what_was_done_and_why_it_stopped() -> None:
    found = reply_to(
        answer("swap", changed=True), answer("restart", ok=False, trouble="start-failed", detail="no\nluck")
    )
    assert found.results == (Result(Verb.SWAP, True, 0.1),)
    assert found.cause == Cause(Trouble.START_FAILED, "no luck")


def test_the_first_failure_is_the_cause() -> None:
    first = answer("restart", ok=False, trouble="start-failed")
    assert reply_to(first, answer("observe", ok=False, trouble="systemctl-failed")).cause == Cause(Trouble.START_FAILED)


def test_a_proof_that_failed_is_still_shown() -> None:
    facts = {"calls": {"none": 200}, "proven": False, "health": {"path": "/health", "status": 200}}
    found = reply_to(answer("prove", facts, ok=False, trouble="fail-open"))
    assert found.proof == Proof({"none": 200}, False, health=Answer("/health", 200))


CALLS = {"new": 200, "old": 401, "none": 401, "garbage": 401}


@pytest.mark.parametrize(
    "calls", [{}, {"new": 200}, {**CALLS, "none": 200}, {**CALLS, "new": 401}, {**CALLS, "old": 200}]
)
def test_a_host_that_calls_proven_what_its_own_calls_do_not_bear_out_is_rubbish(calls: dict[str, int]) -> None:
    assert reply_to(answer("prove", {"calls": CALLS, "proven": True, "refused_after": 0.1})).cause is None
    refused(answer("prove", {"calls": calls, "proven": True}))


def test_a_host_that_says_refused_of_a_token_that_it_did_not_ask_with_is_rubbish() -> None:
    calls = {name: CALLS[name] for name in ("new", "none", "garbage")}
    refused(answer("prove", {"calls": calls, "proven": True, "refused_after": 0.1}))


def test_a_greeting_is_answered_with_what_the_host_remembers() -> None:
    found = reply_to(answer("hello", {"python": "3.11", "fleet": "blue", "epoch": 3, "run": "run-0"}))
    assert found.host_record == HostRecord("3.11", "blue", 3, "run-0")


def test_a_host_says_which_machine_it_is_and_one_that_does_not_is_heard_all_the_same() -> None:
    said = {"python": "3.11", "fleet": "blue", "epoch": 3, "run": "run-0", "machine": "a" * 64}
    assert reply_to(answer("hello", said)).host_record == HostRecord("3.11", "blue", 3, "run-0", machine="a" * 64)
    assert reply_to(answer("hello", said | {"machine": ""})).host_record == HostRecord("3.11", "blue", 3, "run-0")


@pytest.mark.parametrize("machine", ["a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n", 5, None])
def test_what_can_stand_for_no_machine_is_rubbish(machine: object) -> None:
    refused(answer("hello", {"python": "3.11", "fleet": "blue", "epoch": 3, "run": "run-0", "machine": machine}))


def test_a_token_that_was_recalled_is_shown_nowhere() -> None:
    found = reply_to(answer("recall", {"token": TOKEN.reveal()}))
    assert found.to(Recall) == TOKEN
    assert "recognisable" not in repr(found)


@pytest.mark.parametrize("token", ["ünïcode", "\ud800", 5, None, [TOKEN.reveal()]])
def test_a_token_that_can_be_none_is_rubbish_and_not_quoted(token: object) -> None:
    assert "recognisable" not in refused(answer("recall", {"token": token})).detail


@pytest.mark.parametrize(
    "wrong",
    [
        {"verb": "reboot"},
        {"ok": "yes"},
        {"changed": 1},
        {"seconds": "0.1"},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": 10**400},
        {"facts": [1]},
        {"detail": None},
        {"ok": False, "trouble": "gremlins"},
    ],
    ids=str,
)
def test_a_field_of_another_type_or_measure_is_rubbish(wrong: dict[str, Any]) -> None:
    refused(answer("restart", **wrong))


@pytest.mark.parametrize("raw", [None, [], "results", {}, {"results": None}, {"results": {}}, {"results": [[]]}])
def test_what_is_no_answer_is_rubbish(raw: object) -> None:
    assert isinstance(decode(raw), Cause)


@pytest.mark.parametrize("print_", [{"keyed": "x" * 64, "fp6": "aaaaaa"}, {"keyed": "a" * 64, "fp6": "[red]"}, "aa"])
def test_a_fingerprint_that_is_none_is_rubbish(print_: object) -> None:
    slot = {"fingerprint": print_, "fault": "", "mode": 0o600, "owner": "o", "group": "g", "size": 1, "modified": 1.0}
    unit = {"load": "loaded", "state": "active", "sub": "running", "pid": 1, "restarts": 0, "started": 1.0}
    seen = {
        "directory": {"fault": "", "mode": 0o700, "owner": "o", "group": "g"},
        "active": slot,
        "staged": None,
        "previous": None,
        "unit": unit | {"reads": "", "credential": "", "env_token": False},
        "loaded": {"fingerprint": None, "evidence": "none"},
        "clock": 1.0,
    }
    assert reply_to(answer("observe", seen | {"active": None})).seen is not None
    refused(answer("observe", seen))


def test_an_answer_nested_beyond_all_measure_is_rubbish() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    refused(answer("observe", {"deep": nested}))


@given(answers)
def test_whatever_a_host_sends_is_a_reply_or_rubbish(raw: object) -> None:
    found = decode(raw)
    assert isinstance(found, Reply) or found.trouble is Trouble.RUBBISH


PLACE = {"address": "127.0.0.1", "port": 9000, "pid": 7, "comm": "worker", "answer": "takes", "path": "/", "why": ""}


def test_what_a_sweep_found_is_part_of_the_proof() -> None:
    proof = reply_to(answer("sweep", {"places": [PLACE], "survivors": []})).proof
    assert proof is not None
    assert [str(place) for place in proof.places or ()] == ["127.0.0.1:9000 (worker, pid 7)"]
    assert proof.survivors == ()


@pytest.mark.parametrize("name", ["places", "survivors"])
def test_a_host_that_names_places_without_end_is_rubbish(name: str) -> None:
    one = PLACE if name == "places" else {"pid": 7, "comm": "worker", "age": 1.0, "ports": [], "takes": True}
    facts = {"places": [], "survivors": [], name: [one] * 257}
    assert f"{name} has 257 entries" in refused(answer("sweep", facts)).detail
