"""From a checked file to the fleet it describes: defaults below, the file's words above, ranges expanded."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

from hivekeys.fleet import SERVICES, Become, Fleet, Host, Policy, Role, Service, Ssh, Timeouts, TokenAge, Waiver
from hivekeys.inventory.files import read, refusal
from hivekeys.inventory.ranges import expand
from hivekeys.inventory.rules import members, mistakes_between
from hivekeys.inventory.schema import Document, ServiceKeys, ServicesKeys, checked


def load(path: Path) -> Fleet:
    """The fleet of a file, or one UserError that names every mistake with its key; nothing is contacted."""
    tables = read(path)
    document, mistakes = checked(tables)
    mistakes += mistakes_between(tables)
    if document is None or mistakes:
        raise refusal(path, *mistakes)
    return _fleet(document, path)


def _fleet(document: Document, path: Path) -> Fleet:
    folder = path.absolute().parent
    hosts = [host for entry in document["hosts"] for host in _hosts(entry, document, folder)]
    ssh = document.get("ssh", {})
    known_hosts = [_local(file, folder) for file in ssh.get("known_hosts", ())]
    return Fleet(
        name=document["fleet"],
        hosts=tuple(sorted(hosts, key=lambda host: host.role is not Role.QUEEN)),  # stable: the queen first
        policy=replace(Policy(), **document.get("rollout", {})),
        timeouts=replace(Timeouts(), **document.get("timeouts", {})),
        ssh=Ssh(
            known_hosts=tuple(known_hosts) or None,
            config=_local(ssh["config"], folder) if "config" in ssh else None,
            sudo_password_file=_local(ssh["sudo_password_file"], folder) if "sudo_password_file" in ssh else None,
        ),
        token_age=replace(TokenAge(), **document.get("token_age", {})),
        waivers=tuple(_waiver(**keys) for keys in document.get("waivers", ())),
        source=str(path),
    )


def _waiver(check: str, reason: str, until: date, hosts: tuple[str, ...] = ()) -> Waiver:
    return Waiver(check, reason, until, tuple(name for pattern in hosts for name in expand(pattern)))


def _hosts(entry: str, document: Document, folder: Path) -> Iterator[Host]:
    """The hosts of one entry: alike but for name and address; its own words go before those of `[ssh]`."""
    own, common = document["hosts"][entry], document.get("ssh", {})
    role = own["role"]
    key = own.get("key", common.get("key"))
    for name, address in members(entry, own):
        yield Host(
            name,
            role,
            address,
            service=_service(role, document.get("services", {}), own.get("service", {})),
            port=own.get("port", common.get("port")),
            user=own.get("user", common.get("user")),
            key=None if key is None else _local(key, folder),
            jump=own.get("jump", common.get("jump")),
            become=own.get("become", common.get("become", Become.SUDO)),
        )


def _service(role: Role, services: ServicesKeys, own: ServiceKeys) -> Service:
    """What such a host runs by default, changed by `[services]`, changed by the host's own `service`."""
    of_role = services.get("queen", {}) if role is Role.QUEEN else services.get("hive", {})
    return replace(replace(SERVICES[role], **of_role), **own)


def _local(text: str, folder: Path) -> str:
    """A file on this machine: `~` is the user's home, a relative path begins at the inventory's folder."""
    return str(folder / Path(text).expanduser())
