"""The checks of a front: what its host says, and whether the service behind it can be reached from the bastion."""

import socket
from dataclasses import replace

import pytest

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.protocol.inspected import Behind, Chain
from hivekeys.service import Front, Service, fronting
from hivekeys.verify.checks import CHECKS
from hivekeys.verify.findings import Observation, Verdict
from hivekeys.verify.survey import is_reached
from tests.builders.observations import GOOD, HIVE, INSPECTED, NORM

SERVICE = fronting(Front(listen="0.0.0.0:8081", behind=replace(HIVE_SERVICE, port=18081)))
BEHIND = Behind("rbee-hive.service", "active", "enabled", (), (), "", ())
FRONTED = replace(GOOD, host=replace(HIVE, service=SERVICE), behind=BEHIND, is_reached=False)


def judged(check: str, observation: Observation) -> tuple[Verdict, str]:
    return CHECKS[check].judge(observation, NORM)


def test_where_there_is_no_front_there_is_nothing_to_find() -> None:
    assert [judged(check, GOOD)[0] for check in ("front", "behind")] == [Verdict.PASS, Verdict.PASS]


def test_a_front_as_it_should_be_passes() -> None:
    assert [judged(check, FRONTED)[0] for check in ("front", "behind")] == [Verdict.PASS, Verdict.PASS]


@pytest.mark.parametrize(
    ("check", "facts", "said"),
    [
        ("front", {"map": "was changed since nginx read it"}, "its map was changed since nginx read it"),
        ("front", {"leaks": ("error.log",)}, "a token stands in its error.log"),
        ("front", {"open_files": ("/x 0644 root",)}, "/x 0644 root"),
        ("behind", {"state": "failed"}, "rbee-hive.service is failed"),
        ("behind", {"reached_at": ("all addresses",)}, "port 18081 is open at all addresses"),
    ],
)
def test_what_is_wrong_with_it_fails(check: str, facts: dict[str, object], said: str) -> None:
    found = replace(FRONTED, behind=replace(BEHIND, **facts))  # type: ignore[arg-type]
    assert judged(check, found) == (Verdict.FAIL, said)


def test_that_the_bastion_reaches_the_service_fails_whatever_the_host_says() -> None:
    said = "port 18081 can be reached from the bastion"
    assert judged("behind", replace(FRONTED, is_reached=True)) == (Verdict.FAIL, said)
    assert judged("behind", replace(FRONTED, is_reached=True, behind=None)) == (Verdict.FAIL, said)


def test_of_a_service_that_asks_for_no_token_it_says_so() -> None:
    front = SERVICE.front
    assert front
    bare = replace(HIVE, service=fronting(replace(front, own_token=False)))
    found = judged("behind", replace(FRONTED, host=bare, is_reached=True))
    assert found == (Verdict.FAIL, "port 18081, which asks for no token, can be reached from the bastion")


def test_a_front_has_no_chain_of_records() -> None:
    inspected = replace(INSPECTED, chain=Chain(0, 0))
    found = judged("audit-chain", replace(FRONTED, inspected=inspected))
    assert found == (Verdict.UNTOLD, "nginx's log has no chain of hashes")


def test_what_was_not_seen_is_not_passed() -> None:
    unseen = replace(FRONTED, behind=None, complaint="no-connection")
    assert [judged(check, unseen) for check in ("front", "behind")] == [(Verdict.UNTOLD, "no-connection")] * 2


def test_a_service_that_starts_at_no_boot_is_a_warning() -> None:
    found = judged("behind", replace(FRONTED, behind=replace(BEHIND, enabled="disabled")))
    assert found == (Verdict.WARN, "rbee-hive.service does not start at boot")


def test_the_bastion_tries_the_services_own_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        host = replace(HIVE, address="127.0.0.1", service=with_port(port))
        assert is_reached(host) is True
        assert is_reached(replace(host, jump="jump1")) is None, "from here that says nothing"
    assert is_reached(host) is False
    assert is_reached(replace(host, address="no-such-name.invalid")) is None
    assert is_reached(HIVE) is None


def with_port(port: int) -> Service:
    return fronting(Front(listen="0.0.0.0:8081", behind=replace(HIVE_SERVICE, port=port)))
