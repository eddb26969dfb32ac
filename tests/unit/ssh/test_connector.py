"""Hosts that are connected to before their turns: who answers no SYN holds up nobody, and no socket stands for long."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from hivekeys.fleet import Host, Role
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.addresses import THREADS, LookUps
from hivekeys.ssh.ask_all import ask_all
from hivekeys.ssh.connector import Connector
from hivekeys.ssh.reach import Wire, reach
from hivekeys.ssh.settings import Settings
from hivekeys.ssh.standing import Standing
from hivekeys.ssh.turns import Turn
from tests.builders.observations import HIVE
from tests.builders.ports import closed, dead, listening

LONG, SHORT = 120.0, 0.2  # seconds: nothing ends by the first


@dataclass
class Waiter:
    """Who wants to know when a host can be dialled."""

    is_begun: threading.Event = field(default_factory=threading.Event)
    is_ready: threading.Event = field(default_factory=threading.Event)
    calls: list[str] = field(default_factory=list)

    def connecting(self) -> None:
        self.calls.append("connecting")
        self.is_begun.set()

    def ready(self) -> None:
        self.calls.append("ready")
        self.is_ready.set()


class Network:
    """Hosts at ports of this machine, each by its name."""

    def __init__(self, timeout: float = LONG, at_once: int = 512, stands: float = LONG) -> None:
        self.settings: dict[str, Settings | None] = {}
        self.connector = Connector(lambda host: self.settings[host.name], timeout, at_once, stands)

    def close(self) -> None:
        self.connector.close()

    def host(self, name: str, port: int, hostname: str = "127.0.0.1") -> Host:
        self.settings[name] = Settings(name, hostname, port, "ann")
        return Host(name, Role.HIVE, "127.0.0.1", service=HIVE.service)

    def connect(self, *hosts: Host) -> list[Waiter]:
        """Connects to all, and waits until each can be dialled."""
        waiters = [Waiter() for _ in hosts]
        for host, waiter in zip(hosts, waiters, strict=True):
            self.connector.connect(host, waiter)
        assert all(waiter.is_ready.wait(LONG) for waiter in waiters)
        return waiters

    def take(self, host: Host) -> Wire | Cause | None:
        settings = self.settings[host.name]
        return self.connector.take(host.name, settings) if settings else None


@pytest.fixture
def network() -> Iterator[Network]:
    with closing(Network()) as network:
        yield network


def is_open(wire: Wire | Cause | None, there: socket.socket) -> bool:
    """Whether what is said on one end comes out at the other."""
    assert isinstance(wire, Wire)
    with closing(wire), there.accept()[0] as end:
        end.sendall(b"SSH-2.0")
        return bool(wire.socket.recv(7) == b"SSH-2.0")


# -- dead hosts


def test_a_dead_host_takes_no_place_from_one_that_lives(network: Network) -> None:
    """One place for both, and the dead one comes first: the other comes through while it still waits for its SYN."""
    with dead() as nobody, listening() as there:
        hosts = [network.host("dead", nobody), network.host("hive1", there.getsockname()[1])]
        came = []

        def ask(host: Host) -> Wire | Cause | None:
            came.append(host.name)
            wire = network.take(host)
            if host.name == "hive1":
                network.close()  # only now nobody waits for the dead one any more
            return wire

        _, wire = ask_all(ask, hosts, 1, network.connector.connect)
        assert came == ["hive1", "dead"]
        assert isinstance(wire, Wire)
        wire.close()


def test_every_dead_host_is_known_within_one_time_out() -> None:
    """However many there are: they wait at the same time, so one that is asked last has no later end."""
    with dead() as first, dead() as second, dead() as third, closing(Network(timeout=SHORT)) as network:
        hosts = [network.host(f"hive{number}", port) for number, port in enumerate((first, second, third))]
        waiters = network.connect(*hosts)
        assert [waiter.calls for waiter in waiters] == [["connecting", "ready"]] * 3
        assert [network.take(host) for host in hosts] == [
            Cause(Trouble.NO_CONNECTION, f"127.0.0.1 port {port}: no answer in time") for port in (first, second, third)
        ]


def test_a_failure_is_said_once_and_a_host_that_is_dialled_again_is_tried_anew() -> None:
    with dead() as nobody, closing(Network(timeout=SHORT)) as network:
        host = network.host("dead", nobody)
        network.connect(host)
        assert isinstance(network.take(host), Cause)
        assert network.take(host) is None


def test_no_more_than_so_many_are_waited_for_at_a_time() -> None:
    """The next one is queued meanwhile: it is not the host that lets us wait."""
    with dead() as nobody, listening() as there, closing(Network(timeout=SHORT, at_once=1)) as network:
        slow, quick = Waiter(), Waiter()
        network.connector.connect(network.host("dead", nobody), slow)
        assert slow.is_begun.wait(LONG)
        network.connector.connect(network.host("hive1", there.getsockname()[1]), quick)
        assert quick.is_ready.wait(LONG)
        assert slow.calls == ["connecting", "ready"]


# -- many names


def test_two_names_of_one_address_have_one_connection_there(network: Network) -> None:
    """Its sshd counts those that have not logged in, and drops some where they are many (MaxStartups)."""
    with listening() as there:
        port = there.getsockname()[1]
        hosts = [network.host("hive1", port), network.host("hive2", port), network.host("hive3", port)]
        network.connect(*hosts[:2])
        network.connect(hosts[2])
        wires = [network.take(host) for host in hosts]
        (wire,) = [wire for wire in wires if wire is not None]
        assert is_open(wire, there)
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.accept()


def test_two_names_of_one_dead_address_fail_alike() -> None:
    with dead() as nobody, closing(Network(timeout=SHORT)) as network:
        hosts = [network.host("hive1", nobody), network.host("hive2", nobody)]
        network.connect(*hosts)
        first, second = (network.take(host) for host in hosts)
        assert first == second == Cause(Trouble.NO_CONNECTION, f"127.0.0.1 port {nobody}: no answer in time")


def test_names_that_nobody_answers_hold_up_no_other() -> None:
    """So many that they have all threads; each of these is left to its name."""
    went_on, left = threading.Event(), []
    look_ups = LookUps()
    for _ in range(THREADS):
        look_ups.add(lambda: left.append(went_on.wait(LONG)))
    look_ups.add(went_on.set)
    assert went_on.wait(LONG)


def test_a_name_that_does_not_resolve_is_said_to_be_unknown(network: Network) -> None:
    """In the words of a host that is connected to at its turn."""
    host = network.host("hive1", 22, hostname="hive1.invalid")
    network.connect(host)
    cause = network.take(host)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.NAME_UNKNOWN
    assert cause.detail.startswith("hive1.invalid: ")


def test_a_name_with_several_addresses_is_reached_at_the_one_that_listens(network: Network) -> None:
    """Where localhost is ::1 as well, nobody listens there."""
    with listening() as there:
        host = network.host("hive1", there.getsockname()[1], hostname="localhost")
        network.connect(host)
        assert is_open(network.take(host), there)


# -- what stands, and what does not


def test_a_connection_is_taken_once(network: Network) -> None:
    with listening() as there:
        host = network.host("hive1", there.getsockname()[1])
        network.connect(host)
        assert is_open(network.take(host), there)
        assert network.take(host) is None


def test_a_port_where_nobody_listens_is_refused_in_the_same_words_as_at_a_turn(network: Network) -> None:
    host = network.host("hive1", closed())
    network.connect(host)
    settings = network.settings["hive1"]
    assert settings is not None
    assert network.take(host) == reach(settings, LONG)


def test_a_connection_that_the_host_has_closed_meanwhile_is_made_anew_at_its_turn(network: Network) -> None:
    """sshd does so after LoginGraceTime, say."""
    with listening() as there:
        host = network.host("hive1", there.getsockname()[1])
        network.connect(host)
        there.accept()[0].close()
        assert network.take(host) is None


def test_a_connection_that_waited_for_too_long_is_closed() -> None:
    """The host sees it: it has nobody left that is about to log in."""
    with listening() as there, closing(Network(stands=0.0)) as network:
        host = network.host("hive1", there.getsockname()[1])
        network.connect(host)
        end, _ = there.accept()
        with closing(end):
            end.settimeout(LONG)
            assert end.recv(1) == b""
        assert network.take(host) is None


def test_what_failed_long_ago_is_tried_anew() -> None:
    standing, key = Standing(seconds=0.0), ("hive1", Settings("hive1", "127.0.0.1", 22, "ann"))
    standing.put(key, Cause(Trouble.NO_CONNECTION), ())
    assert standing.take(key) is None


def test_a_second_connection_comes_instead_of_the_first() -> None:
    standing, key = Standing(LONG), ("hive1", Settings("hive1", "127.0.0.1", 22, "ann"))
    first, second = socket.socketpair()
    with first, second:
        standing.put(key, first, ())
        standing.put(key, second, ())
        assert first.fileno() == -1
        assert standing.take(key) is None, "its other end is closed"
    standing.close()


def test_a_host_that_is_not_reached_directly_is_ready_as_it_is(network: Network) -> None:
    """Behind a jump host or a ProxyCommand: those connect as it is dialled."""
    host = network.host("hive1", 22)
    network.settings["hive1"] = None
    (waiter,) = network.connect(host)
    assert waiter.calls == ["ready"]


def test_a_host_whose_settings_cannot_be_had_is_ready_and_its_dial_says_why(network: Network) -> None:
    host = network.host("hive1", 22)
    del network.settings["hive1"]
    (waiter,) = network.connect(host)
    assert waiter.calls == ["ready"]


def test_when_it_is_closed_nobody_waits_any_more_and_nothing_stands() -> None:
    with dead() as nobody, listening() as there, closing(Network()) as network:
        waits = Waiter()
        network.connector.connect(network.host("dead", nobody), waits)
        network.connect(network.host("hive1", there.getsockname()[1]))
        assert not waits.is_ready.is_set()
        network.close()
        assert waits.is_ready.wait(LONG)
        end, _ = there.accept()
        with closing(end):
            end.settimeout(LONG)
            assert end.recv(1) == b""
        network.connect(network.host("hive2", there.getsockname()[1]))


# -- turns


def test_a_turn_that_was_called_off_does_nothing_when_its_connection_stands() -> None:
    with ThreadPoolExecutor(1) as pool:
        turn = Turn(pool, lambda: pytest.fail("it was called off"))
        turn.cancel()
        turn.ready()


def test_a_turn_comes_to_nothing_once_the_threads_are_gone() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    turn = Turn(pool, lambda: None)
    turn.ready()
    assert turn.cancelled()
