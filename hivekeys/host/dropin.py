"""The systemd drop-in that `install` writes for a unit, and LLORCH_API_TOKEN removed from the other drop-ins.

Runs ON the host, as root, in one text with agent.py. A drop-in that systemd would not take is gone again before systemd
has read it.
"""

import os
import re

from hivekeys.host.agent import Agent
from hivekeys.host.environment import environment_of
from hivekeys.host.paths import open_directory
from hivekeys.host.root_files import read_file, write_file
from hivekeys.host.setup import Setup, done, make_directory, missing_from, remove_directory
from hivekeys.host.system import Refusal
from hivekeys.host.verbs.inspect import systemd_version
from hivekeys.host.written import folders_written

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any

UNITS = "/etc/systemd/system"
DROP_IN = "50-hivekeys.conf"
HEADER = "# Written by `fab install`; `fab uninstall` takes it away. Changes made here are lost.\n"
CREDENTIALS_SINCE = 250  # systemd: `%d`; guide.md, "Using systemd Credentials"
HARDENING = "NoNewPrivileges=true\nPrivateTmp=true\nProtectSystem=strict\nProtectHome=true\n"  # guide.md, the unit
HOMES = ("/home/", "/root/", "/run/user/")  # systemd.exec(5), ProtectHome=
HARDENED = ("NoNewPrivileges", "PrivateTmp", "ProtectSystem", "ProtectHome")
PLAIN = re.compile(r"[\w@%+=:,./-]+")  # a path that systemd reads as it stands
IN_QUOTES = r'"LLORCH_API_TOKEN=(?:[^"\\]|\\.)*"' + r"|'LLORCH_API_TOKEN=(?:[^'\\]|\\.)*'"
SETTING = re.compile(r"(?:%s|(?<!\S)LLORCH_API_TOKEN=\S*)[ \t]*" % IN_QUOTES)
NAMED = re.compile(r"LLORCH_API_TOKEN(?!_FILE)")


def unit_of(agent: "Agent") -> "dict[str, Any]":
    """What systemd knows of the unit before anything of it is changed."""
    name = agent.service["unit"]
    wanted = ",".join(("LoadState", "FragmentPath", "DropInPaths", "UnitFileState", "Environment", *HARDENED))
    code, output = agent.command(["systemctl", "show", "--no-pager", "--property=" + wanted, "--", name], 20.0)
    shown = dict(line.partition("=")[::2] for line in output.splitlines())
    if code != 0:
        raise Refusal("systemctl-failed", output)
    if shown.get("LoadState") != "loaded":
        raise Refusal("unit-missing", "%s is %s" % (name, shown.get("LoadState") or "unknown"))
    paths = [path for path in shown.get("DropInPaths", "").split() if not path.endswith("/" + DROP_IN)]
    return {
        **{key: shown.get(key, "") for key in HARDENED},
        "texts": [*paths, shown.get("FragmentPath", "")],
        "enabled": shown.get("UnitFileState", ""),
        "environment": environment_of(shown.get("Environment", "")),
    }


def without_token(setup: Setup, path: str) -> None:
    """Takes LLORCH_API_TOKEN out of a drop-in; in a unit file it is named, and kept from the process."""
    agent = setup.agent
    text = read_file(agent.root, path)
    if text is None or not names_token(text):
        return
    without, said = without_settings(text), "sets LLORCH_API_TOKEN"
    if setup.apply and "keep-environment" in setup.options:
        setup.add("environment", path, said, "does not", "")  # done when the file is proven
    elif path.startswith(UNITS + "/") and path.endswith(".conf") and not names_token(without):

        def write() -> None:
            write_file(agent, path, without)
            done(agent, ["systemctl", "daemon-reload"])

        setup.note("environment", path, said, "does not", write)
    else:
        why = "take it out by hand; the drop-in keeps it from the process"
        setup.refuse("environment", path, said, "does not", why)


def names_token(text: str) -> bool:
    """True when a line other than a comment, or one that unsets it, names LLORCH_API_TOKEN."""
    lines = (line.lstrip() for line in text.split("\n"))
    return any(NAMED.search(line) for line in lines if not line.startswith(("#", ";", "UnsetEnvironment=")))


def without_settings(text: str) -> str:
    """A unit's text without LLORCH_API_TOKEN in its `Environment=` lines; systemd.exec(5) for how they are written."""
    kept = []
    for line in text.split("\n"):
        name, _, value = line.partition("=")
        if name.strip() == "Environment" and NAMED.search(value) and not value.endswith("\\"):
            rest = SETTING.sub("", value).strip()
            if rest:  # alone, `Environment=` would take all other settings away
                kept.append("Environment=" + rest)
        else:
            kept.append(line)
    return "\n".join(kept)


def drop_in_path(agent: "Agent") -> str:
    return "%s/%s.d/%s" % (UNITS, agent.service["unit"], DROP_IN)


