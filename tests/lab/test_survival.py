"""What an operator fears in the middle of a rotation, on real hosts: what it ends in, and the way on from there.

Each test breaks something while the real program is at work and then asks the hosts, beside the program, what is true.
"""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.fleet import Amount
from hivekeys.host.serving import LEASE_SECONDS
from hivekeys.journal.events import Phase, State
from hivekeys.lab import Lab, boot, cgroup
from hivekeys.lab.faults import inject, mend
from hivekeys.lab.files import SECRETS

from .asking import eventually, status
from .rotating import SOON, after, all_but, before, fab, fleet_of, rotate, serves, truth, truth_of
from .surviving import (
    Bastion,
    agents_left,
    lines_cut,
    new_token,
    slots,
    small_fleet,
    tiny_disk,
    whole_again,
    write_inventory,
)

pytestmark = pytest.mark.lab
LEASE = LEASE_SECONDS + 10  # seconds in which a host is free of a bastion that is gone, and rotated
YES = ("--yes",)
JSON = ("--yes", "--json")
# What `fab` says when a phase begins. All hives are one wave here, after a canary.
BEGINS = {"stage": "stage: 4 hosts", "queen": "queen: queen", "wave": "wave 1 of 1", "retire": "retire: 4 hosts"}
SLOW_STOP = "[Service]\nExecStop=/bin/sleep 2\nTimeoutStopSec=4\n"


@pytest.fixture(scope="module")
def booted() -> Iterator[Lab]:
    with small_fleet("") as lab:
        yield lab


@pytest.fixture
def lab(booted: Lab) -> Iterator[Lab]:
    write_inventory(booted)
    yield booted
    whole_again(booted)


@pytest.fixture
def old(lab: Lab) -> str:
    """The token that all hosts have before the run."""
    return truth_of(lab, "queen").token


@pytest.fixture
def bastion(lab: Lab, tmp_path: Path) -> Iterator[Bastion]:
    bastion = Bastion(lab, tmp_path / "state")
    yield bastion
    bastion.leave()


def ends_done(bastion: Bastion, verb: str, old: str, *words: str) -> bool:
    """The verb ends with everything done: one token everywhere, the old one refused. Returns True, or fails."""
    answer = bastion.fab(verb, *words)
    assert answer.code == 0, answer.out + answer.err
    new = truth_of(bastion.lab, "queen").token
    assert new != old
    return serves(bastion.lab, new, refused=old)


@pytest.fixture
def slow_to_stop(lab: Lab) -> Iterator[str]:
    """hive2's service takes two seconds to stop: time to meet it between its swap and its restart."""
    place = "/run/systemd/system/rbee-hive.service.d"
    lab.sh("hive2", f"mkdir -p {place}")
    lab.write("hive2", f"{place}/slow-stop.conf", SLOW_STOP)
    lab.sh("hive2", "systemctl daemon-reload")
    yield "hive2"
    lab.sh("hive2", f"rm -f {place}/slow-stop.conf; systemctl daemon-reload")


def swapped(lab: Lab, name: str, old: str) -> Callable[[], bool]:
    return lambda: slots(lab)[name]["api-token"] != old


# -- the bastion dies


@pytest.mark.parametrize(("phase", "way"), [*((phase, "resume") for phase in BEGINS), ("wave", "rollback")])
def test_the_bastions_process_is_killed(lab: Lab, old: str, bastion: Bastion, phase: str, way: str) -> None:
    work = bastion.start("rotate", *YES)
    work.until(BEGINS[phase])
    work.send(signal.SIGKILL)
    assert work.end().code == -signal.SIGKILL
    refused = bastion.fab("rotate", *YES)
    if phase == "stage" and refused.code == 0:  # it was killed before any host was told: nothing stands in the way
        assert serves(lab, truth_of(lab, "queen").token, refused=old)
        return
    assert refused.code == 2
    assert f"was cut off in phase {phase}" in refused.err
    assert f"fab resume --fleet {lab.name}" in refused.err
    assert f"fab rollback --fleet {lab.name}" in refused.err
    held = new_token(lab, old)
    if way == "rollback":
        assert bastion.fab("rollback").code == 0
        assert serves(lab, old, refused=held)
    else:
        assert ends_done(bastion, "resume", old)
        assert truth_of(lab, "queen").token == (held or truth_of(lab, "queen").token)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_it_lets_hosts_in_flight_finish(
    lab: Lab, old: str, bastion: Bastion, slow_to_stop: str, number: signal.Signals
) -> None:
    write_inventory(lab, canary=0, batch=1)
    work = bastion.start("rotate", *YES)
    work.until("wave 2 of 3: hive2")
    assert eventually(swapped(lab, slow_to_stop, old))
    work.send(number)
    answer = work.end()
    assert answer.code == 130
    assert f"fab resume --fleet {lab.name}" in answer.out.rstrip().splitlines()[-1]
    new, found = new_token(lab, old), truth(lab)
    assert [found[name].token for name in lab.hosts] == [new, new, new, old]
    assert {host.serves for host in found.values()} == {200}
    assert ends_done(bastion, "resume", old)


