"""A host whose wall clock is a day off: nothing is decided by comparing two machines' clocks.

The lab's hosts share one kernel clock, so a single host can only be off here, by the agent's System seam; a bastion
that is off meets real hosts in tests/lab/test_survival.py.
"""

import time
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Host
from hivekeys.journal.events import State
from hivekeys.protocol.causes import Cause
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessDialer, InProcessFleet, InProcessLine, Machine

DAY = 86400.0


class OffMachine(Machine):
    """A host whose wall clock is off. Its monotonic clock is sound, as it is on a real machine."""

    off = 0.0

    def now(self) -> float:
        return super().now() + self.off


class OffDialer(InProcessDialer):
    """Reaches one host of the fleet whose clock is off."""

    def __init__(self, fleet: InProcessFleet, name: str, off: float) -> None:
        super().__init__(fleet)
        self._name = name
        self._off = off

    def dial(self, host: Host) -> InProcessLine | Cause:
        line = super().dial(host)
        if isinstance(line, InProcessLine) and host.name == self._name:
            machine = OffMachine(self.fleet.hosts[host.name])
            machine.off = self._off
            line.agent.system = line.agent.state.system = machine
        return line


@pytest.mark.parametrize("off", [DAY, -DAY], ids=["ahead", "behind"])
@pytest.mark.parametrize("name", ["queen", "hive1"])
@pytest.mark.parametrize("credentials", [True, False], ids=["credential", "file"])
def test_a_host_a_day_off_is_rotated_and_proven(tmp_path: Path, name: str, off: float, credentials: bool) -> None:
    fleet = InProcessFleet(tmp_path, hives=2, credentials=credentials)
    operator = Operator(fleet, dialer=OffDialer(fleet, name, off))
    assert operator.rotate() is ExitCode.DONE, operator.troubles
    assert operator.states == dict.fromkeys(fleet.hosts, State.PROVEN)
    assert serving(fleet, operator.token) == dict.fromkeys(fleet.hosts, "new")
    assert slots_used(fleet) == []
    seen = operator.run.hosts[name].seen
    assert seen is not None
    assert abs(seen.clock - time.time() - off) < 60.0  # that clock was really the one that was read
