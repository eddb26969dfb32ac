"""Checks and converts each kind of value in an inventory.

Pure. Whatever is refused is a ValueError whose text completes "expected …". The rules keep out what could
turn into something else further down: a name that ssh would take for an option, a path that leads elsewhere,
a mode under which the services refuse their token.
"""

import difflib
import posixpath
import re
from collections.abc import Callable, Collection
from datetime import date, datetime
from enum import Enum
from ipaddress import ip_address
from typing import TypeVar

from hivekeys.errors import UserError
from hivekeys.fleet import Amount
from hivekeys.inventory.ranges import expand
from hivekeys.text.commands import as_typed

Word = TypeVar("Word", bound=Enum)

LONGEST_WAIT = 86_400  # a day: every command returns within a known time
LONGEST_REASON = 200  # characters: it is shown in a table
LONGEST_OVERLAP = 365 * 86_400  # seconds
LONGEST_COMMAND = 4_000  # characters
LONGEST_PATTERN = 500  # characters
OLDEST = 3_650  # days
FILE_MODES = (0o600, 0o400)
DIRECTORY_MODES = (0o700, 0o500)
SIGNALS = ("HUP", "USR1", "USR2")  # hivekeys.host.verbs.notify.SIGNALS: those that mean what a program makes of them

# `directory_mode` closes the token's folder to everybody else, which would break a folder that others share.
_SHARED_FOLDER = r"/(boot|dev|etc|home|media|mnt|opt|proc|root|run|srv|sys|tmp|usr(/local)?|var(/lib|/tmp)?)?"
NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}"
_ADDRESS = r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,252}"  # a name, an IPv4 or an IPv6 address, the last with a zone
_USER = r"[A-Za-z0-9_][A-Za-z0-9._@+-]*"
_NUMBERS = r"[0-9.]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]"  # an address in numbers, as in a URL
_HTTP_PATH = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*"
_HOP = rf"({_USER}@)?({NAME}|\[{_ADDRESS}\])(:[0-9]{{1,5}})?"


def _text(pattern: str, expected: str) -> Callable[[object], str]:
    """A check for text that the whole of a regular expression matches."""

    def check(value: object) -> str:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return value
        raise ValueError(expected)

    return check


def _range(pattern: str, expected: str) -> Callable[[object], str]:
    """The same for every member of a range such as `hive[01:40]`."""
    member = _text(pattern, expected)

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(expected)
        for each in expand(value):
            member(each)
        return value

    return check


fleet_name = _text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a short name of letters, digits, '.', '_' and '-'")
host_name = _range(NAME, "a name of letters, digits, '.', '_' and '-' that does not begin with '-'")
host_group = _text(NAME, "the name of a group: letters, digits, '.', '_' and '-', and no '-' in front")
address = _range(_ADDRESS, "a host name or an IP address (IPv6 without brackets)")
user = _text(_USER, "the name of an account to log in with")
account = _text(r"[A-Za-z_][A-Za-z0-9._-]{0,31}", "the name of an account on the host, such as llama-orch")
unit = _text(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]{0,246}(?<!@)\.service", "a service unit such as rbee-hive.service")
jump = _text(rf"{_HOP}(,{_HOP})*", "jump hosts as for ssh -J: [USER@]HOST[:PORT], several with commas, or none")
python = _text(r"(/[A-Za-z0-9_.+-]+)+", "the absolute path of a python3 on the host")
file_path = _text(r"(?!~[^/])[^\x00-\x1f\x7f]+", "the path of a file; ~ is your home folder, ~NAME is not known")
group = _text(r"[^\s:\x00-\x1f\x7f]{1,250}", "the name of a group, or of a host")
_word = _text(r"[^\x00-\x1f\x7f]{1,250}", "the name of a variable, or of a file in group_vars or host_vars")
_absolute = _text(r"/[^\x00-\x1f\x7f]*", "an absolute path without //, /. and /..")
_http_path = _text(_HTTP_PATH, "a path of the service such as /health")


def path_on_host(value: object) -> str:
    """A file on the host."""
    path = _absolute(value)
    if posixpath.normpath(path) != path or path.startswith("//"):  # normpath keeps two slashes in front
        raise ValueError("an absolute path without //, /. and /..")
    return path


def authorities(value: object) -> str:
    """A file of certificates on the host, or none: those that the host trusts by itself."""
    return "" if value == "" else path_on_host(value)


def listens_on(value: object) -> str:
    """Where a service listens on its own host: an address in numbers, a range of them, or a Unix socket."""
    expected = 'an address of the host in numbers, such as "10.0.0.11" or "::1", or "unix:/run/hive.sock"'
    text = value if isinstance(value, str) else ""
    if text.startswith("unix:"):
        return "unix:" + path_on_host(text.removeprefix("unix:"))
    try:
        found = [ip_address(each) for each in expand(text)]
    except ValueError:
        raise ValueError(expected) from None
    if any(each.is_unspecified or each.is_multicast for each in found):
        raise ValueError(f"{expected}; a service that listens on all addresses is reached at 127.0.0.1")
    return text if len(found) > 1 else str(found[0])


