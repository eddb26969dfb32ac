"""`before = "front"`: a real nginx answers new requests 503 while the service behind it is drained, and no longer."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hivekeys.host.verbs.drain  # noqa: F401  the verbs that it is told
from hivekeys.host.agent import Agent
from hivekeys.service import Drain, Hook, OnDeadline
from tests.builders.fronted import KEY, LIST, FrontedHost, Stream, until

BY_FRONT = Hook(front=True)
BEHIND = "rbee-hive.service"


def drained(host: FrontedHost, deadline: float = 30.0, on_deadline: OnDeadline = OnDeadline.FAIL) -> FrontedHost:
    """The host, whose inventory has such a drain from now on."""
    host.service = replace(host.service, drain=Drain(BY_FRONT, None, BY_FRONT, deadline, on_deadline))
    host.greet()
    return host


def another_start(host: FrontedHost) -> None:
    """The inventory starts the service otherwise: a set-up must start it again."""
    front = host.service.front
    assert front is not None
    host.service = replace(host.service, front=replace(front, start=front.start.replace("-IS", "-I -S")))
    host.greet()


@contextmanager
def at_work(host: FrontedHost, **fields: Any) -> Iterator[dict[str, Any]]:
    """The verb `front` in a thread; its result is filled in at the end."""
    result: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: result.update(host.do("front", apply=True, host="hive1", **fields)))
    thread.start()
    yield result
    thread.join(60)


def marker(host: FrontedHost) -> Path:
    return host.root / "run/hivekeys-front-rbee-hive/draining"


def is_cordoned(host: FrontedHost) -> bool:
    return (host.root / "var/lib/hivekeys/cordoned").exists()


def pid(host: FrontedHost) -> int:
    return host.system.main_pid(BEHIND)


def test_new_requests_are_told_to_come_again_and_a_stream_ends_before_the_restart(fronted: FrontedHost) -> None:
    another_start(drained(fronted))
    before, stream = pid(fronted), Stream(fronted.port, fronted.token, 20)
    with at_work(fronted) as result:
        until(lambda: marker(fronted).exists())
        line = http.client.HTTPConnection("127.0.0.1", fronted.port, timeout=5)
        line.request("GET", LIST, headers={"Authorization": f"Bearer {fronted.token.reveal()}"})
        answer = line.getresponse()
        assert (answer.status, answer.getheader("Retry-After")) == (503, "5")
        line.close()
        assert fronted.status(LIST, None) == 401, "who has no token is not told to come again"
        assert fronted.status("/v1/health", None) == 200
        assert (marker(fronted).stat().st_uid, marker(fronted).stat().st_mode & 0o777) == (0, 0o644)
        assert pid(fronted) == before
        assert stream.is_whole()
    assert result["ok"], result
    assert pid(fronted) != before
    assert not marker(fronted).exists() and not is_cordoned(fronted)
    assert fronted.status(LIST, fronted.token) == 200


def test_a_stream_that_does_not_end_keeps_its_service_and_new_requests_are_let_in_again(fronted: FrontedHost) -> None:
    another_start(drained(fronted, deadline=0.5))
    files, before, stream = fronted.files(), pid(fronted), Stream(fronted.port, fronted.token, 30)
    result = fronted.do("front", apply=True, host="hive1")
    assert (result["ok"], result["trouble"]) == (False, "still-busy")
    assert "1 request" in result["detail"]
    assert pid(fronted) == before
    assert stream.is_whole()
    assert not marker(fronted).exists() and not is_cordoned(fronted)
    assert fronted.status(LIST, fronted.token) == 200
    assert fronted.files() == files


def test_an_operator_who_ends_it_waits_for_no_stream(fronted: FrontedHost) -> None:
    another_start(drained(fronted, deadline=3600.0))
    before, stream = pid(fronted), Stream(fronted.port, fronted.token, 30)
    with at_work(fronted) as result:
        until(lambda: marker(fronted).exists())
        fronted.agent.deadline.called_off = True  # as a line brings it
    assert (result["ok"], result["trouble"]) == (False, "still-busy")
    assert result["detail"].startswith("the operator ended the run; after 0 s: 1 request")
    assert not marker(fronted).exists() and not is_cordoned(fronted)
    assert (pid(fronted) == before, stream.is_whole()) == (True, True)


def test_where_the_inventory_says_so_the_restart_ends_the_stream(fronted: FrontedHost) -> None:
    another_start(drained(fronted, 0.5, OnDeadline.RESTART))
    before, stream = pid(fronted), Stream(fronted.port, fronted.token, 600)
    result = fronted.do("front", apply=True, host="hive1")
    assert result["ok"], result
    assert pid(fronted) != before
    assert not stream.is_whole()
    assert not marker(fronted).exists() and not is_cordoned(fronted)


def test_a_service_that_does_not_come_up_again_has_its_clients_back_as_before(fronted: FrontedHost) -> None:
    """The new command starts nothing: what was done is undone, and nothing keeps requests off."""
    drained(fronted)
    front = fronted.service.front
    assert front is not None
    fronted.service = replace(fronted.service, front=replace(front, start="/bin/false"))
    fronted.greet()
    result = fronted.do("front", apply=True, host="hive1", health_seconds=1.0)
    assert not result["ok"]
    assert result["detail"].endswith("what was done is undone, it works as before")
    assert not marker(fronted).exists() and not is_cordoned(fronted)
    assert fronted.status(LIST, fronted.token) == 200


def test_before_the_front_goes_its_streams_end(fronted: FrontedHost) -> None:
    drained(fronted)
    stream = Stream(fronted.port, fronted.token, 20)
    with at_work(fronted, options=["remove"]) as result:
        until(lambda: marker(fronted).exists())
        assert fronted.status(LIST, fronted.token) == 503
        assert stream.is_whole()
    assert result["ok"], result
    assert not is_cordoned(fronted)
    assert fronted.status(LIST, fronted.token) == 200, "clients reach the service itself"


def test_a_front_that_is_not_taken_away_lets_requests_in_again(fronted: FrontedHost) -> None:
    drained(fronted, deadline=0.5)
    stream = Stream(fronted.port, fronted.token, 30)
    result = fronted.do("front", apply=True, options=["remove"], host="hive1")
    assert (result["ok"], result["trouble"]) == (False, "still-busy")
    assert not marker(fronted).exists() and not is_cordoned(fronted)
    assert fronted.status(LIST, fronted.token) == 200
    assert stream.is_whole()


@pytest.mark.parametrize("verb", ["uncordon", "front"])
def test_what_an_agent_that_was_killed_left_behind_is_ended_on_another_day(fronted: FrontedHost, verb: str) -> None:
    """A run's next step does it, and so does a set-up; until then no call says anything of a token."""
    drained(fronted)
    assert fronted.do("drain", host="hive1", phase="install")["ok"]
    assert marker(fronted).exists() and is_cordoned(fronted)

    fronted.agent.state.release()
    fronted.agent = Agent(str(fronted.root), fronted.system)
    fronted.greet()
    assert fronted.do("observe")["facts"]["cordoned"] == "run-1"
    keyed = fronted.token.fingerprint(KEY).keyed
    refused = fronted.do("prove", want=keyed, health_seconds=1.0)
    assert (refused["ok"], refused["trouble"]) == (False, "unhealthy"), "it is out of service"
    assert "answers 503" in refused["detail"]

    fields = {"phase": "wave"} if verb == "uncordon" else {"apply": True}
    assert fronted.do(verb, host="hive1", **fields)["ok"]
    assert not marker(fronted).exists() and not is_cordoned(fronted)
    assert fronted.do("prove", want=keyed, health_seconds=1.0)["ok"]


def test_a_front_that_stands_still_has_nothing_to_keep_off(fronted: FrontedHost) -> None:
    drained(fronted)
    fronted.system.stop(fronted.service.unit)
    result = fronted.do("drain", host="hive1", phase="wave")
    assert (result["ok"], result["facts"]["busy"]) == (True, "")
    assert fronted.do("uncordon", host="hive1", phase="wave")["ok"]
    assert not is_cordoned(fronted)
