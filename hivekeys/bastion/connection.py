"""Who speaks to the hosts, and over which lines: greetings, SSH, the password for sudo."""

import functools
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from hivekeys.bastion import secrets_given
from hivekeys.bastion.excluding import cut_out_now
from hivekeys.fleet import Become, Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.journal.past import tombstones
from hivekeys.protocol.program import installed_program, program_of
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.shards.shard import OwnShard, Shard
from hivekeys.ssh import limits, password
from hivekeys.ssh.dialer import SshDialer, Sudo
from hivekeys.ssh.excluded import Guarded
from hivekeys.ssh.line import Dialer

PASSWORD_FILE = "HIVEKEYS_SUDO_PASSWORD_FILE"  # noqa: S105  a variable's name


def new_run(fleet: str) -> str:
    """The id of a run that begins."""
    return f"{fleet}-{secrets.token_hex(4)}"


def greeting_of(fleet: str, folder: Path, run: str = "") -> Greeting:
    """Who speaks to the hosts: the operator, as a run that exists or as a new one; and what must never come back."""
    run = run or new_run(fleet)
    revoked = {fingerprint.keyed: by for fingerprint, by in tombstones(folder).items()}
    return Greeting(fleet, state_folder.fingerprint_key(folder), run, state_folder.operator(), revoked=revoked)


def dialer_of(
    fleet: Fleet, hosts: tuple[Host, ...], program: bytes, folder: Path, *, readmitted: Sequence[str] = ()
) -> Dialer:
    """Who opens lines to these hosts; never to one that is cut out of the fleet, but for those `readmitted` now.

    If the sudo of any wants a password, this asks for it, once a command.

    So it is called when all else is known to be right, and before anything is drawn on the screen.
    """
    limits.raise_open_files(len(hosts), fleet.policy.width)
    limits.check_threads(len(hosts), fleet.policy.width, limits.ceilings())
    given = sudo_password(fleet, hosts)
    digest = hashlib.sha256(installed_program()).hexdigest()
    dialer = SshDialer(fleet, program, Sudo(given) if given else None, digest)
    return Guarded(dialer, {name: by for name, by in cut_out_now(folder).items() if name not in readmitted})


def shards_of(fleet: Fleet, hosts: tuple[Host, ...], modules: Sequence[str], folder: Path) -> list[Shard]:
    """Who holds the lines of a run over these hosts: this process, or as many workers as the fleet asks for.

    `modules`: of the agent's, beside those that every run sends.
    """
    count = min(fleet.policy.processes, len(hosts))
    if count == 1:
        return [OwnShard(fleet, hosts, dialer_of(fleet, hosts, program_of(*modules), folder))]
    from hivekeys.rotation.shards.processes import started_ahead  # noqa: PLC0415  20 ms for workers, which few runs have
    from hivekeys.rotation.shards.remote import Beside, RemoteShard  # noqa: PLC0415

    limits.check_threads(len(hosts), fleet.policy.width, limits.ceilings())
    given = sudo_password(fleet, hosts)
    key, secret = state_folder.fingerprint_key(folder), given.reveal() if given else None
    beside = Beside(tuple(modules), cut_out_now(folder), key, secret)
    return [RemoteShard(fleet, hosts[number::count], started_ahead(), beside) for number in range(count)]


def sudo_password(fleet: Fleet, hosts: Sequence[Host]) -> password.Password | None:
    """The password for sudo, where any of these hosts wants one; asked for once a command."""
    source = os.environ.get(PASSWORD_FILE) or fleet.ssh.sudo_password_file or ""
    wanted = any(host.become is Become.SUDO_PASSWORD for host in hosts)
    return _password(fleet.name, source) if wanted else None


@functools.cache
def _password(fleet: str, source: str) -> password.Password:
    """The password for sudo on the hosts of a fleet, from a file or from the operator."""
    if source:
        hint = "chmod 600 it, and change the password: others may know it"
        return password.parse(secrets_given.read(source, password.MAX_BYTES + 3, hint), source)
    hint = (
        f"put it into a file that only you can read, and name that: {PASSWORD_FILE}, or `sudo_password_file` in [ssh]"
    )
    return password.parse(secrets_given.typed(f"sudo password on fleet {fleet}: ", hint), "as typed")
