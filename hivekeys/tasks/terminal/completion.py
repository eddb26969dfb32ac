"""What Tab offers behind an option: fleets, hosts and groups, runs, checks, formats. Contacts no host.

The options' names are completed by Invoke. Whatever cannot be read offers nothing: a Tab is no place for an error.
"""

import shlex
from collections.abc import Callable, Iterable
from itertools import pairwise

from hivekeys.errors import UserError

HOSTS = ("--limit", "--exclude", "--without", "--allow-missing")
CHECKS = ("--checks", "--skip")


def offered(typed: str) -> list[str] | None:
    """The words that may stand at the end of this command line; None where Invoke knows them."""
    try:
        words = shlex.split(typed)
    except ValueError:  # a quote is open
        return []
    if typed.endswith(" ") and words[-1:] != [""]:
        words.append("")
    words = [part for word in words for part in _parts(word)]
    for option, begun in ((words[-2:-1], words[-1:]), (words[-1:], [""])):
        if option and (values := _values(option[0], words)):
            try:
                return _after_commas(begun[0], values())
            except (UserError, OSError, ValueError):
                return []
    return None


def _parts(word: str) -> list[str]:
    """Option and value of `--option=value`; bash gives its `=` as a word of its own."""
    if word == "=":
        return []
    return word.split("=", 1) if word.startswith("--") else [word]


def _values(option: str, words: list[str]) -> Callable[[], Iterable[str]] | None:
    known: dict[str, Callable[[], Iterable[str]]] = {
        "--fleet": _fleets,
        "--against": _fleets,
        "--run": lambda: _runs(words),
        "--format": lambda: _formats(words),
    }
    known |= dict.fromkeys(HOSTS, lambda: _hosts(words))
    known |= dict.fromkeys(CHECKS, _checks)
    return known.get(option)


def _after_commas(begun: str, values: Iterable[str]) -> list[str]:
    """The values behind what is there already of a list with commas."""
    before, comma, last = begun.rpartition(",")
    return [f"{before}{comma}{value}" for value in values if value.startswith(last)]


def _fleet(words: list[str]) -> str:
    """What stands behind --fleet, "" for what is not named."""
    return next((value for option, value in pairwise(words) if option == "--fleet"), "")


def _fleets() -> Iterable[str]:
    from hivekeys.tasks.options.fleet import inventory_folders

    return sorted(
        {file.stem for folder in inventory_folders() for file in folder.glob("*.toml") if file.name[0] != "."}
    )


def _hosts(words: list[str]) -> Iterable[str]:
    from hivekeys.tasks.options.fleet import FAILED, load_fleet

    fleet = load_fleet(_fleet(words))
    groups = {group for host in fleet.hosts for group in host.groups}
    return [*(host.name for host in fleet.hosts), *sorted(groups), FAILED]


def _runs(words: list[str]) -> Iterable[str]:
    from hivekeys.journal.past import past_runs
    from hivekeys.tasks.options.fleet import load_fleet

    return [*(run.id for run in past_runs(load_fleet(_fleet(words)).name, "")), "last"]


def _checks() -> Iterable[str]:
    from hivekeys.tasks.options.fleet import check_ids

    return check_ids()


def _formats(words: list[str]) -> Iterable[str]:
    from hivekeys.tasks import report, verify

    return verify.FORMATS if "verify" in words else report.FORMATS
