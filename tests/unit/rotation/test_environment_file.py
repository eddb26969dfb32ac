"""A token that is a line of the unit's environment file: turned like any other, and nothing else there is touched."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hivekeys.host.verbs.install  # noqa: F401  hosts know its verb, too, and that of upkeep
from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.host.forms import TokenLine
from hivekeys.journal.events import Phase
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.token import Token, generate
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost

PATH = "/etc/rbee/secrets.env"
POLICY = Policy(revocation_recheck=0.0)
TOKEN = "a" * 64
OTHER = "b" * 64
GROUP = 54321  # of the service's; nobody else is in it

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an environment file is root's")


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=2, policy=POLICY, account=("daemon", "daemon"), environment=PATH)


@pytest.fixture
def host(fleet: InProcessFleet) -> SimulatedHost:
    return fleet.hosts["hive1"]


def keyed(token: Token) -> str:
    return token.fingerprint(KEY).keyed


def turned(host: SimulatedHost, new: Token) -> Session:
    """The host's file with the new token in it."""
    session = Session(host)
    assert session.do("stage", token=new.reveal())["changed"]
    assert session.do("swap", want=keyed(new))["changed"]
    return session


# -- the file


@pytest.mark.parametrize(
    "text",
    [
        "LLORCH_API_TOKEN={}",
        "LLORCH_API_TOKEN={}\n",
        '# LLORCH_API_TOKEN=of-last-year\n  LLORCH_API_TOKEN = "{}"\t\nRUST_LOG=info,hyper=warn\n\n',
        "LLORCH_API_TOKEN='{}'\r\nA=1\r\n",
        "LLORCH_API_TOKEN_FILE=/x\nLLORCH_API_TOKEN={}\n; the end",
        'SAYS="a \\"word\\" of it"\nMORE=it\'s\nB=a\\\\b\nLLORCH_API_TOKEN={}\n',
        "UMLAUT=\xfc\xf6\nLLORCH_API_TOKEN={}\nno setting at all\n",
    ],
)
def test_of_all_its_bytes_only_the_token_changes(host: SimulatedHost, text: str) -> None:
    host.active.write_bytes(text.format(TOKEN).encode("latin-1"))
    new = generate()
    turned(host, new)
    assert host.active.read_bytes() == text.format(new.reveal()).encode("latin-1")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has no line LLORCH_API_TOKEN="),
        ("#LLORCH_API_TOKEN=x\n", "has no line LLORCH_API_TOKEN="),
        (f"LLORCH_API_TOKEN={TOKEN}\nLLORCH_API_TOKEN={OTHER}\n", "has more than one line LLORCH_API_TOKEN="),
        (f"A=1\nexport LLORCH_API_TOKEN={TOKEN}\n", "has `export` in line 2, which systemd does not read"),
        (f"A=\\\nLLORCH_API_TOKEN={TOKEN}\n", "has a line 1 that is quoted in part, or goes on in the next"),
        (f"# c\\\nLLORCH_API_TOKEN={TOKEN}\n", "has a line 1 that is quoted in part, or goes on in the next"),
        (f'A="x\nLLORCH_API_TOKEN={TOKEN}\nB=y"\n', "has a line 1 that is quoted in part, or goes on in the next"),
        (f'LLORCH_API_TOKEN="{TOKEN}"b\n', "has a line 1 that is quoted in part, or goes on in the next"),
        (f"A=1\rLLORCH_API_TOKEN={TOKEN}\n", "has a line 1 that is quoted in part, or goes on in the next"),
        ("LLORCH_API_TOKEN=\n", "has no token in its line LLORCH_API_TOKEN="),
        ("LLORCH_API_TOKEN=two words\n", "has no token in its line LLORCH_API_TOKEN="),
    ],
)
def test_a_file_that_cannot_be_turned_is_refused_in_a_look(
    fleet: InProcessFleet, host: SimulatedHost, text: str, fault: str
) -> None:
    host.active.write_text(text)
    ann = Operator(fleet)
    ann.look()
    assert ann.troubles == {"hive1": Trouble.TOKEN_UNSAFE}
    cause = ann.run.hosts["hive1"].cause
    assert cause
    assert cause.detail == f"{PATH} {fault}"
    assert {"probe_write", "stage"}.isdisjoint(fleet.verbs("hive1"))


def test_a_token_that_cannot_stand_between_these_quotes_is_no_line() -> None:
    assert TokenLine(f'LLORCH_API_TOKEN="{TOKEN}"'.encode()).turned('a"b').fault
    assert not TokenLine(f"LLORCH_API_TOKEN='{TOKEN}'".encode()).turned('a"b').fault


