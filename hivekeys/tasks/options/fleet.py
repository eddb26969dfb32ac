"""Options that say which fleet, which hosts of it, which state folder, and which login."""

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import option

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host

FAILED = "@failed"


@dataclass(frozen=True, kw_only=True)
class FleetOption:
    """A fleet."""

    fleet: str = option(
        "the inventory to use: NAME of NAME.toml in ./inventory, HIVEKEYS_INVENTORY, ~/.config/hivekeys or "
        "/etc/hivekeys, or the path of a file, such as ./hosts.yml (default: HIVEKEYS_FLEET, or the only one there is)"
    )

    def load(self) -> "Fleet":
        """The fleet that was named. Contacts no host."""
        return load_fleet(self.fleet)


@dataclass(frozen=True, kw_only=True)
class SomeHosts(FleetOption):
    """A fleet, and hosts of it."""

    limit: str = option(
        "only these hosts: names, groups, ranges and globs, comma separated (hive1,rack2,hive[3:5],queen*), "
        "or @failed: those of the last run that did not come through"
    )
    exclude: str = option("all hosts but these")

    def load_hosts(self) -> "tuple[Fleet, tuple[Host, ...]]":
        """The fleet that was named, and the hosts of it that were asked for. Contacts no host."""
        from hivekeys import inventory

        fleet, state_dir = self.load(), getattr(self, "state_dir", "")
        limit, exclude = (
            written_out(fleet, option, patterns, state_dir)
            for option, patterns in (("--limit", self.limit), ("--exclude", self.exclude))
        )
        return fleet, inventory.select(fleet, limit, exclude)


@dataclass(frozen=True, kw_only=True)
class FleetOptions(FleetOption):
    """A fleet, and what this bastion knows of it."""

    state_dir: str = option(
        "where journal, key and lock are kept (default: HIVEKEYS_STATE_DIR, or your own state directory)"
    )


@dataclass(frozen=True, kw_only=True)
class HostsOptions(FleetOptions, SomeHosts):
    """A fleet, hosts of it, and what this bastion knows of them."""


@dataclass(frozen=True, kw_only=True)
class LoginOptions:
    """Another login than the inventory's, for work that restricted mode does not allow."""

    login: str = option(
        "log in as this account, whose sudo allows everything, instead of the inventory's (root needs no sudo)"
    )
    become: str = option("how that account gets to be root: sudo (default), sudo-password, none")

    def apply_to(self, fleet: "Fleet", hosts: "tuple[Host, ...]") -> "tuple[Fleet, tuple[Host, ...]]":
        """The fleet and the hosts, the latter reached as `login`. Raises UserError for hosts in restricted mode."""
        from hivekeys.fleet import Become
        from hivekeys.text.names import fold_names

        ways = [way.value for way in Become if way is not Become.RESTRICTED]
        if self.become and (not self.login or self.become not in ways):
            raise UserError(f"--become {self.become}: expected --login ACCOUNT, and one of {', '.join(ways)}")
        if self.login:
            way = Become(self.become or ("none" if self.login == "root" else "sudo"))
            changed = {host.name: replace(host, user=self.login, become=way) for host in hosts}
            hosts = tuple(changed.values())
            fleet = replace(fleet, hosts=tuple(changed.get(host.name, host) for host in fleet.hosts))
        restricted = [host.name for host in hosts if host.become is Become.RESTRICTED]
        if restricted:
            raise UserError(
                f"{fold_names(restricted)}: in restricted mode the inventory's login may not do this",
                hint="--login ACCOUNT names one whose sudo allows everything; its key comes from your SSH agent",
            )
        return fleet, hosts


def load_fleet(name: str) -> "Fleet":
    """The fleet of this name or file, or, for "", the one that the environment or the inventory folder says."""
    from hivekeys import inventory

    return inventory.load_named(name, inventory_folders(), os.environ, check_ids)


def inventory_folders() -> tuple[Path, ...]:
    """Where inventories are looked for, in order."""
    from hivekeys import inventory

    return inventory.places(project(), os.environ)


def project() -> Path:
    """The folder of the fabfile, which `fab` finds from below it too; without one, the one that we were started in."""
    fabfile: str | None = getattr(sys.modules.get("fabfile"), "__file__", None)
    return Path(fabfile).resolve().parent if fabfile else Path.cwd()


def check_ids() -> Collection[str]:
    """The checks that a waiver may name."""
    from hivekeys.verify.checks import CHECKS

    return CHECKS


def written_out(fleet: "Fleet", option: str, patterns: str, state_dir: str) -> str:
    """The patterns with the hosts' names in the place of @failed."""
    pieces = [piece.strip() for piece in patterns.split(",")]
    if FAILED in pieces:
        failed = ",".join(_failed(fleet, option, state_dir))
        pieces = [failed if piece == FAILED else piece for piece in pieces]
    return ",".join(pieces)


def _failed(fleet: "Fleet", option: str, state_dir: str) -> list[str]:
    """The hosts of the newest run over the fleet that did not come through. Raises UserError where there is none."""
    from hivekeys.journal.past import past_runs

    run = next(past_runs(fleet.name, state_dir), None)
    if run is None:
        raise UserError(
            f"{option} {FAILED}: there was no run over fleet {fleet.name} from this bastion",
            hint="name the hosts, or leave it out",
        )
    there = {host.name for host in fleet.hosts}
    names = [name for name in run.came_short if name in there]
    if not names:
        gone = "is left in the inventory" if run.came_short else "failed, and none owes it anything"
        raise UserError(
            f"{option} {FAILED}: no host of run {run.id} {gone}",
            hint=f"`fab status --run {run.id}` shows how each host came out of it",
        )
    return names


def host_names(fleet: "Fleet", patterns: str) -> tuple[str, ...]:
    """The names of the hosts that `patterns` mean; none for ""."""
    from hivekeys import inventory

    return tuple(host.name for host in inventory.select(fleet, patterns, "")) if patterns else ()
