"""What a host in restricted mode lets a bastion ask of it: all that its verbs need, and nothing that a thief adds."""

import contextlib
import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.host import gate
from hivekeys.journal.run import REVOKE
from hivekeys.protocol import wire
from hivekeys.protocol.audited import Query, Time
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.program import installed_program
from hivekeys.protocol.verbs import Accesses, Audit, Verb
from hivekeys.protocol.wire import PROTOCOL, encode
from hivekeys.ssh import bootstrap
from tests.builders.operator import Operator, breaks
from tests.builders.restricted import GuardedDialer, GuardedLine, files, greeting, request, restrict
from tests.inprocess import KEY, InProcessFleet, told

TOKEN = "ab" * 32
KEYED = "0" * 64
SERVICE = ("unit", "token", "owner", "group", "mode", "directory_mode", "port", "health", "protected", "format")


@pytest.fixture
def line(tmp_path: Path) -> GuardedLine:
    """A thief's line to a host, with nothing said yet."""
    (host,) = (host for name, host in InProcessFleet(tmp_path, hives=1).hosts.items() if name == "hive1")
    restrict(host)
    (host.root / "etc/shadow").write_text("root:secret\n")
    return GuardedLine(host)


# -- what stays allowed


def test_a_rotation_passes_every_gate(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    dialer = GuardedDialer(fleet)
    assert Operator(fleet, dialer=dialer).rotate() is ExitCode.DONE
    assert dialer.refusals == []


def test_so_does_the_way_back(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    dialer = GuardedDialer(fleet)
    fleet.at("hive2", "restart", breaks("start-fails"))
    assert Operator(fleet, dialer=dialer).rotate() is not ExitCode.DONE
    assert "revert" in fleet.verbs("hive1")
    assert dialer.refusals == []


def test_so_does_a_revocation_that_has_to_fence_a_host(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, policy=Policy(revocation_recheck=0.0))
    dialer = GuardedDialer(fleet)
    fleet.at("hive1", "restart", breaks("keeps-old-token"))
    Operator(fleet, dialer=dialer, task=REVOKE, fence=True).revoke()
    assert {"revoke", "fence"} <= set(fleet.verbs("hive1"))
    assert dialer.refusals == []


def test_so_does_a_run_that_asks_for_its_token_back(line: GuardedLine) -> None:
    want = line.host.fleet.token.fingerprint(KEY).keyed
    reply = line.gate.reply(json.dumps(request(greeting(line.host), {"verb": "recall", "want": want})).encode())
    assert reply["results"][1]["facts"]["token"] == line.host.fleet.token.reveal()


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(
            Time(3600.0, before_now=True), Time(1.7e9), ("0a1b2c",), True, 100, 1.7e9, 86400.0, 1 << 40, 600.0, False
        ),
    ],
)
@pytest.mark.parametrize("kind", [Audit, Accesses])
def test_every_question_to_the_audit_trail_fits(line: GuardedLine, kind: type[Audit | Accesses], query: Query) -> None:
    step = json.loads(json.dumps(encode(kind(query), Policy(), {})))
    assert line.gate.fitting(json.dumps(request(greeting(line.host), step)).encode())["steps"][1] == step


def test_bastion_and_gate_mean_the_same_protocol() -> None:
    assert gate.PROTOCOL == wire.PROTOCOL


# -- what does not


def greeted(line: GuardedLine) -> dict[str, Any]:
    """A session that holds the lock, as a thief gets it for the asking."""
    step = greeting(line.host)
    assert line.say(json.dumps(request(step)).encode())["ok"]
    return step


def other_service(line: GuardedLine, **changes: object) -> dict[str, object]:
    return greeting(line.host, service={**told(line.host.host.service), **changes})


ODD: list[object] = [None, True, 0, -1, 1.5, 1e300, "", "x", "\0", "é", "\ud800", "a" * 5000, [], [[]], {}, {"a": {}}]
BEFORE_ANYTHING: dict[str, dict[str, object]] = {
    "another file": {"token": "/etc/shadow"},
    "a way out": {"token": "/etc/llama-orch/secrets/../../shadow"},
    "a file beside": {"token": "/etc/llama-orch/secrets/api-token.new"},
    "no path": {"token": ""},
    "a NUL": {"token": "/etc/llama-orch/secrets/api-token\0"},
    "another unit": {"unit": "ssh.service"},
    "an option for a unit": {"unit": "--root=/tmp"},
    "another owner": {"owner": "daemon"},
    "another group": {"group": "daemon"},
    "a file for everybody": {"mode": 0o666},
    "the same mode as a float": {"mode": 384.0},
    "a mode that is true": {"mode": True},
    "an open directory": {"directory_mode": 0o777},
    "another port": {"port": 22},
    "a port beyond": {"port": 10**9},
    "another question": {"health": ["/ HTTP/1.1\r\nX: "]},
    "no protected path": {"protected": []},
    "a field more": {"exec": "/bin/sh"},
}


