"""A host that goes quiet in the middle: what its agent may still do, how long it is waited for, and what is decided."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Host, Policy
from hivekeys.host.serving import LEASE_SECONDS, SIGN_SECONDS, is_sign
from hivekeys.journal.events import Event, Intent, Phase, State, Stopped
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.verbs import Greeting
from hivekeys.ssh.line import HEARTBEAT, LEASE, QUIET
from hivekeys.ssh.session import Session as EngineSession
from hivekeys.token import generate
from tests.builders.agent_process import Process, state, wait_until_open
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.inprocess import KEY, InProcessDialer, InProcessFleet, InProcessLine, OwnClock, Session, SimulatedHost, hello

CERTAIN = QUIET + LEASE  # seconds after its last sign in which a host changes nothing any more
SERVE = "serve(Agent(sys.argv[1]), i, sys.stdout.buffer, every=0.01)"


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return InProcessFleet(tmp_path, hives=1).hosts["hive1"]


def test_both_sides_go_by_the_same_times() -> None:
    assert LEASE == LEASE_SECONDS == 3 * HEARTBEAT, "one may be late, and one may be lost"
    assert QUIET == 3 * SIGN_SECONDS
    assert CERTAIN == 45.0


# -- the agent: its lease holds while it works, too


def turn(host: SimulatedHost, frozen: float) -> list[dict[str, Any]]:
    """Stage, swap and restart in one request; the agent stands still for so long once the token is staged."""
    session = Session(host)
    session.line.agent.deadline.lease = host.clock + LEASE
    host.fleet.at(host.name, "stage", lambda host: host.fleet.advance(frozen), when="after")
    new = generate()
    steps: list[dict[str, object]] = [
        {"verb": "stage", "token": new.reveal()},
        {"verb": "swap", "want": new.fingerprint(KEY).keyed},
    ]
    return session.ask(*steps, {"verb": "restart"}, {"verb": "observe"})


def test_an_agent_that_stood_still_until_its_lease_was_over_begins_nothing_more(host: SimulatedHost) -> None:
    """Its monotonic clock has gone on. The request had time left: a rotation's is longer than any lease."""
    results = turn(host, frozen=LEASE)
    assert [result["verb"] for result in results] == ["stage"]
    assert host.active_token() == host.fleet.token.reveal()
    assert host.started.count("systemctl restart") == 0


def test_an_agent_that_stood_still_for_less_goes_on(host: SimulatedHost) -> None:
    results = turn(host, frozen=LEASE - 1.0)
    assert [result["ok"] for result in results] == [True] * 4


@pytest.mark.parametrize("verb", ["stage", "swap", "revert", "discard", "retire", "restart", "fence", "probe_write"])
def test_a_step_that_is_begun_asks_the_clock_again_before_it_changes_anything(host: SimulatedHost, verb: str) -> None:
    """Between the look at the clock and the write lies as little as can be."""
    session, token = Session(host), host.fleet.token
    fields = {"token": token.reveal()} if verb == "stage" else {}
    fields |= {"want": token.fingerprint(KEY).keyed} if verb in ("swap", "revert", "retire") else {}
    agent = session.line.agent
    agent.deadline.lease, agent.deadline.end = host.clock, host.clock + 100.0
    before, started = host.slots(), host.process
    result = agent.carry_out(verb, fields)
    assert (result["ok"], result["trouble"]) == (False, "line-broken")
    assert (host.slots(), host.process) == (before, started)


def test_a_wait_for_health_ends_with_the_lease(host: SimulatedHost) -> None:
    host.fault, host.slow_seconds = "start-slow", 300.0
    host.start()
    session, began = Session(host), host.clock
    session.line.agent.deadline.lease = began + LEASE
    (result,) = session.ask({"verb": "prove", "health_seconds": 90.0})
    assert result["trouble"] == "line-broken"
    assert LEASE <= host.clock - began < LEASE + 1.0


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"\n", LEASE),
        (b" \r\n", LEASE),
        (b"@1000.000\n", LEASE),
        (b"@990.5\n", LEASE - 9.5),
        (b"@960.0\n", 5.0),  # so old that it renews nothing: what was left of the lease is left
        (b"@9999999.0\n", LEASE),  # from the future: it counts from now
    ],
)
def test_a_sign_of_life_renews_the_lease_from_when_it_was_sent(host: SimulatedHost, line: bytes, left: float) -> None:
    """One that lay in a frozen sshd or on a slow link is worth no more than when it was sent."""
    agent = InProcessLine(host).agent
    agent.deadline.lease = host.clock + 5.0
    assert is_sign(agent, line, LEASE)
    assert agent.deadline.lease - host.clock == left


