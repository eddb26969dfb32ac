"""Names the program that the operator typed in the commands that are printed. Pure.

Our texts say `fab VERB`, as in a checkout; whoever typed `hivekeys` reads `hivekeys VERB`. What is written on hosts and
into journals says `fab` always: a file is recognised by its first line, whichever program put it there.
"""

import re
import sys

INSTALLED = "hivekeys"
_COMMAND = re.compile(r"\bfab (?=[a-z-])")
_QUOTED = re.compile(r"`((?:fab|hivekeys) [^`]+)`")
_WORD = r"""(?:'[^']*'|"[^"]*"|[^\s'"`();]|[();](?=\S))+"""
_WHOLE = re.compile(r"(?:fab|hivekeys) [a-z][a-z.-]*")
_BARE = re.compile(rf"(?<![\w`])(?:fab|hivekeys) [a-z](?:{_WORD})?(?: --{_WORD}(?: (?!--){_WORD})?)+")
# What a text leaves to its reader: a command with one of these cannot be typed as it stands.
_BLANK = re.compile(r"\b(?:FILE|HOST|HOSTS|ID|KEY|NAME|OTHER|UNIT)\b|…|what happened")


def program() -> str:
    """`hivekeys` or `fab`."""
    typed = sys.argv[0].rpartition("/")[2] if sys.argv else ""
    return INSTALLED if typed == INSTALLED else "fab"


def as_typed(text: str) -> str:
    """A text of ours, with its commands as the operator types them."""
    return _COMMAND.sub(f"{program()} ", text)


def first_command(text: str) -> str:
    """The first command of hivekeys' own in a text of ours that can be typed as it stands; "" where there is none."""
    if _WHOLE.fullmatch(text):
        return text
    found = [*_QUOTED.finditer(text), *_BARE.finditer(text)]
    commands = [match[match.lastindex or 0] for match in sorted(found, key=lambda match: match.start())]
    return next((command.rstrip(",;:.") for command in commands if not _BLANK.search(command)), "")
