"""Which copies `fab fix --strays` removes: a name will do for root and the service, others must hold a token."""

import os
from pathlib import Path

import pytest

import hivekeys.host.verbs.fix  # noqa: F401  hosts know its verb, too
from hivekeys.token import generate
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost

THIRD = 54321  # an account that is neither root nor the service
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another account")


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    simulated = InProcessFleet(tmp_path, hives=1).hosts["hive1"]
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
    assert result["ok"], result
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
