"""The verdict on a service: healthy, on the right token, closed to all others, and alive for long enough."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from hivekeys.host import agent, unit
from hivekeys.protocol.causes import Trouble
from hivekeys.token import Token, generate
from tests.inprocess import KEY, InProcessFleet, Machine, Session, SimulatedHost

UNIT = "rbee-hive.service"


@pytest.fixture(params=[False, True], ids=["file", "credential"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> SimulatedHost:
    """A hive whose service reads the file itself, and one that reads systemd's copy."""
    return InProcessFleet(tmp_path, hives=1, credentials=request.param).hosts["hive1"]


def keyed(token: Token) -> str:
    return token.fingerprint(KEY).keyed


def turned(host: SimulatedHost, new: Token) -> Session:
    """A session in which the host has just been turned to a new token."""
    session = Session(host)
    results = session.ask(
        {"verb": "observe"},
        {"verb": "stage", "token": new.reveal()},
        {"verb": "swap", "want": keyed(new)},
        {"verb": "restart"},
    )
    assert all(result["ok"] for result in results), results
    return session


def prove(session: Session, new: Token, **fields: object) -> dict[str, Any]:
    old = session.line.host.fleet.token
    return session.do("prove", want=keyed(new), refuse=[keyed(old)], stable_seconds=3.0, **fields)


@pytest.fixture
def new() -> Token:
    return generate()


# -- what is proven


def test_a_service_on_the_new_token_is_proven_by_four_calls(host: SimulatedHost, new: Token) -> None:
    result = prove(turned(host, new), new, log=True)
    assert result["ok"], result
    assert result["facts"]["calls"] == {"new": 200, "old": 401, "none": 401, "garbage": 401}
    assert result["facts"]["proven"]
    assert result["facts"]["logged"] == [new.fingerprint(KEY).fp6]


def test_without_a_fingerprint_the_active_token_is_proven(host: SimulatedHost) -> None:
    facts = Session(host).do("prove")["facts"]
    assert facts["calls"] == {"new": 200, "none": 401, "garbage": 401}


def test_a_service_without_a_protected_path_is_healthy_but_not_proven(host: SimulatedHost) -> None:
    session = Session(host)
    session.line.agent.service["protected"] = []
    result = session.do("prove")
    assert (result["ok"], result["facts"]["proven"], result["facts"]["calls"]) == (True, False, {})


def test_the_first_path_that_is_not_404_is_the_one(host: SimulatedHost) -> None:
    host.unknown_paths = (404, 404)
    session = Session(host)
    session.line.agent.service.update(health=["/nowhere", "/v1/health"], protected=["/api/v1/workers", host.protected])
    facts = session.do("prove")["facts"]
    assert (facts["health"]["path"], facts["path"]) == ("/v1/health", host.protected)


def test_a_service_that_is_slow_is_waited_for_on_the_host(host: SimulatedHost, new: Token) -> None:
    host.fault = "start-slow"
    facts = prove(turned(host, new), new)["facts"]
    assert host.slow_seconds <= facts["healthy_after"] < host.slow_seconds + 1


# -- what is not


def test_a_service_that_goes_on_with_the_old_token_has_failed(host: SimulatedHost, new: Token) -> None:
    host.fault = "keeps-old-token"
    result = prove(turned(host, new), new)
    assert (result["trouble"], result["detail"]) == ("new-refused", "it still works with the other token")
    assert result["facts"]["calls"]["old"] == 200
    assert not result["facts"]["proven"]


def test_a_service_that_lets_anybody_in_has_failed_and_is_told_no_token(host: SimulatedHost, new: Token) -> None:
    host.fault = "accepts-any-token"
    result = prove(turned(host, new), new)
    assert result["trouble"] == "fail-open"
    assert "new" not in result["facts"]["calls"]


def test_a_service_that_found_no_token_refuses_everybody_and_has_failed(host: SimulatedHost) -> None:
    token = host.active.read_text()
    host.active.unlink()
    host.start()
    host.active.write_text(token)
    host.active.chmod(0o600)
    result = Session(host).do("prove")
    assert result["trouble"] == "new-refused"
    assert result["facts"]["calls"] == {"none": 401, "garbage": 401, "new": 401}


