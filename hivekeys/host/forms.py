"""The two formats of a token file: the token alone, or a line LLORCH_API_TOKEN= in a systemd environment file.

Runs ON a host, in one text with agent.py. An environment file (systemd.exec(5), `EnvironmentFile=`) is root's, and has
other lines that are none of our business: they stay as they are, byte for byte. What systemd would read otherwise than
line by line is refused, and not understood halfway: what is continued on the next line, or quoted in part.
"""

import re

from hivekeys.host.paths import read_limited
from hivekeys.host.system import MAX_TOKEN_BYTES

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Optional

MAX_TOKEN_CHARS = 4096  # what fits a header; longer ones cannot be proven
IN_LINE_QUOTES = rb"\"(?:[^\"\\]|\\.)*\"|'[^'\\]*'"
ON_ONE_LINE = re.compile(rb"(?:(?:%s)[ \t]*)*(?:(?:[^\"'\\ \t]|\\.)(?:[^\\]|\\.)*)?" % IN_LINE_QUOTES)
AS_IT_STANDS = re.compile(rb"\"([^\"\\]*)\"|'([^'\\]*)'|((?![\"'])[^\\]*)")


def is_token(text: str) -> bool:
    """Printable ASCII without blanks, not longer than a header can carry."""
    return 0 < len(text) <= MAX_TOKEN_CHARS and all("!" <= char <= "~" for char in text)


def read_token(fd: int) -> "tuple[str, str]":
    """(token, "") of an open file as the services would read it, or ("", what is wrong with it)."""
    data = read_limited(fd, MAX_TOKEN_BYTES)
    if data is None:
        return "", "is larger than 1 MiB"
    text = data.strip(b" \t\r\n").decode("latin-1")
    if not text:
        return "", "is empty"
    if not is_token(text):
        return "", "holds no token: blanks, control characters, or over %d characters" % MAX_TOKEN_CHARS
    return text, ""


class TokenLine:
    """An environment file's bytes, and where in them the token is; `fault` says why it cannot be turned."""

    def __init__(self, data: "Optional[bytes]") -> None:
        self.data = data or b""
        self.span, self.token, self.fault = (0, 0), "", ""
        found = []  # type: list[tuple[int, int]]
        begin = 0
        for number, line in enumerate(self.data.split(b"\n"), 1):
            head, sign, rest = line.partition(b"=")
            name, value = head.strip(), rest.strip(b" \t\r")
            setting = sign and not name.startswith((b"#", b";"))
            plain = AS_IT_STANDS.fullmatch(value)
            is_ours = setting and name == b"LLORCH_API_TOKEN"
            goes_on = not ON_ONE_LINE.fullmatch(value) if setting else line.rstrip(b"\r").endswith(b"\\")
            if goes_on or b"\r" in line[:-1] or (is_ours and not plain):
                self.fault = self.fault or "has a line %d that is quoted in part, or goes on in the next" % number
            elif name.split() == [b"export", b"LLORCH_API_TOKEN"]:
                self.fault = self.fault or "has `export` in line %d, which systemd does not read" % number
            elif is_ours and plain:
                at, group = begin + len(head) + 1 + rest.find(value), plain.lastindex or 0
                found.append((at + plain.start(group), at + plain.end(group)))
            begin += len(line) + 1
        if data is None:
            self.fault = "is larger than 1 MiB"
        elif len(found) != 1:
            self.fault = self.fault or "has %s line LLORCH_API_TOKEN=" % ("more than one" if found else "no")
        if not self.fault:
            self.span = found[0]
            self.token = self.data[slice(*self.span)].decode("latin-1")
            self.fault = "" if is_token(self.token) else "has no token in its line LLORCH_API_TOKEN="

    def around(self) -> "tuple[bytes, bytes]":
        """All but the token."""
        return self.data[: self.span[0]], self.data[self.span[1] :]

    def turned(self, token: str) -> "TokenLine":
        """The same file with another token in its place; one that cannot stand between these quotes is a fault."""
        before, behind = self.around()
        other = TokenLine(before + token.encode("ascii") + behind)
        if other.token != token:
            other.fault = "cannot hold this token as its line is quoted"
        return other
