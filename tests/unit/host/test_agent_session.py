"""An agent's session: whose fleet, whose lock, when it leaves; and the real process as the bootstrap starts it."""

import fcntl
import json
import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hivekeys.host import agent
from hivekeys.host.serving import GRACE_SECONDS, answer
from hivekeys.host.state import POLL_SECONDS
from hivekeys.token import Token, generate
from tests.builders.agent_process import Process, state, wait_until_open
from tests.inprocess import KEY, InProcessFleet, InProcessLine, Session, SimulatedHost, hello


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return InProcessFleet(tmp_path, hives=1).hosts["hive1"]


# -- whose fleet


def test_the_first_run_that_writes_leaves_the_fleets_name(host: SimulatedHost) -> None:
    greeting = Session(host, fleet="blue").greeting
    assert (greeting["changed"], greeting["facts"]["fleet"]) == (True, "")
    assert (state(host) / "fleet").read_text() == "blue\n"
    assert state(host).stat().st_mode & 0o777 == 0o700


def test_another_fleets_host_is_refused_and_its_lock_let_go(host: SimulatedHost) -> None:
    Session(host, fleet="blue").line.close()
    session = Session(host, fleet="green", run="run-2")
    assert session.greeting["trouble"] == "wrong-fleet"
    assert "blue" in session.greeting["detail"]
    assert Session(host, fleet="blue", run="run-3").greeting["ok"]


def test_a_host_says_which_machine_it_is_by_the_fleets_key_alone(tmp_path: Path) -> None:
    """So that two names of one are told from two; and nobody who hears it learns the machine's own id."""
    hosts = InProcessFleet(tmp_path, hives=2).hosts
    said = {name: Session(host, write=False).greeting["facts"]["machine"] for name, host in hosts.items()}
    assert all(re.fullmatch("[0-9a-f]{64}", machine) for machine in said.values())
    assert len(set(said.values())) == len(hosts)
    assert Session(hosts["queen"]).greeting["facts"]["machine"] == said["queen"]
    another = hello(hosts["queen"]) | {"key": bytes(32).hex()}
    assert Session(hosts["queen"]).ask(another)[0]["facts"]["machine"] != said["queen"]


def test_a_state_directory_that_others_can_write_is_refused(host: SimulatedHost) -> None:
    state(host).mkdir(mode=0o777)
    state(host).chmod(0o777)
    assert Session(host).greeting["trouble"] == "token-unsafe"


def test_a_state_directory_that_is_a_link_is_refused(host: SimulatedHost, tmp_path: Path) -> None:
    state(host).symlink_to(tmp_path)
    assert Session(host).greeting["trouble"] == "write-failed"


def test_a_session_that_only_reads_leaves_no_trace(host: SimulatedHost) -> None:
    session = Session(host, write=False)
    assert session.greeting["ok"]
    assert not state(host).exists()


def test_a_session_that_only_reads_cannot_write(host: SimulatedHost) -> None:
    with pytest.raises(RuntimeError, match="lock"):
        Session(host, write=False).do("stage", token=generate().reveal())


def test_a_session_may_claim_the_host_later_and_let_it_go_again(host: SimulatedHost) -> None:
    first = Session(host, write=False)
    assert first.ask(hello(host))[0]["ok"]
    assert first.ask(hello(host))[0]["ok"]
    assert Session(host, run="run-2").greeting["trouble"] == "host-busy"
    assert first.ask(hello(host, write=False))[0]["ok"]
    assert Session(host, run="run-2").greeting["ok"]


def test_tokens_of_the_greeting_are_known_to_proofs_but_not_written(host: SimulatedHost) -> None:
    token = generate()
    session = Session(host, tokens=(token,))
    assert token.fingerprint(KEY).keyed in session.line.agent.secrets.known
    assert host.slots()["staged"] is None


def test_a_second_greeting_does_not_forget_the_way_back(host: SimulatedHost) -> None:
    token = generate()
    session = Session(host, tokens=(token,))
    session.ask(hello(host))
    assert token.fingerprint(KEY).keyed in session.line.agent.secrets.known


