"""The agent: carries out the verbs of a run on one host, as root.

Its text is sent over SSH; it is installed only in restricted mode, behind gate.py.

This package is standard library only, Python 3.6 and up. Nothing but tests imports it: its modules are read as text,
and on a host they are one program (`hivekeys.protocol.program`), with those of further verbs when they are asked for. A
token arrives on stdin and leaves only into its file, into calls to the service on loopback, and to the run that holds
the host's lock and names it by its keyed fingerprint (`recall`).

Annotations are quoted and `typing` is not imported: Python 3.6 lacks their newer forms, and an import is paid for on
every host.
"""

import os
import re
import stat

from hivekeys.host.deadline import Deadline
from hivekeys.host.own_calls import OwnCalls
from hivekeys.host.paths import names_of
from hivekeys.host.slots import Secrets
from hivekeys.host.state import STATE, State
from hivekeys.host.system import Refusal, System
from hivekeys.host.unit import Unit

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

SLOT_LOOKS = []  # type: list[Any]  # functions of accept.py, where that is sent: (agent, seen) -> None
FRONTS = {}  # type: dict[str, Callable[..., Any]]  # functions of behind.py, where that is sent
LEAST_SECRET = 16  # characters; a shorter one is a word like others (hivekeys.ssh.session.LEAST_SECRET)
VERBS = {}  # type: dict[str, tuple[Callable[..., tuple[bool, dict[str, Any]]], tuple[str, ...]]]


def verb(*does: str) -> "Callable[[Callable[..., Any]], Callable[..., Any]]":
    """Makes a function one of the agent's verbs, by its own name. `does` says what else follows from it.

    It takes the agent and its step's fields, and returns (changed, facts) or raises Refusal.

    touches    the run that claims the host is noted as one that changes it
    moves      the unit's state is another afterwards
    changes    and so may its settings be
    calls      the service is called with tokens
    locked     an installed agent does it, in a session that holds the host's lock
    unlocked   an installed agent does it in every session
    """

    def note(act: "Callable[..., Any]") -> "Callable[..., Any]":
        VERBS[act.__name__] = act, does
        return act

    return note


class Agent:
    """One session on one host."""

    def __init__(
        self, root: str = "/", system: "Optional[System]" = None, secrets_type: "Callable[..., Secrets]" = Secrets
    ) -> None:
        self.root = root
        self.system = system or System()
        self.secrets_type = secrets_type
        self.state = State(root, self.system)
        self.own_calls = OwnCalls(self)
        self.meter = None  # type: Any  # verbs/meter.py, where a run is metered
        self.installed = False  # gate.py stands before it
        self.known = {}  # type: dict[str, str]  # outlives a second greeting, or the way back would be forgotten
        self.claims = True
        self.mine = {}  # type: dict[str, Any]  # the run that claims this host, until it is noted as one that changes it
        self.before_install = None  # type: Optional[tuple[list[list[str]], Optional[str]]]  # by install.py
        self.sudo_log = None  # type: Optional[list[str]]  # what sudo records of this line
        self.deadline = Deadline(self.system)
        self.unit = Unit(self)
        # By the greeting.
        self.fleet, self.run = "", ""
        self.service = {}  # type: dict[str, Any]
        self.secrets = None  # type: Secrets  # type: ignore[assignment]  # the first verb is hello

    def slots(self) -> "dict[str, Any]":
        """The token directory and what is in it."""
        try:
            folder = self.secrets.open()
        except Refusal as refusal:
            return {"directory": {"fault": refusal.detail}, "active": None, "staged": None, "previous": None}
        try:
            info = os.fstat(folder)
            owner, group = names_of(info)
            return {
                "directory": {
                    "mode": stat.S_IMODE(info.st_mode),
                    "owner": owner,
                    "group": group,
                    "fault": "",
                },
                "active": self.secrets.look(folder, self.secrets.active),
                "staged": self.secrets.look(folder, self.secrets.staged),
                "previous": self.secrets.look(folder, self.secrets.previous),
            }
        finally:
            os.close(folder)

    def command(self, argv: "list[str]", seconds: float) -> "tuple[int, str]":
        """`System.run` within the request's deadline; a command that used it up is a refusal."""
        self.deadline.go_on()
        code, output = self.system.run(argv, self.deadline.left(seconds))
        if code == 124:
            raise Refusal("deadline", output)
        return code, output

    def without_tokens(self, text: str) -> str:
        """`text` with every token this agent knows, and all that looks like one, taken out."""
        for token in self.known.values():
            if len(token) >= LEAST_SECRET:
                text = text.replace(token, "[token]")
        return re.sub(r"[0-9A-Za-z_+=-]{32,}", "[secret?]", text)

    def touch(self, verb: str) -> None:
        """Notes once that this run changes the host: from now on it supersedes the older ones.

        To stop a unit needs no disk.
        """
        if not self.mine or self.state.lock is None:
            return
        try:
            self.state.change(self.mine)
            self.mine = {}
        except OSError as error:
            if verb != "fence":
                raise Refusal("write-failed", "/%s: %s" % (STATE, error.strerror)) from None

    def carry_out(self, verb: str, fields: "dict[str, Any]") -> "dict[str, Any]":
        """One step's result: done, or refused with the reason."""
        (act, does), began = VERBS[verb], self.system.monotonic()
        result = {"verb": verb, "ok": True, "changed": False, "facts": {}, "trouble": "", "detail": ""}
        try:
            if verb != "observe" and self.deadline.left() <= 0:
                raise Refusal("deadline", "no time was left to begin %s" % verb)
            try:
                if "touches" in does:
                    self.unit.proven = ()
                    self.touch(verb)
                result["changed"], result["facts"] = act(self, **fields)
            except OSError as error:
                raise Refusal("write-failed", "%s: %s" % (verb, error.strerror or type(error).__name__)) from None
        except Refusal as refusal:
            detail = self.without_tokens(refusal.detail)
            result.update(ok=False, trouble=refusal.trouble, detail=detail, facts=refusal.facts)
        if "moves" in does:
            self.unit.forget(settings="changes" in does)
        if "calls" in does:
            self.own_calls.keep()
        result["seconds"] = round(self.system.monotonic() - began, 4)
        return result

    def leave(self) -> None:
        """The last thing before this process ends: its meter stands still, and what it has called is noted."""
        if self.meter:
            self.meter.hold()
        self.own_calls.keep(leaves=True)
