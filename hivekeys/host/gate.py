"""The gate of restricted mode: checks every request to an installed agent and refuses what is not allowed.

Runs ON the host, as root, in one text with agent.py and the modules of the verbs that stay allowed; restrict.py puts
that text there. A holder of the bastion's key can send anything on stdin, so every request is checked here before any
of it is done: its verbs, its fields, each one's type, size and characters. Which fleet and which service the host has
stands in a file of root's alone, and a request that says otherwise is refused. A refusal is a line in the system's log,
which holds nothing that the request said but names known here.
"""

import hashlib
import json
import os
import re
import sys
import syslog

from hivekeys.host.agent import VERBS, Agent
from hivekeys.host.forms import is_token
from hivekeys.host.paths import read_limited
from hivekeys.host.serving import answer, main, refused
from hivekeys.host.slots import MANY_TOKENS
from hivekeys.host.state import MAX_EPOCH, caller
from hivekeys.host.system import Refusal
from hivekeys.host.writing import MIN_TOKEN_CHARS

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Iterator, Optional

    Check = Callable[[object], bool]

PROTOCOL = 1  # hivekeys.protocol.wire.PROTOCOL; goes up when a request means something else than before
SETTINGS = "restricted"  # in /var/lib/hivekeys; restrict.py writes it
REQUEST_BYTES = 1 << 20  # of one line
REFUSALS = 10  # of one session: then it is over
STEPS = 20  # of one request; a bastion asks for fewer than ten
MANY = 10000  # entries of a list
FAR = 1e15  # no time, size or count that is meant is larger (hivekeys.protocol.wire.LARGEST)
LONGEST_REASON = 1000  # characters (hivekeys.protocol.verbs.Drain)
TAG = "hivekeys-agent"


class Unfit(Exception):  # noqa: N818  an answer, not an error
    """Why a request is not done: words that hold nothing of it, the verb that it is about, the trouble's name."""

    def __init__(self, why: str, verb: str = "hello", trouble: str = "request-refused") -> None:
        super().__init__(why)
        self.why = why
        self.verb = verb
        self.trouble = trouble


# -- what a field may be


def matching(pattern: str) -> "Check":
    whole = re.compile(pattern)
    return lambda value: isinstance(value, str) and whole.fullmatch(value) is not None


def words(most: int) -> "Check":
    return lambda value: isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


def within(least: float, most: float) -> "Check":
    """A number; no truth value, and false for NaN."""
    return lambda value: type(value) in (int, float) and least <= value <= most  # type: ignore[operator]


def entire(least: int, most: int) -> "Check":
    return lambda value: type(value) is int and least <= value <= most


def flag(value: object) -> bool:
    return value is True or value is False


def or_none(check: "Check") -> "Check":
    return lambda value: value is None or check(value)


def list_of(check: "Check") -> "Check":
    return lambda value: isinstance(value, list) and len(value) <= MANY and all(check(one) for one in value)


def mapping(key: "Check", one: "Check") -> "Check":
    return lambda value: (
        isinstance(value, dict)
        and len(value) <= MANY
        and all(key(name) and one(content) for name, content in value.items())
    )


def whole_token(value: object) -> bool:
    return isinstance(value, str) and len(value) >= MIN_TOKEN_CHARS and is_token(value)


def old_tokens(value: object) -> bool:
    """What a service is only asked with: whatever it may have been, of a length and number that is bounded."""
    fits = isinstance(value, list) and len(value) <= MANY_TOKENS
    return fits and all(isinstance(token, str) and is_token(token) for token in value)  # type: ignore[attr-defined]


