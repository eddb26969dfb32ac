"""Which keys an inventory has, and every mistake in one, each with its key path.

The classes say which tables and keys there are, and with each key its check from `values.py`; the functions below
walk a document along them and gather the mistakes. What a file holds under a key that is not known is never shown: it
might be a password.
"""

import difflib
import functools
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, Required, TypedDict, cast, get_args, get_origin, get_type_hints, is_typeddict

from hivekeys.fleet import Amount, Become, Order, Role
from hivekeys.inventory import values
from hivekeys.inventory.mistakes import Mistake, kind, shown, wrong

Port = Annotated[int, values.whole(1, 65_535)]
Seconds = Annotated[float, values.seconds(least=0.1)]
FilePath = Annotated[str, values.file_path]
Account = Annotated[str, values.account]


class ServiceKeys(TypedDict, total=False):
    """`[services.queen]`, `[services.hive]` and the `service` of a host."""

    unit: Annotated[str, values.unit]
    token: Annotated[str, values.token_path]
    owner: Account
    group: Account
    mode: Annotated[int, values.mode(values.FILE_MODES)]
    directory_mode: Annotated[int, values.mode(values.DIRECTORY_MODES)]
    port: Port
    health: Annotated[tuple[str, ...], values.http_paths]
    protected: Annotated[tuple[str, ...], values.http_paths_or_none]


class ServicesKeys(TypedDict, total=False):
    """`[services]`."""

    queen: ServiceKeys
    hive: ServiceKeys


class LoginKeys(TypedDict, total=False):
    """How to reach a host: in `[ssh]` for all of them, in `[hosts.NAME]` for one entry."""

    user: Annotated[str, values.user]
    port: Port
    key: FilePath
    jump: Annotated[str, values.jump]
    become: Annotated[Become, values.choice(Become)]


class SshKeys(LoginKeys, total=False):
    """`[ssh]`."""

    known_hosts: Annotated[tuple[str, ...], values.file_paths]
    config: FilePath
    sudo_password_file: FilePath


class HostKeys(LoginKeys, total=False):
    """`[hosts.NAME]`."""

    role: Required[Annotated[Role, values.choice(Role)]]
    address: Annotated[str, values.address]
    service: ServiceKeys


class TimeoutKeys(TypedDict, total=False):
    """`[timeouts]`."""

    connect: Seconds
    banner: Seconds
    auth: Seconds
    channel: Seconds
    request: Seconds


class RolloutKeys(TypedDict, total=False):
    """`[rollout]`."""

    order: Annotated[Order, values.choice(Order)]
    canary: Annotated[int, values.whole(0, 10_000)]
    batch: Annotated[Amount, values.amount(least=1)]
    width: Annotated[int, values.whole(1, 1_000)]
    max_failures: Annotated[Amount, values.amount(least=0)]
    health_deadline: Seconds
    stable_seconds: Annotated[float, values.seconds(least=0)]
    revocation_recheck: Annotated[float, values.seconds(least=0)]


class TokenAgeKeys(TypedDict, total=False):
    """`[token_age]`."""

    warn: Annotated[float, values.days]
    fail: Annotated[float, values.days]


class BackupKeys(TypedDict, total=False):
    """`[backup]`."""

    to: Annotated[tuple[str, ...], values.recipients]
    keep: Annotated[int, values.whole(1, 10_000)]


class WaiverKeys(TypedDict, total=False):
    """One of `[[waivers]]`."""

    check: Required[Annotated[str, values.check_id]]
    reason: Required[Annotated[str, values.reason]]
    until: Required[Annotated[date, values.day]]
    hosts: Annotated[tuple[str, ...], values.host_names]


class AnsibleKeys(TypedDict, total=False):
    """`[ansible]`: the hosts are in an inventory of Ansible's."""

    inventory: Required[FilePath]
    queen: Annotated[str, values.group]
    hives: Annotated[str, values.group]
    ignore: Annotated[tuple[str, ...], values.words]


class LlamaOrchKeys(TypedDict, total=False):
    """`[llama_orch]`: the hives are in llama-orch's own hives.conf."""

    hives: Required[FilePath]


