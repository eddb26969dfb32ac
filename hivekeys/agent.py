"""hivekeys' agent: this file runs ON a host, as root, sent as text over SSH; installed only where gate.py guards it.

Standard library only, Python 3.6 and up; nothing imports it but its tests. It reads one JSON request a line from
stdin, carries out the request's steps in order, stops at the first that fails, and answers one JSON line. A token
arrives on stdin and leaves only into its file, into calls to the service on loopback, and to the run that holds the
host's lock and names it by its keyed fingerprint (`recall`).

The token directory belongs to an unprivileged account, so root never follows a path through it: a directory is opened
without following links, a file is reached through the directory's descriptor, and one that is not the service's own
is never taken for a token, or that account could have root read any secret to it.

Annotations are quoted and `typing` is not imported: Python 3.6 lacks their newer forms, and an import is paid for on
every host.
"""

import errno
import fcntl
import functools
import grp
import hashlib
import hmac
import json
import os
import pwd
import queue
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Iterable, Optional, Sequence

STATE = "var/lib/hivekeys"
CREDENTIALS = "run/credentials"  # systemd.exec(5), "LoadCredential="
MAX_TOKEN_BYTES = 1 << 20  # the services' own limit (llama-orch.md, "How the token is loaded")
MIN_TOKEN_CHARS = 64  # guide.md, "Verify token length"
MAX_TOKEN_CHARS = 4096  # what fits a header; longer ones cannot be proven
CALL_SECONDS = 5.0
LEASE_SECONDS = 30.0  # the bastion is heard every ten, or it is gone and its lock with us (hivekeys.line.BEAT)
AHEAD = 16  # lines that may lie unread: a bastion waits for the answer to each request
NAME_SECONDS = 1.0  # how long a lock may be held before its holder has signed it
POLL_SECONDS = 0.05  # between two calls to a service that is not healthy yet: loopback, no process
LOOK_SECONDS = 1.0  # between two looks at a unit whose process lives: `systemctl show` is a process
RECENT_SECONDS = (
    2.0  # `observe` shows a look at a unit that is no older, while its process lives and we did not move it
)
MOVING = ("restart", "fence", "fix", "install", "uninstall")  # verbs after which a unit is another
NEVER = float("-inf")
GRACE_SECONDS = 3.0  # for the last look after a step that used up the request's time
NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | NOFOLLOW
SHOWN = "LoadState,ActiveState,SubState,Result,MainPID,NRestarts,InvocationID,Environment"
QUIET_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
NO_RUN = {"epoch": 0, "run": "", "who": ""}  # type: dict[str, Any]
JOURNAL = ["journalctl", "--no-pager", "--quiet", "--output=cat"]


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

    def terminate(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGTERM)
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
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=QUIET_ENV,
                start_new_session=True,
            )
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
        the connection stands. A bare socket, not http.client: only the status line matters, http.client's
        limit is per read (a service that drips a byte at a time could hold us), and its import takes 20 ms.
        """
        end = self.monotonic() + timeout
        head = "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n" % (path, port)
        if token is not None:
            head += "Authorization: Bearer %s\r\n" % token
        data = b""
        try:
            with socket.create_connection(("127.0.0.1", port), max(timeout, 0.001)) as line:
                if trusted is not None:
                    refuse_strangers(port, self.listeners(port), trusted)
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
        here = "%08X" % int.from_bytes(socket.inet_aton("127.0.0.1"), sys.byteorder)
        mapped = "0" * 16 + "%08X" % int.from_bytes(b"\0\0\xff\xff", sys.byteorder) + here
        uids = set()
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            try:
                with open(table) as lines:
                    rows = [line.split() for line in lines][1:]
            except OSError:
                continue  # a kernel without IPv6
            for row in rows:
                address, _, number = row[1].partition(":")
                reaches = address in (here, mapped) or not address.strip("0")
                if row[3] == "0A" and int(number, 16) == port and reaches:
                    uids.add(int(row[7]))
        return uids


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


def is_token(text: str) -> bool:
    """Printable ASCII without blanks, not longer than a header can carry."""
    return 0 < len(text) <= MAX_TOKEN_CHARS and all("!" <= char <= "~" for char in text)


class Secrets:
    """The token directory of one service, and the three slots in it."""

    def __init__(self, root: str, service: "dict[str, Any]", key: bytes) -> None:
        self.root = root
        self.folder, self.active = os.path.split(service["token"])
        self.staged = self.active + ".new"
        self.previous = self.active + ".backup"
        self.scratch = "." + self.active + ".hivekeys"
        self.service = service
        self.key = key
        self.known = {}  # type: dict[str, str]  # keyed fingerprint -> token, for proofs and the way back; memory only
        self.revoked = {}  # type: dict[str, str]  # keyed fingerprint -> the run that revoked it, as the bastion says
        self.tombstones = []  # type: list[dict[str, str]]  # what this host remembers itself

    def open(self) -> int:
        """The directory's descriptor, or a refusal that says what is wrong with the path."""
        try:
            return open_directory(self.root, self.folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refusal(
                    "token-unsafe", "%s: a part of the path is a link or no directory" % self.folder
                ) from None
            if error.errno == errno.ENOENT:
                raise Refusal("token-missing", "%s does not exist" % self.folder) from None
            raise Refusal("token-unsafe", "%s: %s" % (self.folder, error.strerror)) from None

    def open_to_write(self) -> int:
        """As `open`, for a directory in which only root and the service's account can exchange files."""
        folder = self.open()
        info = os.fstat(folder)
        open_to = stat.S_IMODE(info.st_mode) & 0o022 & ~self.service["directory_mode"]
        if info.st_uid not in (0, self.account()[0]) or open_to:
            os.close(folder)
            owner = names_of(info)[0]
            raise Refusal("token-unsafe", "%s is %s's and %04o" % (self.folder, owner, stat.S_IMODE(info.st_mode)))
        return folder

    def account(self) -> "tuple[int, int]":
        """(uid, gid) that the token file belongs to."""
        try:
            return pwd.getpwnam(self.service["owner"]).pw_uid, grp.getgrnam(self.service["group"]).gr_gid
        except KeyError as error:
            raise Refusal("account-missing", str(error).strip("'\"")) from None

    def remember(self, token: str) -> "dict[str, str]":
        """The token's fingerprint; proofs and the way back may use the token from now on."""
        shown = self.fingerprint(token)
        self.known[shown["keyed"]] = token
        return shown

    def fingerprint(self, token: str) -> "dict[str, str]":
        """{"keyed", "fp6"} as hivekeys.token.Token.fingerprint makes them."""
        data = token.encode("ascii")
        keyed = hmac.new(self.key, data, hashlib.sha256).hexdigest()
        return {"keyed": keyed, "fp6": hashlib.sha256(data).hexdigest()[:6]}

    def revoked_by(self, token: str) -> str:
        """The run that revoked this token, "" for one that may be used: asked before it is written anywhere."""
        told = self.revoked.get(self.fingerprint(token)["keyed"], "")
        return told or next((stone["run"] for stone in self.tombstones if is_under(stone, token)), "")

    def refuse_revoked(self, token: str) -> None:
        """Raises for a token that leaked once: nothing may bring it back (openbao/openbao#522)."""
        run = self.revoked_by(token)
        if run:
            raise Refusal("revoked", "run %s revoked this token" % run)

    def look(self, folder: int, name: str) -> "Optional[dict[str, Any]]":
        """What a slot shows, or None when there is no such file. Opens no device, pipe or link.

        Only a regular file of the service's own account is read: with a hard link to a file of root's (where
        `protected_hardlinks` is off) the account could otherwise have its content brought to the service.
        """
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            fault = "is a link" if error.errno == errno.ELOOP else "cannot be read: %s" % error.strerror
            return {"fault": fault, "fingerprint": None, "regular": False}
        try:
            info = os.fstat(fd)
            shown = describe(info)
            shown["regular"] = stat.S_ISREG(info.st_mode)
            if not shown["regular"]:
                shown["fault"] = "is no regular file"
            elif info.st_uid != self.account()[0]:
                shown["fault"] = "belongs to %s, not to %s" % (shown["owner"], self.service["owner"])
            else:
                text, shown["fault"] = read_token(fd)
                if text:
                    shown["fingerprint"] = self.remember(text)
                    shown["revoked"] = self.revoked_by(text)
        finally:
            os.close(fd)
        return shown

    def credential(self, name: str) -> "Optional[dict[str, str]]":
        """The fingerprint of the copy that systemd gave the running process, None when none can be read.

        `name` comes from the service's environment: never a path. The token is not remembered, because
        systemd makes the copy as root, of whatever stood at the path.
        """
        if not name or "/" in name or name in (".", ".."):
            return None
        try:
            folder = open_directory(self.root, "%s/%s" % (CREDENTIALS, self.service["unit"]))
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
            finally:
                os.close(folder)
            try:
                text = read_token(fd)[0]
            finally:
                os.close(fd)
        except OSError:
            return None
        return self.fingerprint(text) if text else None

    def holds(self, folder: int, name: str, want: str) -> bool:
        """True when the slot holds the token whose keyed fingerprint is `want`."""
        shown = self.look(folder, name)
        return bool(shown and shown["fingerprint"] and shown["fingerprint"]["keyed"] == want)

    def ready(self, folder: int, name: str, want: str) -> bool:
        """As `holds`, and with the mode, owner and group that the service needs."""
        shown = self.look(folder, name)
        if not shown or not shown["fingerprint"] or shown["fingerprint"]["keyed"] != want:
            return False
        return all(shown[part] == self.service[part] for part in ("mode", "owner", "group"))

    def create(self, folder: int, name: str, data: bytes) -> None:
        """A new file with owner and mode right before its first byte; the caller renames it into place."""
        uid, gid = self.account()
        self.remove(folder, name)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o600, dir_fd=folder)
        try:
            os.fchown(fd, uid, gid)
            os.fchmod(fd, self.service["mode"])
            write_all(fd, data)
        finally:
            os.close(fd)

    def remove(self, folder: int, name: str) -> bool:
        """True when there was such a file; what is there is unlinked, never followed."""
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        return True

    def rename(self, folder: int, name: str, target: str) -> None:
        """One slot's file becomes another's, on the disk."""
        os.rename(name, target, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)

    def link(self, folder: int, name: str, target: str) -> None:
        """A second name for a slot's file."""
        os.link(name, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)

    def put(self, folder: int, name: str, token: str) -> None:
        """The token in the slot, whole or not at all, and read back."""
        self.refuse_revoked(token)
        self.create(folder, self.scratch, token.encode("ascii") + b"\n")
        self.rename(folder, self.scratch, name)
        if not self.ready(folder, name, self.remember(token)["keyed"]):
            raise Refusal("slot-changed", "%s is not what was just written" % name)

    def keep_previous(self, folder: int) -> None:
        """Hard-links active to previous; there is no moment without an active file."""
        self.link(folder, self.active, self.scratch)
        self.rename(folder, self.scratch, self.previous)
        self.remove(folder, self.scratch)  # a rename of two links to one file does nothing


