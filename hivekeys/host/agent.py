"""The agent: carries out the verbs of a rotation on one host, as root.

Its text is sent over SSH; it is installed only in restricted mode, behind gate.py.

This package is standard library only, Python 3.6 and up. Nothing but tests imports it: its modules are read as text,
and on a host they are one program (`hivekeys.bootstrap.joined`), with those of further verbs when they are asked for. A
token arrives on stdin and leaves only into its file, into calls to the service on loopback, and to the run that holds
the host's lock and names it by its keyed fingerprint (`recall`).

Annotations are quoted and `typing` is not imported: Python 3.6 lacks their newer forms, and an import is paid for on
every host.
"""

import functools
import hashlib
import hmac
import json
import os
import re
import stat
import sys
import threading

from hivekeys.host.environment import environment_of, file_named, in_unit
from hivekeys.host.forms import is_token
from hivekeys.host.origin import BRINGS, Origin
from hivekeys.host.own_calls import OwnCalls
from hivekeys.host.preflight import bar, barred, rehearse
from hivekeys.host.proof import Proof
from hivekeys.host.restarting import RESTARTABLE, restart_bar, restarted, stop_seconds, why_gone
from hivekeys.host.slots import CREDENTIALS, Secrets, is_under
from hivekeys.host.state import POLL_SECONDS, STATE, State, run_in
from hivekeys.host.sudo_log import recorded_by_sudo
from hivekeys.host.system import Refusal, System, names_of

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional, Sequence

MIN_TOKEN_CHARS = 64  # guide.md, "Verify token length"
LEAST_SECRET = 16  # characters; a shorter one is a word like others (hivekeys.session.LEAST_SECRET)
RECENT_SECONDS = 2.0  # a look at a unit that is no older will do, while its process lives and we did not move it
FILE_SECONDS = 30.0  # the same for the token file that a unit is told to read: people change that, not restarts
MOVING = ("restart", "fence")  # verbs after which a unit's state is another
CHANGING = ("fix", "install", "uninstall")  # and those after which its settings may be
TOUCHING = (
    "stage",
    "swap",
    "revert",
    "restart",
    "retire",
    "discard",
    "revoke",
    "fence",
    "end_survivors",
)  # of a run that claims hosts
CALLING = ("prove", "sweep", "end_survivors")  # verbs that call the service with tokens
NEVER = float("-inf")
SHOWN = (
    "LoadState,ActiveState,SubState,Result,MainPID,NRestarts,InvocationID,ControlGroup,Environment,EnvironmentFiles,"
    "FragmentPath,DropInPaths,Id,ExecStart,UnsetEnvironment,KillMode," + RESTARTABLE
)
JOURNAL = ["journalctl", "--no-pager", "--quiet", "--output=cat"]
REFUSED = "auth failed"  # in the services' log lines about callers without the token
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # the services colour their lines, between a field's name and its value too

