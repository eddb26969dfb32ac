"""A worker may die, fall silent or lie: its own hosts pay for that, and no other."""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys import __version__
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Amount, Fleet, Policy
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Event, Intent, Outcome, Phase, RunEnded, State, Status
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.recorder import Recorder
from hivekeys.journal.run import REVOKE, Run
from hivekeys.journal.store import facts_of
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.shards import messages
from hivekeys.rotation.shards.link import Link, LinkLostError
from hivekeys.rotation.shards.messages import Begin, Done, Failed, Order, Ready, Recorded
from hivekeys.rotation.shards.processes import start_worker
from hivekeys.rotation.shards.remote import Beside, RemoteShard
from hivekeys.token import generate
from tests.builders.operator import Operator, serving
from tests.builders.project import PROJECT
from tests.inprocess import InProcessFleet

POLICY = Policy(batch=Amount(2), max_failures=Amount(0), revocation_recheck=0.0)
NOW = Moment(1_790_000_000.0, 5.0)


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=4, policy=POLICY)


# -- one that dies


def test_a_worker_that_dies_is_started_anew_and_the_rotation_goes_on(fleet: InProcessFleet) -> None:
    killed: list[str] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Intent) and event.phase is Phase.CANARY and not killed:
            killed.append(event.host)
            assert ann.workers
            ann.workers.kill(1)  # hive1's, with its intent on the disk and nothing done

    ann = Operator(fleet, workers=2, on_event=on_event)
    assert ann.rotate() is ExitCode.DONE
    assert killed == ["hive1"]
    assert ann.workers
    assert ann.workers.started == 3
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert [event.status for event in ann.outcomes("hive1") if event.phase is Phase.CANARY] == [Status.OK]


def test_hosts_of_the_other_worker_never_hear_of_it(fleet: InProcessFleet) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, Intent) and event.phase is Phase.CANARY and ann.workers and ann.workers.started == 2:
            ann.workers.kill(1)

    ann = Operator(fleet, workers=2, on_event=on_event)
    ann.rotate()
    others = [event for name in ("queen", "hive2", "hive4") for event in ann.outcomes(name)]
    assert {event.status for event in others} == {Status.OK}


def test_one_that_dies_again_and_again_is_given_up_and_its_hosts_are_named(fleet: InProcessFleet) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, Intent) and event.host in ("hive1", "hive3") and ann.workers:
            for number in range(1, ann.workers.started):
                ann.workers.kill(number)

    ann = Operator(fleet, workers=2, on_event=on_event, task=REVOKE)
    assert ann.revoke() is ExitCode.INCOMPLETE
    assert set(ann.troubles) == {"hive1", "hive3"}
    assert {name for name, state in ann.states.items() if state is State.PROVEN} == {"queen", "hive2", "hive4"}


def test_what_cannot_be_written_ends_the_run_with_its_own_error(fleet: InProcessFleet) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, Outcome) and event.phase is Phase.STAGE:
            raise UserError("the disk is full", code=ExitCode.INCOMPLETE)

    ann = Operator(fleet, workers=2, on_event=on_event)
    with pytest.raises(UserError, match="the disk is full"):
        ann.rotate()
    ann.runner.close()
    assert set(serving(fleet, ann.token).values()) == {"old"}


# -- one that lies


class Scripted:
    """A shard of hive1, whose worker says what the test has it say. `events`: what was believed."""

    def __init__(self, fleet: Fleet) -> None:
        self.events: list[Event] = []
        self.shard = RemoteShard(fleet, fleet.hosts[1:2], self._start, Beside())
        recorder = Recorder(self.events.extend, past=Run(id="run-1", hosts={"hive1": HostRun("hive1")}))
        self.controllers = self.shard.begin(recorder, lambda: False, meters=False)

    def close(self) -> None:
        """Ends both."""
        self.theirs.close()
        self.link.close()
        self.shard.close()

    def _start(self) -> Link:
        ours, theirs = socket.socketpair()
        self.theirs = theirs
        self.link = Link(theirs.dup())
        return Link(ours)

    def says(self, *said: messages.Upward) -> None:
        """To whatever it is told."""
        for message in said:
            self.link.send(message)

    def order(self) -> Done:
        """What an order comes to."""
        return self.shard.carry_out(self.shard.hosts[0], messages.Look(), None, starts=False)


