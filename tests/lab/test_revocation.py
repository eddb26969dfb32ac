"""The night it matters, on twenty hives: one is down, one frozen, one does not start, one ignores its file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab, down, up
from hivekeys.lab.faults import inject
from hivekeys.run import REVOKE

from .asking import status
from .rotating import INVENTORY, mended, serves, truth_of
from .surviving import Bastion, slots, small_fleet, whole_again, write_inventory

pytestmark = pytest.mark.lab
HIVES = 20
BAD = {"hive3": "link-down", "hive8": "sshd-frozen", "hive12": "start-fails", "hive17": "keeps-old-token"}
STATES = {"hive3": "unreachable", "hive8": "unreachable", "hive12": "failed", "hive17": "failed"}
LEAKED = ("--yes", "--reason", "token in a public paste")
SIGKILLED = -9


@pytest.fixture
def twenty(tmp_path: Path) -> Iterator[Lab]:
    """Twenty hives, four of them ill, and their queen."""
    name = "lab-test-revoke"
    try:
        lab = up(name, hives=HIVES, inventory_dir=INVENTORY)
        for host, fault in BAD.items():
            inject(lab, host, fault)
        yield lab
    finally:
        down(name, inventory_dir=INVENTORY)


def test_a_leaked_token_is_refused_within_a_minute_and_whoever_is_left_behind_is_named(
    twenty: Lab, tmp_path: Path
) -> None:
    bastion = Bastion(twenty, tmp_path)
    old = truth_of(twenty, "queen").token
    good = [name for name in twenty.hosts if name not in BAD]
    answer = bastion.fab("revoke", *LEAKED, "--json")
    assert answer.code == 4, answer.err
    assert {name: answer.hosts[name]["state"] for name in BAD} == STATES
    assert {answer.hosts[name]["state"] for name in good} == {"proven"}
    exposure = answer.document["exposure"]
    assert sorted(exposure["open"]) == sorted(BAD)
    assert exposure["longest"] < 60
    assert answer.document["seconds"] < 120
    new = truth_of(twenty, "queen").token
    assert [name for name in good if status(twenty.hosts[name], old) != 401] == []
    assert [name for name in good if status(twenty.hosts[name], new) != 200] == []
    assert status(twenty.hosts["hive17"], old) == 200, "it ignores its file, and was said to be open"

    mended(twenty)
    assert bastion.fab("rollback").code == 2
    answer = bastion.fab("status")
    assert answer.code == 4
    assert "hive3 holds a token that leaked" in answer.out
    answer = bastion.fab("verify", "--checks", "token-revoked", "--json")
    assert {one["host"] for one in answer.document["findings"] if one["verdict"] == "fail"} == set(BAD)
    answer = bastion.fab("reconcile", "--json")
    assert answer.code == 0, answer.err
    assert answer.document["exposure"]["open"] == []
    assert serves(twenty, new, refused=old)

    (tmp_path / "old").write_text(f"{old}\n")
    (tmp_path / "old").chmod(0o600)
    answer = bastion.fab("rotate", "--yes", "--token-file", str(tmp_path / "old"))
    assert answer.code != 0
    assert "revoked" in answer.out + answer.err
    assert serves(twenty, new, refused=old)


@pytest.fixture(scope="module")
def booted() -> Iterator[Lab]:
    with small_fleet("r") as lab:
        write_inventory(lab, canary=0, stable_seconds=0, revocation_recheck=0)
        yield lab


@pytest.fixture
def lab(booted: Lab) -> Iterator[Lab]:
    yield booted
    whole_again(booted)


@pytest.mark.parametrize("point", [8, 16, 24, 32, 40, 48])
def test_killed_at_any_event_and_resumed_it_goes_forward(lab: Lab, tmp_path: Path, point: int) -> None:
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    assert bastion.dies_after(point, REVOKE) == SIGKILLED
    answer = bastion.fab("resume")
    if "is over" in answer.err or "there was no run" in answer.err:  # no token had been made
        answer = bastion.fab("revoke", *LEAKED)
    assert answer.code == 0, answer.out + answer.err
    new = truth_of(lab, "queen").token
    assert new != old
    assert serves(lab, new, refused=old)
    assert {text for files in slots(lab).values() for text in files.values()} == {new}
    assert bastion.fab("rollback").code == 2


def test_a_fence_stops_a_service_that_cannot_be_turned_and_reconcile_starts_it(lab: Lab, tmp_path: Path) -> None:
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    inject(lab, "hive2", "keeps-old-token")
    answer = bastion.fab("revoke", *LEAKED, "--attempts", "1", "--fence", "--json")
    assert answer.code == 4, answer.err
    assert answer.hosts["hive2"]["state"] == "fenced"
    assert status(lab.hosts["hive2"], old) == 0
    mended(lab)
    assert bastion.fab("reconcile").code == 0
    assert serves(lab, truth_of(lab, "queen").token, refused=old)
