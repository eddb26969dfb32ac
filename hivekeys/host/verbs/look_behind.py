"""The agent's verb `look_behind`: what `fab verify` asks of a front and of the service behind it. Changes nothing.

Runs ON the host, as root, in one text with agent.py, when it is asked for. Everything here is a fact; what is good or
bad of it is for hivekeys.verify.checks to say.
"""

import os
import stat

from hivekeys.host.agent import Agent, verb
from hivekeys.host.nginx import ACCEPTED, CONFIGURATION, LOADED, OWN, Nginx, digest_of, is_loopback
from hivekeys.host.paths import NOFOLLOW, names_of, open_directory
from hivekeys.host.sockets import where_to_ask
from hivekeys.host.system import UNIX

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any

LOG_BYTES = 4 << 20  # of each log, from its end
LOGS = ("error.log", "access.ndjson")


@verb("unlocked")
def look_behind(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """The service's unit, who can reach it; the front's files, its map and its logs."""
    nginx = Nginx(agent)
    shown = unit_behind(agent, nginx.behind)
    agent.slots()
    return False, {
        "unit": nginx.behind,
        "state": shown.get("ActiveState", ""),
        "enabled": shown.get("UnitFileState", ""),
        "reached_at": reached_at(agent),
        "open_files": open_files(agent, nginx),
        "map": state_of_map(agent, nginx),
        "leaks": [name for name in LOGS if tells(agent, nginx, name)],
    }


def unit_behind(agent: "Agent", name: str) -> "dict[str, str]":
    argv = ["systemctl", "show", "--no-pager", "--property=ActiveState,UnitFileState", "--", name]
    return dict(line.partition("=")[::2] for line in agent.command(argv, 20.0)[1].splitlines())


def reached_at(agent: "Agent") -> "list[str]":
    """The addresses at which others than the host itself reach the port of the service."""
    service, nginx = agent.service["front"]["behind"], Nginx(agent)
    if nginx.front["firewall"] and nginx.is_shut():
        return []
    rows = [] if service["address"].startswith(UNIX) else agent.system.listening(service["port"])
    return sorted({every(packed) for _, packed, _, _, _ in rows if not is_loopback(packed)})


def every(packed: bytes) -> str:
    return "all addresses" if not any(packed) else where_to_ask(packed)


def open_files(agent: "Agent", nginx: Nginx) -> "list[str]":
    """What of the front is not root's alone, with its mode and owner."""
    found = []
    for path, names in ((nginx.folder, (CONFIGURATION, ACCEPTED, OWN)), (nginx.log_folder, ())):
        folder = open_directory(agent.root, path)
        try:
            for name in (".", *names):
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if info.st_uid != 0 or info.st_mode & 0o077:
                    shown = "%s %04o %s" % (os.path.join(path, name), stat.S_IMODE(info.st_mode), names_of(info)[0])
                    found.append(shown.replace("/. ", " "))
        finally:
            os.close(folder)
    return found


def state_of_map(agent: "Agent", nginx: Nginx) -> str:
    """Whether the map lets in the tokens of the slots alone, and nginx has read it: "", or what is wrong."""
    text = nginx.read("%s/%s" % (nginx.folder, ACCEPTED))
    slots = agent.slots()
    held = [slots[name]["fingerprint"] for name in ("staged", "active", "previous") if slots[name]]
    tokens = [agent.secrets.known[shown["keyed"]] for shown in held if shown]
    active = (slots["active"] or {}).get("fingerprint")
    right = [nginx.accepted([agent.secrets.known[active["keyed"]]])] if active else []
    right += [nginx.accepted([one, other]) for one in tokens for other in tokens if one != other]
    if text is None or text not in right:
        return "does not let in the token in the slots alone"
    loaded = nginx.read("%s/%s" % (nginx.run_folder, LOADED))
    return "" if loaded in (None, digest_of(text)) else "was changed since nginx read it"


def tells(agent: "Agent", nginx: Nginx, name: str) -> bool:
    """True where a log has one of the tokens that this agent knows, or the service's own."""
    own = (nginx.read("%s/%s" % (nginx.folder, OWN)) or "").partition('"Bearer ')[2].partition('"')[0]
    secrets = [token.encode() for token in (own, *agent.secrets.known.values()) if len(token) >= 16]
    folder = open_directory(agent.root, nginx.log_folder)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return False
    finally:
        os.close(folder)
    with os.fdopen(fd, "rb") as file:
        file.seek(max(os.fstat(fd).st_size - LOG_BYTES, 0))
        text = file.read(LOG_BYTES)
    return any(secret in text for secret in secrets)
