"""Writes a fleet as TOML that means the same fleet. Pure.

What most hosts have in common stands once, in `[ssh]` and `[services]`; hosts that are alike and numbered in a row
are one entry; what is the default is left out. Paths are written as they were resolved, from / on.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from enum import Enum
from typing import Any

from hivekeys.fleet import (
    SERVICES,
    Amount,
    Approver,
    Backups,
    Become,
    Dated,
    Fleet,
    GroupByGroup,
    Host,
    Notify,
    OfEach,
    Policy,
    Ramp,
    Role,
    Timeouts,
    TokenAge,
    Waiver,
    Weekly,
)
from hivekeys.inventory.ranges import expand
from hivekeys.inventory.schema import LOGIN
from hivekeys.service import Accepts, Drain, Front, Hook, Idle, Service

_MODES = ("mode", "directory_mode")
_SPANS = ("overlap", "valid")  # with a unit
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>[0-9]{1,9})(?P<after>[^0-9]*)", re.DOTALL)

NOTHING = Service("", 0, (), ())  # in the place of the service behind a front, whose keys stand beside

Table = dict[str, Any]
DAY = 86_400.0  # seconds


def toml(fleet: Fleet) -> str:
    """The file's text. What is in it loads to an equal fleet, but for the name of the file it came from."""
    return "\n".join(line for section in _sections(fleet) for line in (*section, "")).rstrip("\n") + "\n"


def _sections(fleet: Fleet) -> Iterator[list[str]]:
    yield [_line("fleet", fleet.name)]
    login = _common(({key: getattr(host, key) for key in LOGIN} for host in fleet.hosts), {"become": Become.SUDO})
    services = {
        role: _common((_service(host) for host in _of(fleet, role)), _service_keys(SERVICES[role])) for role in Role
    }
    yield from _section("ssh", {**login, **_flat(fleet.ssh)}, {"become": Become.SUDO})
    yield from _section("timeouts", _flat(fleet.timeouts), _flat(Timeouts()))
    yield from _section("rollout", _flat(fleet.policy), _flat(Policy()))
    yield from _section("token_age", _flat(fleet.token_age), _flat(TokenAge()))
    yield from _section("backup", _flat(fleet.backup), _flat(Backups()))
    for role in Role:
        yield from _section(f"services.{role.value}", services[role], _service_keys(SERVICES[role]))
    settings = [(host, _own(host, login, services[host.role])) for host in fleet.hosts]
    for hosts, own in _rows(settings):
        name, address = _range([host.name for host in hosts]), _range([host.address for host in hosts])
        addressed = {"address": address} if address != name and not hosts[0].beside else {}
        yield [f"[hosts.{_bare(name)}]", *_lines({"role": hosts[0].role, **addressed, **own})]
    if fleet.windows:
        yield from _section("windows", _flat(fleet.windows), {"allowed": (), "frozen": ()})
    if fleet.approval:
        yield from _section("approval", _flat(fleet.approval), {"needed": 1, "valid": 7 * DAY})
    for notify in fleet.notify:
        usual = _flat(Notify(""))
        said = {key: value for key, value in _flat(notify).items() if key != "name" and value != usual[key]}
        yield [f"[notify.{_bare(notify.name)}]", *_lines(said)]
    for waiver in fleet.waivers:
        yield ["[[waivers]]", *_lines(_waiver(waiver))]


def _of(fleet: Fleet, role: Role) -> list[Host]:
    return [host for host in fleet.hosts if host.role is role]


def _service(host: Host) -> Table:
    """The service's table of a host, as the inventory has it: with a front that of the service behind it."""
    front = host.service.front
    if front is None:
        return _service_keys(host.service)
    behind = {**_service_keys(front.behind), "drain": host.service.drain}
    return {**behind, "accepts": Accepts.FRONT, "front": replace(front, behind=NOTHING)}


def _front(front: Front) -> Table:
    usual = _flat(Front(listen="", behind=NOTHING))
    return {name: said for name, said in _flat(front).items() if said != usual[name]}


def _drain(drain: Drain) -> Table:
    """What of a drain differs from the usual; `after` of a front goes without saying."""
    said = {name: value for name, value in _flat(drain).items() if value != getattr(Drain(), name)}
    if drain.by_front:
        said |= {"before": "front"}
        said.pop("after", None)
    tables = {name: value for name, value in said.items() if isinstance(value, Hook | Idle)}
    return said | {name: {key: each for key, each in _flat(one).items() if each} for name, one in tables.items()}


