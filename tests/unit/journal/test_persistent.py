"""The mapping that hosts of a run stand in: it reads like a dict, never changes, and its copies share most of it."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.journal.persistent import NARROW, PersistentMap

SIZES = [0, 1, NARROW - 1, NARROW, NARROW + 1, NARROW**2, NARROW**2 + 1, 5000]


def numbered(size: int) -> dict[str, int]:
    return {f"hive{number}": number for number in range(size)}


@pytest.mark.parametrize("size", SIZES)
def test_it_reads_like_a_dict(size: int) -> None:
    """In the order in which the names came: that of the inventory."""
    plain = numbered(size)
    mapping = PersistentMap(plain)
    assert mapping == plain
    assert (list(mapping), list(mapping.values()), list(mapping.items())) == (
        list(plain),
        list(plain.values()),
        list(plain.items()),
    )
    assert (len(mapping), len(mapping.values())) == (size, size)
    assert all(mapping[name] == value for name, value in plain.items())
    assert "queen" not in mapping
    assert mapping.get("queen") is None


def test_who_is_not_in_it_is_an_error_as_with_a_dict() -> None:
    with pytest.raises(KeyError, match="queen"):
        PersistentMap({"hive1": 1})["queen"]


@given(st.sampled_from(SIZES), st.lists(st.tuples(st.integers(0, 6000), st.integers()), max_size=6))
def test_a_changed_copy_is_what_a_changed_dict_is_and_the_first_one_stays(
    size: int, changes: list[tuple[int, int]]
) -> None:
    """A screen that is just being drawn reads the first one."""
    plain = numbered(size)
    first = mapping = PersistentMap(plain)
    changed = dict(plain)
    for number, value in changes:
        changed[f"hive{number}"] = value
        mapping = mapping.having(f"hive{number}", value)
    assert list(mapping.items()) == list(changed.items())
    assert list(first.items()) == list(plain.items())


@pytest.mark.parametrize("size", [1000, 10_000])
def test_a_changed_copy_makes_only_the_nodes_above_the_change_anew(size: int) -> None:
    """However many hosts there are: so the events of a run cost in line with its hosts."""
    mapping = PersistentMap(numbered(size))
    copy = mapping.having("hive500", -1)
    fresh = [node for node in nodes(copy._root) if id(node) not in {id(other) for other in nodes(mapping._root)}]
    assert len(fresh) <= 3
    assert all(len(node) <= NARROW for node in nodes(copy._root))


def nodes(node: object) -> list[tuple[object, ...]]:
    """A node and all that are below it."""
    return [node, *chain.from_iterable(map(nodes, node))] if isinstance(node, tuple) else []


def test_one_of_these_is_taken_as_it_is() -> None:
    mapping = PersistentMap({"hive1": 1})
    assert PersistentMap.of(mapping) is mapping
    assert PersistentMap.of({"hive1": 1}) == mapping
    assert repr(mapping) == "PersistentMap({'hive1': 1})"
