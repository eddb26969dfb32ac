"""The agent's verb `install`: account, directories, token and drop-in for a service whose program is there.

Runs ON the host, as root, in one text with agent.py, when it is asked for. The order is the guide's: account,
directories, token, unit. Each part looks first, so it can be repeated.
"""

import grp
import json
import os
import pwd
import stat

from hivekeys.host.agent import Agent, verb
from hivekeys.host.dropin import drop_in, drop_in_path, unit_of, without_token
from hivekeys.host.forms import is_token
from hivekeys.host.paths import is_roots, open_directory
from hivekeys.host.root_files import read_file
from hivekeys.host.setup import Setup, done, exists, installed, make_directory, missing_from
from hivekeys.host.system import Refusal
from hivekeys.host.trail import audit_folder
from hivekeys.host.verbs.fix import OPEN_TO_OTHERS, directory, rights, token_file, walk
from hivekeys.host.writing import change

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Iterable, Sequence

AUDIT_MODE = 0o700


@verb("moves", "changes")
def install(
    agent: "Agent",
    *,
    apply: bool,
    options: "Iterable[str]",
    want: str = "",
    stones: "Sequence[dict[str, str]]" = (),
) -> "tuple[bool, dict[str, Any]]":
    """Sets the host up; the caller then restarts what changed and proves it. `want`: the token it is to have.

    `stones`: tombstones that its fellows have; they come first, so that they hold for what is written next.
    `options`: "create-account", "harden", "plain-file" where the service shall read the file itself, and
    "keep-environment" where it has yet to be proven that the service reads it at all.
    """
    setup = Setup(agent, apply, options)
    if apply:
        agent.before_install = (installed(agent), read_file(agent.root, drop_in_path(agent)))
    try:
        refuse_unheld(setup, want)
        inherit(setup, stones)
        account(setup)
        token_directory(setup)
        first_token(setup, want)
        if agent.service["port"]:  # how a client's program is told of its file, its operator knows
            read_by_unit(setup)
        belong(setup)
    except Refusal as refusal:
        refusal.facts = setup.result()[1]  # what was done until then
        raise
    return setup.result()


def read_by_unit(setup: Setup) -> None:
    """The service reads the token file, and nothing else; it starts at boot, and has an audit trail."""
    unit = unit_of(setup.agent)
    audit = audit_folder(unit["environment"])
    ensure_directory(setup, "audit", audit, AUDIT_MODE)
    for path in unit["texts"]:
        without_token(setup, path)
    drop_in(setup, unit, audit)
    enabled(setup, unit)


def refuse_unheld(setup: Setup, want: str) -> None:
    """A service that works with a token which is in no file is given no other: its clients would be refused."""
    agent, pid = setup.agent, setup.agent.unit.look()["pid"]
    process = agent.system.process(pid) if pid else None
    held = process["token"] if process and agent.slots()["active"] is None else ""
    if held and (not is_token(held) or agent.secrets.fingerprint(held)["keyed"] != want):
        path = agent.service["token"]
        raise Refusal("token-in-environment", "%s is not there, and the service has its token from elsewhere" % path)


def inherit(setup: Setup, stones: "Sequence[dict[str, str]]") -> None:
    """Tombstones are only ever added to: those that are here already stay, as they are and where they are."""
    secrets = setup.agent.secrets
    known = {(stone["salt"], stone["digest"]) for stone in secrets.tombstones}
    fresh = [stone for stone in stones if (stone["salt"], stone["digest"]) not in known]
    whole = [*secrets.tombstones, *fresh]

    def add() -> None:
        setup.agent.state.keep("tombstones", json.dumps(whole))
        secrets.tombstones = whole

    if fresh and secrets.unsound:  # what cannot be read must not be written over
        raise Refusal("record-unsound", secrets.unsound)
    if fresh:
        path, before = "/var/lib/hivekeys/tombstones", "%d tokens that leaked" % len(secrets.tombstones)
        setup.note("tombstones", path, before, "%d more, from its fellows" % len(fresh), add)


def account(setup: Setup) -> None:
    """The service's account and group, without a login."""
    agent, owner, group = setup.agent, setup.agent.service["owner"], setup.agent.service["group"]
    if not has_group(group):
        create(setup, "group", group, ["groupadd", "--system", "--", group])
    if not has_account(owner):
        home = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
        create(setup, "account", owner, ["useradd", "--system", "--gid", group, *home, "--", owner])
    setup.nobody = not (has_group(group) and has_account(owner))
    if setup.apply:
        agent.secrets.account()


