"""Options of the verbs that change something."""

from dataclasses import dataclass

from hivekeys.tasks.options.declared import option


@dataclass(frozen=True, kw_only=True)
class ChangeOptions:
    """Whether it is done, and whether it is asked about."""

    dry_run: bool = option("show what would be done, host by host, and change nothing", default=False)
    yes: bool = option(
        "do not ask; every verb that changes something takes it, also where it has no question", default=False
    )


@dataclass(frozen=True, kw_only=True)
class ReasonOption:
    """For the record."""

    reason: str = option("why, for the record")


@dataclass(frozen=True, kw_only=True)
class FromOption:
    """Whose token is the fleet's, where the operator knows better than queen and journal."""

    from_: str = option(
        "take the fleet's token from this host, whatever the queen and this bastion's journal say of it"
    )
