"""Clients that need time: both tokens are accepted until no client uses the old one, or the operator says so."""

from pathlib import Path

import pytest

from hivekeys.lab import Lab

from .asking import status
from .rotating import fab
from .two_tokens import clients_of, served, serves

pytestmark = pytest.mark.lab


def test_clients_that_still_use_the_old_token_keep_it_until_they_have_moved(two: Lab, tmp_path: Path) -> None:
    old = served(two)
    with clients_of(two) as clients:
        answer = fab("rotate", "--fleet", two.name, "--yes", "--json", state=tmp_path)
        assert answer.code == 4, answer.err
        assert {host["state"] for host in answer.hosts.values()} == {"both"}
        assert "the old token is kept" in answer.document["next"]
        new = served(two)
        assert {status(host, token) for host in two.hosts.values() for token in (old, new)} == {200}
        clients.move(new)
        assert fab("reconcile", "--fleet", two.name, "--yes", "--retire-anyway", state=tmp_path).code == 0
        assert clients.refused == []
    serves(two, new, old)


def test_clients_that_are_given_time_have_both_tokens_until_the_operator_drops_the_old_one(
    two: Lab, tmp_path: Path
) -> None:
    old = served(two)
    with clients_of(two) as clients:
        answer = fab("rotate", "--fleet", two.name, "--yes", "--json", "--overlap", "1h", state=tmp_path)
        assert answer.code == 0, answer.err
        assert {host["state"] for host in answer.hosts.values()} == {"both"}
        assert answer.document["verdict"].startswith("overlapping: ")
        finish = f"fab rotate --fleet {two.name} --finish"
        assert finish in answer.document["next"]
        shown = fab("status", "--fleet", two.name, state=tmp_path).out
        assert finish in shown
        assert "calls with the old token after it was replaced" in shown, "the clients have it still"
        again = fab("rotate", "--fleet", two.name, "--yes", state=tmp_path)
        assert (again.code, finish in again.err) == (2, True), "a third token would come"
        new = served(two)
        clients.move(new)
        assert fab(*finish.split()[1:], "--retire-anyway", state=tmp_path).code == 0, "nothing is asked"
        assert clients.refused == []
    serves(two, new, old)
    assert fab(*finish.split()[1:], state=tmp_path).code == 2, "there is nothing left to finish"
