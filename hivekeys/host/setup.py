"""What install, uninstall and restrict share: the changes that they report, and the list of them on the host.

Runs ON the host, as root, in one text with agent.py. What is put there is written into /var/lib/hivekeys/installed
*before* it is put there; uninstall.py reads that list.
"""

import json
import os

from hivekeys.host.agent import Agent
from hivekeys.host.paths import DIRECTORY, open_controlled, open_directory
from hivekeys.host.system import Refusal
from hivekeys.host.verbs.fix import Work, walk

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Callable, Iterable, Optional


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
            self.agent.deadline.go_on()
            try:
                act()
            except OSError as error:
                raise Refusal("write-failed", "%s: %s" % (path, error.strerror)) from None
        self.add(part, path, before, after, "")


def installed(agent: "Agent") -> "list[list[str]]":
    """What install has put on this host: [kind, path], in its order."""
    text = agent.state.content("installed")
    try:
        found = json.loads(text) if text else []
    except ValueError:
        raise Refusal("token-unsafe", "/var/lib/hivekeys/installed is not what hivekeys writes") from None
    return [[str(kind), str(path)] for kind, path in found]


def remember(agent: "Agent", things: "list[list[str]]") -> None:
    agent.state.keep("installed", json.dumps(things))


def done(agent: "Agent", argv: "list[str]") -> None:
    """A command that must succeed."""
    code, output = agent.command(argv, 60.0)
    if code != 0:
        raise Refusal("systemctl-failed", "%s: %s" % (argv[0], output.strip()))


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


def exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove_directory(agent: "Agent", path: str) -> None:
    """Takes an empty directory away; one that is not empty stays."""
    parent, name = os.path.split(path)
    above = open_controlled(agent.root, parent, strict=True)  # /var/lib may be a link
    try:
        os.rmdir(name, dir_fd=above)
    except OSError:
        pass
    finally:
        os.close(above)