def is_under(stone: "dict[str, str]", token: str) -> bool:
    """True when this tombstone is the token's."""
    digest = hmac.new(bytes.fromhex(stone["salt"]), token.encode("ascii"), hashlib.sha256).hexdigest()
    return hmac.compare_digest(digest, stone["digest"])


def describe(info: os.stat_result) -> "dict[str, Any]":
    """What a look shows of any file, whatever is in it."""
    owner, group = names_of(info)
    return {
        "mode": stat.S_IMODE(info.st_mode),
        "owner": owner,
        "group": group,
        "size": info.st_size,
        "modified": info.st_mtime,
        "changed": info.st_ctime,
        "fault": "",
        "fingerprint": None,
        "revoked": "",
    }


def read_token(fd: int) -> "tuple[str, str]":
    """(token, "") of an open file as the services would read it, or ("", what is wrong with it)."""
    data = read_limited(fd, MAX_TOKEN_BYTES)
    if data is None:
        return "", "is larger than 1 MiB"
    text = data.strip(b" \t\r\n").decode("latin-1")
    if not text:
        return "", "is empty"
    if not is_token(text):
        return "", "holds no token: blanks, control characters, or over %d characters" % MAX_TOKEN_CHARS
    return text, ""


class State:
    """hivekeys' own directory on the host, root's and 0700: whose fleet it is, and which run is at work.

    The lock dies with the agent that holds it: flock, released by the kernel.
    """

    def __init__(self, root: str, system: System) -> None:
        self.root = root
        self.system = system
        self.lock = None  # type: Optional[int]

    def open(self, create: bool) -> "Optional[int]":
        """The directory's descriptor; None when it does not exist and may not be made."""
        parent, name = os.path.split(STATE)
        above = open_directory(self.root, parent)
        try:
            if create:
                try:
                    os.mkdir(name, 0o700, dir_fd=above)
                except FileExistsError:
                    pass
            try:
                folder = os.open(name, DIRECTORY, dir_fd=above)
            except FileNotFoundError:
                return None
        finally:
            os.close(above)
        info = os.fstat(folder)
        if info.st_uid != os.geteuid() or info.st_mode & 0o077:
            os.close(folder)
            raise Refusal("token-unsafe", "/%s must be root's and 0700" % STATE)
        return folder

    def read(self, folder: int, name: str) -> str:
        """The text of a file, "" when it is not there."""
        try:
            fd = os.open(name, os.O_RDONLY | NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            return ""
        try:
            return (read_limited(fd, 65536) or b"").decode("utf-8", "replace").strip()
        finally:
            os.close(fd)

    def write(self, folder: int, name: str, text: str) -> None:
        """The text in a file, whole or not at all."""
        scratch = "." + name
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOFOLLOW, 0o600, dir_fd=folder)
        try:
            write_all(fd, text.encode("utf-8") + b"\n")
        finally:
            os.close(fd)
        os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)

    def take_lock(self, folder: int, run: str, who: str, patience: "Agent") -> None:
        """The lock, or a refusal that names its holder. An agent left behind by this run is told to leave."""
        self.release()
        lock = os.open("lock", os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600, dir_fd=folder)
        try:
            self.wait_for(lock, run, patience)
            pid = self.system.pid()
            mine = {"run": run, "who": who, "pid": pid, "born": self.system.born(pid), "since": self.system.now()}
            last = self.holder(lock)
            if (last.get("run"), last.get("pid"), last.get("born")) == (run, pid, mine["born"]):
                mine["since"] = last.get("since", mine["since"])  # greeted anew: it is the same work
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps(mine).encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        self.lock = lock

    def wait_for(self, lock: int, run: str, patience: "Agent") -> None:
        """Takes the flock; waits only for an agent of the same run, until the request's deadline."""
        told = False
        named = self.system.monotonic() + NAME_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = self.holder(lock)
            lives = self.is_alive(holder)
            if not lives and self.system.monotonic() < named:
                patience.pause(POLL_SECONDS)  # whoever has just taken it has not signed yet: the name is another's
                continue
            if holder.get("run") != run or patience.left() <= 0:
                raise Refusal("host-busy", self.described(holder))
            if not told and lives:
                self.system.terminate(holder["pid"])
                told = True
            patience.pause(POLL_SECONDS)

    def holder(self, lock: int) -> "dict[str, Any]":
        """Who wrote itself into the lock; {} when that is not (yet) to be read."""
        try:
            found = json.loads(os.pread(lock, 65536, 0).decode())
        except ValueError:
            return {}
        sound = isinstance(found, dict) and isinstance(found.get("pid"), int) and found["pid"] > 1
        return found if sound else {}

    def is_alive(self, holder: "dict[str, Any]") -> bool:
        """True while the process that wrote itself into the lock is there."""
        return bool(holder) and self.system.born(holder["pid"]) == holder.get("born")

    def at_work(self) -> "dict[str, Any]":
        """Who else has the host's lock; {} for nobody. It is not tried: that could turn a run away at that moment."""
        folder = self.open(create=False)
        if folder is None:
            return {}
        try:
            lock = os.open("lock", os.O_RDONLY | NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            return {}
        finally:
            os.close(folder)
        try:
            holder = self.holder(lock)
        finally:
            os.close(lock)
        return holder if self.is_alive(holder) and holder["pid"] != self.system.pid() else {}

    def described(self, holder: "dict[str, Any]") -> str:
        """The holder in words: which run, whose, and since when by this host's clock."""
        if not holder:
            return "another run"
        said, since = "run %s of %s" % (holder.get("run"), holder.get("who")), holder.get("since")
        if not isinstance(since, (int, float)):
            return said
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(since))
        return "%s, at work for %.0f s, since %s UTC by the host's clock" % (
            said,
            max(self.system.now() - since, 0.0),
            began,
        )

    def last_run(self, folder: int) -> "dict[str, Any]":
        """The last run that wrote here: its epoch, id and operator; epoch 0 when there was none."""
        text = self.read(folder, "run")
        try:
            found = dict(NO_RUN, **json.loads(text)) if text else NO_RUN
            return {"epoch": int(found["epoch"]), "run": str(found["run"]), "who": str(found["who"])}
        except (ValueError, TypeError):
            raise Refusal("token-unsafe", "/%s/run is not what hivekeys writes" % STATE) from None

    def tombstones(self, folder: int) -> "list[dict[str, str]]":
        """The tokens that leaked once, as salted digests: whoever reads the file learns none of them."""
        try:
            found = json.loads(self.read(folder, "tombstones") or "[]")
            stones = [{part: str(stone[part]) for part in ("salt", "digest", "run")} for stone in found]
            for stone in stones:
                bytes.fromhex(stone["salt"])
            return stones
        except (ValueError, TypeError, KeyError):
            raise Refusal("token-unsafe", "/%s/tombstones is not what hivekeys writes" % STATE) from None

    def begin(self, folder: int, last: "dict[str, Any]", mine: "dict[str, Any]") -> None:
        """Notes that `mine` writes here now; refuses it when a newer run did (hashicorp/vault#844)."""
        same = last["epoch"] == mine["epoch"] != 0 and last["run"] != mine["run"]
        if last["epoch"] > mine["epoch"] or same:
            raise Refusal("superseded", "run %(run)s of %(who)s" % last)
        if last != mine:
            self.write(folder, "run", json.dumps(mine))

    def release(self) -> None:
        """Gives the lock up, if it is held."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def environment_of(shown: str) -> "dict[str, str]":
    """The variables in systemctl's `Environment=`; one with blanks stands in quotes, with backslashes."""
    pairs = {}
    for quoted, plain in re.findall(r'\$?["\']((?:[^"\'\\]|\\.)*)["\'](?=\s|$)|(\S+)', shown):
        name, _, value = (re.sub(r"\\(.)", r"\1", quoted) or plain).partition("=")
        pairs[name] = value
    return pairs


