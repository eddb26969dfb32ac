"""Checks where services listen: keys that need one another, and ranges that do not fit.

Pure. As in `rules.py` the file is looked at as it was read; what can't be understood is `schema.py`'s to refuse.
"""

import posixpath
from collections.abc import Iterator

from hivekeys.fleet import SERVICES, Role
from hivekeys.inventory.mistakes import Mistake, value_text, wrong
from hivekeys.inventory.rules import Table, expanded, table_of
from hivekeys.service import Service

PAIRED = 'apply = "reload", "signal" or "restart": two files do not change in one moment, and are read after both have'


def mistakes_listening(document: Table) -> Iterator[Mistake]:
    """Every rule that the tables of services break."""
    services, hosts = table_of(document, "services"), table_of(document, "hosts")
    for role in [each.value for each in Role]:
        own = table_of(services, role)
        yield from _applied(("services", role), own, own)
        if role == Role.CLIENT.value:  # presenting.py
            continue
        yield from _tls(("services", role), own, own)
        yield from _front(("services", role), own, own, role)
        yield from _accepted(("services", role), own, own)
        yield from _drained(("services", role), own, own)
        if len(expanded(own.get("address"))) > 1:
            found = f"a range, {value_text(own['address'])}"
            yield wrong(("services", role, "address"), found, "one address; ranges stand in the entry of the hosts")
    for pattern, table in hosts.items():
        if isinstance(table, dict) and isinstance(table.get("service"), dict):
            own, role = table["service"], str(table.get("role"))
            key = ("hosts", pattern, "service")
            of_role = table_of(services, role)
            yield from _applied(key, own, {**of_role, **own})
            if role == Role.CLIENT.value:
                continue
            yield from _tls(key, own, {**of_role, **own})
            yield from _accepted(key, own, {**of_role, **own})
            yield from _drained(key, own, {**of_role, **own})
            front = {**table_of(of_role, "front"), **table_of(own, "front")}
            yield from _front(key, own, {**of_role, **own, **({"front": front} if front else {})}, role)
            names, addresses = expanded(pattern), expanded(own.get("address"))
            if len(addresses) > 1 and len(names) != len(addresses):
                found = f"{value_text(own['address'])}, {len(addresses)} addresses"
                yield wrong((*key, "address"), found, f"{len(names)}: one for each host, or one for all")


def _tls(key: tuple[str, ...], own: Table, whole: Table) -> Iterator[Mistake]:
    """Mistakes of `ca` and `verify`: both need https, and `ca` has no effect where the certificate is not checked."""
    for name, usual in (("ca", ""), ("verify", True)):
        if own.get(name, usual) != usual and whole.get("scheme", "http") == "http":
            yield wrong((*key, name), value_text(own[name]), 'scheme = "https" beside it')
    if whole.get("ca") and whole.get("verify") is False:
        name = "ca" if "ca" in own else "verify"
        if name in own:
            yield wrong((*key, name), value_text(own[name]), "one of ca and verify = false")


def _applied(key: tuple[str, ...], own: Table, whole: Table) -> Iterator[Mistake]:
    """Mistakes of `apply`: without a restart only the answers of a protected path tell which token a service has."""
    apply = whole.get("apply", "restart")
    if own.get("signal", "HUP") != "HUP" and apply != "signal":
        yield wrong((*key, "signal"), value_text(own["signal"]), 'apply = "signal" beside it')
    if apply == "restart":
        return
    unfit: tuple[tuple[str, object, str], ...] = (
        ("format", "environment", 'apply = "restart": an environment is read as a service starts'),
        ("protected", [], "a path that needs the token: without a restart only answers tell which is in use"),
    )
    for name, value, expected in unfit:
        if whole.get(name) == value and {"apply", name} & set(own):
            yield wrong((*key, name if name in own else "apply"), value_text(own.get(name, apply)), expected)


