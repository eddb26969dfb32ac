"""Single moves of a run, from what its hosts have shown so far: who is waited for, what ends it, what holds it back."""

from dataclasses import replace

import pytest

from hivekeys.fleet import Amount, Policy
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import CensusTaken, Phase, PhaseStarted, State, Status
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.milestones import Heading, Milestone
from hivekeys.journal.run import REVOKE, Run
from hivekeys.protocol.audited import Use
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.rotation.course import is_over, next_move
from hivekeys.rotation.moves import RECONCILE, REVOCATION, ROTATION, Act, Census, Do, End, Here, Move, Plan, Stop
from hivekeys.rotation.waves import plan as planned
from hivekeys.token import Token
from tests.builders.recorded import NEW, OLD, fleet_of
from tests.builders.seen import seen

NOW = Moment(1_790_000_000.0, 5000.0)
FLEET = replace(fleet_of(3), policy=Policy(canary=0, batch=Amount(3)))
NAMES = tuple(host.name for host in FLEET.hosts)
WAVES = planned(FLEET.hosts, FLEET.policy)
HERE = Here(FLEET, WAVES, NAMES, holds=True, asked_for_tokens=True, rested=True)
BUSY, SILENT = Cause(Trouble.HOST_BUSY, "run run-2"), Cause(Trouble.SILENT)
LOST = {"status": Status.UNREACHABLE, "state": State.UNREACHABLE, "cause": SILENT, "reached": None}
ASKED = replace(ROTATION, census=True)


def run_in(phase: Phase, reached: Phase | None, state: State = State.UNCHANGED, **more: object) -> Run:
    """All hosts have come through `reached`; the run is in `phase`."""
    hosts = {name: HostRun(name, was=OLD, now=OLD, seen=seen(OLD), reached=reached, state=state) for name in NAMES}
    order = tuple((wave.phase, tuple(host.name for host in wave.hosts)) for wave in WAVES)
    begun = (PhaseStarted(phase, NAMES, NOW),)
    run = Run("run-1", waves=order, want=NEW, phase=phase, begun=begun, hosts=hosts)
    return replace(run, **more)  # type: ignore[arg-type]  # a test's own keywords


def but(run: Run, name: str, **more: object) -> Run:
    """The same run with that of one host."""
    return replace(run, hosts={**run.hosts, name: replace(run.hosts[name], **more)})  # type: ignore[arg-type]


def move(run: Run, plan: Plan = ROTATION, here: Here = HERE) -> Move:
    return next_move(run, plan, here)


# -- the point of no return

SETTLED = run_in(Phase.SETTLE, Phase.SETTLE, State.PROVEN, came_to=Milestone.PROVEN)


def census(*, ok: bool, anyway: bool = False) -> CensusTaken:
    return CensusTaken((Use("hive1", "rbee-hive", "0ddba1", "/v1", "10.0.0.9", ok, 2, 1.5),), (), anyway, NOW)


def test_when_every_host_is_proven_the_old_tokens_go() -> None:
    assert move(SETTLED) == Do(Phase.RETIRE, NAMES)


@pytest.mark.parametrize("state", [State.HEALTHY, State.UNKNOWN, State.UNCHANGED])
def test_where_one_host_is_not_proven_none_goes(state: State) -> None:
    assert move(but(SETTLED, "hive2", state=state)) == End()


def test_nothing_is_kept_for_a_host_that_was_cut_out() -> None:
    assert move(but(SETTLED, "hive2", state=State.EXCLUDED)) == Do(Phase.RETIRE, NAMES)


def test_they_go_once() -> None:
    retired = (*SETTLED.begun, PhaseStarted(Phase.RETIRE, NAMES, NOW))
    assert move(replace(SETTLED, begun=retired)) == End()


def test_before_they_go_it_is_asked_once_who_still_uses_them() -> None:
    assert move(SETTLED, ASKED) == Census(frozenset({OLD}))
    assert move(replace(SETTLED, census=census(ok=False)), ASKED) == Do(Phase.RETIRE, NAMES)


def test_they_stay_while_somebody_is_let_in_with_one_unless_the_operator_has_them_go() -> None:
    assert move(replace(SETTLED, census=census(ok=True)), ASKED) == End()
    assert move(replace(SETTLED, census=census(ok=True, anyway=True)), ASKED) == Do(Phase.RETIRE, NAMES)