def test_an_old_token_that_nobody_holds_any_more_cannot_be_shown_to_be_refused(host: SimulatedHost, new: Token) -> None:
    turned(host, new).ask({"verb": "retire", "want": keyed(new)})
    later = Session(host)
    result = prove(later, new)
    assert result["trouble"] == "slot-changed"
    assert "in no slot any more" in result["detail"]


def test_a_service_that_was_not_restarted_is_named_as_stale(host: SimulatedHost, new: Token) -> None:
    """It may answer rightly, from a second source or a cache: the process has not read the file."""
    session = Session(host)
    session.ask({"verb": "stage", "token": new.reveal()}, {"verb": "swap", "want": keyed(new)})
    assert host.process
    host.process.token = new.reveal()
    assert prove(session, new)["trouble"] == "stale-process"


def test_a_mode_that_was_mended_since_the_start_does_not_make_the_process_stale(host: SimulatedHost) -> None:
    """What is in the file is older than the process, and the service's own answers say that it has read it."""
    os.utime(host.active, (1.7e9, 1.7e9))  # an old token; setting its age is a change of the file, as chmod is
    session = Session(host)
    result = session.do("prove")
    assert (result["ok"], result["facts"]["proven"]) == (True, True)
    evidence = session.do("observe")["facts"]["loaded"]["evidence"]
    assert evidence == ("credential" if host.credentials else "touched")


def test_a_token_that_came_back_by_a_rename_is_proven_only_by_the_service(host: SimulatedHost, new: Token) -> None:
    """Its content is older than the process, which has read another."""
    session = turned(host, new)
    session.do("revert", want=keyed(host.fleet.token))
    assert session.do("prove")["trouble"] == "new-refused"


def test_a_service_that_dies_within_the_window_has_failed(host: SimulatedHost, new: Token) -> None:
    host.fault = "crash-loops"
    assert prove(turned(host, new), new)["trouble"] == "unstable"


def test_a_service_that_does_not_start_is_shown_with_its_last_words(host: SimulatedHost, new: Token) -> None:
    session = turned(host, new)
    host.fault = "start-fails"
    host.last_words = "error: no such model"
    assert (session.do("restart")["trouble"], session.do("prove")["detail"]) == ("start-failed", "error: no such model")


def test_of_one_that_said_nothing_it_is_said_how_systemd_has_it(host: SimulatedHost) -> None:
    host.stop()
    host.unit_state, host.invocation = "inactive", ""
    result = Session(host).do("prove")
    assert (result["trouble"], result["detail"]) == ("start-failed", "the unit is inactive (success)")


def test_a_service_that_was_started_too_often_is_started_all_the_same(host: SimulatedHost, new: Token) -> None:
    """systemd counts our own restarts too: five in ten seconds (systemd.unit(5), StartLimitBurst)."""
    session = turned(host, new)
    host.start_limit_hit = True
    assert session.do("restart")["ok"]
    assert prove(session, new)["ok"]


def test_a_service_that_never_gets_healthy_costs_its_deadline(host: SimulatedHost, new: Token) -> None:
    host.fault, host.slow_seconds = "start-slow", 500.0
    session = turned(host, new)
    before = host.clock
    result = prove(session, new, health_seconds=30.0)
    assert (result["trouble"], result["detail"]) == ("unhealthy", "/v1/health: Connection refused after 30 s")
    assert 30.0 <= host.clock - before < 31.0


def test_the_same_answers_again_after_the_window_or_it_is_not_proven(host: SimulatedHost, new: Token) -> None:
    session = turned(host, new)
    machine = session.line.agent.system
    sleep = machine.sleep

    def opens_the_door(seconds: float) -> None:
        sleep(seconds)
        host.fault = "accepts-any-token"

    machine.sleep = opens_the_door  # type: ignore[method-assign]
    assert prove(session, new)["trouble"] == "fail-open"


def test_a_missing_active_file_cannot_be_proven(host: SimulatedHost) -> None:
    session = Session(host)
    host.active.unlink()
    assert session.do("prove")["trouble"] == "token-missing"


