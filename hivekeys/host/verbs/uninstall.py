"""The agent's verb `uninstall`: removes what `install` put on this host, in reverse order, and nothing else.

Runs ON the host, as root, in one text with agent.py, when it is asked for.
"""

import os

from hivekeys.host.agent import Agent, verb
from hivekeys.host.dropin import HEADER, drop_in_path, remove_file
from hivekeys.host.paths import open_directory
from hivekeys.host.root_files import read_file, write_file
from hivekeys.host.setup import done, exists, installed, remember, remove_directory
from hivekeys.host.system import Refusal
from hivekeys.host.verbs.fix import Work
from hivekeys.host.verbs.install import has_group
from hivekeys.host.verbs.restrict import KINDS, take_part_away

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Iterable


@verb("moves", "changes")
def uninstall(agent: "Agent", *, apply: bool, options: "Iterable[str]" = ()) -> "tuple[bool, dict[str, Any]]":
    """Takes away what install put there, last first. A service whose token goes is stopped.

    `options`: "last" for what the last install of this session did, because its service does not work with that.
    """
    work = Work(agent, apply)
    things = installed(agent)
    unit = agent.service["unit"]
    if "last" in options:
        return undo(work, things)
    if ["token", agent.service["token"]] in things and agent.service["port"]:
        # Without one it would log "dev mode" and refuse everybody (llama-orch.md, "Missing token"), or let them in.
        stop = ["systemctl", "--no-ask-password", "stop", "--", unit]
        work.note("service", unit, agent.unit.look()["state"], "stopped", lambda: done(agent, stop))
    left = list(things)
    for kind, path in reversed(things):
        before = len(work.changes)
        (take_part_away if kind in KINDS else take_away)(work, kind, path)
        left.remove([kind, path])
        if apply and not any(change["refused"] for change in work.changes[before:]):
            remember(agent, left)
    if things and apply:
        forget(agent)
    return work.result()


def undo(work: Work, things: "list[list[str]]") -> "tuple[bool, dict[str, Any]]":
    """As the host was before the last install: a drop-in of ours that was there has its text of then."""
    agent, path = work.agent, drop_in_path(work.agent)
    if agent.before_install is None:
        raise Refusal("slot-changed", "this agent has installed nothing: it does not know what was there before")
    before, text = agent.before_install
    if text is not None and text != read_file(agent.root, path):
        work.note("unit", path, "the new version", "as before", lambda: put_back(agent, path, text or ""))
    for kind, path in reversed([thing for thing in things if thing not in before]):
        take_away(work, kind, path)
    remember(agent, before)
    return work.result()


def put_back(agent: "Agent", path: str, text: str) -> None:
    write_file(agent, path, text)
    done(agent, ["systemctl", "daemon-reload"])


def take_away(work: Work, kind: str, path: str) -> None:
    agent = work.agent
    if kind == "fleet":
        work.note("fleet", path, "its record", "removed", lambda: None)  # with the rest of our directory, at the end
    elif kind == "enabled":
        disable = ["systemctl", "--no-ask-password", "disable", "--quiet", "--", path]
        work.note("enabled", path, "starts at boot", "does not", lambda: done(agent, disable))
    elif kind == "drop-in":
        if (read_file(agent.root, path) or "").startswith(HEADER):
            work.note("unit", path, "there", "removed", lambda: remove_drop_in(agent, path))
    elif kind == "token":
        work.note("token", path, "there", "removed", lambda: remove_slots(agent))
    elif kind == "directory":
        take_directory_away(work, path)
    elif kind in ("account", "group") and any(change["refused"] for change in work.changes):
        work.refuse("account", path, "there", "removed", "there are files left that may be its own")
    elif kind == "account":
        work.note("account", path, "there", "removed", lambda: done(agent, ["userdel", "--", path]))
    elif kind == "group":
        work.note("account", path, "there, a group", "removed", lambda: remove_group(agent, path))


def remove_group(agent: "Agent", name: str) -> None:
    if has_group(name):  # some systems take it away together with its only account
        done(agent, ["groupdel", "--", name])


def remove_drop_in(agent: "Agent", path: str) -> None:
    remove_file(agent, path)
    done(agent, ["systemctl", "daemon-reload"])


def remove_slots(agent: "Agent") -> None:
    secrets = agent.secrets
    folder = secrets.open()
    try:
        for name in secrets.names:
            secrets.remove(folder, name)
        os.fsync(folder)
    finally:
        os.close(folder)


def take_directory_away(work: Work, path: str) -> None:
    try:
        fd = open_directory(work.agent.root, path)
    except OSError:
        return
    try:
        others = os.listdir(fd)
    finally:
        os.close(fd)
    if others and work.apply:
        work.refuse("directory", path, "%d files" % len(others), "removed", "it is not empty")
    else:
        work.note("directory", path, "there", "removed when empty", lambda: remove_directory(work.agent, path))


def forget(agent: "Agent") -> None:
    """Our own directory goes last; the lock in it dies with this agent."""
    folder = agent.state.open(create=False)
    if folder is None:
        return
    try:
        for name in ("installed", "fleet", "run", "calls", "lock"):
            if exists(folder, name):
                os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)
    levels = agent.state.levels()
    while levels:  # the service beside another may be the last one of its kind; the other's directory is not empty
        remove_directory(agent, os.path.join("/var/lib", *levels))
        levels.pop()
