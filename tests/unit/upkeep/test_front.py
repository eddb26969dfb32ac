"""`fab install --front` as an operator types it: what it does not do together with other work is said at once."""

from pathlib import Path

import pytest

from tests.builders.fab import Fab

FRONT = """
[services.hive]
accepts = "front"
port = 18081
front = { listen = "0.0.0.0:8081" }
"""


@pytest.fixture
def fab(tmp_path: Path) -> Fab:
    """A fleet on paper whose hives are to have fronts."""
    fab = Fab(tmp_path)
    with (tmp_path / "inventory/paper.toml").open("a") as file:
        file.write(FRONT)
    return fab


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["install", "--front", "--harden"], "--harden: --front brings nginx alone"),
        (["install", "--front", "--restricted"], "--restricted: --front brings nginx alone"),
        (["install", "--front", "--limit", "queen"], "queen: no front in the inventory"),
        (["install"], "hive[1:3]: clients reach a front there, which has the fleet's token"),
        (["uninstall", "--yes"], "hive[1:3]: there is a front"),
        (["uninstall", "--front", "--restricted"], "--front: --restricted touches no service"),
    ],
)
def test_what_does_not_go_together_is_said_before_any_host_is_contacted(fab: Fab, words: list[str], said: str) -> None:
    answer = fab(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_who_would_let_everybody_in_is_asked_before(fab: Fab) -> None:
    """Without its front a service that asks for no token is open; here there is no terminal to ask on."""
    path = fab.folder / "inventory/paper.toml"
    path.write_text(path.read_text().replace("0.0.0.0:8081", '0.0.0.0:8081", own_token = false, start = "/x'))
    answer = fab("uninstall", "--front")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no terminal to ask for confirmation on" in answer.err
