"""The sweep on this machine: real processes, real sockets, real answers; only systemd is told by the test."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hivekeys.fleet import HIVE_SERVICE, QUEEN_SERVICE, Policy
from hivekeys.host.agent import Agent
from hivekeys.host.greeting import hello
from hivekeys.host.sockets import where_to_ask
from hivekeys.host.system import System
from hivekeys.host.verbs.sweep import GUARDED, Neighbours
from hivekeys.protocol.verbs import Greeting, Hello
from hivekeys.protocol.wire import encode
from hivekeys.service import Service
from hivekeys.token import Token, generate
from tests.inprocess import KEY

ACCOUNT = pwd.getpwuid(os.geteuid() or pwd.getpwnam("nobody").pw_uid)
GROUP = subprocess.run(["id", "-gn", ACCOUNT.pw_name], capture_output=True, text=True, check=True).stdout.strip()
PYTHON = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin") or "python3"  # one that any account may start
PROGRAM = """
import os, signal, socket, sys, threading

kind, address, token = sys.argv[1], sys.argv[2], os.environ.get("LLORCH_API_TOKEN", "")
token = os.environ.get("TAKES", token)
if kind == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
line = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
line.bind((address, 0))
if kind != "none":
    line.listen()
print(line.getsockname()[1], flush=True)

def serve(caller):
    head = caller.recv(65536).decode()
    told = [row.partition("Bearer ")[2] for row in head.split("\\r\\n") if row.startswith("Authorization")]
    status = {"open": 200, "nothing": 404}.get(kind) or (200 if told == [token] else 401)
    caller.sendall(b"220 mail\\r\\n" if kind == "mail" else b"HTTP/1.1 %d x\\r\\n\\r\\n" % status)
    caller.close()

while kind != "none":
    threading.Thread(target=serve, args=(line.accept()[0],)).start()
signal.pause()
"""


@dataclass
class Child:
    """A process of the service's account."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid


@pytest.fixture
def old() -> Token:
    return generate()


@contextlib.contextmanager
def running(
    kind: str, address: str = "127.0.0.1", token: Token | None = None, takes: Token | None = None
) -> Iterator[Child]:
    """Such a process: it takes a token ("token"), anybody ("open"), nobody ("nothing"), speaks no HTTP ("mail")."""
    environment = {"LLORCH_API_TOKEN": token.reveal()} if token else {}
    environment |= {"TAKES": takes.reveal()} if takes else {}
    user: Any = {} if os.geteuid() else {"user": ACCOUNT.pw_uid, "group": ACCOUNT.pw_gid}
    argv = [PYTHON, "-I", "-c", PROGRAM, kind, address]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True, cwd="/", **user) as process:
        try:
            assert process.stdout
            yield Child(process, int(process.stdout.readline()))
        finally:
            process.kill()


class Machine(System):
    """This machine, on which systemd has started `main`, and the unit's control group is `unit`."""

    def __init__(self, main: int, unit: list[int]) -> None:
        self.main, self.unit = main, unit

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        return 0, f"LoadState=loaded\nActiveState=active\nMainPID={self.main}\nControlGroup=/x\n"

    def members(self, cgroup: str, root: str = "/") -> list[int]:
        return self.unit


def agent_of(root: Path, old: Token, machine: System, **keys: Any) -> Agent:
    """An agent that has been greeted, and knows the old token."""
    service = Service(**{**vars(HIVE_SERVICE), "owner": ACCOUNT.pw_name, "group": GROUP, **keys})
    agent = Agent(str(root), machine)
    agent.deadline.end = machine.monotonic() + 60
    greeting = Hello(Greeting("here", KEY, "run-1", "ann@bastion"), service)
    fields = encode(greeting, Policy(), {old.fingerprint(KEY): old})
    fields.pop("verb")
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    hello(agent, **fields)
    return agent


def swept(agent: Agent, old: Token) -> dict[str, Any]:
    """The facts of a sweep; of the places only those of the children of this test."""
    result = agent.carry_out("sweep", {"refuse": [old.fingerprint(KEY).keyed]})
    assert result["ok"], result
    return dict(result["facts"])


def answer_of(facts: dict[str, Any], child: Child) -> tuple[str, str]:
    """(address, answer) of the child's place."""
    (row,) = [row for row in facts["places"] if row["pid"] == child.pid]
    assert row["port"] == child.port
    assert row["comm"].startswith("python3")
    return row["address"], row["answer"]


