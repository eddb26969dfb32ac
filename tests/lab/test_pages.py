"""Every command of README and docs is typed as it stands there, page by page, on a lab that the guide's lines boot."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from hivekeys.lab import down, load
from tests.builders.pages import ELSEWHERE, NOT_TYPED, Section, sections

from .desk import Desk

pytestmark = pytest.mark.lab
# What has to be so before a command that says this.
NEEDS: dict[str, Callable[[Desk], AbstractContextManager[None]]] = {
    r"fab (resume|rollback)": Desk.cut_off,
    r"fab reconcile": Desk.owing,
    r"fab restore": Desk.turned,
    r"fab trust": Desk.stranger,
    r"--propose plan.json": Desk.of_two_persons,
    r"--propose statement.json": Desk.revoked,
    r"--output approved.tar": Desk.approved,
    r"fab install --restricted.*--dry-run": Desk.administrated,
    r"fab install .*--front": Desk.fronted,
    r"cat >": Desk.asking_for_a_password,
    r"--limit hive42 --dry-run": Desk.bare,
    r"inventory.convert": Desk.ansible,
    r"plan --fleet staging": Desk.staging,
    r"mv api-token.backup": Desk.changed_by_hand,
    r"chgrp hivekeys": Desk.node_exporter,
    r"\b(pass|sops|bao) ": Desk.stores,
}
# What the shell is answered, if not 0.
CODES = {
    r"--dry-run": 6,  # something is to be done
    r"install --restricted": 6,  # deploy may do everything by another rule, which stays
    r"rotate --fleet lab --yes": 4,  # a host is broken there
    r"/etc/sudoers": 1,  # grep finds nothing
}
OF_A_HOST = re.compile(r"systemctl|/etc/sudoers")  # typed where systemd is at work, and the services
FIRST = next(one for one in sections() if "lab.up" in " ".join(one.commands))


def code_of(command: str) -> int:
    """What the shell should be answered."""
    return next((code for where, code in CODES.items() if re.search(where, command)), 0)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The guide's first step has been typed; its last line ends it."""
    desk = Desk(tmp_path_factory.mktemp("desk"), f"lab-pages{os.getpid()}")
    *first, last = FIRST.commands
    try:
        for command in first:
            code, shown = desk.type(command)
            assert code == 0, f"{command}\n{shown}"
            if "lab.up" in command:
                desk.edited()
        yield desk
        code, shown = desk.type(last)
        assert (code, load(desk.name)) == (0, None), f"{last}\n{shown}"
    finally:
        down(desk.name)


def test_the_lab_of_the_guides_first_step_is_up(desk: Desk) -> None:
    assert load(desk.name)


@pytest.mark.parametrize("section", [one for one in sections() if one != FIRST], ids=str)
def test_every_command_of_a_section_does_what_it_is_for(desk: Desk, section: Section) -> None:
    desk.here = desk.clone
    commands = tuple(command for command in section.commands if command not in NOT_TYPED | ELSEWHERE)
    with ExitStack() as needed:
        if any(map(OF_A_HOST.search, commands)):
            enter(needed, desk, commands)
            code, shown = desk.type_on_a_host(commands)
            assert code == max(code_of(command) for command in commands), shown
            return
        for command in commands:
            enter(needed, desk, (command,))
            code, shown = desk.type(command)
            assert code == code_of(command), f"{command}\n{shown}"
            assert "Traceback" not in shown


def enter(needed: ExitStack, desk: Desk, commands: tuple[str, ...]) -> None:
    """See to what these commands need."""
    for command in commands:
        for where, need in NEEDS.items():
            if re.search(where, command):
                needed.enter_context(need(desk))


def test_what_a_run_says_at_its_end_is_mailed(desk: Desk) -> None:
    assert "exit 0" in desk.sent.read_text()
