"""`uninstall` takes away what install noted, last first, and nothing else; the record goes with the last of it."""

import json
from pathlib import Path
from typing import Any

import pytest

import hivekeys.host.verbs.uninstall  # noqa: F401  hosts know its verb, too
from hivekeys.host.dropin import HEADER
from tests.builders.agent_process import state
from tests.inprocess import InProcessFleet, Session, SimulatedHost


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return InProcessFleet(tmp_path, hives=1).hosts["hive1"]


def drop_in(host: SimulatedHost, text: str) -> Path:
    path = host.root / f"etc/systemd/system/{host.host.service.unit}.d/50-hivekeys.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def uninstalled(host: SimulatedHost, *things: tuple[str, str], apply: bool = True) -> dict[str, Any]:
    """The answer of a host on which install has put these things."""
    session = Session(host)
    (state(host) / "installed").write_text(json.dumps(things))
    result = session.do("uninstall", apply=apply)
    assert result["ok"], result
    return result


def parts(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(change["part"], change["after"], change["refused"]) for change in result["facts"]["changes"]]


def token_of(host: SimulatedHost) -> tuple[str, str]:
    return "token", host.host.service.token


def test_where_nothing_was_installed_nothing_is_done(host: SimulatedHost) -> None:
    result = uninstalled(host)
    assert (result["changed"], parts(result)) == (False, [])
    assert host.active_token() == host.fleet.token.reveal()
    assert (state(host) / "fleet").exists()


def test_a_service_whose_token_goes_is_stopped_first(host: SimulatedHost) -> None:
    """Without a token it would log "dev mode", and let everybody in."""
    result = uninstalled(host, token_of(host))
    assert parts(result) == [("service", "stopped", ""), ("token", "removed", "")]
    assert (host.unit_state, host.active.exists()) == ("inactive", False)


def test_one_whose_token_stays_serves_on(host: SimulatedHost) -> None:
    result = uninstalled(host, ("enabled", host.host.service.unit))
    assert parts(result) == [("enabled", "does not", "")]
    assert (host.unit_state, host.accepts(host.fleet.token)) == ("active", True)


def test_all_copies_of_the_token_go(host: SimulatedHost) -> None:
    for name in (".new", ".backup"):
        host.active.with_name(host.active.name + name).write_text("x" * 40)
    uninstalled(host, token_of(host))
    assert [path.name for path in host.active.parent.iterdir() if path.name.startswith("api-token")] == []


def test_what_was_put_there_last_goes_first(host: SimulatedHost) -> None:
    drop_in(host, HEADER + "[Service]\n")
    path = f"/etc/systemd/system/{host.host.service.unit}.d/50-hivekeys.conf"
    things = (token_of(host), ("drop-in", path), ("enabled", "x"), ("fleet", "/var/lib/hivekeys/fleet"))
    assert [part for part, _, _ in parts(uninstalled(host, *things, apply=False))] == [
        "service",
        "fleet",
        "enabled",
        "unit",
        "token",
    ]


def test_a_look_takes_nothing_away(host: SimulatedHost) -> None:
    result = uninstalled(host, token_of(host), ("fleet", "/var/lib/hivekeys/fleet"), apply=False)
    assert [refused for _, _, refused in parts(result)] == ["", "", ""]
    assert host.accepts(host.fleet.token)
    assert json.loads((state(host) / "installed").read_text()) == [
        list(token_of(host)),
        ["fleet", "/var/lib/hivekeys/fleet"],
    ]


@pytest.mark.parametrize(("text", "goes"), [(HEADER + "[Service]\n", True), ("[Service]\n# an admin's own\n", False)])
def test_a_drop_in_goes_only_while_it_is_ours(host: SimulatedHost, text: str, goes: bool) -> None:
    path = drop_in(host, text)
    result = uninstalled(host, ("drop-in", f"/{path.relative_to(host.root)}"))
    assert parts(result) == ([("unit", "removed", "")] if goes else [])
    assert path.exists() is not goes


def test_an_empty_directory_goes_and_one_with_files_stays_and_is_named(host: SimulatedHost) -> None:
    (host.root / "opt/empty").mkdir(parents=True)
    (host.root / "opt/full").mkdir()
    (host.root / "opt/full/file").touch()
    result = uninstalled(host, ("directory", "/opt/empty"), ("directory", "/opt/full"), ("directory", "/opt/gone"))
    assert parts(result) == [("directory", "removed", "it is not empty"), ("directory", "removed when empty", "")]
    assert [path.name for path in (host.root / "opt").iterdir()] == ["full"]


def test_an_account_whose_files_may_be_left_stays(host: SimulatedHost) -> None:
    (host.root / "opt/full").mkdir(parents=True)
    (host.root / "opt/full/file").touch()
    result = uninstalled(host, ("group", "rbee"), ("account", "rbee"), ("directory", "/opt/full"))
    left = "there are files left that may be its own"
    assert parts(result)[1:] == [("account", "removed", left), ("account", "removed", left)]


def test_at_the_end_our_own_directory_goes_too(host: SimulatedHost) -> None:
    uninstalled(host, ("fleet", "/var/lib/hivekeys/fleet"))
    assert not state(host).exists()
    assert state(host).parent.exists()


def test_a_tombstone_outlives_it(host: SimulatedHost) -> None:
    """Whoever installs again must not bring a token back that leaked."""
    session = Session(host)
    (state(host) / "tombstones").write_text("[]")
    session.line.close()
    uninstalled(host, ("fleet", "/var/lib/hivekeys/fleet"))
    assert [path.name for path in state(host).iterdir()] == ["tombstones"]


def test_what_an_agent_installed_in_this_session_can_be_undone_and_nothing_else(host: SimulatedHost) -> None:
    session = Session(host)
    result = session.do("uninstall", apply=True, options=["last"])
    assert (result["ok"], result["trouble"]) == (False, "slot-changed")
