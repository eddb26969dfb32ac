"""A mapping that never changes: a changed copy shares all but a few of its parts with it. Pure.

A run has thousands of events, and each changes one host of thousands. So hosts stand in a tree of narrow nodes, in the
order in which they came, and only the nodes above the one that changes are made anew.
"""

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from itertools import chain
from typing import Any, TypeVar

NARROW = 32  # children of a node
_BITS = NARROW.bit_length() - 1

V = TypeVar("V")


class PersistentMap(Mapping[str, V]):
    """By name, in the order of its first making. Any thread may read it at any time."""

    __slots__ = ("_height", "_places", "_root")

    def __init__(self, values: Mapping[str, V] | Iterable[tuple[str, V]] = ()) -> None:
        given = dict(values)
        self._places = {name: place for place, name in enumerate(given)}
        self._root: tuple[Any, ...] = tuple(given.values())
        self._height = 0  # of the nodes above the lowest ones
        while len(self._root) > NARROW:
            self._root = tuple(self._root[at : at + NARROW] for at in range(0, len(self._root), NARROW))
            self._height += 1

    @classmethod
    def of(cls, values: Mapping[str, V]) -> "PersistentMap[V]":
        """The mapping itself, if it is one of these; else one like it."""
        return values if isinstance(values, PersistentMap) else cls(values)

    def having(self, name: str, value: V) -> "PersistentMap[V]":
        """A copy with this value. A new name comes last, and costs as much as the whole."""
        place = self._places.get(name)
        if place is None:
            return PersistentMap({**self, name: value})
        copy: PersistentMap[V] = PersistentMap.__new__(PersistentMap)
        copy._places, copy._height = self._places, self._height
        copy._root = _replaced(self._root, self._height * _BITS, place, value)
        return copy

    def __getitem__(self, name: str) -> V:
        place, node = self._places[name], self._root
        for shift in range(self._height * _BITS, 0, -_BITS):
            node = node[place >> shift]
            place &= (1 << shift) - 1
        value: V = node[place]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def items(self) -> ItemsView[str, V]:
        return _Items(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"

    def _in_order(self) -> Iterator[V]:
        nodes: Iterable[Any] = self._root
        for _ in range(self._height):
            nodes = chain.from_iterable(nodes)
        return iter(nodes)


class _Values(ValuesView[V]):
    """The values without a look-up for each."""

    _mapping: PersistentMap[V]

    def __iter__(self) -> Iterator[V]:
        return self._mapping._in_order()


class _Items(ItemsView[str, V]):
    """The same with their names."""

    _mapping: PersistentMap[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return zip(self._mapping, self._mapping._in_order(), strict=True)


def _replaced(node: tuple[Any, ...], shift: int, place: int, value: object) -> tuple[Any, ...]:
    """The node with another value at a place below it."""
    at = place >> shift
    child = _replaced(node[at], shift - _BITS, place & ((1 << shift) - 1), value) if shift else value
    return (*node[:at], child, *node[at + 1 :])
