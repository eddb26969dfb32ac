"""A lab as values: its hosts, where they are, what they run.

`Lab` is what `up` returns and what tests work with. Its folder, control group and bridge all follow from
its name, so that a lab whose memory is lost can still be taken down.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from hivekeys.errors import ExitCode, UserError
from hivekeys.lab import cgroup, guest, network

LABS = Path("/var/lib/hivekeys-lab")
RELEASES = {"bullseye": 247, "bookworm": 252, "trixie": 257}  # each with its systemd
UNIT = {"queen": "queen-rbee", "hive": "rbee-hive"}
PORT = {"queen": 8080, "hive": 8081}


class Units(StrEnum):
    """How a unit brings its service the token."""

    FILE = "file"  # the guide's unit: for services to come, which read the file themselves
    ENVIRONMENT_FILE = "environment-file"  # systemd reads a file of root's into the environment
    SHIM = "shim"  # a wrapper reads the file into the environment and becomes the service


class Accepts(StrEnum):
    """How many tokens the services take at a time, and where they find the further one."""

    ONE = "one"
    LINES = "lines"  # a list; the queen reads it anew by a reload, hives watch it
    PAIR = "pair"  # a second file; the queen reads it anew by a reload, hives by a signal
    FRONT = "front"  # one; `fab install --front` sets up what takes more

    @property
    def by_service(self) -> bool:
        """True where the services themselves take two."""
        return self in (Accepts.LINES, Accepts.PAIR)


@dataclass(frozen=True)
class Shape:
    """What was asked for. Two labs of one shape are alike but for their keys, tokens and addresses.

    A command is a program of this machine and its arguments, with `{port}` and `{database}` where those belong.
    """

    hives: int = 5
    releases: tuple[str, ...] = ("bookworm",)
    units: Units = Units.FILE
    queen_command: str = ""
    hive_command: str = ""
    accepts: Accepts = Accepts.ONE

    def apply(self, role: str) -> str:
        """How a service of that role learns of a changed file, as an inventory says it."""
        if not self.accepts.by_service:
            return "restart"
        return "reload" if role == "queen" else "watch" if self.accepts is Accepts.LINES else "signal"

    def command(self, role: str) -> str:
        """What runs instead of the stand-in, "" for the stand-in."""
        return self.queen_command if role == "queen" else self.hive_command

    @property
    def real(self) -> bool:
        """Whether real services run, of which the lab knows no health path."""
        return bool(self.queen_command or self.hive_command)


@dataclass(frozen=True)
class Host:
    """One host of a lab."""

    name: str
    role: str
    address: str
    release: str

    @property
    def unit(self) -> str:
        """The name of its service, without `.service`."""
        return UNIT[self.role]

    @property
    def port(self) -> int:
        """Where its service listens."""
        return PORT[self.role]


@dataclass(frozen=True)
class Lab:
    """A lab that was asked for: running, half built, or dead."""

    name: str
    shape: Shape
    subnet: str
    inventory: Path
    complete: bool = False
    hosts: Mapping[str, Host] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hosts", MappingProxyType({host.name: host for host in _hosts(self)}))

    @property
    def folder(self) -> Path:
        """Where everything of the lab lies on this machine."""
        return LABS / self.name

    @property
    def key(self) -> Path:
        """The private key of the account `deploy`."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The true host keys."""
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """With it any SSH client reaches the hosts by name."""
        return self.folder / "ssh_config"

    def host(self, name: str) -> Host:
        """The host of that name; an unknown name is a UserError."""
        if name not in self.hosts:
            raise UserError(f"lab {self.name!r} has no host {name!r}", hint=f"it has: {', '.join(self.hosts)}")
        return self.hosts[name]

    def running(self, name: str) -> bool:
        """Whether the host has a PID 1."""
        return cgroup.first_process(self.name, self.host(name).name) is not None

    def run(
        self, name: str, argv: Sequence[str], *, text: str | None = None, timeout: float = 120, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the host as root, not over SSH, so that it works whatever SSH does there.

        Raises subprocess.TimeoutExpired (and has ended the program then), and UserError when the host does
        not run, or when `check` is set and the program failed.
        """
        pid = cgroup.first_process(self.name, self.host(name).name)
        if pid is None:
            raise UserError(f"host {name!r} of lab {self.name!r} does not run", hint="fab lab.up builds it anew")
        done = guest.run(pid, argv, text=text, timeout=timeout)
        if check and done.returncode != 0:
            words = done.stderr.strip() or f"exit code {done.returncode}"
            raise UserError(f"{name}: {' '.join(argv)}: {words}", code=ExitCode.INCOMPLETE)
        return done

    def sh(self, name: str, script: str, *, timeout: float = 120) -> str:
        """Run a shell script on the host as root and return what it printed; a failure is a UserError."""
        return self.run(name, ["sh", "-euc", script], timeout=timeout, check=True).stdout

    def read(self, name: str, path: str) -> str:
        """The text of a file on the host."""
        return self.run(name, ["cat", path], check=True).stdout

    def write(self, name: str, path: str, text: str, *, mode: int = 0o644, owner: str = "root:root") -> None:
        """Put a file on the host, whole or not at all."""
        script = 'umask 077; cat >"$1.lab"; chown "$3" "$1.lab"; chmod "$2" "$1.lab"; mv -f "$1.lab" "$1"'
        self.run(name, ["sh", "-euc", script, "sh", path, f"{mode:o}", owner], text=text, check=True)


def _hosts(lab: Lab) -> list[Host]:
    """The queen first, then the hives; the releases take turns."""
    names = ["queen", *(f"hive{i}" for i in range(1, lab.shape.hives + 1))]
    places = zip(names, network.addresses(lab.subnet, len(names)), strict=True)
    releases = lab.shape.releases
    return [
        Host(name, "hive" if i else "queen", address, releases[i % len(releases)])
        for i, (name, address) in enumerate(places)
    ]
