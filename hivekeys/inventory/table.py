"""Shows a fleet as its inventory describes it: table and JSON for `fab inventory.check`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any, cast

from rich.table import Table
from rich.text import Text

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host
from hivekeys.text.documents import inventory as documents
from hivekeys.text.documents.head import head
from hivekeys.text.table import plain_table

LEFT_OPEN = "–"  # OpenSSH's configuration says it


def table(fleet: Fleet) -> Table:
    """One row a host."""
    shown = plain_table(f"fleet {fleet.name}")
    groups = ("groups",) if fleet.groups else ()
    for column in ("host", "role", "address", "port", "user", "key", "jump", "become", "service", *groups):
        shown.add_column(column, justify="right" if column == "port" else "left", overflow="fold")
    for host in fleet.hosts:
        cells = (*_cells(host), *([" ".join(host.groups) or "–"] if groups else []))
        shown.add_row(*(Text(cell) for cell in cells))
    return shown


def lines(fleet: Fleet, files: Sequence[str], untouched: Sequence[str]) -> list[str]:
    """Below the table: how many, from where, and what was seen and not read."""
    clients = f", {len(fleet.clients)} clients" if fleet.clients else ""
    whose = f"{len(fleet.hosts)} hosts, {len(fleet.hives)} of them hives{clients}"
    said = [f"{whose}; {LEFT_OPEN}: as OpenSSH's configuration says"]
    said += [f"{host.name} is on the machine of {host.beside}" for host in fleet.hosts if host.beside]
    said += [f"hosts from {file}" for file in files if file != fleet.source]
    if untouched:
        said.append(f"not read: {', '.join(untouched)}")
    return [*said, _verdict(fleet)]


def _verdict(fleet: Fleet) -> str:
    return f"{fleet.source} is right; no host was contacted"


def document(
    fleet: Fleet, files: Sequence[str], untouched: Sequence[str], tried: Mapping[str, str] | None = None
) -> documents.Inventory:
    """The same for programs. Modes are octal, as in the inventory. `tried`: what went wrong with each notification."""
    failed = [name for name, wrong in (tried or {}).items() if wrong]
    words = f"{fleet.source} is right; not told: {', '.join(failed)}" if failed else _verdict(fleet)
    notify: dict[str, documents.Tried] = {
        name: {"told": not wrong, "wrong": wrong or None} for name, wrong in (tried or {}).items()
    }
    return {
        "form": "inventory",
        **head(words, ""),
        "fleet": fleet.name,
        "exit_code": int(ExitCode.FINDINGS if failed else ExitCode.DONE),
        "source": fleet.source,
        "files": list(files),
        "not_read": list(untouched),
        "hosts": [_host(host) for host in fleet.hosts],
        "notify": None if tried is None else notify,
    }


def _cells(host: Host) -> tuple[str, ...]:
    service = host.service.title if host.service.is_client else f"{host.service.title}:{host.service.port}"
    if host.service.address != "127.0.0.1" or host.service.scheme != "http":
        service += f" at {host.service.where}"
    port = LEFT_OPEN if host.port is None else str(host.port)
    login = (word or LEFT_OPEN for word in (host.user, host.key, host.jump))
    return (host.name, host.role.value, host.address, port, *login, host.become.value, service)


def _host(host: Host) -> documents.InventoryHost:
    return {
        "name": host.name,
        "role": host.role.value,
        "address": host.address,
        "port": host.port,
        "user": host.user,
        "key": host.key,
        "jump": host.jump,
        "become": host.become.value,
        "beside": host.beside or None,
        "groups": list(host.groups),
        "service": cast("documents.Service", _plain(asdict(host.service))),
    }


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    """The same for JSON; what is not there is left out."""
    shown = {
        key: value.value if isinstance(value, Enum) else value for key, value in table.items() if value is not None
    }
    shown |= {key: f"{shown[key]:04o}" for key in ("mode", "directory_mode") if key in shown}
    return {key: _plain(value) if isinstance(value, dict) else value for key, value in shown.items()}
