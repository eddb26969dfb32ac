"""The directory of hivekeys on a host: the fleet's name, the last run, the lock, the tombstones.

Runs ON a host, in one text with agent.py.
"""

import errno
import fcntl
import json
import os
import time

from hivekeys.host.paths import DIRECTORY, NOFOLLOW, open_controlled, read_limited, write_all
from hivekeys.host.system import Refusal, System

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

    from hivekeys.host.agent import Agent

STATE = "var/lib/hivekeys"
NAME_SECONDS = 1.0  # how long a lock may be held before its holder has signed it
POLL_SECONDS = 0.05  # between two calls to a service that is not healthy yet: loopback, no process
MAX_EPOCH = 10**9  # each run adds one; a larger number is none that hivekeys wrote (hivekeys.protocol.seen.MAX_EPOCH)
FILE_BYTES = 1 << 20  # of a file in this directory: some 6,000 tombstones
TAKE_OVER_SECONDS = 3.0  # that a holder who is told to leave may take before it is killed


class State:
    """hivekeys' own directory on the host, root's and 0700: whose fleet it is, and which run is at work.

    The lock dies with the agent that holds it: flock, released by the kernel.
    """

    def __init__(self, root: str, system: System) -> None:
        self.root = root
        self.system = system
        self.unit = ""  # of a service beside another on this machine: it has a directory of its own within ours
        self.lock = None  # type: Optional[int]

    def open(self, create: bool) -> "Optional[int]":
        """The directory's descriptor; None when it does not exist and may not be made."""
        folder = self.open_above()
        for name in self.levels():
            above = folder
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
                raise Refusal("token-unsafe", "%s in /%s must be root's and 0700" % (name, os.path.dirname(STATE)))
        return folder

    def open_above(self) -> int:
        """The descriptor of /var/lib, which may be a link: of root's, and one that he controls all the way."""
        above = os.path.dirname(STATE)
        try:
            return open_controlled(self.root, above, strict=True)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EPERM):
                raise
            why = "a part of the way is no directory, or a link that leads where others than root can write"
            raise Refusal("token-unsafe", "/%s: %s" % (above, why)) from None

    def levels(self) -> "list[str]":
        """The names of our directory and, for a service beside another, of those within it that are this one's."""
        return [os.path.basename(STATE), *(["beside", self.unit] if self.unit else [])]

    def of_machine(self) -> "tuple[str, list[dict[str, str]]]":
        """The fleet and the tombstones that the other service on this machine has, where this one stands beside it."""
        other = State(self.root, self.system)
        folder = other.open(create=False) if self.unit else None
        if folder is None:
            return "", []
        try:
            return other.read(folder, "fleet"), other.tombstones(folder)
        finally:
            os.close(folder)

    def read(self, folder: int, name: str) -> str:
        """The text of a file, "" when it is not there; one that is too large is a refusal, and never an empty one."""
        try:
            fd = os.open(name, os.O_RDONLY | NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            return ""
        try:
            data = read_limited(fd, FILE_BYTES)
        finally:
            os.close(fd)
        if data is None:
            raise Refusal("record-unsound", "/%s/%s is larger than %d bytes" % (STATE, name, FILE_BYTES))
        return data.decode("utf-8", "replace").strip()

    def write(self, folder: int, name: str, text: str) -> None:
        """The text in a file, whole or not at all."""
        if len(text) >= FILE_BYTES:
            raise Refusal("record-unsound", "/%s/%s would be larger than %d bytes" % (STATE, name, FILE_BYTES))
        scratch = "." + name
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOFOLLOW, 0o600, dir_fd=folder)
        try:
            write_all(fd, text.encode("utf-8") + b"\n")
        finally:
            os.close(fd)
        os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)

    def content(self, name: str) -> str:
        """The text of a file, "" when it is not there, or the directory is not."""
        folder = self.open(create=False)
        if folder is None:
            return ""
        try:
            return self.read(folder, name)
        finally:
            os.close(folder)

    def keep(self, name: str, text: str) -> None:
        """The text in a file, in the directory that is made for it where there is none."""
        folder = self.open(create=True)
        if folder is None:
            raise RuntimeError("the state directory was to be made")
        try:
            self.write(folder, name, text)
        finally:
            os.close(folder)

    def take_lock(self, folder: int, mine: "dict[str, Any]", take_over: bool, patience: "Agent") -> None:
        """The lock, or a refusal that names its holder. An agent left behind by this sitting is told to leave.

        `mine`: the run, its operator and its sitting. With `take_over` the process that holds the lock is ended.
        """
        self.release()
        lock = os.open("lock", os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600, dir_fd=folder)
        try:
            self.wait_for(lock, mine, take_over, patience)
            pid = self.system.pid()
            mine = dict(mine, pid=pid, born=self.system.born(pid), since=self.system.now(), login=caller())
            last = self.holder(lock)
            if all(last.get(part) == mine[part] for part in ("run", "pid", "born")):
                mine["since"] = last.get("since", mine["since"])  # greeted anew: it is the same work
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps(mine).encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        self.lock = lock

    def wait_for(self, lock: int, mine: "dict[str, Any]", take_over: bool, patience: "Agent") -> None:
        """Takes the flock; waits only for an agent that is told to leave, until the request's deadline.

        The same run in another sitting is a copy of its bastion's state, or the bastion that died a moment ago: it
        is not told to leave. It leaves by itself when its bastion is silent.
        """
        told = None  # type: Optional[tuple[int, float]]  # who was told to leave, and until when it may take its time
        named = self.system.monotonic() + NAME_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = self.holder(lock)
            lives = self.is_alive(holder)
            if not lives and self.system.monotonic() < named:
                patience.deadline.pause(
                    POLL_SECONDS
                )  # whoever has just taken it has not signed yet: the name is another's
                continue
            ours = all(holder.get(part) == mine[part] for part in ("run", "sitting"))
            if not (ours or take_over) or patience.deadline.left() <= 0:
                raise Refusal("host-busy", self.described(holder))
            if lives and (told is None or told[0] != holder["pid"]):
                self.system.terminate(holder["pid"])
                told = (holder["pid"], self.system.monotonic() + TAKE_OVER_SECONDS)
            elif lives and take_over and told and self.system.monotonic() > told[1]:
                self.system.kill(holder["pid"])
            patience.deadline.pause(POLL_SECONDS)

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
        """Which other run has the host's lock; {} for none. The lock is not tried: that could stop a run just then."""
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
        who = (holder.get("run"), holder.get("who"), holder["pid"], holder.get("login"))
        said, since = "run %s of %s (pid %d on the host, login %s)" % who, holder.get("since")
        if not isinstance(since, (int, float)):
            return said
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(since))
        return "%s, at work for %.0f s, since %s UTC by the host's clock" % (
            said,
            max(self.system.now() - since, 0.0),
            began,
        )

    def last_runs(self, folder: int) -> "tuple[dict[str, Any], dict[str, Any]]":
        """The last run that claimed this host, and the last that changed it; epoch 0 when there was none.

        Only the latter supersedes another: a run that was refused elsewhere has claimed a host and touched nothing.
        """
        text = self.read(folder, "run")
        try:
            found = json.loads(text) if text else {}
            return run_in(found), run_in(found.get("changed", found))  # records of before 0.1.0 have one for both
        except (ValueError, TypeError, AttributeError):
            raise Refusal("record-unsound", "/%s/run is not what hivekeys writes" % STATE) from None

    def tombstones(self, folder: int) -> "list[dict[str, str]]":
        """The tokens that leaked once, as salted digests: a reader of the file learns none of them."""
        try:
            found = json.loads(self.read(folder, "tombstones") or "[]")
            stones = [{part: str(stone[part]) for part in ("salt", "digest", "run")} for stone in found]
            for stone in stones:
                bytes.fromhex(stone["salt"])
            return stones
        except (ValueError, TypeError, KeyError):
            raise Refusal("record-unsound", "/%s/tombstones is not what hivekeys writes" % STATE) from None

    def begin(self, folder: int, mine: "dict[str, Any]", seen: "Optional[dict[str, Any]]") -> None:
        """Notes that `mine` claims this host; refuses it when a newer run changed it (hashicorp/vault#844).

        `seen`: the last run that had changed the host when `mine` first looked; whoever came in between made what it
        saw untrue. Another sitting of the same run, later or unknown, means that its journal here is an old copy.
        """
        claimed, changed = self.last_runs(folder)
        known = seen is None or all(changed[part] == seen[part] for part in ("epoch", "run"))
        same = changed["epoch"] == mine["epoch"] != 0
        if changed["run"] != mine["run"] and (changed["epoch"] > mine["epoch"] or same or not known):
            raise Refusal("superseded", "run %(run)s of %(who)s" % changed)
        for last in (claimed, changed):
            later = last["sitting"][0] > mine["sitting"][0]
            other = last["sitting"][0] == mine["sitting"][0] and last["sitting"] != mine["sitting"]
            if last["run"] == mine["run"] and (later or other):
                raise Refusal("superseded", "run %(run)s was taken up again elsewhere, by %(who)s" % last)
        if claimed != mine:
            self.write(folder, "run", json.dumps(dict(mine, changed=changed)))

    def change(self, mine: "dict[str, Any]") -> None:
        """Notes, before anything else is written, that `mine` changes this host from now on."""
        folder = self.open(create=True)
        if folder is None:
            raise RuntimeError("the state directory was to be made")
        try:
            if self.last_runs(folder)[1] != mine:
                self.write(folder, "run", json.dumps(dict(mine, changed=mine)))
        finally:
            os.close(folder)

    def release(self) -> None:
        """Gives the lock up, if it is held."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def run_in(found: "dict[str, Any]") -> "dict[str, Any]":
    """A run as the host's record has it; ValueError or TypeError for what cannot be meant."""
    epoch, (number, sitting) = int(found.get("epoch", 0)), found.get("sitting", (0, ""))
    if not 0 <= epoch <= MAX_EPOCH:
        raise ValueError("an epoch beyond all measure")
    who = {part: str(found.get(part, "")) for part in ("run", "who")}
    return dict(who, epoch=epoch, sitting=[int(number), str(sitting)])


def caller() -> str:
    """The account that logged in to start this agent."""
    return os.environ.get("SUDO_USER") or "root"