def test_asked_twice_it_stops_at_once(lab: Lab, old: str, bastion: Bastion) -> None:
    inject(lab, "hive1", "start-slow", seconds=8)
    work = bastion.start("rotate", *YES)
    work.until("canary: hive1")
    work.send(signal.SIGINT)
    work.until("stopping: hosts in flight finish")
    work.send(signal.SIGINT)
    assert work.end().code == 130
    new = new_token(lab, old)
    assert status(lab.hosts["hive1"], new) != 200  # nobody waited until it was there
    mend(lab, "hive1")
    assert ends_done(bastion, "resume", old)


# -- the line breaks


def test_the_cable_comes_back_and_the_run_ends_as_if_nothing_had_been(
    lab: Lab, old: str, bastion: Bastion, slow_to_stop: str
) -> None:
    started = truth_of(lab, slow_to_stop).started
    work = bastion.start("rotate", *YES)
    work.until(BEGINS["wave"])
    assert eventually(swapped(lab, slow_to_stop, old))
    inject(lab, slow_to_stop, "link-down")
    assert eventually(lambda: truth_of(lab, slow_to_stop).started > started)
    mend(lab, slow_to_stop)
    answer = work.end()
    assert answer.code == 0, answer.out + answer.err
    assert serves(lab, truth_of(lab, "queen").token, refused=old)


def test_a_cable_that_stays_out_is_unknown_and_reconcile_clears_it(
    lab: Lab, old: str, bastion: Bastion, slow_to_stop: str
) -> None:
    work = bastion.start("rotate", *JSON, "--max-failures", "1")
    work.until(BEGINS["wave"])
    assert eventually(swapped(lab, slow_to_stop, old))
    inject(lab, slow_to_stop, "link-down")
    answer = work.end()
    assert answer.code == 4
    assert {name: host["state"] for name, host in answer.hosts.items()} == dict.fromkeys(lab.hosts, "proven") | {
        slow_to_stop: "unknown"
    }
    mend(lab, slow_to_stop)
    assert ends_done(bastion, "reconcile", old)


def test_beyond_the_budget_the_others_go_back_and_the_next_rotation_takes_the_lost_host_along(
    lab: Lab, old: str, bastion: Bastion, slow_to_stop: str
) -> None:
    work = bastion.start("rotate", *JSON)
    work.until(BEGINS["wave"])
    assert eventually(swapped(lab, slow_to_stop, old))
    inject(lab, slow_to_stop, "link-down")
    answer = work.end()
    assert answer.code == 4
    assert answer.hosts[slow_to_stop]["state"] == "unknown"
    assert serves(lab, old, but=(slow_to_stop,))
    mend(lab, slow_to_stop)
    assert ends_done(bastion, "rotate", old, *YES)


def test_a_whole_wave_is_cut_off(lab: Lab, old: str, bastion: Bastion) -> None:
    wave = ("hive2", "hive3")
    work = bastion.start("rotate", *JSON)
    work.until("canary: hive1")
    for name in wave:
        inject(lab, name, "link-down")
    answer = work.end()
    assert answer.code == 4
    assert not {answer.hosts[name]["state"] for name in wave} & {"proven", "healthy"}
    assert serves(lab, old, but=wave)
    for name in wave:
        mend(lab, name)
    lines_cut(lab)  # what frees a host by itself, and when, is the paused operator's test
    assert ends_done(bastion, "rotate", old, *YES)


