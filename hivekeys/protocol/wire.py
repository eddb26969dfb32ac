"""Encodes steps as JSON for the agent, and decodes its answers into checked, bounded values. Pure.

The only place where a token meets a request.

A host can send anything: every field is checked against its type here, every text is made printable and bounded, and
what does not fit is `rubbish`, which names the field. So what shows, records or compares it need not check again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from hivekeys.fleet import Policy
from hivekeys.protocol import verbs
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply, Result
from hivekeys.protocol.seen import MAX_EPOCH, Proof
from hivekeys.protocol.tombstone import Stone
from hivekeys.protocol.verbs import (
    STEPS,
    UPKEEP,
    Accesses,
    Answered,
    Audit,
    EndSurvivors,
    Front,
    Hello,
    Notify,
    Prove,
    Recall,
    Restart,
    Restrict,
    Stage,
    Step,
    Sweep,
    Verb,
)
from hivekeys.service import Apply, Drain, Hook, Service
from hivekeys.service import Front as ServiceFront
from hivekeys.text.clean import LONGEST, BeyondError, cleaned, cut, one_line, printable
from hivekeys.token import MAX_LENGTH, Fingerprint, Token

PROTOCOL = 1  # an installed agent refuses a bastion of another (gate.py); up when a request means something else
Tokens = Mapping[Fingerprint, Token]
T = TypeVar("T")
OF_ACCESSES = ("since", "until", "failed", "records", "seconds")  # what of a query means anything to auditd's record
# Fields of free text: a sentence each, one line that is cut. And paths, of which a cut one is marked and is no path.
SENTENCES = {"detail", "fault", "before", "after", "refused", "unread", "breaks", "broken", "cut", "chain_cut", "rules"}
SENTENCES |= {"why", "sources", "unnamed", "busy", "output", "map"}
PATHS = {"path", "place", "places", "folder", "reads", "temporary", "strays", "reused", "acl", "program", "token"}
PATHS |= {"open_files"}
CALLERS = {"service", "address"}  # of a call, as the service has noted them: as long as a caller liked
LONGER = PATHS | CALLERS
NAME = 255  # characters of any other text; a unit, a file and a run have shorter names
MOST_CHANGES = 1000  # of one host; fix.py adds up what is beyond that
MOST_PLACES = 256  # of one host; sweep.py asks 64 of each kind, and says how many it does not
LOOK_SECONDS = 2.0  # in which a service that is only looked at must answer
STOP_SECONDS = 90.0  # that a service may take to end before systemd kills it, unless its unit says otherwise
SWEEP_SECONDS = 30.0  # for places that are silent, and for processes that are slow to end
LARGEST = 1e15  # no time, size or count that a host can mean is larger; sums of such numbers stay finite


def encode(step: Step, policy: Policy, tokens: Tokens) -> dict[str, Any]:
    """One step as the agent reads it."""
    return {"verb": step.verb.value, **_fields(step, policy, tokens)}


def _fields(step: Step, policy: Policy, tokens: Tokens) -> dict[str, Any]:
    match step:
        case Hello():
            return _greeting(step, tokens)
        case Stage():
            if step.want not in tokens:
                raise ValueError("stage needs the token")
            return {"token": tokens[step.want].reveal()}
        case Prove():
            stable = policy.stable_seconds if step.stable else 0.0
            asked = {"want": _plain(step.want), "refuse": _plain(step.refuse), "log": step.log}
            asked |= {"also": _plain(step.also)} if step.also else {}
            return {**asked, "health_seconds": _health(step, policy), "stable_seconds": stable}
        case Front():
            told = {"apply": step.apply, "options": list(step.options), "host": step.host}
            told |= {"want": _plain(step.want)} if step.want else {}
            return {**told, "health_seconds": policy.health_deadline}
        case Audit():
            return asdict(step.query)
        case Accesses():
            return {name: value for name, value in asdict(step.query).items() if name in OF_ACCESSES}
        case Restrict():
            given = asdict(step.restriction) if step.restriction else {}
            return {"apply": step.apply, "options": list(step.options), **given}
        case _:
            given = {part.name: _plain(getattr(step, part.name)) for part in fields(step)}
            return {name: value for name, value in given.items() if value is not None}


def _plain(value: object) -> Any:
    """A field as JSON has it: a token by its keyed fingerprint."""
    if isinstance(value, Fingerprint):
        return value.keyed
    if isinstance(value, Stone):
        return asdict(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _greeting(hello: Hello, tokens: Tokens) -> dict[str, Any]:
    """Who speaks, and the service as the inventory has it; `tokens` are made known for proofs, not written."""
    greeting, service, seen = hello.greeting, hello.service, hello.seen
    return {
        "fleet": greeting.fleet,
        "key": greeting.key.hex(),
        "run": greeting.run,
        "who": greeting.who,
        "write": greeting.write,
        "epoch": greeting.epoch,
        "claim": greeting.claim,
        "beside": hello.beside,
        "sitting": list(greeting.sitting),
        "seen": {"epoch": seen.epoch, "run": seen.run} if seen else None,
        "take_over": greeting.take_over,
        "revoked": dict(greeting.revoked),
        "service": service_told(service),
        "tokens": [token.reveal() for token in tokens.values()],
    }


def service_told(service: Service) -> dict[str, Any]:
    """What of a service its host must know; an installed agent compares it with what it was installed for.

    Words that came later are left out where they say the usual: a host that was installed before them knows none.
    """
    return {
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
        **({"stream": service.stream} if service.stream else {}),
        **({"apply": service.apply.value} if service.apply is not Apply.RESTART else {}),
        **({"signal": service.signal} if service.apply is Apply.SIGNAL else {}),
        **({"front": _front_told(service.front)} if service.front else {}),
        **({"drain": _drain_told(service.drain)} if service.drain else {}),
        **({"accepts": service.accepts.value, "tokens": service.accepted} if service.accepted else {}),
    }


def _front_told(front: ServiceFront) -> dict[str, Any]:
    """The same of a front: how it is set up, and the service behind it."""
    return {
        "listen": front.listen,
        "certificate": front.certificate,
        "key": front.key,
        "public": list(front.public),
        "start": front.start,
        "firewall": front.firewall,
        **({} if front.own_token else {"own_token": False}),
        "behind": service_told(front.behind),
    }


def _drain_told(drain: Drain) -> dict[str, Any]:
    """What a host must know of a drain; of a command that is done on the bastion, or by its front, that it is."""

    def hook(one: Hook) -> dict[str, Any]:
        if one.bastion or one.front:
            return {"bastion" if one.bastion else "front": True}
        return {"run": list(one.run), "http": one.http}

    told: dict[str, Any] = {"deadline": drain.deadline, "on_deadline": drain.on_deadline.value}
    hooks = {"before": drain.before, "after": drain.after}
    told |= {name: hook(one) for name, one in hooks.items() if one}
    return {**told, "until": {**asdict(drain.until), "run": list(drain.until.run)}} if drain.until else told


def drain_seconds(steps: Sequence[Step], drain: Drain | None) -> float:
    """The most that the operator's commands, and the wait for idle, may add to that."""
    if drain is None:
        return 0.0
    times = {verbs.Drain: 2, verbs.Uncordon: 1, Front: 3}  # which may start its service again
    return drain.deadline * sum(times.get(type(step), 0) for step in steps)