@pytest.mark.parametrize("changes", BEFORE_ANYTHING.values(), ids=BEFORE_ANYTHING.keys())
def test_another_service_than_the_hosts_is_refused(line: GuardedLine, changes: dict[str, object]) -> None:
    refused_and_untouched(line, request(other_service(line, **changes)))


@pytest.mark.parametrize("part", SERVICE)
def test_a_service_with_a_part_left_out_is_refused(line: GuardedLine, part: str) -> None:
    service = told(line.host.host.service)
    del service[part]
    refused_and_untouched(line, request(greeting(line.host, service=service)))


def test_another_fleets_name_is_refused(line: GuardedLine) -> None:
    refused_and_untouched(line, request(greeting(line.host, fleet="mine")))


STEPS: dict[str, dict[str, object]] = {
    "a program": {"verb": "install", "apply": True, "options": ["create-account"], "want": KEYED},
    "mending": {"verb": "fix", "apply": True, "options": ["strays"]},
    "a rule of auditd's": {"verb": "watch", "apply": True, "options": []},
    "a method that is no verb": {"verb": "command", "argv": ["/bin/sh"], "seconds": 1},
    "a name of Python's": {"verb": "__init__", "root": "/"},
    "no verb": {"want": KEYED},
    "a verb that is a list": {"verb": ["stage"]},
    "a field more": {"verb": "restart", "unit": "ssh.service"},
    "a field less": {"verb": "swap"},
    "a short token": {"verb": "stage", "token": "a"},
    "a token with a line break": {"verb": "stage", "token": TOKEN + "\nroot"},
    "a huge token": {"verb": "stage", "token": "a" * 100_000},
    "a fingerprint in capitals": {"verb": "retire", "want": "A" * 64},
    "a fingerprint that is a path": {"verb": "revert", "want": "../../../etc/shadow"},
    "health for ever": {
        "verb": "prove",
        "want": None,
        "refuse": [],
        "health_seconds": 1e9,
        "stable_seconds": 0,
        "log": False,
    },
    "a truth value for seconds": {
        "verb": "prove",
        "want": None,
        "refuse": [],
        "health_seconds": True,
        "stable_seconds": 0,
        "log": False,
    },
    "a word for a truth value": {
        "verb": "prove",
        "want": None,
        "refuse": [],
        "health_seconds": 1,
        "stable_seconds": 0,
        "log": "yes",
    },
    "a directory for audit": {"verb": "audit", "folder": "/etc"},
    "records without end": {"verb": "audit", "records": 10**9},
    "records below zero": {"verb": "accesses", "records": -1},
    "a time in words": {"verb": "accesses", "since": {"seconds": "--start", "before_now": False}},
    "a time with more": {"verb": "audit", "since": {"seconds": 1, "before_now": False, "x": 1}},
    "tokens that are options": {"verb": "audit", "tokens": ["-k all"]},
    "too many tokens": {"verb": "revoke", "tokens": [KEYED] * 10_001},
    "a token of tokens": {"verb": "revoke", "tokens": [[KEYED]]},
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_a_step_that_is_not_meant_is_refused_though_the_lock_is_held(
    line: GuardedLine, step: dict[str, object]
) -> None:
    greeted(line)
    refused_and_untouched(line, request(step))


FRAMES: dict[str, bytes] = {
    "no JSON": b"{",
    "no UTF-8": b'{"steps": "\xff\xfe"}',
    "a NUL": b"\0",
    "an array": b"[]",
    "a number": b"7",
    "nested deep": b"[" * 500_000,
    "nested deep in a field": b'{"protocol": 1, "deadline": 1, "steps": [{"verb": ' + b"[" * 900 + b"]" * 900 + b"}]}",
    "not a number": b'{"protocol": 1, "deadline": NaN, "steps": [{"verb": "observe"}]}',
    "infinity": b'{"protocol": 1, "deadline": 1e999, "steps": [{"verb": "observe"}]}',
    "a number of a million digits": b'{"protocol": 1, "deadline": ' + b"9" * 1_000_000 + b', "steps": []}',
    "no steps": b'{"protocol": 1, "deadline": 1, "steps": []}',
    "too many steps": b'{"protocol": 1, "deadline": 1, "steps": [' + b",".join([b'{"verb": "observe"}'] * 21) + b"]}",
    "steps that are none": b'{"protocol": 1, "deadline": 1, "steps": ["observe"]}',
    "a field more": b'{"protocol": 1, "deadline": 1, "sh": 1, "steps": [{"verb": "observe"}]}',
    "no deadline": b'{"protocol": 1, "steps": [{"verb": "observe"}]}',
    "a line too long": b'{"x": "' + b"y" * (1 << 20) + b'"}',
}


@pytest.mark.parametrize("said", FRAMES.values(), ids=FRAMES.keys())
def test_a_line_that_is_no_request_is_refused(line: GuardedLine, said: bytes) -> None:
    greeted(line)
    refused_and_untouched(line, said)


@pytest.mark.parametrize("protocol", [0, 2, "1", None, True, 1.5])
def test_a_bastion_of_another_protocol_is_told_so(line: GuardedLine, protocol: object) -> None:
    if protocol is True:  # Python's True is 1; it is refused as what it is not
        protocol = [1]
    answer = line.say(json.dumps(request(greeting(line.host), protocol=protocol)).encode())
    assert (answer["trouble"], answer["detail"]) == (
        "agent-differs",
        f"the host's agent speaks protocol {PROTOCOL}, the bastion another",
    )


def test_nothing_is_done_before_a_greeting(line: GuardedLine) -> None:
    refused_and_untouched(line, request({"verb": "observe"}))


def test_nothing_is_written_without_the_lock(line: GuardedLine) -> None:
    assert line.say(json.dumps(request(greeting(line.host, write=False))).encode())["ok"]
    for verb in ("restart", "discard", "probe_write"):
        refused_and_untouched(line, request({"verb": verb}))


def test_one_step_that_does_not_fit_keeps_those_before_it_from_being_done(line: GuardedLine) -> None:
    greeted(line)
    refused_and_untouched(line, request({"verb": "stage", "token": TOKEN}, {"verb": "sh"}))


def test_a_host_that_does_not_know_itself_refuses_everything(line: GuardedLine) -> None:
    (line.host.root / "var/lib/hivekeys/restricted").write_text("{}")
    refused_and_untouched(line, request(greeting(line.host)))
    (line.host.root / "var/lib/hivekeys/restricted").unlink()
    refused_and_untouched(line, request(greeting(line.host)))


def test_a_session_that_is_refused_again_and_again_is_over(line: GuardedLine) -> None:
    for _ in range(gate.REFUSALS):
        assert not line.agent.deadline.gone.is_set()
        line.say(b"{}")
    assert line.agent.deadline.gone.is_set()


def refused_and_untouched(line: GuardedLine, said: dict[str, object] | bytes) -> None:
    """It is refused, a line of the log says so and shows nothing of it, and every file is as it was."""
    before, logged = files(line.host.root), len(line.log)
    answer = line.say(said if isinstance(said, bytes) else json.dumps(said).encode())
    assert (answer["ok"], answer["trouble"]) in ((False, "request-refused"), (False, "agent-differs")), answer
    assert files(line.host.root) == before
    assert len(line.log) > logged
    assert TOKEN[:8] not in "".join(line.log)
    assert Verb(answer["verb"]), "the bastion can read the answer"


# -- fuzzed

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=80)
    | st.sampled_from(
        ["/etc/shadow", "../../etc/shadow", "root", "ssh.service", "\0", KEYED, TOKEN, 10**30, 0o777, "0" * 65]
    )
)
JSON = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def good_requests(line: GuardedLine) -> list[dict[str, Any]]:
    """One request with every verb that a host may be asked for, each field filled."""
    want = line.host.fleet.token.fingerprint(KEY).keyed
    hello_step: dict[str, Any] = greeting(line.host, tokens=[TOKEN], revoked={KEYED: "run-0"})
    steps: list[dict[str, object]] = [
        {"verb": "observe"},
        {"verb": "probe_write"},
        {"verb": "stage", "token": TOKEN},
        {"verb": "prove", "want": want, "refuse": [KEYED], "health_seconds": 1.0, "stable_seconds": 0.0, "log": True},
        {"verb": "swap", "want": want},
        {"verb": "revert", "want": want},
        {"verb": "recall", "want": want},
        {"verb": "retire", "want": want},
        {"verb": "discard"},
        {"verb": "revoke", "tokens": [KEYED]},
        {"verb": "restart"},
        {"verb": "fence"},
    ]
    return [request(copy.deepcopy(hello_step), step, expires=1e6) for step in steps]


