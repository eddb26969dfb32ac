"""No token passes a sudo that records what passes: log_input keeps each line that the agent is sent, in a file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import SudoLog
from hivekeys.host.sudo_log import records_in
from hivekeys.journal.events import State
from hivekeys.protocol.causes import Trouble
from hivekeys.token import generate
from tests.builders.operator import Operator, slots_used
from tests.inprocess import InProcessFleet, SimulatedHost

DEFAULTS = "Matching Defaults entries for deploy on hive1:\n    env_reset, mail_badpass, {}\n\n"
RULES = "User deploy may run the following commands on hive1:\n    (ALL) NOPASSWD: {}ALL\n"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcessFleet:
    monkeypatch.setenv("SUDO_USER", "deploy")
    return InProcessFleet(tmp_path, hives=2)


def accepts(fleet: InProcessFleet, name: str) -> None:
    """The inventory says so for this host."""
    hosts = [replace(host, sudo_log=SudoLog.ACCEPTED) if host.name == name else host for host in fleet.inventory.hosts]
    fleet.inventory = replace(fleet.inventory, hosts=tuple(hosts))


def lists(host: SimulatedHost, rules: str) -> None:
    """sudo relays what passes on this host, and lists these settings."""
    host.sudo_relays, host.sudo_rules = True, rules


@pytest.mark.parametrize(
    ("settings", "tag", "recorded"),
    [
        ("use_pty", "", set()),
        ("log_input", "", {"input"}),
        ("log_stdin, log_stdout", "", {"input", "output"}),
        ("log_input, !log_input", "", set()),
        ("use_pty", "LOG_INPUT: ", {"input"}),
        ("log_output", "NOLOG_INPUT: ", {"output"}),
    ],
)
def test_sudos_own_list_says_what_is_recorded(settings: str, tag: str, recorded: set[str]) -> None:
    assert records_in(DEFAULTS.format(settings) + RULES.format(tag)) == recorded


def test_a_host_whose_sudo_records_its_input_stops_a_rotation_before_anything_is_changed(fleet: InProcessFleet) -> None:
    lists(fleet.hosts["hive1"], DEFAULTS.format("log_input"))
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    cause = operator.runner.run.hosts["hive1"].cause
    assert cause
    assert cause.trouble is Trouble.SUDO_RECORDS
    assert "log_input" in cause.detail
    assert slots_used(fleet) == []


def test_a_host_of_which_the_inventory_accepts_it_is_turned(fleet: InProcessFleet) -> None:
    lists(fleet.hosts["hive1"], DEFAULTS.format("log_input"))
    accepts(fleet, "hive1")
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    assert set(operator.states.values()) == {State.PROVEN}


def test_a_resumed_run_greets_such_a_host_without_a_token(fleet: InProcessFleet) -> None:
    """Its first word to any host could hold the tokens that it has in memory by then."""

    def dies(_: SimulatedHost) -> None:
        raise KeyboardInterrupt

    fleet.at("hive1", "swap", dies)
    first = Operator(fleet)
    with pytest.raises(KeyboardInterrupt):
        first.rotate()
    fleet.bastion_dies()
    host, heard = fleet.hosts["hive2"], []  # type: SimulatedHost, list[str]
    lists(host, DEFAULTS.format("log_input"))

    def hears(request: dict[str, object], reply: dict[str, object]) -> dict[str, object]:
        heard.append(json.dumps(request))
        return reply

    host.lies = hears
    Operator(fleet, run="", past=first.runner.run).resume(generate)
    assert heard
    assert not any(token.reveal() in line for token in (fleet.token, first.token) for line in heard)


def test_what_only_records_answers_stops_no_rotation(fleet: InProcessFleet) -> None:
    """The token is in what is sent, and in an answer only where a host is asked for it."""
    lists(fleet.hosts["hive1"], DEFAULTS.format("log_output"))
    assert Operator(fleet).rotate() is ExitCode.DONE


def test_a_sudo_that_stands_between_and_does_not_say_what_it_records_counts_as_one_that_does(
    fleet: InProcessFleet,
) -> None:
    fleet.hosts["hive1"].sudo_relays = True
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.ROLLED_BACK
