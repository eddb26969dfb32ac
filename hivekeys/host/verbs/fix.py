"""The agent's verb `fix`: corrects modes, owners and access lists, and removes left-over copies of the token.

No token is changed.

Runs ON the host, as root, in one text with agent.py, when it is asked for. What is found is noted; with `apply` it is
repaired, and what cannot be repaired safely stays, with the reason. Everything goes through descriptors, because the
account that owns the token directory may exchange its contents at any moment: what that account could have put there is
never given to it, and no link is followed.
"""

import functools
import os
import re
import stat

from hivekeys.host.agent import Agent, verb
from hivekeys.host.environment import environment_of
from hivekeys.host.paths import DIRECTORY, NOFOLLOW, OTHERS_WRITE, is_roots, named, names_of, open_directory
from hivekeys.host.state import STATE
from hivekeys.host.system import Refusal
from hivekeys.host.trail import audit_folder
from hivekeys.host.verbs.inspect import has_acl, is_named_after, is_stray, unit_properties

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Optional

MENDED = 1000  # copies that one run removes: more would be another problem
MOST_CHANGES = 1000  # that are sent one by one (hivekeys.protocol.wire.MOST_CHANGES)
ACLS = ("system.posix_acl_access", "system.posix_acl_default")  # acl(5)
OPEN_TO_OTHERS = 0o027  # the group may look into the audit trail, others may not
# What may stand behind the token's name in that of a copy: these words, and numbers. api-token-exporter.toml is another
# file that is named after the token.
OF_A_COPY = re.compile(
    "(?:[^a-z0-9]+(?:(?:new|next|staged|old|prev|previous|last|backup|bak|back|copy|orig|original|save|saved|tmp|temp|swp|"
    "swo|txt|hivekeys)[0-9]*|[0-9][0-9tz]*))*[^a-z0-9]*",
    re.IGNORECASE,
)


class Work:
    """What upkeep found on this host, in order; with `apply` each thing is repaired as it is noted."""

    def __init__(self, agent: "Agent", apply: bool) -> None:
        if apply and agent.state.lock is None:
            raise RuntimeError("upkeep needs a session that holds the lock")
        self.agent = agent
        self.apply = apply
        self.changes = []  # type: list[dict[str, str]]

    def note(self, part: str, path: str, before: str, after: str, act: "Callable[[], object]") -> None:
        """Notes something that is not as it should be; `act` repairs it. If that fails, the work goes on."""
        refused = ""
        if self.apply:
            self.agent.deadline.go_on()
            try:
                act()
            except OSError as error:
                refused = error.strerror or type(error).__name__
            except Refusal as refusal:
                refused = refusal.detail or refusal.trouble
        self.add(part, path, before, after, refused)

    def refuse(self, part: str, path: str, before: str, after: str, why: str) -> None:
        """Something is not as it should be, and stays so."""
        self.add(part, path, before, after, why)

    def add(self, part: str, path: str, before: str, after: str, refused: str) -> None:
        change = {"part": part, "path": path, "before": before, "after": after, "refused": refused}
        self.changes.append({key: self.agent.without_tokens(value) for key, value in change.items()})

    def result(self) -> "tuple[bool, dict[str, Any]]":
        """What the verb answers: whether the host was changed, and how."""
        first, rest = self.changes[: MOST_CHANGES - 1], self.changes[MOST_CHANGES - 1 :]
        if len(rest) > 1:
            refused = sum(bool(change["refused"]) for change in rest)
            sum_of_rest = {"part": "more", "path": "%d further places" % len(rest), "before": "", "after": "as above"}
            first.append(dict(sum_of_rest, refused="%d of them stay as they are" % refused if refused else ""))
        else:
            first += rest
        return self.apply and any(not change["refused"] for change in self.changes), {"changes": first}