def test_a_greeting_without_time_is_refused_like_any_other_step(host: SimulatedHost) -> None:
    line = InProcessLine(host)
    reply = line.ask({"steps": [hello(host)], "deadline": 0.0}, 10.0)
    assert isinstance(reply, dict)
    assert '"deadline"' in json.dumps(reply)


# -- whose lock


def test_a_second_run_is_told_who_is_at_work(host: SimulatedHost) -> None:
    first = Session(host, run="run-1")
    greeting = Session(host, run="run-2").greeting
    assert greeting["trouble"] == "host-busy"
    assert re.fullmatch(
        r"run run-1 of ann@bastion \(pid \d+ on the host, login root\), at work for \d s, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC by the host's clock",
        greeting["detail"],
    )
    first.line.close()
    assert Session(host, run="run-3").greeting["ok"]


def test_since_when_is_since_the_work_began_however_often_it_was_greeted(host: SimulatedHost) -> None:
    first = Session(host, run="run-1")
    lock = state(host) / "lock"
    entry = json.loads(lock.read_text())
    lock.write_text(json.dumps({**entry, "since": entry["since"] - 3600}))
    first.ask(hello(host, run="run-1"))
    assert "at work for 360" in Session(host, run="run-2").greeting["detail"]


def test_the_lock_of_an_older_agent_that_says_no_time_is_named_all_the_same(host: SimulatedHost) -> None:
    first = Session(host, run="run-1")
    lock = state(host) / "lock"
    entry = json.loads(lock.read_text())
    lock.write_text(json.dumps({**entry, "since": None}))
    assert Session(host, run="run-2").greeting["detail"].startswith("run run-1 of ann@bastion (pid ")
    first.line.close()


def test_an_agent_that_this_run_left_behind_is_told_to_leave(host: SimulatedHost) -> None:
    first = Session(host, run="run-1")
    first.line.leave()
    assert Session(host, run="run-1").greeting["ok"]


def test_an_agent_that_another_run_left_behind_is_left_alone(host: SimulatedHost) -> None:
    Session(host, run="run-1").line.leave()
    assert Session(host, run="run-2").greeting["trouble"] == "host-busy"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b'"run-1"',
        b'{"run": "run-1"}',
        b'{"run": "run-1", "pid": -1}',
        b'{"run": "run-1", "pid": 1}',
        b'{"run": "run-1", "pid": "7"}',
    ],
)
def test_what_is_no_lock_entry_is_another_run_and_nobody_is_told_to_leave(host: SimulatedHost, content: bytes) -> None:
    Session(host).line.close()
    lock = state(host) / "lock"
    lock.write_bytes(content)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        greeting = Session(host, run="run-1").greeting
    assert (greeting["trouble"], host.terminated) == ("host-busy", [])


def test_a_lock_whose_holder_does_not_leave_is_waited_for_until_the_deadline(host: SimulatedHost) -> None:
    Session(host).line.close()
    lock = state(host) / "lock"
    lock.write_text(json.dumps({"run": "run-1", "sitting": [1, "aa"], "who": "ann", "pid": 4_000_000, "born": 1}))
    before = host.clock
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert Session(host, run="run-1").greeting["trouble"] == "host-busy"
    assert 99.0 < host.clock - before < 102.0


def test_a_lock_that_nobody_holds_is_taken_whatever_it_says(host: SimulatedHost) -> None:
    Session(host).line.close()
    (state(host) / "lock").write_bytes(b"\x00 rubbish")
    assert Session(host).greeting["ok"]


# -- whose turn


def begun(host: SimulatedHost, run: str, epoch: int, *, changes: bool = False, seen: Any = None) -> dict[str, Any]:
    """What a run is told that greets the host, and is gone again; or that brings a token there before it goes."""
    session = Session(host, run=run, epoch=epoch, write=False)
    (greeting,) = session.ask({**hello(host, run=run, epoch=epoch), "seen": seen})
    if changes:
        assert session.do("stage", token=generate().reveal())["ok"]
    session.line.close()
    return greeting


def test_a_run_learns_which_run_wrote_here_before(host: SimulatedHost) -> None:
    assert begun(host, "run-1", 1)["facts"]["epoch"] == 0
    facts = begun(host, "run-2", 2)["facts"]
    assert (facts["epoch"], facts["run"]) == (1, "run-1")