@pytest.fixture
def scripted(fleet: InProcessFleet) -> Iterator[Scripted]:
    """Ready to lie."""
    with contextlib.closing(Scripted(fleet.inventory)) as made:
        yield made


@pytest.mark.parametrize(
    "event",
    [
        Intent("hive2", Phase.LOOK, (), NOW),
        Outcome("queen", Phase.LOOK, Status.FAILED, State.FAILED, NOW, Cause(Trouble.RUBBISH)),
        RunEnded(ExitCode.DONE, NOW),
    ],
    ids=["an-intent-of-another-host", "an-outcome-of-the-queen", "the-end-of-the-run"],
)
def test_a_worker_speaks_for_its_own_hosts_alone(scripted: Scripted, event: Event) -> None:
    scripted.says(Recorded(1, ((type(event).__name__, facts_of(event)),)))
    with pytest.raises(LinkLostError, match=f"what is not its affair: {type(event).__name__}"):
        scripted.order()
    assert scripted.events == []


@pytest.mark.parametrize(
    ("kind", "facts"), [("Outcome", "{}"), ("Nothing", "{}"), ("Intent", "["), ("Intent", "[" * 9999)]
)
def test_an_event_that_is_none_ends_its_worker(scripted: Scripted, kind: str, facts: str) -> None:
    scripted.says(Recorded(1, ((kind, facts),)))
    with pytest.raises(LinkLostError, match="an event that is none"):
        scripted.order()


@pytest.mark.parametrize("data", [b"", b"Done", b"Done\n{", b"Order\n{}", b"\xff\xfe\n\n", b"Alive\n[1]"])
def test_bytes_that_are_no_message_end_their_worker(scripted: Scripted, data: bytes) -> None:
    scripted.theirs.sendall(struct.pack("!i", len(data)) + data)
    with pytest.raises(LinkLostError, match="that are no message"):
        scripted.order()


def test_a_message_that_is_announced_as_too_large_is_not_read(scripted: Scripted) -> None:
    scripted.theirs.sendall(struct.pack("!i", 2**31 - 1))
    with pytest.raises(LinkLostError):
        scripted.order()


def test_what_a_run_is_told_is_said_by_no_worker(scripted: Scripted) -> None:
    scripted.link.send(messages.Interrupt())
    with pytest.raises(LinkLostError, match="what no worker says"):
        scripted.order()


def test_an_answer_to_an_order_that_was_not_given_changes_nothing(scripted: Scripted) -> None:
    scripted.says(
        Done(4711, token="x" * 64), Failed(0, "the known_hosts file is not there", "make one", ExitCode.USAGE)
    )
    with pytest.raises(UserError, match="the known_hosts file is not there") as refused:
        scripted.order()
    assert refused.value.code is ExitCode.USAGE
    assert scripted.events == []


def test_a_token_that_is_not_the_one_asked_for_is_not_taken(scripted: Scripted) -> None:
    wanted, other = generate(), generate()
    scripted.link.receive()  # what it begins with

    def answer() -> None:
        while not isinstance(order := scripted.link.receive(), Order):
            pass
        scripted.link.send(Done(order.number, token=other.reveal()))

    worker = threading.Thread(target=answer)
    worker.start()
    assert scripted.controllers[0].read_token(wanted.fingerprint(b"k"), b"k") is None
    worker.join()


