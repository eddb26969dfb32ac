"""The fleet that lives in this process behaves as the real one: the same tests against both, over Line and Dialer.

What the other tests prove in process is worth as much as this file. The real lab needs root; under CI its absence is a
failure, not a skip.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from hivekeys import inventory
from hivekeys import token as tokens
from hivekeys.fleet import Fleet, Host, Policy
from hivekeys.lab import Lab, down, up
from hivekeys.lab import faults as lab_faults
from hivekeys.lab.files import SECRETS
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.program import program_of
from hivekeys.protocol.seen import Seen
from hivekeys.protocol.verbs import (
    Discard,
    Greeting,
    Observe,
    ProbeWrite,
    Prove,
    Recall,
    Restart,
    Retire,
    Revert,
    Stage,
    Step,
    Swap,
)
from hivekeys.service import Service
from hivekeys.ssh.dialer import SshDialer
from hivekeys.ssh.line import QUIET, Dialer, Line
from hivekeys.ssh.session import Session
from hivekeys.token import Fingerprint, Token
from tests.inprocess import KEY, InProcessFleet

POLICY = Policy(health_deadline=8.0, stable_seconds=2.5)
NAME = "hive1"


class World(Protocol):
    """A fleet with two hives, one of which is tried."""

    fleet: Fleet
    token: Token

    def dialer(self) -> Dialer: ...
    def inject(self, fault: str) -> None: ...
    def mend(self) -> None: ...
    def run_number(self) -> int: ...


class InProcess:
    """Simulated hosts."""

    def __init__(self, folder: Path) -> None:
        self.hosts = InProcessFleet(folder, hives=2, policy=POLICY, credentials=True)
        self.fleet = self.hosts.inventory
        self.token = self.hosts.token
        self._runs = 0

    def dialer(self) -> Dialer:
        return self.hosts.dialer()

    def inject(self, fault: str) -> None:
        self.hosts.hosts[NAME].fault = fault

    def mend(self) -> None:
        self.hosts.hosts[NAME].fault = None
        self.hosts.hosts[NAME].start()

    def run_number(self) -> int:
        self._runs += 1
        return self._runs


class Real:
    """Debian hosts under systemd-nspawn, over SSH."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.fleet = replace(inventory.load(lab.inventory), policy=POLICY)
        self.token = Token(lab.read(NAME, f"{SECRETS}/api-token").strip())
        self._runs = 0

    def dialer(self) -> Dialer:
        return SshDialer(self.fleet, program_of())

    def inject(self, fault: str) -> None:
        lab_faults.inject(self.lab, NAME, fault)

    def mend(self) -> None:
        lab_faults.mend(self.lab, NAME)

    def run_number(self) -> int:
        self._runs += 1
        return self._runs


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("the lab needs root: sudo make test")
    folder = tmp_path_factory.mktemp("inventory")
    lab = up(f"lab-test-contract-{os.getpid()}", hives=2, inventory_dir=folder)
    try:
        yield Real(lab)
    finally:
        down(lab)


