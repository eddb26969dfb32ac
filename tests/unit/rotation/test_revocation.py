"""A token leaked: what the fleet looks like afterwards, whatever its hosts were up to, and what never comes back."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Host, Policy
from hivekeys.host.serving import LEASE_SECONDS
from hivekeys.host.state import STATE
from hivekeys.journal.events import Outcome, Phase, PhaseStarted, Retried, State, TokensRevoked, Waiting
from hivekeys.journal.fold import fold
from hivekeys.journal.progress import holder_of
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.report import next_step
from hivekeys.report.incident import checklist
from hivekeys.rotation.host import LOCK_PATIENCE
from hivekeys.ssh.line import LEASE
from hivekeys.token import Token, generate
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.inprocess import KEY, InProcessDialer, InProcessFleet, InProcessLine, Session, SharedClock

DONE, OPEN, LOCKED = ExitCode.DONE, ExitCode.INCOMPLETE, ExitCode.LOCKED
POLICY = Policy(revocation_recheck=0.0)


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """A queen and three hives with one token, which has leaked."""
    return InProcessFleet(tmp_path, policy=POLICY)


def responder(fleet: InProcessFleet, **settings: object) -> Operator:
    """Whoever is called that night."""
    return Operator(fleet, task=REVOKE, **settings)  # type: ignore[arg-type]  # a test's own keywords


def again(operator: Operator) -> Operator:
    """The same run taken up again from its journal, with nothing in memory."""
    return responder(operator.fleet, past=fold(operator.events), token=operator.token)


def held(fleet: InProcessFleet, name: str, token: Token) -> bool:
    return token.reveal() in fleet.hosts[name].slots().values()


# -- how it ends


def test_every_host_serves_the_new_token_refuses_the_old_one_and_holds_no_copy_of_it(fleet: InProcessFleet) -> None:
    ann = responder(fleet)
    assert ann.revoke() is DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert slots_used(fleet) == []
    assert set(ann.states.values()) == {State.PROVEN}


def test_the_queen_turns_first_then_all_hives_at_once(fleet: InProcessFleet) -> None:
    responder(fleet).revoke()
    restarts = [entry.host for entry in fleet.log if entry.verb == "restart"]
    assert restarts[0] == "queen"
    assert fleet.out_together[0] == {"queen"}
    assert sorted(restarts) == ["hive1", "hive2", "hive3", "queen"]


def test_where_it_is_told_to_so_many_hives_turn_together(fleet: InProcessFleet) -> None:
    ann = responder(fleet, batch=Amount(2))
    assert ann.revoke() is DONE
    waves = [event.hosts for event in ann.events if isinstance(event, PhaseStarted) and event.phase is Phase.WAVE]
    assert waves == [("hive1", "hive2"), ("hive3",)]


def test_every_host_is_asked_a_second_time_whether_it_refuses_the_old_token(fleet: InProcessFleet) -> None:
    ann = responder(fleet)
    ann.revoke()
    settled = [event for event in ann.events if isinstance(event, Outcome) and event.phase is Phase.SETTLE]
    assert {event.host: event.proof and event.proof.calls["old"] for event in settled} == dict.fromkeys(
        fleet.hosts, 401
    )


def test_a_service_that_takes_the_old_token_again_out_of_a_cache_is_open(fleet: InProcessFleet) -> None:
    hive = fleet.hosts["hive2"]

    def remembers(event: object) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.SETTLE:
            hive.also_accepts.add(fleet.token.reveal())

    ann = responder(fleet, on_event=remembers)
    assert ann.revoke() is OPEN
    assert ann.troubles == {"hive2": Trouble.OLD_ACCEPTED}
    assert ann.runner.run.hosts["hive2"].refused is None
    assert held(fleet, "hive2", fleet.token), "there must be somebody to ask with, until it refuses"


def test_while_it_waits_for_caches_services_are_seen_to_stay_up_and_are_not_waited_for_again(
    fleet: InProcessFleet,
) -> None:
    clocks: list[set[float]] = []

    def waits(event: object) -> None:
        if isinstance(event, PhaseStarted) and event.phase in (Phase.SETTLE, Phase.RETIRE):
            fleet.advance(10.0)
            clocks.append({host.clock for host in fleet.hosts.values()})

    assert responder(fleet, on_event=waits).revoke() is DONE
    settling, retiring = clocks
    assert retiring == {clock + 10.0 for clock in settling}


def test_hosts_that_had_different_tokens_refuse_all_of_them(fleet: InProcessFleet) -> None:
    """hive3 owes an earlier rotation: its older token is no safer than the one that leaked."""
    older = generate()
    fleet.hosts["hive3"].write(older)
    fleet.hosts["hive3"].start()
    fleet.hosts["hive1"].also_accepts.add(older.reveal())
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert ann.troubles == {"hive1": Trouble.OLD_ACCEPTED}
    fleet.hosts["hive1"].also_accepts.clear()
    assert again(ann).revoke() is DONE


# -- hosts that fail


@pytest.mark.parametrize(
    ("fault", "state", "trouble"),
    [
        ("link-down", State.UNREACHABLE, Trouble.NO_CONNECTION),
        ("sshd-frozen", State.UNREACHABLE, Trouble.NO_BANNER),
        ("start-fails", State.FAILED, Trouble.START_FAILED),
        ("keeps-old-token", State.FAILED, Trouble.NEW_REFUSED),
        ("accepts-any-token", State.FAILED, Trouble.FAIL_OPEN),
        ("disk-full", State.FAILED, Trouble.WRITE_FAILED),
        ("read-only", State.FAILED, Trouble.WRITE_FAILED),
    ],
)
def test_a_host_that_fails_is_named_and_stops_nobody(
    fleet: InProcessFleet, fault: str, state: State, trouble: Trouble
) -> None:
    fleet.hosts["hive2"].fault = fault
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert ann.states == dict.fromkeys(fleet.hosts, State.PROVEN) | {"hive2": state}
    assert ann.troubles == {"hive2": trouble}
    assert ann.runner.run.debts == ("hive2",)


@pytest.mark.parametrize("fault", ["link-down", "start-fails", "keeps-old-token", "accepts-any-token"])
def test_the_checklist_calls_a_service_restarted_only_when_it_runs_on_the_new_token(
    fleet: InProcessFleet, fault: str
) -> None:
    """Its file may have the new token, and the process another or none. Who starts it does not matter."""
    hive = fleet.hosts["hive2"]
    hive.fault = fault
    ann = responder(fleet)
    ann.revoke()
    (box,) = [item for item in checklist(ann.runner.run, ann.events) if item.text == "Restart all services"]
    assert (box.done, box.note) == (False, "3 of 4 restarted on it; not seen on hive2")
    hive.fault = None
    hive.start()
    late = again(ann)
    late.revoke()
    (box,) = [item for item in checklist(late.runner.run, late.events) if item.text == "Restart all services"]
    assert box.done


def test_not_even_the_queen_stops_it(fleet: InProcessFleet) -> None:
    fleet.hosts["queen"].fault = "start-fails"
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert {name: ann.states[name] for name in ("hive1", "hive2", "hive3")} == dict.fromkeys(
        ("hive1", "hive2", "hive3"), State.PROVEN
    )


def test_a_service_that_is_down_before_is_turned_all_the_same(fleet: InProcessFleet) -> None:
    fleet.hosts["hive1"].stop()
    ann = responder(fleet)
    assert ann.revoke() is DONE


def test_a_host_without_any_token_gets_the_new_one(fleet: InProcessFleet) -> None:
    """In dev mode it lets everybody in: the first to be closed."""
    fleet.hosts["hive1"].reimage()
    ann = responder(fleet)
    assert ann.revoke() is DONE
    assert fleet.hosts["hive1"].accepts(ann.token)


def test_a_host_that_failed_is_tried_again_so_many_times(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "start-fails"
    ann = responder(fleet)
    assert ann.revoke(attempts=3) is OPEN
    assert fleet.verbs("hive2").count("restart") == 3
    assert fleet.verbs("hive1").count("restart") == 1
    assert [event.hosts for event in ann.events if isinstance(event, Retried)] == [("hive2",), ("hive2",)]


def test_a_host_that_comes_back_in_time_is_done_in_the_same_run(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "link-down"

    def mended(event: object) -> None:
        if isinstance(event, Retried):
            fleet.hosts["hive2"].fault = None

    ann = responder(fleet, on_event=mended)
    assert ann.revoke(attempts=2) is DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_with_a_fence_the_service_of_a_host_that_cannot_be_turned_is_stopped(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "keeps-old-token"
    ann = responder(fleet, fence=True)
    assert ann.revoke() is OPEN
    assert ann.states["hive2"] is State.FENCED
    assert not fleet.hosts["hive2"].accepts(fleet.token)
    assert fleet.hosts["hive2"].unit_state == "inactive"


def test_without_a_fence_it_goes_on_serving(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "disk-full"
    responder(fleet).revoke()
    assert fleet.hosts["hive2"].accepts(fleet.token)


def test_nobody_answers(fleet: InProcessFleet) -> None:
    for host in fleet.hosts.values():
        host.fault = "link-down"
    ann = responder(fleet)
    assert ann.revoke(attempts=2) is OPEN
    assert ann.runner.run.want is None, "no token was made for nobody"


def test_the_slow_half_holds_nobody_up(fleet: InProcessFleet) -> None:
    """hive3 answers only after the others have gone on: they do not wait for it, and it is not forgotten."""
    gone_on = threading.Event()

    class Slow(InProcessDialer):
        def dial(self, host: Host) -> InProcessLine | Cause:
            if host.name == "hive3":
                assert gone_on.wait(30)
            return super().dial(host)

    def told(event: object) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.STAGE:
            gone_on.set()

    ann = responder(fleet, dialer=Slow(fleet), on_event=told)
    assert ann.revoke(attempts=3, patience=0.5) is DONE
    first = next(event for event in ann.events if isinstance(event, PhaseStarted) and event.phase is Phase.STAGE)
    assert "hive3" not in first.hosts


# -- what never comes back


def test_every_token_that_lay_on_a_host_is_condemned_and_the_new_one_is_not(fleet: InProcessFleet) -> None:
    staged = generate()
    fleet.hosts["hive1"].write(staged, ".new")
    ann = responder(fleet)
    assert ann.revoke() is DONE
    (event,) = [event for event in ann.events if isinstance(event, TokensRevoked)]
    assert set(event.fingerprints) == {fleet.token.fingerprint(KEY), staged.fingerprint(KEY)}


def test_tombstones_are_laid_before_the_old_token_moves(fleet: InProcessFleet) -> None:
    responder(fleet).revoke()
    for name in fleet.hosts:
        verbs = fleet.verbs(name)
        assert verbs.index("revoke") < verbs.index("swap")


def test_a_tombstone_shows_nobody_the_token(fleet: InProcessFleet) -> None:
    responder(fleet).revoke()
    path = fleet.hosts["hive1"].root / STATE / "tombstones"
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    (stone,) = json.loads(text)
    assert stone["run"] == "run-1"
    fingerprint = fleet.token.fingerprint(KEY)
    assert not [secret for secret in (fleet.token.reveal(), fingerprint.keyed, fingerprint.fp6) if secret in text]


@pytest.mark.parametrize("verb", ["stage", "swap", "revert from its slot", "revert from memory"])
def test_a_host_writes_a_tombstoned_token_by_no_verb_whoever_asks(fleet: InProcessFleet, verb: str) -> None:
    """Another bastion, which knows nothing of the revocation, under another key."""
    old = fleet.token
    responder(fleet).revoke()
    host = fleet.hosts["hive1"]
    if "swap" in verb or "slot" in verb:
        host.write(old, ".new" if verb == "swap" else ".backup")
    session = Session(host, run="run-9", epoch=9, tokens=(old,))
    keyed = old.fingerprint(KEY).keyed
    fields = {"token": old.reveal()} if verb == "stage" else {"want": keyed}
    result = session.do(verb.split(maxsplit=1)[0], **fields)
    assert (result["ok"], result["trouble"]) == (False, "revoked")
    assert "run-1" in result["detail"]
    assert host.active_token() != old.reveal()


def test_a_host_that_was_away_refuses_it_too_because_every_greeting_says_so(fleet: InProcessFleet) -> None:
    """hive2 has no tombstone of its own: it could not be reached. A later rotation fails there and may not go back."""
    old = fleet.token
    fleet.hosts["hive2"].fault = "link-down"
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    fleet.hosts["hive2"].fault = None
    fleet.at("hive2", "restart", breaks("start-fails"))
    revoked = {fingerprint.keyed: "run-1" for fingerprint in ann.runner.run.revoked}
    bob = Operator(fleet, run="run-2", revoked=revoked)
    assert bob.rotate() is OPEN
    assert fleet.hosts["hive2"].active_token() != old.reveal()
    assert bob.troubles["hive2"] is Trouble.REVOKED, "the way back is closed, and the report says why"
    hosts = ("queen", "hive1", "hive3")
    assert [name for name in hosts if not fleet.hosts[name].accepts(ann.token)] == []


def test_a_rotation_to_a_tombstoned_token_ends_before_any_service_is_turned(fleet: InProcessFleet) -> None:
    old = fleet.token
    ann = responder(fleet)
    ann.revoke()
    bob = Operator(fleet, run="run-2", token=old)
    assert bob.rotate() is ExitCode.ROLLED_BACK
    assert set(bob.troubles.values()) == {Trouble.REVOKED}
    assert set(serving(fleet, ann.token).values()) == {"new"}


# -- taken up again


def test_a_host_that_was_away_pays_its_debt_later(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "link-down"
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    fleet.hosts["hive2"].fault = None
    late = again(ann)
    assert late.revoke() is DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert slots_used(fleet) == []
    assert fleet.verbs("hive1").count("restart") == 1, "who was done is only proven"


def test_a_fenced_host_is_started_again_when_it_is_mended(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "keeps-old-token"
    ann = responder(fleet, fence=True)
    ann.revoke()
    fleet.hosts["hive2"].fault = None
    assert again(ann).revoke() is DONE
    assert fleet.hosts["hive2"].accepts(ann.token)


def test_a_fenced_host_that_is_not_mended_is_stopped_again_by_whoever_takes_the_run_up(fleet: InProcessFleet) -> None:
    """To try it is to start it: it would serve the old token from then on."""
    fleet.hosts["hive2"].also_accepts.add(fleet.token.reveal())
    ann = responder(fleet, fence=True)
    ann.revoke()
    late = again(ann)
    assert late.revoke() is OPEN
    assert fleet.verbs("hive2").count("fence") == 2
    assert late.states["hive2"] is State.FENCED
    assert not fleet.hosts["hive2"].accepts(fleet.token)


def test_a_token_that_only_hosts_hold_who_do_not_answer_is_not_made_a_second_time(fleet: InProcessFleet) -> None:
    ann = responder(fleet)
    ann.revoke()
    for name in fleet.hosts:
        fleet.hosts[name].fault = "link-down"
    fleet.hosts["hive3"].fault = None
    fleet.hosts["hive3"].reimage()
    late = responder(fleet, past=fold(ann.events))
    assert late.revoke() is OPEN
    assert "fab revoke" in late.runner.run.stopped
    assert fleet.hosts["hive3"].active_token() is None


# -- rivals


def waited(operator: Operator) -> dict[str, float]:
    """Whose lock was waited for, and for how long at most."""
    return {event.host: event.seconds for event in operator.events if isinstance(event, Waiting)}


def test_of_two_revocations_at_once_one_wins(fleet: InProcessFleet) -> None:
    other = Session(fleet.hosts["queen"], run="run-0", epoch=1)
    ann = responder(fleet, clock=SharedClock(fleet))
    assert ann.revoke(attempts=3) is LOCKED
    assert ann.troubles == {"queen": Trouble.HOST_BUSY}
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert waited(ann) == {"queen": LOCK_PATIENCE}
    assert LOCK_PATIENCE <= ann.clock.monotonic() <= LOCK_PATIENCE + 2
    other.line.close()


def test_a_hive_that_somebody_else_holds_stops_nobody_and_is_waited_for_once(fleet: InProcessFleet) -> None:
    other = Session(fleet.hosts["hive3"], run="run-0", epoch=1)
    ann = responder(fleet, clock=SharedClock(fleet))
    assert ann.revoke(attempts=3) is OPEN
    assert ann.troubles == {"hive3": Trouble.HOST_BUSY}
    assert [event.host for event in ann.events if isinstance(event, Waiting)] == ["hive3"]
    other.line.close()
    assert again(ann).revoke() is DONE


def test_the_locks_of_a_bastion_that_died_are_waited_for_and_the_fleet_turned(fleet: InProcessFleet) -> None:
    """Its agents have not noticed yet: it went silent in the middle of a rotation."""
    bob = Operator(fleet, run="run-0", who="bob@bastion")
    assert bob.look()
    fleet.at("hive1", "swap", lambda _: bob.runner.interrupt())
    fleet.at("hive1", "swap", lambda _: fleet.bastion_falls_silent(), when="after")
    bob.go()
    ann = responder(fleet, clock=SharedClock(fleet))
    assert ann.revoke() is DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert "queen" in waited(ann)
    (told,) = [event for event in ann.events if isinstance(event, Waiting) and event.host == "queen"]
    assert holder_of(told).startswith("run run-0 of bob@bastion (pid ")
    assert ann.clock.monotonic() <= LOCK_PATIENCE


def test_whoever_waits_for_a_lock_can_be_interrupted(fleet: InProcessFleet) -> None:
    other = Session(fleet.hosts["queen"], run="run-0", epoch=1)

    def stop(event: object) -> None:
        if isinstance(event, Waiting):
            ann.runner.interrupt()

    ann = responder(fleet, clock=SharedClock(fleet), on_event=stop)
    assert ann.revoke() is ExitCode.INTERRUPTED
    assert ann.clock.monotonic() < LOCK_PATIENCE
    other.line.close()


def test_a_lease_is_as_long_on_the_bastion_as_on_the_hosts() -> None:
    assert LEASE == LEASE_SECONDS < LOCK_PATIENCE


def test_it_goes_past_a_rotation_that_was_cut_off_and_that_one_is_superseded(fleet: InProcessFleet) -> None:
    bob = Operator(fleet, run="run-0")
    assert bob.look()
    fleet.at("hive1", "swap", lambda _: bob.runner.interrupt())
    assert bob.go() is ExitCode.INTERRUPTED
    ann = responder(fleet)
    assert ann.revoke() is DONE
    late = Operator(fleet, past=fold(bob.events))
    assert late.resume(generate) is LOCKED
    assert set(late.troubles.values()) == {Trouble.SUPERSEDED}
    assert next_step(late.runner.run, fleet.inventory) == "", "there is nothing that this run could still do"
    assert set(serving(fleet, ann.token).values()) == {"new"}


# -- the exposure clock


def test_it_says_when_each_host_began_to_refuse_the_old_token(fleet: InProcessFleet) -> None:
    fleet.hosts["hive1"].fault = "link-down"
    ann = responder(fleet)
    ann.revoke()
    run = ann.runner.run
    refused = {name: host.refused and host.refused - run.started for name, host in run.hosts.items()}
    assert refused["hive1"] is None
    assert all(seconds is not None and seconds < 60 for name, seconds in refused.items() if name != "hive1")


def test_without_a_path_that_needs_the_token_nobody_can_say_that_the_old_one_is_refused(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, policy=POLICY)
    hosts = tuple(replace(host, service=replace(host.service, protected=())) for host in fleet.inventory.hosts)
    fleet.inventory = replace(fleet.inventory, hosts=hosts)
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert set(ann.states.values()) == {State.HEALTHY}
