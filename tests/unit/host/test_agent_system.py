"""The agent's view of a real machine: commands that hang, services that misbehave, who listens, which process."""

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hivekeys.host.sockets import LOOPBACK, ONE, TAKEN, asked_of_kernel, read_in_proc
from hivekeys.host.system import Refusal, System

SOON = 0.3  # seconds: the deadline that a misbehaving service is given
LATE = 30.0  # seconds: whoever needs longer than this hangs
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def service(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a service that does this to its first caller."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            caller, _ = listener.accept()
            with caller, suppress(OSError):  # the agent hangs up, as it should
                behave(caller)

        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LATE)
        assert not thread.is_alive()


def answers(data: bytes) -> Callable[[socket.socket], None]:
    def behave(caller: socket.socket) -> None:
        caller.recv(65536)
        caller.sendall(data)

    return behave


def says_nothing(caller: socket.socket) -> None:
    while caller.recv(65536):
        pass


def drips(caller: socket.socket) -> None:
    while True:
        caller.sendall(b"H")
        time.sleep(0.01)


def floods(caller: socket.socket) -> None:
    while True:
        caller.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (OK, 200),
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", 401),
        (b"HTTP/1.1 503\r\n", 503),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, 200),
    ],
    ids=["1.1", "1.0", "no reason", "many headers"],
)
def test_the_status_line_is_the_answer(data: bytes, status: int) -> None:
    with service(answers(data)) as port:
        assert System().get(port, "/", None, LATE) == (status, "")


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-x\r\n", b"\x16\x03\x01\n", b"HTTP/1.1 OK 200\r\n", b"HTTP/1.1 2000\n"])
def test_what_is_not_http_is_no_status(data: bytes) -> None:
    with service(answers(data)) as port:
        assert System().get(port, "/", None, LATE) == (0, "the answer is not HTTP")


@pytest.mark.parametrize("behave", [says_nothing, drips])
def test_a_service_cannot_hold_the_agent_beyond_its_deadline(behave: Callable[[socket.socket], None]) -> None:
    began = time.monotonic()
    with service(behave) as port:
        status, why = System().get(port, "/", None, SOON)
    assert (status, time.monotonic() - began < LATE) == (0, True)
    assert why in ("no answer within 0 s", "the answer is not HTTP")


def test_a_flood_is_cut_off() -> None:
    with service(floods) as port:
        assert System().get(port, "/", None, LATE) == (0, "the answer is not HTTP")


def test_a_closed_port_is_no_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert System().get(port, "/", None, LATE) == (0, "Connection refused")


def test_the_token_is_sent_as_a_bearer_header() -> None:
    heard: list[bytes] = []

    def listens(caller: socket.socket) -> None:
        heard.append(caller.recv(65536))
        caller.sendall(OK)

    with service(listens) as port:
        System().get(port, "/v1/workers/list", "t0ken", LATE, frozenset({os.geteuid()}))
    head = heard[0].decode().split("\r\n")
    assert head[0] == "GET /v1/workers/list HTTP/1.1"
    assert "Authorization: Bearer t0ken" in head


def test_a_service_of_another_account_is_told_nothing() -> None:
    heard: list[bytes] = []
    with (
        service(lambda caller: heard.append(caller.recv(65536))) as port,
        pytest.raises(Refusal, match="fail-open"),
    ):
        System().get(port, "/", "t0ken", LATE, frozenset({os.geteuid() + 1}))
    assert heard == [b""]


@pytest.mark.parametrize(
    ("family", "address", "found"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", True),  # noqa: S104  a socket of the test's own
        (socket.AF_INET, "127.0.0.2", False),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
        (socket.AF_INET6, "::ffff:0.0.0.0", True),
    ],
)
def test_the_accounts_are_those_whom_a_call_on_loopback_can_reach(
    family: socket.AddressFamily, address: str, found: bool
) -> None:
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert System().listeners(port) == ({os.geteuid()} if found else set())
        assert asked_of_kernel(listener.family, struct.pack("!H46x", port)) == read_in_proc(port) != []


def test_nobody_listens_on_a_port_that_is_only_bound() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert System().listeners(bound.getsockname()[1]) == set()


ME = frozenset({os.geteuid()})
SOMEBODY = os.geteuid() + 1


class PortHandedOver(System):
    """A machine on which this account listens as soon as the call is where the test wants it."""

    def __init__(self, listens: int, ready: threading.Event) -> None:
        self.listens = listens
        self.ready = ready

    def listeners(self, port: int, address: str = "127.0.0.1") -> set[int]:
        assert self.ready.wait(LATE)
        return {self.listens}


def test_who_took_the_call_is_told_no_token_when_only_the_listener_may_hear_it() -> None:
    """A stranger accepts the call and leaves the port to the service, before anybody looks who listens there."""
    taken, heard = threading.Event(), []

    def stranger(caller: socket.socket) -> None:
        taken.set()
        heard.append(caller.recv(65536))

    with service(stranger) as port, pytest.raises(Refusal, match="fail-open"):
        PortHandedOver(SOMEBODY, taken).get(port, "/", "t0ken", LATE, frozenset({SOMEBODY}))
    assert heard == [b""]