@verb("moves", "changes")
def fix(agent: "Agent", *, apply: bool, options: "Iterable[str]", want: str = "") -> "tuple[bool, dict[str, Any]]":
    """Mends what is there. `want`: the fleet's token, by which a file of another account's may be known.

    `options`: "strays" removes copies; "slots" also what runs have left (their records say that they are over);
    "record=N" begins hivekeys' own records anew where they cannot be meant: a run beyond N is none of this fleet's.
    """
    secrets = agent.secrets
    work = Work(agent, apply)
    for option in options:
        if option.startswith("record="):
            records(work, int(option[len("record=") :]))
    folder = secrets.open()
    try:
        controlled = [is_roots(os.fstat(fd)) for _, fd in walk(agent.root, secrets.real_folder())]
        directories_above(work)
        has_token = token_file(work, folder, want, all(controlled))
        accepted_file(work, folder, all(controlled))
        copies(work, folder, frozenset(options), has_token, want)
        directory(work, "directory", secrets.folder, folder, agent.service["directory_mode"], all(controlled[:-1]))
        audit_directory(work)
        return work.result()
    finally:
        os.close(folder)


def records(work: Work, limit: int) -> None:
    """Moves hivekeys' own files aside that say what cannot be meant; none is lost, and none of it is believed."""
    state = work.agent.state
    folder = state.open(create=False)
    if folder is None:
        return
    try:
        try:
            if max(last["epoch"] for last in state.last_runs(folder)) > limit:
                raise Refusal("record-unsound", "a run that no other host and no journal knows")
        except Refusal as refusal:
            move_aside(work, folder, "run", refusal.detail)
        try:
            state.tombstones(folder)
        except Refusal as refusal:
            move_aside(work, folder, "tombstones", refusal.detail)
    finally:
        os.close(folder)


def move_aside(work: Work, folder: int, name: str, why: str) -> None:
    aside = name + ".unsound"
    act = functools.partial(os.rename, name, aside, src_dir_fd=folder, dst_dir_fd=folder)
    work.note("record", "/%s/%s" % (STATE, name), why, "moved to %s, begun anew" % aside, act)


def walk(root: str, path: str) -> "Iterator[tuple[str, int]]":
    """(path, descriptor) of each directory from the root down to `path`; a link among them is an OSError."""
    name, here = "/", os.open(root, DIRECTORY)
    try:
        yield name, here
        for part in path.strip("/").split("/"):
            name, above = os.path.join(name, part), here
            here = os.open(part, DIRECTORY, dir_fd=above)
            os.close(above)
            yield name, here
    finally:
        os.close(here)


def rights(info: os.stat_result) -> str:
    """Mode, owner and group as the checklist writes them."""
    return "%04o %s:%s" % ((stat.S_IMODE(info.st_mode), *names_of(info)))


def directories_above(work: Work) -> None:
    """No directory above the token directory may be written by others, or belong to one."""
    for path, info in list(walk_above(work.agent)):
        directory_above(work, path, info)


def directory_above(work: Work, path: str, info: os.stat_result) -> None:
    mode = stat.S_IMODE(info.st_mode)
    after = "%04o" % (mode & ~OTHERS_WRITE)
    if info.st_uid not in (0, work.agent.secrets.owner()[0]):
        work.refuse("parents", path, rights(info), after, "it belongs to %s: look into it first" % names_of(info)[0])
    elif mode & stat.S_ISVTX and mode & OTHERS_WRITE:
        work.refuse("parents", path, rights(info), after, "it is shared: the token belongs elsewhere")
    elif mode & OTHERS_WRITE:
        work.note("parents", path, rights(info), after, lambda: close_to_others(work.agent, path, info))


def walk_above(agent: "Agent") -> "Iterator[tuple[str, os.stat_result]]":
    """(path, status) of each directory above the token directory."""
    for path, fd in walk(agent.root, os.path.dirname(agent.secrets.real_folder())):
        yield path, os.fstat(fd)


def close_to_others(agent: "Agent", path: str, seen: os.stat_result) -> None:
    """Takes the right to write from all but the owner, if it is still the directory that was looked at."""
    for name, fd in walk(agent.root, os.path.dirname(agent.secrets.real_folder())):
        now = os.fstat(fd)
        if name == path and (now.st_dev, now.st_ino) == (seen.st_dev, seen.st_ino):
            os.fchmod(fd, stat.S_IMODE(now.st_mode) & ~OTHERS_WRITE)


