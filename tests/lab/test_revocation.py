"""The night it matters, on twenty hives: one is down, one frozen, one does not start, one ignores its file."""

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Timeouts
from hivekeys.journal.events import Outcome, Phase, PhaseStarted, State
from hivekeys.journal.run import REVOKE
from hivekeys.lab import Lab, down, up
from hivekeys.lab.faults import inject, mend
from hivekeys.lab.files import PROTECTED, SECRETS

from .asking import eventually, log_of, status
from .rotating import INVENTORY, all_but, before, fleet_of, mended, revoke, serves, truth_of
from .surviving import Bastion, agents_left, slots, small_fleet, whole_again, write_inventory
from .thief import Thief

pytestmark = pytest.mark.lab
HIVES = 20
BAD = {"hive3": "link-down", "hive8": "sshd-frozen", "hive12": "start-fails", "hive17": "keeps-old-token"}
STATES = {"hive3": "unreachable", "hive8": "unreachable", "hive12": "failed", "hive17": "failed"}
LEAKED = ("--yes", "--reason", "token in a public paste")
SIGKILLED = -9
EVERY = int(os.environ.get("HIVEKEYS_KILLED_EVERY", "9"))  # 1: at each event (make soak)
CHOSEN = 18  # the event that names the run's token: from here on the run is open
ENDED = 57  # the last event of a revocation of four hosts


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


@pytest.fixture
def thief(twenty: Lab) -> Iterator[Thief]:
    """Whoever found the token uses it on every host, from before it is revoked until the test is over."""
    with Thief(twenty, truth_of(twenty, "queen").token) as thief:
        yield thief


def test_a_leaked_token_is_refused_within_a_minute_and_whoever_is_left_behind_is_named(
    twenty: Lab, thief: Thief, tmp_path: Path
) -> None:
    bastion = Bastion(twenty, tmp_path)
    old = truth_of(twenty, "queen").token
    good = [name for name in twenty.hosts if name not in BAD]
    assert thief.is_in(*good)
    began = time.time()
    answer = bastion.fab("revoke", *LEAKED, "--json")
    took, let_in = time.time() - began, {name: thief.let_in[name] - began for name in good}
    assert answer.code == 4, answer.err
    assert {name: answer.hosts[name]["state"] for name in BAD} == STATES
    assert {answer.hosts[name]["state"] for name in good} == {"proven"}
    exposure = answer.document["exposure"]
    assert sorted(exposure["open"]) == sorted(BAD)
    print(f"let in for {max(let_in.values()):.1f} s at most, by the clock {exposure['longest']} s; {took:.1f} s in all")
    assert max(let_in.values()) < 60
    assert took < 120
    offset = (
        datetime.fromisoformat(answer.document["started"]).timestamp() - began + 0.002
    )  # it is told in milliseconds
    assert [name for name, seconds in exposure["closed"].items() if let_in[name] > offset + seconds] == []
    new = truth_of(twenty, "queen").token
    assert [name for name in good if status(twenty.hosts[name], old) != 401] == []
    assert [name for name in good if status(twenty.hosts[name], new) != 200] == []
    assert status(twenty.hosts["hive17"], old) == 200, "it ignores its file, and was said to be open"
    told = bastion.fab("report", "--format", "markdown").out
    assert "4 of 21 may still accept it: hive3, hive8, hive12, hive17" in told
    assert "- [x] Generate new token" in told
    assert "- [ ] Restart all services – 17 of 21 restarted on it; not seen on hive3, hive8, hive12, hive17" in told

    mended(twenty)
    answer = bastion.fab("rollback")
    assert (answer.code, "revoked a token that leaked: it is never taken back" in answer.err) == (2, True)
    answer = bastion.fab("status")
    assert (answer.code, "hive3 holds a token that leaked" in answer.out) == (4, True)
    answer = bastion.fab("verify", "--checks", "token-revoked", "--json")
    assert {one["host"] for one in answer.document["findings"] if one["verdict"] == "fail"} == set(BAD)
    answer = bastion.fab("reconcile", "--json")
    assert answer.code == 0, answer.err
    assert answer.document["exposure"]["open"] == []
    assert "- [x] Restart all services" in bastion.fab("report", "--format", "markdown").out
    assert serves(twenty, new, refused=old)

    (tmp_path / "old").touch(0o600)
    (tmp_path / "old").write_text(f"{old}\n")
    answer = bastion.fab("rotate", "--yes", "--token-file", str(tmp_path / "old"))
    assert (answer.code, "was revoked by run" in answer.err) == (2, True)
    assert serves(twenty, new, refused=old)
    assert thief.is_out()
    assert thief.again == set(), "nothing ever put the old token back"
    assert eventually(lambda: found_by_audit(bastion) == set(twenty.hosts), seconds=120)
    assert is_evidence(bastion, tmp_path)


