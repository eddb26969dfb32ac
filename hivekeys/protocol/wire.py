"""Encodes steps as JSON for the agent, and decodes its answers into checked, bounded values. Pure.

The only place where a token meets a request.

A host can send anything: every field is checked against its type here, every text is made printable and bounded, and
what does not fit is `rubbish`, which names the field. So whoever shows, records or compares it need not ask again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from hivekeys.fleet import Policy, Service
from hivekeys.protocol.audited import Accesses, Audited
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.change import Change
from hivekeys.protocol.inspected import Inspected
from hivekeys.protocol.listeners import Listener, Survivor
from hivekeys.protocol.messages import Reply, Result, Step, Verb
from hivekeys.protocol.shown import MAX_EPOCH, HostRecord, Place, Proof, Seen
from hivekeys.protocol.tombstone import Remembered
from hivekeys.text.clean import LONGEST, BeyondError, cleaned, cut, one_line, printable
from hivekeys.token import MAX_LENGTH, Fingerprint, Token

PROTOCOL = 1  # an installed agent refuses a bastion of another (gate.py); up when a request means something else
Tokens = Mapping[Fingerprint, Token]
T = TypeVar("T")
UPKEEP = (Verb.FIX, Verb.INSTALL, Verb.UNINSTALL, Verb.WATCH, Verb.RESTRICT)
OF_ACCESSES = ("since", "until", "failed", "records", "seconds")  # what of a query means anything to auditd's record
# Fields of free text: a sentence each, one line that is cut. And paths, of which a cut one is marked and is no path.
SENTENCES = {"detail", "fault", "before", "after", "refused", "unread", "breaks", "broken", "cut", "chain_cut", "rules"}
SENTENCES |= {"why", "sources", "unnamed"}
PATHS = {"path", "place", "places", "folder", "reads", "temporary", "strays", "reused", "acl", "program", "token"}
CALLERS = {"service", "address"}  # of a call, as the service has noted them: as long as somebody liked
LONGER = PATHS | CALLERS
NAME = 255  # characters of any other text; a unit, a file and a run have shorter names
MOST_CHANGES = 1000  # of one host; fix.py adds up what is beyond that
MOST_PLACES = 256  # of one host; sweep.py asks 64 of each kind, and says how many it does not
LOOK_SECONDS = 2.0  # in which a service that is only looked at must answer
STOP_SECONDS = 90.0  # that a service may take to end before systemd kills it, unless its unit says otherwise
SWEEP_SECONDS = 30.0  # for places that are silent, and for processes that are slow to end
LARGEST = 1e15  # no time, size or count that a host can mean is larger; sums of such numbers stay finite


@dataclass(frozen=True)
class Greeting:
    """Who speaks: sent once per line, before anything else. `write` takes the host's lock."""

    fleet: str
    key: bytes
    run: str
    who: str
    write: bool = False
    epoch: int = 0
    claim: bool = True  # False: the lock alone, for work that is no rotation
    sitting: tuple[int, str] = (0, "")  # how often the run was taken up, and an id of this process's own
    take_over: bool = False  # whoever else has the host's lock is ended
    revoked: Mapping[str, str] = field(default_factory=dict)  # keyed fingerprints of leaked tokens → who revoked them

    def step(self, service: Service, tokens: Tokens, beside: bool = False, seen: Place | None = None) -> dict[str, Any]:
        """The hello step for a host; `tokens` are made known to it for proofs, not written.

        `beside`: the service shares the machine of another; restricted mode refuses the word. `seen`: the run that had
        changed the host when this process first looked.
        """
        return {
            **({"beside": True} if beside else {}),
            "verb": Verb.HELLO.value,
            "fleet": self.fleet,
            "key": self.key.hex(),
            "run": self.run,
            "who": self.who,
            "write": self.write,
            "epoch": self.epoch,
            "claim": self.claim,
            "sitting": list(self.sitting),
            "seen": {"epoch": seen.epoch, "run": seen.run} if seen else None,
            "take_over": self.take_over,
            "revoked": dict(self.revoked),
            "service": {
                "unit": service.unit,
                "token": service.token,
                "format": service.format.value,
                "owner": service.owner,
                "group": service.group,
                "mode": service.mode,
                "directory_mode": service.directory_mode,
                "port": service.port,
                "health": list(service.health),
                "protected": list(service.protected),
                "places": list(service.places),
                "address": service.address,
                "scheme": service.scheme,
                "ca": service.ca,
                "verify": service.verify,
            },
            "tokens": [token.reveal() for token in tokens.values()],
        }


