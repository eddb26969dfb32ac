"""The bastion is killed (SIGKILL) at points all over a rotation of real hosts; the next command puts all right.

Every third point goes back instead of on. What is true afterwards is asked of the hosts.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab

from .rotating import Answer, serves, truth_of
from .surviving import Bastion, new_token, small_fleet, whole_again, write_inventory

pytestmark = pytest.mark.lab
CHOSEN = 8  # the event that names the run's token: from here on the run is open
ENDED = 56  # the last event of a rotation of four hosts
POINTS = (3, 7, *range(CHOSEN, ENDED, 2))
SIGKILLED = -9


@pytest.fixture(scope="module")
def booted() -> Iterator[Lab]:
    with small_fleet("c") as lab:
        write_inventory(lab, canary=0, stable_seconds=0)
        yield lab


@pytest.fixture
def lab(booted: Lab) -> Iterator[Lab]:
    yield booted
    whole_again(booted)


def test_at_least_25_points_are_covered_and_the_last_event_is_known(lab: Lab, tmp_path: Path) -> None:
    assert len(POINTS) >= 25
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    assert bastion.dies_after(ENDED + 1) == 0  # there is no such event: a rotation that grew needs more points
    assert serves(lab, truth_of(lab, "queen").token, refused=old)
    assert bastion.dies_after(ENDED) == SIGKILLED
    assert "is over" in bastion.fab("resume").err


def gaps_are_no_shorter_than_they_were(lab: Lab, answer: Answer) -> None:
    """By the kernel: from the start of the queen's process to that of the hive's no client could use both."""
    started = {name: truth_of(lab, name).started for name in lab.hosts}
    for name, host in answer.hosts.items():
        if host["gap"] and host["gap"]["known"]:
            assert host["gap_seconds"] > (started[name] - started["queen"]) / 1e6 - 0.1, name
        elif host["gap"]:
            assert host["gap_seconds"] is None


@pytest.mark.parametrize("point", POINTS)
def test_killed_after_any_event_the_run_is_brought_to_its_end(lab: Lab, tmp_path: Path, point: int) -> None:
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    assert bastion.dies_after(point) == SIGKILLED
    held = new_token(lab, old)
    if point < CHOSEN:
        assert not held
        answer = bastion.fab("rotate", "--yes")
    elif POINTS.index(point) % 3 == 0:
        answer = bastion.fab("rollback")
        if answer.code == 0:
            assert serves(lab, old, refused=held)
            return
        assert answer.code == 2
        assert "no way back" in answer.err or "it changed no host" in answer.err
        answer = bastion.fab("resume")
    else:
        answer = bastion.fab("resume", "--json")
        assert answer.code == 0, answer.out + answer.err
        gaps_are_no_shorter_than_they_were(lab, answer)
    assert answer.code == 0, answer.out + answer.err
    new = truth_of(lab, "queen").token
    assert new != old
    assert new == (held or new)
    assert serves(lab, new, refused=old)