class Agent:
    """The verbs. Each takes its step's fields and returns (changed, facts) or raises Refusal."""

    def __init__(
        self, root: str = "/", system: "Optional[System]" = None, secrets_type: "Callable[..., Secrets]" = Secrets
    ) -> None:
        self.root = root
        self.system = system or System()
        self.secrets_type = secrets_type
        self.state = State(root, self.system)
        self.gone = threading.Event()  # nobody waits for an answer any more: begin nothing, wait for nothing
        self.end = 0.0
        self.installed = False  # gate.py stands before it
        self.known = {}  # type: dict[str, str]  # outlives a second greeting, or the way back would be forgotten
        self.last_unit, self.unit_at = {}, NEVER  # type: dict[str, Any], float
        self.last_file, self.file_at = "", NEVER

    # -- the session

    def hello(
        self,
        *,
        fleet: str,
        key: str,
        service: "dict[str, Any]",
        run: str,
        write: bool,
        who: str,
        epoch: int = 0,
        claim: bool = True,
        tokens: "Iterable[str]" = (),
        revoked: "Optional[dict[str, str]]" = None,
    ) -> "tuple[bool, dict[str, Any]]":
        """Begins a session: whose fleet, which service. `write` takes the host's lock, else it is let go.

        A run whose `epoch` is lower than the last one's that wrote here comes too late and is refused. Work that
        is no rotation does not `claim` the host: it takes the lock and leaves the order of runs as it is.
        `tokens` are made known for proofs and for the way back; none of them is written. `revoked` maps the keyed
        fingerprints of tokens that leaked to the runs that revoked them: none is written again.
        """
        self.fleet = fleet
        self.service = service
        self.run = run
        self.secrets = self.secrets_type(self.root, service, bytes.fromhex(key))
        self.secrets.known = self.known
        self.secrets.revoked = dict(revoked or {})
        for token in tokens:
            self.known_good(token)
            self.secrets.remember(token)
        owner, last = "", dict(NO_RUN)
        try:
            folder = self.state.open(create=write)
            if folder is not None:
                try:
                    owner, last = self.join(folder, fleet, write, {"epoch": epoch, "run": run, "who": who}, claim)
                finally:
                    os.close(folder)
        except (Refusal, OSError) as error:
            self.state.release()  # a host that refused the run is nobody's
            if isinstance(error, Refusal):
                raise
            raise Refusal("write-failed", "/%s: %s" % (STATE, error.strerror)) from None
        facts = {"python": "%d.%d" % sys.version_info[:2], "fleet": owner}
        return write and claim and not owner, dict(facts, epoch=last["epoch"], run=last["run"])

    def join(
        self, folder: int, fleet: str, write: bool, mine: "dict[str, Any]", claim: bool
    ) -> "tuple[str, dict[str, Any]]":
        """The fleet that the host belongs to, "" when only from now on, and the last run before `mine`."""
        if write:
            self.state.take_lock(folder, mine["run"], mine["who"], self)
        else:
            self.state.release()
        owner = self.state.read(folder, "fleet")
        if owner and owner != fleet:
            raise Refusal("wrong-fleet", "it belongs to %s, the inventory says %s" % (owner, fleet))
        last = self.state.last_run(folder)
        self.secrets.tombstones = self.state.tombstones(folder)
        if write and claim:
            self.state.begin(folder, last, mine)
            if not owner:
                self.state.write(folder, "fleet", fleet)
        return owner, last

    def left(self, most: "Optional[float]" = None) -> float:
        """Seconds until this request's deadline, at most `most`, never negative."""
        rest = max(self.end - self.system.monotonic(), 0.0)
        return rest if most is None else min(rest, most)

    def pause(self, seconds: float) -> None:
        """Sleeps, unless nobody waits for the outcome any more."""
        if self.gone.is_set():
            raise Refusal("line-broken", "nobody waits for the answer any more")
        self.system.sleep(seconds)

    def command(self, argv: "list[str]", seconds: float) -> "tuple[int, str]":
        """`System.run` within the request's deadline; a command that used it up is a refusal."""
        code, output = self.system.run(argv, self.left(seconds))
        if code == 124:
            raise Refusal("deadline", output)
        return code, output

    # -- looking

    def observe(self) -> "tuple[bool, dict[str, Any]]":
        """Everything that decisions are made from; changes nothing."""
        unit = self.recent_unit()
        seen = self.slots()
        seen.update(unit=unit, loaded=self.loaded(unit, seen["active"]), clock=self.system.now())
        return False, seen

    def slots(self) -> "dict[str, Any]":
        """The token directory and what is in it."""
        try:
            folder = self.secrets.open()
        except Refusal as refusal:
            return {"directory": {"fault": refusal.detail}, "active": None, "staged": None, "previous": None}
        try:
            info = os.fstat(folder)
            owner, group = names_of(info)
            return {
                "directory": {
                    "mode": stat.S_IMODE(info.st_mode),
                    "owner": owner,
                    "group": group,
                    "fault": "",
                },
                "active": self.secrets.look(folder, self.secrets.active),
                "staged": self.secrets.look(folder, self.secrets.staged),
                "previous": self.secrets.look(folder, self.secrets.previous),
            }
        finally:
            os.close(folder)

    def recent_unit(self) -> "dict[str, Any]":
        """The unit and the token file that it is told to read, as they were a moment ago: each look is a process."""
        since = self.system.monotonic() - RECENT_SECONDS
        if self.unit_at < since or not self.lives(self.last_unit):
            self.unit()
        unit = self.last_unit
        if self.file_at < since:
            self.last_file, self.file_at = self.file_read_by(unit), self.system.monotonic()
        return dict(unit, reads=self.last_file)

    def unit(self) -> "dict[str, Any]":
        """What systemd and /proc say of the service; of its environment only the token file's path."""
        argv = ["systemctl", "show", "--no-pager", "--property=" + SHOWN, "--", self.service["unit"]]
        code, output = self.command(argv, 20.0)
        if code != 0:
            raise Refusal("systemctl-failed", output)
        shown = dict(line.partition("=")[::2] for line in output.splitlines())
        pid = int(shown.get("MainPID") or 0)
        process = self.system.process(pid) if pid else None
        environment = environment_of(shown.get("Environment", ""))
        reads = environment.get("LLORCH_API_TOKEN_FILE") or (process["reads"] if process else "")
        inside = "/%s/%s/" % (CREDENTIALS, self.service["unit"])
        self.unit_at = self.system.monotonic()
        self.last_unit = {
            "load": shown.get("LoadState", ""),
            "state": shown.get("ActiveState", ""),
            "sub": shown.get("SubState", ""),
            "result": shown.get("Result", ""),
            "pid": pid,
            "restarts": int(shown.get("NRestarts") or 0),
            "invocation": shown.get("InvocationID", ""),
            "born": process["born"] if process else None,
            "started": process["started"] if process else None,
            "uid": process["uid"] if process else None,
            "reads": self.without_tokens(reads),
            "credential": reads[len(inside) :] if reads.startswith(inside) else "",
            "env_token": "LLORCH_API_TOKEN" in environment or bool(process and process["env_token"]),
        }
        return dict(self.last_unit)

    def file_read_by(self, unit: "dict[str, Any]") -> str:
        """The token file that the unit is told to read; "" when it cannot be told."""
        if not unit["credential"]:
            return str(unit["reads"])
        # systemctl shows LoadCredential as "[unprintable]" (247 to 257): busctl asks systemd itself.
        name = re.sub("[^A-Za-z0-9]", lambda char: "_%02x" % ord(char.group()), self.service["unit"])
        argv = ["busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/" + name]
        output = self.command([*argv, "org.freedesktop.systemd1.Service", "LoadCredential"], 10.0)[1]
        return self.without_tokens(dict(re.findall(r'"([^"]*)" "([^"]*)"', output)).get(unit["credential"], ""))

    def loaded(self, unit: "dict[str, Any]", active: "Optional[dict[str, Any]]") -> "dict[str, Any]":
        """Which token the running process read: its credential, or the file if the process is younger.

        `evidence`: credential, younger, older (the file has changed since), touched (all but its content has),
        none.
        """
        if not unit["pid"]:
            return {"fingerprint": None, "evidence": "none"}
        copy = self.secrets.credential(unit["credential"])
        if copy:
            return {"fingerprint": copy, "evidence": "credential"}
        if unit["started"] is None or not active or not active["fingerprint"]:
            return {"fingerprint": None, "evidence": "none"}
        # A process start is known to a clock tick (10 ms), a file's change to the kernel's timer.
        if unit["started"] + 0.02 >= active["changed"]:
            return {"fingerprint": active["fingerprint"], "evidence": "younger"}
        # Mode or owner were mended since the start, or the file was renamed: only the service's answers can tell.
        touched = unit["started"] + 0.02 >= active["modified"]
        return {"fingerprint": None, "evidence": "touched" if touched else "older"}

    # -- writing

    def change(self, work: "Callable[[int], bool]") -> "tuple[bool, dict[str, Any]]":
        """Runs `work(folder)`; every failed write is one refusal, and nothing half-made stays behind."""
        if self.state.lock is None:
            raise RuntimeError("a verb that writes needs a session that holds the lock")
        folder = self.secrets.open_to_write()
        try:
            self.secrets.remove(folder, self.secrets.scratch)  # of an agent that was killed
            return work(folder), {}
        except OSError as error:
            try:
                self.secrets.remove(folder, self.secrets.scratch)
            except OSError:
                pass  # a read-only file system: there is nothing of ours on it
            raise Refusal("write-failed", "%s: %s" % (self.secrets.folder, error.strerror)) from None
        finally:
            os.close(folder)

    def probe_write(self) -> "tuple[bool, dict[str, Any]]":
        """A real write where the token will be written, taken away again: full, read-only, no account?"""

        def work(folder: int) -> bool:
            self.secrets.create(folder, self.secrets.scratch, b"\0" * MAX_TOKEN_CHARS)
            self.secrets.remove(folder, self.secrets.scratch)
            return False

        return self.change(work)

    def stage(self, token: str) -> "tuple[bool, dict[str, Any]]":
        """The new token in the staged slot; nothing reads it yet."""
        self.known_good(token)
        want = self.secrets.remember(token)["keyed"]

        def work(folder: int) -> bool:
            if self.secrets.ready(folder, self.secrets.staged, want):
                return False
            self.replaceable(folder, self.secrets.staged)
            self.secrets.put(folder, self.secrets.staged, token)
            return True

        return self.change(work)

    def known_good(self, token: str) -> None:
        """The last check before a write (k3s-io/k3s#12982): what a header and the services can carry."""
        if len(token) < MIN_TOKEN_CHARS or not is_token(token):
            raise Refusal("slot-changed", "what arrived is no token; nothing was written")

    def replaceable(self, folder: int, name: str) -> None:
        """Refuses to write over what somebody made on purpose: a link, a directory, a pipe."""
        shown = self.secrets.look(folder, name)
        if shown and not shown["regular"]:
            raise Refusal("token-unsafe", "%s/%s %s" % (self.secrets.folder, name, shown["fault"]))

    def swap(self, want: str) -> "tuple[bool, dict[str, Any]]":
        """Active becomes previous, staged becomes active."""
        secrets = self.secrets

        def work(folder: int) -> bool:
            if secrets.holds(folder, secrets.active, want):
                return False
            if not secrets.ready(folder, secrets.staged, want):
                raise Refusal("slot-changed", "%s is not the token that was staged" % secrets.staged)
            secrets.refuse_revoked(secrets.known[want])
            self.replaceable(folder, secrets.active)
            if secrets.look(folder, secrets.active):
                secrets.keep_previous(folder)
            secrets.rename(folder, secrets.staged, secrets.active)
            return self.written(folder, want)

        return self.change(work)

    def revert(self, want: str) -> "tuple[bool, dict[str, Any]]":
        """The previous token is active again: from its slot, or from this agent's memory."""
        secrets = self.secrets

        def work(folder: int) -> bool:
            if secrets.holds(folder, secrets.active, want):
                return False
            self.replaceable(folder, secrets.active)
            if secrets.ready(folder, secrets.previous, want):
                secrets.refuse_revoked(secrets.known[want])
                secrets.rename(folder, secrets.previous, secrets.active)
            elif want in secrets.known:
                secrets.put(folder, secrets.active, secrets.known[want])
            else:
                raise Refusal("slot-changed", "%s is not the token from before the run" % secrets.previous)
            return self.written(folder, want)

        return self.change(work)

    def written(self, folder: int, want: str) -> bool:
        """True: the active slot is what it was meant to become, looked at once more behind the rename."""
        if not self.secrets.ready(folder, self.secrets.active, want):
            raise Refusal("slot-changed", "%s was exchanged while it was written" % self.secrets.active)
        return True

    def recall(self, want: str) -> "tuple[bool, dict[str, Any]]":
        """The token itself, for the run that made it and was cut off, or for a host that owes it."""
        self.slots()
        if self.state.lock is None or want not in self.secrets.known:
            raise Refusal("slot-changed", "no slot holds the token that was asked for")
        return False, {"token": self.secrets.known[want]}

    def discard(self) -> "tuple[bool, dict[str, Any]]":
        """The staged slot is empty again."""

        def work(folder: int) -> bool:
            gone = self.secrets.remove(folder, self.secrets.staged)
            os.fsync(folder)
            return gone

        return self.change(work)

    def retire(self, want: str) -> "tuple[bool, dict[str, Any]]":
        """The previous slot is gone; only with `want` active. The point of no return."""

        def work(folder: int) -> bool:
            if not self.secrets.holds(folder, self.secrets.active, want):
                raise Refusal("slot-changed", "%s is not the token that was proven" % self.secrets.active)
            gone = self.secrets.remove(folder, self.secrets.previous)
            os.fsync(folder)
            return gone

        return self.change(work)

    def revoke(self, tokens: "list[str]") -> "tuple[bool, dict[str, Any]]":
        """A tombstone for each of these tokens (keyed fingerprints): nothing writes it on this host again.

        A tombstone is a salted digest of the token itself, so that it holds for whoever comes, from any bastion. Of
        a token that nobody here has at hand only the fingerprint is known, which every greeting brings.
        """
        if self.state.lock is None:
            raise RuntimeError("a tombstone needs a session that holds the lock")
        self.slots()  # what lies in them is known from now on
        self.secrets.revoked.update((keyed, self.run) for keyed in tokens)
        stones = self.secrets.tombstones
        texts = [self.known[keyed] for keyed in tokens if keyed in self.known]
        fresh = [text for text in texts if not any(is_under(stone, text) for stone in stones)]
        if not fresh:
            return False, {}
        for text in fresh:
            salt = os.urandom(16)
            digest = hmac.new(salt, text.encode("ascii"), hashlib.sha256).hexdigest()
            stones.append({"salt": salt.hex(), "digest": digest, "run": self.run})
        folder = self.state.open(create=True)
        if folder is None:
            raise RuntimeError("the state directory was to be made")
        try:
            self.state.write(folder, "tombstones", json.dumps(stones))
        finally:
            os.close(folder)
        return True, {}

    # -- the service

    def fence(self) -> "tuple[bool, dict[str, Any]]":
        """The unit is stopped: a service that cannot be turned serves nobody with a token that leaked."""
        if self.state.lock is None:
            raise RuntimeError("to stop a unit needs a session that holds the lock")
        if self.unit()["state"] in ("inactive", "failed"):
            return False, {}
        code, output = self.command(["systemctl", "--no-ask-password", "stop", "--", self.service["unit"]], self.left())
        if code != 0:
            raise Refusal("systemctl-failed", output)
        return True, {}

    def restart(self) -> "tuple[bool, dict[str, Any]]":
        """A fresh process. A unit that failed before gets its start limit back first."""
        if self.state.lock is None:
            raise RuntimeError("a restart needs a session that holds the lock")
        name, unit = self.service["unit"], self.unit()
        if unit["load"] != "loaded":
            raise Refusal("unit-missing", "%s is %s" % (name, unit["load"] or "unknown"))
        if unit["state"] == "failed" or unit["restarts"]:
            self.command(["systemctl", "reset-failed", "--", name], 10.0)
        again = ["systemctl", "--no-ask-password", "restart", "--", name]
        code, output = self.command(again, self.left())
        if code != 0 and self.unit()["result"] == "start-limit-hit":  # restarts of ours count too: five in ten seconds
            self.command(["systemctl", "reset-failed", "--", name], 10.0)
            code, output = self.command(again, self.left())
        if code != 0:
            raise Refusal("start-failed", self.last_words(self.unit()) or output)
        return True, {}

    def last_words(self, unit: "dict[str, Any]") -> str:
        """The service's last log lines since its start, or "", for the operator; tokens taken out."""
        code, output = self.log_of(unit, 3)
        return self.without_tokens(" / ".join(output.split("\n")).strip(" /")) if code == 0 else ""

    def logged(self, unit: "dict[str, Any]") -> "list[str]":
        """The fp6 that the service's own log shows since its start: evidence for people, never a decision."""
        code, output = self.log_of(unit, 200)
        return sorted(set(re.findall(r"\btoken:([0-9a-f]{6})\b", output))) if code == 0 else []

    def log_of(self, unit: "dict[str, Any]", lines: int) -> "tuple[int, str]":
        start = "_SYSTEMD_INVOCATION_ID=" + unit["invocation"] if unit["invocation"] else "--boot"
        return self.system.run([*JOURNAL, "--lines=%d" % lines, "_SYSTEMD_UNIT=" + self.service["unit"], start], 5.0)

    def without_tokens(self, text: str) -> str:
        """`text` with every token this agent knows, and all that looks like one, taken out."""
        for token in self.known.values():
            text = text.replace(token, "[token]")
        return re.sub(r"[0-9A-Za-z_+=-]{32,}", "[secret?]", text)

    # -- the proof

    def prove(
        self,
        want: "Optional[str]" = None,
        refuse: "Sequence[str]" = (),
        health_seconds: float = 60.0,
        stable_seconds: float = 0.0,
        log: bool = False,
    ) -> "tuple[bool, dict[str, Any]]":
        """Health, the four calls, the process's age, and that all of it holds for `stable_seconds`.

        `want` is the keyed fingerprint of the token that must work (the active one unless told), `refuse`
        those of the ones that must not. The facts are the same whether it holds or not; a refusal has them
        too.
        """
        began = self.system.monotonic()
        active = self.slots()["active"] or {"fault": "is not there", "fingerprint": None}
        want = want or (active["fingerprint"] or {}).get("keyed")
        if not want:
            raise Refusal("token-missing", "%s %s" % (self.service["token"], active["fault"]))
        facts = {"calls": {}, "proven": False}  # type: dict[str, Any]
        try:
            unit = self.until_healthy(facts, began, health_seconds)
            self.judge(facts, unit, want, refuse)
            if "old" in facts["calls"]:
                facts["refused_after"] = self.system.monotonic() - began
            if stable_seconds:
                self.hold(unit, stable_seconds)
                if not self.lives(unit):  # it died: that is why nobody answers
                    self.same_process(unit, stable_seconds)
                self.judge(facts, unit, want, refuse)  # again: a refusal may come out of a cache at first
            unit = self.same_process(unit, stable_seconds)
            loaded = self.loaded(unit, self.slots()["active"])
            answered = facts["proven"] and loaded["evidence"] == "touched"
            if not answered and (loaded["fingerprint"] or {}).get("keyed") != want:
                raise Refusal("stale-process", "the process has not read what is in %s" % self.service["token"])
        except Refusal as refusal:
            refusal.facts = dict(facts, proven=False)
            other = self.state.at_work() if self.state.lock is None else {}
            if other and other.get("run") != self.run:  # what was seen is that run's work: a restart, a swap
                refusal.trouble, refusal.detail = "host-busy", self.state.described(other)
            raise
        if log:
            facts["logged"] = self.logged(unit)
        return False, facts

    def until_healthy(self, facts: "dict[str, Any]", began: float, seconds: float) -> "dict[str, Any]":
        """Waits, on the host, for health; gives up early when systemd has. Answers the unit as it then is."""
        end = began + self.left(seconds)
        first = unit = self.unit()
        looked = self.system.monotonic()
        while True:
            self.refuse_hopeless(unit, first)
            status, why = self.health(facts)
            now = self.system.monotonic()
            if 200 <= status < 300:
                facts["healthy_after"] = now - began
                return unit if self.lives(unit) else self.unit()
            if now >= end:
                shown = "answers %d" % status if status else why
                raise Refusal("unhealthy", "%s: %s after %.0f s" % (facts["health"]["path"], shown, seconds))
            self.pause(POLL_SECONDS)
            if not self.lives(unit) or now - looked >= LOOK_SECONDS:
                unit, looked = self.unit(), now

    def refuse_hopeless(self, unit: "dict[str, Any]", first: "dict[str, Any]") -> None:
        """Raises when waiting for health is of no use: systemd gave up, or starts it again and again."""
        if unit["state"] in ("failed", "inactive"):
            raise Refusal("start-failed", self.last_words(unit) or "the unit is %(state)s (%(result)s)" % unit)
        if unit["restarts"] >= first["restarts"] + 2:
            raise Refusal("unstable", self.last_words(unit) or "systemd restarted it %(restarts)d times" % unit)

    def health(self, facts: "dict[str, Any]") -> "tuple[int, str]":
        """(status, why not) of the first health path that is not 404. Fills facts["health"]."""
        status, why = 0, ""
        for path in self.service["health"]:
            status, why = self.system.get(self.service["port"], path, None, self.left(CALL_SECONDS))
            facts["health"] = {"path": path, "status": status}
            if status != 404:
                break
        return status, why

    def judge(self, facts: "dict[str, Any]", unit: "dict[str, Any]", want: str, refuse: "Sequence[str]") -> None:
        """The four calls, and what their answers mean. Fills facts["calls"] with the statuses.

        Of several old tokens the answer to the one that still works, if any does, stands for all.

        The two calls without a token of ours come first: only a service that refuses them, and whose port is
        in the hands of its own account or of root, is told one.
        """
        if not self.service["protected"]:
            return
        calls = {}  # type: dict[str, int]
        for path in self.service["protected"]:
            calls["none"] = self.call(path, None)
            if calls["none"] != 404:
                break
        facts.update(calls=calls, path=path, proven=False)
        calls["garbage"] = self.call(path, os.urandom(32).hex())
        for name, said in (("none", "no token"), ("garbage", "a garbage token")):
            if calls[name] != 401:
                trouble = "fail-open" if calls[name] < 400 else "unhealthy"
                raise Refusal(trouble, "%s with %s answers %d" % (path, said, calls[name]))
        # Read anew: when the unit was looked at, its process may still have been root, on its way to exec.
        process = self.system.process(unit["pid"]) if unit["pid"] else None
        trusted = frozenset((0, process["uid"]) if process else (0,))
        refuse_strangers(self.service["port"], self.system.listeners(self.service["port"]), trusted)
        for name, keyed in [("new", want), *(("old", old) for old in refuse)]:
            if keyed in self.secrets.known and calls.get(name, 401) == 401:
                calls[name] = self.call(path, self.secrets.known[keyed], trusted)
        self.conclude(calls, path, unit, refuse)
        facts["proven"] = True

    def call(self, path: str, token: "Optional[str]", trusted: "Optional[frozenset[int]]" = None) -> int:
        """The status of one call to the protected path; no answer is a failure of the service."""
        status, why = self.system.get(self.service["port"], path, token, self.left(CALL_SECONDS), trusted)
        if not status:
            raise Refusal("unhealthy", "%s: %s" % (path, why))
        return status

    def conclude(self, calls: "dict[str, int]", path: str, unit: "dict[str, Any]", refuse: "Sequence[str]") -> None:
        """Raises unless the new token works and the old one, where there is one, does not."""
        if not 200 <= calls.get("new", 0) < 300:
            why = "%s with the right token answers %d" % (path, calls.get("new", 0))
            if 200 <= calls.get("old", 0) < 300:
                why = "it still works with the other token"
            reads = self.file_read_by(unit)
            if reads and reads != self.service["token"]:
                why += ": the unit reads %s, we wrote %s" % (reads, self.service["token"])
            raise Refusal("new-refused", why)
        if not all(old in self.secrets.known for old in refuse):
            raise Refusal("slot-changed", "the other token is in no slot any more: nobody can ask whether it works")
        if calls.get("old", 401) != 401:
            raise Refusal("old-accepted", "%s with the other token answers %d" % (path, calls["old"]))

    def lives(self, unit: "dict[str, Any]") -> bool:
        """True while the unit's process is the one that was seen."""
        return bool(unit["pid"]) and unit["born"] is not None and self.system.born(unit["pid"]) == unit["born"]

    def hold(self, unit: "dict[str, Any]", seconds: float) -> None:
        """Waits `seconds`, or until the process ends."""
        end = self.system.monotonic() + self.left(seconds)
        while self.lives(unit) and self.system.monotonic() < end:
            self.pause(min(POLL_SECONDS * 4, max(end - self.system.monotonic(), 0.001)))

    def same_process(self, unit: "dict[str, Any]", seconds: float) -> "dict[str, Any]":
        """The unit as it is now; refuses when its process is not the one that was seen."""
        now = self.unit()
        if not self.lives(unit) or now["pid"] != unit["pid"]:
            said = "the process did not live for %.0f s" % seconds if unit["pid"] else "systemd knows no main process"
            raise Refusal("unstable", self.last_words(now) or said)
        return now

    # -- one step

    def carry_out(self, verb: str, fields: "dict[str, Any]") -> "dict[str, Any]":
        """One step's result: done, or refused with the reason."""
        began = self.system.monotonic()
        result = {"verb": verb, "ok": True, "changed": False, "facts": {}, "trouble": "", "detail": ""}
        try:
            if verb != "observe" and self.left() <= 0:
                raise Refusal("deadline", "no time was left to begin %s" % verb)
            try:
                act = functools.partial(EXTRA[verb], self) if verb in EXTRA else getattr(self, verb)
                result["changed"], result["facts"] = act(**fields)
            except OSError as error:
                raise Refusal("write-failed", "%s: %s" % (verb, error.strerror or type(error).__name__)) from None
        except Refusal as refusal:
            detail = self.without_tokens(refusal.detail)
            result.update(ok=False, trouble=refusal.trouble, detail=detail, facts=refusal.facts)
        if verb in MOVING:
            self.unit_at = self.file_at = NEVER
        result["seconds"] = round(self.system.monotonic() - began, 4)
        return result


