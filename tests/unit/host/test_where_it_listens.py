"""Services that do not listen at http://127.0.0.1: other addresses, Unix sockets, TLS; on this machine's sockets."""

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hivekeys.host.system import Refusal, System
from hivekeys.host.tls import Tls, tls_of
from tests.builders.certificate import certificate

LATE = 30.0  # seconds: whoever needs longer than this hangs
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
ME = frozenset({os.geteuid()})
Wrap = Callable[[socket.socket], socket.socket]


@contextlib.contextmanager
def listening(listener: socket.socket, wrap: Wrap = lambda line: line) -> Iterator[list[bytes]]:
    """A service that answers 200 to every caller; what it was told."""
    told: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                caller = listener.accept()[0]
            except OSError:
                return
            with caller, contextlib.suppress(OSError), wrap(caller) as line:
                line.settimeout(LATE)
                told.append(line.recv(65536))
                line.sendall(OK)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield told
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(LATE)
        assert not thread.is_alive()


def at(address: str) -> socket.socket:
    """A socket that listens on this address alone, at any port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, 0), family=family)


def unix(path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.bind(str(path))
    found.listen()
    return found


# -- addresses


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_a_service_is_asked_at_the_address_that_it_listens_on(address: str) -> None:
    listener = at(address)
    port = listener.getsockname()[1]
    with listening(listener) as told:
        assert System().get(port, "/", "t0ken", LATE, ME, address) == (200, "")
        assert System().get(port, "/", None, LATE)[0] == 0, "nobody is at 127.0.0.1"
    assert b"Bearer t0ken" in told[0]


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_a_stranger_at_another_address_is_told_no_token_either(address: str) -> None:
    listener = at(address)
    port = listener.getsockname()[1]
    with listening(listener) as told, pytest.raises(Refusal, match="is held by another account"):
        System().get(port, "/", "t0ken", LATE, frozenset({os.geteuid() + 1}), address)
    assert told in ([], [b""])


@pytest.mark.parametrize(
    ("address", "own"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("192.0.2.1", False)]
)
def test_an_address_of_this_machine_is_told_from_others(address: str, own: bool) -> None:
    assert System().is_own(address) is own


# -- Unix sockets


def test_a_service_behind_a_unix_socket_is_asked_there(tmp_path: Path) -> None:
    path = tmp_path / "hive.sock"
    with listening(unix(path)) as told:
        assert System().get(8081, "/v1/health", "t0ken", LATE, ME, f"unix:{path}") == (200, "")
    assert told[0].startswith(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n")
    assert b"Bearer t0ken" in told[0]


def test_a_strangers_unix_socket_is_told_no_token(tmp_path: Path) -> None:
    path = tmp_path / "hive.sock"
    with listening(unix(path)) as told, pytest.raises(Refusal, match=f"{path} is held by another account"):
        System().get(0, "/", "t0ken", LATE, frozenset({os.geteuid() + 1}), f"unix:{path}")
    assert told in ([], [b""])


def test_no_link_leads_to_another_socket(tmp_path: Path) -> None:
    """Whoever may write where the socket lies could have root speak to any other."""
    with listening(unix(tmp_path / "other.sock")) as told:
        (tmp_path / "hive.sock").symlink_to(tmp_path / "other.sock")
        status, why = System().get(0, "/", None, LATE, None, f"unix:{tmp_path}/hive.sock")
    assert (status, bool(why), told) == (0, True, [])


def test_a_unix_socket_that_nobody_listens_on_is_no_status(tmp_path: Path) -> None:
    path = tmp_path / "hive.sock"
    assert System().get(0, "/", None, LATE, None, f"unix:{path}") == (0, "No such file or directory")
    unix(path).close()
    assert System().get(0, "/", None, LATE, None, f"unix:{path}") == (0, "Connection refused")
    assert System().listeners(0, f"unix:{path}") == set()


# -- where a process listens


def test_every_place_at_which_a_process_is_reached_is_found(tmp_path: Path) -> None:
    with (
        at("127.0.0.2") as one,
        at("::1") as two,
        socket.create_server(("", 0)) as all_of_them,
        unix(tmp_path / "hive.sock"),
    ):
        ports = [line.getsockname()[1] for line in (one, two, all_of_them)]
        found = System().places([os.getpid()])
    expected = [("127.0.0.2", ports[0]), ("::1", ports[1]), ("127.0.0.1", ports[2])]
    assert {*expected, (f"unix:{tmp_path}/hive.sock", 0)} <= set(found)


# -- TLS


def over_tls(path: Path) -> Wrap:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return lambda line: context.wrap_socket(line, server_side=True)


def test_a_service_that_speaks_tls_is_asked_over_it_and_its_certificate_is_checked(tmp_path: Path) -> None:
    path = certificate(tmp_path, "hive")
    listener = at("127.0.0.1")
    port = listener.getsockname()[1]
    with listening(listener, over_tls(path)) as told:
        trusting = Tls(path.read_bytes(), verify=True)
        assert System().get(port, "/", "t0ken", LATE, ME, "127.0.0.1", trusting) == (200, "")
        other = Tls(certificate(tmp_path, "other").read_bytes(), verify=True)
        with pytest.raises(Refusal, match="certificate-refused"):
            System().get(port, "/", "t0ken", LATE, ME, "127.0.0.1", other)
        with pytest.raises(Refusal, match="certificate-refused"):
            System().get(port, "/", "t0ken", LATE, ME, "127.0.0.1", Tls(None, verify=True))
        assert System().get(port, "/", None, LATE, None, "127.0.0.1", Tls(None, verify=False)) == (200, "")
    assert [b"t0ken" in one for one in told] == [True, False]


def test_a_certificate_that_has_expired_is_named_so(tmp_path: Path) -> None:
    path = certificate(tmp_path, "hive", days=-1)
    listener = at("127.0.0.1")
    with listening(listener, over_tls(path)), pytest.raises(Refusal, match="expired"):
        tls = Tls(path.read_bytes(), verify=True)
        System().get(listener.getsockname()[1], "/", None, LATE, None, "127.0.0.1", tls)


def test_a_stranger_that_speaks_tls_hears_nothing(tmp_path: Path) -> None:
    """Who has the other end is asked of the kernel before anything of TLS is said."""
    path = certificate(tmp_path, "hive")
    listener = at("127.0.0.1")
    port = listener.getsockname()[1]
    with listening(listener, over_tls(path)) as told, pytest.raises(Refusal, match="another account"):
        tls = Tls(path.read_bytes(), verify=True)
        System().get(port, "/", "t0ken", LATE, frozenset({os.geteuid() + 1}), "127.0.0.1", tls)
    assert told == []


def test_a_service_that_speaks_no_tls_is_named_so() -> None:
    listener = at("127.0.0.1")
    with listening(listener), pytest.raises(Refusal, match="wrong-scheme"):
        System().get(listener.getsockname()[1], "/", None, LATE, None, "127.0.0.1", Tls(None, verify=False))


def test_a_silent_service_cannot_hold_the_handshake() -> None:
    with at("127.0.0.1") as listener:
        tls = Tls(None, verify=False)
        assert System().get(listener.getsockname()[1], "/", None, 0.2, None, "127.0.0.1", tls) == (
            0,
            "no answer within 0 s",
        )


# -- the authorities' file


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's files count, and only root can make them")
def test_the_file_of_authorities_is_roots_alone(tmp_path: Path) -> None:
    service = {"scheme": "https", "verify": True, "ca": "/tls/ca.pem"}
    (tmp_path / "tls").mkdir()
    path = tmp_path / "tls/ca.pem"
    with pytest.raises(Refusal, match="No such file"):
        tls_of(str(tmp_path), service)
    path.write_bytes(b"x")
    found = tls_of(str(tmp_path), service)
    assert found is not None
    assert found.authorities == b"x"
    with pytest.raises(Refusal, match="holds no certificate"):
        found.context()
    os.chown(path, 65534, 0)
    with pytest.raises(Refusal, match="no file that root alone can change"):
        tls_of(str(tmp_path), service)
    os.chown(path, 0, 0)
    (tmp_path / "tls").chmod(0o777)
    with pytest.raises(Refusal, match="others than root can write to /tls"):
        tls_of(str(tmp_path), service)


def test_without_a_file_the_host_says_whom_it_trusts() -> None:
    found = tls_of("/", {"scheme": "https", "verify": True, "ca": ""})
    assert found is not None
    assert (found.authorities, found.verify, found.context().verify_mode) == (None, True, ssl.CERT_REQUIRED)
    assert tls_of("/", {"scheme": "http", "verify": True, "ca": ""}) is None