@pytest.mark.parametrize(
    ("kind", "answer"), [("token", "takes"), ("open", "open"), ("nothing", "unasked"), ("mail", "unasked")]
)
def test_what_a_place_makes_of_the_old_token(tmp_path: Path, old: Token, kind: str, answer: str) -> None:
    with running(kind, takes=old) as worker, running("none") as main:
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid, worker.pid]))
        assert answer_of(swept(agent, old), worker) == ("127.0.0.1", answer)


@pytest.mark.parametrize(
    ("address", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::", "::1"), ("::1", "::1")],  # noqa: S104
)
def test_a_place_is_asked_where_it_listens(tmp_path: Path, old: Token, address: str, asked: str) -> None:
    with running("token", address, takes=old) as worker, running("none") as main:
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid]))  # outside the unit, of its account
        assert answer_of(swept(agent, old), worker) == (asked, "takes")


def test_a_place_that_takes_another_token_refuses(tmp_path: Path, old: Token) -> None:
    with running("token", takes=generate()) as worker, running("none") as main:
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid, worker.pid]))
        facts = swept(agent, old)
        assert answer_of(facts, worker)[1] == "refuses"
        assert facts["survivors"] == []


def test_a_process_that_is_older_than_the_services_and_takes_the_token_has_survived(tmp_path: Path, old: Token) -> None:
    with running("token", takes=old) as worker, running("none") as main:
        wait_a_tick(worker, main)
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid, worker.pid]))
        (one,) = swept(agent, old)["survivors"]
        assert (one["pid"], one["ports"], one["takes"]) == (worker.pid, [worker.port], True)
        assert 0 <= one["age"] < 60


def wait_a_tick(older: Child, younger: Child) -> None:
    """Births are counted in ticks of 10 ms; a python takes longer to start than that."""
    assert System().born(older.pid) != System().born(younger.pid)


def test_a_younger_one_is_no_survivor_and_is_asked_all_the_same(tmp_path: Path, old: Token) -> None:
    with running("none") as main, running("token", takes=old) as worker:
        wait_a_tick(main, worker)
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid, worker.pid]))
        facts = swept(agent, old)
        assert (answer_of(facts, worker)[1], facts["survivors"]) == ("takes", [])


def test_an_older_one_with_the_old_token_in_its_environment_needs_no_port(tmp_path: Path, old: Token) -> None:
    with running("none", token=old) as worker, running("none", token=generate()) as main:
        wait_a_tick(worker, main)
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid]))  # not even in the unit
        assert [one["pid"] for one in swept(agent, old)["survivors"]] == [worker.pid]


def test_the_token_in_an_environment_is_enough_to_ask_with(tmp_path: Path, old: Token) -> None:
    """Every slot is empty, and the bastion knows only the fingerprint of what it revoked."""
    with running("token", token=old) as worker, running("none") as main:
        agent = agent_of(tmp_path, generate(), Machine(main.pid, [main.pid, worker.pid]))
        assert answer_of(swept(agent, old), worker)[1] == "takes"


def test_without_any_copy_of_the_token_nobody_is_asked(tmp_path: Path, old: Token) -> None:
    with running("token", takes=old) as worker, running("none") as main:
        agent = agent_of(tmp_path, generate(), Machine(main.pid, [main.pid, worker.pid]))
        assert swept(agent, old)["places"] is None


def test_whichever_service_listens_there_is_asked_at_its_own_path() -> None:
    """A queen beside a hive, or a second hive beside a queen."""
    assert set(GUARDED) == {*QUEEN_SERVICE.protected, *HIVE_SERVICE.protected}


def test_a_place_that_the_inventory_names_is_asked_at_its_path(tmp_path: Path, old: Token) -> None:
    with running("token", takes=old) as worker, running("none") as main:
        named = (f"http://127.0.0.1:{worker.port}/v1/infer",)
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid]), places=named)
        (row,) = [row for row in swept(agent, old)["places"] if row["port"] == worker.port]
        assert (row["answer"], row["path"]) == ("takes", "/v1/infer")


def test_no_token_leaves_the_host_whatever_the_inventory_names(tmp_path: Path, old: Token) -> None:
    """The address is another machine's, though somebody of the service's account listens on that port here."""
    with running("token", "0.0.0.0", takes=old) as worker, running("none") as main:  # noqa: S104
        named = (f"http://192.0.2.1:{worker.port}/",)
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid]), places=named)
        (row,) = [row for row in swept(agent, old)["places"] if row["address"] == "192.0.2.1"]
        assert (row["answer"], row["why"]) == ("unasked", "192.0.2.1 is no address of this host")