LONG = [b'A="' + b'a\\"' * 9000, b'A="" ' * 9000 + b"\\", b" " * 30000, b"A=" + b" " * 30000 + b"x"]


@pytest.mark.parametrize("line", LONG)
def test_a_long_line_is_read_once(line: bytes) -> None:
    """Patterns that go over it again and again would hold a host up; this would not end."""
    assert TokenLine(line * 30).token == ""


@pytest.mark.parametrize(("mode", "group"), [(0o600, 0), (0o640, 0), (0o400, GROUP), (0o640, None)])
def test_owner_and_mode_stay_as_they_are(host: SimulatedHost, mode: int, group: int | None) -> None:
    """`None`: the service's own group may read it, because a person has set it up so."""
    before = (mode, 0, host.gid if group is None else group)
    os.chown(host.active, 0, before[2])
    host.active.chmod(mode)
    turned(host, generate())
    info = host.active.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == before


@pytest.mark.parametrize(("mode", "owner", "group"), [(0o644, 0, 0), (0o660, 0, 0), (0o640, 0, GROUP)])
def test_a_file_that_is_too_open_is_closed_by_what_is_written(
    host: SimulatedHost, mode: int, owner: int, group: int
) -> None:
    os.chown(host.active, owner, group)
    host.active.chmod(mode)
    turned(host, generate())
    info = host.active.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o600, 0, 0)


def test_a_file_of_the_services_account_is_not_taken_for_roots(fleet: InProcessFleet, host: SimulatedHost) -> None:
    os.chown(host.active, host.uid, host.gid)
    ann = Operator(fleet)
    ann.look()
    assert ann.troubles == {"hive1": Trouble.TOKEN_UNSAFE}


@pytest.mark.parametrize(
    "spoil", [lambda host: os.chown(host.secrets, host.uid, 0), lambda host: host.secrets.chmod(0o775)]
)
def test_a_folder_in_which_another_account_can_exchange_files_is_refused(
    fleet: InProcessFleet, host: SimulatedHost, spoil: Callable[[SimulatedHost], None]
) -> None:
    """systemd reads the file as root: whoever may exchange it could have it read anything."""
    spoil(host)
    ann = Operator(fleet)
    ann.look()
    assert ann.troubles == {"hive1": Trouble.TOKEN_UNSAFE}


def test_a_line_that_is_changed_between_stage_and_swap_is_not_lost(host: SimulatedHost) -> None:
    new = generate()
    session = Session(host)
    session.do("stage", token=new.reveal())
    host.active.write_text(host.active.read_text().replace("RUST_LOG=info", "RUST_LOG=debug"))
    assert session.do("swap", want=keyed(new))["changed"]
    assert host.active_token() == new.reveal()
    assert "RUST_LOG=debug" in host.active.read_text()


def test_a_line_that_is_changed_before_the_way_back_is_not_lost(fleet: InProcessFleet, host: SimulatedHost) -> None:
    session = turned(host, generate())
    host.active.write_text(host.active.read_text().replace("RUST_LOG=info", "RUST_LOG=debug"))
    assert session.do("revert", want=keyed(fleet.token))["changed"]
    assert host.active_token() == fleet.token.reveal()
    assert "RUST_LOG=debug" in host.active.read_text()


# -- the verbs


def test_a_fleet_is_rotated(fleet: InProcessFleet) -> None:
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert slots_used(fleet) == []


def test_a_rotation_that_fails_goes_back(fleet: InProcessFleet, host: SimulatedHost) -> None:
    before = host.active.read_bytes()
    fleet.at("hive1", "restart", breaks("start-fails"))
    fleet.at("hive1", "revert", lambda found: setattr(found, "fault", None))
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert host.active.read_bytes() == before
    assert slots_used(fleet) == []


def test_a_token_that_leaked_is_revoked(fleet: InProcessFleet) -> None:
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert slots_used(fleet) == []


def test_a_line_that_breaks_behind_the_swap_costs_nothing(fleet: InProcessFleet) -> None:
    """The process still has the old line in its environment: it is restarted, and proven."""
    fleet.cut("hive1", "swap", when="after")
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_a_run_that_was_interrupted_is_taken_back(fleet: InProcessFleet) -> None:
    ann = Operator(fleet, stops_in=Phase.SETTLE)
    assert ann.rotate() is ExitCode.INTERRUPTED
    assert Operator(fleet, past=fold(ann.events)).roll_back() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert slots_used(fleet) == []