def test_a_cable_that_goes_out_when_all_have_turned_turns_nobody_back(lab: Lab, old: str, bastion: Bastion) -> None:
    """The canary is proven; its cable is out by the time it is asked again. The last line says what to type."""
    inject(lab, "hive2", "start-slow", seconds=2)
    work = bastion.start("rotate", *YES)
    work.until(BEGINS["wave"])
    inject(lab, "hive1", "link-down")
    answer = work.end()
    assert answer.code == 4
    new = new_token(lab, old)
    assert {host.token for host in truth(lab).values()} == {new}
    assert "1 unknown" in answer.out
    assert answer.out.rstrip().splitlines()[-1].endswith(f"fab reconcile --fleet {lab.name}")
    mend(lab, "hive1")
    mend(lab, "hive2")
    assert ends_done(bastion, "reconcile", old)


def test_what_a_frozen_sshd_delivers_late_is_not_done(lab: Lab, old: str) -> None:
    """The swap is sent to an sshd that says nothing, the host is called unknown; then sshd thaws and hands it on."""
    fleet = replace(fleet_of(lab, max_failures=Amount(1)), timeouts=replace(SOON, request=2, connect=1))
    rotation = rotate(fleet, before(Phase.WAVE, lambda: inject(lab, "hive3", "sshd-frozen"), "hive3"))
    assert rotation.states == all_but(lab, State.PROVEN, hive3=State.UNKNOWN)
    was = truth_of(lab, "hive3")
    mend(lab, "hive3")
    agents_left(lab)
    assert truth_of(lab, "hive3") == was
    assert was.token == old


def test_sshd_freezes_in_the_middle(lab: Lab, old: str, bastion: Bastion) -> None:
    work = bastion.start("rotate", *JSON, "--max-failures", "1")
    work.until("canary: hive1")
    inject(lab, "hive3", "sshd-frozen")
    answer = work.end()
    assert answer.code == 4
    assert answer.hosts["hive3"]["state"] in ("unknown", "unreachable")
    mend(lab, "hive3")
    assert ends_done(bastion, "reconcile", old)


# -- a host is reborn


def reboot(lab: Lab, name: str) -> None:
    """The power goes and comes back."""
    cgroup.kill(lab.name, name)
    boot.start(lab, lab.hosts[name])
    boot.wait(lab, timeout=60, service=True, only=[name])


def test_a_host_loses_power_in_the_middle_and_boots_again(lab: Lab, old: str, bastion: Bastion) -> None:
    work = bastion.start("rotate", *JSON, "--max-failures", "1")
    work.until(BEGINS["queen"])
    reboot(lab, "hive3")
    answer = work.end()
    assert answer.code in (0, 4), answer.err
    assert (answer.hosts["hive3"]["state"] == "proven") == (answer.code == 0)
    if answer.code == 4:
        assert bastion.fab("reconcile").code == 0
    assert serves(lab, truth_of(lab, "queen").token, refused=old)


def test_a_host_that_was_away_is_reconciled_when_it_is_back(lab: Lab, old: str, bastion: Bastion) -> None:
    inject(lab, "hive2", "link-down")
    answer = bastion.fab("rotate", *JSON, "--allow-missing", "hive2")
    assert answer.code == 4
    assert {name for name, host in answer.hosts.items() if host["state"] != "proven"} == {"hive2"}
    owing = bastion.fab("status", "--json")
    assert {name: host["owes_for"] is None for name, host in owing.hosts.items()} == {
        name: name != "hive2" for name in lab.hosts
    }
    assert (owing.code, owing.hosts["hive2"]["reachable"], owing.document["agrees"]) == (4, False, False)
    assert bastion.fab("status").out.rstrip().endswith(f"fab reconcile --fleet {lab.name}")
    mend(lab, "hive2")
    assert ends_done(bastion, "reconcile", old)
    paid = bastion.fab("status", "--json")
    assert (paid.code, paid.document["agrees"]) == (0, True)
    new = truth_of(lab, "queen").token
    assert new not in paid.out and old not in paid.out


def test_a_re_imaged_host_is_reconciled(lab: Lab, old: str, bastion: Bastion) -> None:
    assert ends_done(bastion, "rotate", old, *YES)
    lab.sh("hive2", f"systemctl stop rbee-hive; rm -rf /var/lib/hivekeys {SECRETS}/api-token")
    answer = bastion.fab("reconcile")
    assert answer.code == 0, answer.out + answer.err
    assert serves(lab, truth_of(lab, "queen").token, refused=old)


# -- clocks disagree


