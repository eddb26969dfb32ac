"""Services that accept two tokens, rotated while clients call all of them without a pause: nobody is refused.

Two fleets: one whose services have a list (the queen reloads it, hives watch it), one whose services have a second file
(a reload, a signal). The clients stand outside and move to the new token when every host uses it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hivekeys.journal.events import Phase, PhaseStarted, State
from hivekeys.lab import Accepts, Lab, down, up
from hivekeys.lab.files import SECRETS
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.program import program_of
from tests.lab import rotating

from .asking import ACTIVE, eventually, restart, status
from .clients import Clients, moving
from .rotating import INVENTORY, before, fab, fleet_of, rotate, start_fab, write_policy

pytestmark = pytest.mark.lab
REQUESTS = 20_000
FILES = {Accepts.LINES: {"api-token", "api-tokens"}, Accepts.PAIR: {"api-token"}}  # of a host at rest


@pytest.fixture(scope="module", params=[Accepts.LINES, Accepts.PAIR], ids=str)
def two(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A queen and two hives whose services accept two tokens."""
    name = f"lab-{request.param}{os.getpid()}"
    try:
        lab = up(name, hives=2, accepts=request.param, inventory_dir=INVENTORY)
        write_policy(lab, stable_seconds=1.5)
        yield lab
    finally:
        down(name, inventory_dir=INVENTORY)


@pytest.fixture(autouse=True)
def with_all_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `rotate` sends to hosts that accept two tokens."""
    monkeypatch.setattr(rotating, "AGENT", program_of("notify", "accept"))


@contextmanager
def clients_of(lab: Lab) -> Iterator[Clients]:
    clients = Clients(lab, served(lab))
    try:
        yield clients
    finally:
        clients.leave()


def served(lab: Lab) -> str:
    """The one token that is in every host's file."""
    (token,) = {lab.read(name, ACTIVE).strip() for name in lab.hosts}
    return token


def serves(lab: Lab, token: str, refused: str) -> None:
    """Each host has this token alone, lets it in, and refuses the other and none."""
    assert served(lab) == token
    for name, host in lab.hosts.items():
        assert (status(host, token), status(host, refused), status(host, None)) == (200, 401, 401), name
        assert set(lab.sh(name, f"ls {SECRETS}").split()) <= FILES[lab.shape.accepts], name
        assert refused not in lab.sh(name, f"cat {SECRETS}/*"), name


def started(lab: Lab) -> dict[str, str]:
    script = "systemctl show -p ExecMainStartTimestampMonotonic --value"
    return {name: lab.sh(name, f"{script} {host.unit}") for name, host in lab.hosts.items()}


# -- whole rotations


def test_of_twenty_thousand_requests_through_whole_rotations_none_is_refused(two: Lab) -> None:
    processes = started(two)
    with clients_of(two) as clients:
        while clients.requests < REQUESTS:
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
