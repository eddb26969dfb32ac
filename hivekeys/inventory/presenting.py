"""Checks clients: hosts whose program presents the token, and accepts none.

Pure. As in `rules.py` the file is looked at as it was read; what can't be understood is `schema.py`'s to refuse.
"""

from collections.abc import Iterator

from hivekeys.fleet import Role
from hivekeys.inventory.mistakes import Mistake, value_text, wrong
from hivekeys.inventory.rules import Table, table_of

CLIENT = Role.CLIENT.value
# Keys of services that are called, or accept tokens.
NONE_OF_CLIENTS = (
    *("port", "address", "scheme", "ca", "verify", "health", "protected", "stream"),
    *("places", "tokenless", "accepts", "tokens", "front"),
)
NOT_CALLED = "no such key: a client presents the token, and is not called"
UNITED = ("apply", "signal", "drain")  # what these say is done to a unit


def mistakes_presenting(document: Table) -> Iterator[Mistake]:
    """Every rule that the tables of clients break."""
    services = table_of(document, "services")
    of_role = table_of(services, CLIENT)
    yield from _called(("services", CLIENT), of_role)
    entries = [(pattern, table) for pattern, table in table_of(document, "hosts").items() if _is_client(table)]
    unitless = [pattern for pattern, table in entries if "unit" not in {**of_role, **table_of(table, "service")}]
    if unitless or not (entries or "unit" in of_role):
        yield from _without_unit(("services", CLIENT), of_role)
    for pattern, table in entries:
        own = table_of(table, "service")
        yield from _called(("hosts", pattern, "service"), own)
        if pattern in unitless:
            yield from _without_unit(("hosts", pattern, "service"), own)
        if pattern in unitless and "beside" in table:
            expected = "unit in its service: by that it is told from the other service on the machine"
            yield wrong(("hosts", pattern, "beside"), value_text(table["beside"]), expected)


def _is_client(table: object) -> bool:
    return isinstance(table, dict) and table.get("role") == CLIENT


def _called(key: tuple[str, ...], own: Table) -> Iterator[Mistake]:
    """Mistakes of keys that no client has, and of a drain that would call it."""
    for name in NONE_OF_CLIENTS:
        if name in own:
            yield wrong((*key, name), value_text(own[name]), NOT_CALLED)
    drain = table_of(own, "drain")
    if drain.get("before") == "front":
        yield wrong((*key, "drain", "before"), '"front"', "run or bastion: a client has no front")
    for part, way in (("before", "http"), ("until", "get"), ("after", "http")):
        if way in table_of(drain, part):
            found = value_text(table_of(drain, part)[way])
            yield wrong((*key, "drain", part, way), found, "run in its place: a client is not called")


def _without_unit(key: tuple[str, ...], own: Table) -> Iterator[Mistake]:
    """Mistakes of a client that reads its file by itself."""
    for name in UNITED:
        if name in own and own[name] != "watch":
            yield wrong((*key, name), value_text(own[name]), "unit beside it: whose program is to take the token")
