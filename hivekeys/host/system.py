"""The machine under an agent: processes, systemd, HTTP on loopback, clocks, and files that nobody can move under us.

Runs ON a host, in one text with agent.py. The token directory belongs to an unprivileged account, so root never follows
a path through it: a directory is opened without following links, and a file is reached through the directory's
descriptor.
"""

import errno
import grp
import os
import pwd
import re
import signal
import socket
import struct
import subprocess
import time

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

MAX_TOKEN_BYTES = 1 << 20  # the services' own limit (llama-orch.md, "How the token is loaded")
NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | NOFOLLOW
QUIET_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
SOCK_DIAG, ASK, ONE, DUMP, ERROR, DONE = 4, 20, 1, 0x301, 2, 3  # linux/netlink.h, linux/sock_diag.h
LISTENS = 10  # TCP_LISTEN
TAKEN = (1, 3)  # TCP_ESTABLISHED; TCP_SYN_RECV, in which a service that defers accept leaves a call
MAPPED = b"\0" * 10 + b"\xff\xff"
LOOPBACK = [before + b"\x7f\0\0\1" for before in (b"", MAPPED)]
REACHED = [*LOOPBACK, b"\0" * 4, MAPPED + b"\0" * 4, b"\0" * 16]


class Refusal(Exception):  # noqa: N818  an answer, not an error: the host will not do it, and says why
    """Why a step was not done: a trouble's name (hivekeys.causes) and a detail that holds no token."""

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

    def born(self, pid: int) -> "Optional[int]":
        """When a process started, in ticks since boot, or None: with the pid it names one process."""
        try:
            with open("/proc/%d/stat" % pid) as file:
                return int(file.read().rpartition(")")[2].split()[19])
        except (OSError, ValueError, IndexError):
            return None

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
        """Start and account of a process, and what its environment says of the token file, or None."""
        born = self.born(pid)
        try:
            uid = os.stat("/proc/%d" % pid).st_uid
            with open("/proc/%d/environ" % pid, "rb") as file:
                pairs = dict(pair.partition(b"=")[::2] for pair in file.read(MAX_TOKEN_BYTES).split(b"\0"))
        except OSError:
            return None
        if born is None:
            return None
        since_boot = time.clock_gettime(7)  # CLOCK_BOOTTIME, which Python 3.6 has no name for
        return {
            "born": born,
            "started": time.time() - since_boot + born / float(os.sysconf("SC_CLK_TCK")),
            "uid": uid,
            "reads": pairs.get(b"LLORCH_API_TOKEN_FILE", b"").decode("utf-8", "replace"),
            "env_token": b"LLORCH_API_TOKEN" in pairs,
        }

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
    ) -> "tuple[int, str]":
        """(HTTP status, "") of a GET on loopback, or (0, why not), within `timeout` seconds whatever comes.

        With `trusted`, the request is sent only if none but these accounts (uid) listen on the port once
        the connection stands, and one of them has its other end. A bare socket, not http.client: only the
        status line matters, http.client's limit is per read (a service that drips a byte at a time could hold
        us), and its import takes 20 ms.
        """
        end = self.monotonic() + timeout
        head = "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n" % (path, port)
        if token is not None:
            head += "Authorization: Bearer %s\r\n" % token
        data = b""
        try:
            with socket.create_connection(("127.0.0.1", port), max(timeout, 0.001)) as line:
                if trusted is not None:
                    listeners = self.listeners(port)  # before `holder`, which says why
                    refuse_strangers(port, listeners, trusted)
                    refuse_strangers(port, self.holder(line) or listeners, trusted)
                line.sendall((head + "\r\n").encode("ascii"))
                while b"\n" not in data and len(data) < 1024:
                    line.settimeout(max(end - self.monotonic(), 0.001))
                    more = line.recv(1024)
                    if not more:
                        break
                    data += more
        except socket.timeout:
            return 0, "no answer within %.0f s" % timeout
        except OSError as error:
            return 0, error.strerror or "no answer"
        found = re.match(rb"HTTP/1\.[01] (\d{3})\b", data)
        return (int(found.group(1)), "") if found else (0, "the answer is not HTTP")

    def listeners(self, port: int) -> "set[int]":
        """The accounts (uid) that listen where a call to 127.0.0.1:`port` could arrive."""
        ends = struct.pack("!H46x", port)
        try:
            found = [end for family in (socket.AF_INET, socket.AF_INET6) for end in asked_of_kernel(family, ends)]
        except OSError:
            found = read_in_proc(port)
        return {end[2] for end in found if end[1] in REACHED}

    def holder(self, line: "socket.socket") -> "set[int]":
        """The account (uid) that has the other end of a connection to 127.0.0.1; none while it waits for accept().

        Who listens now need not be who took the call: a stranger may accept it, and leave the port to the service. A
        call that waits is lost with its listener, so that is one of those who listened a moment before. OSError when
        there is no other end any more.
        """
        (_, here), (_, port) = line.getsockname(), line.getpeername()
        ends = struct.pack("!HH4s12x4s12xIQ", port, here, LOOPBACK[0], LOOPBACK[0], 0, (1 << 64) - 1)
        try:
            found = asked_of_kernel(socket.AF_INET, ends, ONE)
        except OSError:
            found = read_in_proc(port, here)
        taken = [end for end in found if end[0] in TAKEN]
        if not taken:
            raise OSError(errno.ECONNRESET, "the call was not taken")
        return {uid for _, _, uid, inode in taken if inode}


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