def encode(step: Step, policy: Policy, tokens: Tokens) -> dict[str, Any]:
    """One step as the agent reads it."""
    fields: dict[str, Any] = {"verb": step.verb.value}
    match step.verb:
        case Verb.STAGE:
            if step.want is None or step.want not in tokens:
                raise ValueError("stage needs the token")
            fields["token"] = tokens[step.want].reveal()
        case Verb.SWAP | Verb.REVERT | Verb.RETIRE | Verb.RECALL:
            fields["want"] = step.want.keyed if step.want else None
        case Verb.SWEEP | Verb.END_SURVIVORS:
            fields["refuse"] = [token.keyed for token in step.refuse]
        case Verb.REVOKE:
            fields["tokens"] = [token.keyed for token in step.refuse]
        case Verb.PROVE:
            fields.update(
                want=step.want.keyed if step.want else None,
                refuse=[old.keyed for old in step.refuse],
                health_seconds=_health(step, policy),
                stable_seconds=policy.stable_seconds if step.stable else 0.0,
                log=step.log,
            )
        case Verb.AUDIT if step.query:
            fields.update(asdict(step.query))
        case Verb.ACCESSES if step.query:
            fields.update((name, value) for name, value in asdict(step.query).items() if name in OF_ACCESSES)
        case verb if verb in UPKEEP:
            fields.update(_of_upkeep(step))
    return fields


def _health(step: Step, policy: Policy) -> float:
    """Seconds in which a service must answer: one that nobody has just started does so at once."""
    return policy.health_deadline if step.waits else min(LOOK_SECONDS, policy.health_deadline)


def _of_upkeep(step: Step) -> dict[str, Any]:
    fields: dict[str, Any] = {"apply": step.apply, "options": list(step.options)}
    if step.want:
        fields["want"] = step.want.keyed
    if step.stones:
        fields["stones"] = [asdict(stone) for stone in step.stones]
    return fields | (asdict(step.restriction) if step.restriction else {})


def seconds_for(steps: Sequence[Step], policy: Policy) -> float:
    """The most that an agent may take for these steps: its own deadline, in seconds."""
    verbs = {step.verb for step in steps}
    limit = 30.0
    if Verb.RESTART in verbs:
        limit += policy.health_deadline + STOP_SECONDS
    if verbs & {Verb.SWEEP, Verb.END_SURVIVORS}:
        limit += SWEEP_SECONDS
    if Verb.PROVE in verbs:
        limit += max(_health(step, policy) for step in steps if step.verb is Verb.PROVE) + policy.stable_seconds
    limit += sum(step.query.seconds for step in steps if step.query)
    return limit


@dataclass(frozen=True)
class _Answer:
    verb: Verb
    ok: bool
    changed: bool
    seconds: float
    facts: dict[str, Any]
    trouble: str
    detail: str


_ANSWERS = TypeAdapter(list[_Answer])
_SHOWN: dict[Verb, tuple[str, TypeAdapter[Any]]] = {  # what a verb's facts are, and their place in the reply
    Verb.HELLO: ("met", TypeAdapter(HostRecord)),
    Verb.OBSERVE: ("seen", TypeAdapter(Seen)),
    Verb.INSPECT: ("inspected", TypeAdapter(Inspected)),
    Verb.AUDIT: ("audited", TypeAdapter(Audited)),
    Verb.ACCESSES: ("accesses", TypeAdapter(Accesses)),
    Verb.TOMBSTONES: ("remembered", TypeAdapter(Remembered)),
}
_PROOF = TypeAdapter(Proof)
_PLACES = TypeAdapter(tuple[Listener, ...] | None)
_SURVIVORS = TypeAdapter(tuple[Survivor, ...])
_CHANGES = TypeAdapter(tuple[Change, ...])