def places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from places(one, (*path, index))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_whatever_place_only_the_services_own_files_change(
    line: GuardedLine, data: st.DataObject
) -> None:
    """A request with anything at all in one place: refused, every file as it was; or it was one that may be made."""
    said: Any = copy.deepcopy(data.draw(st.sampled_from(good_requests(line))))
    place = data.draw(st.sampled_from([place for place in places(said) if place]))
    inner = said
    for key in place[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()) and isinstance(inner, dict):
        inner[data.draw(st.text(max_size=10))] = data.draw(JSON)
    inner[place[-1]] = data.draw(JSON)
    line.gate.refusals = 0
    line.agent.state.release()
    before = files(line.host.root)
    reply = line.gate.reply(json.dumps(said).encode())
    after = files(line.host.root)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    if any(result["trouble"] in ("request-refused", "agent-differs") for result in reply["results"]):
        assert changed == set()
    own = (str(line.host.secrets), str(line.host.root / "var/lib/hivekeys"))
    assert all(path.startswith(own) for path in changed)
    assert (line.host.root / "etc/shadow").read_text() == "root:secret\n"


# -- the program


@pytest.fixture
def program(line: GuardedLine, tmp_path: Path) -> Path:
    """The installed program as it lies on a host, at work below a simulated host's root."""
    path = tmp_path / "agent"
    path.write_bytes(
        installed_program().replace(b"    guarded_main()\n", b"    guarded_main(%a)\n" % str(line.host.root))
    )
    path.chmod(0o755)
    return path


