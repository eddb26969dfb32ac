"""Two bastions over one fleet of real hosts, and copies of a state folder: no run spoils another's, and none is called
done that was not (promises 13, 16 and 17)."""

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from hivekeys.lab import Lab
from hivekeys.lab.faults import inject
from hivekeys.lab.files import SECRETS

from .rotating import mended, serves, truth, truth_of
from .surviving import Bastion, agents_left, write_inventory
from .whole import whole_at_once

pytestmark = pytest.mark.lab
PACE: dict[str, object] = {"canary": 0, "batch": 2, "stable_seconds": 0.3}


@pytest.fixture(scope="module")
def booted(five_hives: Lab) -> Iterator[Lab]:
    was = five_hives.inventory.read_text()
    write_inventory(five_hives, **PACE)
    yield five_hives
    five_hives.inventory.write_text(was)


@pytest.fixture
def lab(booted: Lab) -> Iterator[Lab]:
    yield booted
    write_inventory(booted, **PACE)
    mended(booted)
    agents_left(booted)
    whole_at_once(booted)


@pytest.fixture
def ann(lab: Lab, tmp_path: Path) -> Iterator[Bastion]:
    bastion = Bastion(lab, tmp_path / "ann")
    yield bastion
    bastion.leave()


@pytest.fixture
def bob(lab: Lab, tmp_path: Path) -> Bastion:
    return Bastion(lab, tmp_path / "bob")


def out_of_reach(lab: Lab, *names: str) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(inject, lab, fault="link-down"), names))


def test_a_rotation_that_stopped_before_it_changed_anything_has_nothing_to_take_back(lab: Lab, ann: Bastion) -> None:
    """Before: "done, and proven, on every host (7 unreachable)"."""
    was = truth(lab)
    inject(lab, "hive2", "disk-full")
    assert ann.fab("rotate", "--yes").code == 3
    mended(lab)
    out_of_reach(lab, *lab.hosts)
    answer = ann.fab("rollback")
    assert (answer.code, "has nothing to take back: it changed no host" in answer.err) == (2, True), answer.err
    mended(lab)
    assert truth(lab) == was


def test_a_run_that_was_refused_cannot_be_taken_back_into_the_one_at_work(lab: Lab, ann: Bastion, bob: Bastion) -> None:
    """Before: bob's rollback was "done" on every host while these held two tokens, and ann's run was shut out."""
    old = truth_of(lab, "queen").token
    work = ann.start("rotate", "--yes", "--pause", "600")
    work.until("queen: queen")
    assert bob.fab("rotate", "--yes").code == 5
    work.send(signal.SIGKILL)
    work.end()
    answer = bob.fab("rollback")
    assert (answer.code, "it changed no host" in answer.err) == (2, True), answer.err
    answer = ann.fab("resume")
    assert answer.code == 0, answer.err
    assert serves(lab, truth_of(lab, "queen").token, refused=old)


def test_a_run_that_got_the_queen_alone_does_not_stop_the_one_at_work(lab: Lab, ann: Bastion, bob: Bastion) -> None:
    """Ann's agent on the queen is gone while ann turns the hives, so bob gets her; before, ann was superseded then."""
    old = truth_of(lab, "queen").token
    write_inventory(lab, **PACE, order="hives-first")
    work = ann.start("rotate", "--yes", "--pause", "4")
    work.until("wave 1 of")
    lab.run("queen", ["pkill", "-KILL", "-u", "root", "-f", "sys.stdin.buffer"])
    refused = bob.fab("rotate", "--yes")
    answer = work.end()
    assert answer.code == 0, answer.err + refused.err
    assert refused.code == 5, refused.err
    assert serves(lab, truth_of(lab, "queen").token, refused=old)


def test_a_copy_of_the_state_folder_is_not_let_in_beside_the_run_itself(lab: Lab, ann: Bastion, tmp_path: Path) -> None:
    old = truth_of(lab, "queen").token
    work = ann.start("rotate", "--yes", "--pause", "2")
    work.until("wave 1 of 3")
    work.send(signal.SIGSTOP)  # so that the copy is of one moment
    shutil.copytree(ann.home, tmp_path / "copy")
    work.send(signal.SIGCONT)
    copied = Bastion(lab, tmp_path / "copy").fab("rollback")
    answer = work.end()
    assert answer.code == 0, answer.err + copied.err
    assert (copied.code, "was the run finished elsewhere?" in copied.out) == (4, True), copied.out
    new = truth_of(lab, "queen").token
    assert new != old
    assert serves(lab, new, refused=old)


def test_a_copy_from_the_middle_of_a_run_that_was_taken_back_since_makes_no_second_token(
    lab: Lab, ann: Bastion, tmp_path: Path
) -> None:
    old = truth_of(lab, "queen").token
    work = ann.start("rotate", "--yes")
    work.until("queen: queen")
    work.send(signal.SIGKILL)
    work.end()
    shutil.copytree(ann.home, tmp_path / "copy")
    assert ann.fab("rollback").code == 0
    answer = Bastion(lab, tmp_path / "copy").fab("resume")
    assert (answer.code, "was taken up again elsewhere" in answer.out) == (5, True), answer.out
    assert serves(lab, old)


def test_a_hive_that_joins_gets_no_token_that_only_one_host_left_behind_still_has(lab: Lab, ann: Bastion) -> None:
    out_of_reach(lab, "hive4")
    assert ann.fab("rotate", "--yes", "--allow-missing", "hive4").code == 4
    new = truth_of(lab, "queen").token
    mended(lab)
    lab.sh("hive3", f"systemctl stop rbee-hive; rm -rf {SECRETS} /var/lib/hivekeys")
    out_of_reach(lab, "queen", "hive1", "hive2", "hive5")
    answer = ann.fab("install", "--limit", "hive3", "--yes")
    assert (answer.code, "is proven by hive4 alone" in answer.err) == (4, True), answer.out + answer.err
    assert lab.run("hive3", ["test", "-e", f"{SECRETS}/api-token"]).returncode == 1
    mended(lab)
    answer = ann.fab("install", "--limit", "hive3", "--yes")
    assert answer.code == 0, answer.err
    assert truth_of(lab, "hive3").token == new
