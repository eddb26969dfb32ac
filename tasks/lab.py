"""The verbs of the rehearsal fleet: `fab lab.up`, `lab.break` and others."""

import sys
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.options.frame import INVENTORY, verb

if TYPE_CHECKING:
    from hivekeys.lab import Lab

NAME = "which lab: `lab`, or a name that begins with `lab-` (default: lab)"


@task(
    name="up",
    auto_shortflags=False,
    help={
        "hives": "how many hives beside the queen (default: 5)",
        "name": NAME,
        "release": "Debian releases for the hosts in turn: bullseye, bookworm, trixie (default: bookworm)",
        "shape": "how the services get the token: shim, environment-file, or file (services to come; default)",
        "queen-command": "a real queen-rbee instead of the stand-in: PROGRAM --port {port} --database {database}",
        "hive-command": "a real rbee-hive instead of the stand-in: PROGRAM daemon --addr 0.0.0.0:{port}",
    },
)
@verb
def up(
    context: Context,
    hives: str = "5",
    name: str = "lab",
    release: str = "bookworm",
    shape: str = "file",
    queen_command: str = "",
    hive_command: str = "",
) -> None:
    """Boot a rehearsal fleet on this machine: a queen and hives, real Debian hosts (needs root)."""
    from hivekeys import lab
    from hivekeys.journal import state_folder
    from hivekeys.lab.memory import check_units

    before = lab.load(name)
    is_new = before is None or not lab.whole(before)
    fleet = lab.up(
        name,
        hives=_number(hives, "hives"),
        releases=tuple(part.strip() for part in release.split(",") if part.strip()),
        inventory_dir=INVENTORY,
        units=check_units(shape),
        queen_command=queen_command,
        hive_command=hive_command,
        say=_say,
    )
    if is_new:
        state_folder.forget(name)  # runs over an earlier lab of this name mean nothing to these hosts
    _say(f"{len(fleet.hosts)} hosts run; the inventory is {fleet.inventory}")
    _say(f"next: fab plan --fleet {name}; ssh -F {fleet.ssh_config} hive1; fab lab.down --name {name}")


@task(
    name="down",
    auto_shortflags=False,
    help={"name": NAME, "images": "remove the cached Debian images too"},
)
@verb
def down(context: Context, name: str = "lab", images: bool = False) -> None:
    """Take a rehearsal fleet down and leave nothing of it; safe to repeat."""
    from hivekeys import lab
    from hivekeys.journal import state_folder

    found = lab.down(name, images=images, inventory_dir=INVENTORY)
    state_folder.forget(name)
    _say(f"lab {name!r} is gone" if found else f"there was no lab {name!r}")


@task(name="status", auto_shortflags=False, help={"name": "one lab only (default: every lab)"})
@verb
def status(context: Context, name: str = "") -> None:
    """Show what runs in a rehearsal fleet, where, and which faults are in force."""
    from hivekeys import lab
    from hivekeys.lab.status import look

    names = [name] if name else lab.names()
    for one in names:
        found = lab.load(one)
        if found is None:
            _say(
                f"lab {one!r} is not up" if one not in lab.names() else f"lab {one!r} is half built; lab.up or lab.down"
            )
            continue
        print(f"{one}  {found.subnet}  {'up' if lab.whole(found) else 'broken; lab.up builds it anew'}")
        for seen in look(found):
            host, state = seen.host, "running" if seen.running else "down"
            place = f"{host.name:<8}{host.address:<15}{host.release:<10}{state:<9}"
            print(f"  {place}{f'{host.unit} {seen.service}':<22}{', '.join(seen.faults)}".rstrip())
    if not names:
        _say("no lab is up; fab lab.up boots one")


@task(name="ssh-config", auto_shortflags=False, help={"name": NAME})
@verb
def ssh_config(context: Context, name: str = "lab") -> None:
    """Print an ssh_config for the fleet: fab lab.ssh-config >FILE; ssh -F FILE hive1."""
    print(_lab(name).ssh_config.read_text(), end="")


@task(
    name="break",
    positional=["host", "fault"],
    auto_shortflags=False,
    help={"host": "the host to break", "fault": "what is to be wrong with it; fab lab.faults lists them", "name": NAME},
)
@verb
def break_(context: Context, host: str, fault: str, name: str = "lab") -> None:
    """Break a host of the fleet: fab lab.break hive2 start-fails."""
    from hivekeys.lab.faults import inject

    inject(_lab(name), host, fault)
    which = "" if name == "lab" else f" --name {name}"
    _say(f"{host}: {fault} from now on; fab lab.mend {host}{which} ends it")


@task(
    name="mend",
    positional=["host"],
    auto_shortflags=False,
    help={"host": "the host to make whole", "name": NAME},
)
@verb
def mend(context: Context, host: str, name: str = "lab") -> None:
    """Take every fault off a host of the fleet: fab lab.mend hive2."""
    from hivekeys.lab.faults import mend as mend_host

    faults = mend_host(_lab(name), host)
    _say(f"{host}: {', '.join(faults)} mended" if faults else f"{host} has no fault")


@task(name="faults", auto_shortflags=False)
@verb
def faults(context: Context) -> None:
    """List what lab.break can do to a host, a line each."""
    from hivekeys.lab.faults import FAULTS

    for fault in FAULTS.values():
        print(f"{fault.name:<20}{fault.help}")


def _lab(name: str) -> "Lab":
    from hivekeys import lab

    found = lab.load(name)
    if found is None or not found.complete:
        raise UserError(f"lab {name!r} is not up", hint=f"fab lab.up --name {name}")
    return found


def _number(text: str, option: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UserError(f"--{option} takes a number, not {text!r}", hint=f"for example --{option} 5")
    return int(text)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
