"""The password for sudo as a type: it is checked here, and never printed. Pure."""

from typing import NoReturn

from hivekeys.errors import UserError

MAX_BYTES = 255  # what every sudo reads; more would be cut off, or be taken for the next answer


class Password:
    """A secret. `str`, `repr`, f-strings and tracebacks show `Password(…)`; pickling is refused."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Only for sudo's question on a host."""
        return self._text

    def __repr__(self) -> str:
        return "Password(…)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Password is never serialised")


def parse(data: bytes, source: str) -> Password:
    """The password in `data`: one line, with or without its end. Raises UserError; never shows it."""
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    problem = ""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text, problem = "", "is not UTF-8"
    if not line:
        problem = "is empty"
    elif len(line) > MAX_BYTES:
        problem = f"is longer than {MAX_BYTES} bytes"
    elif not problem and not text.isprintable():
        problem = "has more than one line, or control characters"
    if problem:
        raise UserError(
            f"the sudo password ({source}) {problem}", hint="nothing was touched; type it, or write it, again"
        )
    return Password(text)
