"""Builds the fleet from a checked file: applies defaults and expands ranges."""

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from hivekeys.fleet import (
    SERVICES,
    Approval,
    Backups,
    Become,
    Fleet,
    Host,
    Notify,
    Policy,
    Role,
    Ssh,
    SudoLog,
    Timeouts,
    TokenAge,
    Waiver,
    Windows,
)
from hivekeys.inventory.batches import problem
from hivekeys.inventory.files import TOML, digest, read, refusal
from hivekeys.inventory.gathered import Gathered
from hivekeys.inventory.grouped import Inherited, inherit, mistakes_grouped
from hivekeys.inventory.listening import mistakes_listening
from hivekeys.inventory.mistakes import Mistake, at, value_text
from hivekeys.inventory.places import called, find
from hivekeys.inventory.presenting import mistakes_presenting
from hivekeys.inventory.ranges import expand
from hivekeys.inventory.rules import members, mistakes_between, too_many
from hivekeys.inventory.schema import LOGIN, CheckIds, Document, NotifyKeys, ServiceKeys, ServicesKeys, checked
from hivekeys.inventory.sharing import mistakes_beside
from hivekeys.inventory.values import is_public_key
from hivekeys.service import Accepts, Apply, Front, Service, fronting

ADDRESS_KEYS = ("address", *LOGIN)  # to a machine, whatever is asked there
ELSEWHERE = "docs/howto.md, 'Your inventory', says what is read there; ignore in [ansible] names what need not be"
POINT_TO_ANSIBLE = 'set hivekeys_fleet for all hosts; or a file of ours: fleet = "NAME", [ansible] inventory = "FILE"'
POINT_TO_HIVES = 'a file of ours with fleet = "NAME", [hosts.queen] and [llama_orch] hives = "FILE"'


@dataclass(frozen=True)
class LoadedInventory:
    """A fleet, the files of other forms that its hosts come from, and settings in them that were not read."""

    fleet: Fleet
    files: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()


def load_named(name: str, folders: Sequence[Path], environ: Mapping[str, str], check_ids: CheckIds) -> Fleet:
    """The fleet that `find` means, called as an operator types it after --fleet."""
    path = find(name or None, folders, environ)
    return replace(load(path, check_ids), called=called(path, folders) or shlex.quote(str(path)))


def load(path: Path, check_ids: CheckIds = tuple) -> Fleet:
    """The fleet of a file, or one UserError that names every mistake with its key; nothing is contacted.

    `check_ids` says which checks `fab verify` has, for waivers; it is asked only where a file has any.
    """
    found = look(path, check_ids)
    if not found.files:
        return replace(found.fleet, digest=digest(path))
    # Folders, programs, variables beside them: only what came of it can be compared with what came of it later.
    return replace(found.fleet, digest=hashlib.sha256(repr(found.fleet).encode()).hexdigest())


def look(path: Path, check_ids: CheckIds = tuple) -> LoadedInventory:
    """The fleet of a file, as `load` says, and what it was made from."""
    if path.suffix != TOML:
        return _direct(path, check_ids)
    tables = read(path)
    if crowd := too_many(tables):
        raise refusal(path, *crowd)
    inherited = inherit(tables)
    document, mistakes = checked(inherited.tables, check_ids)
    others = [table for table in ("ansible", "llama_orch") if table in tables]
    if not others:
        mistakes += _mistakes(inherited)
    mistakes = [inherited.placed(mistake) for mistake in mistakes]
    if document is None or mistakes:
        raise refusal(path, *mistakes)
    if not others:
        return LoadedInventory(_paced(_fleet(document, path)))
    return _with_others(document, tables, path, check_ids)


