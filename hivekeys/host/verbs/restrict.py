"""The agent's verb `restrict`: installs the agent as a program of root's, and a sudo rule for it alone.

Runs ON the host, as root, in one text with agent.py. What it puts there is written into /var/lib/hivekeys/installed
before, and uninstall.py takes it away by that list. The program, every directory above it, and the rule are root's
alone; the rule is checked by visudo before sudo can read it. Other rules that the account has are named and stay:
they are not ours.
"""

import functools
import json
import os
import pwd
import stat

from hivekeys.host.agent import Agent, verb
from hivekeys.host.environment import FILE_LIMIT
from hivekeys.host.paths import NOFOLLOW, is_roots, open_directory, read_limited, write_all
from hivekeys.host.root_files import read_file, write_file
from hivekeys.host.setup import Setup, exists, installed, make_directory, missing_from, remember, remove_directory
from hivekeys.host.system import Refusal
from hivekeys.host.verbs.fix import Work, rights, walk
from hivekeys.host.verbs.inspect import AGENT, other_rules

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional

RULE = "/etc/sudoers.d/hivekeys"
OWN_SETTINGS = "restricted"  # in /var/lib/hivekeys; gate.py reads it
PYTHON = "/usr/bin/python3"  # the program's first line
KINDS = ("agent-directory", "agent", "settings", "sudoers", "login-key")  # of the list, in the order of installing


@verb()
def restrict(
    agent: "Agent",
    *,
    apply: bool,
    options: "Iterable[str]" = (),
    account: str = "",
    program: str = "",
    sudoers: str = "",
    login: str = "",
) -> "tuple[bool, dict[str, Any]]":
    """Restricted mode for `account`: `program`, what it may know, the rule `sudoers`, and the line `login` if given.

    With the option "remove" all of that goes again, and nothing else.
    """
    if "remove" in options:
        work = Work(agent, apply)
        take_restriction_away(work)
        return work.result()
    setup = Setup(agent, apply)
    try:
        uid, home = plain_account(account)
        refuse_old_python(agent)
        program_file(setup, program)
        own_settings(setup, account)
        rule_file(setup, sudoers)
        if login:
            login_key(setup, uid, home, login)
        for rule in other_rules(agent, account) or ():
            setup.refuse("sudo-rules", account, rule, "our rule alone", "it is not hivekeys': take it out yourself")
    except Refusal as refusal:
        refusal.facts = setup.result()[1]  # what was done until then
        raise
    return setup.result()


def plain_account(name: str) -> "tuple[int, str]":
    """(uid, home) of the account that is to be restricted."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise Refusal("account-missing", "there is no account %s" % name) from None
    if found.pw_uid == 0:
        raise Refusal("sudoers-refused", "%s is root: nothing restricts it" % name)
    return found.pw_uid, found.pw_dir


def refuse_old_python(agent: "Agent") -> None:
    code, _ = agent.command([PYTHON, "-IS", "-c", "import sys; sys.exit(sys.version_info < (3, 6))"], 20.0)
    if code != 0:
        raise Refusal("python-missing", "%s is not there, or older than 3.6" % PYTHON)


def program_file(setup: "Setup", text: str) -> None:
    """The program, in a directory of its own; an account that could write above it could replace it."""
    agent, folder = setup.agent, os.path.dirname(AGENT)
    missing = missing_from(agent.root, folder)
    there = os.path.dirname(missing[0]) if missing else folder
    for path, fd in walk(agent.root, there):
        if not is_roots(os.fstat(fd)):
            raise Refusal(
                "token-unsafe",
                "%s is %s: it must be root's, and writable for root alone" % (path, rights(os.fstat(fd))),
            )
    for path in missing:
        setup.put(
            "agent-directory", "agent", path, "0755 root:root", functools.partial(make_directory, agent, path, 0o755)
        )
    root_file(setup, "agent", "agent", AGENT, text, 0o755)


def own_settings(setup: "Setup", account: str) -> None:
    """What the gate holds every request against."""
    agent = setup.agent
    text = json.dumps({"fleet": agent.fleet, "service": agent.service, "account": account}, sort_keys=True)
    path, before = "/var/lib/hivekeys/" + OWN_SETTINGS, agent.state.content(OWN_SETTINGS)
    if before == text:
        return

    def keep() -> None:
        agent.state.keep(OWN_SETTINGS, text)

    if before:
        setup.note("agent", path, "another service", "this service", keep)
    else:
        setup.put("settings", "agent", path, "this service", keep)


def rule_file(setup: "Setup", text: str) -> None:
    """The rule, once visudo has read it where sudo does not look yet: sudo skips names with a dot."""

    def accepted(scratch: str) -> None:
        code, output = setup.agent.command(["visudo", "-c", "-f", scratch], 20.0)
        if code != 0:
            raise Refusal("sudoers-refused", " ".join(output.split()) or "visudo ended with status %d" % code)

    if missing_from(setup.agent.root, os.path.dirname(RULE)):
        raise Refusal("sudoers-refused", "there is no directory %s" % os.path.dirname(RULE))
    root_file(setup, "sudoers", "sudoers", RULE, text, 0o440, accepted)


def root_file(
    setup: "Setup",
    kind: str,
    part: str,
    path: str,
    text: str,
    mode: int,
    check: "Optional[Callable[[str], None]]" = None,
) -> None:
    """A file of root's with this text and mode, written whole or not at all."""
    agent, due = setup.agent, "%04o root:root" % mode
    info = status_of(agent, path)
    if info is None:
        setup.put(kind, part, path, due, lambda: write_file(agent, path, text, mode, check))
    elif read_file(agent.root, path) != text:
        setup.note(part, path, "another version", due, lambda: write_file(agent, path, text, mode, check))
    elif (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) != (mode, os.geteuid(), os.getegid()):
        setup.note(part, path, rights(info), due, lambda: write_file(agent, path, text, mode, check))


