"""A fleet for a bastion to be measured with: many SSH servers on loopback addresses, all in this one process.

Each speaks SSH for real (asyncssh), on an address of its own (127.77.…), and has the real agent's logic behind it, in a
directory of its own: real slots, locks and proofs. systemd, the service and the host's clock are simulated
(tests/inprocess/), so a service that must stay up for 3 s costs no time here, unless `--waits` is given. What is not
real is the host's own start of the agent: the program is received and left unread.

    python -m bench.simulated FOLDER --hosts 1000 --dead 0.05 --slow 0.05 --rtt 0.02

writes FOLDER/fleet.toml and the keys it names, prints `ready`, and then does what it is told on stdin, a word a line:
`let-go` lets nobody wait for a dead or silent host any more, `report` prints what each host was asked, as JSON.
"""

import argparse
import asyncio
import contextlib
import getpass
import grp
import json
import os
import pwd
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import asyncssh

from hivekeys.fleet import Role
from tests.inprocess import InProcessFleet, InProcessLine, SimulatedHost

HERE = Path(__file__).resolve().parent
KINDS = {"dead": "answer no SYN", "silent": "take it and say nothing", "slow": "take longer for every answer"}
Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Report:
    """How a host is there, and what it was asked: logins, sessions, requests. `kind`: well, dead, silent or slow."""

    kind: str = "well"
    logins: int = 0
    sessions: int = 0
    requests: int = 0


@dataclass
class Station:
    """One host's place on the network."""

    host: SimulatedHost
    address: str
    report: Report = field(default_factory=Report)


class Login(asyncssh.SSHServer):
    """Counts who has logged in."""

    def __init__(self, stations: Mapping[str, Station]) -> None:
        self._stations = stations
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def auth_completed(self) -> None:
        if self._connection:
            self._stations[self._connection.get_extra_info("sockname")[0]].report.logins += 1