VERBS = (
    "hello",
    "observe",
    "probe_write",
    "stage",
    "swap",
    "restart",
    "prove",
    "revert",
    "retire",
    "discard",
    "recall",
    "revoke",
    "fence",
)
EXTRA = {}  # type: dict[str, Callable[..., tuple[bool, dict[str, Any]]]]  # sent only when asked for: inspection.py


def answer(agent: Agent, request: "dict[str, Any]") -> "dict[str, Any]":
    """One request's results, a verb each: after a failure, nothing but a last look is done.

    A request `expires`, by this host's monotonic clock, when its bastion stops waiting: one that was held up on
    the way (a frozen sshd, a link that was down) must not change a host that has been called unknown.
    """
    now = agent.system.monotonic()
    agent.end = min(now + request["deadline"], request.get("expires", now + request["deadline"]))
    results = []  # type: list[dict[str, Any]]
    if agent.end <= now:
        return {"results": [refused(request["steps"][0]["verb"], "deadline", "the request came too late")]}
    failed = False
    for step in request["steps"]:
        fields = dict(step)
        verb = fields.pop("verb")
        if verb not in VERBS and verb not in EXTRA:
            raise ValueError("unknown verb")
        if agent.gone.is_set() or (failed and verb != "observe"):
            continue
        if failed:
            agent.end = max(agent.end, agent.system.monotonic() + GRACE_SECONDS)
        results.append(agent.carry_out(verb, fields))
        failed = failed or not results[-1]["ok"]
    return {"results": results}


