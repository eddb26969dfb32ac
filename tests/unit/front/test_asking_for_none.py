"""nginx before a service that asks for no token: the front alone keeps others out, and the service is told none."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.token import generate
from tests.builders.fronted import KEY, LIST, FrontedHost, Stream


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FrontedHost]:
    """A service that lets everybody in; no token is on its host."""
    found = FrontedHost(tmp_path, is_open=True)
    yield found
    found.close()


def body(host: FrontedHost, path: str, head: str) -> bytes:
    """What a client is answered; the service answers what it was told of a token."""
    line = http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    line.request("GET", path, headers={"Authorization": head} if head else {})
    answer = line.getresponse().read()
    line.close()
    return answer


def test_only_who_has_the_fleets_token_reaches_it(host: FrontedHost) -> None:
    assert host.status(LIST, None) == 200
    host.set_up()
    assert [host.status(LIST, token) for token in (host.token, generate(), None)] == [200, 401, 401]
    assert host.status("/v1/health", None) == 200
    assert Stream(host.port, host.token, 3).is_whole()
    assert host.do("prove", want=host.token.fingerprint(KEY).keyed, health_seconds=5.0)["facts"]["proven"]


def test_the_service_is_told_nothing_of_the_clients_token(host: FrontedHost) -> None:
    host.set_up()
    assert body(host, LIST, f"Bearer {host.token.reveal()}") == b"None"
    assert body(host, "/v1/health", "Bearer another") == b'{"status":"ok"}'
    assert not (host.root / "etc/llama/secrets/api-token").exists(), "nor was one of its own made"


def test_a_rotation_and_a_revocation_go_through_it(host: FrontedHost) -> None:
    host.set_up()
    old, new, newest = host.token, generate(), generate()
    assert host.admit(new, old, at_once=True)["changed"]
    assert [host.status(LIST, token) for token in (new, old, None)] == [200, 200, 401]
    stream = Stream(host.port, old, 600)
    assert host.admit(newest, at_once=True)["facts"] == {"cut": 1}
    assert not stream.is_whole()
    assert [host.status(LIST, token) for token in (newest, new, old)] == [200, 401, 401]


def test_without_the_fleets_token_nothing_is_set_up_and_a_look_says_what_would_be(host: FrontedHost) -> None:
    before = host.files()
    looked = host.do("front", apply=False)
    assert looked["ok"], looked
    places = [change["path"] for change in looked["facts"]["changes"]]
    assert "/etc/hivekeys-front/rbee-hive/api-token" in places
    assert "/etc/llama/secrets/api-token" not in places
    refused = host.do("front", apply=True)
    assert (refused["ok"], refused["trouble"]) == (False, "token-missing")
    assert refused["detail"] == "/etc/hivekeys-front/rbee-hive/api-token is not there"
    assert host.files() == before


def test_a_second_time_nothing_is_done_and_taken_away_all_is_as_before(host: FrontedHost) -> None:
    before = host.files()
    host.set_up()
    host.greet()
    again = host.do("front", apply=True)
    assert (again["ok"], again["changed"]) == (True, False)
    gone = host.do("front", apply=True, options=["remove"])
    assert gone["ok"], gone
    said = [change["after"] for change in gone["facts"]["changes"] if change["part"] == "service"]
    assert said == ["clients reach it itself, without a token"]
    assert host.files() == before
    assert host.status(LIST, None) == 200


def test_a_service_that_others_can_reach_gets_no_front_and_works_as_before(tmp_path: Path) -> None:
    host = FrontedHost(tmp_path, listens="0.0.0.0", is_open=True)  # noqa: S104
    try:
        before = host.files()
        host.greet(host.token)
        result = host.do("front", apply=True, want=host.token.fingerprint(KEY).keyed)
        assert (result["ok"], result["trouble"]) == (False, "front-bypassed"), result
        assert result["detail"].endswith("what was done is undone, it works as before")
        assert (host.files(), host.status(LIST, None)) == (before, 200)
    finally:
        host.close()


def test_a_service_that_asks_for_a_token_after_all_is_not_proven_behind_it(host: FrontedHost) -> None:
    """The inventory is wrong: the front presents nothing, and the service refuses its client."""
    before = host.files()
    file = host.root / "etc/llama/secrets/api-token"
    file.write_text(generate().reveal())
    front = host.service.front
    assert front
    front.__dict__["start"] = front.start.replace("--open ", "")
    host.greet(host.token)
    result = host.do("front", apply=True, want=host.token.fingerprint(KEY).keyed)
    assert (result["ok"], result["trouble"]) == (False, "new-refused"), result
    assert set(host.files()) - set(before) == {"etc/llama/secrets/api-token"}


def test_what_verify_looks_at_is_in_order(host: FrontedHost) -> None:
    host.set_up()
    facts = host.do("look_behind")["facts"]
    assert [facts[name] for name in ("reached_at", "open_files", "map", "leaks")] == [[], [], "", []]
