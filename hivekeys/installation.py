"""The agent's verb `install`: everything between "the binary is there" and "in the fleet".

Runs ON the host, as root, in one text with agent.py, inspection.py and repair.py, and is sent only when it is asked
for. The order is the guide's: account, directories, token, unit. Each part looks first, so it can be repeated. What
install puts there is written into /var/lib/hivekeys/installed *before* it is put there; removal.py reads that list.
"""

import grp
import json
import os
import pwd
import stat

TYPE_CHECKING = False  # type checkers take it for True; on the host these names are the agent's own
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional

    from hivekeys.agent import DIRECTORY, EXTRA, Agent, Refusal, open_directory
    from hivekeys.dropin import drop_in, unit_of, without_token
    from hivekeys.repair import OPEN_TO_OTHERS, Work, directory, is_roots, rights, token_file, walk
    from hivekeys.trail import audit_folder

AUDIT_MODE = 0o700


class Setup(Work):
    """What install found and did; remembers on the host what it put there."""

    def __init__(self, agent: "Agent", apply: bool, options: "Iterable[str]" = ()) -> None:
        super().__init__(agent, apply)
        self.options = frozenset(options)
        self.nobody = False  # the account would have to be made, and this is only a look

    def put(self, kind: str, part: str, path: str, after: str, act: "Callable[[], object]") -> None:
        """Something is not there: `act` makes it, and uninstall will find it in the list."""

        def noted() -> None:
            known = installed(self.agent)
            if [kind, path] not in known:
                remember(self.agent, [*known, [kind, path]])
            act()

        self.note(part, path, "not there", after, noted)

    def note(self, part: str, path: str, before: str, after: str, act: "Callable[[], object]") -> None:
        """As Work's, but what cannot be made ends it all: the parts build on each other."""
        if self.apply:
            try:
                act()
            except OSError as error:
                raise Refusal("write-failed", "%s: %s" % (path, error.strerror)) from None
        self.add(part, path, before, after, "")


def installed(agent: "Agent") -> "list[list[str]]":
    """What install has put on this host: [kind, path], in its order."""
    folder = agent.state.open(create=False)
    if folder is None:
        return []
    try:
        text = agent.state.read(folder, "installed")
    finally:
        os.close(folder)
    try:
        found = json.loads(text) if text else []
    except ValueError:
        raise Refusal("token-unsafe", "/var/lib/hivekeys/installed is not what hivekeys writes") from None
    return [[str(kind), str(path)] for kind, path in found]


def remember(agent: "Agent", things: "list[list[str]]") -> None:
    folder = agent.state.open(create=True)
    if folder is None:
        raise RuntimeError("the state directory was just made")
    try:
        agent.state.write(folder, "installed", json.dumps(things))
    finally:
        os.close(folder)


def install(agent: "Agent", *, apply: bool, options: "Iterable[str]", want: str = "") -> "tuple[bool, dict[str, Any]]":
    """Sets the host up; the caller then restarts what changed and proves it. `want`: the token it is to have.

    `options`: "create-account", "harden", and "plain-file" where the service shall read the file itself.
    """
    setup = Setup(agent, apply, options)
    try:
        account(setup)
        ensure_directory(setup, "directory", agent.secrets.folder, agent.service["directory_mode"])
        first_token(setup, want)
        unit = unit_of(agent)
        audit = audit_folder(unit["environment"])
        ensure_directory(setup, "audit", audit, AUDIT_MODE)
        for path in unit["texts"]:
            without_token(setup, path)
        drop_in(setup, unit, audit)
        enabled(setup, unit)
        belong(setup)
    except Refusal as refusal:
        refusal.facts = setup.result()[1]  # what was done until then
        raise
    return setup.result()


def done(agent: "Agent", argv: "list[str]") -> None:
    """A command that must succeed."""
    code, output = agent.command(argv, 60.0)
    if code != 0:
        raise Refusal("systemctl-failed", "%s: %s" % (argv[0], output.strip()))


def account(setup: Setup) -> None:
    """The service's account and group, with nothing that anybody could log in to."""
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


def missing_from(root: str, path: str) -> "list[str]":
    """The directories of `path` that do not exist, outermost first; a link among the others is a refusal."""
    last = "/"
    try:
        for place, _ in walk(root, path):
            last = place
    except FileNotFoundError:
        parts, missing = path[len(last) :].strip("/").split("/"), []
        for part in parts:
            last = os.path.join(last, part)
            missing.append(last)
        return missing
    except OSError as error:
        raise Refusal("token-unsafe", "%s: %s" % (path, error.strerror)) from None
    return []


def make_directory(agent: "Agent", path: str, mode: int, owner: "Optional[tuple[int, int]]" = None) -> None:
    """A new, empty directory of root's, then its owner's. Whoever exchanges it meanwhile gets an empty one at most."""
    parent, name = os.path.split(path)
    above = open_directory(agent.root, parent)
    try:
        os.mkdir(name, 0o700, dir_fd=above)
        fd = os.open(name, DIRECTORY, dir_fd=above)
    finally:
        os.close(above)
    try:
        if os.fstat(fd).st_uid != os.geteuid() or os.listdir(fd):
            raise Refusal("token-unsafe", "%s was exchanged while it was made" % path)
        os.fchmod(fd, mode)
        if owner:
            os.fchown(fd, *owner)
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def first_token(setup: Setup, want: str) -> None:
    """The fleet's token where there is none; one that is there stays, and must be the fleet's."""
    agent, secrets = setup.agent, setup.agent.secrets
    path, due = agent.service["token"], "%(mode)04o %(owner)s:%(group)s" % agent.service
    if setup.nobody or missing_from(agent.root, secrets.folder):  # only a look: both would be made
        setup.put("token", "token", path, due, nothing)
        return
    controlled = all([is_roots(os.fstat(fd)) for _, fd in walk(agent.root, secrets.folder)])
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


def exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def put_token(agent: "Agent", want: str) -> None:
    def work(folder: int) -> bool:
        agent.secrets.put(folder, agent.secrets.active, agent.secrets.known[want])
        return True

    agent.change(work)


def enabled(setup: Setup, unit: "dict[str, Any]") -> None:
    if not unit["enabled"].startswith("enabled"):
        name = setup.agent.service["unit"]
        command = ["systemctl", "--no-ask-password", "enable", "--quiet", "--", name]
        setup.put("enabled", "enabled", name, "starts at boot", lambda: done(setup.agent, command))


def belong(setup: Setup) -> None:
    """The host's record of whose it is. Another fleet's was refused when the session began."""
    agent, fleet = setup.agent, setup.agent.fleet
    folder = agent.state.open(create=False)
    owner = ""
    if folder is not None:
        try:
            owner = agent.state.read(folder, "fleet")
        finally:
            os.close(folder)
    if owner != fleet:
        setup.put("fleet", "fleet", "/var/lib/hivekeys/fleet", fleet, lambda: write_fleet(agent, fleet))


def write_fleet(agent: "Agent", fleet: str) -> None:
    folder = agent.state.open(create=True)
    if folder is not None:
        try:
            agent.state.write(folder, "fleet", fleet)
        finally:
            os.close(folder)


def remove_directory(agent: "Agent", path: str) -> None:
    """Takes an empty directory away; one that is not empty stays."""
    parent, name = os.path.split(path)
    above = open_directory(agent.root, parent)
    try:
        os.rmdir(name, dir_fd=above)
    except OSError:
        pass
    finally:
        os.close(above)


EXTRA["install"] = install