def _direct(path: Path, check_ids: CheckIds) -> LoadedInventory:
    """An Ansible inventory without a file of ours: all that we need stands in it."""
    if path.name == "hives.conf":
        raise refusal(path, "found llama-orch's hives alone, expected a fleet with its queen", hint=POINT_TO_HIVES)
    from hivekeys.inventory import ansible  # noqa: PLC0415  takes time that our own form need not pay

    found = ansible.gathered(path)
    if found.mistakes:
        raise refusal(path, *found.texts(), hint=ELSEWHERE)
    if not found.fleet:
        raise refusal(path, "hivekeys_fleet: missing, expected the fleet's name for all hosts", hint=POINT_TO_ANSIBLE)
    return _checked({"fleet": found.fleet, "hosts": found.hosts}, [found], path, (str(path),), check_ids)


def _with_others(document: Document, tables: dict[str, Any], path: Path, check_ids: CheckIds) -> LoadedInventory:
    """A file of ours whose hosts are, some or all, in other files."""
    from hivekeys.inventory import ansible, hives_conf  # noqa: PLC0415  takes time that our own form need not pay

    folder = path.absolute().parent
    found: list[Gathered] = []
    files: list[str] = []
    if "ansible" in document:
        keys = document["ansible"]
        files.append(_local(keys["inventory"], folder))
        queen, hives = keys.get("queen", ansible.QUEEN), keys.get("hives", ansible.HIVES)
        ignore, clients = keys.get("ignore", ()), keys.get("clients", "")
        found.append(ansible.gathered(Path(files[-1]), queen, hives, ignore, clients))
    if "llama_orch" in document:
        files.append(_local(document["llama_orch"]["hives"], folder))
        found.append(hives_conf.gathered(Path(files[-1])))
    hosts = dict(tables.get("hosts", {}))
    mistakes = [mistake for each in found for mistake in each.texts()]
    for each in found:
        twice = [name for name in each.hosts if name in hosts]
        mistakes += [at(each.places[("hosts", name)], "found a host that is named elsewhere too") for name in twice]
        if each.fleet not in ("", document["fleet"]):
            says = f"found {value_text(each.fleet)}, expected {value_text(document['fleet'])} as {path.name} says"
            mistakes.append(at(each.places[("fleet",)], says))
        hosts.update(each.hosts)
    if mistakes:
        raise refusal(path, *mistakes, hint=ELSEWHERE)
    return _checked({**tables, "hosts": hosts}, found, path, tuple(files), check_ids)


def _checked(
    tables: dict[str, Any], found: list[Gathered], path: Path, files: tuple[str, ...], check_ids: CheckIds
) -> LoadedInventory:
    inherited = inherit(tables)
    document, mistakes = checked(inherited.tables, check_ids)
    mistakes = [inherited.placed(mistake) for mistake in (*mistakes, *_mistakes(inherited))]
    for each in found:
        mistakes = [each.placed(mistake) for mistake in mistakes]
    if document is None or mistakes:
        raise refusal(path, *mistakes, hint=ELSEWHERE)
    return LoadedInventory(
        _paced(_fleet(document, path)), files, tuple(name for each in found for name in each.untouched)
    )


def _mistakes(inherited: Inherited) -> list[Mistake]:
    """Every rule that the tables break together."""
    rules = (mistakes_between, mistakes_beside, mistakes_listening, mistakes_presenting, mistakes_grouped)
    return [*inherited.mistakes, *(mistake for rule in rules for mistake in rule(inherited.tables))]


def _paced(fleet: Fleet) -> Fleet:
    """The fleet, unless its hives cannot turn in the batches that were asked for."""
    if why := problem(fleet.policy.batch, fleet.hives):
        raise refusal(Path(fleet.source), Mistake(("rollout", "batch"), why))
    return fleet


