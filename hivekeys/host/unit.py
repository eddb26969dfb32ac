"""The service's unit on a host, as systemd, /proc and the journal show it.

Runs ON a host, in one text with agent.py.
"""

import re

from hivekeys.host.environment import environment_of, file_named, in_unit
from hivekeys.host.forms import is_token
from hivekeys.host.origin import BRINGS, Origin
from hivekeys.host.restarting import RESTARTABLE, restart_bar, stop_seconds, why_gone
from hivekeys.host.slots import CREDENTIALS
from hivekeys.host.state import POLL_SECONDS
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

    from hivekeys.host.agent import Agent

RECENT_SECONDS = 2.0  # a look at a unit that is no older will do, while its process lives and we did not move it
FILE_SECONDS = 30.0  # the same for the token file that a unit is told to read: people change that, not restarts
NEVER = float("-inf")
NO_UNIT = "no unit"  # `load` of a client that has none (hivekeys.protocol.seen.NO_UNIT)
TEXTS_OF_UNIT = ("load", "state", "sub", "result", "invocation", "cgroup", "kill_mode", "reads", "credential")
PROPERTIES = (
    "LoadState,ActiveState,SubState,Result,MainPID,NRestarts,InvocationID,ControlGroup,Environment,EnvironmentFiles,"
    "FragmentPath,DropInPaths,Id,ExecStart,UnsetEnvironment,KillMode," + RESTARTABLE
)
JOURNAL = ["journalctl", "--no-pager", "--quiet", "--output=cat"]
REFUSED = "auth failed"  # in log lines of the services about callers without the token
UNIT_LOOKS = []  # type: list[Any]  # functions of notify.py, where that is sent: (agent, unit, facts) -> None
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # the services colour their lines, between a field's name and its value too


