"""Builds the program that is sent to hosts: the modules of `host/` joined into one text."""

import re
from collections.abc import Iterable
from pathlib import Path

import hivekeys
from hivekeys.fleet import Host
from hivekeys.protocol.verbs import STEPS, UPKEEP
from hivekeys.service import Apply

HOST = Path(hivekeys.__file__).parent / "host"
RUN = ("serving", "greeting", "turning", "writing")  # the agent, and the verbs of a run: every program has them
ALLOWED = tuple(dict.fromkeys(kind.module for kind in STEPS.values() if kind.module and kind not in UPKEEP))

_BEGIN = b'if __name__ == "__main__":\n    main()\n'  # serving.py's last lines
_DOCSTRING = re.compile(rb'^( *)"""(?:[^"\\]|\\.|"(?!""))*"""\n', re.MULTILINE)
_COMMENT = re.compile(rb"^ *# .*\n|  # [^\"'\n]*$", re.MULTILINE)  # behind code only where it can be in no string
_RETURNS = re.compile(rb' -> "[^"\n]*":\n')  # what a function returns, as type checkers read it
_IMPORT = re.compile(rb"^from hivekeys\.host\.([\w.]+) import (?:\([^)]*\)|[^\n]*)\n", re.MULTILINE)


def program_of(*verbs: str) -> bytes:
    """The one text that hosts run: the agent, the modules of further verbs, and what these import from hivekeys.host.

    On the host every name is everybody's, so the imports are left out; and so are docstrings, comments and what
    functions return, more than a third of what would have to be sent: nothing reads them there.
    """
    text = _joined([*RUN, *map(_of_verb, verbs)])
    for left_out, instead in ((_DOCSTRING, rb'\1""\n'), (_COMMENT, b""), (_RETURNS, b":\n")):
        text = left_out.sub(instead, text)
    return text + _BEGIN


def modules_of(hosts: Iterable[Host]) -> list[str]:
    """The further modules that a look at these hosts needs, and a run over them."""
    services = [host.service for host in hosts]
    needed = {
        "notify": any(service.apply is not Apply.RESTART for service in services),
        "accept": any(service.accepted for service in services),
        "admit": any(service.front for service in services),
        "drain": any(service.drain for service in services),
    }
    return [name for name, is_needed in needed.items() if is_needed]


def installed_program(*verbs: str) -> bytes:
    """The same as a program of its own that stays on a host in restricted mode, whole; `gate` begins its work.

    Without verbs: those that stay allowed there.
    """
    text = _joined([*RUN, *map(_of_verb, verbs or ALLOWED), "gate"])
    return b"#!/usr/bin/python3 -IS\n" + text + _BEGIN.replace(b"main()", b"guarded_main()")


def _of_verb(verb: str) -> str:
    return f"verbs.{verb}"


def _joined(names: Iterable[str]) -> bytes:
    texts: dict[str, bytes] = {}

    def take(name: str) -> None:
        if name not in texts:
            text = (HOST / f"{name.replace('.', '/')}.py").read_bytes()
            for needed in _IMPORT.findall(text):
                take(needed.decode())
            texts[name] = _IMPORT.sub(b"", text).replace(_BEGIN, b"")

    for name in names:
        take(name)
    return b"\n".join(texts.values())
