"""The agent's verb `inspect`: collects the facts that `fab verify` needs beyond `observe`. Changes nothing.

Runs ON the host, as root, in one text with agent.py, when it is asked for. Everything here is a fact; what is good or
bad of it is for hivekeys.verify.checks to say. A fact that cannot be had is None. The token itself stays on the host:
of its quality only counts leave.
"""

import errno
import os
import re
import stat

from hivekeys.host.agent import Agent, verb
from hivekeys.host.environment import IN_MANAGER, environment_of, in_unit, tokens_set
from hivekeys.host.forms import is_token
from hivekeys.host.origin import Origin
from hivekeys.host.paths import NOFOLLOW, names_of, open_directory
from hivekeys.host.system import Refusal
from hivekeys.host.trail import CHAIN_BYTES, CHAIN_SECONDS, Budget, audit_folder, chain_of

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from hivekeys.host.slots import Secrets

MOST = 20  # names of a kind that are worth sending
READ = 200  # files of the token directory that are read; with more, it is not known
PROCESS = "the running process"
LISTED = 10000  # entries of a directory that are looked at
SHOWN_OF_UNIT = (
    "LoadState,NeedDaemonReload,MainPID,InvocationID,Environment,EnvironmentFiles,UnitFileState,KillSignal,"
    "KillMode,FragmentPath,DropInPaths,NoNewPrivileges,PrivateTmp,ProtectSystem,ProtectHome"
)
LEFT_BY_PEOPLE = ("~", ".swp", ".swo", ".bak", ".old", ".orig", ".save", ".tmp")
AGENT = "/usr/local/lib/hivekeys/agent"  # where restrict.py puts it
# As sudo lists it: 1.9.13 puts backslashes before the quotes, sudo-rs leaves them out.
OUR_RULE = re.compile(r'\(root\) (?:[A-Z]+: )*%s(?: ""| \\"\\")?' % re.escape(AGENT))
# What made-up tokens are made of. Six characters or more: random hex, base32 or base64 has one by chance once in 10^5.
WORDS = re.compile(
    "pass(?:word|w0rd|wort|phrase)|p[a4][s5$][s5$]w[o0]rd|secret|change.?me|default|letmein|welcome|qwerty|azerty|"
    "asdfgh|zxcvbn|iloveyou|dragon|monkey|sunshine|princess|football|baseball|superman|trustno|example|sample|"
    "placeholder|replace|testing|api.?token|llorch|llama.?orch|orchestr|administrator|production|staging|"
    "correct.?horse|deadbeef|cafebabe|feedface|badc0ffe|baadf00d|deadc0de",
    re.IGNORECASE,
)


