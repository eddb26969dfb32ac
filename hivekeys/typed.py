"""Documents to values of our own types, and back: what a host or a journal says is of its type, or a MisfitError.

Made for `model`'s kinds: frozen dataclasses, enums, tuples, dicts by text, what may be None, texts and numbers.
Strict: a text is no number, a number no truth value; only a whole number may stand where any may. Keys that a type
does not have are passed over. Pure. Not pydantic, which does the same and more: importing it and building its schemas
was a fifth of the processor time of a start (docs/benchmark.md).
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Read = Callable[[Any], Any]


class MisfitError(ValueError):
    """What a document holds there is not of the type that it should be. `place`: its path, keys and numbers."""

    def __init__(self, *place: str) -> None:
        super().__init__(".".join(place))
        self.place = place


def read(kind: type[T], found: object) -> T:
    """What was found (by `json.loads`) as a value of `kind`. Raises MisfitError; never shows what was found."""
    value: T = _reader(cast(Any, kind))(found)
    return value


def plain(value: Any) -> Any:
    """A value as `json.dumps` takes it; `read` makes the same of that again."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in _names(cast(Any, type(value)))}
    return value


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@functools.cache
def _reader(kind: Any) -> Read:
    """What reads a kind: made once, when it is first needed."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if origin in (Union, UnionType) and NoneType in inner and len(inner) == 2:
        return _optional(_reader(next(each for each in inner if each is not NoneType)))
    if origin is tuple and inner[1:] == (...,):
        return _sequence(_reader(inner[0]))
    if origin is tuple:
        return _pair([_reader(each) for each in inner])
    if origin is dict and inner[0] is str:
        return _mapping(_reader(inner[1]))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choice(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _record(kind)
    raise TypeError(f"{kind} is no kind that a document holds")


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise MisfitError
    try:
        found.encode()
    except UnicodeEncodeError:  # half a character: no screen and no file would take it
        raise MisfitError from None
    return found


def _truth(found: Any) -> bool:
    if not isinstance(found, bool):
        raise MisfitError
    return found


def _whole(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool):
        raise MisfitError
    return found


def _number(found: Any) -> float:
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise MisfitError
    try:
        return float(found)
    except OverflowError:
        raise MisfitError from None


_SIMPLE: dict[Any, Read] = {str: _text, bool: _truth, int: _whole, float: _number, Any: lambda found: found}


def _optional(one: Read) -> Read:
    return lambda found: None if found is None else one(found)


def _at(place: str, one: Read, found: Any) -> Any:
    """What one part is; a mistake in it is told with the way there."""
    try:
        return one(found)
    except MisfitError as error:
        raise MisfitError(place, *error.place) from None


def _sequence(one: Read) -> Read:
    def sequence(found: Any) -> tuple[Any, ...]:
        if not isinstance(found, list):
            raise MisfitError
        return tuple(_at(str(number), one, each) for number, each in enumerate(found))

    return sequence


def _pair(each: list[Read]) -> Read:
    def pair(found: Any) -> tuple[Any, ...]:
        if not isinstance(found, list) or len(found) != len(each):
            raise MisfitError
        return tuple(_at(str(number), one, part) for number, (one, part) in enumerate(zip(each, found, strict=True)))

    return pair


def _mapping(one: Read) -> Read:
    def mapping(found: Any) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise MisfitError
        return {_text(key): _at(key, one, each) for key, each in found.items()}

    return mapping


def _choice(kind: type[Enum]) -> Read:
    members = {(type(member.value), member.value): member for member in kind}

    def choice(found: Any) -> Enum:
        if not isinstance(found, str | int) or (type(found), found) not in members:
            raise MisfitError
        return members[type(found), found]

    return choice


def _record(kind: Any) -> Read:
    """A dataclass, whose own checks (ValueError) count as well."""
    hints = get_type_hints(kind)
    parts = [(field.name, _reader(hints[field.name])) for field in fields(kind)]
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}

    def record(found: Any) -> Any:
        if not isinstance(found, dict):
            raise MisfitError
        missing = needed - found.keys()
        if missing:
            raise MisfitError(min(missing))
        values = {name: _at(name, one, found[name]) for name, one in parts if name in found}
        try:
            return kind(**values)
        except ValueError:
            raise MisfitError from None

    return record
