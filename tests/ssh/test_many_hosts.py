"""Eighty hosts at once over SSH, some dead and some silent: what each is told, and what the bastion holds for it.

The hosts are simulated (bench/simulated.py); `python -m bench.size` measures thousands of them, docs/benchmark.md.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bench.simulated import Hosts, Report
from hivekeys import inventory
from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Timeouts
from hivekeys.journal.events import Event, Outcome, Phase, State
from hivekeys.journal.run import Run
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import Drive
from hivekeys.rotation.shards.shard import OwnShard
from hivekeys.ssh.dialer import SshDialer
from hivekeys.token import Token, generate

from .bastion import paramiko_threads, wait_until

HOSTS, LOST = 80, 8  # a twentieth dead, a twentieth silent
WIDTH = 6  # fewer than are lost: the dead ones have no place among them while their time goes on
WHOLE = Timeouts(connect=120, banner=120, auth=120, channel=120)  # nothing here ends by its time
ON_THE_SIDE = 8  # threads that are no host's and no worker: the sign of life, deadlines, pytest's own


@dataclass
class Rotated:
    """A fleet after one rotation, and what the bastion held while it went on."""

    folder: Path
    token: Token
    code: ExitCode = ExitCode.BUG
    run: Run = field(default_factory=Run)
    outcomes: list[Outcome] = field(default_factory=list)
    reports: dict[str, Report] = field(default_factory=dict)
    threads: int = 0
    descriptors: int = 0

    def of(self, *kinds: str) -> set[str]:
        return {name for name, report in self.reports.items() if report.kind in kinds}

    def holds_the_token(self, name: str) -> bool:
        path = self.folder / "hosts" / name / "etc/llama-orch/secrets/api-token"
        return path.read_text().strip() == self.token.reveal()


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotated]:
    """Who waits for a host that is lost does so until all others have been looked at: then the test lets go."""
    done = Rotated(tmp_path_factory.mktemp("many"), generate())
    before = threading.active_count(), _descriptors()
    with Hosts(done.folder, f"--hosts={HOSTS}", "--dead=0.05", "--silent=0.05") as hosts:
        held = _descriptors()

        def record(events: Sequence[Event]) -> None:
            done.threads = max(done.threads, threading.active_count() - before[0])
            done.descriptors = max(done.descriptors, _descriptors() - held)
            outcomes = [event for event in events if isinstance(event, Outcome)]
            if len(done.outcomes) < HOSTS - LOST <= len(done.outcomes) + len(outcomes):
                hosts.let_go()
            done.outcomes += outcomes

        fleet = inventory.load(done.folder / "fleet.toml")
        fleet = replace(
            fleet, timeouts=WHOLE, policy=replace(fleet.policy, width=WIDTH, max_failures=Amount(20, percent=True))
        )
        greeting = Greeting(fleet.name, b"\x5a" * 32, "run-1", "ann@bastion", write=False)
        runner = Crew(fleet, [OwnShard(fleet, fleet.hosts, SshDialer(fleet, b"left unread"))], greeting, record)
        drive = Drive(runner, make=lambda: done.token)
        try:
            assert drive.look()
            done.code = drive.go()
        finally:
            runner.close()
        done.run = runner.run
        done.reports = hosts.report()
        wait_until(lambda: not paramiko_threads(), "the end of all connections")
        wait_until(lambda: _descriptors() <= held, "the end of all their files")
    yield done


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_hosts_that_let_us_wait_do_not_hold_up_the_others(rotated: Rotated) -> None:
    """All others had answered before the first of the lost ones was given up."""
    first = [outcome.host for outcome in rotated.outcomes[: HOSTS - LOST]]
    assert set(first) == rotated.of("well")


def test_a_lost_host_gets_one_result_and_all_others_are_proven(rotated: Rotated) -> None:
    """The run is incomplete, and says so by its exit code."""
    assert rotated.code is ExitCode.INCOMPLETE
    states = {name: host.state for name, host in rotated.run.hosts.items()}
    assert states == dict.fromkeys(rotated.of("well"), State.PROVEN) | dict.fromkeys(
        rotated.of("dead", "silent"), State.UNREACHABLE
    )
    assert Counter(states.values()) == {State.PROVEN: HOSTS - LOST, State.UNREACHABLE: LOST}
    results = Counter(outcome.host for outcome in rotated.outcomes)
    assert {results[name] for name in rotated.of("dead", "silent")} == {1}


def test_the_proven_hosts_hold_the_new_token_and_the_lost_ones_what_they_had(rotated: Rotated) -> None:
    """Seen on the hosts' own disks."""
    assert {name for name in rotated.reports if rotated.holds_the_token(name)} == rotated.of("well")


def test_a_host_is_logged_in_to_once_and_asked_once_a_phase(rotated: Rotated) -> None:
    """Look, claim, stage, turn, settle: nothing is retired while hosts are missing.

    Once more to be watched, in a wave with more hosts than may be at work: the canary is in none.
    """
    phases = {outcome.phase for outcome in rotated.outcomes if outcome.host == "hive79"}
    assert phases == {Phase.LOOK, Phase.CLAIM, Phase.STAGE, Phase.WAVE, Phase.SETTLE}
    well = [report for report in rotated.reports.values() if report.kind == "well"]
    assert {(report.logins, report.sessions, report.requests) for report in well} == {(1, 1, 5), (1, 1, 6)}


def test_the_bastion_holds_one_thread_and_one_descriptor_a_host_and_few_beside_them(rotated: Rotated) -> None:
    """docs/benchmark.md, "Limits of the bastion"; and all of them are gone with the run (the fixture waits for it)."""
    assert rotated.threads <= HOSTS + 2 * WIDTH + ON_THE_SIDE
    assert rotated.descriptors <= HOSTS + 4 * WIDTH + ON_THE_SIDE
