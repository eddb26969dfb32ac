"""Shows what upkeep found or changed: table, JSON, exit code. Pure.

Paths and reasons came from hosts: they go into `rich.text.Text`, one line each.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.protocol import hints
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.change import Change
from hivekeys.protocol.seen import Proof, Seen
from hivekeys.text.clean import one_line
from hivekeys.text.documents.head import head
from hivekeys.text.documents.upkeep import Upkeep
from hivekeys.text.names import fold_names


@dataclass(frozen=True)
class UpkeepResult:
    """What upkeep found, or did, on one host."""

    host: str
    changes: tuple[Change, ...] = ()
    cause: Cause | None = None
    seen: Seen | None = None
    proof: Proof | None = None


def for_fleet(kept: UpkeepResult, fleet: Fleet) -> UpkeepResult:
    """The same with the fleet in the commands that hosts name, which do not know it."""
    told = tuple(replace(change, refused=hints.for_fleet(change.refused, fleet.typed)) for change in kept.changes)
    return replace(kept, changes=told)


def exit_code(kept: Sequence[UpkeepResult], apply: bool) -> ExitCode:
    """4 when a host could not be asked or did not do it, 6 when something is left to repair, else 0."""
    if any(host.cause for host in kept):
        return ExitCode.INCOMPLETE
    left = [change for host in kept for change in host.changes if change.refused or not apply]
    return ExitCode.FINDINGS if left else ExitCode.DONE


def table(kept: Sequence[UpkeepResult], apply: bool) -> Table:
    """One row a change, hosts with the same change in one."""
    hosts: dict[Change, list[str]] = defaultdict(list)
    for host in kept:
        for change in host.changes:
            hosts[change].append(host.host)
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("", "what", "hosts", "where", "before", "after"):
        shown.add_column(title, overflow="fold")
    for change, names in hosts.items():
        word, style = ("stays", "yellow") if change.refused else ("changed", "green") if apply else ("to do", "cyan")
        after = f"{change.after}: {change.refused}" if change.refused else change.after
        cells = (change.part, fold_names(names), change.path, change.before, after)
        shown.add_row(Text(word, style), *(Text(one_line(cell)) for cell in cells))
    return shown


def lines(kept: Sequence[UpkeepResult], fleet: Fleet, apply: bool) -> list[str]:
    """What is said below the table: hosts that failed, hosts that need nothing, and the sum."""
    causes: dict[Cause, list[str]] = defaultdict(list)
    for host in kept:
        if host.cause:
            causes[host.cause].append(host.host)
    said = [hints.line(cause, fleet, *names) for cause, names in causes.items()]
    fine = [host.host for host in kept if not host.cause and not host.changes]
    if fine:
        said.append(f"nothing to do: {fold_names(fine)}")
    return [*said, _sum(kept, apply)]


def _sum(kept: Sequence[UpkeepResult], apply: bool) -> str:
    """The last line."""
    every = [change for host in kept for change in host.changes]
    left = sum(bool(change.refused) for change in every)
    waiting = sum(host.cause is not None and host.cause.trouble is Trouble.NOT_BEGUN for host in kept)
    failed = sum(bool(host.cause) for host in kept) - waiting
    counts = f"{len(every) - left} {'changed' if apply else 'to do'}, {left} stay as they are, {failed} hosts failed"
    return f"{len(kept)} hosts: {counts}" + (f", {waiting} not begun" if waiting else "")


def remaining_line(task: str) -> str:
    """What to type after a look that found something to do."""
    return f"to do it: type the same {'with --apply' if task == 'fix' else 'without --dry-run'}"


def _next(kept: Sequence[UpkeepResult], fleet: Fleet, task: str, apply: bool, code: ExitCode) -> str:
    """What to type next: what the first host needs that failed, or the same again."""
    ill = next((host for host in kept if host.cause and host.cause.trouble is not Trouble.NOT_BEGUN), None)
    if ill and ill.cause:
        return hints.hint(ill.cause, fleet, ill.host)
    return remaining_line(task) if code is ExitCode.FINDINGS and not apply else ""


def document(kept: Sequence[UpkeepResult], fleet: Fleet, task: str, apply: bool, code: ExitCode) -> Upkeep:
    """Everything, for a program."""
    return {
        "form": "upkeep",
        **head(_sum(kept, apply), _next(kept, fleet, task, apply, code)),
        "fleet": fleet.name,
        "task": task,
        "applied": apply,
        "exit_code": int(code),
        "hosts": [
            {
                "host": host.host,
                "ok": host.cause is None,
                "proven": bool(host.proof and host.proof.proven),
                "token": str(host.seen.token) if host.seen and host.seen.token else None,
                "cause": hints.document(host.cause, fleet, host.host),
                "changes": [
                    {
                        "part": change.part,
                        "path": change.path,
                        "before": change.before,
                        "after": change.after,
                        "changed": apply and not change.refused,
                        "refused": change.refused or None,
                    }
                    for change in host.changes
                ],
            }
            for host in kept
        ],
    }
