"""The machine below the agent: processes, systemd, HTTP on loopback, clocks.

Runs ON a host, in one text with agent.py.
"""

import errno
import os
import re
import signal
import socket
import struct
import subprocess
import time

from hivekeys.host.paths import is_same_file, open_controlled
from hivekeys.host.sockets import (
    ONE,
    TAKEN,
    asked_of_kernel,
    forms_of,
    is_own_address,
    read_in_proc,
    sockets_of,
    unix_listening,
    where_to_ask,
)

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from hivekeys.host.tls import Tls

MAX_TOKEN_BYTES = 1 << 20  # the limit of the services themselves (llama-orch.md, How the token is loaded)
LOCALHOST = "127.0.0.1"
UNIX = "unix:"  # before the path of a socket, where an address is expected
QUIET_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
BOOTTIME = 7  # the clock that births are counted on; Python 3.6 has no name for it
CGROUPS = ("sys/fs/cgroup/unified", "sys/fs/cgroup/systemd", "sys/fs/cgroup")  # hybrid, version 1, version 2


class Refusal(Exception):  # noqa: N818  an answer, not an error: the host will not do it, and says why
    """Why a step was not done: a trouble's name (hivekeys.protocol.causes) and a detail that holds no token."""

    def __init__(self, trouble: str, detail: str = "") -> None:
        super().__init__(trouble, detail)
        self.trouble = trouble
        self.detail = detail
        self.facts = {}  # type: dict[str, Any]


