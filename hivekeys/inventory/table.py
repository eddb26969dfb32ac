"""Shows a fleet as its inventory describes it: table and JSON for `fab inventory.check`. Pure."""

from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

from rich.table import Table
from rich.text import Text

from hivekeys import __version__
from hivekeys.fleet import Fleet, Host
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
    said.append(f"{fleet.source} is right; no host was contacted")
    return said


def document(fleet: Fleet, files: Sequence[str], untouched: Sequence[str]) -> dict[str, Any]:
    """The same for programs. Modes are octal, as in the inventory."""
    return {
        "hivekeys": __version__,
        "fleet": fleet.name,
        "source": fleet.source,
        "files": list(files),
        "not_read": list(untouched),
        "hosts": [_host(host) for host in fleet.hosts],
    }


def _cells(host: Host) -> tuple[str, ...]:
    service = host.service.title if host.service.is_client else f"{host.service.title}:{host.service.port}"
    if host.service.address != "127.0.0.1" or host.service.scheme != "http":
        service += f" at {host.service.where}"
    port = LEFT_OPEN if host.port is None else str(host.port)
    login = (word or LEFT_OPEN for word in (host.user, host.key, host.jump))
    return (host.name, host.role.value, host.address, port, *login, host.become.value, service)


def _host(host: Host) -> dict[str, Any]:
    service = _plain(asdict(host.service))
    modes = {key: f"{service[key]:04o}" for key in ("mode", "directory_mode")}
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
        "service": {**service, **modes},
    }


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    """The same for JSON; what is not there is left out."""
    shown = {
        key: value.value if isinstance(value, Enum) else value for key, value in table.items() if value is not None
    }
    return {key: _plain(value) if isinstance(value, dict) else value for key, value in shown.items()}
