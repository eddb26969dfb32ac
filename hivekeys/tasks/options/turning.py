"""Options of the verbs that turn a fleet, or go on with a run that did."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import FleetOptions

if TYPE_CHECKING:
    from collections.abc import Collection

    from hivekeys.fleet import Host


@dataclass(frozen=True, kw_only=True)
class WithoutOption:
    """Hosts that are trusted no more."""

    without: str = option(
        "hosts to exclude from the fleet because you do not trust them: never contacted, now and later, "
        "until readmitted"
    )


@dataclass(frozen=True, kw_only=True)
class RetireOption:
    """Old tokens that somebody still uses."""

    retire_anyway: bool = option(
        "remove the old tokens although a client still uses one; the journal says so", default=False
    )


@dataclass(frozen=True, kw_only=True)
class WindowOption:
    """Allowed times."""

    wait_for_window: bool = option(
        "outside of the inventory's [windows] wait for the next allowed time, 7 days at most, instead of being refused",
        default=False,
    )


@dataclass(frozen=True, kw_only=True)
class ForceOptions:
    """What may be stopped so that no host lets in a token that leaked."""

    fence: bool = option("stop the service of a host that cannot be turned: it accepts no call any more", default=False)
    end_survivors: bool = option(
        "end processes of the unit or its account that outlived the restart and do not refuse the old token",
        default=False,
    )


@dataclass(frozen=True, kw_only=True)
class MeterOptions:
    """Whether services are called as clients do, meanwhile, and what follows from it."""

    meter: bool = option(
        "call every service ten times a second meanwhile, as its clients do, and count what is refused; "
        "without being asked where all services accept two tokens",
        default=False,
    )
    no_refusal: bool = option("the same; and take everything back at the first request that is refused", default=False)
    no_meter: bool = option("do not call them", default=False)

    def meters(self, hosts: "Collection[Host]") -> bool:
        """Whether these hosts' services are called."""
        from hivekeys.fleet import takes_two

        asked = "--no-refusal" if self.no_refusal else "--meter" if self.meter else ""
        if asked and self.no_meter:
            raise UserError(f"{asked} calls the services, and --no-meter does not", hint="give one of the two")
        return bool(asked) or (takes_two(hosts) and not self.no_meter)


@dataclass(frozen=True, kw_only=True)
class MissingOption:
    """Hosts that do not answer."""

    allow_missing: str = option("hosts that may be out of reach: they count as debts, and do not stop the others")


@dataclass(frozen=True, kw_only=True)
class ApprovedOption:
    """A plan that was approved."""

    approved: str = option(
        "the plan to carry out, which `plan --propose` wrote; its signatures lie beside it, in FILE.sig. Where the "
        "inventory has [approval], the fleet is turned with such a plan alone"
    )


@dataclass(frozen=True, kw_only=True)
class TurnOptions(MissingOption, ApprovedOption, WithoutOption, RetireOption, WindowOption, MeterOptions):
    """Which hosts a rotation may leave behind, and which tokens; and what it may refuse meanwhile."""


@dataclass(frozen=True, kw_only=True)
class ForwardOptions(WithoutOption, RetireOption, WindowOption, ForceOptions):
    """The same for a run that is taken up, whether it rotates or revokes."""


@dataclass(frozen=True, kw_only=True)
class EarlierRunOptions(FleetOptions):
    """A fleet, and a run over it that is taken up."""

    run: str = option("the run to take up (default: the newest one over the fleet)")