def test_where_nobody_listens_nothing_takes_the_token(tmp_path: Path, old: Token) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with running("none") as main:
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid]), places=(str(port),))
        assert [row["answer"] for row in swept(agent, old)["places"] if row["port"] == port] == ["closed"]


def test_a_socket_of_another_account_hears_no_token(tmp_path: Path, old: Token) -> None:
    """Here the service is somebody else's, and this account's worker is named in the inventory."""
    with running("token", takes=old) as worker:
        daemon = pwd.getpwnam("daemon")
        keys = {"owner": daemon.pw_name, "group": "daemon", "places": (str(worker.port),)}
        agent = agent_of(tmp_path, old, Machine(0, []), **keys)
        (row,) = [row for row in swept(agent, old)["places"] if row["port"] == worker.port]
        assert (row["answer"], "another account" in row["why"]) == ("unasked", True)


@pytest.mark.parametrize("kind", ["token", "deaf"])
def test_survivors_are_ended_and_nobody_else(tmp_path: Path, old: Token, kind: str) -> None:
    with running(kind, takes=old) as worker, running("token", takes=generate()) as other, running("none") as main:
        wait_a_tick(other, main)
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid, worker.pid, other.pid]))
        agent.state.lock = os.open(os.devnull, os.O_RDONLY)
        result = agent.carry_out("end_survivors", {"refuse": [old.fingerprint(KEY).keyed]})
        agent.state.release()
        assert (result["ok"], result["changed"]) == (True, True)
        assert worker.process.wait(10) == -(signal.SIGKILL if kind == "deaf" else signal.SIGTERM)
        assert (other.process.poll(), main.process.poll()) == (None, None)


def test_without_the_hosts_lock_nobody_is_ended(tmp_path: Path, old: Token) -> None:
    with running("none") as main:
        agent = agent_of(tmp_path, old, Machine(main.pid, [main.pid]))
        with pytest.raises(RuntimeError, match="holds the lock"):
            agent.carry_out("end_survivors", {"refuse": []})


@pytest.mark.parametrize("top", ["sys/fs/cgroup", "sys/fs/cgroup/systemd", "sys/fs/cgroup/unified"])
def test_a_control_group_has_the_processes_of_those_below_it(tmp_path: Path, top: str) -> None:
    """As version 2, version 1 and systemd's hybrid of both lay it out."""
    unit = tmp_path / top / "system.slice/rbee-hive.service"
    (unit / "workers").mkdir(parents=True)
    (unit / "cgroup.procs").write_text("7\n8\n")
    (unit / "workers/cgroup.procs").write_text("9\n")
    found = System().members("/system.slice/rbee-hive.service", f"{tmp_path}/")
    assert found is not None
    assert sorted(found) == [7, 8, 9]
    assert System().members("/no-such.slice", f"{tmp_path}/") is None


def test_a_unit_that_is_not_running_has_no_processes() -> None:
    assert System().members("") == []


def test_this_process_is_the_main_one_of_no_service() -> None:
    assert Neighbours(System()).unit_of(os.getpid()) == ""


@pytest.mark.parametrize(
    ("family", "listens", "asked"),
    [
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),  # noqa: S104
        (socket.AF_INET, "10.1.2.3", "10.1.2.3"),
        (socket.AF_INET6, "::", "::1"),
        (socket.AF_INET6, "2001:db8::7", "2001:db8::7"),
        (socket.AF_INET6, "::ffff:10.1.2.3", "10.1.2.3"),
    ],
)
def test_the_address_to_ask_is_the_one_that_is_listened_on(
    family: socket.AddressFamily, listens: str, asked: str
) -> None:
    assert where_to_ask(socket.inet_pton(family, listens)) == asked


def test_an_address_of_this_machine_is_known_from_others() -> None:
    assert [System().is_own(address) for address in ("127.0.0.1", "::1", "192.0.2.1")] == [True, True, False]


def test_this_process_is_seen_with_its_sockets() -> None:
    near = Neighbours(System())
    with socket.create_server(("127.0.0.1", 0)) as line:
        assert os.fstat(line.fileno()).st_ino in System().sockets(os.getpid())
    assert near.processes()[os.getpid()]["uid"] == os.geteuid()
    assert not near.is_apart(os.getpid())