def test_a_unit_that_reads_another_file_is_named(tmp_path: Path, new: Token) -> None:
    host = InProcessFleet(tmp_path, hives=1, credentials=True).hosts["hive1"]
    host.fault = "keeps-old-token"
    session = turned(host, new)
    session.line.agent.service["token"] = "/etc/elsewhere"
    assert "the unit reads /etc/llama-orch/secrets/api-token, we wrote /etc/elsewhere" in prove(session, new)["detail"]


# -- who is told a token


def test_a_stranger_on_the_port_is_never_told_a_token(host: SimulatedHost, new: Token) -> None:
    session = turned(host, new)
    host.port_held_by = 12345
    result = prove(session, new)
    assert result["trouble"] == "fail-open"
    assert "uid 12345" in result["detail"]
    tokens = {new.reveal(), host.fleet.token.reveal()}
    assert host.heard
    assert not tokens & set(host.heard)


def test_a_stranger_that_takes_the_port_between_two_calls_is_told_no_token(host: SimulatedHost, new: Token) -> None:
    session = turned(host, new)
    machine = session.line.agent.system
    listeners = machine.listeners

    def first_the_service_then_a_stranger(port: int, address: str = "127.0.0.1") -> set[int]:
        found = listeners(port)
        host.port_held_by = 12345
        return found

    machine.listeners = first_the_service_then_a_stranger  # type: ignore[method-assign]
    assert prove(session, new)["trouble"] == "fail-open"
    assert host.heard == []


def test_no_token_is_told_when_nobody_is_known_to_listen(host: SimulatedHost, new: Token) -> None:
    """Whoever took the call may be gone from the list of listeners already."""
    session = turned(host, new)
    session.line.agent.system.listeners = lambda *_: set()  # type: ignore[method-assign]
    result = prove(session, new)
    assert (result["trouble"], "new" in result["facts"]["calls"]) == ("unhealthy", False)


def test_no_detail_shows_a_token(host: SimulatedHost, new: Token) -> None:
    session = turned(host, new)
    host.fault = "start-fails"
    unlike_hex = Token("".join(f"{number:x}.{number % 7}/" for number in range(20)))
    session.do("stage", token=unlike_hex.reveal())
    unknown = generate()
    tokens = [token.reveal() for token in (new, host.fleet.token, unlike_hex, unknown)]
    host.last_words = "panic: bad tokens " + " ".join(tokens)
    detail = session.do("restart")["detail"]
    assert "panic: bad tokens" in detail
    assert not any(text in detail for text in tokens)


# -- systemctl's output


def unit_of(tmp_path: Path, **shown: str) -> dict[str, Any]:
    """What the agent makes of `systemctl show`, without a running process."""
    host = InProcessFleet(tmp_path, hives=1).hosts["hive1"]

    class Told(Machine):
        def show(self, unit: str) -> str:
            return "".join(f"{name}={value}\n" for name, value in {"MainPID": "0", **shown}.items())

    session = Session(host)
    session.line.agent.system = Told(host)
    facts: dict[str, Any] = session.do("observe")["facts"]["unit"]
    return facts


@pytest.mark.parametrize(
    ("environment", "reads"),
    [
        ("LLORCH_API_TOKEN_FILE=/a", "/a"),
        ("RUST_LOG=info LLORCH_API_TOKEN_FILE=/a X=1", "/a"),
        ('"RUST_LOG=a b" "LLORCH_API_TOKEN_FILE=/a b"', "/a b"),
        ('"NOTE=LLORCH_API_TOKEN_FILE=/b c" LLORCH_API_TOKEN_FILE=/a', "/a"),
        (r'"X=say \"LLORCH_API_TOKEN_FILE=/b\" c" LLORCH_API_TOKEN_FILE=/a', "/a"),
        ("$'X=a\\tb' LLORCH_API_TOKEN_FILE=/a", "/a"),
        ("", ""),
    ],
)
def test_the_units_environment_is_read_with_its_quotes(tmp_path: Path, environment: str, reads: str) -> None:
    assert unit_of(tmp_path, Environment=environment)["reads"] == reads