def _front(key: tuple[str, ...], own: Table, whole: Table, role: str) -> Iterator[Mistake]:
    """Mistakes of a service with nginx before it: the service itself is reached on loopback, clients reach the front.

    They are told where the entry says something of it: what it has from `[services]` is told there.
    """
    if not {"accepts", "front", "port", "address", "unit"} & own.keys():
        return
    front = table_of(whole, "front")
    if whole.get("accepts", "one") != "front":
        if "front" in own:
            yield wrong((*key, "front"), "a table", 'accepts = "front" beside it')
        return
    listen = front.get("listen")
    if listen is None:
        yield Mistake((*key, "front", "listen"), 'missing, expected where clients reach it, such as "0.0.0.0:8081"')
    for one, other in (("certificate", "key"), ("key", "certificate")):
        if front.get(one) and not front.get(other):
            yield Mistake((*key, "front", other), f"missing, expected the file of the {other} beside `{one}`")
    for name, usual in (("ca", ""), ("verify", True)):
        if front.get(name, usual) != usual and not front.get("certificate"):
            yield wrong((*key, "front", name), value_text(front[name]), "certificate and key beside it")
    if role in [each.value for each in Role]:
        yield from _behind(key, {**vars(SERVICES[Role(role)]), **whole}, str(listen))


def _behind(key: tuple[str, ...], service: Table, listen: str) -> Iterator[Mistake]:
    """Mistakes of the service behind a front: its place is its own, and only its host reaches it."""
    port, address, unit = (service[name] for name in ("port", "address", "unit"))
    if listen.rpartition(":")[2] == str(port):
        yield wrong((*key, "port"), f"{port}, where the front listens", "the port of the service behind its front")
    addresses = [str(each) for each in expanded(address)] or [str(address)]
    if not all(each.startswith(("127.", "unix:")) or each == "::1" for each in addresses):
        yield wrong((*key, "address"), value_text(address), "an address that only the host itself reaches: 127.0.0.1")
    if "@" in str(unit):
        yield wrong((*key, "unit"), value_text(unit), "a unit that is no instance of a template, to have a front")


def _accepted(key: tuple[str, ...], own: Table, whole: Table) -> Iterator[Mistake]:
    """Mistakes of `accepts`: whether a second token is accepted, only the answers of a protected path tell."""
    accepts = whole.get("accepts", "one")
    if own.get("tokens") and accepts != "lines":
        yield wrong((*key, "tokens"), value_text(own["tokens"]), 'accepts = "lines" beside it')
    if accepts not in ("lines", "pair"):
        return
    token, tokens = whole.get("token", Service.token), whole.get("tokens") or f"{whole.get('token', Service.token)}s"
    if isinstance(token, str) and isinstance(tokens, str) and not _is_beside(token, tokens):
        yield wrong((*key, "tokens"), value_text(tokens), f"another file in the token's folder, such as {token}s")
    unfit: tuple[tuple[str, object, str], ...] = (
        ("format", "environment", 'accepts = "one": a unit reads one line of an environment file'),
        ("protected", [], "a path that needs the token: only its answers tell which tokens are accepted"),
        *((("apply", "watch", PAIRED),) if accepts == "pair" else ()),
    )
    for name, value, expected in unfit:
        if whole.get(name) == value and {"accepts", name} & set(own):
            yield wrong((*key, name if name in own else "accepts"), value_text(own.get(name, accepts)), expected)


def _drained(key: tuple[str, ...], own: Table, whole: Table) -> Iterator[Mistake]:
    """A front that is to answer new requests during a drain must be there."""
    is_front, says = whole.get("accepts", "one") == "front", table_of(whole, "drain").get("before") == "front"
    if says and not is_front and {"accepts", "drain"} & own.keys():
        expected = 'accepts = "front" beside it, or another way to keep new work off'
        yield wrong((*key, "drain", "before"), '"front", where the service has none', expected)


def _is_beside(token: str, tokens: str) -> bool:
    """True for a file in the same folder that is none of the token's slots."""
    folder, name = posixpath.split(tokens)
    slots = {posixpath.basename(token) + suffix for suffix in ("", ".new", ".backup")}
    return folder == posixpath.dirname(token) and name not in slots