def token_file(work: Work, folder: int, want: str, controlled: bool) -> bool:
    """Access list, mode and owner of the active slot; True when it holds a token that the service can be given.

    A file of another account's becomes the service's only where root alone can have put it there, or when it
    holds the very token that the service has anyway: the account could have renamed any of root's files to this name.
    """
    agent, secrets = work.agent, work.agent.secrets
    path, due = agent.service["token"], secrets.rights(folder)
    fd = open_regular(work, folder, secrets.active, path, due)
    if fd is None:
        return False
    try:
        text = secrets.read(fd)[0]
        close_file(work, path, fd, due, bool(controlled or (text and is_known(agent, text, want))))
        return bool(text)
    finally:
        os.close(fd)


def accepted_file(work: Work, folder: int, controlled: bool) -> None:
    """The same of the file of the tokens that the service accepts, where it takes two."""
    agent, secrets = work.agent, work.agent.secrets
    if not secrets.accepted or not is_there(folder, secrets.accepted):
        return
    path, due = agent.service["tokens"], secrets.rights(folder)
    fd = open_regular(work, folder, secrets.accepted, path, due)
    if fd is not None:
        try:
            close_file(work, path, fd, due, controlled)
        finally:
            os.close(fd)


def is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    except FileNotFoundError:
        return False


def open_regular(work: Work, folder: int, name: str, path: str, due: "tuple[int, int, int]") -> "Optional[int]":
    """A descriptor of a file with tokens; None where there is none that may be mended."""
    after = due_rights(due)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        work.refuse("token-file", path, "not there", after, "`fab install` or `fab reconcile` brings one")
        return None
    except OSError as error:
        work.refuse("token-file", path, error.strerror or "", after, "it is no file: look at it, then move it away")
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    work.refuse("token-file", path, "no regular file", after, "look at it, then move it away")
    return None


def close_file(work: Work, path: str, fd: int, due: "tuple[int, int, int]", given: bool) -> None:
    """Closes a file to all but its reader. `given`: it may become the service's, whoever's it is."""
    info, (mode, uid, gid) = os.fstat(fd), due
    if info.st_nlink != 1:
        why = "find the others with `find / -xdev -samefile`, then rotate: they hold the token"
        work.refuse("hard-links", path, "%d names" % info.st_nlink, "1 name", why)
    if info.st_uid != uid and not (info.st_nlink == 1 and given):
        why = "it is not the fleet's token: who put it there?"
        work.refuse("file-mode", path, rights(info), due_rights(due), why)
        return
    without_acl(work, path, fd)
    if (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) != due:
        work.note("file-mode", path, rights(info), due_rights(due), lambda: set_rights(fd, mode, uid, gid))


def due_rights(due: "tuple[int, int, int]") -> str:
    """The same as `rights`, of what a file ought to have."""
    mode, uid, gid = due
    return "%04o %s:%s" % (mode, *named(uid, gid))


def is_known(agent: "Agent", text: str, want: str) -> bool:
    """True for the fleet's token, and for what systemd has given the running service as its credential."""
    given = agent.secrets.credential(agent.unit.look()["credential"])
    return agent.secrets.fingerprint(text)["keyed"] in (want, (given or {}).get("keyed"))


def set_rights(fd: int, mode: int, uid: int, gid: int) -> None:
    """Closed to others before it changes hands."""
    os.fchmod(fd, mode)
    os.fchown(fd, uid, gid)
    os.fchmod(fd, mode)  # a change of owner may take bits away
    os.fsync(fd)


def without_acl(work: Work, path: str, fd: int) -> None:
    if has_acl(fd):
        work.note("acl", path, "an access list", "none", lambda: remove_acl(fd))


def remove_acl(fd: int) -> None:
    for name in os.listxattr(fd):
        if name in ACLS:
            os.removexattr(fd, name)


def directory(work: Work, part: str, path: str, fd: int, mode: int, controlled: bool) -> None:
    """Access list, mode and owner of a directory of the service's; that of an environment file is root's business."""
    agent, info = work.agent, os.fstat(fd)
    if part == "directory" and agent.secrets.in_line:
        return
    uid, gid = agent.secrets.account()
    due = "%04o %s:%s" % (mode, agent.service["owner"], agent.service["group"])
    if info.st_uid != uid and not (info.st_uid == 0 and controlled):
        work.refuse(part, path, rights(info), due, "its owner, or who can write above it, may have put it there")
        return
    without_acl(work, path, fd)
    if stat.S_IMODE(info.st_mode) != mode or (info.st_uid, info.st_gid) != (uid, gid):
        work.note(part, path, rights(info), due, lambda: set_rights(fd, mode, uid, gid))