def is_evidence(bastion: Bastion, folder: Path) -> bool:
    """Whether the newest run can be written out, signed, and checked with the public key."""
    archive, key = str(folder / "e.tar"), str(folder / "e.pub")
    assert bastion.fab("evidence", "--output", archive).code == 0
    assert bastion.fab("evidence", "--public-key", "--output", key).code == 0
    answer = bastion.fab("evidence", "--check", archive, "--key", key)
    return answer.code == 0 and "valid: evidence of run" in answer.out


def found_by_audit(bastion: Bastion) -> set[str]:
    """The hosts on which `fab audit` shows the thief: not the fleet's own calls while it turned, nor our proofs."""
    answer = bastion.fab("audit", "--token", "previous", "--since", "30m", "--json")
    assert answer.code == 0, answer.err
    own = {host.address for host in bastion.lab.hosts.values()}
    rows = [row for row in answer.document["forgotten"] if not row["local"] and row["address"] not in own]
    paths = {row["host"]: row["path"] for row in rows if row["failed_after"] and not row["ok_after"]}
    assert all(path == PROTECTED[bastion.lab.hosts[name].role] for name, path in paths.items())
    return set(paths)


@pytest.fixture(scope="module")
def booted() -> Iterator[Lab]:
    with small_fleet("r") as lab:
        write_inventory(lab, canary=0, stable_seconds=0, revocation_recheck=0)
        yield lab


@pytest.fixture
def lab(booted: Lab) -> Iterator[Lab]:
    yield booted
    whole_again(booted)


@pytest.mark.parametrize("point", [*range(EVERY, ENDED, EVERY), ENDED])
def test_killed_at_any_event_and_resumed_it_goes_forward(lab: Lab, tmp_path: Path, point: int) -> None:
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    with Thief(lab, old) as thief:
        assert thief.is_in(*lab.hosts)
        assert bastion.dies_after(point, REVOKE) == SIGKILLED
        answer = bastion.fab("resume")
        is_over = "is over" in answer.err
        assert is_over == (point < CHOSEN or point == ENDED)
        if is_over:
            answer = bastion.fab("revoke", *LEAKED)
        assert answer.code == 0, answer.out + answer.err
        assert thief.is_out()
    assert thief.again == set()
    new = truth_of(lab, "queen").token
    assert new != old
    assert serves(lab, new, refused=old)
    assert {text for files in slots(lab).values() for text in files.values()} == {new}
    assert bastion.fab("rollback").code == 2


def test_a_hive_that_stands_still_in_its_wave_holds_up_no_other_and_does_nothing_late(lab: Lab) -> None:
    """Every process of it, the agent too, with the swap on its way: seconds are the journal's own."""
    old, was = truth_of(lab, "hive2").token, truth_of(lab, "hive2").started
    usual = replace(fleet_of(lab, revocation_recheck=10.0), timeouts=Timeouts())
    run = revoke(usual, before(Phase.WAVE, partial(inject, lab, "hive2", "frozen"), "hive2"))
    assert run.code is ExitCode.INCOMPLETE
    assert run.states == all_but(lab, State.PROVEN, hive2=State.UNKNOWN)
    wave = next(event for event in run.events if isinstance(event, PhaseStarted) and event.phase is Phase.WAVE)
    retired = [event for event in run.events if isinstance(event, Outcome) and event.phase is Phase.RETIRE]
    assert {event.host for event in retired} == set(lab.hosts) - {"hive2"}
    assert max(event.when.clock for event in retired) - wave.when.clock < 30
    assert run.events[-1].when.clock - wave.when.clock < 120, "it is come back to a bounded number of times"
    mend(lab, "hive2")
    agents_left(lab)
    now = truth_of(lab, "hive2")
    assert (now.token, now.started) == (old, was)
    assert serves(lab, run.token.reveal(), refused=old, but=("hive2",))


