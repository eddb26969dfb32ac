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
from hivekeys.protocol.program import installed_program
from hivekeys.protocol.verbs import Greeting
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
    wanted = any(host.become is Become.SUDO_PASSWORD for host in hosts)
    source = os.environ.get(PASSWORD_FILE) or fleet.ssh.sudo_password_file or ""
    digest = hashlib.sha256(installed_program()).hexdigest()
    dialer = SshDialer(fleet, program, _sudo(fleet.name, source) if wanted else None, digest)
    return Guarded(dialer, {name: by for name, by in cut_out_now(folder).items() if name not in readmitted})


@functools.cache
def _sudo(fleet: str, source: str) -> Sudo:
    """The password for sudo on the hosts of a fleet, from a file or from the operator."""
    if source:
        hint = "chmod 600 it, and change the password: others may know it"
        return Sudo(password.parse(secrets_given.read(source, password.MAX_BYTES + 3, hint), source))
    hint = (
        f"put it into a file that only you can read, and name that: {PASSWORD_FILE}, or `sudo_password_file` in [ssh]"
    )
    return Sudo(password.parse(secrets_given.typed(f"sudo password on fleet {fleet}: ", hint), "as typed"))
