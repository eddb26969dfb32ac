"""The state machine: whatever a host shows, the steps bring it to the goal, and in a safe order."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.seen import Directory, LoadedToken, Seen, Slot
from hivekeys.protocol.verbs import Discard, Prove, Restart, Retire, Revert, Stage, Step, Swap, Verb
from hivekeys.rotation.steps import Goal, Stance, obstacle, steps_to
from hivekeys.token import Fingerprint, Token
from tests.builders.seen import DOWN, UNIT, seen

OLD, NEW, OTHER = (Token(letter * 64).fingerprint(b"k") for letter in "abc")

tokens = st.sampled_from([OLD, NEW, OTHER])
slots = st.one_of(
    st.none(),
    st.builds(Slot, fingerprint=tokens),
    st.just(Slot(fault="is empty")),
)
looks = st.builds(
    Seen,
    directory=st.just(Directory()),
    active=slots,
    staged=slots,
    previous=slots,
    unit=st.sampled_from([UNIT, DOWN]),
    loaded=st.builds(LoadedToken, fingerprint=st.one_of(st.none(), tokens), evidence=st.just("younger")),
    clock=st.just(1.0),
)
goals = st.builds(Goal, st.sampled_from(Stance), st.just(NEW), st.sampled_from([(), (OLD,)]))


def verbs(steps: tuple[Step, ...]) -> str:
    return " ".join(step.verb.value for step in steps)


def carried_out(step: Step, now: Seen) -> Seen:
    """What a host shows after a step; what an agent would refuse fails the test."""
    match step:
        case Stage():
            return replace(now, staged=Slot(fingerprint=step.want))
        case Swap():
            assert now.staged and now.staged.fingerprint == step.want
            return replace(now, active=now.staged, staged=None, previous=now.active or now.previous)
        case Revert():
            assert now.previous and now.previous.fingerprint == step.want
            return replace(now, active=now.previous, previous=None)
        case Restart():
            return replace(now, unit=UNIT, loaded=LoadedToken(now.token, "younger"))
        case Retire():
            assert now.token == step.want
            return replace(now, previous=None)
        case Discard():
            return replace(now, staged=None)
        case Prove():
            assert now.loaded.fingerprint == step.want
            assert now.unit.state == "active"
    return now


@given(goals, looks)
def test_carrying_out_the_steps_leaves_nothing_to_move(goal: Goal, look: Seen) -> None:
    for step in steps_to(goal, look):
        look = carried_out(step, look)
    assert [step for step in steps_to(goal, look) if step.verb is not Verb.PROVE] == []


@given(goals, looks, st.integers(0, 6))
def test_a_host_that_was_left_after_any_step_is_brought_to_the_goal_all_the_same(
    goal: Goal, look: Seen, carried: int
) -> None:
    for step in steps_to(goal, look)[:carried]:
        look = carried_out(step, look)
    for step in steps_to(goal, look):
        look = carried_out(step, look)
    assert [step for step in steps_to(goal, look) if step.verb is not Verb.PROVE] == []


@given(goals, looks)
def test_nothing_is_retired_before_the_proof_when_anything_moved(goal: Goal, look: Seen) -> None:
    done = [step.verb for step in steps_to(goal, look)]
    moved = {Verb.SWAP, Verb.REVERT, Verb.RESTART} & set(done)
    if moved and Verb.RETIRE in done:
        assert done.index(Verb.PROVE) < done.index(Verb.RETIRE)


@given(looks)
def test_a_host_that_is_to_serve_is_always_proven_last(look: Seen) -> None:
    steps = steps_to(Goal(Stance.SERVING, NEW, (OLD,)), look)
    assert steps[-1] == Prove(NEW, (OLD,))


@given(looks)
def test_staging_touches_neither_the_active_slot_nor_the_service(look: Seen) -> None:
    assert {step.verb for step in steps_to(Goal(Stance.STAGED, NEW), look)} <= {Verb.STAGE}


TABLE = [
    # stance, active/staged/previous, steps
    (Stance.STAGED, (OLD, None, None), "stage"),
    (Stance.STAGED, (OLD, OTHER, None), "stage"),
    (Stance.STAGED, (OLD, NEW, None), ""),
    (Stance.STAGED, (NEW, None, None), ""),
    (Stance.SERVING, (OLD, NEW, None), "swap restart prove"),
    (Stance.SERVING, (OLD, None, None), "stage swap restart prove"),
    (Stance.SERVING, (NEW, None, OLD), "prove"),
    (Stance.SERVING, (OLD, None, NEW), "revert restart prove"),
    (Stance.ALONE, (NEW, None, OLD), "retire"),
    (Stance.ALONE, (NEW, OTHER, None), "discard"),
    (Stance.ALONE, (NEW, None, None), ""),
    (Stance.ALONE, (OLD, None, NEW), "revert restart prove retire"),
]


@pytest.mark.parametrize(("stance", "held", "expected"), TABLE)
def test_the_table(
    stance: Stance, held: tuple[Fingerprint | None, Fingerprint | None, Fingerprint | None], expected: str
) -> None:
    assert verbs(steps_to(Goal(stance, NEW), seen(*held))) == expected


def test_a_service_that_is_down_or_has_another_copy_is_restarted() -> None:
    goal = Goal(Stance.SERVING, NEW)
    assert verbs(steps_to(goal, seen(NEW, up=False))) == "restart prove"
    assert verbs(steps_to(goal, replace(seen(NEW), loaded=LoadedToken(OLD, "credential")))) == "restart prove"
    assert verbs(steps_to(goal, replace(seen(NEW), loaded=LoadedToken(None, "older")))) == "restart prove"


OBSTACLES = [
    (seen(OLD), None),
    (replace(seen(OLD), directory=Directory(fault="/x does not exist")), Trouble.TOKEN_MISSING),
    (replace(seen(OLD), directory=Directory(fault="a part of the path is a link")), Trouble.TOKEN_UNSAFE),
    (seen(None), Trouble.TOKEN_MISSING),
    (replace(seen(OLD), active=Slot(fault="is empty")), Trouble.TOKEN_UNSAFE),
    (replace(seen(OLD), unit=replace(UNIT, load="not-found")), Trouble.UNIT_MISSING),
    (replace(seen(OLD), unit=replace(UNIT, reads="", env_token=True)), Trouble.TOKEN_IN_ENVIRONMENT),
    (replace(seen(OLD), unit=replace(UNIT, env_token=True)), None),
    (replace(seen(OLD), unit=replace(UNIT, env_token=True, sources=("/etc/x",))), Trouble.TOKEN_IN_ENVIRONMENT),
    (replace(seen(OLD), unit=replace(UNIT, reads="/etc/other")), Trouble.UNIT_READS_ANOTHER_FILE),
    (replace(seen(OLD), unit=replace(UNIT, reads="")), Trouble.UNIT_NAMES_NO_FILE),
    (replace(seen(OLD), unit=replace(UNIT, load="masked")), Trouble.RESTART_REFUSED),
    (replace(seen(OLD), unit=replace(UNIT, bar=Cause(Trouble.RESTART_REFUSED))), Trouble.RESTART_REFUSED),
    (replace(seen(OLD), unit=replace(UNIT, stop_seconds=90.0)), None),
    (replace(seen(OLD), unit=replace(UNIT, stop_seconds=91.0)), Trouble.STOP_TOO_SLOW),
    (replace(seen(OLD), directory=Directory(bar=Cause(Trouble.IMMUTABLE))), Trouble.IMMUTABLE),
]


@pytest.mark.parametrize(("look", "trouble"), OBSTACLES)
def test_what_stands_in_the_way_is_named_before_anything_is_changed(look: Seen, trouble: Trouble | None) -> None:
    cause = obstacle(look, HIVE_SERVICE, request=90.0)
    assert (cause.trouble if cause else None) is trouble