def test_a_run_that_comes_too_late_is_refused_and_holds_nothing(host: SimulatedHost) -> None:
    begun(host, "run-2", 2, changes=True)
    late = Session(host, run="run-1", epoch=1)
    assert (late.greeting["trouble"], late.greeting["detail"]) == ("superseded", "run run-2 of ann@bastion")
    assert late.line.agent.state.lock is None
    assert begun(host, "run-3", 3)["ok"]


def test_two_runs_cannot_have_one_epoch_but_one_run_may_come_again(host: SimulatedHost) -> None:
    begun(host, "run-1", 5, changes=True)
    assert begun(host, "run-2", 5)["trouble"] == "superseded"
    assert begun(host, "run-1", 5)["ok"]


def test_a_run_that_claimed_the_host_and_changed_nothing_stops_no_other(host: SimulatedHost) -> None:
    """It was refused elsewhere. The run that is at work, and older, goes on (promise 16)."""
    begun(host, "run-1", 5, changes=True)
    begun(host, "run-2", 6)
    facts = begun(host, "run-1", 5)["facts"]
    assert (facts["run"], facts["changed"]) == ("run-2", {"epoch": 5, "run": "run-1", "who": "ann@bastion"})


def test_who_looked_before_another_run_changed_the_host_comes_too_late_whatever_its_epoch(host: SimulatedHost) -> None:
    """It was paused between its look and its first change; what it saw is not so any more (hashicorp/vault#844)."""
    before = begun(host, "look", 0)["facts"]["changed"]
    begun(host, "run-1", 5, changes=True)
    assert begun(host, "run-2", 6, seen=before)["trouble"] == "superseded"
    assert begun(host, "run-1", 5, seen=before)["ok"], "its own change is no news"


def test_an_epoch_that_no_run_can_have_is_the_records_fault(host: SimulatedHost) -> None:
    begun(host, "run-1", 1)
    (state(host) / "run").write_text(json.dumps({"epoch": 10**15, "run": "x-1", "who": "a@b"}))
    greeting = begun(host, "run-2", 2)
    assert (greeting["trouble"], "run" in greeting["detail"]) == ("record-unsound", True)


# -- the same run twice


def test_a_copy_of_the_state_folder_is_not_let_in_beside_the_run_it_is_a_copy_of(host: SimulatedHost) -> None:
    first = Session(host, run="run-1", sitting=(1, "aa"))
    assert Session(host, run="run-1", sitting=(2, "bb")).greeting["trouble"] == "host-busy"
    assert first.do("probe_write")["ok"]


def test_a_journal_from_before_the_run_was_taken_up_again_is_too_old_to_go_on(host: SimulatedHost) -> None:
    """A snapshot of the bastion, put back after the run was taken back: it would make a second token for the run."""
    for sitting in ((1, "aa"), (2, "bb")):
        Session(host, run="run-1", sitting=sitting).line.close()
    for sitting in ((1, "aa"), (2, "cc")):
        greeting = Session(host, run="run-1", sitting=sitting).greeting
        assert (greeting["trouble"], "elsewhere" in greeting["detail"]) == ("superseded", True)
    assert Session(host, run="run-1", sitting=(3, "dd")).greeting["ok"]


# -- a session that somebody holds open


def test_a_session_that_somebody_holds_open_is_ended_by_who_takes_over(host: SimulatedHost) -> None:
    thief = Session(host, run="thief").line.agent.system.pid()
    assert Session(host, run="run-1").greeting["trouble"] == "host-busy"
    assert Session(host, run="run-1", take_over=True).greeting["ok"]
    assert host.terminated == [thief]


def test_one_that_does_not_leave_is_killed(host: SimulatedHost) -> None:
    thief = Session(host, run="thief").line.agent.system.pid()
    host.deaf.add(thief)
    before = host.clock
    assert Session(host, run="run-1", take_over=True).greeting["ok"]
    assert 3.0 <= host.clock - before < 4.0


# -- what a full or damaged record does