EXTRA = {}  # type: dict[str, Callable[..., tuple[bool, dict[str, Any]]]]  # sent only when asked for: inspection.py


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
        self.farewell = "nobody waits for the answer any more"  # why it leaves
        self.lease = float("inf")  # until when our bastion was heard to be there (serving.py), on the monotonic clock
        self.end = 0.0
        self.own_calls = OwnCalls(self)
        self.installed = False  # gate.py stands before it
        self.known = {}  # type: dict[str, str]  # outlives a second greeting, or the way back would be forgotten
        self.claims = True
        self.mine = {}  # type: dict[str, Any]  # the run that claims this host, until it is noted as one that changes it
        self.last_unit, self.unit_at = {}, NEVER  # type: dict[str, Any], float
        self.file_at = NEVER
        self.outlived = ""  # the invocation that was to end with our restart
        self.last_restart = {"bar": None, "stop_seconds": None}  # type: dict[str, Any]
        self.last_origin = {}  # type: dict[str, Any]  # where the unit has its token from
        self.audit_settings = {}  # type: dict[str, str]  # what its unit says of the service's audit trail
        self.before_install = None  # type: Optional[tuple[list[list[str]], Optional[str]]]  # by installation.py
        self.sudo_log = None  # type: Optional[list[str]]  # what sudo records of this line
        self.shown = {}  # type: dict[str, str]  # what systemctl said of its unit
        self.settings = ([], [])  # type: tuple[list[tuple[str, str]], list[str]]  # LLORCH_API_TOKEN there: in_unit

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
        beside: bool = False,
        sitting: "Sequence[Any]" = (0, ""),
        seen: "Optional[dict[str, Any]]" = None,
        take_over: bool = False,
        tokens: "Iterable[str]" = (),
        revoked: "Optional[dict[str, str]]" = None,
    ) -> "tuple[bool, dict[str, Any]]":
        """Begins a session: whose fleet, which service. `write` takes the host's lock, else it is let go.

        A run that comes too late for this host is refused (`State.begin`): `epoch` is its place in the order of runs,
        `sitting` says how often it was taken up, and an id, `seen` which run had changed the host when it first looked.
        Work that is no rotation does not `claim` the host: it takes the lock and leaves the order of runs as it is.
        A service `beside` another on this machine has a lock and a place in the order of runs of its own.
        `take_over` ends whoever else holds the lock. `tokens` are made known for proofs and for the way back; none of
        them is written. `revoked` maps the keyed fingerprints of tokens that leaked to the runs that revoked them: none
        is written again.
        """
        self.fleet = fleet
        self.service = service
        self.run = run
        self.state.unit = service["unit"] if beside else ""
        self.secrets = self.secrets_type(self.root, service, bytes.fromhex(key))
        self.secrets.known = self.known
        self.secrets.unit = self.unit_name()
        self.secrets.revoked = dict(revoked or {})
        for token in filter(is_token, tokens):
            self.secrets.remember(token)
        self.claims = claim  # other work may be here to mend what this host remembers of runs
        self.mine = run_in({"epoch": epoch, "run": run, "who": who, "sitting": sitting}) if write and claim else {}
        owner, last, changed = "", run_in({}), run_in({})
        try:
            folder = self.state.open(create=write)
            if folder is not None:
                try:
                    try:
                        last, changed = self.state.last_runs(folder)
                    except Refusal:
                        if claim:
                            raise
                    owner = self.join(folder, write, who, sitting, seen, take_over)
                finally:
                    os.close(folder)
        except (Refusal, OSError) as error:
            self.state.release()  # a host that refused the run is nobody's
            if isinstance(error, Refusal):
                raise
            raise Refusal("write-failed", "/%s: %s" % (STATE, error.strerror)) from None
        facts = {"python": "%d.%d" % sys.version_info[:2], "fleet": owner, "epoch": last["epoch"], "run": last["run"]}
        facts["machine"] = self.machine(key)
        if self.sudo_log is None:
            self.sudo_log = recorded_by_sudo(self)
        facts["sudo_log"] = self.sudo_log
        facts["changed"] = {part: changed[part] for part in ("epoch", "run", "who")}
        return bool(self.mine) and not owner, facts

    def join(
        self,
        folder: int,
        write: bool,
        who: str,
        sitting: "Sequence[Any]",
        seen: "Optional[dict[str, Any]]",
        take_over: bool,
    ) -> str:
        """The lock, and this run's claim; the fleet that the host belongs to, "" when only from now on."""
        if write:
            mine = {"run": self.run, "who": who, "sitting": list(sitting)}
            self.state.take_lock(folder, mine, take_over, self)
        else:
            self.state.release()
        owner = self.state.read(folder, "fleet")
        self.refuse_others(owner)
        try:
            machines, stones = self.state.of_machine()
            self.refuse_others(machines)
            self.secrets.tombstones, self.secrets.unsound = self.state.tombstones(folder) + stones, ""
        except Refusal as refusal:
            if self.claims or refusal.trouble == "wrong-fleet":
                raise
            self.secrets.unsound = refusal.detail  # upkeep may be here to mend it; no token is written meanwhile
        if self.mine:
            self.state.begin(folder, self.mine, seen)
            if not owner:
                self.state.write(folder, "fleet", self.fleet)
        return owner

    def refuse_others(self, owner: str) -> None:
        """Raises where the host, or the machine that it shares, is another fleet's."""
        if owner and owner != self.fleet:
            raise Refusal("wrong-fleet", "it belongs to %s, the inventory says %s" % (owner, self.fleet))

    def machine(self, key: str) -> str:
        """What stands for this machine, so that two names of one are not taken for two; its own ids stay here."""
        said = self.system.machine()
        return hmac.new(bytes.fromhex(key), said, hashlib.sha256).hexdigest() if said else ""

    def left(self, most: "Optional[float]" = None) -> float:
        """Seconds until this request's deadline, at most `most`, never negative."""
        rest = max(self.end - self.system.monotonic(), 0.0)
        return rest if most is None else min(rest, most)

    def is_alone(self) -> bool:
        """True once nobody waits for an answer: the line has ended, or its lease has.

        The clock is asked, and no timer: it has gone on while this process was frozen.
        """
        return self.gone.is_set() or self.system.monotonic() >= self.lease

    def go_on(self) -> None:
        """Refuses when nobody waits for the outcome any more: asked before each step, each write and each command."""
        if self.is_alone():
            raise Refusal("line-broken", self.farewell)

    def pause(self, seconds: float) -> None:
        """Sleeps, unless nobody waits for the outcome any more."""
        self.go_on()
        self.system.sleep(seconds)

    def command(self, argv: "list[str]", seconds: float) -> "tuple[int, str]":
        """`System.run` within the request's deadline; a command that used it up is a refusal."""
        self.go_on()
        code, output = self.system.run(argv, self.left(seconds))
        if code == 124:
            raise Refusal("deadline", output)
        return code, output

    # -- looking

    def observe(self) -> "tuple[bool, dict[str, Any]]":
        """Everything that decisions are made from; changes nothing."""
        unit = self.recent_unit()
        if self.file_at < self.system.monotonic() - FILE_SECONDS:
            origin = Origin(self, unit)
            self.last_origin = {"reads": origin.file, "sources": origin.others, "unnamed": origin.why}
            self.last_restart["bar"] = restart_bar(self, self.shown)
            self.last_restart["stop_seconds"] = stop_seconds(self, unit, self.shown)
            self.file_at = self.system.monotonic()
        unit.update(self.last_restart, **self.last_origin)
        members = self.system.members(unit["cgroup"])
        unit["beside"] = None if members is None else len(set(members) - {unit["pid"]})
        seen = self.slots()
        seen["directory"]["bar"] = bar(self)
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
        """As `unit`, or what that saw a moment ago: each look is a process."""
        if self.unit_at < self.system.monotonic() - RECENT_SECONDS or not self.lives(self.last_unit):
            return self.unit()
        return dict(self.last_unit)

    def unit(self) -> "dict[str, Any]":
        """What systemd and /proc say of the service; of its environment only the token file's path."""
        argv = ["systemctl", "show", "--no-pager", "--property=" + SHOWN, "--", self.service["unit"]]
        code, output = self.command(argv, 20.0)
        if code != 0:
            raise Refusal("systemctl-failed", output)
        shown = {}  # type: dict[str, str]
        for name, _, value in (line.partition("=") for line in output.splitlines()):
            shown[name] = "%s\n%s" % (shown[name], value) if name in shown else value  # EnvironmentFiles, each a line
        pid = int(shown.get("MainPID") or 0)
        process = self.system.process(pid) if pid else None
        environment = environment_of(shown.get("Environment", ""))
        self.shown, self.settings = shown, in_unit(self.root, shown)
        self.secrets.unit = self.unit_name()
        reads = file_named(self.root, shown) or (process["reads"] if process else "")
        inside = "/%s/%s/" % (CREDENTIALS, self.secrets.unit)
        self.audit_settings = {name: environment[name] for name in environment if name.startswith("LLORCH_AUDIT_")}
        self.unit_at = self.system.monotonic()
        self.last_unit = {
            "load": shown.get("LoadState", ""),
            "state": shown.get("ActiveState", ""),
            "sub": shown.get("SubState", ""),
            "result": shown.get("Result", ""),
            "pid": pid,
            "restarts": int(shown.get("NRestarts") or 0),
            "invocation": shown.get("InvocationID", ""),
            "cgroup": shown.get("ControlGroup", ""),
            "kill_mode": shown.get("KillMode", ""),
            "born": process["born"] if process else None,
            "started": process["started"] if process else None,
            "uid": process["uid"] if process else None,
            "reads": self.without_tokens(reads),
            "credential": reads[len(inside) :] if reads.startswith(inside) else "",
            "env_token": "LLORCH_API_TOKEN" in environment or bool(process and process["env_token"]),
        }
        return dict(self.last_unit)

    def unit_name(self) -> str:
        """The unit's own name, by which systemd keeps its credentials and its log; the inventory may have an alias."""
        return self.shown.get("Id") or str(self.service["unit"])

    def file_read_by(self, unit: "dict[str, Any]") -> str:
        """The token file that the unit is told to read; "" when it cannot be told."""
        return Origin(self, unit).file

    def credentials(self) -> "Optional[dict[str, dict[str, str]]]":
        """What brings the unit's credentials: for each way the path or "", by name; None when systemd does not say.

        systemctl shows it as "[unprintable]" (247 to 257): busctl asks systemd itself. It stops at the first property
        that its systemd does not know.
        """
        name = re.sub("[^A-Za-z0-9]", lambda char: "_%02x" % ord(char.group()), self.secrets.unit)
        argv = ["busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/" + name]
        code, output = self.command([*argv, "org.freedesktop.systemd1.Service", *BRINGS], 10.0)
        lines = [line for line in output.splitlines() if line.startswith("a")]
        if not lines or (code != 0 and "nknown" not in output):
            return None
        pattern = {"a(ss)": r'"([^"]*)" "([^"]*)"', "a(say)": r'"([^"]*)"()', "as": r'"([^"]*)"()'}
        found = [dict(re.findall(pattern[line.split()[0]], line)) for line in lines]
        return dict(zip(BRINGS, found + [{}] * len(BRINGS)))

    def elders(self, unit: "dict[str, Any]") -> "list[dict[str, Any]]":
        """Processes of the unit that are older than the service's own: a restart has left them, with what they read."""
        found = []
        for pid in self.system.members(unit["cgroup"]) or ():
            shown = self.system.stat(pid)
            if shown and unit["born"] is not None and shown["born"] < unit["born"]:
                found.append(self.elder(pid, shown))
        return found

    def elder(self, pid: int, shown: "dict[str, Any]") -> "dict[str, Any]":
        return {"pid": pid, "comm": self.without_tokens(shown["comm"]), "age": round(shown["age"], 1)}

    def loaded(self, unit: "dict[str, Any]", active: "Optional[dict[str, Any]]") -> "dict[str, Any]":
        """Which token the running process read: its environment, its credential, or the file if it is younger.

        `evidence`: environment, credential, younger, older (the file has changed since), touched (all but its
        content has), none.
        """
        process = self.system.process(unit["pid"]) if unit["pid"] else None
        if not process:
            return {"fingerprint": None, "evidence": "none"}
        held = self.secrets.fingerprint(process["token"]) if is_token(process["token"]) else None
        # One that both reads a file and has another token in its environment may run on either: its answers say.
        if held and (self.secrets.in_line or held == (active or {}).get("fingerprint")):
            return {"fingerprint": held, "evidence": "environment"}
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
        self.go_on()
        folder = self.secrets.open_to_write()
        try:
            self.secrets.clear(folder)
            return work(folder), {}
        except OSError as error:
            failed = Refusal("write-failed", "%s: %s" % (self.secrets.folder, error.strerror))
            raise barred(self.secrets, folder) or failed from None
        finally:
            try:
                self.secrets.clear(folder)
            except OSError:
                pass  # a read-only file system: there is nothing of ours on it
            os.close(folder)

    def probe_write(self) -> "tuple[bool, dict[str, Any]]":
        """A real write where the token will be written, taken away again: see `rehearse`."""

        def work(folder: int) -> bool:
            for name in (self.secrets.active, self.secrets.staged):
                self.replaceable(folder, name)
            rehearse(self.secrets, folder)
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
            if secrets.holds(folder, secrets.staged, want) and secrets.is_outrun(folder, secrets.staged):
                secrets.put(folder, secrets.staged, secrets.known[want])
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

        A tombstone is a salted digest of the token itself, so that it holds for whoever comes, from any bastion. It is
        in a slot, or was told, or the service runs on it. Of any other only the fingerprint is known, which every
        greeting brings.
        """
        if self.state.lock is None:
            raise RuntimeError("a tombstone needs a session that holds the lock")
        self.slots()  # what lies in them is known from now on
        self.secrets.revoked.update((keyed, self.run) for keyed in tokens)
        stones = self.secrets.tombstones
        copy = self.secrets.copy(self.last_unit.get("credential", ""))
        held = dict(self.known, **({self.secrets.fingerprint(copy)["keyed"]: copy} if copy else {}))
        texts = [held[keyed] for keyed in tokens if keyed in held]
        fresh = [text for text in texts if not any(is_under(stone, text) for stone in stones)]
        if not fresh:
            return False, {}
        for text in fresh:
            salt = os.urandom(16)
            digest = hmac.new(salt, text.encode("ascii"), hashlib.sha256).hexdigest()
            stones.append({"salt": salt.hex(), "digest": digest, "run": self.run})
        self.state.keep("tombstones", json.dumps(stones))
        return True, {}

    # -- the service

    def fence(self) -> "tuple[bool, dict[str, Any]]":
        """The unit is stopped: a service that cannot be turned serves nobody with a token that leaked.

        Without the host's lock too, which a full disk may refuse, unless another run has it.
        """
        other = self.state.at_work() if self.state.lock is None else {}
        if other:
            raise Refusal("host-busy", self.state.described(other))
        unit = self.unit()
        cgroup, left = unit["cgroup"], self.system.members(unit["cgroup"])
        if unit["state"] in ("inactive", "failed") and not left:
            return False, {}
        code, output = self.command(["systemctl", "--no-ask-password", "stop", "--", self.service["unit"]], self.left())
        if code != 0:
            raise Refusal("systemctl-failed", output)
        for pid in self.system.members(cgroup) or ():  # KillMode=process: what it leaves would serve on
            self.system.kill(pid)
        return True, {}

    def restart(self) -> "tuple[bool, dict[str, Any]]":
        """A fresh process (restarting.py)."""
        if self.state.lock is None:
            raise RuntimeError("a restart needs a session that holds the lock")
        restarted(self, self.recent_unit())
        return True, {}

    def last_words(self, unit: "dict[str, Any]") -> str:
        """The service's last log lines since its start, or "", for the operator; tokens taken out.

        Of a program that was never begun, or said nothing, those that systemd has about the unit.
        """
        for prefix in ("_SYSTEMD_", ""):
            code, output = self.log_of(unit, 3, prefix)
            words = " / ".join(output.split("\n")).strip(" /") if code == 0 else ""
            if words:
                return self.without_tokens(words)
        return ""

    def logged(self, unit: "dict[str, Any]") -> "list[str]":
        """The fp6 that the service's own log shows since its start: evidence for people, never a decision.

        Not those that it turned away: llama-orch names them as well.
        """
        code, output = self.log_of(unit, 200)
        lines = [line for line in output.splitlines() if REFUSED not in line] if code == 0 else []
        return sorted(set(re.findall(r"\btoken:([0-9a-f]{6})\b", "\n".join(lines))))

    def log_of(self, unit: "dict[str, Any]", lines: int, prefix: str = "_SYSTEMD_") -> "tuple[int, str]":
        if unit["invocation"] in ("", self.outlived):
            return 1, ""  # its process was there before the restart that we asked for, and knows nothing of it
        start = prefix + "INVOCATION_ID=" + unit["invocation"]
        argv = [*JOURNAL, "--lines=%d" % lines, prefix + "UNIT=" + self.secrets.unit, start]
        code, output = self.system.run(argv, 5.0)
        return code, COLOUR.sub("", output)

    def without_tokens(self, text: str) -> str:
        """`text` with every token this agent knows, and all that looks like one, taken out."""
        for token in self.known.values():
            if len(token) >= LEAST_SECRET:
                text = text.replace(token, "[token]")
        return re.sub(r"[0-9A-Za-z_+=-]{32,}", "[secret?]", text)

    # -- the proof (proof.py)

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
        active = self.slots()["active"] or {"fault": "is not there", "fingerprint": None}
        want = want or (active["fingerprint"] or {}).get("keyed")
        if not want:
            raise Refusal("token-missing", "%s %s" % (self.service["token"], active["fault"]))
        proof = Proof(self, want, refuse)
        try:
            unit = proof.of_service(health_seconds, stable_seconds)
        except Refusal as refusal:
            refusal.facts = dict(proof.facts, proven=False)
            other = self.state.at_work() if self.state.lock is None else {}
            if other and other.get("run") != self.run:  # what was seen is that run's work: a restart, a swap
                refusal.trouble, refusal.detail = "host-busy", self.state.described(other)
            raise
        if log:
            proof.facts.update(logged=self.logged(unit), survivors=self.elders(unit))
        return False, proof.facts

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
        now = self.recent_unit()
        if not self.lives(unit) or now["pid"] != unit["pid"]:
            raise why_gone(self, unit, seconds)
        return now

    # -- one step

    def touch(self, verb: str) -> None:
        """Notes once that this run changes the host: from now on it supersedes the older ones.

        To stop a unit needs no disk.
        """
        if not self.mine or self.state.lock is None:
            return
        try:
            self.state.change(self.mine)
            self.mine = {}
        except OSError as error:
            if verb != "fence":
                raise Refusal("write-failed", "/%s: %s" % (STATE, error.strerror)) from None

    def carry_out(self, verb: str, fields: "dict[str, Any]") -> "dict[str, Any]":
        """One step's result: done, or refused with the reason."""
        began = self.system.monotonic()
        result = {"verb": verb, "ok": True, "changed": False, "facts": {}, "trouble": "", "detail": ""}
        try:
            if verb != "observe" and self.left() <= 0:
                raise Refusal("deadline", "no time was left to begin %s" % verb)
            try:
                if verb in TOUCHING:
                    self.touch(verb)
                act = functools.partial(EXTRA[verb], self) if verb in EXTRA else getattr(self, verb)
                result["changed"], result["facts"] = act(**fields)
            except OSError as error:
                raise Refusal("write-failed", "%s: %s" % (verb, error.strerror or type(error).__name__)) from None
        except Refusal as refusal:
            detail = self.without_tokens(refusal.detail)
            result.update(ok=False, trouble=refusal.trouble, detail=detail, facts=refusal.facts)
        if verb in MOVING + CHANGING:
            self.unit_at = NEVER
        if verb in CHANGING:
            self.file_at = NEVER
        if verb in CALLING:
            self.own_calls.keep()
        result["seconds"] = round(self.system.monotonic() - began, 4)
        return result