def test_a_service_may_take_calls_from_a_socket_that_root_holds() -> None:
    """Socket activation: systemd listens, the service accepts."""
    taken = threading.Event()

    def activated(caller: socket.socket) -> None:
        taken.set()
        answers(OK)(caller)

    with service(activated) as port:
        assert PortHandedOver(0, taken).get(port, "/", "t0ken", LATE, ME | {0}) == (200, "")


def test_a_call_that_was_hung_up_on_is_told_no_token() -> None:
    hung_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()
            hung_up.set()

        thread = threading.Thread(target=hang_up)
        thread.start()
        machine = PortHandedOver(os.geteuid(), hung_up)
        assert machine.get(listener.getsockname()[1], "/", "t0ken", LATE, ME) == (0, "the call was not taken")
        thread.join(LATE)


@pytest.mark.parametrize("defers", [False, True], ids=["in the queue", "deferred until it says something"])
def test_a_call_that_waits_to_be_accepted_is_its_listeners(defers: bool) -> None:
    """A busy service accepts late; whoever listened when it was asked has the call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if defers:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)
        with socket.create_connection(listener.getsockname()) as call:
            assert System().holder(call) == set()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_without_sock_diag_the_same_is_read_in_proc(family: socket.AddressFamily) -> None:
    """In its queue, accepted, and closed on the other side; also by a service that listens on all of IPv6."""
    dual = family == socket.AF_INET6
    with socket.create_server(("", 0), family=family, dualstack_ipv6=dual) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as call:
            here = call.getsockname()[1]
            ends = struct.pack("!HH4s12x4s12xIQ", port, here, LOOPBACK[0], LOOPBACK[0], 0, (1 << 64) - 1)

            def said() -> list[list[tuple[int, bytes, int, int, int]]]:
                return [read_in_proc(port, here), asked_of_kernel(socket.AF_INET, ends, ONE)]

            waiting = said()
            with listener.accept()[0]:
                held = said()
                assert System().holder(call) == ME
            assert waiting[0] == waiting[1]
            assert held[0] == held[1]
            assert [(state in TAKEN, bool(inode)) for [(state, _, _, _, inode)] in (*waiting, *held)] == [
                *2 * [(True, False)],
                *2 * [(True, True)],
            ]
            assert not [state for [(state, _, _, _, _)] in said() if state in TAKEN]


# -- commands


def test_a_commands_output_and_status_are_both_kept() -> None:
    assert System().run(["sh", "-c", "echo out; echo err >&2; exit 3"], LATE) == (3, "out\nerr\n")


def test_a_command_that_is_not_there_is_127() -> None:
    assert System().run(["no-such-command"], LATE) == (127, "no-such-command: No such file or directory")


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    note = tmp_path / "child"
    code, said = System().run(["sh", "-c", f"sleep 60 & echo $! > {note}; wait"], SOON)
    assert (code, said) == (124, "sh did not answer within 0 s")
    assert time.monotonic() - began < LATE
    stat = Path(f"/proc/{note.read_text().strip()}/stat")
    while stat.exists() and stat.read_text().split()[2] not in "ZX":  # until whoever adopted it has noticed
        assert time.monotonic() - began < LATE


def test_a_command_sees_no_variable_of_the_agents() -> None:
    os.environ["HIVEKEYS_TEST"] = "1"
    try:
        assert "HIVEKEYS_TEST" not in System().run(["env"], LATE)[1]
    finally:
        del os.environ["HIVEKEYS_TEST"]


# -- processes


def test_a_process_shows_its_start_its_account_and_its_token_file() -> None:
    environ = {"LLORCH_API_TOKEN_FILE": "/run/x", "LLORCH_API_TOKEN": "secret"}
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], env=environ, stdin=subprocess.PIPE) as child:
        while (shown := System().process(child.pid)) is not None and not shown["reads"]:
            pass  # between fork and exec it still has our environment
        assert shown is not None
        assert before - 0.1 < shown.pop("started") < time.time() + 0.1
        born = shown.pop("born")
        assert born == System().born(child.pid)
        assert shown.pop("age") < 60
        assert (shown.pop("parent"), shown.pop("comm")) == (os.getpid(), Path(sys.executable).name)
        assert shown == {"uid": os.geteuid(), "reads": "/run/x", "env_token": True, "token": "secret"}
    assert System().process(child.pid) is None
    assert System().born(child.pid) is None


def test_a_machine_says_its_own_id_and_that_of_its_boot_or_nothing() -> None:
    """One of the two alone would be no machine: images are cloned with the one, containers share the other."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
        own = Path("/etc/machine-id").read_bytes().strip()
    except FileNotFoundError:
        boot = own = b""
    said = System().machine()
    assert said == System().machine()
    assert said.split(b"\n")[1:] == ([own, boot] if own and boot else [])


def test_telling_a_process_that_is_gone_to_leave_is_no_error() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    System().terminate(child.pid)
