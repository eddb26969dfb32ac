"""Options as fields of dataclasses: declared here, seen by invoke as parameters, filled in for a verb.

A group is a frozen dataclass with `kw_only`; a group that extends another has its options too. An option's name is the
field's, its default says what it takes: a text, nothing (False), or several texts (an empty tuple).
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, field, fields
from inspect import Parameter, Signature
from typing import Any

HELP = "help"


def option(help: str, default: "str | bool | tuple[str, ...]" = "") -> Any:
    """A field that an operator may give, as `--name`."""
    return field(default=default, metadata={HELP: help})


def argument(help: str) -> Any:
    """A field that an operator must give, by its place on the command line."""
    return field(metadata={HELP: help})


def options_of(groups: "Iterable[type]") -> "list[Field[Any]]":
    """The options of all groups, in their order."""
    return [each for group in groups for each in fields(group)]


def takes_several(option: "Field[Any]") -> bool:
    return isinstance(option.default, tuple)


def signature_of(groups: "Iterable[type]") -> Signature:
    """What invoke makes its parser of: the context, then every option. ValueError for a name that two groups have."""
    context = Parameter("context", Parameter.POSITIONAL_ONLY)
    return Signature([context, *(_parameter(option) for option in options_of(groups))])


def _parameter(option: "Field[Any]") -> Parameter:
    default = option.default
    if default is MISSING:
        default = Parameter.empty
    elif takes_several(option):
        default = None  # invoke makes a list of its own
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=default)


def filled(group: "type[Any]", given: "Mapping[str, Any]") -> Any:
    """A group with what was given; where an option was not, it has its default."""
    own = {option.name: option for option in fields(group) if option.name in given}
    several = {name for name, option in own.items() if takes_several(option)}
    return group(**{name: tuple(given[name] or ()) if name in several else given[name] for name in own})