def test_an_order_that_is_done_without_an_outcome_leaves_the_host_unreachable(scripted: Scripted) -> None:
    def answer() -> None:
        for _ in range(2):
            while not isinstance(order := scripted.link.receive(), Order):
                pass
            scripted.link.send(Done(order.number))

    worker = threading.Thread(target=answer)
    worker.start()
    outcome = scripted.controllers[0].look()
    worker.join()
    assert (outcome.status, outcome.cause) == (
        Status.UNREACHABLE,
        Cause(Trouble.LINE_BROKEN, "its worker did not say what became of it"),
    )


# -- messages


@given(st.binary(max_size=200))
def test_no_bytes_make_more_than_one_kind_of_error(data: bytes) -> None:
    with contextlib.suppress(messages.GarbledError):
        messages.decode(data)


def test_no_message_shows_a_token_or_a_password(fleet: InProcessFleet) -> None:
    token = generate().reveal()
    greeting = Greeting("blue", b"", "run-1", "ann@bastion")
    shown = [
        messages.Introduction(1, greeting, (token,)),
        Done(1, token=token),
        Begin(1, "0", fleet.inventory, (), Run(hosts={}), (), False, {}, token, token),
    ]
    assert [message for message in shown if token in repr(message)] == []


@pytest.mark.parametrize(
    "act",
    [
        messages.Look(),
        messages.LookAgain(None),
        messages.Claim((None, generate().fingerprint(b"k")), patient=True),
        messages.Fence(),
        messages.Uncordon(Phase.WAVE, Status.FAILED, State.CORDONED, Cause(Trouble.HOOK_FAILED, "after: ended with 1")),
        messages.ReadToken(generate().fingerprint(b"k")),
        messages.ReadMeter(),
        messages.Connect(),
        messages.Close(),
    ],
    ids=lambda act: act.act,
)
def test_an_order_arrives_as_it_was_given(act: messages.Act) -> None:
    order = Order(7, "hive1", 3, act)
    assert messages.decode(messages.encode(order)) == order


def test_a_worker_is_told_its_hosts_as_the_inventory_has_them(fleet: InProcessFleet) -> None:
    begin = Begin(1, "0", fleet.inventory, ("hive1",), Run(hosts={}), ("audit",), False, {}, "00", None)
    assert messages.decode(messages.encode(begin)) == begin


# -- real processes


def test_a_worker_of_another_version_says_which_one_it_is(fleet: InProcessFleet) -> None:
    link = start_worker()
    link.send(Begin(messages.FORM, "0.0.1", fleet.inventory, (), Run(hosts={}), (), False, {}, "00", None))
    answer = link.receive()
    link.close()
    assert isinstance(answer, Failed)
    assert __version__ in answer.message


def test_a_worker_is_in_no_list_of_processes_with_a_secret_and_hears_no_ctrl_c(fleet: InProcessFleet) -> None:
    secret = generate().reveal()
    before = children_of(os.getpid())
    link = start_worker()
    (pid,) = set(children_of(os.getpid())) - set(before)
    link.send(Begin(messages.FORM, __version__, fleet.inventory, (), Run(hosts={}), (), False, {}, "00", secret))
    assert isinstance(link.receive(), Ready)
    assert secret not in Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    link.send(messages.End())
    with pytest.raises(LinkLostError, match="it has ended"):
        link.receive()
    link.close()
    assert not Path(f"/proc/{pid}").exists()


def test_a_worker_ends_with_the_run_that_started_it() -> None:
    program = (
        "import sys\n"
        "from hivekeys.rotation.shards.processes import start_worker\n"
        "link = start_worker()\n"
        "print('started', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) as run:
        assert run.stdout
        assert run.stdout.readline() == b"started\n"
        (worker,) = children_of(run.pid)
        with open_process(worker) as ended:
            run.kill()
            run.wait()
            assert select.select([ended], [], [], 60)[0]


def children_of(parent: int) -> list[int]:
    """The processes that this one has started."""
    files = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for file in files for pid in file.read_text().split()]


@contextlib.contextmanager
def open_process(pid: int) -> Iterator[int]:
    """A descriptor that can be read once the process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
