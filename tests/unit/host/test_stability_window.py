"""The stability window: what a service has stayed up already counts, and nothing else does."""

from pathlib import Path
from typing import Any

import pytest

from hivekeys.token import Token, generate
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost

WINDOW = 3.0


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return InProcessFleet(tmp_path, hives=1).hosts["hive1"]


@pytest.fixture
def session(host: SimulatedHost) -> Session:
    """A host that was turned, and proven once, a long time ago; nobody has waited for it to stay up."""
    session, new = Session(host), generate()
    staged, swapped = {"verb": "stage", "token": new.reveal()}, {"verb": "swap", "want": keyed(new)}
    assert all(result["ok"] for result in session.ask({**staged}, {**swapped}, {"verb": "restart"}))
    assert watched(session, 0.0) == 0.0
    host.clock += 10.0
    return session


def keyed(token: Token) -> str:
    return token.fingerprint(KEY).keyed


def want(session: Session) -> str:
    token = session.line.host.active_token()
    assert token
    return keyed(Token(token))


def proof(session: Session, seconds: float = WINDOW, **fields: object) -> dict[str, Any]:
    old = session.line.host.fleet.token
    return session.do("prove", **{"refuse": [keyed(old)], **fields}, stable_seconds=seconds)


def watched(session: Session, seconds: float = WINDOW, **fields: object) -> float:
    """Seconds for which a proof, which holds, has waited."""
    began = session.line.host.clock
    result = proof(session, seconds, **fields)
    assert result["ok"], result
    return round(session.line.host.clock - began, 3)


def test_a_process_that_has_stayed_up_since_its_first_proof_is_waited_for_no_more(session: Session) -> None:
    assert watched(session) == 0.0


def test_only_the_rest_of_the_window_is_waited_for(session: Session) -> None:
    assert watched(session, 11.5) == 1.5


def test_it_is_asked_with_the_old_token_all_the_same(host: SimulatedHost, session: Session) -> None:
    host.also_accepts.add(host.fleet.token.reveal())
    assert proof(session)["trouble"] == "old-accepted"


def test_another_process_is_watched_from_its_own_beginning(host: SimulatedHost, session: Session) -> None:
    host.start()
    assert watched(session) == WINDOW


def test_a_process_that_dies_again_and_again_is_seen_to(host: SimulatedHost, session: Session) -> None:
    host.fault = "crash-loops"
    host.start()
    assert proof(session)["trouble"] == "unstable"


def test_what_was_changed_on_the_host_is_watched_from_then_on(session: Session) -> None:
    assert session.do("retire", want=want(session))["ok"]
    assert watched(session, refuse=[]) == WINDOW


def test_a_service_that_is_asked_with_another_old_token_is_watched_anew(session: Session) -> None:
    assert watched(session, refuse=[]) == WINDOW


def test_another_agent_knows_nothing_of_what_was_proven(host: SimulatedHost, session: Session) -> None:
    session.line.drop()
    assert watched(Session(host)) == WINDOW


def test_the_window_of_a_fresh_process_begins_when_it_is_healthy(host: SimulatedHost, session: Session) -> None:
    """The calls that prove it take time, in which it has stayed up."""
    machine: Any = session.line.agent.system
    get = machine.get

    def takes_long(*asked: object) -> tuple[int, str]:
        machine.sleep(0.25)
        return get(*asked)  # type: ignore[no-any-return]

    machine.get = takes_long
    host.start()
    calls = 2 * 4 * 0.25  # before the window ends, and again at its end
    assert watched(session) == 0.25 + WINDOW + calls / 2
