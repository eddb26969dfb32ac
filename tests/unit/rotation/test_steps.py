"""What a host is told beyond the table of steps, and in which words it is said that it cannot be told anything."""

from dataclasses import replace

import pytest

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.seen import Directory, Seen, Slot
from hivekeys.protocol.verbs import Drain as Draining
from hivekeys.protocol.verbs import EndSurvivors, Prove, Restart, Revoke, Stage, Sweep, Uncordon
from hivekeys.rotation.steps import FOR_EVER, Goal, Stance, obstacle, steps_to, untidy, with_drain
from hivekeys.service import Drain, Hook
from hivekeys.token import Token
from tests.builders.seen import UNIT, seen

OLD, NEW, OTHER = (Token(letter * 64).fingerprint(b"k") for letter in "abc")


def verbs(goal: Goal, shown: Seen) -> str:
    return " ".join(step.verb.value for step in steps_to(goal, shown))


def test_tombstones_are_laid_before_the_new_token_is_staged() -> None:
    """A host whose disk is full refuses the leaked ones from then on too."""
    goal = Goal(Stance.STAGED, NEW, revoke=(OLD, OTHER))
    laid = Revoke((OLD, OTHER))
    assert steps_to(goal, seen(OLD)) == (laid, Stage(NEW))
    assert steps_to(goal, seen(OLD, staged=NEW)) == steps_to(goal, seen(NEW)) == (laid,)


def test_survivors_end_before_the_proof_and_other_places_are_asked_after_it() -> None:
    goal = Goal(Stance.SERVING, NEW, (OLD,), sweep=True, ends_survivors=True)
    ends, prove, sweep = (
        EndSurvivors(refuse=(OLD,)),
        Prove(NEW, (OLD,)),
        Sweep(refuse=(OLD,)),
    )
    assert steps_to(goal, seen(NEW)) == (ends, prove, sweep)
    assert steps_to(replace(goal, sweep=False), seen(NEW)) == (ends, prove)
    assert steps_to(replace(goal, ends_survivors=False), seen(NEW)) == (prove, sweep)
    assert verbs(goal, seen(OLD, staged=NEW)) == "swap restart end_survivors prove sweep"


def test_no_copy_is_removed_of_a_token_that_other_hosts_use() -> None:
    goal = Goal(Stance.ALONE, NEW, keep=frozenset({OLD}))
    assert verbs(goal, seen(NEW, previous=OLD)) == ""
    assert verbs(goal, seen(NEW, previous=OTHER)) == "retire"
    assert verbs(goal, seen(OLD, staged=NEW)) == "swap restart prove retire", "a swap leaves one behind"


def test_what_is_staged_is_discarded_unless_it_is_swapped_in() -> None:
    assert verbs(Goal(Stance.ALONE, NEW), seen(NEW, staged=OTHER, previous=OLD)) == "retire discard"
    assert (
        verbs(Goal(Stance.ALONE, OLD), seen(NEW, staged=OTHER, previous=OLD)) == "revert restart prove retire discard"
    )
    assert verbs(Goal(Stance.ALONE, NEW), seen(OLD, staged=OTHER)) == "stage swap restart prove retire"


# -- what stands in the way

SLOW = Trouble.STOP_TOO_SLOW
WORDS = {
    "no unit": (replace(UNIT, load="not-found"), Trouble.UNIT_MISSING, "rbee-hive.service is not-found"),
    "no word of the unit": (replace(UNIT, load=""), Trouble.UNIT_MISSING, "rbee-hive.service is unknown"),
    "a masked unit": (replace(UNIT, load="masked"), Trouble.RESTART_REFUSED, "rbee-hive.service is masked"),
    "a slow stop": (replace(UNIT, stop_seconds=91.4), SLOW, "systemd waits for that 91 s (TimeoutStopSec); [timeouts]"),
    "a stop without end": (replace(UNIT, stop_seconds=FOR_EVER), SLOW, "for that for ever (TimeoutStopSec)"),
    "nearly so": (replace(UNIT, stop_seconds=FOR_EVER - 1), SLOW, "for that 999999999 s (TimeoutStopSec)"),
}