def copies(work: Work, folder: int, options: "frozenset[str]", has_token: bool, want: str) -> None:
    """Copies that people, editors and scripts left, and the slots of runs that are over."""
    agent, secrets = work.agent, work.agent.secrets
    why = "" if "strays" in options else "give --strays to remove it"
    if not why and not has_token:
        why = "the token file holds no token: this may be the only copy"
    slots = (secrets.active, secrets.staged, secrets.previous)
    shown = [secrets.look(folder, name) for name in slots]
    wanted = {want} | {slot["fingerprint"]["keyed"] for slot in shown if slot and slot["fingerprint"]}
    ours = (secrets.active, secrets.accepted)
    strays = [name for name in sorted(os.listdir(folder)) if name not in ours and is_stray(name, secrets)]
    for name in strays[:MENDED]:
        reason = why
        if name in slots and not why and "slots" not in options:
            reason = "a run that is not over, as far as this bastion knows, may need it"
        remove_copy(work, "slots" if name in slots else "strays", secrets.folder, folder, name, reason, wanted)
    for place in ("/tmp", "/var/tmp"):  # noqa: S108  looked through, not written to
        shared = open_directory(agent.root, place)
        try:
            names = [name for name in sorted(os.listdir(shared)) if is_named_after(name, secrets.active)]
            for name in names[:MENDED]:
                remove_copy(work, "strays", place, shared, name, why, wanted)
        finally:
            os.close(shared)


def remove_copy(work: Work, part: str, place: str, folder: int, name: str, why: str, wanted: "set[str]") -> None:
    path = os.path.join(place, name)
    try:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(info.st_mode):
        why = "it is a directory"
    why = why or not_ours(work.agent, folder, name, info, wanted)
    if why:
        work.refuse(part, path, rights(info), "removed", why)
    else:
        work.note(part, path, rights(info), "removed", lambda: os.unlink(name, dir_fd=folder))


def not_ours(agent: "Agent", folder: int, name: str, info: os.stat_result, wanted: "set[str]") -> str:
    """Why a file stays, "" for one that may go: root's or the service's by the name of a copy, or a token of the fleet.

    Every account may put a file of any name into /tmp; another account's file is a copy only if it has a token of ours.
    """
    named = name.lstrip(".#")
    active = agent.secrets.active
    is_copy = is_named_after(named, active) and OF_A_COPY.fullmatch(named[len(active) :])
    if is_copy and info.st_uid in (0, agent.secrets.account()[0]):
        return ""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
    except OSError as error:
        return "it cannot be read: %s" % error.strerror
    try:
        text = agent.secrets.read(fd)[0] if stat.S_ISREG(os.fstat(fd).st_mode) else ""
    finally:
        os.close(fd)
    if text and (agent.secrets.fingerprint(text)["keyed"] in wanted or agent.secrets.revoked_by(text)):
        return ""
    return "it holds no token of this fleet, and %s" % (
        "belongs to %s" % names_of(info)[0] if is_copy else "has no name that copies have"
    )


def audit_directory(work: Work) -> None:
    """The audit trail's directory closed to others; whose it is stays."""
    agent = work.agent
    if not agent.service["port"]:
        return  # a client writes none
    environment = environment_of(unit_properties(agent)["Environment"])
    path = audit_folder(environment)
    try:
        fd = open_directory(agent.root, path)
    except OSError:
        return  # no directory, or a link in its path: `verify` says so
    try:
        info = os.fstat(fd)
        mode = stat.S_IMODE(info.st_mode)
        if mode & OPEN_TO_OTHERS:
            after = "%04o" % (mode & ~OPEN_TO_OTHERS)
            if info.st_uid in (0, agent.secrets.account()[0]):
                work.note("audit", path, rights(info), after, lambda: os.fchmod(fd, mode & ~OPEN_TO_OTHERS))
            else:
                work.refuse("audit", path, rights(info), after, "it belongs to %s" % names_of(info)[0])
    finally:
        os.close(fd)