@pytest.fixture(params=["in process", pytest.param("lab", marks=pytest.mark.lab)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Whole before and after each test: one token, no other slot."""
    found: World = InProcess(tmp_path) if request.param == "in process" else request.getfixturevalue("real")
    yield found
    found.mend()
    with bastion(found) as ann:
        ann.ask(Revert(ann.old))
        ann.ask(Discard())
        ann.ask(Retire(ann.old))
        ann.ask(Restart())


class Bastion:
    """One session with the hive; `old` is the token that it has, `new` one that it is to get."""

    def __init__(self, world: World, *, run: str = "", epoch: int = 0, fleet: str = "", write: bool = True) -> None:
        number = world.run_number()
        self.host: Host = next(host for host in world.fleet.hosts if host.name == NAME)
        self.service: Service = self.host.service
        self.token = tokens.generate()
        self.new, self.old = self.token.fingerprint(KEY), world.token.fingerprint(KEY)
        self.dialer = world.dialer()
        greeting = Greeting(
            fleet or world.fleet.name, KEY, run or f"run-{number}", "ann@bastion", write, epoch or number
        )
        self.session = Session(self.host, self.dialer, POLICY, greeting)
        self.session.introduce(greeting, {self.new: self.token, self.old: world.token})

    def ask(self, *steps: Step) -> Reply:
        assert self.session.open() is None
        reply = self.session.ask(steps)
        assert isinstance(reply, Reply), reply
        return reply

    def look(self) -> Seen:
        seen = self.ask(Observe()).seen
        assert seen is not None
        return seen

    def changed(self, step: Step) -> bool:
        """What the step's result says; it must have been done."""
        reply = self.ask(step)
        assert reply.cause is None, reply.cause
        return reply.results[-1].changed

    def turn(self) -> Reply:
        """Swap, restart, prove."""
        prove = Prove(self.new, (self.old,))
        return self.ask(Stage(self.new), Swap(self.new), Restart(), prove)


@contextmanager
def bastion(world: World, **settings: Any) -> Iterator[Bastion]:
    found = Bastion(world, **settings)
    try:
        yield found
    finally:
        found.session.close()
        found.dialer.close()


def held(seen: Seen) -> tuple[Fingerprint | None, ...]:
    return tuple(slot.fingerprint if slot else None for slot in (seen.active, seen.staged, seen.previous))


# -- looking


def test_a_look_shows_the_file_its_owner_the_unit_and_what_the_process_loaded(world: World) -> None:
    with bastion(world, write=False) as ann:
        seen = ann.look()
        assert held(seen) == (ann.old, None, None)
        assert seen.active is not None
        assert (seen.active.mode, seen.active.owner, seen.active.group, seen.active.size) == (
            0o600,
            ann.service.owner,
            ann.service.group,
            65,
        )
        assert (seen.directory.fault, seen.directory.mode) == ("", 0o700)
        assert (seen.unit.load, seen.unit.state, seen.unit.sub) == ("loaded", "active", "running")
        assert (seen.unit.reads, seen.unit.env_token) == (ann.service.token, False)
        assert seen.unit.pid > 0
        assert seen.unit.started is not None
        assert seen.loaded.fingerprint == ann.old


def test_a_whole_service_is_proven(world: World) -> None:
    with bastion(world, write=False) as ann:
        proof = ann.ask(Prove(ann.old, (ann.new,), log=True)).proof
        assert proof is not None
        assert proof.proven
        assert proof.calls == {"none": 401, "garbage": 401, "new": 200, "old": 401}
        assert proof.health is not None
        assert proof.health.status == 200
        assert proof.logged is not None
        assert ann.old.fp6 in proof.logged  # the real services also log what they refused


# -- changing, and changing again


def test_every_verb_says_whether_it_changed_anything_and_can_be_repeated(world: World) -> None:
    with bastion(world) as ann:
        assert ann.changed(ProbeWrite()) is False
        for step, then in (
            (Stage(ann.new), (ann.old, ann.new, None)),
            (Swap(ann.new), (ann.new, None, ann.old)),
            (Revert(ann.old), (ann.old, None, None)),
            (Stage(ann.new), (ann.old, ann.new, None)),
            (Discard(), (ann.old, None, None)),
            (Stage(ann.new), (ann.old, ann.new, None)),
            (Swap(ann.new), (ann.new, None, ann.old)),
            (Retire(ann.new), (ann.new, None, None)),
            (Revert(ann.old), (ann.old, None, None)),  # from the agent's memory
        ):
            assert [ann.changed(step), ann.changed(step)] == [True, False], step
            assert held(ann.look()) == then, step


def test_a_swap_of_what_was_not_staged_and_a_retire_of_what_is_not_active_are_refused(world: World) -> None:
    with bastion(world) as ann:
        for step in (Swap(ann.new), Retire(ann.new)):
            cause = ann.ask(step).cause
            assert cause is not None
            assert cause.trouble is Trouble.SLOT_CHANGED
        assert held(ann.look()) == (ann.old, None, None)


def test_a_turned_service_is_proven_and_a_process_that_was_not_restarted_is_not(world: World) -> None:
    with bastion(world) as ann:
        assert ann.changed(Stage(ann.new))
        assert ann.changed(Swap(ann.new))
        cause = ann.ask(Prove(ann.new, (ann.old,))).cause
        assert cause is not None
        assert cause.trouble is Trouble.NEW_REFUSED
        assert ann.look().loaded.fingerprint == ann.old
        assert ann.turn().cause is None
        assert ann.look().loaded.fingerprint == ann.new


def test_a_token_is_recalled_by_the_run_that_holds_the_lock_only(world: World) -> None:
    with bastion(world) as ann:
        assert ann.changed(Stage(ann.new))
        token = ann.ask(Recall(ann.new)).to(Recall)
        assert token is not None
        assert token == ann.token
    with bastion(world, write=False) as reader:
        cause = reader.ask(Recall(ann.new)).cause
        assert cause is not None
        assert cause.trouble is Trouble.SLOT_CHANGED


# -- faults


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        ("start-fails", Trouble.START_FAILED),
        ("start-slow", None),
        ("keeps-old-token", Trouble.NEW_REFUSED),
        ("accepts-any-token", Trouble.FAIL_OPEN),
        ("crash-loops", Trouble.UNSTABLE),
        ("disk-full", Trouble.WRITE_FAILED),
        ("read-only", Trouble.WRITE_FAILED),
        ("link-slow", None),
    ],
)
def test_a_host_with_a_fault_turns_or_says_why_not(world: World, fault: str, trouble: Trouble | None) -> None:
    if fault == "start-slow" and isinstance(world, Real):
        lab_faults.inject(world.lab, NAME, fault, seconds=4)
    else:
        world.inject(fault)
    with bastion(world) as ann:
        cause = ann.turn().cause
        assert (cause and cause.trouble) is trouble


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        ("link-down", Trouble.NO_CONNECTION),
        ("sshd-frozen", Trouble.NO_BANNER),
        ("sudo-refused", Trouble.SUDO_REFUSED),
        ("host-key-changed", Trouble.HOST_KEY_CHANGED),
    ],
)
def test_a_host_that_cannot_be_reached_is_a_cause_and_no_exception(world: World, fault: str, trouble: Trouble) -> None:
    world.inject(fault)
    dialer = world.dialer()
    answer: Line | Cause = dialer.dial(next(host for host in world.fleet.hosts if host.name == NAME))
    dialer.close()
    assert isinstance(answer, Cause)
    assert answer.trouble is trouble


