"""How long each host still let in the leaked token, and which hosts may do so still."""

from dataclasses import replace

import pytest

from hivekeys.journal.events import State
from hivekeys.journal.exposure import Exposure, exposure_of
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import REVOKE, Run
from hivekeys.protocol.causes import Cause, Trouble

BEGAN = 1_790_000_000.0


def revocation(*hosts: HostRun) -> Run:
    return Run("run-1", REVOKE, started=BEGAN, hosts={host.name: host for host in hosts})


def refused(name: str, after: float) -> HostRun:
    return HostRun(name, state=State.PROVEN, refused=BEGAN + after)


def test_every_host_is_closed_or_fenced_or_open() -> None:
    run = revocation(refused("queen", 4), HostRun("hive1", state=State.FENCED), HostRun("hive2"), refused("hive3", 9))
    assert exposure_of(run) == Exposure({"queen": 4, "hive3": 9}, ("hive1",), ("hive2",))


def test_a_clock_that_was_put_back_makes_no_time_negative() -> None:
    assert exposure_of(revocation(refused("queen", -30))).closed == {"queen": 0}


def test_what_two_names_of_one_machine_or_a_host_that_was_cut_out_showed_is_no_evidence() -> None:
    double = replace(refused("hive1", 4), cause=Cause(Trouble.SAME_MACHINE))
    cut_out = replace(refused("hive2", 4), state=State.EXCLUDED)
    assert exposure_of(revocation(double, cut_out)).open == ("hive1", "hive2")


@pytest.mark.parametrize(
    ("seconds", "median", "p95", "longest"),
    [([], None, None, None), ([7], 7, 7, 7), ([3, 1], 2, 3, 3), (list(range(1, 21)), 10.5, 19, 20)],
)
def test_the_figures_are_those_of_the_hosts_that_refuse(
    seconds: list[float], median: float | None, p95: float | None, longest: float | None
) -> None:
    found = Exposure({f"hive{number}": value for number, value in enumerate(seconds)}, (), ("hive99",))
    assert (found.median, found.p95, found.longest) == (median, p95, longest)
