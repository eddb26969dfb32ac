"""Host names as Ansible's inventories write them short: `hive[01:40]`, `[a:f]`, steps, several ranges, `NAME:PORT`.

Pure. Other than Ansible, a range that counts down or names nobody is refused: it would drop hosts in silence.
"""

import re
import string
from collections.abc import Sequence

MOST_HOSTS = 10_000  # of one pattern

_BRACKETED = re.compile(r"\[(?P<host>.+)\]:(?P<port>[0-9]+)")
_WITH_PORT = re.compile(r"(?P<host>(?:[^:\[\]]|\[[^\]]*\])*):(?P<port>[0-9]+)")
_RANGE = re.compile(r"\[(?P<inside>[^\[\]]*)\]")
_EXPECTED = "a range such as [01:40], [a:f] or [0:10:2]"


def expand(pattern: str) -> tuple[list[str], int | None]:
    """The names that a pattern stands for, and the port if it gives one; ValueError says what is expected."""
    match = _BRACKETED.fullmatch(pattern) or _WITH_PORT.fullmatch(pattern)
    port = None
    if match:
        pattern, port = match["host"], _port(match["port"])
    elif pattern.endswith(":"):
        raise ValueError("a port after ':'")
    if not pattern.strip():
        raise ValueError("the name of a host")
    names = [""]
    rest = 0
    for found in _RANGE.finditer(pattern):
        middle = pattern[rest : found.start()]
        items = _items(found["inside"])
        if len(names) * len(items) > MOST_HOSTS:
            raise ValueError(f"a pattern that stands for {MOST_HOSTS} hosts at most")
        names = [name + middle + item for name in names for item in items]
        rest = found.end()
    names = [name + pattern[rest:] for name in names]
    if any(char in name for name in names[:1] for char in "[]"):
        raise ValueError(_EXPECTED)
    return names, port


def _items(inside: str) -> Sequence[str]:
    bounds = inside.split(":")
    step = bounds[2] if len(bounds) == 3 else "1"
    if len(bounds) not in (2, 3) or not re.fullmatch("[1-9][0-9]{0,5}", step):
        raise ValueError(_EXPECTED)
    first, last = bounds[0] or "0", bounds[1]
    if first in string.ascii_letters and last in string.ascii_letters and len(first) == len(last) == 1:
        start, end = string.ascii_letters.index(first), string.ascii_letters.index(last)
        items: Sequence[str] = string.ascii_letters[start : end + 1 : int(step)]
    elif re.fullmatch("[0-9]{1,9}", first) and re.fullmatch("[0-9]{1,9}", last):
        items = _numbers(first, last, int(step))
    else:
        raise ValueError(_EXPECTED)
    if not items:
        raise ValueError("a range that counts up")
    return items


def _numbers(first: str, last: str, step: int) -> list[str]:
    width = len(first) if first.startswith("0") and len(first) > 1 else 0
    if width and len(last) != width:
        raise ValueError("a range whose ends are equally long when the first begins with 0, as in [01:40]")
    numbers = range(int(first), int(last) + 1, step)
    if len(numbers) > MOST_HOSTS:
        raise ValueError(f"a range of {MOST_HOSTS} hosts at most")
    return [f"{number:0{width}d}" for number in numbers]


def _port(text: str) -> int:
    if len(text) > 5:
        raise ValueError("a port from 1 to 65535 after ':'")
    return int(text)
