"""`fab trust`: adds host keys to known_hosts after they were compared."""

import contextlib
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import SomeHosts
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import print_document

if TYPE_CHECKING:
    from rich.console import Console

    from hivekeys.fleet import Fleet
    from hivekeys.ssh.hostkeys.trust import ServerKeys, Trusted

LARGEST_LIST = 4 * 1024 * 1024  # bytes
WIDTH = 160  # characters, where there is no terminal to ask
NARROWEST = 80  # characters: a fingerprint that was cut off could not be compared


@dataclass(frozen=True, kw_only=True)
class TrustOptions:
    """Which keys are written, and how."""

    fingerprints: str = option(
        "a file of trusted fingerprints: write keys that agree with it, refuse all when one does not"
    )
    replace: str = option("hosts whose changed keys are to come instead of the old ones, comma separated")
    plain_names: bool = option(
        "write the names of hosts as they are (default: hashed, so that the file does not list them)", default=False
    )
    dry_run: bool = option("show the keys that would be written, and write none", default=False)
    yes: bool = option(
        "write new keys without a question, uncompared. Changed ones still need --replace",
        default=False,
    )


@verb
def trust(scope: SomeHosts, own: TrustOptions, output: JsonOption) -> None:
    """Show the host keys of all hosts, new and old, and write to known_hosts those that you confirm."""
    from rich.console import Console

    from hivekeys.ssh.hostkeys import trust_report
    from hivekeys.ssh.hostkeys.trust import writable
    from hivekeys.ssh.hostkeys.trusting import Trusting

    fleet, hosts = scope.load_hosts()
    listed = _listed(own.fingerprints)
    if listed is None and not (own.yes or own.dry_run) and not sys.stdin.isatty():
        raise UserError(
            "there is no terminal to ask for confirmation on",
            hint="compare with a list of trusted fingerprints: --fingerprints FILE",
        )
    screen = Console(stderr=output.json, highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    screen.width = max(screen.width, NARROWEST)
    written: list[str] = []
    with contextlib.closing(Trusting(fleet, hosts)) as trusting:
        instead = _named(own.replace, trusting.names)
        while shown := trusting.look():
            _screen(screen, fleet, shown)
            fresh, changed = writable(shown, instead)
            if own.dry_run and not listed:
                break
            both = _agreed(fresh + changed, listed) if listed else _confirmed(fresh, changed, screen, own.yes)
            if own.dry_run:
                break
            for backup in trusting.write(both, hashed=not own.plain_names):
                screen.print(f"what was there before is in {backup}", markup=False, soft_wrap=True)
            written += (each.name for each in both)
        answers = trusting.server_keys
    code = trust_report.code(answers)
    if output.json:
        print_document(trust_report.document(fleet, answers, written, code))
    else:
        screen.print(trust_report.summary(answers, written), markup=False, soft_wrap=True)
    leave(code)


def _listed(source: str) -> "Trusted | None":
    """The list of trusted fingerprints that was named."""
    from hivekeys.files import refuse_strangers
    from hivekeys.ssh.hostkeys.trust import parse_list

    if not source:
        return None
    refuse_strangers(Path(source).expanduser())
    try:
        with Path(source).expanduser().open("rb") as file:
            text = file.read(LARGEST_LIST).decode(errors="replace")
    except OSError as error:
        raise UserError(f"--fingerprints {source}: {error.strerror}") from error
    found = parse_list(text)
    if isinstance(found, list):
        lines = "\n".join(f"--fingerprints {source}: {mistake}" for mistake in found[:10])
        raise UserError(lines, hint="no host was contacted")
    return found


def _named(patterns: str, names: tuple[str, ...]) -> set[str]:
    """The hosts, and jump hosts, that --replace means. A typo is never an empty list."""
    meant: set[str] = set()
    for pattern in filter(None, (piece.strip() for piece in patterns.split(","))):
        matching = {name for name in names if fnmatchcase(name, pattern)}
        if not matching:
            raise UserError(f"--replace {pattern}: matches no host", hint=f"there are {', '.join(names[:20])}")
        meant |= matching
    return meant


def _agreed(shown: "list[ServerKeys]", listed: "Trusted") -> "list[ServerKeys]":
    """Those with new keys that are listed; if the list speaks against one, none is written.

    Who is trusted by a known key need not be listed for keys of more types: they are not written then.
    """
    from hivekeys.ssh.hostkeys.trust import TRUSTED

    answers = [listed.agreed(each) for each in shown if each.standing not in TRUSTED or listed.names(each)]
    against = [answer for answer in answers if isinstance(answer, str)]
    if against:
        raise UserError("\n".join(against), hint="the list does not agree, so no key of this round was written")
    return [answer for answer in answers if not isinstance(answer, str) and answer.unknown]


def _confirmed(
    fresh: "list[ServerKeys]", changed: "list[ServerKeys]", screen: "Console", yes: bool
) -> "list[ServerKeys]":
    """All of them, if the operator says so, or has said so; changed keys are a question of their own."""
    questions = (
        (fresh, "Write {keys} of {hosts} to {file}? [y/N] "),
        (changed, "REPLACE all old keys of {hosts} by {keys} in {file}? [y/N] "),
    )
    for shown, question in questions:
        if shown and not yes and not _yes(shown, question, screen):
            raise UserError("not confirmed: no key of these hosts was written")
    return fresh + changed


def _yes(shown: "list[ServerKeys]", question: str, screen: "Console") -> bool:
    from hivekeys.tasks.terminal.asking import agrees
    from hivekeys.text.names import fold_names

    count = sum(len(each.unknown) for each in shown)
    file = ", ".join(dict.fromkeys(str(each.file) for each in shown))
    hosts = fold_names(each.name for each in shown)
    words = question.format(keys=f"{count} new key{'s' if count > 1 else ''}", hosts=hosts, file=file)
    return agrees(words, screen)


def _screen(screen: "Console", fleet: "Fleet", shown: "tuple[ServerKeys, ...]") -> None:
    """The fingerprints of a round: where the operator looks while he is asked."""
    from hivekeys.ssh.hostkeys import trust_report

    made = trust_report.table(shown)
    if made.row_count:
        screen.print(made)
        screen.print()
    for line in trust_report.lines(shown, fleet):
        screen.print(line, markup=False, soft_wrap=True)
