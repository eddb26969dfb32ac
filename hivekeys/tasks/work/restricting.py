"""What `fab install --restricted` needs: sudo rules, restrictions of a key, and a try of the restricted login."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hivekeys.bastion.connection import dialer_of, greeting_of
from hivekeys.errors import UserError
from hivekeys.files import refuse_strangers
from hivekeys.fleet import Become, Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.protocol.program import installed_program, program_of
from hivekeys.protocol.restriction import Restriction, login_line, sudoers
from hivekeys.upkeep import install
from hivekeys.upkeep.changes import UpkeepResult
from hivekeys.verify.survey import Watch


def sudoers_of(hosts: tuple[Host, ...]) -> str:
    """The sudo rules for the logins of these hosts, as a file each; usually there is one."""
    return "\n".join(sudoers(name) for name in dict.fromkeys(_account(host) for host in hosts))


def refuse_shared(fleet: Fleet, hosts: tuple[Host, ...]) -> None:
    """A restricted agent answers for the one service that it was installed for; a machine has one such agent."""
    shared = {host.beside for host in fleet.hosts if host.beside}
    names = [host.name for host in hosts if host.beside or host.name in shared]
    if names:
        raise UserError(
            f"{', '.join(names)}: more than one service on a machine, and restricted mode serves one",
            hint="leave them out with --exclude",
        )


def restrictions_of(hosts: tuple[Host, ...], key: str) -> dict[str, Restriction]:
    """What each host is given. `key`: the file of a public key, or "". Raises UserError before anybody is contacted."""
    line = login_line(_read(key), key) if key else ""
    program = installed_program().decode()
    accounts = {host.name: _account(host) for host in hosts}
    return {name: Restriction(account, program, sudoers(account), line) for name, account in accounts.items()}


def come_back(
    kept: Sequence[UpkeepResult], fleet: Fleet, hosts: tuple[Host, ...], state_dir: str
) -> list[UpkeepResult]:
    """Logs in as every later run will, with the inventory's login and nothing but the installed agent."""
    restricted = tuple(dataclasses.replace(host, become=Become.RESTRICTED) for host in hosts)
    folder = state_folder.folder_for(fleet.name, state_dir)
    dialer = dialer_of(fleet, restricted, program_of(), folder)
    watch = Watch(fleet, restricted, dialer, greeting_of(fleet.name, folder))
    try:
        return install.come_back(kept, watch)
    finally:
        watch.close()
        dialer.close()


def _account(host: Host) -> str:
    if not host.user:
        raise UserError(f"{host.name}: restricted mode must know the login", hint="name it with `user` in [ssh]")
    return host.user


def _read(name: str) -> str:
    refuse_strangers(Path(name).expanduser())  # whose key it is may start the agent
    try:
        return Path(name).expanduser().read_text()
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "it is no text"
        raise UserError(f"--restrict-key {name}: {words}", hint="it is the file that ends in .pub") from None
