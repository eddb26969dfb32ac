"""What a proof makes of a service that answers otherwise than the guide's: its paths, its statuses, its address."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.protocol.causes import HINTS, Trouble
from hivekeys.protocol.verbs import Prove
from hivekeys.protocol.wire import encode
from hivekeys.report.page import page
from hivekeys.report.writing import html, markdown
from hivekeys.token import generate
from tests.builders.operator import Operator
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return InProcessFleet(tmp_path, hives=1).hosts["hive1"]


def with_service(fleet: InProcessFleet, **keys: Any) -> None:
    """The inventory says this of every service."""
    hosts = tuple(replace(host, service=replace(host.service, **keys)) for host in fleet.inventory.hosts)
    fleet.inventory = replace(fleet.inventory, hosts=hosts)


def proven(host: SimulatedHost, **keys: Any) -> dict[str, Any]:
    """The result of a proof, with these keys of the service in the inventory."""
    session = Session(host)
    session.line.agent.service.update(keys)
    return session.do("prove", health_seconds=1.0)


# -- candidate paths


def test_on_a_real_service_the_path_that_is_there_is_found_among_those_that_are_not(host: SimulatedHost) -> None:
    facts = proven(host, health=["/health", "/v1/health"], protected=["/api/v1/workers", host.protected])["facts"]
    assert facts["health"] == {"path": "/v1/health", "status": 200}
    assert (facts["path"], facts["proven"]) == (host.protected, True)
    assert facts["calls"] == {"new": 200, "none": 401, "garbage": 401}


def test_a_path_that_is_not_there_is_passed_by_also_while_the_service_has_another_token(host: SimulatedHost) -> None:
    """404 to the old token says as much of the path as 404 to the new one."""
    host.fault = "keeps-old-token"
    new, old = generate(), host.fleet.token
    session = Session(host)
    session.ask(
        {"verb": "stage", "token": new.reveal()},
        {"verb": "swap", "want": new.fingerprint(KEY).keyed},
        {"verb": "restart"},
    )
    session.line.agent.service["protected"] = ["/api/v1/workers", host.protected]
    want, refuse = new.fingerprint(KEY).keyed, [old.fingerprint(KEY).keyed]
    result = session.do("prove", want=want, refuse=refuse)
    assert (result["trouble"], result["detail"]) == ("new-refused", "it still works with the other token")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_health_path_that_asks_for_a_token_is_not_the_one(host: SimulatedHost, status: int) -> None:
    host.answers["/health"] = status
    assert proven(host, health=["/health", "/v1/health"])["facts"]["health"]["path"] == "/v1/health"


def test_no_health_path_at_all_is_called_that(host: SimulatedHost) -> None:
    result = proven(host, health=["/health", "/healthz"])
    assert result["trouble"] == "path-unknown"
    assert result["detail"] == "no health path is there: /health, /healthz (the last answers 401)"


def test_no_protected_path_at_all_is_called_that_and_each_is_named(host: SimulatedHost) -> None:
    result = proven(host, protected=["/a", "/b"])
    assert (result["trouble"], result["detail"]) == (
        "path-unknown",
        "/a answers 404 with the right token, /b answers 404 with the right token",
    )


def test_a_path_that_is_open_to_everybody_is_said_to_be_that_and_no_token_is_told(host: SimulatedHost) -> None:
    host.answers[host.protected] = 200
    result = proven(host)
    assert (result["trouble"], result["detail"]) == (
        "fail-open",
        "/v1/workers/list is open to all calls: with no token it answers 200",
    )
    assert set(result["facts"]["calls"]) == {"none"}


def test_the_successor_that_asks_nobody_for_a_token_is_told_from_a_path_that_is_open(host: SimulatedHost) -> None:
    """Every path that it does not know answers 200 with a page."""
    host.unknown_paths = (200, 200)
    result = proven(host, protected=["/a", "/b"])
    assert result["trouble"] == "fail-open"
    assert result["detail"].endswith("it answers 200, and so does a path that cannot be there")


def test_an_open_page_before_the_path_that_asks_for_a_token_hides_it_not(host: SimulatedHost) -> None:
    host.answers["/"] = 200
    assert proven(host, protected=["/", host.protected])["facts"]["path"] == host.protected


# -- neither yes nor no


@pytest.mark.parametrize(("status", "trouble"), [(403, "forbidden"), (429, "rate-limited"), (500, "unhealthy")])
def test_what_answers_neither_yes_nor_no_is_called_by_its_name(host: SimulatedHost, status: int, trouble: str) -> None:
    host.answers[host.protected] = status
    result = proven(host)
    assert (result["trouble"], result["detail"]) == (
        trouble,
        f"/v1/workers/list with no token answers {status}",
    )


def test_a_rate_limit_that_begins_with_our_own_calls_is_called_that(host: SimulatedHost) -> None:
    session = Session(host)
    machine = session.line.agent.system
    get = machine.get
    asked: list[str] = []

    def limited(port: int, path: str, *how: Any) -> tuple[int, str]:
        asked.append(path)
        return (429, "") if len(asked) > 3 else get(port, path, *how)

    machine.get = limited  # type: ignore[method-assign,assignment]
    result = session.do("prove")
    assert (result["trouble"], result["detail"]) == (
        "rate-limited",
        "/v1/workers/list with the right token answers 429",
    )


def test_each_has_a_hint_of_its_own() -> None:
    troubles = (Trouble.FORBIDDEN, Trouble.RATE_LIMITED, Trouble.PATH_UNKNOWN, Trouble.UNHEALTHY, Trouble.FAIL_OPEN)
    assert len({HINTS[trouble] for trouble in troubles}) == len(troubles)


# -- where it listens


def test_a_service_that_listens_elsewhere_is_found_and_the_key_is_named(host: SimulatedHost) -> None:
    host.listens_on = ("10.0.0.11", 8081)
    result = proven(host)
    assert (result["trouble"], result["detail"]) == (
        "wrong-address",
        '127.0.0.1:8081: Connection refused; rbee-hive.service listens on 10.0.0.11:8081: address = "10.0.0.11"',
    )
    assert "address" in HINTS[Trouble.WRONG_ADDRESS]


def test_of_several_places_the_one_with_its_port_is_meant(host: SimulatedHost) -> None:
    host.listens_on = ("::1", 9000)
    host.runs(port=9100)
    detail = proven(host)["detail"]
    assert detail.endswith("listens on 127.0.0.1:9100, [::1]:9000: port = 9100")
    host.listens_on = ("::1", 8081)
    assert proven(host)["detail"].endswith('listens on 127.0.0.1:9100, [::1]:8081: address = "::1"')


def test_a_service_that_is_slow_is_not_said_to_listen_elsewhere(host: SimulatedHost) -> None:
    host.fault, host.slow_seconds = "start-slow", 500.0
    host.start()
    assert proven(host)["trouble"] == "unhealthy"


def test_a_service_on_an_address_of_the_host_is_proven_there(host: SimulatedHost) -> None:
    host.listens_on = ("10.0.0.11", 8081)
    host.addresses.add("10.0.0.11")
    assert proven(host, address="10.0.0.11")["ok"]


def test_an_address_that_is_none_of_the_hosts_is_not_called(host: SimulatedHost) -> None:
    """Whoever has it could answer anything."""
    host.listens_on = ("10.0.0.12", 8081)
    result = proven(host, address="10.0.0.12")
    assert (result["trouble"], result["detail"]) == ("wrong-address", "10.0.0.12 is no address of this host")


def test_a_stranger_on_the_address_is_told_no_token(host: SimulatedHost) -> None:
    host.listens_on = ("10.0.0.11", 8081)
    host.addresses.add("10.0.0.11")
    host.port_held_by = 12345
    result = proven(host, address="10.0.0.11")
    assert (result["trouble"], "10.0.0.11:8081 is held by another account (uid 12345)") == (
        "fail-open",
        result["detail"],
    )
    assert host.fleet.token.reveal() not in host.heard


def test_tls_where_plain_was_asked_is_called_that_and_not_a_reset(host: SimulatedHost) -> None:
    host.speaks_tls = True
    result = proven(host)
    assert (result["trouble"], result["detail"]) == (
        "wrong-scheme",
        "127.0.0.1:8081 speaks TLS, and the inventory says http",
    )


def test_a_certificate_that_is_not_checked_is_said_in_every_report(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=2, policy=Policy(revocation_recheck=0.0))
    for host in fleet.hosts.values():
        host.speaks_tls = True
    with_service(fleet, scheme="https", verify=False)
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    run = operator.runner.run
    said = "the service's certificate was not checked (verify = false) on queen, hive1, hive2"
    written = page(run, operator.events, fleet.inventory)
    assert said in report.summary_lines(run, ExitCode.DONE, fleet.inventory)
    assert said in html(written).replace("&#39;", "'")
    assert said in markdown(written).replace("\\", "")
    assert [host["certificate_unchecked"] for host in report.document(run, fleet.inventory)["hosts"]] == [True] * 3


def test_a_certificate_that_is_checked_is_not_spoken_of(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=1)
    for host in fleet.hosts.values():
        host.speaks_tls = True
    with_service(fleet, scheme="https")
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    assert report.unchecked_lines(operator.runner.run) == []


# -- how long it is waited for


def test_a_mere_look_does_not_wait_for_a_service_to_become_healthy(tmp_path: Path) -> None:
    """Nobody has just started it: what `health_deadline` is for."""
    fleet = InProcessFleet(tmp_path, hives=1, policy=Policy(health_deadline=60.0))
    hive = fleet.hosts["hive1"]
    hive.fault, hive.slow_seconds = "start-slow", 500.0
    hive.start()
    before = hive.clock
    operator = Operator(fleet)
    assert not operator.look()
    operator.runner.end()
    assert operator.troubles == {"hive1": Trouble.UNHEALTHY}
    assert hive.clock - before < 4.0


def test_a_service_that_was_just_started_is_waited_for(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=1)
    for host in fleet.hosts.values():
        host.slow_seconds = 30.0
    fleet.at("*", "restart", lambda host: setattr(host, "fault", "start-slow"))
    assert Operator(fleet).rotate() is ExitCode.DONE


def test_a_deadline_that_is_shorter_than_a_look_is_kept() -> None:
    policy = Policy(health_deadline=0.5)
    assert encode(Prove(waits=False), policy, {})["health_seconds"] == 0.5
    assert encode(Prove(), policy, {})["health_seconds"] == 0.5
