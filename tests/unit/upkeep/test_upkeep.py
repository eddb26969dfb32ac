"""What upkeep says of its work, and what install takes out of a unit's text."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.host import dropin
from hivekeys.journal.events import Phase
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.change import Change
from hivekeys.protocol.verbs import Greeting
from hivekeys.token import Token, generate
from hivekeys.upkeep import changes
from hivekeys.upkeep.changes import UpkeepResult
from hivekeys.upkeep.upkeep import Upkeep, fix
from tests.inprocess import KEY, InProcessFleet, SimulatedHost

MODE = Change("file-mode", "/etc/token", "0644 root:root", "0600 llama-orch:llama-orch")
STRAY = Change("strays", "/etc/api-token.old", "0644 root:root", "removed", "give --strays to remove it")
AWAY = Cause(Trouble.NO_CONNECTION, "port 22")


def shown(kept: list[UpkeepResult], *, apply: bool) -> str:
    console = Console(width=160)
    with console.capture() as said:
        console.print(changes.table(kept, apply))
    return said.get()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[Service]\nEnvironment=LLORCH_API_TOKEN=x\n", "[Service]\n"),
        ("Environment=A=1 LLORCH_API_TOKEN=x B=2", "Environment=A=1 B=2"),
        ('Environment="LLORCH_API_TOKEN=x y" "B=b c"', 'Environment="B=b c"'),
        (r'Environment="LLORCH_API_TOKEN=x\" y" A=1', "Environment=A=1"),
        ("Environment='LLORCH_API_TOKEN=x y' A=1", "Environment=A=1"),
        ("Environment = LLORCH_API_TOKEN=x A=1", "Environment=A=1"),
        ("Environment=LLORCH_API_TOKEN_FILE=/x", "Environment=LLORCH_API_TOKEN_FILE=/x"),
        ("Environment=LLORCH_API_TOKEN=x LLORCH_API_TOKEN_FILE=/x", "Environment=LLORCH_API_TOKEN_FILE=/x"),
    ],
)
def test_a_token_is_taken_out_of_a_drop_in_and_nothing_else(before: str, after: str) -> None:
    assert dropin.without_settings(before) == after
    assert not dropin.names_token(after)


@pytest.mark.parametrize(
    "text",
    [
        "Environment=A=1 \\\n  LLORCH_API_TOKEN=x",
        "Environment=LLORCH_API_TOKEN=x \\\n  A=1",
        "PassEnvironment=LLORCH_API_TOKEN",
    ],
)
def test_what_cannot_be_taken_out_safely_is_left_for_the_operator(text: str) -> None:
    assert dropin.names_token(dropin.without_settings(text))


@pytest.mark.parametrize("text", ["# LLORCH_API_TOKEN=x", "UnsetEnvironment=LLORCH_API_TOKEN", "; LLORCH_API_TOKEN"])
def test_a_word_about_the_token_is_no_setting(text: str) -> None:
    assert not dropin.names_token(text)


@pytest.mark.parametrize(
    ("kept", "apply", "code"),
    [
        ([UpkeepResult("hive1")], False, ExitCode.DONE),
        ([UpkeepResult("hive1", (MODE,))], False, ExitCode.FINDINGS),
        ([UpkeepResult("hive1", (MODE,))], True, ExitCode.DONE),
        ([UpkeepResult("hive1", (MODE, STRAY))], True, ExitCode.FINDINGS),
        ([UpkeepResult("hive1", (STRAY,)), UpkeepResult("hive2", cause=AWAY)], True, ExitCode.INCOMPLETE),
    ],
)
def test_the_exit_code_says_whether_something_is_left(kept: list[UpkeepResult], apply: bool, code: ExitCode) -> None:
    assert changes.exit_code(kept, apply) is code


def test_hosts_with_the_same_change_share_a_row() -> None:
    kept = [
        UpkeepResult("hive1", (MODE,)),
        UpkeepResult("hive2", (MODE, STRAY)),
        UpkeepResult("hive3", (MODE,)),
        UpkeepResult("queen"),
    ]
    rows = [line.split() for line in shown(kept, apply=True).splitlines() if "hive" in line]
    assert [row[:3] for row in rows] == [["changed", "file-mode", "hive[1:3]"], ["stays", "strays", "hive2"]]
    assert changes.lines(kept, Fleet("prod", ()), apply=True) == [
        "nothing to do: queen",
        "4 hosts: 3 changed, 1 stay as they are, 0 hosts failed",
    ]


def test_what_a_host_calls_its_files_is_neither_markup_nor_a_new_line() -> None:
    hostile = Change("strays", "/etc/api-token[red]\x1b[31m\nhive9 is fine", "", "removed")
    said = shown([UpkeepResult("hive1", (hostile,))], apply=False)
    assert "[red]" in said
    assert "\x1b" not in said
    assert not any(line.strip().startswith("hive9") for line in said.splitlines())


# -- by which token fix knows a file


def told_to_fix(fleet: InProcessFleet, *names: str, known: Token | None = None) -> dict[str, object]:
    """The token that each host of `fab fix --limit NAMES` is told is the fleet's."""
    told: dict[str, object] = {}

    def listen(host: SimulatedHost, request: dict[str, Any]) -> None:
        for step in request["steps"]:
            if step["verb"] == "fix":
                told[host.name] = step.get("want")

    fleet.on_request = listen
    hosts = [host for host in fleet.inventory.hosts if host.name in names]
    greeting = Greeting(fleet.inventory.name, KEY, "fix-1", "ann@bastion")
    work = Upkeep(fleet.inventory, hosts, fleet.dialer(), greeting, list[object]().extend, Phase.FIX, False, "")
    try:
        fix(work, False, lambda _: True, known.fingerprint(KEY) if known else None)
    finally:
        work.close()
    return told


@pytest.mark.parametrize("is_known", [False, True], ids=["the journal knows no token", "the journal knows the fleet's"])
def test_a_file_planted_on_one_host_is_not_known_by_itself(tmp_path: Path, is_known: bool) -> None:
    """The service's account puts a file of root's where the token is: it must not become the fleet's by that."""
    fleet = InProcessFleet(tmp_path)
    fleet.hosts["queen"].fault = "link-down"
    fleet.hosts["hive1"].write(generate())
    assert told_to_fix(fleet, "hive1", known=fleet.token if is_known else None) == {"hive1": None}


def test_the_queen_the_journal_or_two_hosts_say_by_which_token_a_file_is_known(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    want = fleet.token.fingerprint(KEY).keyed
    assert told_to_fix(fleet, "hive1") == {"hive1": want}
    fleet.hosts["queen"].fault = "link-down"
    assert told_to_fix(fleet, "hive1", known=fleet.token) == {"hive1": want}
    assert told_to_fix(fleet, "hive1", "hive2") == {"hive1": want, "hive2": want}
    assert told_to_fix(fleet, "hive1") == {"hive1": None}


def test_a_host_with_another_token_does_not_keep_the_others_files_from_being_known(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    fleet.hosts["queen"].fault = "link-down"
    fleet.hosts["hive3"].write(generate())
    want = fleet.token.fingerprint(KEY).keyed
    assert told_to_fix(fleet, "hive1", "hive3", known=fleet.token) == {"hive1": want, "hive3": want}