def test_where_all_hosts_had_the_runs_token_before_there_is_nobody_to_ask_for() -> None:
    hosts = {name: replace(host, was=NEW) for name, host in SETTLED.hosts.items()}
    assert move(replace(SETTLED, hosts=hosts), ASKED) == Do(Phase.RETIRE, NAMES)
    one = {**hosts, "hive1": replace(hosts["hive1"], was=OLD), "hive2": replace(hosts["hive2"], was=None)}
    assert move(replace(SETTLED, hosts=one), ASKED) == Census(frozenset({OLD}))


# -- whose failure counts

TURNED = run_in(Phase.SETTLE, Phase.WAVE, State.PROVEN, came_to=Milestone.PROVEN)


def test_a_host_that_is_lost_when_all_are_proven_takes_nobody_back() -> None:
    for status in (Status.UNREACHABLE, Status.UNKNOWN):
        assert isinstance(move(but(TURNED, "hive1", **{**LOST, "status": status})), Do)
    assert isinstance(move(but(TURNED, "hive1", status=Status.FAILED, state=State.FAILED, cause=SILENT)), Stop)
    before = replace(but(TURNED, "hive1", **LOST), came_to=Milestone.BEGUN)
    assert isinstance(move(before), Stop)


def test_a_host_that_may_be_missing_stops_nobody_while_it_is() -> None:
    away = but(run_in(Phase.LOOK, Phase.LOOK), "hive1", **LOST)
    assert move(away) == Stop(Phase.LOOK, "1 of 4 hosts failed (hive1); max_failures is 0")
    missing = replace(ROTATION, may_be_missing=frozenset({"hive1"}))
    assert move(away, missing) == Do(Phase.CLAIM, ("queen",))
    assert isinstance(move(but(away, "hive1", state=State.FAILED), missing), Stop), "it is there, and ill"


def test_failures_of_earlier_phases_add_up() -> None:
    policy = replace(FLEET.policy, max_failures=Amount(1))
    here = replace(HERE, fleet=replace(FLEET, policy=policy))
    one = but(run_in(Phase.STAGE, Phase.STAGE), "hive1", status=Status.FAILED, cause=SILENT)
    assert not isinstance(move(one, here=here), Stop)
    two = but(one, "hive2", status=Status.FAILED, cause=SILENT)
    assert move(two, here=here) == Stop(Phase.STAGE, "2 of 4 hosts failed (hive1, hive2); max_failures is 1")


def test_a_reconcile_goes_on_whatever_fails() -> None:
    ill = but(run_in(Phase.STAGE, Phase.STAGE), "hive1", status=Status.FAILED, cause=SILENT)
    assert move(ill, RECONCILE) == Do(Phase.QUEEN, ("queen",), "queen")


# -- other runs at work, and other names of one machine


@pytest.mark.parametrize(("phase", "over"), [(Phase.LOOK, True), (Phase.CLAIM, True), (Phase.STAGE, False)])
def test_whoever_holds_the_queen_ends_a_rotation_before_it_has_changed_anything(phase: Phase, over: bool) -> None:
    held = but(run_in(phase, phase), "queen", cause=BUSY)
    assert is_over(held, interrupted=False) is over
    assert not is_over(replace(held, task=REVOKE), interrupted=False)
    assert not is_over(but(run_in(phase, phase), "hive1", cause=BUSY), interrupted=False), "one hive's word"


def test_an_interruption_or_a_lost_revocation_is_the_end() -> None:
    run = run_in(Phase.STAGE, Phase.STAGE)
    assert not is_over(run, interrupted=False)
    assert is_over(run, interrupted=True)
    assert is_over(replace(run, lost=True), interrupted=False)


def test_two_names_of_one_machine_end_a_rotation_and_keep_an_interrupted_one_open() -> None:
    twice = run_in(Phase.LOOK, Phase.LOOK)
    for name in ("hive1", "hive2"):
        twice = but(twice, name, machine="5e" * 32)
    assert move(twice) == End()
    assert move(replace(twice, sittings=2)) is Act.WAIT
    assert move(replace(twice, sittings=2), RECONCILE) == End()
    later = replace(twice, phase=Phase.STAGE, begun=(PhaseStarted(Phase.STAGE, NAMES, NOW),))
    assert move(later) != End(), "names are compared at the look"


# -- a run that was cut off

CUT_OFF = run_in(Phase.CLAIM, Phase.CLAIM, sittings=2)