def sitting(value: object) -> bool:
    """[how often the run was taken up, an id]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and entire(0, MANY)(value[0])
        and matching("[0-9a-f]{0,16}")(value[1])
    )


def seen_run(value: object) -> bool:
    """Which run had changed the host when this one first looked: {"epoch", "run"}."""
    return (
        isinstance(value, dict)
        and set(value) == {"epoch", "run"}
        and entire(0, MAX_EPOCH)(value["epoch"])
        and matching(r"[A-Za-z0-9._-]{0,100}")(value["run"])
    )


def never(value: object) -> bool:
    """Only for an agent that was sent: a thief of this agent's key must not end others' sessions."""
    return value is False


def moment(value: object) -> bool:
    """A time of a query: {"seconds", "before_now"}."""
    return (
        isinstance(value, dict)
        and set(value) == {"seconds", "before_now"}
        and within(0, 1e11)(value["seconds"])
        and flag(value["before_now"])
    )


KEYED = matching(r"[0-9a-f]{64}")
RUN = matching(r"[A-Za-z0-9._-]{1,100}")
A_DAY = within(0, 86400)
ANYTHING = bool  # compared with the host's own settings, which says more than its type
# What each field may be; "prove.want": where a name means something else than elsewhere. A verb has the fields that its
# function takes, all of them and no other.
FIELDS = {
    "fleet": ANYTHING,
    "service": ANYTHING,
    "key": KEYED,
    "run": RUN,
    "who": words(200),
    "write": flag,
    "claim": flag,
    "epoch": entire(0, MAX_EPOCH),
    "beside": never,
    "sitting": sitting,
    "seen": or_none(seen_run),
    "take_over": never,
    "revoked": mapping(KEYED, RUN),
    "hello.tokens": old_tokens,
    "token": whole_token,
    "want": KEYED,
    "admit.tokens": list_of(KEYED),
    "at_once": flag,
    "prove.want": or_none(KEYED),
    "meter.want": or_none(KEYED),
    "refuse": list_of(KEYED),
    "revoke.tokens": list_of(KEYED),
    "accept.tokens": list_of(KEYED),
    "also": KEYED,
    "health_seconds": A_DAY,
    "stable_seconds": A_DAY,
    "log": flag,
    "since": or_none(moment),
    "until": or_none(moment),
    "host": RUN,
    "phase": matching(r"[a-z]{1,20}"),
    "reason": lambda value: value == "" or words(LONGEST_REASON)(value),
    "hurries": flag,
    "marks": flag,
    "audit.tokens": list_of(matching(r"[0-9a-f]{6}")),
    "failed": flag,
    "records": entire(0, MANY),
    "replaced": or_none(within(0, 1e11)),
    "fresh": or_none(within(0, 1e11)),
    "size": entire(0, int(FAR)),
    "seconds": A_DAY,
    "chain": flag,
}  # type: dict[str, Check]
UNSAID = {"also"}  # fields that a request need not have
REQUEST_FIELDS = {"protocol": entire(0, 10**6), "deadline": within(0, 86400), "expires": within(-FAR, FAR)}


def checks_of(verb: str) -> "dict[str, Optional[Check]]":
    """What a verb's function takes beside the agent, and what each may be; None: nothing is let through."""
    code = VERBS[verb][0].__code__
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    return {name: FIELDS.get("%s.%s" % (verb, name)) or FIELDS.get(name) for name in names}


def plain_number(text: str) -> int:
    """A whole number of a request; thousands of digits take long to read, and mean nothing."""
    if len(text) > 20:
        raise ValueError("a number beyond all measure")
    return int(text)


def no_number(text: str) -> float:
    raise ValueError(text)


def request_of(line: bytes) -> "dict[str, Any]":
    """A line as a request whose frame is right; its steps are looked at one by one."""
    try:
        request = json.loads(line.decode("utf-8"), parse_int=plain_number, parse_constant=no_number)
    except (ValueError, RecursionError):
        raise Unfit("a line that is no request") from None
    if not isinstance(request, dict):
        raise Unfit("a line that is no request")
    if request.get("protocol") != PROTOCOL:
        raise Unfit("the host's agent speaks protocol %d, the bastion another" % PROTOCOL, trouble="agent-differs")
    if not set(request) <= {"steps", *REQUEST_FIELDS} or "deadline" not in request:
        raise Unfit("a request with other fields than it has")
    for name, check in REQUEST_FIELDS.items():
        if name in request and not check(request[name]):
            raise Unfit("a request whose %s cannot be meant" % name)
    steps = request.get("steps")
    if not isinstance(steps, list) or not 0 < len(steps) <= STEPS or not all(isinstance(step, dict) for step in steps):
        raise Unfit("a request without steps, or with too many")
    return request


def check_step(step: "dict[str, Any]") -> str:
    """The verb of a step that has exactly the fields of that verb, each as it may be."""
    verb = step.get("verb")
    if not isinstance(verb, str) or verb not in VERBS:
        raise Unfit("a verb that is not allowed here")
    if not {"locked", "unlocked"} & set(VERBS[verb][1]):
        raise Unfit("a verb that is not allowed here")
    fields = checks_of(verb)
    given = set(step) - {"verb"}
    if not given <= set(fields):
        raise Unfit("%s with a field that it does not have" % verb, verb)
    if given | UNSAID != set(fields) | UNSAID:
        raise Unfit("%s without all of its fields" % verb, verb)
    for name in sorted(given):
        check = fields[name]
        if not check or not check(step[name]):
            raise Unfit("%s with a %s that cannot be meant" % (verb, name), verb)
    return verb


