"""Brings a lab up and takes it down without a trace.

`up` first clears whatever a killed or half-built lab of that name left, so it can always be run again;
`down` is that clearing alone. Neither looks at anything that isn't the lab's by its name.
"""

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.lab import access, boot, cgroup, files, image, memory, network, programs
from hivekeys.lab.lock import lock
from hivekeys.lab.model import LABS, Accepts, Lab, Shape, Units

Say = Callable[[str], None]


def _quiet(_: str) -> None:
    """For callers who only want the lab."""


def up(
    name: str = "lab",
    *,
    hives: int = 5,
    releases: Sequence[str] = ("bookworm",),
    inventory_dir: Path = Path("inventory"),
    token: str = "",
    units: Units = Units.FILE,
    queen_command: str = "",
    hive_command: str = "",
    accepts: Accepts = Accepts.ONE,
    say: Say = _quiet,
) -> Lab:
    """A running lab of that name and shape: the one that is there, or a new one.

    `token` is the fleet's first one (made up if empty), `units` how it reaches the services, `accepts` how many of them
    these take at a time. A running lab of another shape is refused; whatever a killed one left is cleared first. A
    failure on the way leaves nothing.
    """
    memory.check_name(name)
    shape = memory.check_shape(Shape(hives, tuple(releases), units, queen_command, hive_command, accepts))
    programs.check()
    with lock(f"lab {name}"):
        old = memory.load(name)
        if old and whole(old):
            if old.shape != shape:
                raise UserError(
                    f"lab {name!r} is up, with {old.shape.hives} hives on {', '.join(old.shape.releases)}, "
                    f"in the shape {old.shape.units}",
                    hint=f"take it down first (fab lab.down --name {name}), or give the new one another --name",
                )
            say(f"lab {name!r} is up already")
            return old
        _clear(name, inventory_dir)
        try:
            return _build(name, shape, inventory_dir.resolve() / f"{name}.toml", token, say)
        except BaseException:
            _clear(name, inventory_dir)
            raise


def down(lab: Lab | str = "lab", *, images: bool = False, inventory_dir: Path = Path("inventory")) -> bool:
    """Remove a lab, whatever state it is in; returns whether there was anything. `images` empties the cache too.

    The inventory goes where the lab remembers it; `inventory_dir` is for a lab that has lost its memory.
    """
    name = memory.check_name(lab if isinstance(lab, str) else lab.name)
    programs.check()
    with lock(f"lab {name}"):
        found = _clear(name, inventory_dir)
    if images:
        image.remove_all()
    return found


def whole(lab: Lab) -> bool:
    """Whether the lab was completed and every host of it still runs on its network."""
    return (
        lab.complete
        and network.bridge(lab.name) in network.links(lab.name)
        and all(lab.running(host) for host in lab.hosts)
    )


def _build(name: str, shape: Shape, inventory: Path, token: str, say: Say) -> Lab:
    access.check_inventory(inventory)
    images = {release: image.ensure(release, say) for release in dict.fromkeys(shape.releases)}
    with lock("subnet"):
        lab = Lab(name, shape, network.free_subnet(), inventory)
        memory.save(lab)
        network.create(name, lab.subnet)
    say(f"booting {len(lab.hosts)} hosts on {lab.subnet} ({', '.join(images)})")
    access.make_key(lab.key)
    uppers = {host: boot.folder(lab, host) / "upper" for host in lab.hosts}
    known_hosts = access.make_host_keys(lab, uppers)
    first_token = (token or secrets.token_hex(32)) + "\n"
    login_key = lab.key.with_suffix(".pub").read_text()
    for host in lab.hosts.values():
        files.lay(uppers[host.name], files.entries(lab, host, token=first_token, login_key=login_key))
    boot.start_all(lab)
    boot.wait(lab, timeout=60 + 3 * len(lab.hosts), service=not shape.real)
    access.write(lab, known_hosts)
    lab = replace(lab, complete=True)
    memory.save(lab)
    return lab


def _clear(name: str, inventory_dir: Path) -> bool:
    """Remove everything that a lab of this name has on this machine, in any state."""
    old = memory.load(name)
    place = LABS / name
    found = place.exists() or cgroup.of(name).exists() or bool(network.links(name))
    cgroup.kill(name)
    network.remove(name)
    cgroup.remove(name)
    places = [inventory_dir / f"{name}.toml"] + ([old.inventory] if old else [])
    for inventory in filter(access.is_ours, places):
        inventory.unlink()
        found = True
    shutil.rmtree(place, ignore_errors=True)
    if LABS.exists() and not any(LABS.iterdir()):
        LABS.rmdir()
    return found
