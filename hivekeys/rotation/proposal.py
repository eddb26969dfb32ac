"""The plan of a rotation that persons approve before it is carried out, and in what a run differs from it. Pure.

It says all that a rotation would do. When it is to be carried out it is made once more, of the fleet as it is then:
what is not the same, to the byte, was not approved.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hivekeys import __version__
from hivekeys.errors import UserError
from hivekeys.fleet import Approval, Fleet, Host
from hivekeys.inventory.written import toml
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Approved, Signed
from hivekeys.rotation.signed import VERSION, Document, lines_of, moment_of, read, text_of, time_text, written
from hivekeys.text.clean import printable
from hivekeys.text.names import fold_names
from hivekeys.token import Fingerprint

FORM = "hivekeys-plan"
NAMESPACE = f"hivekeys-plan@v{VERSION}"
SKEW = 300.0  # seconds that a clock may be ahead of ours
ANEW = "propose it anew: `fab plan --propose FILE`, and have that signed"

Goal = dict[str, str]
NEW_TOKEN: Goal = {"token": "new"}  # made by hivekeys in the run


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a plan is of: the hosts to be turned, and how. `bastion`: the name of the key of its journal."""

    fleet: Fleet
    hosts: Sequence[Host]
    excluded: Collection[str] = ()
    missing: Collection[str] = ()
    retire_anyway: bool = False
    bastion: str = ""


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """Which plan it is: what no fleet says."""

    id: str
    by: str
    at: float
    reason: str = ""
    version: str = __version__


@dataclass(frozen=True)
class ApprovedPlan:
    """A plan that fits the fleet as it is, and was signed by as many persons as must."""

    proposed: Proposed
    goal: Goal
    data: bytes
    signatures: tuple[Signed, ...]
    source: str

    def event(self, now: Moment) -> Approved:
        """What the journal has of it."""
        digest = hashlib.sha256(self.data).hexdigest()
        return Approved(self.proposed.id, digest, lines_of(self.data), self.signatures, now, namespace=NAMESPACE)

    def refuse_other_goal(self, goal: Goal) -> None:
        """Raises UserError for another token than the approved one."""
        if goal != self.goal:
            raise UserError(f"{self.source}: approved is {goal_words(self.goal)}, not {goal_words(goal)}", hint=ANEW)


def given_token(token: Fingerprint) -> Goal:
    """A token that the operator gives."""
    return {"token": "given", "fp6": token.fp6, "hmac": token.keyed}


def backup_of(data: bytes, fp6: str) -> Goal:
    """The token of a backup: the digest of the file says which."""
    return {"token": "backup", "fp6": fp6, "file_sha256": hashlib.sha256(data).hexdigest()}


def goal_words(goal: Goal) -> str:
    """A goal for people."""
    kinds = {"new": "a new token", "given": "a given token", "backup": "the token of a backup"}
    name = f" (token:{goal['fp6']})" if "fp6" in goal else ""
    return f"{kinds.get(goal.get('token', ''), 'another goal')}{name}"


def proposal(scope: Scope, approval: Approval, goal: Goal, proposed: Proposed) -> Document:
    """The plan. Holds no token."""
    names = {host.name for host in scope.hosts}
    rest = [host.name for host in scope.fleet.hosts if host.name not in names]
    return {
        "form": FORM,
        "version": VERSION,
        "id": proposed.id,
        "fleet": scope.fleet.name,
        "goal": goal,
        "reason": proposed.reason,
        "proposed_by": proposed.by,
        "proposed_at": time_text(proposed.at),
        "expires_at": time_text(proposed.at + approval.valid),
        "persons_needed": approval.needed,
        "hivekeys": proposed.version,
        "bastion": scope.bastion,
        "hosts": {host.name: host.address for host in scope.hosts},
        "left_out": [name for name in rest if name not in scope.excluded],
        "excluded": [name for name in rest if name in scope.excluded],
        "allow_missing": sorted(scope.missing),
        "retire_anyway": scope.retire_anyway,
        "policy": _policy(scope.fleet),
        "inventory": {
            "sha256": scope.fleet.digest,
            "settings_sha256": hashlib.sha256(toml(scope.fleet).encode()).hexdigest(),
        },
    }


def opened(data: bytes, source: str) -> tuple[Document, Proposed]:
    """A plan that was read from a file, unsigned as yet. Raises UserError for what is none."""
    document = read(data, FORM, source)
    return document, Proposed(
        id=text_of(document, "id", source),
        by=text_of(document, "proposed_by", source),
        at=moment_of(document, "proposed_at", source),
        reason=text_of(document, "reason", source),
        version=text_of(document, "hivekeys", source),
    )


def refuse_other(document: Document, scope: Scope, approval: Approval, proposed: Proposed, source: str) -> Goal:
    """Raises UserError, which names the first difference, for a plan of anything else than this; returns its goal."""
    goal = document.get("goal")
    if not isinstance(goal, dict) or not all(isinstance(text, str) for text in goal.values()):
        raise UserError(f"{source}: goal is not as hivekeys writes it", hint=ANEW)
    mine = proposal(scope, approval, goal, proposed)
    if document.get("fleet") != scope.fleet.name:
        raise UserError(
            f"{source}: is a plan of fleet {document.get('fleet')}, not of {scope.fleet.name}",
            hint="name that fleet with --fleet",
        )
    keys = [*mine, *(key for key in document if key not in mine)]
    if differs := next((key for key in keys if document.get(key) != mine.get(key) or key not in document), ""):
        raise UserError(f"{source}: {_difference(differs, document, mine)}", hint=ANEW)
    if written(mine) != written(document):
        raise UserError(f"{source}: is not in the order that hivekeys writes", hint=ANEW)
    return goal


def refuse_untimely(document: Document, proposed: Proposed, now: float, source: str) -> None:
    """Raises UserError for a plan that is not valid at this moment (epoch). Asked of a plan that fits the fleet."""
    if now >= moment_of(document, "expires_at", source):
        raise UserError(f"{source}: expired at {document['expires_at']}", hint=ANEW)
    if proposed.at > now + SKEW:
        raise UserError(
            f"{source}: was proposed at {document['proposed_at']}, which is in the future", hint="compare the clocks"
        )


def _policy(fleet: Fleet) -> dict[str, Any]:
    """What of the policy says how hosts are turned."""
    policy = fleet.policy
    return {
        "order": policy.order.value,
        "canary": policy.canary,
        "batch": str(policy.batch),
        "max_failures": str(policy.max_failures),
        "overlap_seconds": policy.overlap,
    }


def _difference(key: str, document: Document, mine: Document) -> str:
    changed = sorted({name for name, _ in _items(document.get(key)) ^ _items(mine.get(key))})
    return {
        "hosts": f"the hosts are not those that were approved: {fold_names(changed[:20])}",
        "policy": f"the policy is not the one that was approved: {', '.join(changed)}",
        "inventory": "the inventory was changed after it was proposed",
        "bastion": "was proposed on another bastion, or with another state folder",
        "left_out": "leaves out other hosts",
        "excluded": "other hosts are excluded from the fleet than when it was proposed",
        "allow_missing": "--allow-missing is not what was approved",
        "retire_anyway": "--retire-anyway is not what was approved",
    }.get(key, f"{printable(key)[:40]} is not what was approved")


def _items(value: object) -> set[tuple[str, str]]:
    return {(str(name), str(each)) for name, each in value.items()} if isinstance(value, dict) else set()