class Document(TypedDict, total=False):
    """A whole file."""

    fleet: Required[Annotated[str, values.fleet_name]]
    ssh: SshKeys
    timeouts: TimeoutKeys
    rollout: RolloutKeys
    token_age: TokenAgeKeys
    services: ServicesKeys
    waivers: list[WaiverKeys]
    backup: BackupKeys
    ansible: AnsibleKeys
    llama_orch: LlamaOrchKeys
    hosts: dict[Annotated[str, values.host_name], HostKeys]


Key = tuple[str, ...]  # the path of a key, table by table
_REQUIRED = {
    "fleet": 'the name of the fleet, such as fleet = "production"',
    "inventory": 'the path of an Ansible inventory, such as inventory = "hosts.yml"',
    "hives": 'the path of a hives.conf, such as hives = "~/.config/rbee/hives.conf"',
    "role": '"queen" or "hive"',
    "check": "the name of a check, such as credential",
    "reason": "why the check need not pass",
    "until": "the last day that it holds, such as 2027-01-31",
}


def checked(document: Mapping[str, Any]) -> tuple[Document | None, list[Mistake]]:
    """The document with every value as the engine uses it, or every mistake that is in its values."""
    mistakes: list[Mistake] = []
    found = _read(Document, document, (), mistakes)
    return (None if mistakes else cast(Document, found)), mistakes


def _read(kind_: Any, value: object, key: Key, mistakes: list[Mistake]) -> object:
    """The value under a key as its kind says; what is wrong with it is added to the mistakes."""
    origin = get_origin(kind_)
    if origin is Required:
        return _read(get_args(kind_)[0], value, key, mistakes)
    if origin is Annotated:
        return _checked(kind_.__metadata__[0], value, key, mistakes)
    if origin is list:
        return _read_tables(get_args(kind_)[0], value, key, mistakes)
    if not isinstance(value, dict):
        mistakes.append(wrong(key, kind(value), "a table"))
        return None
    if is_typeddict(kind_):
        return _read_table(kind_, value, key, mistakes)
    check, entry = get_args(kind_)
    return {
        _checked(check.__metadata__[0], name, (*key, str(name)), mistakes): _read(
            entry, table, (*key, str(name)), mistakes
        )
        for name, table in value.items()
    }


def _read_table(table: Any, found: dict[str, object], key: Key, mistakes: list[Mistake]) -> dict[str, object]:
    read = {}
    kinds = _kinds(table)
    for name, kind_ in kinds.items():
        if name in found:
            read[name] = _read(kind_, found[name], (*key, name), mistakes)
        elif name in table.__required_keys__:
            mistakes.append(Mistake((*key, name), f"missing, expected {_REQUIRED[name]}"))
    for name in (str(name) for name in found if name not in kinds):
        near = difflib.get_close_matches(name, kinds, n=1)
        mistakes.append(Mistake((*key, name), "unknown key" + (f", did you mean {near[0]}?" if near else "")))
    return read


def _read_tables(table: Any, found: object, key: Key, mistakes: list[Mistake]) -> list[object]:
    """Several tables under one key, counted from 1, as people count them."""
    if not isinstance(found, list):
        mistakes.append(wrong(key, kind(found), f"tables, each headed [[{key[0]}]]"))
        return []
    return [_read(table, each, (*key, str(number)), mistakes) for number, each in enumerate(found, 1)]


def _checked(check: Callable[[object], Any], value: object, key: Key, mistakes: list[Mistake]) -> Any:
    try:
        return check(value)
    except ValueError as error:
        mistakes.append(wrong(key, _found(key[-1], value), str(error)))
        return None


@functools.cache
def _kinds(table: type) -> dict[str, Any]:
    """The keys of a table, each with its kind."""
    return get_type_hints(table, include_extras=True)


def _found(key: str, value: object) -> str:
    """The value; but what should be a path may be the secret itself, and then is not shown."""
    if key in ("token", "key", "sudo_password_file") and isinstance(value, str) and not value.startswith(("/", "~")):
        return f"a text of {len(value)} characters"
    if key == "to" and re.search("SECRET-KEY|PRIVATE KEY", str(value), re.IGNORECASE):
        return "a secret key"
    return shown(value)
