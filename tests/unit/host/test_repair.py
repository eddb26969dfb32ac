"""Which copies `fab fix --strays` removes: a name will do for root and the service, others must hold a token."""

import os
from pathlib import Path

import pytest

import hivekeys.host.verbs.fix  # noqa: F401  hosts know its verb, too
from hivekeys.service import Accepts, Apply
from hivekeys.token import generate
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost

THIRD = 54321  # an account that is neither root nor the service
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another account")


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return of(InProcessFleet(tmp_path, hives=1))


def of(fleet: InProcessFleet) -> SimulatedHost:
    """Its hive, with directories for everybody's files."""
    simulated = fleet.hosts["hive1"]
    for place in ("tmp", "var/tmp"):
        (simulated.root / place).mkdir(parents=True, exist_ok=True)
    return simulated


def put(host: SimulatedHost, path: str, content: str, owner: int | None = None) -> Path:
    file = host.root / path
    file.write_text(content)
    if owner is not None:
        os.chown(file, owner, owner)
    return file


def strays(host: SimulatedHost) -> dict[str, str]:
    """What `--strays` did with each copy that it found: "" for one that it removed, else why it stays."""
    want = host.fleet.token.fingerprint(KEY).keyed
    result = Session(host).do("fix", apply=True, options=["strays"], want=want)
    assert result["ok"], result["detail"]
    return {one["path"].lstrip("/"): one["refused"] for one in result["facts"]["changes"] if one["part"] == "strays"}


@pytest.mark.parametrize(
    "name",
    [
        "api-token",
        "api-token.new",
        "api-token-new",
        "api-token-old",
        "api-token.backup",
        "api-token.old.2",
        "api-token~",
        "api-token.20261128T101500Z",
        "api-token new",
        "api-token\nold",
    ],
)
def test_what_is_named_as_a_copy_is_removed(host: SimulatedHost, name: str) -> None:
    file = put(host, f"tmp/{name}", "whatever", host.uid)
    assert strays(host) == {f"tmp/{name}": ""}
    assert not file.exists()


@pytest.mark.parametrize("name", ["api-tokenizer-model.json", "api-tokens", "api-token2"])
def test_what_only_begins_like_the_token_is_no_copy(host: SimulatedHost, name: str) -> None:
    file = put(host, f"tmp/{name}", host.fleet.token.reveal())
    assert strays(host) == {}
    assert file.exists()


@pytest.mark.parametrize("path", ["tmp/api-token-exporter.toml", "etc/llama-orch/secrets/database.old"])
def test_another_file_of_the_services_stays_unless_it_holds_a_token(host: SimulatedHost, path: str) -> None:
    """In its directory may be other secrets, and their editors' copies."""
    file = put(host, path, "port = 9", host.uid)
    assert list(strays(host)) == [path]
    assert file.exists()
    put(host, path, host.fleet.token.reveal())
    assert strays(host) == {path: ""}
    assert not file.exists()


@needs_root
@pytest.mark.parametrize("name", ["api-token", "api-token.old"])
def test_another_accounts_file_stays_unless_it_holds_a_token_of_the_fleet(host: SimulatedHost, name: str) -> None:
    """Everybody may put a file under that name into /tmp, and have something of his own in it."""
    file = put(host, f"tmp/{name}", generate().reveal(), THIRD)
    assert strays(host) == {f"tmp/{name}": f"it holds no token of this fleet, and belongs to {THIRD}"}
    assert file.exists()
    put(host, f"tmp/{name}", host.fleet.token.reveal(), THIRD)
    assert strays(host) == {f"tmp/{name}": ""}
    assert not file.exists()


@needs_root
def test_a_token_that_was_revoked_is_known_in_another_accounts_file(host: SimulatedHost) -> None:
    leaked = generate()
    file = put(host, "tmp/api-token-old", leaked.reveal(), THIRD)
    session = Session(host)
    session.line.agent.secrets.revoked = {leaked.fingerprint(KEY).keyed: "run-0"}
    session.do("fix", apply=True, options=["strays"], want=host.fleet.token.fingerprint(KEY).keyed)
    assert not file.exists()


def test_a_name_that_was_made_to_keep_root_busy_does_not(host: SimulatedHost) -> None:
    """A pattern that can match in many ways takes years on these."""
    names = ["api-token" + "-1" * 120 + "x", "api-token" + "-" * 245 + "x", "api-token-" + "1" * 200 + "tz" * 20 + "x"]
    files = [put(host, f"tmp/{name}", "") for name in names]
    assert strays(host)
    assert all(file.exists() for file in files)


def test_a_link_under_the_tokens_name_leads_root_nowhere(host: SimulatedHost) -> None:
    secret = put(host, "var/tmp/secret", host.fleet.token.reveal())
    (host.root / "tmp/api-token-exporter").symlink_to(secret)
    assert "cannot be read" in strays(host)["tmp/api-token-exporter"]
    assert secret.exists()


def listed(tmp_path: Path) -> SimulatedHost:
    """A host whose service has a list of the tokens that it accepts."""
    service = {"accepts": Accepts.LINES, "apply": Apply.RELOAD}
    host = of(InProcessFleet(tmp_path, hives=1, service=service))
    put(host, "etc/llama-orch/secrets/api-tokens", f"{host.fleet.token.reveal()}\n", host.uid).chmod(0o600)
    return host


def modes(host: SimulatedHost, *, apply: bool = True) -> dict[str, tuple[str, str]]:
    """What was done with each file's mode and owner: what it is to be, and why it is not."""
    result = Session(host).do("fix", apply=apply, options=[], want=host.fleet.token.fingerprint(KEY).keyed)
    assert result["ok"], result["detail"]
    parts = ("file-mode", "token-file", "hard-links")
    return {
        Path(one["path"]).name: (one["after"], one["refused"])
        for one in result["facts"]["changes"]
        if one["part"] in parts
    }


def test_a_list_of_tokens_that_others_can_read_is_closed(tmp_path: Path) -> None:
    host = listed(tmp_path)
    file = host.secrets / "api-tokens"
    file.chmod(0o644)
    assert list(modes(host, apply=False)) == ["api-tokens"]
    assert file.stat().st_mode & 0o777 == 0o644, "a dry run"
    assert [refused for _, refused in modes(host).values()] == [""]
    assert file.stat().st_mode & 0o777 == 0o600
    assert modes(host) == {}


def test_a_list_that_is_a_link_is_named_and_left(tmp_path: Path) -> None:
    host = listed(tmp_path)
    file = host.secrets / "api-tokens"
    file.unlink()
    assert modes(host) == {}, "without one the token in the file is accepted alone"
    file.symlink_to("/etc/shadow")
    assert modes(host)["api-tokens"][1] == "it is no file: look at it, then move it away"
    assert file.is_symlink()


@needs_root
def test_another_accounts_list_is_not_given_to_the_service(tmp_path: Path) -> None:
    """Who can write above it could have renamed any file to this name."""
    host = listed(tmp_path)
    (host.root / "etc").chmod(0o777)
    file = host.secrets / "api-tokens"
    os.chown(file, THIRD, THIRD)
    assert modes(host)["api-tokens"][1] == "it is not the fleet's token: who put it there?"
    assert file.stat().st_uid == THIRD