def test_of_the_units_environment_only_the_path_is_shown(tmp_path: Path) -> None:
    secret = generate().reveal()
    unit = unit_of(tmp_path, Environment=f'LLORCH_API_TOKEN={secret} "OTHER=x {secret}"')
    assert unit["env_token"]
    assert secret not in str(unit)


def test_a_token_in_the_place_of_the_path_is_not_shown(tmp_path: Path) -> None:
    secret = generate().reveal()
    assert secret not in str(unit_of(tmp_path, Environment=f"LLORCH_API_TOKEN_FILE={secret}"))


def test_the_file_behind_a_credential_is_asked_of_systemd(tmp_path: Path) -> None:
    path = f"/run/credentials/{UNIT}/api-token"
    unit = unit_of(tmp_path, Environment=f"LLORCH_API_TOKEN_FILE={path}")
    assert (unit["credential"], unit["reads"]) == ("api-token", "/etc/llama-orch/secrets/api-token")


def test_a_credential_that_the_unit_does_not_load_has_no_file(tmp_path: Path) -> None:
    unit = unit_of(tmp_path, Environment=f"LLORCH_API_TOKEN_FILE=/run/credentials/{UNIT}/other")
    assert (unit["credential"], unit["reads"]) == ("other", "")


def test_what_a_units_settings_say_of_the_token_is_named_by_its_file(tmp_path: Path) -> None:
    """Environment=, in a drop-in; EnvironmentFile=; nothing runs, so all that would be set counts."""
    secret = generate().reveal()
    etc = tmp_path / "hive1/etc"
    etc.mkdir(parents=True)
    (etc / "unit.service").write_text("[Service]\nEnvironment=LLORCH_API_TOKEN_FILE=/a\n")
    (etc / "own.conf").write_text(f"[Service]\nEnvironment=X=1 LLORCH_API_TOKEN={secret}\n")
    (etc / "llama.env").write_text(f"# a comment\n LLORCH_API_TOKEN = '{secret}'\n")
    unit = unit_of(
        tmp_path,
        Environment=f"X=1 LLORCH_API_TOKEN={secret}",
        EnvironmentFiles="/etc/llama.env (ignore_errors=no)\nEnvironmentFiles=/etc/none (ignore_errors=yes)",
        FragmentPath="/etc/unit.service",
        DropInPaths="/etc/own.conf",
    )
    assert unit["sources"] == ["/etc/own.conf", "/etc/llama.env"]
    assert secret not in str(unit)


class WithToken(Machine):
    """The service's process has a token in its environment, and systemd's own environment has one."""

    own, manager = "", ""

    def process(self, pid: int) -> dict[str, Any] | None:
        shown = super().process(pid)
        return dict(shown, token=self.own, env_token=bool(self.own)) if shown else None

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        if argv[:2] == ["systemctl", "show-environment"]:
            return 0, f"LANG=C\nLLORCH_API_TOKEN={self.manager}\n" if self.manager else "LANG=C\n"
        return super().run(argv, timeout)


@pytest.mark.parametrize(
    ("own", "manager", "sources"),
    [
        ("a" * 64, "", []),  # a wrapper that reads the file: the guide's services need one
        ("a" * 64, "b" * 64, []),  # and overrules whatever else sets it
        ("b" * 64, "b" * 64, ["the manager's environment (systemctl set-environment)"]),
        ("", "b" * 64, []),  # a wrapper that takes it out
    ],
)
def test_a_wrapper_that_reads_the_file_is_no_other_source(
    host: SimulatedHost, own: str, manager: str, sources: list[str]
) -> None:
    session = Session(host)
    session.line.agent.system = machine = WithToken(host)
    machine.own, machine.manager = own, manager
    assert session.do("observe")["facts"]["unit"]["sources"] == sources


def test_a_credential_that_comes_from_no_file_is_another_source(tmp_path: Path) -> None:
    """SetCredential= puts the token itself into the unit."""
    unit = unit_of(tmp_path, Environment=f"LLORCH_API_TOKEN_FILE=/run/credentials/{UNIT}/other")
    assert unit["sources"] == ["its credential other, which no LoadCredential= brings from a file"]


