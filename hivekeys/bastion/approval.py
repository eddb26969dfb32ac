"""Whether persons have approved that a fleet is turned (`[approval]`): proposes a plan, and takes a signed one."""

import contextlib
import secrets
import shlex
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from hivekeys.bastion.request import Request
from hivekeys.errors import UserError
from hivekeys.files import read_plain
from hivekeys.fleet import Approval, Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.journal.events import RunStarted, Signed, TokenChosen
from hivekeys.journal.run import ROTATE
from hivekeys.journal.store import Journal
from hivekeys.report.onward import typed
from hivekeys.rotation.proposal import (
    NAMESPACE,
    NEW_TOKEN,
    ApprovedPlan,
    Goal,
    Proposed,
    Scope,
    given_token,
    opened,
    proposal,
    refuse_other,
    refuse_untimely,
)
from hivekeys.rotation.signed import LARGEST, written
from hivekeys.ssh import signatures
from hivekeys.text.clean import cut, printable
from hivekeys.token import Token, key_name

LONGEST_REASON = 500  # characters
SUFFIX = ".sig"  # where `ssh-keygen -Y sign FILE` puts the signature


def is_awaited(fleet: Fleet, file: str) -> bool:
    """True where the fleet may be turned with an approved plan alone, and there is none. Raises UserError for a plan
    that nobody asks for.
    """
    if file and not fleet.approval:
        raise UserError(
            f"--approved {printable(file)}: fleet {fleet.name} asks for no approval",
            hint="name those who may approve: [approval] in its inventory",
        )
    return bool(fleet.approval and not file)


def rule_of(fleet: Fleet) -> Approval:
    """Who may approve. Raises UserError for a fleet that asks for no approval."""
    if fleet.approval is None:
        raise UserError(
            f"fleet {fleet.name} asks for no approval", hint="name those who may approve: [approval] in its inventory"
        )
    return fleet.approval


def refusal(fleet: Fleet, verb: str = "rotate") -> UserError:
    """What is told to who would turn the fleet alone."""
    sign = "have FILE signed (it says how)"
    return UserError(
        f"fleet {fleet.name} is turned only with an approved plan ([approval] in its inventory)",
        hint=f"{typed('plan', fleet, '--propose', 'FILE')}; {sign}; {typed(verb, fleet, '--approved', 'FILE')}",
    )


def scope_of(
    fleet: Fleet,
    hosts: Sequence[Host],
    excluded: Collection[str],
    state_dir: str,
    *,
    missing: Collection[str] = (),
    retire_anyway: bool = False,
) -> Scope:
    """What a plan of these hosts is of, on this bastion."""
    bastion = key_name(state_folder.fingerprint_key(state_folder.folder_for(fleet.name, state_dir)))
    return Scope(
        fleet=fleet, hosts=hosts, excluded=excluded, missing=missing, retire_anyway=retire_anyway, bastion=bastion
    )


def goal_of(fleet: Fleet, given: Token | None, state_dir: str) -> Goal:
    """The token that a rotation brings: a new one, or the one `given`, by its fingerprint."""
    if given is None:
        return NEW_TOKEN
    return given_token(given.fingerprint(state_folder.fingerprint_key(state_folder.folder_for(fleet.name, state_dir))))


def proposed_plan(scope: Scope, goal: Goal, reason: str) -> bytes:
    """A new plan, to be signed. Raises UserError for a fleet that asks for no approval."""
    approval = rule_of(scope.fleet)
    reason = cut(printable(" ".join(reason.split())), LONGEST_REASON)
    proposed = Proposed(id=secrets.token_hex(8), by=state_folder.operator(), at=time.time(), reason=reason)
    return written(proposal(scope, approval, goal, proposed))


