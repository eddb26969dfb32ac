"""The verbs of the rehearsal fleet: `fab lab.up`, `lab.break` and others."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import argument, option
from hivekeys.tasks.options.fleet import project
from hivekeys.tasks.options.verb import verb
from hivekeys.text.commands import as_typed

if TYPE_CHECKING:
    from hivekeys.lab import Lab


@dataclass(frozen=True, kw_only=True)
class LabOption:
    """A lab."""

    name: str = option("which lab: `lab`, or a name that begins with `lab-` (default: lab)", default="lab")


@dataclass(frozen=True, kw_only=True)
class UpOptions(LabOption):
    """What is built."""

    hives: str = option("how many hives beside the queen (default: 5)", default="5")
    release: str = option(
        "Debian releases for the hosts in turn: bullseye, bookworm, trixie (default: bookworm)", default="bookworm"
    )
    shape: str = option(
        "how the services get the token: shim, environment-file, or file (services to come; default)", default="file"
    )
    accepts: str = option(
        "how many tokens the services accept at a time: one, lines (a list), pair (a second file), or front, for "
        "`fab install --front` (default: one)",
        default="one",
    )
    queen_command: str = option(
        "a real queen-rbee instead of the stand-in: PROGRAM --port {port} --database {database}"
    )
    hive_command: str = option("a real rbee-hive instead of the stand-in: PROGRAM daemon --addr 0.0.0.0:{port}")


@verb
def up(own: UpOptions) -> None:
    """Boot a rehearsal fleet on this machine: a queen and hives, real Debian hosts (needs root)."""
    from hivekeys import lab
    from hivekeys.journal import state_folder
    from hivekeys.lab.memory import check_accepts, check_units

    before = lab.load(own.name)
    is_new = before is None or not lab.whole(before)
    fleet = lab.up(
        own.name,
        hives=_number(own.hives, "hives"),
        releases=tuple(part.strip() for part in own.release.split(",") if part.strip()),
        inventory_dir=project() / "inventory",
        units=check_units(own.shape),
        accepts=check_accepts(own.accepts),
        queen_command=own.queen_command,
        hive_command=own.hive_command,
        say=_say,
    )
    if is_new:
        state_folder.forget(own.name)  # runs over an earlier lab of this name mean nothing to these hosts
    _say(f"{len(fleet.hosts)} hosts run; the inventory is {fleet.inventory}")
    _say(
        as_typed(f"next: fab plan --fleet {own.name}; ssh -F {fleet.ssh_config} hive1; fab lab.down --name {own.name}")
    )


@dataclass(frozen=True, kw_only=True)
class DownOptions(LabOption):
    """What goes."""

    images: bool = option("remove the cached Debian images too", default=False)


@verb
def down(own: DownOptions) -> None:
    """Take a rehearsal fleet down and leave nothing of it; safe to repeat."""
    from hivekeys import lab
    from hivekeys.journal import state_folder

    was_there = lab.down(own.name, images=own.images, inventory_dir=project() / "inventory")
    state_folder.forget(own.name)
    _say(f"lab {own.name!r} is gone" if was_there else f"there was no lab {own.name!r}")


@dataclass(frozen=True, kw_only=True)
class StatusOptions:
    """Which labs are shown."""

    name: str = option("one lab only (default: every lab)")


@verb
def status(own: StatusOptions) -> None:
    """Show what runs in a rehearsal fleet, where, and which faults are in force."""
    from hivekeys import lab
    from hivekeys.lab.status import look

    names = [own.name] if own.name else lab.names()
    for name in names:
        there = lab.load(name)
        if there is None:
            is_begun = name in lab.names()
            _say(f"lab {name!r} is half built; lab.up or lab.down" if is_begun else f"lab {name!r} is not up")
            continue
        print(f"{name}  {there.subnet}  {'up' if lab.whole(there) else 'broken; lab.up builds it anew'}")
        for seen in look(there):
            host, state = seen.host, "running" if seen.running else "down"
            place = f"{host.name:<8}{host.address:<15}{host.release:<10}{state:<9}"
            print(f"  {place}{f'{host.unit} {seen.service}':<22}{', '.join(seen.faults)}".rstrip())
    if not names:
        _say(as_typed("no lab is up; fab lab.up boots one"))


@verb
def ssh_config(which: LabOption) -> None:
    """Print an ssh_config for the fleet: lab.ssh-config >FILE; ssh -F FILE hive1."""
    print(_lab(which.name).ssh_config.read_text(), end="")


@dataclass(frozen=True, kw_only=True)
class BreakOptions(LabOption):
    """Which host, and how."""

    host: str = argument("the host to break")
    fault: str = argument("what is to be wrong with it; fab lab.faults lists them")


@verb
def break_(own: BreakOptions) -> None:
    """Break a host of the fleet: lab.break hive2 start-fails."""
    from hivekeys.lab.faults import inject

    inject(_lab(own.name), own.host, own.fault)
    lab = "" if own.name == "lab" else f" --name {own.name}"
    _say(as_typed(f"{own.host}: {own.fault} from now on; fab lab.mend {own.host}{lab} ends it"))


@dataclass(frozen=True, kw_only=True)
class MendOptions(LabOption):
    """Which host."""

    host: str = argument("the host to make whole")


@verb
def mend(own: MendOptions) -> None:
    """Take every fault off a host of the fleet: lab.mend hive2."""
    from hivekeys.lab.faults import mend as mend_host

    faults = mend_host(_lab(own.name), own.host)
    _say(f"{own.host}: {', '.join(faults)} mended" if faults else f"{own.host} has no fault")


@verb
def faults() -> None:
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