def test_a_unit_without_a_process_is_no_crash(host: SimulatedHost) -> None:
    host.stop()
    session = Session(host)
    facts = session.do("observe")["facts"]
    assert (facts["unit"]["pid"], facts["loaded"]) == (0, {"fingerprint": None, "evidence": "none"})
    assert session.do("prove")["trouble"] == "start-failed"


def test_a_unit_that_is_not_there_is_named(host: SimulatedHost) -> None:
    session = Session(host)
    session.line.agent.service["unit"] = "nothing.service"
    assert session.do("restart")["detail"] == "nothing.service is not-found"


def test_a_proof_asks_systemd_no_more_often_than_needed(host: SimulatedHost, new: Token) -> None:
    session = turned(host, new)
    machine = session.line.agent.system
    asked: list[str] = []
    run = machine.run

    def counted(argv: list[str], timeout: float) -> tuple[int, str]:
        asked.append(argv[0])
        return run(argv, timeout)

    machine.run = counted  # type: ignore[method-assign]
    assert prove(session, new)["ok"]
    assert asked == ["systemctl", "systemctl"]


def test_looking_for_what_the_service_runs_tells_the_copies_apart(host: SimulatedHost, new: Token) -> None:
    session = Session(host)
    session.ask({"verb": "stage", "token": new.reveal()}, {"verb": "swap", "want": keyed(new)})
    loaded = session.do("observe")["facts"]["loaded"]
    if host.credentials:
        assert loaded["fingerprint"]["keyed"] == keyed(host.fleet.token)
    else:
        assert loaded == {"fingerprint": None, "evidence": "older"}
    session.do("restart")
    assert session.do("observe")["facts"]["loaded"]["fingerprint"]["keyed"] == keyed(new)


def test_every_trouble_of_the_agents_is_a_word_of_the_runbook() -> None:
    texts = [path.read_text() for path in Path(agent.__file__).parent.glob("*.py")]
    named = {trouble for text in texts for trouble in re.findall(r'Refusal\(\s*"([a-z-]+)"', text)}
    assert named
    assert named <= {trouble.value for trouble in Trouble}


# -- what a look shows of the unit


def looks(session: Session) -> tuple[dict[str, Any], list[str]]:
    """The unit as a look shows it, and the commands that this took."""
    session.line.host.started.clear()
    unit: dict[str, Any] = session.do("observe")["facts"]["unit"]
    return unit, list(session.line.host.started)


def test_a_look_shows_a_unit_as_it_was_seen_a_moment_ago(host: SimulatedHost) -> None:
    session = Session(host)
    first, commands = looks(session)
    assert commands
    assert looks(session) == (first, [])


def test_a_moment_is_over_soon(host: SimulatedHost) -> None:
    session = Session(host)
    first, commands = looks(session)
    host.clock += unit.RECENT_SECONDS + 0.1
    assert looks(session) == (first, commands[:1])
    host.clock += unit.FILE_SECONDS
    assert looks(session) == (first, commands)


def test_a_unit_whose_process_is_another_is_looked_at_anew(host: SimulatedHost) -> None:
    session = Session(host)
    first, _ = looks(session)
    host.stop()
    host.start()
    second, commands = looks(session)
    assert commands
    assert second["pid"] != first["pid"]
    host.stop()
    assert looks(session)[0]["state"] == "inactive"


def test_a_unit_that_the_agent_itself_moved_is_looked_at_anew(host: SimulatedHost, new: Token) -> None:
    session = turned(host, new)
    assert looks(session)[1]


def test_a_proof_behind_a_look_needs_none_of_its_own(host: SimulatedHost) -> None:
    session = Session(host)
    looks(session)
    host.started.clear()
    session.do("prove")
    assert host.started == []


def test_a_proof_that_waits_for_stability_looks_again_at_its_end(host: SimulatedHost) -> None:
    session = Session(host)
    looks(session)
    host.started.clear()
    session.do("prove", stable_seconds=unit.RECENT_SECONDS + 1)
    assert host.started == ["systemctl show"]


def test_a_proof_sees_a_process_that_is_another_since_the_look(host: SimulatedHost) -> None:
    session = Session(host)
    looks(session)
    host.stop()
    host.start()
    host.started.clear()
    session.do("prove")
    assert host.started == ["systemctl show"]
