"""What all verbs share: errors become a message, a hint and an exit code; common options."""

import dataclasses
import functools
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from hivekeys.errors import ExitCode, UserError
from tasks.terminal.stopping import endable

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host

PROJECT = Path(__file__).resolve().parents[2]
INVENTORY = PROJECT / "inventory"

FLEET_HELP = {
    "fleet": "the inventory to use: NAME of inventory/NAME.toml, or the path of a file, such as ./hosts.yml "
    "(default: HIVEKEYS_FLEET, or the only one there is)",
    "limit": "only these hosts: names, ranges and globs, comma separated (hive1,hive[3:5],queen*)",
    "exclude": "all hosts but these",
    "state-dir": "where journal, key and lock are kept (default: HIVEKEYS_STATE_DIR, or your own state directory)",
    "json": "print one JSON document on stdout and nothing else there",
}
LOGIN_HELP = {
    "login": "log in as this account, whose sudo allows everything, instead of the inventory's (root needs no sudo)",
    "become": "how that account gets to be root: sudo (default), sudo-password, none",
}
TOLD_HELP = {
    "quiet": "say nothing but what fails, and the result",
    "events": "stream every event of the run to stdout as it happens, a JSON line each, and nothing else there",
}
NOTICE_HELP = {
    "on-finish": "a command to start when the run is over, however it ended: the summary is on its stdin, "
    "HIVEKEYS_EXIT_CODE, HIVEKEYS_RUN and HIVEKEYS_FLEET in its environment; no shell",
}


CHANGES_HELP = {
    "dry-run": "show what would be done, host by host, and change nothing",
    "yes": "do not ask; every verb that changes something takes it, also where it has no question",
}
DRY_RUN = "every verb that changes something has --dry-run: it shows the plan and changes nothing"


@dataclass(frozen=True)
class Told:
    """How an operator, and whoever else, is told of a run."""

    json: bool = False
    quiet: bool = False
    events: bool = False
    on_finish: tuple[str, ...] = ()


TO_PEOPLE = Told()


def told(json: bool, quiet: bool, events: bool, on_finish: str = "") -> Told:
    """The same from a task's options. Raises UserError for those that exclude each other."""
    from tasks.terminal.on_finish import command

    if json and events:
        raise UserError(
            "--events and --json both want standard output",
            hint="--events ends with a `result` line; `fab status --run last --json` prints the document afterwards",
        )
    return Told(json, quiet, events, command(on_finish) if on_finish else ())


def verb(body: Callable[..., None]) -> Callable[..., None]:
    """A task's body with hivekeys' manners; goes under `@task`."""

    @functools.wraps(body)
    def polite(context: Any, *args: Any, **options: Any) -> None:
        from hivekeys.ssh import limits

        limits.keep_memory_to_itself()  # whichever verb it is: a token, a password or a key may be in its memory
        if sys.stdin is None:  # closed by who called us; an empty one also keeps sockets off its number
            sys.stdin = Path(os.devnull).open()  # noqa: SIM115  as long as the process
        try:
            refuse_dry(context)
            with endable():
                body(context, *args, **options)
        except UserError as error:
            fail(error, options.get("fleet", ""))
        except KeyboardInterrupt:
            raise Exit("interrupted", ExitCode.INTERRUPTED) from None
        except Exit:
            raise
        except Exception as error:
            bug(error, options.get("fleet", ""))

    return polite


def refuse_dry(context: Any) -> None:
    """Fabric's `run.dry`, in a configuration file or the environment, promises what it does not keep."""
    if context.config.run.dry:
        raise UserError(
            "run.dry is set, in a configuration file of Fabric's or the environment: no verb honours it", hint=DRY_RUN
        )


def fail(error: UserError, fleet: str = "") -> None:
    """Says what is wrong, then the hint for the fleet that was named, and leaves with the error's code."""
    from hivekeys.protocol.hints import for_fleet

    hint = f"\n  hint: {for_fleet(error.hint, shlex.quote(fleet) if fleet else '')}" if error.hint else ""
    raise Exit(f"hivekeys: {error.message}{hint}", int(error.code)) from None


def bug(error: Exception, fleet: str = "") -> None:
    """What nobody foresaw: one line that can be reported. The whole story only when it is asked for."""
    if os.environ.get("HIVEKEYS_DEBUG"):
        traceback.print_exc()
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
    hint = "please report it; HIVEKEYS_DEBUG=1 prints the traceback. `fab plan` shows how the hosts are now"
    fail(UserError(f"a bug in hivekeys: {place}", hint=hint, code=ExitCode.BUG), fleet)


def finish(code: ExitCode) -> None:
    """Leaves with the code, silently; 0 returns."""
    if code is not ExitCode.DONE:
        raise Exit(code=int(code))


def check_ids() -> Collection[str]:
    """The checks that a waiver may name."""
    from hivekeys.verify.checks import CHECKS

    return CHECKS


def chosen(fleet: str, limit: str, exclude: str) -> "tuple[Fleet, tuple[Host, ...]]":
    """The fleet that an operator named, and the hosts of it that were asked for. Contacts nobody."""
    from hivekeys import inventory

    path = inventory.find(fleet or None, INVENTORY, os.environ)
    called = path.stem if path.parent == INVENTORY else shlex.quote(str(path))
    found = replace(inventory.load(path, check_ids), called=called)
    return found, inventory.select(found, limit, exclude)


def with_login(fleet: "Fleet", hosts: "tuple[Host, ...]", login: str, become: str) -> "tuple[Fleet, tuple[Host, ...]]":
    """The fleet and the hosts, the latter reached as `login`: for work that restricted mode does not allow."""
    from hivekeys.fleet import Become
    from hivekeys.text.names import fold_names

    ways = [way.value for way in Become if way is not Become.RESTRICTED]
    if become and (not login or become not in ways):
        raise UserError(f"--become {become}: expected --login ACCOUNT, and one of {', '.join(ways)}")
    if login:
        way = Become(become or ("none" if login == "root" else "sudo"))
        changed = {host.name: dataclasses.replace(host, user=login, become=way) for host in hosts}
        hosts = tuple(changed.values())
        fleet = dataclasses.replace(fleet, hosts=tuple(changed.get(host.name, host) for host in fleet.hosts))
    restricted = [host.name for host in hosts if host.become is Become.RESTRICTED]
    if restricted:
        raise UserError(
            f"{fold_names(restricted)}: in restricted mode nobody may do this with the inventory's login",
            hint="--login ACCOUNT names one whose sudo allows everything; its key comes from your SSH agent",
        )
    return fleet, hosts


def names(fleet: "Fleet", patterns: str) -> tuple[str, ...]:
    """The names of the hosts that `patterns` mean; none for ""."""
    from hivekeys import inventory

    return tuple(host.name for host in inventory.select(fleet, patterns, "")) if patterns else ()