def _service_keys(service: Service) -> Table:
    return _flat(service)


def _flat(values: Any) -> Table:
    """The fields of a frozen record, one level deep: an Amount stays one."""
    return {each.name: getattr(values, each.name) for each in fields(values)}


def _common(several: Iterable[Table], default: Table) -> Table:
    """The values that can stand once for all hosts: of each key the most frequent; none where a host lacks the key."""
    rows = list(several)
    found = dict(default)
    for key in rows[0] if rows else ():
        values = [row[key] for row in rows]
        lacks = None in values or (key == "unit" and "" in values)  # a client without one
        found[key] = default.get(key) if lacks else Counter(values).most_common(1)[0][0]
    return found


def _own(host: Host, login: Table, service: Table) -> Table:
    """The values in which a host differs from most."""
    own = {key: getattr(host, key) for key in LOGIN if getattr(host, key) != login[key]}
    if host.beside:
        own = {"beside": host.beside}  # and reached as that one is
    own |= {"groups": host.groups} if host.groups else {}
    changed = {key: value for key, value in _service(host).items() if value != service[key]}
    return {**own, "service": changed} if changed else own


def _section(name: str, table: Table, default: Table) -> Iterator[list[str]]:
    lines = list(_lines({key: value for key, value in table.items() if value != default.get(key)}))
    if lines:
        yield [f"[{name}]", *lines]


def _waiver(waiver: Waiver) -> Table:
    table = _flat(waiver)
    return {key: table[key] for key in table if key != "hosts" or waiver.hosts}


# -- hosts in a row


def _rows(settings: Sequence[tuple[Host, Table]]) -> Iterator[tuple[list[Host], Table]]:
    """Hosts that one entry can stand for, in the fleet's order."""
    row: list[Host] = []
    before: Table = {}
    for host, own in settings:
        if row and row[0].role is host.role and own == before and _is_range([*row, host]):
            row.append(host)
            continue
        if row:
            yield row, before
        row, before = [host], own
    if row:
        yield row, before


def _is_range(hosts: Sequence[Host]) -> bool:
    names, addresses = [host.name for host in hosts], [host.address for host in hosts]
    last = _follows(names[-2], names[-1]), _follows(addresses[-2], addresses[-1])
    return all(last) and _same_width(names) and _same_width(addresses)


def _follows(one: str, two: str) -> bool:
    """True for hive08 and hive09: the last number in the text is one more, and all else is the same."""
    first, second = _NUMBERED.fullmatch(one), _NUMBERED.fullmatch(two)
    if first is None or second is None:
        return False
    alike = (first["before"], first["after"]) == (second["before"], second["after"])
    return alike and int(second["number"]) == int(first["number"]) + 1


def _same_width(texts: Sequence[str]) -> bool:
    """True unless zeros in front would get lost: then all numbers must be equally long."""
    try:
        return expand(_range([texts[0], texts[-1]]))[-1:] == (texts[-1],)
    except ValueError:
        return False


def _range(texts: Sequence[str]) -> str:
    first, last = _NUMBERED.fullmatch(texts[0]), _NUMBERED.fullmatch(texts[-1])
    if len(texts) == 1 or first is None or last is None:
        return texts[0]
    return f"{first['before']}[{first['number']}:{last['number']}]{first['after']}"


# -- TOML


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    return (_line(key, value) for key, value in table.items() if value is not None)


def _line(key: str, value: Any) -> str:
    return f"{key} = {_quoted(key, value)}"


def _quoted(key: str, value: Any) -> str:
    value = _front(value) if isinstance(value, Front) else value
    value = _drain(value) if isinstance(value, Drain) else value
    value = value.steps if isinstance(value, Ramp) else value
    value = str(value) if isinstance(value, OfEach | GroupByGroup) else value
    value = value.text if isinstance(value, Weekly | Dated) else value
    value = f"{value.key} {value.name}" if isinstance(value, Approver) else value
    if key in _SPANS and value:
        value = f"{value / 60:.0f}min" if value % 3600 else f"{value / 3600:.0f}h"
    match value:
        case Enum():
            return json.dumps(value.value)
        case Amount():
            return json.dumps(str(value)) if value.percent else str(value.value)
        case int() if key in _MODES:
            return f'"{value:04o}"'
        case date():
            return value.isoformat()
        case dict():
            return "{ " + ", ".join(_line(inner, each) for inner, each in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(_quoted(key, each) for each in value) + "]"
        case str() | bool():
            return json.dumps(value, ensure_ascii=False)
    return str(value)


def _bare(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name)