class System:
    """The machine around our files: processes, systemd, HTTP, clocks. Tests replace it."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on a clock that only goes forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def pid(self) -> int:
        return os.getpid()

    def space(self, fd: int) -> os.statvfs_result:
        """What is left on an open directory's file system."""
        return os.fstatvfs(fd)

    def born(self, pid: int) -> "Optional[int]":
        """When a process started, in ticks since boot, or None: with the pid it names one process."""
        shown = self.stat(pid)
        return int(shown["born"]) if shown else None

    def stat(self, pid: int) -> "Optional[dict[str, Any]]":
        """A process's command name, parent, birth (ticks since boot) and age (seconds); None where none lives.

        One that has ended, and waits for its parent to notice, does nothing any more.
        """
        try:
            with open("/proc/%d/stat" % pid, errors="replace") as file:
                before, _, after = file.read().rpartition(")")
            fields = after.split()
            born = int(fields[19])
        except (OSError, ValueError, IndexError):
            return None
        if fields[0] in "ZX":
            return None
        comm = "".join(char if char.isprintable() else "?" for char in before.partition("(")[2])
        return {
            "comm": comm,
            "parent": int(fields[1]),
            "born": born,
            "age": time.clock_gettime(BOOTTIME) - born / float(os.sysconf("SC_CLK_TCK")),
        }

    def is_relayed(self) -> bool:
        """Whether a sudo above us hands our line on, instead of having given us its own."""
        pid, above = os.getppid(), 0
        while (self.stat(pid) or {}).get("comm") == "sudo":
            above, pid = pid, self.stat(pid)["parent"]  # type: ignore[index]  # it is there a moment ago
        return bool(above) and any(not is_same_file("/proc/%d/fd/%d" % (above, end), end) for end in (0, 1))

    def outlives(self, pid: int, number: int) -> bool:
        """True for a process that a signal need not end: it catches, ignores or blocks it."""
        try:
            with open("/proc/%d/status" % pid) as lines:
                masks = [int(line.split()[1], 16) for line in lines if line[:7] in ("SigBlk:", "SigIgn:", "SigCgt:")]
        except (OSError, ValueError, IndexError):
            return False
        return any(mask >> (number - 1) & 1 for mask in masks)

    def members(self, cgroup: str, root: str = "/") -> "Optional[list[int]]":
        """The processes of a control group and of those below it; None where it cannot be seen."""
        for top in CGROUPS if cgroup else ():
            folder = "%s%s%s" % (root, top, cgroup)
            if os.path.isdir(folder):
                return [pid for here, _, _ in os.walk(folder) for pid in processes_in(here + "/cgroup.procs")]
        return None if cgroup else []

    def machine(self) -> bytes:
        """What no other machine that runs now says of itself, b"" where it cannot be read.

        The machine's id alone is not enough: images are cloned with it. Nor is that of the boot: containers share their
        kernel's. So both, and the namespace of our processes.
        """
        try:
            said = [os.readlink("/proc/self/ns/pid").encode()]
            for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
                with open(path, "rb") as file:
                    said.append(file.read(100).strip())
        except OSError:
            return b""
        return b"\n".join(said) if all(said) else b""

    def terminate(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass

    def kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def process(self, pid: int) -> "Optional[dict[str, Any]]":
        """What `stat` says of a process, its account, and what its environment says of the token; None without one.

        The token itself is for comparing, and never leaves the agent.
        """
        shown = self.stat(pid)
        try:
            uid = os.stat("/proc/%d" % pid).st_uid
            with open("/proc/%d/environ" % pid, "rb") as file:
                pairs = dict(pair.partition(b"=")[::2] for pair in file.read(MAX_TOKEN_BYTES).split(b"\0"))
        except OSError:
            return None
        if shown is None:
            return None
        return dict(
            shown,
            started=time.time() - shown["age"],
            uid=uid,
            reads=pairs.get(b"LLORCH_API_TOKEN_FILE", b"").decode("utf-8", "replace"),
            env_token=b"LLORCH_API_TOKEN" in pairs,
            token=pairs.get(b"LLORCH_API_TOKEN", b"").strip().decode("latin-1"),
        )

    def run(self, argv: "list[str]", timeout: float) -> "tuple[int, str]":
        """(exit code, output) of a command; code 124 when it did not end in `timeout` seconds."""
        try:
            process = started(argv)
        except OSError as error:
            return 127, "%s: %s" % (argv[0], error.strerror)
        with process:
            try:
                output = process.communicate(timeout=timeout)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its helpers too, or they would hold the pipe
                return 124, "%s did not answer within %.0f s" % (argv[0], timeout)
        return process.returncode, output.decode("utf-8", "replace")

    def get(
        self,
        port: int,
        path: str,
        token: "Optional[str]",
        timeout: float,
        trusted: "Optional[frozenset[int]]" = None,
        address: str = LOCALHOST,
        tls: "Optional[Tls]" = None,
    ) -> "tuple[int, str]":
        """(HTTP status, "") of a GET on this machine, or (0, why not): see `fetch`; only the status line matters."""
        data, why = self.fetch("GET %s HTTP/1.1" % path, port, token, timeout, trusted, address, tls, 1024, b"\n")
        found = re.match(rb"HTTP/1\.[01] (\d{3})\b", data)
        return (int(found.group(1)), "") if found else (0, why or "the answer is not HTTP")

    def fetch(
        self,
        request: str,
        port: int,
        token: "Optional[str]",
        timeout: float,
        trusted: "Optional[frozenset[int]]",
        address: str,
        tls: "Optional[Tls]",
        most: int,
        until: "Optional[bytes]" = None,
    ) -> "tuple[bytes, str]":
        """(answer, "") to a request on this machine, or (b"", why not), within `timeout` seconds whatever comes.

        `request`: its first line. No more is read when `most` bytes are there, or `until` is among them.
        `address`: in numbers, or "unix:" and the path of a socket, which has no port. With `trusted`, the request is
        sent only if none but these accounts (uid) listen there once the connection stands, and one of them has its
        other end; before anything of TLS is said. A bare socket, not http.client: http.client's limit is per read (a
        service that drips a byte at a time could hold us), and its import takes 20 ms.
        """
        end = self.monotonic() + timeout
        data = b""
        try:
            line = self.called(request, port, token, timeout, trusted, address, tls)
            try:
                while len(data) < most and (until is None or until not in data):
                    line.settimeout(max(end - self.monotonic(), 0.001))
                    more = line.recv(1024 if until else 1 << 16)
                    if not more:
                        break
                    data += more
            finally:
                line.close()
        except socket.timeout:
            return b"", "no answer within %.0f s" % timeout
        except OSError as error:
            return b"", error.strerror or "no answer"
        return data, ""

    def called(
        self,
        request: str,
        port: int,
        token: "Optional[str]",
        timeout: float,
        trusted: "Optional[frozenset[int]]",
        address: str,
        tls: "Optional[Tls]",
    ) -> "socket.socket":
        """The connection on which the request was sent: see `fetch`. OSError where it was not."""
        end = self.monotonic() + timeout
        name = "[%s]:%d" % (address.partition("%")[0], port) if ":" in address else "%s:%d" % (address, port)
        name = "localhost" if address.startswith(UNIX) else name
        head = "%s\r\nHost: %s\r\nConnection: close\r\n" % (request, name)
        if token is not None:
            head += "Authorization: Bearer %s\r\n" % token
        line = connected(address, port, timeout)
        try:
            if trusted is not None:
                self.refuse_strangers_on(line, port, address, trusted)
            line.settimeout(max(end - self.monotonic(), 0.001))
            line = tls.over(line) if tls else line
            line.sendall((head + "\r\n").encode("ascii"))
        except BaseException:
            line.close()
            raise
        return line

    def refuse_strangers_on(self, line: "socket.socket", port: int, address: str, trusted: "frozenset[int]") -> None:
        """Raises where the other end of a call is not in the hands of these accounts alone.

        Of a Unix socket the kernel says whose it is: of the call itself, so nobody can have come in between.
        """
        where = place_of(address, port)
        if line.family == socket.AF_UNIX:
            return refuse_strangers(where, {uid_behind(line)}, trusted)
        listeners = self.listeners(port, address)  # before `holder`, which says why
        refuse_strangers(where, listeners, trusted)
        return refuse_strangers(where, self.holder(line) or listeners, trusted)

    def listeners(self, port: int, address: str = LOCALHOST) -> "set[int]":
        """The accounts (uid) that listen where a call to `address` and `port` could arrive."""
        if address.startswith(UNIX):
            try:
                with connected(address, port, 1.0) as line:
                    return {uid_behind(line)}
            except OSError:
                return set()
        reached = [*forms_of(address), *forms_of("::" if ":" in address else "0.0.0.0"), b"\0" * 16]  # noqa: S104
        return {uid for _, found, _, uid, _ in self.listening(port) if found in reached}

    def is_own(self, address: str) -> bool:
        """True for an address of this machine."""
        return is_own_address(address)

    def sockets(self, pid: int) -> "set[int]":
        """The inodes of the sockets that a process holds."""
        return sockets_of(pid)

    def unix_listening(self) -> "list[tuple[int, str]]":
        """(inode, path) of every Unix socket that listens at a path."""
        return unix_listening()

    def places(self, pids: "Sequence[int]") -> "list[tuple[str, int]]":
        """(address, port) at which these processes are reached; of a Unix socket ("unix:" and its path, 0)."""
        inodes = {inode for pid in pids for inode in self.sockets(pid)}
        found = {(where_to_ask(packed), port) for _, packed, port, _, inode in self.listening() if inode in inodes}
        paths = [(UNIX + path, 0) for inode, path in self.unix_listening() if inode in inodes]
        return [*sorted(found), *sorted(paths)]

    def listening(self, port: int = 0) -> "list[tuple[int, bytes, int, int, int]]":
        """Every TCP socket that listens, on one port or on any: see `asked_of_kernel`."""
        ends = struct.pack("!H46x", port)
        try:
            return [end for family in (socket.AF_INET, socket.AF_INET6) for end in asked_of_kernel(family, ends)]
        except OSError:
            return read_in_proc(port)

    def holder(self, line: "socket.socket") -> "set[int]":
        """The account (uid) that has the other end of a connection on this machine; none while it waits for accept().

        Who listens now need not be who took the call: a stranger may accept it, and leave the port to the service. A
        call that waits is lost with its listener, so that is one of those who listened a moment before. OSError when
        there is no other end here any more.
        """
        near, far = line.getsockname(), line.getpeername()
        packed = [forms_of(end[0])[0].ljust(16, b"\0") for end in (far, near)]
        zone = struct.pack("=I", far[3] if len(far) > 2 else 0)
        ends = struct.pack("!HH", far[1], near[1]) + b"".join(packed) + zone + b"\xff" * 8
        try:
            found = asked_of_kernel(line.family, ends, ONE)
        except OSError:
            found = read_in_proc(far[1], near[1], [*forms_of(far[0]), *forms_of(near[0])])
        taken = [end for end in found if end[0] in TAKEN]
        if not taken:
            raise OSError(errno.ECONNRESET, "the call was not taken")
        return {uid for _, _, _, uid, inode in taken if inode}


def processes_in(path: str) -> "list[int]":
    """What a cgroup.procs lists; [] for a group that has just gone, or whose threads are listed above it."""
    try:
        with open(path) as file:
            return [int(line) for line in file]
    except OSError:
        return []


def started(argv: "list[str]") -> "subprocess.Popen[bytes]":
    """A command that reads nothing and says all on one pipe; the leader of a group, to be killed with its helpers."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=QUIET_ENV,
        start_new_session=True,
    )


def connected(address: str, port: int, timeout: float) -> "socket.socket":
    """A connection within this machine. The way to a Unix socket is gone as root goes any: see `open_controlled`."""
    if not address.startswith(UNIX):
        return socket.create_connection((address, port), max(timeout, 0.001))
    fd = open_controlled("/", address[len(UNIX) :], how=os.O_PATH)
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(max(timeout, 0.001))
        line.connect("/proc/self/fd/%d" % fd)
    except BaseException:
        line.close()
        raise
    finally:
        os.close(fd)
    return line


def uid_behind(line: "socket.socket") -> int:
    """The account that listens behind a Unix socket, by the connection itself (unix(7), SO_PEERCRED)."""
    return int(struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def place_of(address: str, port: int) -> str:
    """Where a service listens, for people: "10.0.0.11:8081", or the path of a socket."""
    if address.startswith(UNIX):
        return address[len(UNIX) :]
    return ("[%s]:%d" if ":" in address else "%s:%d") % (address, port)


def refuse_strangers(where: str, listeners: "set[int]", trusted: "frozenset[int]") -> None:
    """Raises unless a process listens there, and only processes of accounts that may get the token."""
    if not listeners:
        raise Refusal("unhealthy", "nothing listens on %s now" % where)
    strangers = listeners - trusted
    if strangers:
        raise Refusal("fail-open", "%s is held by another account (uid %d)" % (where, min(strangers)))