def _fleet(document: Document, path: Path) -> Fleet:
    folder = path.absolute().parent
    hosts = _reached([host for entry in document.get("hosts", {}) for host in _hosts(entry, document, folder)])
    ssh = document.get("ssh", {})
    known_hosts = [_local(file, folder) for file in ssh.get("known_hosts", ())]
    return Fleet(
        name=document["fleet"],
        hosts=tuple(sorted(hosts, key=lambda host: list(Role).index(host.role))),  # stable: queen, hives, clients
        policy=replace(Policy(), **document.get("rollout", {})),
        timeouts=replace(Timeouts(), **document.get("timeouts", {})),
        ssh=Ssh(
            known_hosts=tuple(known_hosts) or None,
            config=_local(ssh["config"], folder) if "config" in ssh else None,
            sudo_password_file=_local(ssh["sudo_password_file"], folder) if "sudo_password_file" in ssh else None,
        ),
        token_age=replace(TokenAge(), **document.get("token_age", {})),
        waivers=tuple(_waiver(**keys) for keys in document.get("waivers", ())),
        backup=_backup(**document.get("backup", {}), folder=folder),
        windows=Windows(**document["windows"]) if "windows" in document else None,
        approval=Approval(**document["approval"]) if "approval" in document else None,
        notify=tuple(_notify(name, keys, folder) for name, keys in document.get("notify", {}).items()),
        source=str(path),
    )


def _waiver(check: str, reason: str, until: date, hosts: tuple[str, ...] = ()) -> Waiver:
    return Waiver(check, reason, until, tuple(name for pattern in hosts for name in expand(pattern)))


def _backup(folder: Path, to: tuple[str, ...] = (), keep: int | None = None) -> Backups:
    return Backups(tuple(text if is_public_key(text) else _local(text, folder) for text in to), keep)


def _notify(name: str, keys: NotifyKeys, folder: Path) -> Notify:
    said: dict[str, Any] = dict(keys)
    for key in said.keys() & {"webhook_file", "header_file"}:
        said |= {key: _local(said[key], folder)}
    return Notify(name, **said)


def _hosts(entry: str, document: Document, folder: Path) -> Iterator[Host]:
    """The hosts of one entry: alike but for name and address; its own words go before those of `[ssh]`."""
    own, common = document["hosts"][entry], document.get("ssh", {})
    role = own["role"]
    key = own.get("key", common.get("key"))
    homes = expand(own["beside"]) if "beside" in own else ()
    for place, (name, address) in enumerate(members(entry, own)):
        yield Host(
            name,
            role,
            address,
            service=_service(role, document.get("services", {}), own.get("service", {}), place),
            port=own.get("port", common.get("port")),
            user=own.get("user", common.get("user")),
            key=None if key is None else _local(key, folder),
            jump=own.get("jump", common.get("jump")),
            become=own.get("become", common.get("become", Become.SUDO)),
            python=own.get("python", common.get("python")),
            sudo_log=own.get("sudo_log", common.get("sudo_log", SudoLog.REFUSED)),
            beside=homes[place] if homes else "",
            groups=tuple(dict.fromkeys(own.get("groups", ()))),
        )


def _reached(hosts: list[Host]) -> list[Host]:
    """A host that stands beside another is reached as that one is."""
    of = {host.name: host for host in hosts}
    return [
        replace(host, **{way: getattr(of[host.beside], way) for way in ADDRESS_KEYS}) if host.beside else host
        for host in hosts
    ]


def _service(role: Role, services: ServicesKeys, own: ServiceKeys, place: int) -> Service:
    """What such a host runs by default, changed by `[services]`, changed by the host's own `service`.

    `place`: the how-manieth of its entry it is, for an address of each.
    """
    of_role = {
        Role.QUEEN: services.get("queen", {}),
        Role.HIVE: services.get("hive", {}),
        Role.CLIENT: services.get("client", {}),
    }[role]
    said: dict[str, Any] = {**of_role, **own}
    front: dict[str, Any] = {**of_role.get("front", {}), **own.get("front", {})}
    said.pop("front", None)
    is_front = said.get("accepts") is Accepts.FRONT
    said |= {"accepts": Accepts.ONE} if is_front else {}
    found = replace(SERVICES[role], **said)
    if not found.unit:
        found = replace(found, apply=Apply.WATCH)
    addresses = expand(found.address)
    found = replace(found, address=addresses[place]) if len(addresses) > 1 else found
    return fronting(Front(behind=replace(found, drain=None), **front), found.drain) if is_front else found


def _local(text: str, folder: Path) -> str:
    """A file on this machine: `~` is the user's home, a relative path begins at the inventory's folder."""
    return str(folder / Path(text).expanduser())