def test_it_begins_with_the_python_that_listens_to_no_environment_and_to_no_package() -> None:
    assert installed_program().startswith(b"#!/usr/bin/python3 -IS\n")


def test_it_says_which_it_is_and_serves_what_fits(line: GuardedLine, program: Path) -> None:
    said = [json.dumps(request(greeting(line.host), expires=1e14)).encode(), b'{"protocol": 1}']
    argv = [sys.executable, "-IS", str(program)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as agent:
        assert agent.stdin
        assert agent.stdout
        ready = agent.stdout.readline()
        answers = []
        for one in said:
            agent.stdin.write(one + b"\n")
            answers.append(json.loads(agent.stdout.readline())["results"][0])
        agent.stdin.close()
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    startup = bootstrap.Startup()
    startup.add_line(ready)
    assert startup.clock is not None
    assert startup.differs(digest) is None
    other = startup.differs("0" * 64)
    assert other is not None
    assert other.trouble is Trouble.AGENT_DIFFERS
    assert [answer["trouble"] for answer in answers] == ["", "request-refused"]
    assert agent.returncode == 0


def test_a_line_without_end_is_not_kept(program: Path) -> None:
    """256 MiB of it: the agent leaves after one, and never had more in memory."""
    argv = [sys.executable, "-IS", str(program)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as agent:
        assert agent.stdin
        assert agent.stdout
        agent.stdout.readline()
        status = Path(f"/proc/{agent.pid}/status")
        before = most = peak(status)
        with contextlib.suppress(BrokenPipeError, FileNotFoundError):
            for _ in range(256):
                agent.stdin.write(b"y" * (1 << 20))
                most = max(most, peak(status))
        assert most - before < 32 << 10
        agent.kill()


def peak(status: Path) -> int:
    """The most memory that a process has had so far, in KiB."""
    found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(found[0]) if found else 0


def test_a_tampered_program_has_another_digest(program: Path) -> None:
    before = hashlib.sha256(program.read_bytes()).hexdigest()
    program.write_bytes(program.read_bytes() + b"#")
    done = subprocess.run([sys.executable, "-IS", program], input=b"", capture_output=True, check=True, timeout=30)
    startup = bootstrap.Startup()
    startup.add_line(done.stdout.splitlines()[0])
    assert startup.differs(before) is not None


def test_an_agent_that_does_not_say_which_it_is_is_not_the_one(line: GuardedLine) -> None:
    startup = bootstrap.Startup(restricted=True)
    startup.add_line(b"hivekeys:ready 12.5")
    cause = startup.differs("0" * 64)
    assert cause is not None
    assert "does not say" in cause.detail