def _health(step: Prove, policy: Policy) -> float:
    """Seconds in which a service must answer: one that was not just started does so at once."""
    return policy.health_deadline if step.waits else min(LOOK_SECONDS, policy.health_deadline)


def seconds_for(steps: Sequence[Step], policy: Policy) -> float:
    """The most that an agent may take for these steps: its own deadline, in seconds."""
    kinds = {type(step) for step in steps}
    limit = 30.0
    if kinds & {Restart, Notify, Front}:  # systemd waits for a reload as for a stop
        limit += policy.health_deadline + STOP_SECONDS
    if kinds & {Sweep, EndSurvivors}:
        limit += SWEEP_SECONDS
    proofs = [_health(step, policy) for step in steps if isinstance(step, Prove)]
    if proofs:
        limit += max(proofs) + policy.stable_seconds
    return limit + sum(step.query.seconds for step in steps if isinstance(step, Audit | Accesses))


@dataclass(frozen=True)
class _Answer:
    verb: Verb
    ok: bool
    changed: bool
    seconds: float
    facts: dict[str, Any]
    trouble: str
    detail: str


_RESULTS = TypeAdapter(list[_Answer])
_ANSWERS: dict[Verb, TypeAdapter[Any]] = {
    verb: TypeAdapter(kind.answer())
    for verb, kind in STEPS.items()
    if issubclass(kind, Answered) and kind is not Recall
}


