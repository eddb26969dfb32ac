"""Services that accept two tokens, rotated while clients call all of them: nobody is refused.

Two fleets: one whose services have a list (the queen reloads it, hives watch it), one whose services have a second file
(a reload, a signal). The clients stand outside and move to the new token when every host uses it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hivekeys.journal.events import Phase, PhaseStarted, State
from hivekeys.lab import Lab
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.program import program_of
from tests.lab import rotating

from .asking import ACTIVE, eventually, restart, status
from .clients import moving
from .rotating import before, fab, fleet_of, rotate, start_fab, write_policy
from .two_tokens import clients_of, served, serves, started

pytestmark = pytest.mark.lab
REQUESTS = 20_000


@pytest.fixture(autouse=True)
def with_all_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `rotate` sends to hosts that accept two tokens."""
    monkeypatch.setattr(rotating, "AGENT", program_of("notify", "accept"))


# -- whole rotations


def test_of_twenty_thousand_requests_through_whole_rotations_none_is_refused_and_no_answer_breaks(two: Lab) -> None:
    processes = started(two)
    with clients_of(two, pause=0.0) as clients:
        while clients.requests < REQUESTS or len(clients.streams) < 3 * len(two.hosts):
            old = served(two)
            move = before(Phase.DROP, lambda: clients.move(two.read("queen", ACTIVE).strip()))
            turned = rotate(fleet_of(two), move)
            assert turned.code == 0
            phases = [event.phase for event in turned.events if isinstance(event, PhaseStarted)]
            assert list(dict.fromkeys(phases))[-5:] == [
                Phase.ACCEPT,
                Phase.USE,
                Phase.SETTLE,
                Phase.DROP,
                Phase.RETIRE,
            ]
            assert set(turned.states.values()) == {State.PROVEN}
            assert clients.refused == []
            serves(two, turned.token.reveal(), old)
    assert clients.requests >= REQUESTS
    assert clients.refused == []
    assert set(clients.streams) == {""}, "long answers came whole"
    assert len(clients.streams) >= 3 * len(two.hosts)
    assert started(two) == processes, "nothing was restarted"


# -- cut off


def lines_until(run: Any, phase: str, host: str) -> None:
    """Reads a run's events until the host has come through that phase."""
    for line in run.stdout:
        event = json.loads(line)
        if (event["type"], event.get("phase"), event.get("host")) == ("host-answered", phase, host):
            return
    pytest.fail(f"the run ended before {host} came through {phase}")


def killed_in(lab: Lab, state: Path, phase: str, host: str) -> None:
    """A rotation whose bastion dies when this host has come through that phase."""
    with start_fab("rotate", "--fleet", lab.name, "--yes", "--events", "--quiet", state=state) as run:
        lines_until(run, phase, host)
        run.kill()


@pytest.mark.parametrize(("phase", "host"), [("accept", "hive1"), ("use", "queen"), ("use", "hive2")])
def test_a_run_that_was_killed_is_gone_on_with_and_nobody_is_refused(
    two: Lab, tmp_path: Path, phase: str, host: str
) -> None:
    old = served(two)
    with clients_of(two) as clients:
        killed_in(two, tmp_path, phase, host)
        words = ("--yes", "--events", "--quiet", "--retire-anyway")  # the clients were seen with the old one just now
        run = start_fab("resume", "--fleet", two.name, *words, state=tmp_path)
        answer = moving(run, lambda: clients.move(two.read("queen", ACTIVE).strip()))
        assert answer.code == 0, answer.err
        assert clients.requests > 100
        assert clients.refused == []
    serves(two, served(two), old)


@pytest.mark.parametrize(("phase", "host"), [("accept", "queen"), ("accept", "hive2"), ("use", "hive1")])
def test_a_run_is_taken_back_from_each_pass_and_nobody_is_refused(
    two: Lab, tmp_path: Path, phase: str, host: str
) -> None:
    old = served(two)
    with clients_of(two) as clients:
        killed_in(two, tmp_path, phase, host)
        answer = fab("rollback", "--fleet", two.name, "--yes", state=tmp_path)
        assert answer.code == 0, answer.err
        assert clients.refused == []
    assert served(two) == old
    serves(two, old, "f" * 64)


def test_one_that_was_killed_while_it_drops_can_only_go_on(two: Lab, tmp_path: Path) -> None:
    old = served(two)
    killed_in(two, tmp_path, "drop", "queen")
    assert fab("rollback", "--fleet", two.name, "--yes", state=tmp_path).code == 2
    assert fab("resume", "--fleet", two.name, "--yes", state=tmp_path).code == 0
    serves(two, served(two), old)


# -- services that do otherwise than the inventory says


@contextmanager
def spoiled(lab: Lab, variable: str, *names: str) -> Iterator[None]:
    """These hosts' services have a fault until then."""

    def change(script: str) -> None:
        for name in names:
            unit = lab.hosts[name].unit
            lab.sh(name, f"d=/run/systemd/system/{unit}.service.d; {script}; systemctl daemon-reload")
            restart(lab, name)
            assert eventually(lambda: status(lab.hosts[name], None) == 401)  # noqa: B023  called at once

    change(f"mkdir -p $d; printf '[Service]\\nEnvironment={variable}=1\\n' >$d/fault.conf")
    try:
        yield
    finally:
        change("rm -f $d/fault.conf")


def test_services_that_take_one_token_after_all_are_turned_one_token_at_a_time(two: Lab) -> None:
    old = served(two)
    with spoiled(two, "STANDIN_TAKES_ONE", *two.hosts):
        turned = rotate(fleet_of(two, health_deadline=2.0))
        assert turned.code == 0, turned.troubles
        assert turned.run.fell_back
        assert set(turned.states.values()) == {State.PROVEN}
    serves(two, turned.token.reveal(), old)


def test_one_hive_that_takes_one_is_a_failed_host_and_nobody_is_refused(two: Lab) -> None:
    old = served(two)
    with spoiled(two, "STANDIN_TAKES_ONE", "hive2"), clients_of(two) as clients:
        turned = rotate(fleet_of(two, health_deadline=2.0))
        assert turned.code == 3
        assert turned.troubles == {"hive2": Trouble.TAKES_ONE}
        assert clients.refused == []
    serves(two, old, turned.token.reveal())


def test_a_service_that_never_drops_the_old_token_is_named_and_reconciled(two: Lab, tmp_path: Path) -> None:
    old = served(two)
    with spoiled(two, "STANDIN_NEVER_DROPS", "hive1"):
        write_policy(two, stable_seconds=0.3, health_deadline=3)
        answer = fab("rotate", "--fleet", two.name, "--yes", "--json", state=tmp_path)
        assert answer.code == 4, answer.err
        causes = {name: host["cause"] and host["cause"]["trouble"] for name, host in answer.hosts.items()}
        assert causes == {"queen": None, "hive1": "old-accepted", "hive2": None}, answer.out
    write_policy(two, stable_seconds=1.5)
    assert fab("reconcile", "--fleet", two.name, "--yes", state=tmp_path).code == 0
    serves(two, served(two), old)


def test_a_revocation_restarts_nothing_and_every_host_refuses_the_leaked_token(two: Lab, tmp_path: Path) -> None:
    old, processes = served(two), started(two)
    answer = fab("revoke", "--fleet", two.name, "--yes", "--reason", "leaked", state=tmp_path)
    assert answer.code == 0, answer.err
    serves(two, served(two), old)
    assert started(two) == processes
