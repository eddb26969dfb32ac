"""nginx before a service: its files and their texts, its processes.

Runs ON a host, in one text with agent.py, where the service has a front. nginx is the distribution's, unmodified; unit,
configuration, run folder and log folder are ours. What nginx says of its configuration quotes the map, and with it the
tokens: where they stand in it, nginx's words are never shown.
"""

import hashlib
import os
import pwd
import signal

from hivekeys.host.nginx_texts import NFT, PUBLIC, ROTATED, SERVER, TLS, UNIT
from hivekeys.host.paths import open_directory
from hivekeys.host.root_files import read_file, write_file
from hivekeys.host.sockets import MAPPED, sockets_of
from hivekeys.host.system import UNIX, Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from hivekeys.host.agent import Agent

NGINX = "/usr/sbin/nginx"
NFT_PROGRAM = "/usr/sbin/nft"
WORKERS = ("www-data", "nginx", "nobody")  # the account of the worker processes: the first that the host has
KEEPALIVE_SECONDS = 5.0  # in which clients may send a further request on a connection
RELOAD_SECONDS = 10.0  # in which all workers of before must have stopped accepting
ENDED_SECONDS = 2.0  # in which a worker that is told to end must have ended
CONFIGURATION, ACCEPTED, OWN, NFT_RULES = "nginx.conf", "accepted.conf", "own.conf", "nft.conf"
CLOSING, DRAINING, LOADED = "closing", "draining", "loaded"  # in the run folder; the last says which map is in force
FRONT_HEADER = "# Written by `fab install --front`; `fab uninstall --front` removes it. Changes made here are lost.\n"
LOOPBACK_6 = b"\0" * 15 + b"\1"
ESTABLISHED = "01"  # of proc_net_tcp(5)