class Unit:
    """What was seen of the unit, and when; a look that is a moment old will do."""

    def __init__(self, agent: "Agent") -> None:
        self.agent = agent
        self.last, self.looked_at = {}, NEVER  # type: dict[str, Any], float
        self.file_at = NEVER
        self.proven = ()  # type: tuple[Any, ...]  # a process, the tokens it was proven with, since when; until a change
        self.outlived = ""  # the invocation that was to end with our restart
        self.restart_facts = {"bar": None, "stop_seconds": None}  # type: dict[str, Any]
        self.origin_facts = {}  # type: dict[str, Any]  # where the unit has its token from
        self.audit_settings = {}  # type: dict[str, str]  # what its unit says of the service's audit trail
        self.properties = {}  # type: dict[str, str]  # what systemctl said of its unit
        self.settings = ([], [])  # type: tuple[list[tuple[str, str]], list[str]]  # LLORCH_API_TOKEN there: in_unit

    def forget(self, settings: bool = False) -> None:
        """What was seen counts no more; with `settings`, nor does where the token comes from."""
        self.looked_at = NEVER
        if settings:
            self.file_at = NEVER

    def described(self) -> "dict[str, Any]":
        """Everything that decisions are made from, as a look reports it."""
        agent, unit = self.agent, self.recent()
        if not agent.service["unit"]:
            unit.update(reads="", sources=[], unnamed="", bar=None, stop_seconds=None, beside=None)
            return unit
        if self.file_at < agent.system.monotonic() - FILE_SECONDS:
            origin = Origin(agent, unit)
            self.origin_facts = {"reads": origin.file, "sources": origin.others, "unnamed": origin.why}
            self.restart_facts["bar"] = restart_bar(agent, self.properties)
            self.restart_facts["stop_seconds"] = stop_seconds(agent, unit, self.properties)
            for look in UNIT_LOOKS:
                look(agent, unit, self.restart_facts)
            self.file_at = agent.system.monotonic()
        unit.update(self.restart_facts, **self.origin_facts)
        members = agent.system.members(unit["cgroup"])
        unit["beside"] = None if members is None else len(set(members) - {unit["pid"]})
        return unit

    def look(self) -> "dict[str, Any]":
        """What systemd and /proc say of the service; of its environment only the token file's path."""
        if not self.agent.service["unit"]:  # a client that reads its file by itself
            self.last = dict(dict.fromkeys(TEXTS_OF_UNIT, ""), born=None, started=None, uid=None)
            self.last.update(load=NO_UNIT, pid=0, restarts=0, env_token=False)
            return dict(self.last)
        argv = ["systemctl", "show", "--no-pager", "--property=" + PROPERTIES, "--", self.agent.service["unit"]]
        code, output = self.agent.command(argv, 20.0)
        if code != 0:
            raise Refusal("systemctl-failed", output)
        shown = {}  # type: dict[str, str]
        for name, _, value in (line.partition("=") for line in output.splitlines()):
            shown[name] = "%s\n%s" % (shown[name], value) if name in shown else value  # EnvironmentFiles, each a line
        pid = int(shown.get("MainPID") or 0)
        process = self.agent.system.process(pid) if pid else None
        environment = environment_of(shown.get("Environment", ""))
        self.properties, self.settings = shown, in_unit(self.agent.root, shown)
        self.agent.secrets.unit = self.name()
        reads = file_named(self.agent.root, shown) or (process["reads"] if process else "")
        inside = "/%s/%s/" % (CREDENTIALS, self.agent.secrets.unit)
        self.audit_settings = {name: environment[name] for name in environment if name.startswith("LLORCH_AUDIT_")}
        self.looked_at = self.agent.system.monotonic()
        self.last = {
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
            "reads": self.agent.without_tokens(reads),
            "credential": reads[len(inside) :] if reads.startswith(inside) else "",
            "env_token": "LLORCH_API_TOKEN" in environment or bool(process and process["env_token"]),
        }
        return dict(self.last)

    def recent(self) -> "dict[str, Any]":
        """As `look`, or what that saw a moment ago: each look is a process."""
        if self.looked_at < self.agent.system.monotonic() - RECENT_SECONDS or not self.lives(self.last):
            return self.look()
        return dict(self.last)

    def name(self) -> str:
        """The unit's own name, by which systemd keeps its credentials and its log; the inventory may have an alias."""
        return self.properties.get("Id") or str(self.agent.service["unit"])

    def file_read(self, unit: "dict[str, Any]") -> str:
        """The token file that the unit is told to read; "" when it cannot be told."""
        return Origin(self.agent, unit).file

    def credentials(self) -> "Optional[dict[str, dict[str, str]]]":
        """What brings the unit's credentials: for each way the path or "", by name; None when systemd does not say.

        systemctl shows it as "[unprintable]" (247 to 257): busctl asks systemd itself. It stops at the first property
        that its systemd does not know.
        """
        name = re.sub("[^A-Za-z0-9]", lambda char: "_%02x" % ord(char.group()), self.agent.secrets.unit)
        argv = ["busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/" + name]
        code, output = self.agent.command([*argv, "org.freedesktop.systemd1.Service", *BRINGS], 10.0)
        lines = [line for line in output.splitlines() if line.startswith("a")]
        if not lines or (code != 0 and "nknown" not in output):
            return None
        pattern = {"a(ss)": r'"([^"]*)" "([^"]*)"', "a(say)": r'"([^"]*)"()', "as": r'"([^"]*)"()'}
        found = [dict(re.findall(pattern[line.split()[0]], line)) for line in lines]
        return dict(zip(BRINGS, found + [{}] * len(BRINGS)))

    def elders(self, unit: "dict[str, Any]") -> "list[dict[str, Any]]":
        """Processes of the unit that are older than the service's own: a restart has left them, with what they read."""
        found = []
        for pid in self.agent.system.members(unit["cgroup"]) or ():
            shown = self.agent.system.stat(pid)
            if shown and unit["born"] is not None and shown["born"] < unit["born"]:
                found.append(self.elder(pid, shown))
        return found

    def elder(self, pid: int, shown: "dict[str, Any]") -> "dict[str, Any]":
        return {"pid": pid, "comm": self.agent.without_tokens(shown["comm"]), "age": round(shown["age"], 1)}

    def loaded(self, unit: "dict[str, Any]", active: "Optional[dict[str, Any]]") -> "dict[str, Any]":
        """Which token the running process read: its environment, its credential, or the file if it is younger.

        `evidence`: environment, credential, younger, older (the file has changed since), touched (all but its
        content has), answers (so has its content, and the service takes that without a restart), file (there is no
        unit whose process could have read it), none.
        """
        if unit["load"] == NO_UNIT and active and active["fingerprint"]:
            return {"fingerprint": active["fingerprint"], "evidence": "file"}
        process = self.agent.system.process(unit["pid"]) if unit["pid"] else None
        if not process:
            return {"fingerprint": None, "evidence": "none"}
        held = self.agent.secrets.fingerprint(process["token"]) if is_token(process["token"]) else None
        # One that both reads a file and has another token in its environment may run on either: its answers say.
        if held and (self.agent.secrets.in_line or held == (active or {}).get("fingerprint")):
            return {"fingerprint": held, "evidence": "environment"}
        copy = self.agent.secrets.credential(unit["credential"])
        if copy:
            return {"fingerprint": copy, "evidence": "credential"}
        if unit["started"] is None or not active or not active["fingerprint"]:
            return {"fingerprint": None, "evidence": "none"}
        # A process start is known to a clock tick (10 ms), a file's change to the kernel's timer.
        if unit["started"] + 0.02 >= active["changed"]:
            return {"fingerprint": active["fingerprint"], "evidence": "younger"}
        # Mode or owner were mended since the start, or the file was renamed: only the service's answers can tell.
        touched = unit["started"] + 0.02 >= active["modified"]
        changed = "answers" if "apply" in self.agent.service else "older"
        return {"fingerprint": None, "evidence": "touched" if touched else changed}

    def lives(self, unit: "dict[str, Any]") -> bool:
        """True while the unit's process is the one that was seen."""
        return bool(unit["pid"]) and unit["born"] is not None and self.agent.system.born(unit["pid"]) == unit["born"]

    def proven_since(self, unit: "dict[str, Any]", tokens: "tuple[str, ...]", since: float) -> float:
        """Since when this process has been up with these tokens, by the first proof; `since`: by the one in hand."""
        process = unit["pid"], unit["born"], tokens
        if self.proven[:3] != process:
            self.proven = (*process, since)
        return self.proven[3]  # type: ignore[no-any-return]

    def hold(self, unit: "dict[str, Any]", end: float) -> bool:
        """Waits until then, or until the process ends; False where nothing was left to wait for."""
        left = self.agent.deadline.left(max(end - self.agent.system.monotonic(), 0.0))
        end = self.agent.system.monotonic() + left
        while self.lives(unit) and self.agent.system.monotonic() < end:
            self.agent.deadline.pause(min(POLL_SECONDS * 4, max(end - self.agent.system.monotonic(), 0.001)))
        return left > 0

    def same_process(self, unit: "dict[str, Any]", seconds: float) -> "dict[str, Any]":
        """The unit as it is now; refuses when its process is not the one that was seen."""
        now = self.recent()
        if not self.lives(unit) or now["pid"] != unit["pid"]:
            raise why_gone(self.agent, unit, seconds)
        return now

    def last_words(self, unit: "dict[str, Any]") -> str:
        """The service's last log lines since its start, or "", for the operator; tokens taken out.

        Of a program that was never begun, or said nothing, those that systemd has about the unit.
        """
        for prefix in ("_SYSTEMD_", ""):
            code, output = self.log_of(unit, 3, prefix)
            words = " / ".join(output.split("\n")).strip(" /") if code == 0 else ""
            if words:
                return self.agent.without_tokens(words)
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
        argv = [*JOURNAL, "--lines=%d" % lines, prefix + "UNIT=" + self.agent.secrets.unit, start]
        code, output = self.agent.system.run(argv, 5.0)
        return code, COLOUR.sub("", output)