def test_first_it_has_its_tokens_back_from_the_hosts() -> None:
    assert move(CUT_OFF, here=replace(HERE, asked_for_tokens=False)) is Act.READ_TOKENS
    assert move(CUT_OFF) == Do(Phase.STAGE, NAMES)


def test_where_no_host_answers_it_stays_open() -> None:
    away = run_in(Phase.LOOK, None, sittings=2)
    for name in NAMES:
        away = but(away, name, **LOST)
    assert move(away) is Act.WAIT
    assert move(away, replace(ROTATION, back=True)) == Stop(Phase.LOOK, "the operator asked to roll back")


def test_a_token_that_no_host_ever_had_is_made_anew_and_one_that_may_be_held_is_not() -> None:
    nobody = replace(HERE, holds=False)
    stop = Stop(Phase.CLAIM, "no host that answers holds the run's token")
    assert move(CUT_OFF, here=nobody) is Act.BRING
    assert move(replace(CUT_OFF, given=True), here=nobody) == stop, "nobody but the operator has it"
    assert move(but(CUT_OFF, "hive1", now=NEW), here=nobody) == stop
    assert move(CUT_OFF, RECONCILE, nobody) == End(), "to bring another one is no reconcile"


def test_the_way_back_is_taken_wave_by_wave_by_hosts_that_were_touched() -> None:
    stopped = replace(CUT_OFF, stopped="full")
    assert move(stopped) == End(), "none was"
    touched = but(but(stopped, "queen", touched=True), "hive2", touched=True)
    assert move(touched) == Do(Phase.ROLLBACK, ("queen",), "rollback, queen")
    begun = (*touched.begun, PhaseStarted(Phase.ROLLBACK, ("queen",), NOW, "rollback, queen"))
    assert move(replace(touched, begun=begun)) == Do(Phase.ROLLBACK, ("hive2",), "rollback, wave 1 of 1")


def shows_retired(run: Run, *names: str) -> Run:
    for name in names:
        run = but(run, name, seen=seen(NEW), touched=True)
    return run


def test_there_is_no_way_back_where_all_hosts_but_one_show_that_the_old_tokens_are_gone() -> None:
    stopped = shows_retired(replace(CUT_OFF, stopped="full"), "queen", "hive1")
    assert isinstance(move(stopped), Do), "two of four"
    assert move(shows_retired(stopped, "hive2")) == End(("queen", "hive1", "hive2"))
    assert isinstance(move(replace(shows_retired(stopped, "hive2"), came_to=Milestone.IRREVOCABLE)), Do), (
        "this run retired them itself"
    )
    kept = but(shows_retired(stopped, "hive2"), "hive1", seen=seen(NEW, previous=OLD))
    assert isinstance(move(kept), Do), "one of them has its old token still"
    same = but(shows_retired(stopped, "hive2"), "hive1", was=NEW)
    assert isinstance(move(same), Do), "one had no other before"


# -- a revocation

REVOKED = run_in(Phase.SETTLE, Phase.SETTLE, State.PROVEN, task=REVOKE, revoked=(OLD,))


def test_a_host_that_is_given_up_is_fenced_at_once_and_again_at_the_end() -> None:
    ill = but(replace(REVOKED, fence=True), "hive1", state=State.FAILED, cause=SILENT, reached=None, tries=3)
    assert move(ill, REVOCATION) == Do(Phase.FENCE, ("hive1",))
    once = but(ill, "hive1", fences=1)
    others = tuple(name for name in NAMES if name != "hive1")
    assert move(once, REVOCATION) == Do(Phase.RETIRE, others), "the others go on meanwhile"
    for name in others:
        once = but(once, name, reached=Phase.RETIRE)
    assert move(once, REVOCATION) == Do(Phase.FENCE, ("hive1",))
    assert move(but(once, "hive1", fences=2), REVOCATION) == End()
    assert move(replace(once, fence=False), REVOCATION) == End(), "only where that was asked for"


def test_a_host_that_is_not_proven_keeps_its_old_copy_in_a_revocation_and_the_others_do_not() -> None:
    healthy = but(REVOKED, "hive1", state=State.HEALTHY)
    assert move(healthy, REVOCATION) == Do(Phase.RETIRE, ("queen", "hive2", "hive3"))