def test_a_host_whose_file_is_gone_gets_one_with_the_line_alone(fleet: InProcessFleet, host: SimulatedHost) -> None:
    host.active.unlink()
    new = generate()
    turned(host, new)
    assert host.active.read_text() == f"LLORCH_API_TOKEN={new.reveal()}\n"
    assert stat.S_IMODE(host.active.stat().st_mode) == 0o600


def test_what_a_running_process_has_is_read_in_its_environment(fleet: InProcessFleet, host: SimulatedHost) -> None:
    session = turned(host, generate())
    loaded = session.do("observe")["facts"]["loaded"]
    assert (loaded["evidence"], loaded["fingerprint"]["keyed"]) == ("environment", keyed(fleet.token))


def changes(host: SimulatedHost, *, apply: bool = True) -> list[dict[str, Any]]:
    for place in ("tmp", "var/tmp"):
        (host.root / place).mkdir(parents=True, exist_ok=True)
    result = Session(host).do("fix", apply=apply, options=["strays"], want=keyed(host.fleet.token))
    assert result["ok"], result
    found: list[dict[str, Any]] = result["facts"]["changes"]
    return found


def test_fix_closes_the_file_and_leaves_the_folder_and_what_others_have_in_it(host: SimulatedHost) -> None:
    host.active.chmod(0o644)
    other = host.secrets / "grub.bak"
    other.write_text("GRUB_TIMEOUT=5\n")
    copy = host.secrets / "secrets.env.old"
    copy.write_text(host.active.read_text())
    found = changes(host)
    assert [(change["part"], change["path"]) for change in found] == [
        ("file-mode", PATH),
        ("strays", f"{PATH}.old"),
    ]
    assert stat.S_IMODE(host.active.stat().st_mode) == 0o600
    assert other.exists()
    assert not copy.exists()
    assert stat.S_IMODE(host.secrets.stat().st_mode) == 0o755


def test_install_lets_the_file_and_its_folder_be_and_takes_no_variable_away(host: SimulatedHost) -> None:
    before = host.active.read_bytes()
    result = Session(host).do("install", apply=True, options=[], want=keyed(host.fleet.token))
    assert result["ok"], result
    drop_in = (host.root / f"etc/systemd/system/{host.host.service.unit}.d/50-hivekeys.conf").read_text()
    assert f"EnvironmentFile={PATH}\n" in drop_in
    assert "UnsetEnvironment" not in drop_in
    assert host.active.read_bytes() == before
    info = host.secrets.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o755, 0)


# -- what of the unit counts


def looked(fleet: InProcessFleet) -> dict[str, str]:
    """What a look says of the hosts that cannot be turned."""
    ann = Operator(fleet)
    ann.look()
    assert "stage" not in fleet.verbs("hive1")
    return {name: f"{host.cause}" for name, host in ann.run.hosts.items() if host.cause}


def test_a_later_file_that_sets_it_too_wins_and_is_named(fleet: InProcessFleet, host: SimulatedHost) -> None:
    (host.root / "etc/late.env").write_text("LLORCH_API_TOKEN=other\n")
    (host.root / "etc/early.env").write_text("LLORCH_API_TOKEN=other\n")
    row = "EnvironmentFiles={} (ignore_errors=no)"
    files = "\n".join([row.format("/etc/early.env"), row.format(PATH), row.format("/etc/late.env")])
    host.unit_settings["EnvironmentFiles"] = files.removeprefix("EnvironmentFiles=")
    (said,) = looked(fleet).values()
    assert "rbee-hive.service gets it from /etc/late.env" in said


def test_a_unit_that_reads_another_environment_file_is_refused(fleet: InProcessFleet, host: SimulatedHost) -> None:
    (host.root / "etc/other.env").write_text(f"LLORCH_API_TOKEN={fleet.token.reveal()}\n")
    host.environment_file = "/etc/other.env"
    (said,) = looked(fleet).values()
    assert f"rbee-hive.service reads /etc/other.env, the inventory says {PATH}" in said


def test_a_unit_without_the_file_is_refused(fleet: InProcessFleet, host: SimulatedHost) -> None:
    host.environment_file = ""
    (said,) = looked(fleet).values()
    assert f"rbee-hive.service: no EnvironmentFile= of it is {PATH}" in said


def test_a_unit_that_takes_the_variable_away_is_refused(fleet: InProcessFleet, host: SimulatedHost) -> None:
    """As the drop-in of `fab install` does."""
    host.unit_settings["UnsetEnvironment"] = "LLORCH_API_TOKEN"
    (said,) = looked(fleet).values()
    assert "UnsetEnvironment= takes LLORCH_API_TOKEN away from it" in said
