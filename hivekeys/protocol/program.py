"""Builds the program that is sent to hosts: the modules of `host/` joined into one text."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import hivekeys

_BEGIN = b'if __name__ == "__main__":\n    main()\n'  # serving.py's last lines
_DOCSTRING = re.compile(rb'^( *)"""(?:[^"\\]|\\.|"(?!""))*"""\n', re.MULTILINE)
_COMMENT = re.compile(rb"^ *# .*\n|  # [^\"'\n]*$", re.MULTILINE)  # behind code only where it can be in no string
_IMPORT = re.compile(rb"^from hivekeys\.host\.(\w+) import (?:\([^)]*\)|[^\n]*)\n", re.MULTILINE)


def program_of(*verbs: str) -> bytes:
    """The text that hosts run: the agent, and the modules of further verbs."""
    return joined(_text_of, *verbs)


def installed_program() -> bytes:
    """The text that hosts in restricted mode have: what stays allowed there, and the gate before it."""
    return installed(_text_of, "inspection", "auditing", "accesses", "remembered", "places")


def _text_of(name: str) -> bytes:
    return (Path(hivekeys.__file__).parent / "host" / f"{name}.py").read_bytes()


def joined(text_of: Callable[[str], bytes], *verbs: str) -> bytes:
    """The one text that hosts run: the agent, the modules of further verbs, and what these import from hivekeys.host.

    `text_of` reads a module of that package. On the host every name is everybody's, so the imports are left out; and so
    are docstrings and comments, a third of what would have to be sent: nobody reads them there.
    """
    return _COMMENT.sub(b"", _DOCSTRING.sub(rb'\1""\n', _one(text_of, verbs))) + _BEGIN


def installed(text_of: Callable[[str], bytes], *verbs: str) -> bytes:
    """The same as a program of its own that stays on a host, whole; the module `gate` begins its work."""
    return b"#!/usr/bin/python3 -IS\n" + _one(text_of, (*verbs, "gate")) + _BEGIN.replace(b"main()", b"guarded_main()")


def _one(text_of: Callable[[str], bytes], verbs: Iterable[str]) -> bytes:
    texts: dict[str, bytes] = {}

    def take(name: str) -> None:
        if name not in texts:
            text = text_of(name)
            for needed in _IMPORT.findall(text):
                take(needed.decode())
            texts[name] = _IMPORT.sub(b"", text).replace(_BEGIN, b"")

    for name in ("serving", *verbs):
        take(name)
    return b"\n".join(texts.values())