def listen(value: object) -> str:
    """Where the front of a service listens: an address of the host in numbers, or all of them, and a port."""
    found = re.fullmatch(r"([0-9.]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", value if isinstance(value, str) else "")
    try:
        address = ip_address(found[1].strip("[]")) if found else None
    except ValueError:
        address = None
    if found is None or address is None or address.is_multicast or not 1 <= int(found[2]) <= 65_535:
        raise ValueError('an address of the host in numbers and a port, such as "0.0.0.0:8081" or "[::]:8081"')
    return found[0]


def scheme(value: object) -> str:
    """How the service is spoken to."""
    if value in ("http", "https"):
        return str(value)
    raise ValueError('"http" or "https"')


def token_list(value: object) -> str:
    """Where the list of accepted tokens lies on the host; "": beside the token."""
    return "" if value == "" else token_path(value)


def signal(value: object) -> str:
    """The signal that makes a service read its token anew."""
    if value in SIGNALS:
        return str(value)
    raise ValueError(" or ".join(f'"{name}"' for name in SIGNALS))


def flag(value: object) -> bool:
    """Yes or no."""
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def token_path(value: object) -> str:
    """Where the token lies on the host: in the service's own folder, whose mode and owner are set, too."""
    path = path_on_host(value)
    if re.fullmatch(_SHARED_FOLDER, path) or re.fullmatch(_SHARED_FOLDER, posixpath.dirname(path)):
        raise ValueError("a file in a folder of its own, such as /etc/llama-orch/secrets/api-token")
    return path


def mode(allowed: tuple[int, ...]) -> Callable[[object], int]:
    """A mode in octal digits, quoted, because a bare 0600 is no TOML and a bare 600 is another number."""

    def check(value: object) -> int:
        if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value) and int(value, 8) in allowed:
            return int(value, 8)
        raise ValueError(" or ".join(f'"{each:04o}"' for each in allowed) + ": nothing for group and others")

    return check


def choice(kind: type[Word]) -> Callable[[object], Word]:
    """One of the words of an enum."""

    def check(value: object) -> Word:
        for member in kind:
            if member.value == value:
                return member
        raise ValueError(" or ".join(f'"{member.value}"' for member in kind))

    return check


def whole(least: int, most: int) -> Callable[[object], int]:
    """A whole number within bounds, both of them allowed."""

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise ValueError(f"a whole number from {least} to {most}")

    return check


def seconds(least: float) -> Callable[[object], float]:
    """A time that is not too short, and not for ever."""

    def check(value: object) -> float:
        match value:
            case bool():
                pass
            case int() | float() if least <= value <= LONGEST_WAIT:  # false for nan
                return float(value)
        raise ValueError(f"seconds: a number from {least:g} to {LONGEST_WAIT}")

    return check