def test_a_record_that_is_too_large_is_a_refusal_and_not_an_empty_one(host: SimulatedHost) -> None:
    begun(host, "run-1", 1)
    stones = [{"salt": "00" * 16, "digest": "00" * 32, "run": "r"}] * 12_000
    (state(host) / "tombstones").write_text(json.dumps(stones))
    assert begun(host, "run-2", 2)["trouble"] == "record-unsound"
    assert len(json.loads((state(host) / "tombstones").read_text())) == 12_000


def test_more_tokens_than_a_run_can_mean_are_not_kept_in_memory(host: SimulatedHost) -> None:
    session = Session(host)
    told = tuple(generate() for _ in range(70))
    (result,) = session.ask(hello(host, tokens=told))
    assert result["trouble"] == "token-unsafe"


def test_a_unit_can_be_stopped_on_a_host_whose_disk_gives_no_lock(host: SimulatedHost) -> None:
    assert Session(host, write=False).do("fence")["changed"]
    assert host.unit_state == "inactive"


def test_but_not_while_another_run_has_the_host(host: SimulatedHost) -> None:
    Session(host, run="run-1")
    assert Session(host, run="run-2", write=False).do("fence")["trouble"] == "host-busy"


def test_a_look_takes_no_turn(host: SimulatedHost) -> None:
    begun(host, "run-1", 5)
    session = Session(host, run="look", epoch=9, write=False)
    assert (session.greeting["facts"]["epoch"], begun(host, "run-1", 5)["ok"]) == (5, True)


@pytest.mark.parametrize("content", [b"[]", b"7", b"{", b'{"epoch": "x"}', b'{"epoch": null}', b"\xff"])
def test_a_spoilt_note_of_the_last_run_is_refused(host: SimulatedHost, content: bytes) -> None:
    begun(host, "run-1", 1)
    (state(host) / "run").write_bytes(content)
    assert begun(host, "run-2", 2)["trouble"] == "record-unsound"


# -- a token that is asked for


def test_the_run_that_holds_the_lock_is_told_a_token_that_a_slot_holds(host: SimulatedHost) -> None:
    token = host.fleet.token
    result = Session(host).do("recall", want=token.fingerprint(KEY).keyed)
    assert result["facts"] == {"token": token.reveal()}


def test_nobody_is_told_a_token_without_the_lock_or_without_its_fingerprint(host: SimulatedHost) -> None:
    token = host.fleet.token
    look = Session(host, write=False)
    results = [
        look.do("recall", want=token.fingerprint(KEY).keyed),
        Session(host).do("recall", want=generate().fingerprint(KEY).keyed),
    ]
    assert [result["trouble"] for result in results] == ["slot-changed", "slot-changed"]
    assert token.reveal() not in json.dumps(results)


# -- requests


def test_after_a_failure_only_a_last_look_is_taken(host: SimulatedHost) -> None:
    results = Session(host).ask({"verb": "swap", "want": "0" * 64}, {"verb": "restart"}, {"verb": "observe"})
    assert [(result["verb"], result["ok"]) for result in results] == [("swap", False), ("observe", True)]


def test_once_the_line_has_ended_no_further_step_begins(host: SimulatedHost) -> None:
    token = generate()
    session = Session(host)
    host.fleet.at("hive1", "stage", lambda _: session.line.agent.deadline.gone.set(), when="after")
    results = session.ask(
        {"verb": "stage", "token": token.reveal()},
        {"verb": "swap", "want": token.fingerprint(KEY).keyed},
        {"verb": "observe"},
    )
    assert [result["verb"] for result in results] == ["stage"]
    assert host.active_token() == host.fleet.token.reveal()


def test_once_the_line_has_ended_nobody_waits_for_health(host: SimulatedHost) -> None:
    host.stop()
    host.unit_state = "activating"
    session = Session(host)
    host.fleet.at("hive1", "prove", lambda _: session.line.agent.deadline.gone.set())
    before = host.clock
    assert session.do("prove")["trouble"] == "line-broken"
    assert host.clock == before


def test_no_step_begins_when_the_time_is_over(host: SimulatedHost) -> None:
    (result,) = Session(host).ask({"verb": "stage", "token": generate().reveal()}, deadline=0.0)
    assert result["trouble"] == "deadline"
    assert host.slots()["staged"] is None