def approved_plan(scope: Scope, file: str, state_dir: str) -> ApprovedPlan:
    """The plan in a file, which is of just this scope, valid now, and signed by whom `[approval]` asks for.

    Each file is read once. Raises UserError for the first thing that is wrong; which token may come is asked of the
    plan, and whether it was carried out is asked again when the run begins.
    """
    approval = rule_of(scope.fleet)
    path = Path(file).expanduser()
    source = printable(str(path))
    data = read_signable(path, f"`{typed('plan', scope.fleet, '--propose', 'FILE')}` writes one")
    document, proposed = opened(data, source)
    signed = signed_by(data, path, approval, proposed.by, NAMESPACE)
    goal = refuse_other(document, scope, approval, proposed, source)
    refuse_untimely(document, proposed, time.time(), source)
    plan = ApprovedPlan(proposed, goal, data, signed, source)
    _refuse_used(plan, state_folder.folder_for(scope.fleet.name, state_dir))
    return plan


def signed_by(data: bytes, path: Path, approval: Approval, proposer: str, namespace: str) -> tuple[Signed, ...]:
    """The signatures beside a file whose content is `data`. Raises UserError where too few persons have signed it."""
    beside = path.with_name(path.name + SUFFIX)
    source = printable(str(beside))
    sign = how_to_sign(path, approval, namespace)
    found = _read(beside, signatures.LARGEST, sign)
    signed = signatures.signers(data, found, approval.keys, namespace, source)
    persons = {one.person for one in signed}
    if len(persons) < approval.needed:
        raise UserError(
            f"{source}: signed by {len(persons)} person{'s' if len(persons) > 1 else ''} "
            f"({', '.join(sorted(persons))}), and {approval.needed} must",
            hint=sign,
        )
    if all(_is_account(person, proposer) for person in persons):
        raise UserError(
            f"{source}: signed by {', '.join(sorted(persons))} alone, who proposed it ({proposer})",
            hint="another person has to sign it",
        )
    return signed


def how_to_sign(path: Path, approval: Approval, namespace: str) -> str:
    """The command with which a person signs a file; where several must, each appends a signature."""
    name = shlex.quote(str(path))
    sign = f"ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n {namespace}"
    return f"{sign} {name}" if approval.needed == 1 else f"{sign} <{name} >>{name}{SUFFIX}"


def refuse_unless_approved(fleet: Fleet, request: Request, folder: Path) -> None:
    """Raises UserError for a rotation that begins without the approval that its fleet asks for, or with a used one.

    A run that is taken up again was approved as it began; a revocation is approved afterwards.
    """
    if request.past or request.task != ROTATE or not (fleet.approval or request.approved):
        return
    if request.approved is None:
        raise refusal(fleet)
    _refuse_used(request.approved, folder)


def _refuse_used(plan: ApprovedPlan, folder: Path) -> None:
    if used := _run_of(plan.proposed.id, folder):
        raise UserError(
            f"{plan.source}: was carried out by run {used}: an approval is for one run",
            hint="`fab resume` or `fab reconcile` goes on with that run; for another one propose a new plan",
        )


def _run_of(plan: str, folder: Path) -> str:
    """The run that carried out a plan; "" while none has gone so far as to choose a token."""
    if not Journal.is_in(folder):
        return ""
    with contextlib.closing(Journal(folder)) as journal:
        runs = {run for run, event in journal.all_of(RunStarted) if event.plan == plan}
        return next((run for run, _ in journal.all_of(TokenChosen) if run in runs), "")


def _is_account(person: str, proposer: str) -> bool:
    """True for the person whose account proposed, as far as names say: alice@example, and alice on this bastion."""
    return person.partition("@")[0].lower() == proposer.partition("@")[0].lower()


def read_signable(path: Path, hint: str) -> bytes:
    """The content of a file that persons sign. `hint`: what is to be done where there is none."""
    return _read(path, LARGEST, hint)


def _read(path: Path, most: int, hint: str) -> bytes:
    try:
        return read_plain(path, most)
    except FileNotFoundError:
        missing = "is not signed: there is no" if path.name.endswith(SUFFIX) else "there is no"
        raise UserError(f"{printable(str(path))}: {missing} such file", hint=hint) from None
