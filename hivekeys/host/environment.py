"""Finds where a unit's processes get LLORCH_API_TOKEN from, since a service that has it ignores its token file.

Runs ON a host, in one text with agent.py. No value leaves this module but to be compared.
"""

import errno
import re

from hivekeys.host.paths import read_controlled

FILE_LIMIT = 1 << 20  # bytes of an environment file
PATTERN = frozenset("*?[")  # in the name of an environment file, which systemd then shows as it stands
SETS_TOKEN = re.compile(r"^\s*(?:export\s+)?LLORCH_API_TOKEN\s*=[ \t]*(.*)$", re.MULTILINE)
NAMES_FILE = re.compile(r"^\s*LLORCH_API_TOKEN_FILE\s*=[ \t]*(.*)$", re.MULTILINE)
IN_LINE = re.compile(rb"^\s*Environment\s*=.*\bLLORCH_API_TOKEN=", re.MULTILINE)
IN_UNIT = "the unit or a drop-in"
IN_MANAGER = "the manager's environment (systemctl set-environment)"


def environment_of(shown: str) -> "dict[str, str]":
    """The variables in systemctl's `Environment=`; one with blanks stands in quotes, with backslashes."""
    pairs = {}
    for quoted, plain in re.findall(r'\$?["\']((?:[^"\'\\]|\\.)*)["\'](?=\s|$)|(\S+)', shown):
        name, _, value = (re.sub(r"\\(.)", r"\1", quoted) or plain).partition("=")
        pairs[name] = value
    return pairs


def environment_files(shown: "dict[str, str]") -> "list[tuple[str, bool]]":
    """(path, whether it may be missing) of each `EnvironmentFile=`, as systemctl shows them; the last one counts."""
    lines = filter(None, shown.get("EnvironmentFiles", "").splitlines())
    return [(path, "yes" in options) for path, _, options in (line.rpartition(" (") for line in lines)]


def tokens_set(text: str) -> "list[str]":
    """Every value that a file of variables, or systemctl's list of them, gives LLORCH_API_TOKEN."""
    return [value.strip().strip("$'\"") for value in SETS_TOKEN.findall(text)]


def file_named(root: str, shown: "dict[str, str]") -> str:
    """LLORCH_API_TOKEN_FILE as a unit's next process would have it: what its files say goes before `Environment=`."""
    named = environment_of(shown.get("Environment", "")).get("LLORCH_API_TOKEN_FILE", "")
    for path, _ in environment_files(shown):
        try:
            text = (read_controlled(root, path, FILE_LIMIT) or b"").decode("utf-8", "replace")
        except OSError:
            continue  # `in_unit` names what cannot be read
        for value in NAMES_FILE.findall(text):
            named = value.strip().strip("'\"")
    return named


def in_unit(root: str, shown: "dict[str, str]") -> "tuple[list[tuple[str, str]], list[str]]":
    """([(where LLORCH_API_TOKEN is set, value)], files that could not be read) of a unit.

    `shown`: systemctl's properties of it; EnvironmentFiles has a line for each: path, and "(ignore_errors=yes)" or no.
    """
    value = environment_of(shown.get("Environment", "")).get("LLORCH_API_TOKEN")
    found = [] if value is None else [(where, value.strip()) for where in files_that_set_it(root, shown)]
    unread = []
    for path, is_optional in environment_files(shown):
        try:
            data = read_controlled(root, path, FILE_LIMIT)
        except OSError as error:
            if error.errno != errno.ENOENT or not is_optional or PATTERN & set(path):
                unread.append(path)
            continue
        if data is None:
            unread.append(path)
        else:
            found += [(path, value) for value in tokens_set(data.decode("utf-8", "replace"))]
    return found, unread


def files_that_set_it(root: str, shown: "dict[str, str]") -> "list[str]":
    """The unit's files with an `Environment=` for it, by name where they can be told apart."""
    found = []
    for path in filter(None, [shown.get("FragmentPath", ""), *shown.get("DropInPaths", "").split()]):
        try:
            text = read_controlled(root, path, FILE_LIMIT)
        except OSError:
            continue
        if text and IN_LINE.search(text):
            found.append(path)
    return found or [IN_UNIT]