def test_a_request_that_was_held_up_until_its_bastion_gave_up_changes_nothing(host: SimulatedHost) -> None:
    """A frozen sshd hands it on when it thaws: the bastion has called the host unknown by then."""
    session = Session(host)
    request = {"steps": [{"verb": "stage", "token": generate().reveal()}, {"verb": "observe"}], "deadline": 30.0}
    reply = answer(session.line.agent, {**request, "expires": host.clock})
    assert [(result["verb"], result["trouble"]) for result in reply["results"]] == [("stage", "deadline")]
    assert host.slots()["staged"] is None
    late = agent.Agent(str(host.root), session.line.agent.system)
    reply = answer(late, {"steps": [hello(host)], "deadline": 30.0, "expires": host.clock - 1.0})
    assert [result["trouble"] for result in reply["results"]] == ["deadline"]


def test_no_step_begins_when_the_bastion_waits_no_more(host: SimulatedHost) -> None:
    """The request came in time, and its own time is longer than what the bastion has left."""
    session = Session(host)
    host.fault, host.slow_seconds = "start-slow", 500.0
    host.start()
    began = host.clock
    answer(session.line.agent, {"steps": [{"verb": "prove"}], "deadline": 60.0, "expires": began + 5.0})
    assert host.clock - began <= 5.0 + POLL_SECONDS


def test_a_last_look_is_taken_even_when_a_step_used_up_the_time(host: SimulatedHost) -> None:
    session = Session(host)
    host.fault, host.slow_seconds = "start-slow", 500.0
    host.start()
    results = session.ask({"verb": "prove"}, {"verb": "observe"}, deadline=7.0)
    assert [result["ok"] for result in results] == [False, True], results


def test_a_hanging_systemctl_costs_the_deadline_and_no_more(host: SimulatedHost) -> None:
    session = Session(host)
    host.systemctl_hangs = True
    before = host.clock
    results = session.ask({"verb": "restart"}, {"verb": "observe"}, deadline=7.0)
    assert [result["trouble"] for result in results] == ["deadline", "deadline"]
    assert host.clock - before <= 7.0 + GRACE_SECONDS


# -- the real process


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.clean_up()


def test_a_real_agent_leaves_no_memory_in_a_core_dump(host: SimulatedHost, processes: list[Process]) -> None:
    """Not where core_pattern is a pipe, which asks no limit but 1; and no memory in one that comes about otherwise."""
    processes.append(real := Process(host).ready())
    proc = Path(f"/proc/{real.process.pid}")
    (limit,) = [line.split() for line in (proc / "limits").read_text().splitlines() if "core file" in line]
    may_raise = os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_CORE)[1] != 0
    assert limit[4:6] == (["1", "1"] if may_raise else ["0", "0"])
    assert int((proc / "coredump_filter").read_text(), 16) == 0


def test_a_real_process_carries_out_every_verb_that_needs_no_systemd(
    host: SimulatedHost, processes: list[Process]
) -> None:
    processes.append(real := Process(host).ready())
    old, new = host.fleet.token, generate()
    want, back = new.fingerprint(KEY).keyed, old.fingerprint(KEY).keyed
    assert real.hello()["ok"]
    results = real.ask(
        {"verb": "probe_write"},
        {"verb": "stage", "token": new.reveal()},
        {"verb": "swap", "want": want},
        {"verb": "revert", "want": back},
        {"verb": "stage", "token": new.reveal()},
        {"verb": "swap", "want": want},
        {"verb": "retire", "want": want},
        {"verb": "discard"},
    )
    assert [result["ok"] for result in results] == [True] * 8, results
    assert host.slots() == {"active": new.reveal(), "staged": None, "previous": None}
    real.stdin.close()
    assert real.end() == (0, "")


def test_at_the_end_of_its_input_the_agent_leaves_and_its_lock_with_it(
    host: SimulatedHost, processes: list[Process]
) -> None:
    processes.append(first := Process(host, "run-1").ready())
    processes.append(second := Process(host, "run-2").ready())
    assert first.hello()["ok"]
    assert second.hello()["trouble"] == "host-busy"
    first.stdin.close()
    assert first.end() == (0, "")
    assert second.hello()["ok"]