def drop_in(setup: Setup, unit: "dict[str, Any]", audit: str) -> None:
    """The lines that the unit needs, checked by systemd before it reads them."""
    agent = setup.agent
    path = drop_in_path(agent)
    before = read_file(agent.root, path)
    due = lines_for(setup, unit, audit, before or "")
    if before == due or (before is None and needs_nothing(setup, unit)):
        return
    after = "loads the token from its file" + (", hardened" if "harden" in setup.options else "")

    def write() -> None:
        folder = os.path.dirname(path)
        for place in missing_from(agent.root, folder):
            make_directory(agent, place, 0o755)
        write_file(agent, path, due)
        try:
            done(agent, verify_command(agent))
            done(agent, ["systemctl", "daemon-reload"])
        except Refusal:
            if before is None:
                remove_file(agent, path)
            else:
                write_file(agent, path, before)
            agent.command(["systemctl", "daemon-reload"], 60.0)
            raise

    if before is None:
        setup.put("drop-in", "unit", path, after, write)
    else:
        setup.note("unit", path, "another version", after, write)


def needs_nothing(setup: Setup, unit: "dict[str, Any]") -> bool:
    """True when the unit has all settings of the drop-in, whatever file they come from."""
    agent, shown = setup.agent, setup.agent.unit.look()
    in_line = agent.secrets.in_line
    if (shown["env_token"] and not in_line) or agent.unit.file_read(shown) != agent.service["token"]:
        return False
    if (not in_line and by_credential(setup)) != bool(shown["credential"]) or unit["environment"].get(
        "LLORCH_AUDIT_MODE"
    ) != "local":
        return False
    return "harden" not in setup.options or all(unit[name] in ("yes", "strict") for name in HARDENED)


def by_credential(setup: Setup) -> bool:
    return (systemd_version(setup.agent) or 0) >= CREDENTIALS_SINCE and "plain-file" not in setup.options


def lines_for(setup: Setup, unit: "dict[str, Any]", audit: str, before: str) -> str:
    """The drop-in's text. `%` is systemd's own sign and doubled in a path."""
    agent = setup.agent
    for path in (agent.service["token"], audit):
        if not PLAIN.fullmatch(path):
            raise Refusal("token-unsafe", "%s: systemd would not read this path as it stands" % path)
    token, audit = agent.service["token"].replace("%", "%%"), audit.replace("%", "%%")
    name = os.path.basename(token)
    lines = [HEADER + "[Service]"]
    if agent.secrets.in_line:
        lines += ["EnvironmentFile=" + token]  # the last one counts
    elif by_credential(setup):
        lines += ["UnsetEnvironment=LLORCH_API_TOKEN"]
        lines += ["LoadCredential=%s:%s" % (name, token), 'Environment="LLORCH_API_TOKEN_FILE=%%d/%s"' % name]
    else:
        lines += ["UnsetEnvironment=LLORCH_API_TOKEN", 'Environment="LLORCH_API_TOKEN_FILE=%s"' % token]
    lines += ["Environment=LLORCH_AUDIT_MODE=local", 'Environment="LLORCH_AUDIT_DIR=%s"' % audit]
    lines += ["ReadWritePaths=-" + audit]
    text = "\n".join(lines) + "\n"
    return text + hardening(agent, unit, before) if "harden" in setup.options else text


def hardening(agent: "Agent", unit: "dict[str, Any]", before: str) -> str:
    """The guide's lines, and the folders that the service writes to; where one is in a home, homes are not hidden.

    Where nothing else can be written any more, what it needs is known: in the unit, or in our drop-in `before`.
    """
    if unit["ProtectSystem"] == "strict":
        paths = [line.partition("=-")[2] for line in before.split("\n") if line.startswith("ReadWritePaths=-")]
        folders = paths[1:]  # the first is the audit trail's
    else:
        found = folders_written(agent.system.members(agent.unit.look()["cgroup"]) or ())
        folders = [path.replace("%", "%%") for path in found if PLAIN.fullmatch(path)]
    lines = "".join("ReadWritePaths=-%s\n" % path for path in folders)
    at_home = any((path + "/").startswith(HOMES) for path in folders)
    return lines + (HARDENING.replace("ProtectHome=true", "ProtectHome=read-only") if at_home else HARDENING)


def verify_command(agent: "Agent") -> "list[str]":
    """systemd-analyze(1): whether systemd could start the unit, its programs and dependencies included."""
    only = ["--recursive-errors=no"] if (systemd_version(agent) or 0) >= CREDENTIALS_SINCE else []
    return ["systemd-analyze", "verify", "--man=no", *only, "--", agent.service["unit"]]


def remove_file(agent: "Agent", path: str) -> None:
    folder, name = os.path.split(path)
    above = open_directory(agent.root, folder)
    try:
        os.unlink(name, dir_fd=above)
        os.fsync(above)
    finally:
        os.close(above)
    remove_directory(agent, folder)
