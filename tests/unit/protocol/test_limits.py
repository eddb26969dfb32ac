"""The measures of an answer: what just fits is read, and what is one beyond it is rubbish that names the field."""

from typing import Any

import pytest

from hivekeys.fleet import Policy
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.seen import MAX_EPOCH, HostRecord
from hivekeys.protocol.verbs import EndSurvivors, Observe, Prove, Restart, Step, Sweep
from hivekeys.protocol.wire import LARGEST, decode, seconds_for


def said(verb: str, facts: dict[str, Any], seconds: float = 0.1) -> Reply | Cause:
    answer = {"verb": verb, "ok": True, "changed": False, "facts": facts, "trouble": "", "detail": ""}
    return decode({"results": [answer | {"seconds": seconds}]})


def rubbish(found: Reply | Cause) -> str:
    assert isinstance(found, Cause) and found.trouble is Trouble.RUBBISH, found
    return found.detail


CALLS = {"new": 200, "old": 401, "none": 401, "garbage": 401}


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_service_lets_the_new_token_in_with_any_success(status: int) -> None:
    found = said("prove", {"calls": CALLS | {"new": status}, "proven": True})
    assert isinstance(found, Reply) and found.proof is not None and found.proof.proven


@pytest.mark.parametrize("status", [0, 101, 199, 300, 304, 401, 500])
def test_no_other_status_of_the_new_token_is_a_proof(status: int) -> None:
    rubbish(said("prove", {"calls": CALLS | {"new": status}, "proven": True}))


@pytest.mark.parametrize("who", ["none", "garbage", "old"])
@pytest.mark.parametrize("status", [200, 400, 402, 403])
def test_only_401_refuses_a_token(who: str, status: int) -> None:
    rubbish(said("prove", {"calls": CALLS | {who: status}, "proven": True}))


def test_a_name_has_as_many_characters_as_a_files_may() -> None:
    found = said("hello", {"python": "3.11", "fleet": "b" * 255, "epoch": 1, "run": "run-1"})
    assert isinstance(found, Reply) and found.host_record == HostRecord("3.11", "b" * 255, 1, "run-1")
    assert "fleet has 256 characters" in rubbish(said("hello", {"fleet": "b" * 256}))


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("places", {"address": "::1", "port": 1, "pid": 7, "comm": "worker", "answer": "refuses"}),
        ("survivors", {"pid": 7, "comm": "worker", "age": 1.0}),
    ],
)
def test_a_sweep_names_up_to_256_places(name: str, entry: dict[str, Any]) -> None:
    found = said("sweep", {"places": [], "survivors": [], name: [entry] * 256})
    assert isinstance(found, Reply) and found.proof is not None
    assert len(getattr(found.proof, name)) == 256
    assert f"{name} has 257 entries" in rubbish(said("sweep", {"places": [], "survivors": [], name: [entry] * 257}))


def test_a_host_may_have_a_thousand_things_to_mend() -> None:
    change = {"part": "mode", "path": "/etc/x", "before": "0644", "after": "0600"}
    found = said("fix", {"changes": [change] * 1000})
    assert isinstance(found, Reply) and len(found.changes) == 1000
    assert "changes has 1001 entries" in rubbish(said("fix", {"changes": [change] * 1001}))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_a_host_can_mean_is_read_and_no_larger_one(sign: int) -> None:
    assert isinstance(said("swap", {}, seconds=sign * LARGEST), Reply)
    assert "number" in rubbish(said("swap", {}, seconds=sign * LARGEST * 1.01))


@pytest.mark.parametrize("epoch", [0, MAX_EPOCH])
def test_the_last_epoch_that_can_be_meant_is_one(epoch: int) -> None:
    found = said("hello", {"epoch": epoch, "changed": {"epoch": epoch}})
    assert isinstance(found, Reply) and found.cause is None and found.host_record is not None
    assert found.host_record.epoch == found.host_record.changed.epoch == epoch


@pytest.mark.parametrize("epochs", [(-1, 0), (MAX_EPOCH + 1, 0), (0, -1), (0, MAX_EPOCH + 1)])
def test_beyond_it_the_hosts_record_is_at_fault(epochs: tuple[int, int]) -> None:
    found = said("hello", {"epoch": epochs[0], "changed": {"epoch": epochs[1]}})
    assert isinstance(found, Reply) and found.cause is not None
    assert (found.host_record, found.cause.trouble) == (None, Trouble.RECORD_UNSOUND)


# -- how long an agent may take


POLICY = Policy(health_deadline=60.0, stable_seconds=3.0)


def more_than_a_look(*steps: Step) -> float:
    return seconds_for(steps, POLICY) - seconds_for([Observe()], POLICY)


def test_a_service_has_the_90_seconds_to_end_that_systemd_gives_it() -> None:
    """DefaultTimeoutStopSec; and then its own time to be healthy."""
    assert more_than_a_look(Restart()) == 90.0 + 60.0


@pytest.mark.parametrize("step", [Sweep(()), EndSurvivors(())])
def test_places_that_are_silent_have_half_a_minute(step: Step) -> None:
    assert more_than_a_look(step) == more_than_a_look(step, Sweep(())) == 30.0


def test_a_proof_has_the_time_for_health_and_for_its_stability_window() -> None:
    assert more_than_a_look(Prove()) == 60.0 + 3.0