def test_whoever_was_left_behind_is_waited_for_when_the_others_are_done() -> None:
    done = REVOKED
    for name in NAMES[:-1]:
        done = but(done, name, reached=Phase.RETIRE)
    late = replace(HERE, stragglers=frozenset({"hive3"}))
    assert move(done, REVOCATION, late) is Act.GATHER
    none = replace(done, want=None)
    assert move(none, REVOCATION, late) is Act.GATHER
    assert move(none, REVOCATION, replace(HERE, stragglers=frozenset())) == End()


def test_at_the_end_of_a_revocation_it_is_asked_once_who_used_what_leaked() -> None:
    other = Token("c" * 64).fingerprint(b"k")
    done = replace(REVOKED, revoked=(OLD, other))
    for name in NAMES:
        done = but(done, name, reached=Phase.RETIRE)
    asks = replace(REVOCATION, census=True)
    assert move(done, asks) == Census(frozenset({OLD, other}))
    assert move(replace(done, census=census(ok=True)), asks) == End()
    assert move(done, REVOCATION) == End()


def test_the_first_lock_of_a_revocation_is_the_queens_alone_or_else_two_hives() -> None:
    looked = replace(run_in(Phase.LOOK, Phase.LOOK, task=REVOKE), want=None)
    assert move(looked, REVOCATION) == Do(Phase.CLAIM, ("queen",))
    without = but(looked, "queen", **LOST)
    assert move(without, REVOCATION) == Do(Phase.CLAIM, ("hive1",))
    second = but(without, "hive1", reached=Phase.CLAIM)
    second = replace(second, phase=Phase.CLAIM, begun=(PhaseStarted(Phase.CLAIM, ("hive1",), NOW),))
    assert move(second, REVOCATION) == Do(Phase.CLAIM, ("hive2",)), "one hive's word turns nobody away"
    third = replace(but(second, "hive2", reached=Phase.CLAIM), begun=(PhaseStarted(Phase.CLAIM, NAMES[1:3], NOW),))
    assert move(third, REVOCATION) == Do(Phase.CLAIM, ("hive3",))
    held = but(but(second, "hive1", cause=BUSY), "hive2", cause=BUSY)
    assert move(held, REVOCATION) == Stop(Phase.CLAIM, "another run holds the locks of the hosts")
    assert move(replace(held, attempt=2), REVOCATION) != Stop(Phase.CLAIM, "another run holds the locks of the hosts")


def test_a_run_that_was_cut_off_on_its_way_back_has_its_hosts_locks_before_it_goes_on() -> None:
    """The first host's alone, then all others': another run may have come meanwhile."""
    looked = run_in(Phase.LOOK, Phase.LOOK, sittings=2, stopped="canary failed (hive1)")
    fresh = replace(HERE, asked_for_tokens=False)

    assert move(looked, here=fresh) == Do(Phase.CLAIM, NAMES[:1])

    claims = replace(looked, begun=(*looked.begun, PhaseStarted(Phase.CLAIM, NAMES[:1], NOW)), phase=Phase.CLAIM)
    claimed = but(claims, NAMES[0], reached=Phase.CLAIM)
    assert move(claimed, here=fresh) == Do(Phase.CLAIM, NAMES[1:])


# -- cost


class Name(str):
    """A host's name that counts how often it is compared with another."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("phase", "state", "more"),
    [
        (Phase.LOOK, State.UNCHANGED, {}),
        (Phase.STAGE, State.UNCHANGED, {}),
        (Phase.WAVE, State.FAILED, {"stopped": "too many have failed", "heading": Heading.BACK}),
        (Phase.SETTLE, State.PROVEN, {}),
    ],
)
def test_a_move_over_many_hosts_compares_none_with_every_other(
    phase: Phase, state: State, more: dict[str, object]
) -> None:
    """With each other they were compared a hundred million times where a fleet has ten thousand."""
    hosts = tuple(replace(host, name=Name(host.name)) for host in fleet_of(299).hosts)
    fleet, names = replace(FLEET, hosts=hosts), tuple(host.name for host in hosts)
    there = {name: HostRun(name, was=OLD, now=OLD, reached=phase, state=state, touched=True) for name in names}
    run = replace(run_in(phase, phase), hosts=there, begun=(PhaseStarted(phase, names, NOW),), **more)  # type: ignore[arg-type]
    here = replace(HERE, fleet=fleet, waves=planned(hosts, fleet.policy), names=names)
    Name.compared = 0
    assert isinstance(next_move(run, ROTATION, here), Do | Stop | Census | Act)
    assert Name.compared < 20 * len(hosts)