@pytest.mark.parametrize("what", WORDS)
def test_what_is_wrong_with_a_unit_is_said_with_its_name(what: str) -> None:
    unit, trouble, words = WORDS[what]
    cause = obstacle(replace(seen(OLD), unit=unit), HIVE_SERVICE, request=90.0)
    assert cause is not None and cause.trouble is trouble
    assert words in cause.detail


def test_what_is_wrong_with_the_file_is_said_before_what_is_wrong_with_the_unit() -> None:
    shown = replace(seen(OLD), unit=replace(UNIT, load="masked"))
    away = obstacle(replace(shown, active=None), HIVE_SERVICE, 90.0)
    assert away == Cause(Trouble.TOKEN_MISSING, f"{HIVE_SERVICE.token} does not exist")
    empty = obstacle(replace(shown, active=Slot(fault="is empty")), HIVE_SERVICE, 90.0)
    assert empty == Cause(Trouble.TOKEN_UNSAFE, f"{HIVE_SERVICE.token} is empty")
    link = obstacle(replace(shown, active=None, directory=Directory(fault="/etc is a link")), HIVE_SERVICE, 90.0)
    assert link == Cause(Trouble.TOKEN_UNSAFE, "/etc is a link")


def test_of_a_drain_that_was_cut_off_a_run_ends_only_what_it_can_see_through() -> None:
    """A front that keeps requests off answers no proof: that is ended first."""
    shown, run = replace(seen(OLD), cordoned="run-1"), Hook(run=("/usr/local/bin/x",))
    cause = Cause(Trouble.CORDONED, f"run run-1 has drained {HIVE_SERVICE.unit}")
    assert obstacle(shown, HIVE_SERVICE, 90.0) == cause
    by_front = replace(HIVE_SERVICE, drain=Drain(before=Hook(front=True), after=Hook(front=True)))
    assert obstacle(shown, by_front, 90.0) == cause
    assert obstacle(shown, replace(HIVE_SERVICE, drain=Drain(before=run, after=run)), 90.0) is None


def test_what_a_front_keeps_off_is_let_in_again_before_a_proof_which_it_would_refuse() -> None:
    """After another run; where the service restarts, and with other ways of a drain, work comes again last."""
    shown, drain, uncordon = replace(seen(OLD), cordoned="run-1"), Draining("h", "wave"), Uncordon("h", "wave")
    proof, turn = (Prove(OLD),), (Restart(), Prove(OLD))
    assert with_drain(proof, shown, drain, uncordon, is_shut=True) == (uncordon, *proof)
    assert with_drain(proof, shown, drain, uncordon) == (*proof, uncordon)
    assert with_drain(turn, shown, drain, uncordon, is_shut=True) == (drain, *turn, uncordon)
    assert with_drain(proof, seen(OLD), drain, uncordon, is_shut=True) == proof


def test_a_file_with_other_rights_than_the_inventorys_is_untidy() -> None:
    service = HIVE_SERVICE
    tidy = Slot(OLD, mode=service.mode, owner=service.owner, group=service.group)
    assert untidy(replace(seen(OLD), active=tidy), service) is None
    for slot in (replace(tidy, mode=0o644), replace(tidy, owner="nobody"), replace(tidy, group="nogroup")):
        cause = untidy(replace(seen(OLD), active=slot), service)
        assert cause is not None and cause.trouble is Trouble.TOKEN_UNSAFE
        assert cause.detail.startswith(f"{service.token} is ") and cause.detail.endswith(f", not {service.rights}")
    missing = untidy(replace(seen(OLD), active=None), service)
    assert missing is not None and " is not there, not " in missing.detail