class Nginx:
    """The front of one service. Every path is below the agent's root, as nginx sees it too."""

    def __init__(self, agent: "Agent") -> None:
        self.agent = agent
        self.front = agent.service["front"]  # type: dict[str, Any]
        self.unit = str(agent.service["unit"])
        self.name = self.unit[: -len(".service")]
        self.behind = str(self.front["behind"]["unit"])
        self.root = agent.root.rstrip("/")
        self.folder = os.path.dirname(agent.service["token"])
        self.run_folder = "/run/" + self.name
        self.table = "".join(char if char.isalnum() else "_" for char in self.name)
        self.log_folder = "/var/log/" + self.name

    @property
    def has_own(self) -> bool:
        """True for a service that asks for a token, which is its own; False for one that lets in whoever reaches it."""
        return bool(self.front.get("own_token", True))

    # -- texts

    def words(self) -> "dict[str, Any]":
        """What stands in every text."""
        behind = self.front["behind"]
        address = "[%s]" % behind["address"] if ":" in behind["address"] else behind["address"]
        if behind["address"].startswith("unix:"):
            upstream = "%s://%s:" % (behind["scheme"], behind["address"])
        else:
            upstream = "%s://%s:%d" % (behind["scheme"], address, behind["port"])
        return {
            "header": FRONT_HEADER,
            "name": self.name,
            "nginx": NGINX,
            "folder": self.root + self.folder,
            "run": self.root + self.run_folder,
            "log": self.root + self.log_folder,
            "behind": self.behind,
            "listen": self.front["listen"],
            "upstream": upstream,
            "keepalive": KEEPALIVE_SECONDS,
        }

    def configuration(self) -> str:
        """nginx.conf: no token is in it."""
        words, paths = self.words(), [*self.agent.service["health"], *self.front["public"]]
        paths = list(dict.fromkeys(path.partition("?")[0] for path in paths))
        words["account"] = worker_account()
        words["ssl"] = " ssl" if self.front["certificate"] else ""
        words["tls"] = TLS % self.front if self.front["certificate"] else ""
        words["public"] = "".join(PUBLIC % dict(words, path=path) for path in paths)
        return SERVER % words

    def unit_text(self) -> str:
        return UNIT % self.words()

    def rotated(self) -> str:
        """What logrotate is told, where the host has it: nginx's workers could not open the logs anew."""
        return ROTATED % self.words()

    def rules(self) -> str:
        """What nftables are told: the port of the service is for its own host."""
        return NFT % dict(self.words(), table=self.table, port=self.front["behind"]["port"])

    def start_of_behind(self) -> str:
        """The drop-in of the service behind, "" where its unit is right as it is."""
        lines = []
        if self.front["firewall"]:  # before it listens, each time
            lines.append("ExecStartPre=+%s -f %s%s/%s" % (NFT_PROGRAM, self.root, self.folder, NFT_RULES))
        if self.front["start"]:
            lines += ["ExecStart=", "ExecStart=" + self.front["start"]]
        return "\n".join([FRONT_HEADER + "[Service]", *lines, ""]) if lines else ""

    def is_shut(self) -> bool:
        """True where nftables keep others from the port of the service."""
        code, output = self.agent.command([NFT_PROGRAM, "list", "table", "inet", self.table], 10.0)
        return code == 0 and "dport %d reject" % self.front["behind"]["port"] in output

    def accepted(self, tokens: "list[str]") -> str:
        """The map of the tokens that are let in, the newest first: to the slot's name, and to what stands for each."""
        named = [(("new", "old")[place] if place < 2 else "old%d" % place, token) for place, token in enumerate(tokens)]
        slots = ['    "~^Bearer %s\\z" %s;' % (escaped(token), name) for name, token in named]
        users = ["    %s token:%s;" % (name, digest_of(token)[:6]) for name, token in named]
        lines = ["map $http_authorization $hivekeys_slot {", "    default none;", *slots, "}"]
        lines += ["map $hivekeys_slot $hivekeys_user {", '    default "";', *users, "}"]
        return FRONT_HEADER + "\n".join(lines) + "\n"

    def lets_in(self, text: str, token: str) -> bool:
        """True for a map that has this token."""
        return '"~^Bearer %s\\z"' % escaped(token) in text

    def own(self, token: str) -> str:
        """What the service behind is told instead of the client's token; "": nothing, its request has no such header.

        nginx has no way to quote a dollar sign.
        """
        if not token:
            return '%smap $hivekeys_slot $hivekeys_own { default ""; }\n' % FRONT_HEADER
        if not token.isalnum():
            raise Refusal("slot-changed", "the service's own token is none that was made for the front")
        return '%smap $hivekeys_slot $hivekeys_own { default "Bearer %s"; none ""; }\n' % (FRONT_HEADER, token)

    # -- files

    def read(self, path: str) -> "Optional[str]":
        """The text of a file of ours; None where there is none."""
        return read_file(self.root or "/", path)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """The text in a file of root's, whole or not at all."""
        write_file(self.agent, path, text, mode)

    def unlink(self, path: str) -> None:
        """The file is gone, if it was there."""
        folder, name = os.path.split(path)
        try:
            above = open_directory(self.root or "/", folder)
        except OSError:
            return
        try:
            os.unlink(name, dir_fd=above)
        except FileNotFoundError:
            pass
        finally:
            os.close(above)

    def mark(self, name: str) -> None:
        """A file in the run folder that is only there: the workers look for it."""
        self.write("%s/%s" % (self.run_folder, name), "", 0o644)

    def unmark(self, name: str) -> None:
        self.unlink("%s/%s" % (self.run_folder, name))

    def refuse_broken(self, shown: bool) -> None:
        """Raises unless nginx takes the configuration. `shown`: no token stands in it, so nginx's words may be told."""
        argv = [NGINX, "-t", "-q", "-c", "%s%s/%s" % (self.root, self.folder, CONFIGURATION)]
        place = self.root + self.run_folder  # systemd makes it for a front that runs, and nginx opens its pid file
        is_ours = not os.path.isdir(place)
        if is_ours:
            os.mkdir(place, 0o711)
        try:
            code, output = self.agent.command(argv, 20.0)
        finally:
            if is_ours:
                self.unlink(self.run_folder + "/nginx.pid")
                for path in filter(os.path.isdir, (place + "/body", place + "/proxy", place)):
                    os.rmdir(path)
        if code == 127:
            raise Refusal("nginx-missing", "there is no %s" % NGINX)
        if code != 0:
            why = " / ".join(output.split("\n")).strip(" /") if shown else "`nginx -t` does not take it"
            raise Refusal("front-refused", "%s: %s" % (self.folder, why))

    # -- processes

    def master(self) -> int:
        """The pid of the process that starts the workers; 0 for none."""
        return int(self.agent.unit.look()["pid"])

    def workers(self, master: int) -> "dict[int, str]":
        """The title of each process that the master has started."""
        return {pid: title_of(pid) for pid in children_of(master)}

    def streams(self, pids: "list[int]") -> int:
        """How many connections of clients these processes have."""
        return self.connections(pids, 1, self.agent.service["port"])

    def under_way(self) -> int:
        """How many requests the service behind has from this front: each has a connection of its own.

        To a unix socket they cannot be counted; the connections of clients stand for them.
        """
        master = self.master()
        pids = list(self.workers(master)) if master else []
        behind = self.front["behind"]
        if behind["address"].startswith(UNIX):
            return self.streams(pids)
        return self.connections(pids, 2, behind["port"])

    def connections(self, pids: "list[int]", place: int, number: int) -> int:
        """How many TCP connections of these processes have that port: of their own (`place` 1), or the other's (2)."""
        inodes = {inode for pid in pids for inode in sockets_of(pid)}
        port, found = "%04X" % number, 0
        for path in ("/proc/net/tcp", "/proc/net/tcp6"):
            try:
                with open(path) as file:
                    rows = [line.split() for line in file][1:]
            except OSError:
                continue
            found += sum(
                row[place].endswith(":" + port) and row[3] == ESTABLISHED and int(row[9]) in inodes for row in rows
            )
        return found

    def reload(self, at_once: bool) -> int:
        """New workers have read the configuration, and those of before accept nothing any more.

        `at_once`: these are ended too, with the requests that they let in: how many connections that cut. Raises
        Refusal where nginx goes on with its old workers.
        """
        master = self.master()
        elders = set(self.workers(master))
        os.kill(master, signal.SIGHUP)
        if not self.becomes(lambda: self.has_turned(master, elders), RELOAD_SECONDS):
            why = "nginx goes on with what it had: it did not take the new configuration in %.0f s" % RELOAD_SECONDS
            raise Refusal("front-refused", why)
        left = [pid for pid in elders if is_worker(pid)]
        if not at_once or not left:
            return 0
        cut = self.streams(left)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in filter(is_worker, left):
                os.kill(pid, number)
            if self.becomes(lambda: not any(map(is_worker, left)), ENDED_SECONDS):
                return cut
        raise Refusal("front-refused", "%d workers of before do not end, not even when they are killed" % len(left))

    def has_turned(self, master: int, elders: "set[int]") -> bool:
        """True once there are new workers, and none of before accepts a connection."""
        now = self.workers(master)
        fresh = any(pid not in elders and title.startswith("nginx: worker") for pid, title in now.items())
        return fresh and not any(pid in elders and "shutting down" not in title for pid, title in now.items())

    def becomes(self, is_so: "Callable[[], bool]", seconds: float) -> bool:
        """Waits so long at most. A client of before is closed to what comes from a worker that is on its way out."""
        end = self.agent.system.monotonic() + seconds
        while not is_so():
            if self.agent.system.monotonic() > end:
                return False
            self.agent.system.sleep(0.01)
        return True