class OffClock:
    """The bastion's clock, so many seconds off all hosts' clocks."""

    def __init__(self, off: float) -> None:
        self._off = off

    def time(self) -> float:
        return time.time() + self._off

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)


@pytest.mark.parametrize("off", [86400.0, -86400.0], ids=["ahead", "behind"])
def test_all_hosts_and_the_bastion_are_a_day_apart(lab: Lab, old: str, off: float) -> None:
    rotation = rotate(fleet_of(lab), clock=OffClock(off))
    assert rotation.code == 0, rotation.troubles
    assert serves(lab, rotation.token.reveal(), refused=old)


AHEAD = "import time\nright = time.time\ntime.time = lambda: right() + 86400\n"


@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_the_later_run_is_meant_though_the_clock_was_a_day_ahead_before_it(
    lab: Lab, old: str, bastion: Bastion, tmp_path: Path, verb: str
) -> None:
    """A wrong clock for one rotation, then a right one, and the bastion is killed while it stages."""
    (tmp_path / "sitecustomize.py").write_text(AHEAD)
    name = ("--fleet", lab.name)
    ahead = fab("rotate", *name, *JSON, state=bastion.home, env={"PYTHONPATH": str(tmp_path)})
    assert ahead.code == 0, ahead.err
    served = truth_of(lab, "queen").token
    work = bastion.start("rotate", *YES)
    work.until(BEGINS["queen"])
    work.send(signal.SIGKILL)
    work.end()
    agents_left(lab)
    assert "cut off in phase" in bastion.fab("status").out
    refused = bastion.fab("rotate", *YES)
    assert refused.code == 2 and "was cut off in phase" in refused.err
    assert ahead.document["run"] not in refused.err
    taken_up = bastion.fab(verb, "--json")
    assert (taken_up.code, taken_up.document["run"] != ahead.document["run"]) == (0, True), taken_up.err
    assert serves(lab, truth_of(lab, "queen").token)
    assert (truth_of(lab, "queen").token == served) is (verb == "rollback")


# -- the journal is damaged


@pytest.mark.parametrize("damage", ["one byte", "cut to nothing", "the key is lost"])
def test_a_revocation_is_done_though_the_journal_is_damaged(lab: Lab, old: str, bastion: Bastion, damage: str) -> None:
    write_inventory(lab, revocation_recheck=0)
    assert bastion.fab("revoke", *YES, "--reason", "leaked").code == 0
    leaked = truth_of(lab, "queen").token
    folder = bastion.home / lab.name
    if damage == "the key is lost":
        (folder / "fingerprint.key").unlink()
    elif damage == "one byte":
        with (folder / "journal.db").open("r+b") as file:
            file.write(b"s")
    else:
        (folder / "journal.db").write_bytes(b"")
    waits = bastion.fab("rotate", *YES)
    assert waits.code == 2 and f"fab history --fleet {lab.name} --set-aside" in waits.err
    answer = bastion.fab("revoke", *YES, "--reason", "leaked again")
    assert answer.code == 0, answer.out + answer.err
    assert "goes on with a new journal; the old one is kept as" in answer.err
    assert serves(lab, truth_of(lab, "queen").token, refused=leaked)
    assert ends_done(bastion, "rotate", truth_of(lab, "queen").token, *YES)


# -- a disk is full


def test_the_token_disk_is_full_when_the_token_is_staged(lab: Lab, old: str) -> None:
    rotation = rotate(fleet_of(lab), after(Phase.CLAIM, lambda: inject(lab, "hive2", "disk-full"), "hive2"))
    assert rotation.code == 3
    assert set(rotation.states.values()) <= {State.UNCHANGED, State.ROLLED_BACK, State.FAILED}
    mend(lab, "hive2")
    assert serves(lab, old, refused=rotation.token.reveal())


def test_the_token_disk_is_full_when_the_token_is_swapped(lab: Lab, old: str) -> None:
    rotation = rotate(fleet_of(lab), after(Phase.STAGE, lambda: inject(lab, "hive2", "disk-full"), "hive2"))
    assert rotation.states == all_but(lab, State.PROVEN)  # a link and a rename need no byte
    assert serves(lab, rotation.token.reveal(), refused=old)


