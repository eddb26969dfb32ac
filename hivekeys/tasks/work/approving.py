"""What `fab plan --propose`, `rotate --approved` and their like do for `[approval]`: a plan is written, or taken."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hivekeys.bastion import approval
from hivekeys.errors import UserError
from hivekeys.files import write_whole
from hivekeys.fleet import Fleet, Host
from hivekeys.report.onward import typed
from hivekeys.rotation.proposal import NAMESPACE, ApprovedPlan, Goal, Scope
from hivekeys.rotation.statement import NAMESPACE as OF_STATEMENTS
from hivekeys.tasks.options.fleet import host_names
from hivekeys.tasks.options.turning import TurnOptions
from hivekeys.tasks.work.request import Request
from hivekeys.text.clean import printable
from hivekeys.token import Token


def approved_for(
    fleet: Fleet, hosts: Sequence[Host], excluded: Sequence[str], options: TurnOptions, state_dir: str
) -> ApprovedPlan | None:
    """The approved plan of just this run, None where the operator names none. Raises UserError for one of another."""
    if approval.is_awaited(fleet, options.approved) or not options.approved:
        return None
    missing = host_names(fleet, options.allow_missing)
    anyway = options.retire_anyway
    scope = approval.scope_of(fleet, hosts, excluded, state_dir, missing=missing, retire_anyway=anyway)
    return approval.approved_plan(scope, options.approved, state_dir)


def carrying_out(request: Request, approved: ApprovedPlan | None, goal: Goal) -> Request:
    """The same, as a run that carries out an approved plan. Raises UserError for another token than the plan's."""
    if approved is None:
        return request
    approved.refuse_other_goal(goal)
    return replace(request, approved=approved, reason=request.reason or approved.proposed.reason)


def goal_of(fleet: Fleet, token: Token, source: str, state_dir: str) -> Goal:
    """The token that a rotation brings; `source`: where it was given."""
    return approval.goal_of(fleet, token if source else None, state_dir)


@dataclass(frozen=True)
class Signable:
    """A file that was written to be signed, and what is to be typed next, each command behind what it is for."""

    words: str
    steps: tuple[tuple[str, str], ...]

    @property
    def lines(self) -> list[str]:
        """For people."""
        return [self.words, *(f"{what}: {command}" for what, command in self.steps)]

    @property
    def next(self) -> str:
        """The same steps for a program, which looks for commands in quotes."""
        return "   ".join(f"{what}: `{command}`" for what, command in self.steps)


def propose(scope: Scope, goal: Goal, reason: str, path: Path, verb: str, words: Sequence[str]) -> Signable:
    """Writes the plan to a file. `verb` with `words` carries it out."""
    write_whole(_unsigned(path), approval.proposed_plan(scope, goal, reason), mode=0o644)
    return _signable(scope.fleet, path, "a plan for one run", NAMESPACE, typed(verb, scope.fleet, shlex.join(words)))


def state(fleet: Fleet, stated: bytes, path: Path, options: Sequence[str]) -> Signable:
    """Writes the statement of a run to a file."""
    write_whole(_unsigned(path), stated, mode=0o644)
    approve = typed("approve", fleet, shlex.join([*options, str(path)]))
    return _signable(fleet, path, "what was done", OF_STATEMENTS, approve)


def _signable(fleet: Fleet, path: Path, content: str, namespace: str, then: str) -> Signable:
    rule = approval.rule_of(fleet)
    who = f"{rule.needed} persons sign it" if rule.needed > 1 else "another person signs it"
    sign = approval.how_to_sign(path, rule, namespace)
    beside = f"then, with {printable(path.name)}{approval.SUFFIX} beside it"
    return Signable(f"{printable(str(path))}: {content}, to be read and signed", ((who, sign), (beside, then)))


def _unsigned(path: Path) -> Path:
    """The same. Raises UserError where a signature lies beside the file: it would be of another content."""
    beside = path.with_name(path.name + approval.SUFFIX)
    if beside.is_symlink() or beside.exists():
        raise UserError(f"{printable(str(beside))}: there is a signature already", hint="name another file")
    return path