def test_a_killed_agents_lock_is_free(host: SimulatedHost, processes: list[Process]) -> None:
    processes.append(first := Process(host, "run-1").ready())
    processes.append(second := Process(host, "run-2").ready())
    assert first.hello()["ok"]
    first.process.kill()
    first.end()
    assert second.hello()["ok"]


def test_the_same_runs_next_agent_sends_the_one_left_behind_away(host: SimulatedHost, processes: list[Process]) -> None:
    processes.append(first := Process(host, "run-1").ready())
    processes.append(second := Process(host, "run-1").ready())
    assert first.hello()["ok"]
    assert second.hello()["ok"]
    status, said = first.end()
    assert status in (-signal.SIGTERM, 0)  # 0: its answer was out and it was not idle yet
    assert said == ""


def test_sigterm_lets_a_working_agent_answer_and_leave(host: SimulatedHost, processes: list[Process]) -> None:
    """Here the step in hand is to wait for a lock; it is given up, and its refusal still arrives."""
    processes.append(first := Process(host, "run-1").ready())
    assert first.hello()["ok"]
    lock = state(host) / "lock"
    entry = json.loads(lock.read_text())
    lock.write_text(json.dumps({**entry, "born": 0}))  # so that the second waits and tells nobody to leave
    processes.append(second := Process(host, "run-1").ready())
    second.send(json.dumps({"steps": [hello(host)], "deadline": 20.0}).encode() + b"\n")
    wait_until_open(second.process.pid, lock)
    second.process.send_signal(signal.SIGTERM)
    assert json.loads(second.stdout.readline())["results"][0]["trouble"] == "line-broken"
    assert second.end() == (0, "")


def test_an_agent_that_nobody_asks_anything_leaves(host: SimulatedHost, processes: list[Process]) -> None:
    call = "serve(Agent(sys.argv[1]), i, sys.stdout.buffer, lease=0.05); import os; os._exit(3)"
    processes.append(idle := Process(host, call=call))
    assert idle.end() == (3, "")


@pytest.mark.parametrize("sign", [b"\n", b"!\n"], ids=["life", "the run is ended"])
def test_a_sign_of_the_bastion_is_no_request_and_has_no_answer(
    host: SimulatedHost, processes: list[Process], sign: bytes
) -> None:
    processes.append(real := Process(host).ready())
    assert real.hello()["ok"]
    for _ in range(3):
        real.send(sign)
    assert [result["verb"] for result in real.ask({"verb": "probe_write"})] == ["probe_write"]
    real.stdin.close()
    assert real.end() == (0, "")


@pytest.mark.parametrize(
    "request_of",
    [
        '{{"steps": [{{"verb": "stage", "token": "{secret}"}}], "deadline": 5',
        '{{"steps": [{{"verb": "stage", "tokens": "{secret}"}}], "deadline": 5}}',
        '{{"steps": [{{"verb": "{secret}"}}], "deadline": 5}}',
        '{{"steps": [{{"{secret}": 1}}], "deadline": 5}}',
        '{{"steps": [{{"verb": "swap", "want": "{secret}"}}], "deadline": 5}}',
        '{{"steps": [{{"verb": "stage", "token": "{secret}"}}], "deadline": "{secret}"}}',
        '"{secret}"',
        "{secret}",
    ],
)
def test_a_broken_request_ends_the_agent_with_one_line_that_holds_none_of_it(
    host: SimulatedHost, processes: list[Process], request_of: str
) -> None:
    secret = generate().reveal()
    processes.append(real := Process(host).ready())
    real.send(request_of.format(secret=secret).encode() + b"\n")
    status, said = real.end()
    assert status == 70
    assert said.startswith("hivekeys agent: ")
    assert said.count("\n") == 1
    assert secret[:8] not in said


def test_the_agents_fingerprints_are_the_bastions(host: SimulatedHost) -> None:
    token: Token = generate()
    shown = Session(host).line.agent.secrets.fingerprint(token.reveal())
    assert (shown["keyed"], shown["fp6"]) == (token.fingerprint(KEY).keyed, token.fingerprint(KEY).fp6)


def test_the_agents_children_cannot_inherit_its_lock(host: SimulatedHost) -> None:
    lock = Session(host).line.agent.state.lock
    assert lock is not None
    assert not os.get_inheritable(lock)