class Network:
    """All stations of a fleet, on one port. A dead host lets SYNs go by unanswered, a silent one takes them."""

    def __init__(self, stations: list[Station], rtt: float, slow: float, waits: bool = False) -> None:
        """`rtt`: seconds from a bastion to a host and back, for all that is sent once TCP stands.

        `slow`: seconds that each answer of a slow host takes more. `waits`: what a host waits for takes its time.
        """
        self._slow, self._waits = slow, waits
        self.stations = {station.address: station for station in stations}
        self.port = 0
        self._rtt = rtt
        self._held: list[asyncio.StreamWriter] = []
        self._full: list[socket.socket] = []
        self._open: list[object] = []  # listeners: they live as long as somebody has them

    async def open(self, host_key: Path, may_log_in: Path) -> None:
        """Listen everywhere."""
        options = asyncssh.SSHServerConnectionOptions(
            server_host_keys=[str(host_key)],
            authorized_client_keys=str(may_log_in),
            server_factory=lambda: Login(self.stations),
            process_factory=self._session,
            encoding=None,
            compression_algs=["none"],
            login_timeout=0,
        )
        for station in self.stations.values():
            plug = socket.socket()
            plug.bind((station.address, self.port))
            self.port = plug.getsockname()[1]
            if station.report.kind == "dead":
                self._fill(plug)
            elif station.report.kind == "silent":
                self._open.append(await asyncio.start_server(self._hold, sock=plug))
            elif self._rtt:
                inside = await asyncssh.listen(station.address, 0, options=options)
                self._open += [inside, await asyncio.start_server(self._far_from(inside.get_port()), sock=plug)]
            else:
                self._open.append(await asyncssh.listen(sock=plug, options=options))

    def let_go(self) -> None:
        """Nobody waits in vain any more: silent hosts hang up, dead ones refuse the SYN when it is sent again."""
        for writer in self._held:
            writer.close()
        for plug in self._full:
            plug.close()
        self._held.clear()
        self._full.clear()

    def _fill(self, plug: socket.socket) -> None:
        """A listener whose queue is full: Linux drops every further SYN, as a host does that is switched off."""
        plug.listen(0)
        self._full.append(plug)
        for _ in range(2):
            stranger = socket.socket()
            stranger.setblocking(False)
            stranger.connect_ex(plug.getsockname())
            self._full.append(stranger)

    async def _hold(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._held.append(writer)

    def _far_from(self, port: int) -> Accept:
        """What takes connections and passes them on to `port` of the same address, half a round trip each way."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            address = writer.get_extra_info("sockname")[0]
            near, there = await asyncio.open_connection(address, port)
            await asyncio.gather(_pass_on(reader, there, self._rtt / 2), _pass_on(near, writer, self._rtt / 2))

        return accept

    async def _session(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """A login's command: the agent, from its markers to the end of its input."""
        station = self.stations[process.get_extra_info("sockname")[0]]
        station.report.sessions += 1
        for _ in ("boot", "agent"):
            await process.stdin.readexactly(int(await process.stdin.readline()))
        line = InProcessLine(station.host)
        station.host.lines.append(line)
        process.stdout.write(b"hivekeys:shell\nhivekeys:root\nhivekeys:python 3.11\n")
        process.stdout.write(b"hivekeys:ready %.3f\n" % self._moved(station.host))
        try:
            async for request in process.stdin:
                if request.strip() and not request.startswith(b"@"):  # a sign of life has no answer
                    station.report.requests += 1
                    await asyncio.sleep(self._slow if station.report.kind == "slow" else 0.0)
                    process.stdout.write(json.dumps(await self._reply(line, request.decode())).encode() + b"\n")
        except (asyncssh.Error, ConnectionError):
            pass  # the bastion has left
        finally:
            line.drop()
        process.exit(0)

    async def _reply(self, line: InProcessLine, request: str) -> dict[str, object]:
        """What the agent says, after as long as it has waited."""
        began = self._moved(line.host)
        answer = line.reply(request)
        await asyncio.sleep(line.host.clock - began if self._waits else 0.0)
        return answer

    def _moved(self, host: SimulatedHost) -> float:
        """The host's clock, which goes with ours where waiting takes time."""
        if self._waits:
            host.clock = max(host.clock, 1000.0 + time.monotonic())
        return host.clock


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Every byte, in order, `delay` seconds late."""
    under_way: deque[bytes] = deque()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            under_way.append(data)
            loop.call_later(delay, lambda: writer.write(under_way.popleft()))
    loop.call_later(delay, writer.close)


def stations(fleet: InProcessFleet, shares: Mapping[str, float]) -> list[Station]:
    """A place for each host; those of some other kind than well are so many of all, and spread over the hives."""
    placed = [
        Station(host, f"127.77.{number // 250}.{1 + number % 250}") for number, host in enumerate(fleet.hosts.values())
    ]
    hives = placed[1:]
    for at, (kind, share) in enumerate(shares.items()):
        wanted = round(share * len(placed))
        for number in range(wanted):
            hives[number * len(hives) // wanted + at].report.kind = kind
    return placed


def write_fleet(folder: Path, network: Network, host_key: Path, key: Path, rollout: str) -> None:
    """The inventory of these hosts, and the known_hosts and SSH configuration that it names."""
    public = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
    me, mine = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    (folder / "known_hosts").write_text(
        "".join(f"[{address}]:{network.port} {public}\n" for address in network.stations)
    )
    (folder / "ssh_config").write_text("IdentityAgent none\nGlobalKnownHostsFile none\n")
    text = [
        'fleet = "simulated"',
        f'[ssh]\nuser = "{getpass.getuser()}"\nport = {network.port}\nkey = "{key}"\nbecome = "none"',
        f'config = "{folder / "ssh_config"}"\nknown_hosts = "{folder / "known_hosts"}"',
        *(f'[services.{role.value}]\nowner = "{me}"\ngroup = "{mine}"' for role in Role),
        f"[rollout]\n{rollout}",
        *(
            f'[hosts.{station.host.name}]\nrole = "{station.host.host.role.value}"\naddress = "{station.address}"'
            for station in network.stations.values()
        ),
    ]
    (folder / "fleet.toml").write_text("\n".join(text) + "\n")


class Hosts:
    """A simulated fleet in a process of its own, as who started it sees it: told a word, it reports."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Returns when all hosts are there. Raises RuntimeError when they cannot be."""
        self.folder = folder
        command = [sys.executable, "-m", "bench.simulated", str(folder), *options]
        self._process = subprocess.Popen(
            command, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._told() != "ready":
            self.__exit__()
            raise RuntimeError("the simulated hosts did not get ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its stdin is its end

    def let_go(self) -> None:
        """Nobody waits for a dead or silent host any more."""
        self._tell("let-go")

    def report(self) -> dict[str, Report]:
        """What each host is, and was asked so far."""
        self._tell("report")
        return {name: Report(**told) for name, told in json.loads(self._told()).items()}

    def _tell(self, word: str) -> None:
        assert self._process.stdin  # noqa: S101  for the type checker: it is a pipe
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def _told(self) -> str:
        assert self._process.stdout  # noqa: S101  as above
        return self._process.stdout.readline().rstrip("\n")


async def serve(asked: argparse.Namespace) -> None:
    """Build the fleet, say that it is ready, obey."""
    folder = Path(asked.folder).resolve()
    host_key, key = folder / "host_key", folder / "key"
    for each in (host_key, key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(each)], check=True)
    fleet = InProcessFleet(folder / "hosts", hives=asked.hosts - 1)
    placed = stations(fleet, {kind: getattr(asked, kind) for kind in KINDS})
    network = Network(placed, asked.rtt, asked.slow_seconds, asked.waits)
    await network.open(host_key, key.with_suffix(".pub"))
    write_fleet(folder, network, host_key, key, asked.rollout)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while word := await loop.run_in_executor(None, sys.stdin.readline):
        if word.strip() == "let-go":
            network.let_go()
        if word.strip() == "report":
            print(json.dumps({station.host.name: asdict(station.report) for station in placed}), flush=True)


def main() -> None:
    """Serve until the end of stdin."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulated", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", help="an empty folder for inventory, keys and hosts")
    parser.add_argument("--hosts", type=int, default=200, help="queen and hives together (default: 200)")
    for kind, meaning in KINDS.items():
        parser.add_argument(f"--{kind}", type=float, default=0.0, help=f"share of hosts that {meaning}")
    parser.add_argument("--slow-seconds", type=float, default=5.0, help="so many seconds longer (default: 5)")
    parser.add_argument("--rtt", type=float, default=0.0, help="round-trip time in seconds, once TCP stands")
    parser.add_argument("--waits", action="store_true", help="what hosts wait for takes its time")
    parser.add_argument("--rollout", default="", help="keys of the inventory's [rollout], as TOML")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
