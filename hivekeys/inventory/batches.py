"""Reads `batch` of an inventory or an option: how many hives turn together, in all or by groups. Pure.

Groups of a kind begin with its name: rack1, rack-b. By group means that each hive is in one group of the kind.
"""

import re
from collections.abc import Sequence

from hivekeys.fleet import Amount, Batch, GroupByGroup, Host, OfEach, Ramp, Step, is_of_kind
from hivekeys.inventory.values import amount
from hivekeys.text.names import fold_names

EXPECTED = 'a number of hives, 1 or more, a share such as "25%", "1 of each rack", "rack by rack", or a list of these'
MOST_STEPS = 100  # of a ramp
_KIND = "[A-Za-z0-9_][A-Za-z0-9._-]{0,62}"


def batch(value: object) -> Batch:
    """What a value of TOML means. A list is a ramp: a size for each wave, the last one for all that follow."""
    steps = tuple(map(_step, value)) if isinstance(value, list) else (_step(value),)
    if not 1 <= len(steps) <= MOST_STEPS:
        raise ValueError(EXPECTED)
    return steps[0] if len(steps) == 1 else Ramp(steps)


def typed(text: str) -> Batch:
    """What an operator means who types it after --batch: a ramp has commas."""
    pieces = [piece.strip() for piece in text.split(",")]
    return batch([int(piece) if re.fullmatch("[0-9]{1,6}", piece) else piece for piece in pieces])


def _step(value: object) -> Step:
    text = value if isinstance(value, str) else ""
    of_each = re.fullmatch(f"([0-9]{{1,6}}%?) of each ({_KIND})", text)
    by_group = re.fullmatch(rf"({_KIND}) by \1", text)
    try:
        if of_each:
            return OfEach(_amount(of_each[1] if "%" in of_each[1] else int(of_each[1])), of_each[2])
        return GroupByGroup(by_group[1]) if by_group else _amount(value)
    except ValueError:
        raise ValueError(EXPECTED) from None


_amount = amount(least=1)


def problem(batch: Batch, hives: Sequence[Host]) -> str:
    """Why these hives cannot turn by such groups, or "". Which group counts must be said of every hive, and once."""
    for step in batch.steps if isinstance(batch, Ramp) else (batch,):
        if isinstance(step, Amount):
            continue
        named = {host.name: [group for group in host.groups if is_of_kind(group, step.kind)] for host in hives}
        none, several = ([name for name, its in named.items() if test(its)] for test in (_is_none, _is_several))
        expected = f'expected every hive in one group of this kind, such as groups = ["{step.kind}1"]'
        if none:
            return f'found "{step}", {expected}: {fold_names(none)} {"is" if len(none) == 1 else "are"} in none'
        if several:
            return f'found "{step}", {expected}: {several[0]} is in {" and ".join(named[several[0]])}'
    return ""


def _is_none(groups: Sequence[str]) -> bool:
    return not groups


def _is_several(groups: Sequence[str]) -> bool:
    return len(groups) > 1
