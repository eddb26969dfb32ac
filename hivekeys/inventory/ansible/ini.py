"""Ansible's INI form: sections `[group]`, `[group:children]` and `[group:vars]`, host lines with `name=value` behind.

Pure. A value is a Python literal where it can be read as one (`22`, `['/health']`, `True`), and the text itself
where it can't: that is Ansible's rule, in both kinds of sections.
"""

import ast
import re
import shlex
import warnings
from typing import Any

from hivekeys.inventory.ansible.groups import ALL, UNGROUPED, Inventory, Variable
from hivekeys.inventory.ansible.patterns import expand
from hivekeys.inventory.mistakes import Mistake, Place, at, shown

LONGEST_LITERAL = 4_096  # characters; a longer value is no setting of ours, and is kept as text

_SECTION = re.compile(r"\[(?P<group>[^:\]\s]+)(?::(?P<kind>\w+))?\]\s*(?:#.*)?")
_GROUP = re.compile(r"(?P<group>[^:\]\s]+)\s*(?:#.*)?")
_KINDS = ("hosts", "children", "vars")


class Reader:
    """Walks the lines once; `mistakes` has all that was wrong with them."""

    def __init__(self, file: str, inventory: Inventory) -> None:
        self.mistakes: list[Mistake] = []
        self._file = file
        self._inventory = inventory
        self._group, self._kind = UNGROUPED, "hosts"
        self._declared = {ALL, UNGROUPED, *inventory.groups}
        self._referred: dict[str, Place] = {}  # groups that some section counts on

    def read(self, text: str) -> None:
        """Every line into the inventory."""
        for number, line in enumerate(text.splitlines(), 1):
            content = line.strip()
            if content and content[0] not in "#;":
                try:
                    self._line(content, Place(self._file, (), number))
                except ValueError as error:
                    self.mistakes.append(Mistake((), str(error), self._file, number))
        for name, place in self._referred.items():
            if name not in self._declared:
                self.mistakes.append(at(place, f"found {shown(name)}, expected a group that has a section of its own"))

    def _line(self, line: str, place: Place) -> None:
        if line.startswith("[") and (section := _SECTION.fullmatch(line)):
            self._section(section["group"], section["kind"] or "hosts", place)
        elif line.startswith("[") and line.endswith("]"):
            raise ValueError(f"found {shown(line)}, expected [GROUP], [GROUP:children] or [GROUP:vars]")
        elif self._kind == "hosts":
            self._hosts(line, place)
        elif self._kind == "vars":
            self._variable(line, place)
        else:
            self._child(line, place)

    def _section(self, group: str, kind: str, place: Place) -> None:
        if kind not in _KINDS:
            raise ValueError(f"found {shown(f'[{group}:{kind}]')}, expected [GROUP:children] or [GROUP:vars]")
        self._group, self._kind = group, kind
        self._inventory.group(group)
        if kind == "vars":
            self._referred.setdefault(group, place)
        else:
            self._declared.add(group)

    def _hosts(self, line: str, place: Place) -> None:
        try:
            pattern, *pairs = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"this host can't be read: {error}") from None
        try:
            names, port = expand(pattern)
        except ValueError as error:
            raise ValueError(f"found {shown(pattern)}, expected {error}") from None
        given = dict(_pair(pair) for pair in pairs)
        for name in names:
            host = self._inventory.host(name, self._group, Place(place.file, (name,), place.line), port)
            for key, value in given.items():
                self._inventory.set_own(host, key, Variable(value, Place(place.file, (name, key), place.line)))

    def _variable(self, line: str, place: Place) -> None:
        key, value = _pair(line)
        found = Variable(value, Place(place.file, (self._group, key), place.line))
        try:
            self._inventory.set(self._group, key, found)
        except (TypeError, ValueError):
            raise ValueError(f"{key}: found {shown(value)}, expected a number") from None

    def _child(self, line: str, place: Place) -> None:
        match = _GROUP.fullmatch(line)
        if match is None:
            raise ValueError(f"found {shown(line)}, expected the name of a group")
        self._referred.setdefault(match["group"], place)
        self._inventory.child(self._group, match["group"])


def _pair(text: str) -> tuple[str, Any]:
    """`name=value`. What is no pair is not shown: it might be the end of a password with a blank in it."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("found a word without =, expected NAME=VALUE; a value with blanks stands in quotes")
    return name.strip(), literal(value.strip())


def literal(text: str) -> Any:
    """The Python value that a text is, or the text. Ansible reads tuples and sets as lists, as here."""
    if len(text) > LONGEST_LITERAL:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "\d" in a text is nobody's business here
            value = ast.literal_eval(text)
        return _plain(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _plain(value: Any) -> Any:
    match value:
        case list() | tuple() | set():
            return [_plain(each) for each in value]
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case bytes():
            return value.decode(errors="replace")
        case complex():
            return str(value)
        case _:
            return "..." if value is ... else value