def create(setup: Setup, kind: str, name: str, command: "list[str]") -> None:
    if "create-account" not in setup.options:
        raise Refusal("account-missing", "there is no %s %s" % (kind, name))
    setup.put(kind, "account", name, "a system " + kind, lambda: done(setup.agent, command))


def has_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def token_directory(setup: Setup) -> None:
    """The service's own for a file that holds the token alone; an environment file lies in one of root's."""
    secrets = setup.agent.secrets
    if not secrets.in_line:
        ensure_directory(setup, "directory", secrets.real_folder(), setup.agent.service["directory_mode"])
        return
    for place in missing_from(setup.agent.root, secrets.folder):
        new_directory(setup, "directory", place)


def ensure_directory(setup: Setup, part: str, path: str, mode: int) -> None:
    """The directory and those above it; what is made is root's until its owner is set."""
    agent = setup.agent
    missing = missing_from(agent.root, path)
    due = "%04o %s:%s" % (mode, agent.service["owner"], agent.service["group"])
    for place in missing[:-1]:
        new_directory(setup, part, place)
    if missing:
        setup.put("directory", part, path, due, lambda: make_directory(agent, path, mode, agent.secrets.account()))
        return
    controlled = [is_roots(os.fstat(fd)) for _, fd in walk(agent.root, path)]
    fd = open_directory(agent.root, path)
    try:
        info = os.fstat(fd)
        if setup.nobody:
            setup.note(part, path, rights(info), due, nothing)
        else:
            stricter = mode if part == "directory" else stat.S_IMODE(info.st_mode) & ~OPEN_TO_OTHERS
            directory(setup, part, path, fd, stricter, all(controlled[:-1]))
    finally:
        os.close(fd)


def nothing() -> None:
    """What is done where a look can only say that something would be."""


def new_directory(setup: Setup, part: str, path: str) -> None:
    setup.put("directory", part, path, "0755 root:root", lambda: make_directory(setup.agent, path, 0o755))


def first_token(setup: Setup, want: str) -> None:
    """The fleet's token where there is none; one that is there stays, and must be the fleet's."""
    agent, secrets = setup.agent, setup.agent.secrets
    path, due = agent.service["token"], "%(mode)04o %(owner)s:%(group)s" % agent.service
    if setup.nobody or missing_from(agent.root, secrets.real_folder()):  # only a look: both would be made
        setup.put("token", "token", path, due, nothing)
        return
    controlled = all([is_roots(os.fstat(fd)) for _, fd in walk(agent.root, secrets.real_folder())])
    folder = secrets.open()
    try:
        if not exists(folder, secrets.active):
            setup.put("token", "token", path, due, lambda: put_token(agent, want))
            return
        token_file(setup, folder, want, controlled)
        shown = secrets.look(folder, secrets.active) or {"fingerprint": None}
        other = bool(shown["fingerprint"]) and shown["fingerprint"]["keyed"] != want
        if (want and other) or (setup.apply and not shown["fingerprint"]):
            raise Refusal("slot-changed", "%s does not hold the fleet's token" % path)
    finally:
        os.close(folder)


def put_token(agent: "Agent", want: str) -> None:
    def work(folder: int) -> bool:
        agent.secrets.put(folder, agent.secrets.active, agent.secrets.known[want])
        return True

    change(agent, work)


def enabled(setup: Setup, unit: "dict[str, Any]") -> None:
    if not unit["enabled"].startswith("enabled"):
        name = setup.agent.service["unit"]
        command = ["systemctl", "--no-ask-password", "enable", "--quiet", "--", name]
        setup.put("enabled", "enabled", name, "starts at boot", lambda: done(setup.agent, command))


def belong(setup: Setup) -> None:
    """The host's record of whose it is. Another fleet's was refused when the session began."""
    agent, fleet = setup.agent, setup.agent.fleet
    if agent.state.content("fleet") != fleet:
        setup.put("fleet", "fleet", "/var/lib/hivekeys/fleet", fleet, lambda: agent.state.keep("fleet", fleet))
