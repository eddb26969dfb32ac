"""What one run on the bastion opens its lines with."""

from typing import TYPE_CHECKING

from hivekeys.fleet import Host
from hivekeys.protocol.causes import Cause
from hivekeys.ssh.line import Applicant

from .faults import ON_DIAL
from .line import InProcessLine

if TYPE_CHECKING:
    from .fleet import InProcessFleet


class InProcessDialer:
    """hivekeys.ssh.line.Dialer: the lines of one process on the bastion."""

    line_type = InProcessLine

    def __init__(self, fleet: "InProcessFleet") -> None:
        self.fleet = fleet

    def connect(self, host: Host, applicant: Applicant) -> None:
        """Nothing is connected ahead."""
        applicant.ready()

    def dial(self, host: Host) -> InProcessLine | Cause:
        simulated = self.fleet.hosts[self.fleet.leads.get(host.name, host.name)]
        self.fleet.dialled.append(host.name)
        if simulated.fault in ON_DIAL:
            return ON_DIAL[simulated.fault]
        simulated.end_leases()
        line = self.line_type(simulated)
        simulated.lines.append(line)
        return line

    def close(self) -> None:
        """Nothing is shared between the lines."""