@pytest.mark.parametrize("line", [b"{}\n", b"@\n", b"@nan\n", b"@1e3\n", b"@1.0 x\n", b"@" + b"9" * 400 + b".0\n"])
def test_what_is_no_sign_is_a_request_and_renews_nothing(host: SimulatedHost, line: bytes) -> None:
    agent = InProcessLine(host).agent
    agent.deadline.lease = host.clock + 5.0
    assert not is_sign(agent, line, LEASE)
    assert agent.deadline.lease == host.clock + 5.0


# -- the agent: it gives signs of life itself


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.clean_up()


@pytest.fixture
def busy(host: SimulatedHost, processes: list[Process]) -> Process:
    """An agent with a request in hand that takes as long as the test wants: it waits for a lock."""
    processes.append(first := Process(host, "run-1").ready())
    assert first.hello()["ok"]
    lock = state(host) / "lock"
    entry = json.loads(lock.read_text())
    lock.write_text(json.dumps({**entry, "born": 0}))  # so that the second waits and tells nobody to leave
    processes.append(second := Process(host, "run-1", call=SERVE))
    second.send(json.dumps({"steps": [hello(host)], "deadline": 60.0}).encode() + b"\n")
    wait_until_open(second.process.pid, lock)
    return second


def test_an_agent_at_work_gives_signs_of_life_until_it_has_answered(busy: Process) -> None:
    assert [busy.stdout.readline() for _ in range(3)] == [b"\n"] * 3
    busy.process.send_signal(signal.SIGTERM)
    rest = busy.stdout.read().lstrip(b"\n")
    assert json.loads(rest)["results"][0]["trouble"] == "line-broken"
    assert rest.count(b"\n") == 1, "nothing is said behind the answer"


def test_whoever_sends_signs_of_life_fast_fills_no_memory_and_holds_nothing_up(busy: Process) -> None:
    """A thief with the login. None of them is kept: the request that follows them all is read at once."""

    def resident() -> int:
        return int(Path(f"/proc/{busy.process.pid}/statm").read_text().split()[1]) * 4096

    before = resident()
    rescue = threading.Timer(60, busy.process.kill)
    rescue.start()
    threading.Thread(target=busy.stdout.read, daemon=True).start()
    for _ in range(100):
        busy.send(b"\n" * 10_000 + b"@1.0\n" * 10_000)
    rescue.cancel()
    assert busy.process.poll() is None, "it took no more"
    assert resident() - before < 4_000_000


# -- the bastion: it waits as long as the host may act, and no longer


class TimedLine(InProcessLine):
    """A line on which silence takes the time that it takes."""

    clock: OwnClock

    def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
        was_over = self.dead is not None
        answer = super().ask(request, deadline)
        if isinstance(answer, Cause) and answer.trouble is Trouble.SILENT and not was_over:
            self.clock.sleep(QUIET)
        return answer


class TimedDialer(InProcessDialer):
    """Its lines take their time by the bastion's clock."""

    line_type = TimedLine

    def __init__(self, fleet: InProcessFleet, clock: OwnClock) -> None:
        super().__init__(fleet)
        self.clock = clock

    def dial(self, host: Host) -> InProcessLine | Cause:
        line = super().dial(host)
        if isinstance(line, TimedLine):
            line.clock = self.clock
        return line


class Watcher(Operator):
    """An operator by whose clock silence takes time; `told` hears each event."""

    def __init__(self, fleet: InProcessFleet, clock: OwnClock | None = None, **options: Any) -> None:
        clock = clock or OwnClock()
        super().__init__(fleet, clock=clock, dialer=TimedDialer(fleet, clock), **options)

    def seconds(self, name: str) -> float:
        """From when a host was first told to turn to the decision, by the journal's own clock."""
        turns = (Phase.QUEEN, Phase.CANARY, Phase.WAVE)
        told = next(e for e in self.events if isinstance(e, Intent) and e.host == name and e.phase in turns)
        decided = next(e for e in self.events if isinstance(e, Stopped))
        return decided.when.clock - told.when.clock


