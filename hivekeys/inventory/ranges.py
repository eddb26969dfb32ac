"""Expands and matches host names written short: ranges (`hive[01:40]`), globs (`hive1*`), groups, lists.

Pure. A range that is written wrongly is a ValueError whose text says what is expected; a selection that means
nothing is a UserError, because a typo in `--limit` must never count as a success.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Host

LARGEST_RANGE = 10_000

_RANGE = re.compile(r"(?P<before>[^\[\]]*)\[(?P<first>[0-9]{1,9}):(?P<last>[0-9]{1,9})\](?P<after>[^\[\]]*)")


def expand(text: str) -> tuple[str, ...]:
    """`hive[08:10]` → hive08, hive09, hive10; text without brackets stands for itself.

    Both ends belong to the range. Zeros in front are kept, and then both ends must be equally long.
    """
    if "[" not in text and "]" not in text:
        return (text,)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError("at most one range, written [FIRST:LAST] as in hive[01:40]")
    first, last = match["first"], match["last"]
    padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))
    if padded and len(first) != len(last):
        raise ValueError("a range whose ends are equally long when they begin with 0, as in [01:40]")
    numbers = range(int(first), int(last) + 1)
    if not 1 <= len(numbers) <= LARGEST_RANGE:
        raise ValueError(f"a range that counts up, of {LARGEST_RANGE} at most")
    width = len(first) if padded else 0
    return tuple(f"{match['before']}{number:0{width}d}{match['after']}" for number in numbers)


def select(fleet: Fleet, limit: str = "", exclude: str = "") -> tuple[Host, ...]:
    """The hosts that `limit` names (none given: all) and `exclude` does not, in the fleet's own order.

    Every pattern must match, and every name in a range must: `hive[1:3]` is refused where there is no hive3. What
    matches no host may match groups: then all hosts of these are meant.
    """
    names = [host.name for host in fleet.hosts]
    groups = {group: {host.name for host in hosts} for group, hosts in fleet.groups.items()}
    troubles: list[str] = []
    wanted = _matching("--limit", limit, names, groups, troubles) if limit else set(names)
    unwanted = _matching("--exclude", exclude, names, groups, troubles) if exclude else set()
    if troubles:
        there = _some(names) + (f"; and the groups {_some(list(groups))}" if groups else "")
        raise UserError("\n".join(troubles), hint=f"fleet {fleet.name} has {there}")
    chosen = tuple(host for host in fleet.hosts if host.name in wanted - unwanted)
    if not chosen:
        raise UserError(
            f"no host of fleet {fleet.name} is left: --exclude takes away all that --limit names",
            hint="widen --limit, or name fewer hosts in --exclude",
        )
    return chosen


def _matching(
    option: str, patterns: str, names: Sequence[str], groups: Mapping[str, set[str]], troubles: list[str]
) -> set[str]:
    """The names that comma separated patterns mean; what is wrong with a pattern is added to `troubles`."""
    found: set[str] = set()
    for pattern in (piece.strip() for piece in patterns.split(",")):
        try:
            pieces = expand(pattern) if ":" in pattern else (pattern,)  # hive[12] is a glob, hive[1:2] a range
        except ValueError as error:
            troubles.append(f"{option}: {pattern!a}: expected {error}")
            continue
        for piece in pieces:
            matches = {name for name in names if fnmatchcase(name, piece)}
            if not matches:
                matches = {name for group in groups if fnmatchcase(group, piece) for name in groups[group]}
            if not matches:
                nothing = "no host and no group" if groups else "no host"
                troubles.append(f"{option}: {piece!a} matches {nothing}{_near(piece, [*names, *groups])}")
            found |= matches
    return found


def _near(pattern: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(pattern, names)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _some(names: Sequence[str]) -> str:
    """The names, or the first few of a large fleet."""
    shown = 12
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