def test_the_journals_disk_is_full_before_the_run(lab: Lab, old: str, tmp_path: Path) -> None:
    was = truth(lab)
    with tiny_disk(tmp_path / "disk") as fill:
        bastion = Bastion(lab, tmp_path / "disk")
        filler = fill()
        answer = bastion.fab("rotate", *YES)
        assert answer.code == 2, answer.err
        assert truth(lab) == was
        filler.unlink()
        assert ends_done(bastion, "rotate", old, *YES)


def test_the_journals_disk_fills_up_in_the_middle(lab: Lab, old: str, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as fill:
        bastion = Bastion(lab, tmp_path / "disk")
        work = bastion.start("rotate", *YES)
        work.until(BEGINS["queen"])
        filler = fill()
        answer = work.end()
        assert answer.code == 4, answer.err
        assert "fab resume" in answer.err
        assert old in {host.token for host in truth(lab).values()}
        filler.unlink()
        assert ends_done(bastion, "resume", old)


# -- services and hosts that fail


def test_a_service_that_crash_loops_after_passing_takes_all_back(lab: Lab, old: str, bastion: Bastion) -> None:
    write_inventory(lab, stable_seconds=2.5)
    inject(lab, "hive1", "crash-loops")
    answer = bastion.fab("rotate", *JSON)
    assert answer.code == 4
    assert answer.hosts["hive1"]["state"] == "failed"
    assert serves(lab, old, but=("hive1",))
    mend(lab, "hive1")
    write_inventory(lab)
    assert ends_done(bastion, "rotate", old, *YES)


@pytest.mark.parametrize("name", ["queen", "hive1"])
def test_queen_or_canary_does_not_start(lab: Lab, old: str, bastion: Bastion, name: str) -> None:
    inject(lab, name, "start-fails")
    answer = bastion.fab("rotate", *JSON, "--max-failures", "3")
    assert answer.code == 4
    assert answer.hosts[name]["state"] == "failed"
    assert serves(lab, old, but=(name,))
    mend(lab, name)
    assert ends_done(bastion, "rotate", old, *YES)


def test_one_hive_in_each_wave_fails_and_the_budget_of_the_run_stops_it(lab: Lab, old: str, bastion: Bastion) -> None:
    write_inventory(lab, canary=0, batch=1)
    for name in ("hive1", "hive2"):
        inject(lab, name, "start-fails")
    started = truth_of(lab, "hive3").started
    answer = bastion.fab("rotate", *JSON, "--max-failures", "1")
    assert answer.code == 4
    assert "2 of 4 hosts failed" in answer.document["stopped"]
    assert truth_of(lab, "hive3").started == started  # its wave never began
    for name in ("hive1", "hive2"):
        mend(lab, name)
    assert ends_done(bastion, "rotate", old, *YES)


# -- two operators


def test_of_two_bastions_at_once_exactly_one_wins(lab: Lab, old: str, tmp_path: Path) -> None:
    bastions = [Bastion(lab, tmp_path / name) for name in ("one", "two")]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda bastion: bastion.fab("rotate", *YES), bastions))
    assert sorted(answer.code for answer in answers) == [0, 5], [answer.out + answer.err for answer in answers]
    assert serves(lab, truth_of(lab, "queen").token, refused=old)


def test_a_paused_operator_wakes_after_anothers_run_and_changes_nothing(
    lab: Lab, old: str, bastion: Bastion, tmp_path: Path
) -> None:
    """Its connections stand, and nobody speaks on them: that keeps the hosts for half a minute and no longer."""
    sleeper, other = bastion, Bastion(lab, tmp_path / "another")
    inject(lab, "hive1", "start-slow", seconds=2)
    work = sleeper.start("rotate", *YES)
    work.until("canary: hive1")
    work.send(signal.SIGSTOP)
    refused = other.fab("rotate", *YES)
    assert refused.code == 5
    assert f"host-busy: run {lab.name}-" in refused.out
    assert "at work for" in refused.out
    mend(lab, "hive1")
    assert eventually(lambda: other.fab("rotate", *YES).code == 0, seconds=LEASE), "its agents did not leave"
    was = truth(lab)
    work.send(signal.SIGCONT)
    answer = work.end()
    assert answer.code == 5, answer.out + answer.err
    assert "superseded" in answer.out + answer.err
    assert truth(lab) == was
    now = sleeper.fab("status")
    assert now.code == 0 and "a newer run " in now.out, now.out + now.err
    assert "reconcile" not in now.out and "hosts hold token:" in now.out, now.out
    assert serves(lab, was["queen"].token, refused=old)