def refused(verb: str, trouble: str, detail: str) -> "dict[str, Any]":
    """The result of a step that was not begun."""
    result = {"verb": verb, "ok": False, "changed": False, "facts": {}, "trouble": trouble, "detail": detail}
    return dict(result, seconds=0.0)


def serve(
    agent: Agent,
    lines: "Iterable[bytes]",
    out: "BinaryIO",
    idle: float = LEASE_SECONDS,
    reply: "Optional[Callable[[bytes], dict[str, Any]]]" = None,
) -> None:
    """Serves requests until the line ends, nothing was heard for `idle` seconds, or SIGTERM.

    `reply`: what answers a line instead of `answer` (gate.py).

    SIGTERM ends an idle agent at once, and a working one after the step in hand. An empty line is a bastion
    that is still there. The lock is never taken from an agent: it ends with one that has nothing in hand.
    """
    waiting = queue.Queue(AHEAD)  # type: queue.Queue[Optional[bytes]]

    def read() -> None:
        for line in lines:
            waiting.put(line)
        agent.gone.set()
        waiting.put(None)

    def leave(_signal: int, _frame: object) -> None:
        agent.gone.set()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=read, daemon=True).start()
    while True:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if agent.gone.is_set():  # asked behind the line above, or a SIGTERM between the two would go unheard
            return
        try:
            line = waiting.get(timeout=idle)
        except queue.Empty:
            return
        if line is None:
            return
        if not line.strip():
            continue
        signal.signal(signal.SIGTERM, leave)
        said = reply(line) if reply else answer(agent, json.loads(line.decode()))
        out.write(json.dumps(said).encode() + b"\n")
        out.flush()