def asked_of_kernel(family: int, ends: bytes, flags: int = DUMP) -> "list[tuple[int, bytes, int, int]]":
    """(state, address, uid, inode) of TCP sockets; OSError where there is none, or the kernel has no sock_diag(7).

    `ends` (struct inet_diag_sockid) names ONE socket, or the port of all that listen. /proc/net/tcp says the same, but
    a read of it walks through the table of all connections: 8 ms on a machine with 24 GB of memory, and a proof asks
    three times who listens. An inode of 0: no process has the socket, because nobody has accepted it yet.
    """
    ask = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << LISTENS) + ends
    found = []  # type: list[tuple[int, bytes, int, int]]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as line:
        line.settimeout(1.0)
        line.send(struct.pack("=IHHII", 16 + len(ask), ASK, flags, 0, 0) + ask)
        while True:
            data = line.recv(1 << 16)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind in (ERROR, DONE):
                    code = struct.unpack_from("=i", data, 16)[0]
                    if code < 0:
                        raise OSError(-code, os.strerror(-code))
                    return found
                address = data[24 : 28 if data[16] == socket.AF_INET else 40]
                found.append((data[17], address, *struct.unpack_from("=II", data, 80)))
                if flags == ONE:
                    return found
                data = data[(size + 3) & ~3 :]


def read_in_proc(port: int, caller: int = 0) -> "list[tuple[int, bytes, int, int]]":
    """The same from /proc/net, of those that listen on a port, or of the end there of a call from another port.

    An address is words of 32 bits there, in this machine's byte order.
    """
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue  # a kernel without IPv6
        for row in rows:
            (near, here), (far, there) = (address_in_proc(text) for text in row[1:3])
            of_call = near in LOOPBACK and far in LOOPBACK if caller else row[3] == "%02X" % LISTENS
            if (here, there) == (port, caller) and of_call:
                found.append((int(row[3], 16), near, int(row[7]), int(row[9])))
    return found


def address_in_proc(text: str) -> "tuple[bytes, int]":
    words, _, port = text.partition(":")
    parts = [int(words[at : at + 8], 16) for at in range(0, len(words), 8)]
    return struct.pack("=%dI" % len(parts), *parts), int(port, 16)


def refuse_strangers(port: int, listeners: "set[int]", trusted: "frozenset[int]") -> None:
    """Raises unless somebody listens on the port, and only accounts that may hear the token."""
    if not listeners:
        raise Refusal("unhealthy", "nobody listens on port %d any more" % port)
    strangers = listeners - trusted
    if strangers:
        raise Refusal("fail-open", "port %d is held by another account (uid %d)" % (port, min(strangers)))


def open_directory(root: str, path: str) -> int:
    """A descriptor of the directory at `path` below `root`, no component of which is a link."""
    here = os.open(root, DIRECTORY)
    for part in path.strip("/").split("/"):
        try:
            below = os.open(part, DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def read_limited(fd: int, limit: int) -> "Optional[bytes]":
    """All bytes of a file, or None when it has more than `limit`."""
    data = b""
    while len(data) <= limit:
        more = os.read(fd, limit + 1 - len(data))
        if not more:
            return data
        data += more
    return None


def write_all(fd: int, data: bytes) -> None:
    """Every byte, on the disk."""
    while data:
        data = data[os.write(fd, data) :]
    os.fsync(fd)


def names_of(info: os.stat_result) -> "tuple[str, str]":
    """(owner, group) by name where the host has one, else by number."""
    try:
        owner = pwd.getpwuid(info.st_uid).pw_name
    except KeyError:
        owner = str(info.st_uid)
    try:
        group = grp.getgrgid(info.st_gid).gr_name
    except KeyError:
        group = str(info.st_gid)
    return owner, group
