"""Finds whether sudo records the input of this login, since that would put the token into sudo's log.

Runs ON a host, in one text with agent.py. Source: sudoers(5), log_input, log_stdin, log_output, log_stdout.
"""

import os
import re

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from hivekeys.host.agent import Agent

SUDO_KINDS = {"input": "input", "stdin": "input", "output": "output", "stdout": "output"}


def recorded_by_sudo(agent: "Agent") -> "list[str]":
    """ "input" and "output", as far as sudo records them; both where it stands in between and does not say.

    Who asks sudo pays for a process. It is asked only where the agent's line is not sudo's own: to record what passes,
    sudo must stand in between.
    """
    account = os.environ.get("SUDO_USER", "")
    if not account or not agent.system.is_relayed():
        return []
    code, output = agent.command(["sudo", "-n", "-l", "-U", account], 10.0)
    return sorted(records_in(output) if code in (0, 1) else set(SUDO_KINDS.values()))


def records_in(listing: str) -> "set[str]":
    """What is recorded by sudo's list of settings and rules; of two settings the later counts, a rule's tag always."""
    found = set()  # type: set[str]
    for no, kind in re.findall(r"(!?)\blog_(input|stdin|output|stdout)\b", listing):
        (found.discard if no else found.add)(SUDO_KINDS[kind])
    return found | {kind.lower() for kind in re.findall(r"\bLOG_(INPUT|OUTPUT):", listing)}
