"""The agent's verb `watch`: an auditd rule that notes who reads the token file.

Runs ON the host, as root, in one text with agent.py, when it is asked for. The rule is the guide's ("Monitor Secret
Access"): loaded with auditctl, and in a file of rules.d, from which augenrules(8) loads it when the host starts. A rule
of somebody else's that sees the same is enough, and is never taken away.
"""

import os
import re

from hivekeys.host.agent import Agent, verb
from hivekeys.host.paths import open_directory
from hivekeys.host.root_files import read_file, write_file
from hivekeys.host.system import Refusal
from hivekeys.host.verbs.fix import Work
from hivekeys.host.verbs.inspect import watches

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Iterable

RULES = "/etc/audit/rules.d"
OURS = RULES + "/50-hivekeys.rules"
KEY = "secret-access"  # the guide's
MARK = "# Written by hivekeys (`fab watch`); `fab watch --remove` takes it away.\n"
LOCKED = "the rules are locked until the host starts again (auditctl -e 2)"


@verb()
def watch(agent: "Agent", *, apply: bool, options: "Iterable[str]" = ()) -> "tuple[bool, dict[str, Any]]":
    """The rule for the token file in force and kept, or with the option "remove" neither."""
    path = agent.service["token"]
    if not re.fullmatch(r"[!-~]+", path):
        raise Refusal("token-unsafe", "%s: auditd would not read this path as it stands" % path)
    work = Work(agent, apply)
    loaded = rules(agent)
    locked = re.search(r"^enabled 2$", control(agent, "-s"), re.MULTILINE) is not None
    if "remove" in options:
        unwatch(work, path, loaded, locked)
    else:
        keep_rule(work, path)
        if not watches(loaded, path):
            load_rule(work, path, locked)
    return work.result()


def rule(path: str) -> "list[str]":
    """What follows `-w` or `-W`."""
    return [path, "-p", "r", "-k", KEY]


def rules(agent: "Agent") -> str:
    """The rules in force."""
    return control(agent, "-l")


def control(agent: "Agent", *words: str) -> str:
    """What auditctl says; a host without auditd, or whose kernel does not let it, is a refusal."""
    code, output = agent.command(["auditctl", *words], 10.0)
    if code == 127:
        raise Refusal("auditd-missing", output)
    if code != 0:
        raise Refusal("auditd-unusable", " ".join(output.split()) or "auditctl ended with status %d" % code)
    return output


def keep_rule(work: "Work", path: str) -> None:
    """The rule in rules.d, unless a file there has one that sees the same."""
    agent, text = work.agent, MARK + "-w " + " ".join(rule(path)) + "\n"
    before = read_file(agent.root, OURS)
    if before == text or any(watches(other, path) for other in rules_of_others(agent)):
        return
    shown = "not there" if before is None else "another version"
    work.note("watch", OURS, shown, "there", lambda: write_file(agent, OURS, text))


def rules_of_others(agent: "Agent") -> "list[str]":
    """The texts of the other files in rules.d."""
    try:
        folder = open_directory(agent.root, RULES)
    except OSError:
        raise Refusal("auditd-missing", "%s: there is no such directory" % RULES) from None
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".rules"))[:100]
    finally:
        os.close(folder)
    paths = [os.path.join(RULES, name) for name in names]
    return [read_file(agent.root, path) or "" for path in paths if path != OURS]


def load_rule(work: "Work", path: str, locked: bool) -> None:
    if locked:
        work.refuse("watch", path, "not watched", "watched", LOCKED)
    else:
        work.note("watch", path, "not watched", "watched", lambda: loading(work.agent, path))


def loading(agent: "Agent", path: str) -> None:
    """Loads the rule, and looks whether it is there: auditctl's exit status differs between versions."""
    output = agent.command(["auditctl", "-w", *rule(path)], 10.0)[1]
    if not watches(rules(agent), path):
        raise Refusal("auditd-unusable", " ".join(output.split()) or "the rule was not loaded")


def unwatch(work: "Work", path: str, loaded: str, locked: bool) -> None:
    """Our file, and the rule in force if it is ours: the file goes last, and says until then whose the rule is."""
    agent = work.agent
    ours = (read_file(agent.root, OURS) or "").startswith(MARK)
    in_force = "-w " + " ".join(rule(path)) in loaded.splitlines()
    if in_force and not ours:
        work.refuse("watch", path, "watched", "not watched", "the rule is not hivekeys': auditctl -W takes it away")
    elif in_force and locked:
        work.refuse("watch", path, "watched", "not watched", LOCKED)
    elif in_force and any(watches(other, path) for other in rules_of_others(agent)):
        work.refuse("watch", path, "watched", "not watched", "another file in %s asks for it" % RULES)
    elif in_force:
        work.note("watch", path, "watched", "not watched", lambda: unloading(agent, path))
    if ours:
        work.note("watch", OURS, "there", "removed", lambda: forget_rule(agent))


def unloading(agent: "Agent", path: str) -> None:
    control(agent, "-W", *rule(path))


def forget_rule(agent: "Agent") -> None:
    folder = open_directory(agent.root, RULES)
    try:
        os.unlink(os.path.basename(OURS), dir_fd=folder)
        os.fsync(folder)
    finally:
        os.close(folder)