def worker_account() -> str:
    """The account of the workers, which need nothing of the host."""
    for name in WORKERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise Refusal("account-missing", "there is none of %s for the workers of nginx" % ", ".join(WORKERS))


def is_loopback(packed: bytes) -> bool:
    """True for an address that only its own host reaches: 127.0.0.0/8, also as IPv6 has it, and ::1."""
    if len(packed) == 4 or packed.startswith(MAPPED):
        return packed[-4] == 127
    return packed == LOOPBACK_6


def escaped(token: str) -> str:
    """A token as a regular expression that matches it alone, without a character that nginx or PCRE would read."""
    return "".join(char if char.isalnum() else "\\x%02X" % ord(char) for char in token)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def children_of(pid: int) -> "list[int]":
    """The processes that a process has started and that live."""
    found = []
    for other in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            with open("/proc/%d/stat" % other, errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if int(parent) == pid and state not in "ZX":
            found.append(other)
    return found


def title_of(pid: int) -> str:
    """What a process calls itself: nginx's say when they are on their way out."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read(200).decode("utf-8", "replace").strip("\0 ")
    except OSError:
        return ""


def is_worker(pid: int) -> bool:
    """True while the process is a worker of nginx: its number may have become another's."""
    return title_of(pid).startswith("nginx: worker")