def fleet_of(folder: Path) -> InProcessFleet:
    """A queen, a canary, and two waves of one."""
    return InProcessFleet(folder, hives=3, policy=Policy(batch=Amount(1)))


@pytest.mark.parametrize("fault", ["frozen", "sshd-frozen", "link-down"])
@pytest.mark.parametrize("name", ["queen", "hive1", "hive3"])
def test_a_rotation_decides_when_the_hosts_lease_is_over(tmp_path: Path, name: str, fault: str) -> None:
    """15 s until the silence is noticed, and 30 s in which its agent could still go on: no second more."""
    fleet = fleet_of(tmp_path)
    fleet.at(name, "swap", breaks(fault))
    ann = Watcher(fleet)
    assert ann.rotate() is ExitCode.INCOMPLETE
    assert ann.states[name] is State.UNKNOWN
    assert CERTAIN <= ann.seconds(name) <= CERTAIN + 1.0
    assert {token for other, token in serving(fleet, ann.token).items() if other != name} == {"old"}


class BackAfter(OwnClock):
    """A clock by which a host is back at a certain moment."""

    def __init__(self, host: SimulatedHost, seconds: float) -> None:
        super().__init__()
        self.host, self.seconds = host, seconds

    def sleep(self, seconds: float, /) -> None:
        super().sleep(seconds)
        if self.monotonic() >= self.seconds:
            self.host.fault = None


@pytest.mark.parametrize("fault", ["sshd-frozen", "link-down"])
def test_a_host_that_is_back_before_that_is_gone_on_with(tmp_path: Path, fault: str) -> None:
    fleet = fleet_of(tmp_path)
    fleet.at("hive2", "swap", breaks(fault))
    ann = Watcher(fleet, clock=BackAfter(fleet.hosts["hive2"], CERTAIN - 1.0))
    assert ann.rotate() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_a_host_that_is_back_after_the_decision_goes_where_the_others_go(tmp_path: Path) -> None:
    """It answers late, and has not turned: nothing is decided anew."""
    fleet = fleet_of(tmp_path)
    fleet.at("hive2", "swap", breaks("frozen"))

    def told(event: Event) -> None:
        if isinstance(event, Stopped):
            fleet.advance(CERTAIN)
            fleet.hosts["hive2"].end_leases()
            fleet.hosts["hive2"].fault = None

    ann = Watcher(fleet, on_event=told)
    assert ann.rotate() is not ExitCode.DONE
    assert sum(isinstance(event, Stopped) for event in ann.events) == 1
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert slots_used(fleet) == []
    assert ann.states["hive2"] is State.ROLLED_BACK


def test_a_host_that_lets_us_in_and_says_nothing_is_not_waited_for_three_times(tmp_path: Path) -> None:
    """Each new line is quiet from its first request on: nothing was heard in between, so one lease counts."""
    fleet = fleet_of(tmp_path)

    def falls_mute(_: SimulatedHost) -> None:
        for request in range(1, 20):
            fleet.cut("hive3", "request", when="after", nth=request, silent=True)

    fleet.at("hive3", "swap", falls_mute)
    ann = Watcher(fleet)
    ann.rotate()
    assert ann.seconds("hive3") <= CERTAIN + QUIET


def test_a_dial_that_takes_too_long_is_not_waited_for_and_leaves_no_line_open(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=1)
    goes_on, closed = threading.Event(), threading.Event()

    class Closing(InProcessLine):
        def close(self) -> None:
            super().close()
            closed.set()

    class Slow(InProcessDialer):
        line_type = Closing

        def dial(self, host: Host) -> InProcessLine | Cause:
            assert goes_on.wait(60)
            return super().dial(host)

    host = fleet.inventory.hosts[1]
    session = EngineSession(host, Slow(fleet), Policy(), Greeting("inprocess", KEY, "run-1", "ann@bastion"))
    began = time.monotonic()
    cause = session.open(within=0.05)
    assert cause is not None
    assert (cause.trouble, time.monotonic() - began < 30) == (Trouble.NO_CONNECTION, True)
    goes_on.set()
    assert closed.wait(60), "the line that came too late is left open"