def blunder(error: BaseException) -> str:
    """One line that names a bug's kind and place, and nothing of the request that met it."""
    where, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == blunder.__code__.co_filename:
            where = "%s, line %d" % (code.co_name, trace.tb_lineno)
        trace = trace.tb_next
    return "hivekeys agent: %s in %s\n" % (type(error).__name__, where)


def main(
    agent: "Optional[Agent]" = None,
    lines: "Optional[Iterable[bytes]]" = None,
    reply: "Optional[Callable[[bytes], dict[str, Any]]]" = None,
    who: bytes = b"",
) -> None:
    """The agent's life: never a core dump, never a wait for ever, never a file that others can read.

    `who`: what an installed agent says of itself when it is ready; `reply`: see `serve`.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    sys.stdout.buffer.write(b"hivekeys:ready %.3f%s\n" % (time.monotonic(), who))
    sys.stdout.buffer.flush()
    status = 0
    try:
        serve(agent or Agent(), lines or sys.stdin.buffer, sys.stdout.buffer, reply=reply)
    except BrokenPipeError:
        pass
    except Exception as error:
        sys.stderr.write(blunder(error))
        status = 70  # EX_SOFTWARE
    sys.stderr.flush()
    os._exit(status)  # a reader thread that still holds stdin would make a normal exit abort


if __name__ == "__main__":
    main()