def decode(raw: object) -> Reply | Cause:
    """A reply as typed values. A cause of its own is the first failed step's."""
    try:
        if _is_beyond(raw):
            return Cause(Trouble.RUBBISH, "the agent's answer has a number beyond all measure")
        raw = cleaned(raw, _text)
        answers = _read(_ANSWERS, raw.get("results") if isinstance(raw, dict) else None)
        results = tuple((a.ok, Result(a.verb, a.changed, a.seconds)) for a in answers)
        broke = next((result for ok, result in results if not ok), None)
        reply = Reply(tuple(result for ok, result in results if ok), broke=broke)
        for answer in answers:
            reply = _with(reply, answer)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        return Cause(Trouble.RUBBISH, f"the agent's answer is malformed at {'.'.join(map(str, first['loc']))}")
    except BeyondError as error:
        return Cause(Trouble.RUBBISH, f"the agent's answer is beyond all measure: {error}")
    except (ValueError, RecursionError):
        return Cause(Trouble.RUBBISH, "the agent's answer is malformed")
    return reply


def _text(text: str, field: str) -> str:
    """A text of an answer as it may be shown. Raises BeyondError for one that no host can mean."""
    if field in SENTENCES:
        return one_line(text)
    if field in LONGER:
        return printable(cut(text, LONGEST))
    if len(text) > NAME:
        raise BeyondError(f"{field} has {len(text)} characters, more than {NAME}")
    return printable(text)


def _is_beyond(found: object) -> bool:
    """True when a number in it is infinite, none at all, or larger than LARGEST."""
    if isinstance(found, str):  # most of what an answer has
        return False
    if isinstance(found, dict):
        return any(map(_is_beyond, found.values()))
    if isinstance(found, list):
        return any(map(_is_beyond, found))
    return isinstance(found, (int, float)) and not -LARGEST <= found <= LARGEST


def _read(adapter: TypeAdapter[T], found: object) -> T:
    """What the host sent as the adapter's type, strictly: a string is no number."""
    return adapter.validate_json(json.dumps(found), strict=True)


def _with(reply: Reply, answer: _Answer) -> Reply:
    """The reply with one more answer's facts in it."""
    if not answer.ok and reply.cause is None:
        reply = replace(reply, cause=Cause(Trouble(answer.trouble), answer.detail))
    if answer.verb is Verb.PROVE and answer.facts:
        return replace(reply, proof=_asked(_read(_PROOF, answer.facts)))
    if answer.verb in UPKEEP and answer.facts:
        changes = _read(_CHANGES, answer.facts.get("changes"))
        if len(changes) > MOST_CHANGES:
            raise BeyondError(f"changes has {len(changes)} entries, more than {MOST_CHANGES}")
        return replace(reply, changes=changes)
    if not answer.ok:
        return reply
    if answer.verb is Verb.SWEEP:
        return replace(reply, proof=_swept(reply.proof or Proof({}, proven=False), answer.facts))
    if answer.verb in _SHOWN:
        name, adapter = _SHOWN[answer.verb]
        shown: dict[str, Any] = {name: _read(adapter, answer.facts)}
        return _with_sound_record(replace(reply, **shown))
    if answer.verb is Verb.RECALL:
        text = answer.facts.get("token")
        if not isinstance(text, str) or len(text) > MAX_LENGTH or not all("!" <= char <= "~" for char in text):
            raise ValueError("no token")
        return replace(reply, token=Token(text))
    return reply


def _asked(proof: Proof) -> Proof:
    """A proof whose own calls bear it out; ValueError for one that claims what it did not ask."""
    calls = proof.calls
    answered = 200 <= calls.get("new", 0) < 300 and calls.get("none") == calls.get("garbage") == 401
    if proof.proven and not (answered and calls.get("old", 401) == 401):
        raise ValueError("proven, and not asked")
    if proof.refused_after is not None and "old" not in calls:
        raise ValueError("refused, and not asked")
    return proof


def _with_sound_record(reply: Reply) -> Reply:
    """A place in the order of runs that cannot be meant is the failure of this host's record, and of nothing else."""
    met = reply.met
    if met is None or all(0 <= epoch <= MAX_EPOCH for epoch in (met.epoch, met.changed.epoch)):
        return reply
    return replace(
        reply, met=None, cause=reply.cause or Cause(Trouble.RECORD_UNSOUND, "its epoch is beyond all measure")
    )


def _swept(proof: Proof, facts: dict[str, Any]) -> Proof:
    """A proof with what every other place on the host made of the old tokens."""
    for name in ("places", "survivors"):
        if isinstance(facts.get(name), list) and len(facts[name]) > MOST_PLACES:
            raise BeyondError(f"{name} has {len(facts[name])} entries, more than {MOST_PLACES}")
    places, survivors = _read(_PLACES, facts.get("places")), _read(_SURVIVORS, facts.get("survivors"))
    return replace(proof, places=places, survivors=survivors)