def same(one: object, two: object) -> bool:
    """Equal in their types as well: in Python True is 1, and 384.0 is 384."""
    return json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


class Gate:
    """One session's gate; `log` takes a line for each refusal."""

    def __init__(self, agent: "Agent", log: "Callable[[str], object]") -> None:
        self.agent = agent
        agent.installed = True
        self.log = log
        self.refusals = 0

    def reply(self, line: bytes) -> "dict[str, Any]":
        """The agent's reply to a request that fits, a refusal of any other: then nothing of it is done."""
        try:
            if len(line) > REQUEST_BYTES:
                raise Unfit("a line of more than %d bytes" % REQUEST_BYTES)
            request = self.fitting(line)
        except (Unfit, RecursionError) as error:
            unfit = error if isinstance(error, Unfit) else Unfit("a request that is nested too deep")
            self.refuse(unfit.why)
            return {"results": [refused(unfit.verb, unfit.trouble, unfit.why)]}
        return answer(self.agent, {name: request[name] for name in request if name != "protocol"})

    def refuse(self, why: str) -> None:
        """Logs it, and ends a session in which that happens too often: it is no bastion of ours."""
        self.refusals += 1
        self.log("refused: %s" % why)
        if self.refusals >= REFUSALS:
            self.log("session ended after %d refusals" % REFUSALS)
            self.agent.deadline.gone.set()

    def fitting(self, line: bytes) -> "dict[str, Any]":
        """The request, every part of it checked; fleet and service as this host has them."""
        request = request_of(line)
        greeted, locked = bool(self.agent.fleet), self.agent.state.lock is not None
        for step in request["steps"]:
            verb = check_step(step)
            if verb == "hello":
                self.hold_against(step)
                greeted, locked = True, step["write"]
            elif not greeted:
                raise Unfit("%s before hello" % verb, verb)
            elif not locked and "unlocked" not in VERBS[verb][1]:
                raise Unfit("%s in a session that does not hold the lock" % verb, verb)
        return request

    def hold_against(self, hello: "dict[str, Any]") -> None:
        """Raises unless the greeting says of this host what the host knows itself; from then on the latter counts."""
        own = settings_of(self.agent)
        for part in ("fleet", "service"):
            if not same(hello[part], own[part]):
                raise Unfit("another %s than this host was installed for" % part)
            hello[part] = own[part]


def settings_of(agent: "Agent") -> "dict[str, Any]":
    """What restrict.py wrote: {"fleet", "service", "account"}. State keeps the folder root's and 0700."""
    try:
        folder = agent.state.open(create=False)
        if folder is None:
            raise Unfit("there is no /var/lib/hivekeys")
        try:
            found = json.loads(agent.state.read(folder, SETTINGS) or "null")
        finally:
            os.close(folder)
    except (Refusal, OSError, ValueError):
        raise Unfit("/var/lib/hivekeys/%s cannot be read" % SETTINGS) from None
    if not isinstance(found, dict) or not {"fleet", "service", "account"} <= set(found):
        raise Unfit("/var/lib/hivekeys/%s is not there, or not what hivekeys writes" % SETTINGS)
    return found


def limited(file: "BinaryIO") -> "Iterator[bytes]":
    """The lines of a file, never more than one in memory; nothing is read behind one that is too long."""
    while True:
        line = file.readline(REQUEST_BYTES + 1)
        if line:
            yield line
        if not line or len(line) > REQUEST_BYTES:
            return


def own_text(path: str) -> bytes:
    """This program, as it lies on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_limited(fd, 1 << 24) or b""
    finally:
        os.close(fd)


def guarded_main(root: str = "/") -> None:
    """An installed agent's life: it says which it is, then serves what its gate lets through."""
    syslog.openlog(TAG, syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    who_asks = caller()
    agent = Agent(root)
    gate = Gate(agent, lambda text: syslog.syslog(syslog.LOG_WARNING, "%s: %s" % (who_asks, text)))
    who = " %d %s" % (PROTOCOL, hashlib.sha256(own_text(sys.argv[0])).hexdigest())
    main(agent, limited(sys.stdin.buffer), gate.reply, who.encode())