def test_a_fence_stops_a_service_that_cannot_be_turned_and_reconcile_starts_it(lab: Lab, tmp_path: Path) -> None:
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    inject(lab, "hive2", "keeps-old-token")
    answer = bastion.fab("revoke", *LEAKED, "--attempts", "1", "--fence", "--json")
    assert answer.code == 4, answer.err
    assert answer.hosts["hive2"]["state"] == "fenced"
    assert status(lab.hosts["hive2"], old) == 0
    answer = bastion.fab("reconcile", "--json")  # not mended yet: it is started, tried, and stopped again
    assert (answer.code, answer.hosts["hive2"]["state"]) == (4, "fenced"), answer.err
    assert status(lab.hosts["hive2"], old) == 0
    mended(lab)
    assert bastion.fab("reconcile").code == 0
    assert serves(lab, truth_of(lab, "queen").token, refused=old)


def test_a_debt_is_paid_though_a_later_rotation_failed_on_that_very_host(lab: Lab, tmp_path: Path) -> None:
    """It has the token that leaked, so there it could not go back; the others are on the one that was brought then."""
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    inject(lab, "hive2", "link-down")
    assert bastion.fab("revoke", *LEAKED, "--attempts", "1").code == 4
    new = truth_of(lab, "queen").token
    mended(lab)
    inject(lab, "hive2", "start-fails")
    answer = bastion.fab("rotate", "--yes")
    mended(lab)
    assert answer.code == 4, answer.out + answer.err
    assert "hive2: no way back, its earlier token was revoked: fab reconcile" in answer.out
    answer = bastion.fab("reconcile")
    assert answer.code == 0, answer.out + answer.err
    assert serves(lab, new, refused=old)


# -- a hive that was broken into


def killed_in_phase_queen(bastion: Bastion) -> None:
    """A revocation whose bastion dies while the queen turns: every host holds the new token, staged."""
    work = bastion.start("revoke", *LEAKED)
    work.until("queen: queen")
    work.send(signal.SIGKILL)
    work.end()
    agents_left(bastion.lab)


def logins(lab: Lab, name: str) -> int:
    return log_of(lab, name, "-t sshd -t sshd-session").count("Accepted publickey")


def test_a_revocation_is_finished_though_the_hive_that_was_broken_into_is_gone_from_the_inventory(
    lab: Lab, tmp_path: Path
) -> None:
    """Killed in phase queen, and hive3 taken out: nothing was left to type but what handed it the new token."""
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    killed_in_phase_queen(bastion)
    written, before_it = lab.inventory.read_text(), logins(lab, "hive3")
    try:
        without = re.sub(r"\[hosts\.hive3\].*?(?=\n\[|\Z)", "", written, flags=re.DOTALL)
        assert without != written
        lab.inventory.write_text(without)
        answer = bastion.fab("resume", "--json")
    finally:
        lab.inventory.write_text(written)
    assert answer.code == 0, answer.err
    assert (answer.document["gone"], answer.hosts["hive3"]["state"]) == (["hive3"], "excluded")
    assert logins(lab, "hive3") == before_it
    new = truth_of(lab, "queen").token
    assert new != old and serves(lab, new, refused=old, but=("hive3",))
    assert truth_of(lab, "hive3").token == old


def test_a_new_revocation_cuts_it_out_and_only_an_install_that_says_so_takes_it_back(lab: Lab, tmp_path: Path) -> None:
    """The token that the enemy holds staged is revoked with the others."""
    bastion = Bastion(lab, tmp_path)
    old = truth_of(lab, "queen").token
    killed_in_phase_queen(bastion)
    staged, before_it = slots(lab)["hive3"]["api-token.new"], logins(lab, "hive3")
    answer = bastion.fab("revoke", *LEAKED, "--without", "hive3", "--json")
    assert answer.code == 4, answer.err
    assert answer.document["excluded"] == ["hive3"] and answer.hosts["hive3"]["state"] == "excluded"
    new = truth_of(lab, "queen").token
    assert new not in (old, staged) and serves(lab, new, refused=old, but=("hive3",))
    assert all(status(lab.hosts[name], staged) == 401 for name in ("queen", "hive1", "hive2"))
    for words in (("rotate", "--yes"), ("reconcile",), ("status",), ("verify",)):
        assert bastion.fab(*words).code in (4, 6)
    assert logins(lab, "hive3") == before_it, "nobody logged in to it"
    assert bastion.fab("install", "--limit", "hive3").code == 2
    lab.sh("hive3", f"systemctl stop rbee-hive; rm -f {SECRETS}/api-token*; rm -rf /var/lib/hivekeys")
    answer = bastion.fab("install", "--limit", "hive3", "--readmit")
    assert answer.code in (0, 6), answer.out + answer.err
    assert truth_of(lab, "hive3").token == truth_of(lab, "queen").token
    assert bastion.fab("status").code == 0