def duration(value: object) -> float:
    """A time as a number of seconds, or as text with a unit: "90s", "5min", "1h"."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(s|min|h)", value) if isinstance(value, str) else None
    try:
        return seconds(0.1)(float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2]] if found else value)
    except ValueError:
        raise ValueError(f'seconds from 0.1 to {LONGEST_WAIT}, or a text such as "90s", "5min" or "1h"') from None


def overlap(value: object) -> float:
    """How long clients have to change: as `duration`, or so many days; up to a year, and 0 for no overlap."""
    found = re.fullmatch(r"([0-9]{1,5}) ?(min|h|d)", value) if isinstance(value, str) else None
    seconds_in = {"min": 60.0, "h": 3_600.0, "d": 86_400.0}
    time = int(found[1]) * seconds_in[found[2]] if found else -1.0 if value else 0.0
    if isinstance(value, bool) or not 0 <= time <= LONGEST_OVERLAP:
        raise ValueError('0, or a text such as "30min", "24h" or "7d", up to 365 days')
    return time


def argv(absolute: bool) -> Callable[[object], tuple[str, ...]]:
    """A program and its arguments, no shell line; where it is `absolute`, the program by its whole path."""
    expected = f"a list of texts: {'the whole path of a program' if absolute else 'a program'}, then its arguments"

    def check(value: object) -> tuple[str, ...]:
        words = value if isinstance(value, list) else []
        if not words or not all(isinstance(word, str) and "\0" not in word for word in words) or len(words) > 100:
            raise ValueError(expected)
        if sum(map(len, words)) > LONGEST_COMMAND:
            raise ValueError(f"a command of at most {LONGEST_COMMAND} characters")
        if (absolute and path_on_host(words[0]) == "/") or not words[0]:
            raise ValueError(expected)
        return tuple(words)

    return check


def http_request(value: object) -> str:
    """A request to the service: a method and a path."""
    if isinstance(value, str) and re.fullmatch(rf"(GET|POST|PUT|DELETE) {_HTTP_PATH}", value):
        return value
    raise ValueError('a method and a path of the service, such as "POST /drain"')


def pattern(value: object) -> str:
    """A regular expression for one line."""
    try:
        if isinstance(value, str) and 0 < len(value) <= LONGEST_PATTERN:
            re.compile(value)
            return value
    except (re.error, RecursionError, OverflowError):
        pass
    raise ValueError(f"a regular expression of at most {LONGEST_PATTERN} characters")


def amount(least: int) -> Callable[[object], Amount]:
    """A number of hosts, or a percentage of them as text."""

    def check(value: object) -> Amount:
        text = value if isinstance(value, str) else ""
        percent = re.fullmatch("([0-9]{1,3})%", text)
        if percent and least <= int(percent[1]) <= 100:
            return Amount(int(percent[1]), percent=True, least=least)
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return Amount(value, least=least)
        raise ValueError(f'a number of hosts, {least} or more, or a percentage from "{least}%" to "100%"')

    return check


def several(one: Callable[[object], str], least: int) -> Callable[[object], tuple[str, ...]]:
    """One text or a list of at least so many."""

    def check(value: object) -> tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if len(values) < least:
            raise ValueError("a text or a list of at least one")
        return tuple(one(each) for each in values)

    return check


def _place(value: object) -> str:
    """Where else on the host a token is taken: its port, with a path that needs the token where that is known."""
    expected = 'a port of the host, such as "8082", "8082/v1/x" or "http://127.0.0.1:8082/v1/x" (an address, no name)'
    text = value if isinstance(value, str) else ""
    found = re.fullmatch(rf"(?:http://({_NUMBERS}):)?([0-9]{{1,5}})(?:{_HTTP_PATH})?", text)
    if found is None or not 1 <= int(found[2]) <= 65_535:
        raise ValueError(expected)
    try:
        ip_address((found[1] or "127.0.0.1").strip("[]"))
    except ValueError:
        raise ValueError(expected) from None
    return found[0]


def ports(value: object) -> tuple[int, ...]:
    """One port, or a list of them."""
    return tuple(whole(1, 65_535)(each) for each in (value if isinstance(value, list) else [value]))


def days(value: object) -> float:
    """An age of a token."""
    match value:
        case bool():
            pass
        case int() | float() if 1 <= value <= OLDEST:  # false for nan
            return float(value)
    raise ValueError(f"days: a number from 1 to {OLDEST}")


def check_id(value: object, known: Collection[str]) -> str:
    """The name of a check of `fab verify`, one of those that are `known`."""
    if isinstance(value, str) and value in known:
        return value
    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    raise ValueError(as_typed("the name of a check of `fab verify`") + (f"; did you mean {near[0]}?" if near else ""))


def reason(value: object) -> str:
    """Why: words on one line."""
    if isinstance(value, str) and value.isprintable() and value.strip() and len(value) <= LONGEST_REASON:
        return value.strip()
    raise ValueError(f"why, in words: one line of at most {LONGEST_REASON} characters")


def is_public_key(text: str) -> bool:
    """True for a recipient that is the key itself, not a file of keys."""
    return text.startswith(("age1", "ssh-"))


def _recipient(value: object) -> str:
    """For whom backups are sealed; a key is read whole here, a file only when it is used."""
    from hivekeys.age import WANTED, recipients  # noqa: PLC0415  takes time that other inventories need not pay

    wanted = f"{WANTED.removeprefix('expected ')}, with a / or . in its name"
    if not isinstance(value, str):
        raise ValueError(wanted)
    if not is_public_key(value):
        if not re.search(r"[/.]", file_path(value)):
            raise ValueError(wanted)
        return value
    try:
        recipients([value])
    except UserError as error:
        raise ValueError(f"{wanted} ({error.message})") from None
    return value


def day(value: object) -> date:
    """A day as TOML writes it, without quotes and without a time."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError("a day without quotes, such as 2027-01-31")


path_in_front = _text(r"(?!.*/\.{0,2}(/|$))(/[A-Za-z0-9._@+=:,-]+)+", "an absolute path of plain characters")
command = _text(r"/[^\x00-\x1f\x7f]*", "a command as ExecStart= has it, which begins with the program's path")
_public_path = _text(r"/[A-Za-z0-9._~/-]*", "a path of the service such as /metrics")
public_paths = several(_public_path, least=0)
http_path = _http_path
http_paths = several(_http_path, least=1)
http_paths_or_none = several(_http_path, least=0)
places = several(_place, least=0)
file_paths = several(file_path, least=1)
host_names = several(host_name, least=1)
group_names = several(host_group, least=0)
words = several(_word, least=1)
recipients = several(_recipient, least=1)