def decode(raw: object) -> Reply | Cause:
    """A reply as typed values. A cause of its own is the first failed step's."""
    try:
        if _is_beyond(raw):
            return Cause(Trouble.RUBBISH, "the agent's answer has a number beyond all measure")
        raw = cleaned(raw, _text)
        answers = _read(_RESULTS, raw.get("results") if isinstance(raw, dict) else None)
        results = tuple((a.ok, Result(a.verb, a.changed, a.seconds)) for a in answers)
        broke = next((result for ok, result in results if not ok), None)
        failed = next((answer for answer in answers if not answer.ok), None)
        cause = Cause(Trouble(failed.trouble), failed.detail) if failed else None
        said = {answer.verb: found for answer in answers if (found := _answer(answer)) is not None}
        reply = Reply(tuple(result for ok, result in results if ok), cause, broke, said)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        return Cause(Trouble.RUBBISH, f"the agent's answer is malformed at {'.'.join(map(str, first['loc']))}")
    except BeyondError as error:
        return Cause(Trouble.RUBBISH, f"the agent's answer is beyond all measure: {error}")
    except (ValueError, RecursionError):
        return Cause(Trouble.RUBBISH, "the agent's answer is malformed")
    return _with_sound_record(reply)


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


def _answer(answer: _Answer) -> object:
    """What a host said to a verb, as the type that the verb has for it; None when it said nothing, or is not heard."""
    kind, facts = STEPS[answer.verb], answer.facts
    says = bool(facts) if kind is Prove or kind in UPKEEP else answer.ok  # the former also when they failed
    if not says:
        return None
    if kind is Recall:
        return _token(facts.get("token"))
    if answer.verb not in _ANSWERS:
        return None
    if kind is Sweep:
        _refuse_many(facts, "places", "survivors", most=MOST_PLACES)
    if kind in UPKEEP:
        _refuse_many(facts, "changes", most=MOST_CHANGES)
        return _read(_ANSWERS[answer.verb], facts.get("changes"))
    found = _read(_ANSWERS[answer.verb], facts)
    return _asked(found) if isinstance(found, Proof) else found


def _refuse_many(facts: dict[str, Any], *names: str, most: int) -> None:
    for name in names:
        if isinstance(facts.get(name), list) and len(facts[name]) > most:
            raise BeyondError(f"{name} has {len(facts[name])} entries, more than {most}")


def _token(text: object) -> Token:
    if not isinstance(text, str) or len(text) > MAX_LENGTH or not all("!" <= char <= "~" for char in text):
        raise ValueError("no token")
    return Token(text)


def _asked(proof: Proof) -> Proof:
    """A proof whose own calls bear it out; ValueError for one that claims what it did not ask."""
    calls = proof.calls
    answered = 200 <= calls.get("new", 0) < 300 and calls.get("none") == calls.get("garbage") == 401
    answered = answered and 200 <= calls.get("also", 200) < 300
    if proof.proven and not (answered and calls.get("old", 401) == 401):
        raise ValueError("proven, and not asked")
    if proof.refused_after is not None and "old" not in calls:
        raise ValueError("refused, and not asked")
    return proof


def _with_sound_record(reply: Reply) -> Reply:
    """A place in the order of runs that cannot be meant is the failure of this host's record, and of nothing else."""
    met = reply.host_record
    if met is None or all(0 <= epoch <= MAX_EPOCH for epoch in (met.epoch, met.changed.epoch)):
        return reply
    cause = Cause(Trouble.RECORD_UNSOUND, "its epoch is beyond all measure")  # whatever else failed came after it
    return replace(reply, cause=cause, answers={**reply.answers, Verb.HELLO: None})
