"""The facts of a whole host as `inspect` reports them: what lies about, what systemd and sudo say, who has the lock."""

from pathlib import Path
from typing import Any

import pytest

from hivekeys.host.verbs import inspect
from tests.inprocess import InProcessFleet, Session, SimulatedHost
from tests.inprocess.machine import Machine


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    found = InProcessFleet(tmp_path, hives=1).hosts["hive1"]
    for name in ("tmp", "var/tmp"):
        (found.root / name).mkdir(parents=True, exist_ok=True)
    return found


def facts(host: SimulatedHost) -> dict[str, Any]:
    result = Session(host, write=False).do("inspect")
    assert result["ok"], result
    return dict(result["facts"])


# -- what lies about


def test_a_copy_of_the_token_is_found_in_both_directories_that_everybody_can_write_to(host: SimulatedHost) -> None:
    (host.root / "tmp/api-token.new").touch()
    (host.root / "tmp/other").touch()
    (host.root / "var/tmp/api-token").touch()
    named = ["/tmp/api-token.new", "/var/tmp/api-token"]  # noqa: S108  what the host says
    assert facts(host)["temporary"] == named


def test_where_nothing_lies_about_that_is_a_fact_and_where_nobody_could_look_there_is_none(host: SimulatedHost) -> None:
    assert facts(host)["temporary"] == []
    (host.root / "var/tmp").rmdir()
    assert facts(host)["temporary"] is None


# -- what systemd says


HARDENED = {"NoNewPrivileges": "yes", "PrivateTmp": "no", "ProtectSystem": "strict", "ProtectHome": "read-only"}


def test_the_hardening_of_a_unit_is_shown_as_systemd_has_it(host: SimulatedHost) -> None:
    host.unit_settings = HARDENED | {"KillSignal": "15", "UnitFileState": "enabled"}
    found = facts(host)
    assert found["hardening"] == HARDENED
    assert (found["kill_signal"], found["kill_mode"], found["enabled"]) == ("15", "control-group", "enabled")


def test_of_a_unit_that_systemd_could_not_read_its_defaults_are_no_facts(host: SimulatedHost) -> None:
    host.unit_settings = HARDENED | {"LoadState": "bad-setting", "KillSignal": "15"}
    found = facts(host)
    assert found["hardening"] == {}
    assert (found["kill_signal"], found["kill_mode"]) == ("", "")
    assert (found["audit"], found["chain"]) == (None, None)


def test_systemds_version_is_a_number(host: SimulatedHost) -> None:
    assert facts(host)["systemd"] == 247


# -- the service's log


@pytest.mark.parametrize(
    ("line", "loaded", "dev_mode"),
    [
        ("API token loaded (authentication enabled)", True, False),
        ("token loaded from file", True, False),
        ("dev mode (no auth)", False, True),
        ("listening", False, False),
    ],
)
def test_what_the_service_said_of_its_token_is_read(
    host: SimulatedHost, line: str, loaded: bool, dev_mode: bool
) -> None:
    host.log = ["starting", line]
    assert facts(host)["log"] == {"loaded": loaded, "dev_mode": dev_mode}


def test_of_a_unit_that_never_ran_there_is_no_log(host: SimulatedHost) -> None:
    host.invocation = ""
    assert facts(host)["log"] is None


class Journal(Machine):
    """A machine that notes what journalctl was asked."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host)
        self.asked: list[list[str]] = []

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        if argv[0] == "journalctl":
            self.asked.append(argv)
        return super().run(argv, timeout)


def test_the_journal_is_asked_for_the_last_lines_of_this_start_alone(host: SimulatedHost) -> None:
    """What the service said before its restart would be taken for its words about the new token."""
    agent = Session(host, write=False).line.agent
    agent.system = journal = Journal(host)
    agent.unit.last_words(agent.unit.look())
    unit = host.host.service.unit
    assert journal.asked[0][4:] == ["--lines=3", f"_SYSTEMD_UNIT={unit}", f"_SYSTEMD_INVOCATION_ID={host.invocation}"]


# -- who may do what


class Sudo(Machine):
    """A machine whose sudo lists these rules, and ends so."""

    said = (0, "")

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        return self.said if argv[0] == "sudo" else super().run(argv, timeout)


RULES = """\
Matching Defaults entries for deploy on hive1:
    env_reset

User deploy may run the following commands on hive1:
    (root) NOPASSWD: /usr/local/lib/hivekeys/agent ""
    (ALL : ALL) ALL
"""


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        ((0, RULES), ["(ALL : ALL) ALL"]),
        ((0, RULES.replace("    (ALL : ALL) ALL\n", "")), []),
        ((1, "User deploy is not allowed to run sudo on hive1."), []),  # sudo-rs says it so
        ((2, "sudo: a password is required"), None),
        ((127, "sudo: No such file or directory"), None),
    ],
)
def test_what_else_an_account_may_do_is_listed_or_nobody_could_tell(
    host: SimulatedHost, said: tuple[int, str], rules: list[str] | None
) -> None:
    agent = Session(host, write=False).line.agent
    agent.system = machine = Sudo(host)
    machine.said = said
    assert inspect.other_rules(agent, "deploy") == rules


# -- who is at work


def test_the_run_that_holds_the_lock_is_named(host: SimulatedHost) -> None:
    assert facts(host)["lock"]["held"] is False
    first = Session(host, run="run-1")
    assert facts(host)["lock"] == {"held": True, "run": "run-1", "who": "ann@bastion"}
    first.line.close()
    assert facts(host)["lock"]["held"] is False