@pytest.mark.parametrize("fault", ["frozen", "sshd-frozen", "link-down"])
def test_a_host_that_goes_quiet_on_an_open_line_costs_that_line_and_not_the_whole_deadline(
    world: World, fault: str
) -> None:
    """Fifteen seconds on a real host, where a request may take minutes."""
    with bastion(world, write=False) as ann:
        ann.look()
        world.inject(fault)
        began = time.monotonic()
        answer = ann.session.ask((Observe(),))
        took = time.monotonic() - began
        world.mend()
    assert isinstance(answer, Cause)
    assert (answer.trouble, answer.detail) == (Trouble.SILENT, f"nothing was heard from the host for {QUIET:g} s")
    assert took < 2 * QUIET


# -- who may work on a host


def test_a_host_is_busy_while_another_run_holds_it_and_free_when_that_one_left(world: World) -> None:
    with bastion(world) as ann:
        ann.look()
        with bastion(world) as bob:
            cause = bob.ask(Observe()).cause
            assert cause is not None
            assert cause.trouble is Trouble.HOST_BUSY
    with bastion(world) as bob:
        assert bob.ask(Observe()).cause is None


def test_a_run_whose_time_has_passed_is_superseded_and_the_newer_one_is_named(world: World) -> None:
    with bastion(world, run="newer") as bob:
        assert bob.ask(Discard()).cause is None
    with bastion(world, run="older", epoch=1) as ann:
        cause = ann.ask(Stage(ann.new)).cause
        assert cause is not None
        assert (cause.trouble, cause.detail) == (Trouble.SUPERSEDED, "run newer of ann@bastion")
    with bastion(world) as ann:
        reply = ann.ask(Observe())
        assert reply.host_record is not None
        assert reply.host_record.run == "newer"
        assert reply.seen is not None
        assert held(reply.seen) == (ann.old, None, None)


def test_another_fleets_inventory_is_refused(world: World) -> None:
    with bastion(world) as ann:
        ann.look()
    with bastion(world, fleet="elsewhere") as ann:
        cause = ann.ask(Stage(ann.new)).cause
        assert cause is not None
        assert cause.trouble is Trouble.WRONG_FLEET
