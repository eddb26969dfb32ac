"""YAML and JSON text into plain values: safe, bounded, and without a key that is there twice.

Pure. An alias costs as much as what it stands for, so that a few lines of YAML can't become a billion values. Keys
that are there twice are refused: the first of two hosts of one name would vanish. Whatever is wrong is a ValueError.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

MOST_VALUES = 500_000  # in one document, aliases written out
TOO_DEEP = "found values nested too deeply, expected an inventory"


class Encrypted:
    """A value under ansible-vault's tag: nobody looks into it here."""

    def __str__(self) -> str:
        return "an encrypted value"


def yaml_document(text: str) -> Any:
    """The one document of a YAML text."""
    import yaml  # noqa: PLC0415  only such inventories need it

    try:
        loader = _loader()(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None
            _weigh(root)
            return loader.construct_document(root)
        finally:
            loader.dispose()
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        line = f"line {where.line + 1}: " if where else ""
        raise ValueError(f"{line}this is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"this is not YAML: {' '.join(str(error).split())}") from None


def json_document(text: str) -> Any:
    """The value of a JSON text."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: this is not JSON: {error.msg}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"found the key {json.dumps(twice)} twice in one table, expected every key once")
    return table


@cache
def _loader() -> Any:
    """PyYAML's safe loader, the fast one where it was built, with the two tags that Ansible adds."""
    import yaml  # noqa: PLC0415

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen when it runs
        """Safe: a tag that would make an object of some class is an error."""

    def encrypted(loader: Any, node: Any) -> Encrypted:
        return Encrypted()

    def untemplated(loader: Any, node: Any) -> Any:
        return loader.construct_scalar(node)

    for tag in ("!vault", "!vault-encrypted"):
        Loader.add_constructor(tag, encrypted)
    Loader.add_constructor("!unsafe", untemplated)
    return Loader


def _weigh(root: "yaml.Node") -> None:
    """Refuse what is too large when written out, contains itself, or has a key twice."""
    import yaml  # noqa: PLC0415

    weights: dict[int, int] = {}

    def inner(node: "yaml.Node") -> Iterator["yaml.Node"]:
        if isinstance(node, yaml.SequenceNode):
            yield from node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                yield from (key, value)

    def weight(node: "yaml.Node") -> int:
        if id(node) in weights:
            if weights[id(node)] == 0:
                raise ValueError(f"line {node.start_mark.line + 1}: found an alias within what it stands for")
            return weights[id(node)]
        weights[id(node)] = 0
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node)
        total = 1 + sum(weight(each) for each in inner(node))
        if total > MOST_VALUES:
            line = node.start_mark.line + 1
            raise ValueError(f"line {line}: found more than {MOST_VALUES} values, aliases written out, expected less")
        weights[id(node)] = total
        return total

    weight(root)


def _refuse_twice(node: "yaml.MappingNode") -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        name = (key.tag, str(key.value))
        if name in seen and key.tag != "tag:yaml.org,2002:merge":
            line = key.start_mark.line + 1
            raise ValueError(f"line {line}: found the key {json.dumps(key.value)} twice in one table, expected it once")
        seen.add(name)