@verb("unlocked")
def inspect(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """All facts of a host, each on its own: one that fails does not take the others along."""
    shown = unit_properties(agent)
    of_service = had if agent.service["port"] else lambda _fact: None  # a client has none of these
    environment = environment_of(shown["Environment"])
    is_read = shown["LoadState"] == "loaded"  # of a unit that it could not read systemd shows its own defaults
    hardening = ("NoNewPrivileges", "PrivateTmp", "ProtectSystem", "ProtectHome")
    facts = {
        "parents": had(lambda: parents(agent)),
        "hardening": {name: shown[name] for name in hardening if is_read},
        "kill_signal": shown["KillSignal"] if is_read else "",
        "kill_mode": shown["KillMode"] if is_read else "",
        "survivors": of_service(lambda: survivors_of(agent)),
        "enabled": shown["UnitFileState"],
        "environment": of_service(lambda: token_in_environment(agent, shown)),
        "systemd": had(lambda: systemd_version(agent)),
        "log": of_service(lambda: log_lines(agent, shown["InvocationID"])),
        "audit": of_service(lambda: audit_trail(agent, environment)) if is_read else None,
        "chain": of_service(lambda: audit_chain(agent, environment)) if is_read else None,
        "lock": had(lambda: lock(agent)),
        "watch": had(lambda: audit_watch(agent)),
        "temporary": had(lambda: temporary(agent)),
        "login": had(lambda: login(agent)),
    }  # type: dict[str, Any]
    facts.update(had(lambda: in_directory(agent)) or {})
    return False, facts


def had(fact: "Callable[[], Any]") -> "Any":
    """The fact, or None when the host does not let it be seen."""
    try:
        return fact()
    except (OSError, ValueError, Refusal):
        return None


def report(agent: "Agent", names: "list[str]") -> "list[str]":
    """Names that are worth sending. A name is no place where a token is expected, and may hold one all the same."""
    return [agent.without_tokens(name) for name in names[:MOST]]


def unit_properties(agent: "Agent") -> "dict[str, str]":
    """The unit's properties by name; EnvironmentFiles may stand there several times and is one text with lines."""
    if not agent.service["unit"]:
        return dict.fromkeys(SHOWN_OF_UNIT.split(","), "")
    argv = ["systemctl", "show", "--no-pager", "--property=" + SHOWN_OF_UNIT, "--", agent.service["unit"]]
    code, output = agent.command(argv, 20.0)
    if code != 0:
        raise Refusal("systemctl-failed", output)
    shown = dict.fromkeys(SHOWN_OF_UNIT.split(","), "")
    for line in output.splitlines():
        name, _, value = line.partition("=")
        if name in shown:
            shown[name] = "%s\n%s" % (shown[name], value) if shown[name] else value
    return shown


def parents(agent: "Agent") -> "list[dict[str, Any]]":
    """Every directory above the token directory, from the root on."""
    found = []
    path = "/"
    for part in [*agent.secrets.real_folder().strip("/").split("/")[:-1], ""]:
        info = os.lstat(agent.root.rstrip("/") + path)
        found.append({"path": path, "mode": stat.S_IMODE(info.st_mode), "owner": names_of(info)[0]})
        path = os.path.join(path, part)
    return found


def in_directory(agent: "Agent") -> "dict[str, Any]":
    """What is in the token directory, through its descriptor: links and ACLs, the token's quality, other files."""
    secrets = agent.secrets
    folder = secrets.open()
    try:
        space = os.statvfs(folder)
        names = sorted(os.listdir(folder))
        facts = {"free": space.f_bavail * space.f_frsize, "links": None, "quality": None}  # type: dict[str, Any]
        acl = [secrets.folder] if has_acl(folder) else []
        shown = secrets.look(folder, secrets.active)
        keyed = shown["fingerprint"]["keyed"] if shown and shown["fingerprint"] else None
        if keyed:
            fd = os.open(secrets.active, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
            try:
                facts["links"] = os.fstat(fd).st_nlink
                if has_acl(fd):
                    acl.append(secrets.active)
            finally:
                os.close(fd)
            facts["quality"] = quality(secrets.known[keyed])
        facts["acl"] = acl if acl or keyed else None
        others = [name for name in names if name not in secrets.names]
        strays = [name for name in others if is_stray(name, secrets)]
        facts["strays"] = report(agent, strays)
        if keyed and len(others) <= READ:
            same = [name for name in others if name not in strays and secrets.holds(folder, name, keyed)]
            facts["reused"] = report(agent, same)
        return facts
    finally:
        os.close(folder)


def has_acl(fd: int) -> bool:
    """True when an account beside owner, group and others has its own rights: acl(5)."""
    try:
        return any(name.startswith("system.posix_acl") for name in os.listxattr(fd))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return False
        raise


def is_stray(name: str, secrets: "Secrets") -> bool:
    """A copy that a person, an editor or a script left: named after the token, or as editors name theirs.

    Beside an environment file others have files too, and copies of them.
    """
    by_name = name.endswith(LEFT_BY_PEOPLE) and not secrets.in_line
    return is_named_after(name.lstrip(".#"), secrets.active) or by_name


def is_named_after(name: str, active: str) -> bool:
    """api-token, api-token.old, api-token-new; not api-tokenizer.json, which only begins like it."""
    return name.startswith(active) and not name[len(active) : len(active) + 1].isalnum()


def quality(token: str) -> "dict[str, int]":
    """Counts that tell a random token from a made-up one (hivekeys.protocol.inspected.Quality)."""
    longest = run = 1
    step = None  # type: Optional[int]
    for one, two in zip(token, token[1:]):
        now = ord(two) - ord(one)
        run = run + 1 if now == step and now in (-1, 0, 1) else 2 if now in (-1, 0, 1) else 1
        step = now
        longest = max(longest, run)
    period = next(size for size in range(1, len(token) + 1) if token.startswith(token[size:]))
    counts = {"chars": len(token), "symbols": len(set(token)), "run": longest, "period": period}
    counts.update(digits=sum(char.isdigit() for char in token), words=len(WORDS.findall(token)))
    return counts


def temporary(agent: "Agent") -> "list[str]":
    """Token files in the directories that every account can write to, where the guide's commands leave them."""
    found = []
    for place in ("tmp", "var/tmp"):
        folder = open_directory(agent.root, place)
        try:
            names = os.listdir(folder)
        finally:
            os.close(folder)
        found += ["/%s/%s" % (place, name) for name in sorted(names) if is_named_after(name, agent.secrets.active)]
    return report(agent, found)


def token_in_environment(agent: "Agent", shown: "dict[str, str]") -> "dict[str, Any]":
    """Where LLORCH_API_TOKEN is set, and the environment files that could not be read. No value leaves the host."""
    found, unread = in_unit(agent.root, shown)
    origin = Origin(agent, agent.unit.recent())
    places = [agent.service["token"] if origin.is_token_file(where) else where for where, _ in found]
    unread = not_read(agent, shown) + unread
    code, output = agent.command(["systemctl", "show-environment"], 10.0)
    if code != 0:
        unread.append(IN_MANAGER)
    elif tokens_set(output):
        places.append(IN_MANAGER)
    pid = int(shown["MainPID"] or 0)
    process = agent.system.process(pid) if pid else None
    if process and process["env_token"]:
        places.append(PROCESS)
    active = agent.slots()["active"] or {"fingerprint": None}
    held = agent.secrets.fingerprint(process["token"]) if process and is_token(process["token"]) else None
    is_of_file = bool(held) and held == active["fingerprint"] and origin.file == agent.service["token"]
    places = list(dict.fromkeys(places))
    return {"places": report(agent, places), "unread": report(agent, unread), "is_of_file": is_of_file}


def survivors_of(agent: "Agent") -> "list[dict[str, Any]]":
    """Processes that are older than the service's and may have its earlier token: none of them is tried here.

    The unit's own, unless they have the token of today in their environment; and others of the service's account that
    have another one there.
    """
    unit, active = agent.unit.recent(), agent.slots()["active"] or {}
    members = agent.system.members(unit["cgroup"])
    if members is None:
        raise ValueError("no control group")
    today = (active.get("fingerprint") or {}).get("keyed")
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        process = agent.system.process(pid)
        if process is None or pid == unit["pid"] or (unit["pid"] and process["born"] >= unit["born"]):
            continue
        held = agent.secrets.fingerprint(process["token"])["keyed"] if is_token(process["token"]) else None
        ours = pid in members or process["uid"] == unit["uid"]
        if ours and held != today and (held or pid in members):
            found.append(agent.unit.elder(pid, process))
    return found[:MOST]


def not_read(agent: "Agent", shown: "dict[str, str]") -> "list[str]":
    """What of the unit's files systemd could not read, or has not read yet."""
    if shown["LoadState"] != "loaded":
        return ["%s, which is %s" % (agent.service["unit"], shown["LoadState"])]
    return ["what was changed of the unit since systemd read it"] if shown["NeedDaemonReload"] == "yes" else []


def login(agent: "Agent") -> "dict[str, Any]":
    """Who logged in, whether by an installed agent, and what else sudo lets that account do; root needs no sudo."""
    name = os.environ.get("SUDO_USER", "")
    rules = other_rules(agent, name) if name else []
    return {
        "account": name,
        "restricted": agent.installed,
        "rules": None if rules is None else report(agent, rules),
        "records": agent.sudo_log or [],
    }


def other_rules(agent: "Agent", account: str) -> "Optional[list[str]]":
    """What sudo lets an account do beyond running the installed agent, as sudo lists it; None where it does not."""
    code, output = agent.command(["sudo", "-n", "-l", "-U", account], 10.0)
    if code not in (0, 1):
        return None
    rules = [line.strip() for line in output.splitlines() if re.match(r"\s+\(", line)]
    return [rule for rule in rules if not OUR_RULE.fullmatch(rule)]


def systemd_version(agent: "Agent") -> "Optional[int]":
    found = re.match(r"systemd (\d+)", agent.command(["systemctl", "--version"], 10.0)[1])
    return int(found.group(1)) if found else None


def log_lines(agent: "Agent", invocation: str) -> "dict[str, bool]":
    """What the service said of its token since it started."""
    code, output = agent.unit.log_of({"invocation": invocation}, 1000)
    if code != 0 or not invocation:
        raise ValueError("no log")
    return {"loaded": "loaded from file" in output or "API token loaded" in output, "dev_mode": "dev mode" in output}


def audit_watch(agent: "Agent") -> "Optional[bool]":
    """Whether auditd watches the token file, its directory or one above; None where there is no auditd."""
    code, output = agent.command(["auditctl", "-l"], 10.0)
    return watches(output, agent.service["token"]) if code == 0 else None


def watches(rules: str, token: str) -> bool:
    """True when one of auditctl's rules is about reading the token; "-w PATH -p r", or "path=" or "dir=" of a rule."""
    for rule in rules.splitlines():
        found = re.search(r"(?:^-w |\bpath=|\bdir=)(\S+)", rule)
        rights = re.search(r"(?:-p |\bperm=)(\w+)", rule)
        of_it = found and (token == found.group(1) or token.startswith(found.group(1).rstrip("/") + "/"))
        if of_it and (not rights or "r" in rights.group(1)):
            return True
    return False


def audit_chain(agent: "Agent", environment: "dict[str, str]") -> "dict[str, Any]":
    """Whether the trail's hash chain is whole, as far as the time allows."""
    folder = open_directory(agent.root, audit_folder(environment))
    try:
        seconds = min(CHAIN_SECONDS, agent.deadline.left() / 2)  # what else was asked for needs time as well
        return chain_of(folder, os.listdir(folder)[:LISTED], Budget(CHAIN_BYTES, seconds, agent.system.monotonic))
    finally:
        os.close(folder)


def lock(agent: "Agent") -> "dict[str, Any]":
    """Who holds the host's lock."""
    holder = agent.state.at_work()
    return {"held": bool(holder), "run": str(holder.get("run", "")), "who": str(holder.get("who", ""))}


def audit_trail(agent: "Agent", environment: "dict[str, str]") -> "dict[str, Any]":
    """Is the service's audit trail on, where, and how fresh; the files are only looked at from outside."""
    place = audit_folder(environment)
    facts = {"on": environment.get("LLORCH_AUDIT_MODE", "") == "local", "folder": agent.without_tokens(place)}  # type: dict[str, Any]
    facts.update(mode=None, owner="", newest=None)
    try:
        folder = open_directory(agent.root, place)
    except OSError as error:
        if error.errno == errno.ENOENT or not facts["on"]:
            return facts
        raise  # for example a link on the way: what is behind it is not known
    try:
        info = os.fstat(folder)
        facts.update(mode=stat.S_IMODE(info.st_mode), owner=names_of(info)[0])
        for name in os.listdir(folder)[:LISTED]:
            if name.endswith((".audit", ".ndjson")):
                changed = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
                facts["newest"] = max(changed, facts["newest"] or 0.0)
    finally:
        os.close(folder)
    return facts