def status_of(agent: "Agent", path: str) -> "Optional[os.stat_result]":
    """What is at the path, None when there is nothing; a link is not followed."""
    try:
        folder = open_directory(agent.root, os.path.dirname(path))
    except FileNotFoundError:
        return None
    try:
        return os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)


# -- a key for the agent alone


def login_key(setup: "Setup", uid: int, home: str, line: str) -> None:
    """One line of the account's authorized_keys. The key must not stand there without the restriction."""
    agent, folder = setup.agent, os.path.join(home, ".ssh")
    path = os.path.join(folder, "authorized_keys")
    owner = (uid, pwd.getpwuid(uid).pw_gid)
    for place in missing_from(agent.root, folder):
        make = functools.partial(make_directory, agent, place, 0o700, owner)
        setup.put("agent-directory", "login-key", place, "0700", make)
    lines = key_lines(agent, uid, folder)
    key = line.split(" ")[-2]  # options (which have blanks), type, key, comment
    if line in lines:
        return
    if any(key in other.split() for other in lines):
        setup.refuse(
            "login-key", path, "the key is there", "for the agent alone", "take its line out first, then run again"
        )
        return

    def write() -> None:
        write_key_lines(agent, owner, folder, [*key_lines(agent, uid, folder), line])

    setup.put("login-key", "login-key", path, "a key for the agent alone", write)


def key_lines(agent: "Agent", uid: int, folder: str) -> "list[str]":
    """The lines of the account's own authorized_keys. A file of another account is a refusal."""
    try:
        above = open_directory(agent.root, folder)
    except FileNotFoundError:
        return []
    try:
        fd = os.open("authorized_keys", os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=above)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Refusal("token-unsafe", "%s/authorized_keys: %s" % (folder, error.strerror)) from None
    finally:
        os.close(above)
    try:
        info = os.fstat(fd)
        data = read_limited(fd, FILE_LIMIT) if stat.S_ISREG(info.st_mode) and info.st_uid == uid else None
    finally:
        os.close(fd)
    if data is None:
        raise Refusal("token-unsafe", "%s/authorized_keys is not the account's own file" % folder)
    return data.decode("utf-8", "surrogateescape").splitlines()


def write_key_lines(agent: "Agent", owner: "tuple[int, int]", folder: str, lines: "list[str]") -> None:
    """The account's file anew, its own before the first byte; what the account exchanges meanwhile is not followed."""
    scratch = ".authorized_keys.hivekeys"
    above = open_directory(agent.root, folder)
    try:
        if exists(above, scratch):
            os.unlink(scratch, dir_fd=above)
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o600, dir_fd=above)
        try:
            os.fchown(fd, *owner)
            write_all(fd, "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
        os.rename(scratch, "authorized_keys", src_dir_fd=above, dst_dir_fd=above)
        os.fsync(above)
    finally:
        os.close(above)


# -- the way back


def take_restriction_away(work: "Work") -> None:
    """All that `restrict` put there, last first; the list is kept as it is done."""
    left = installed(work.agent)
    for kind, path in reversed([thing for thing in left if thing[0] in KINDS]):
        before = len(work.changes)
        take_part_away(work, kind, path)
        left.remove([kind, path])
        if work.apply and not any(change["refused"] for change in work.changes[before:]):
            remember(work.agent, left)


def take_part_away(work: "Work", kind: str, path: str) -> None:
    agent = work.agent
    part = kind if kind in ("sudoers", "login-key") else "agent"
    if kind == "agent-directory":
        work.note("agent", path, "there", "removed when empty", lambda: remove_directory(agent, path))
    elif kind == "login-key":
        work.note(part, path, "a key for the agent alone", "removed", lambda: forget_key(agent, path))
    else:
        work.note(part, path, "there", "removed", lambda: unlink_ours(agent, path))


def unlink_ours(agent: "Agent", path: str) -> None:
    folder = open_directory(agent.root, os.path.dirname(path))
    try:
        os.unlink(os.path.basename(path), dir_fd=folder)
        os.fsync(folder)
    except FileNotFoundError:
        pass
    finally:
        os.close(folder)


def forget_key(agent: "Agent", path: str) -> None:
    """Our lines out of authorized_keys, wherever they stand."""
    info = status_of(agent, path)
    if info is None:
        return
    folder = os.path.dirname(path)
    lines = [
        line
        for line in key_lines(agent, info.st_uid, folder)
        if not (line.startswith("restrict,command=") and AGENT in line)
    ]
    write_key_lines(agent, (info.st_uid, info.st_gid), folder, lines)
