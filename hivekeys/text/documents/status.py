"""The document of a fleet as it is now. Pure."""

from typing import Literal, TypedDict

from hivekeys.text.documents.head import Cause, Code, Fp6, Head, Time
from hivekeys.text.documents.run import Uses


class NewerRun(TypedDict):
    """A run of another bastion."""

    run: str
    """its id"""
    who: str | None
    """who ran it"""


class AtWork(TypedDict):
    """Who is at work on the fleet, from this bastion."""

    run: str | None
    """the run's id"""
    by: str
    """who, since when, why"""


class HostStatus(TypedDict):
    """A host as it is. Times are in seconds."""

    host: str
    """its name in the inventory"""
    reachable: bool
    """it was seen"""
    fine: bool
    """its service runs, has read the token in its file, and owes nothing"""
    cause: Cause | None
    """why it was not seen, or what is wrong with it"""
    service: str | None
    """the state of its unit"""
    up: float | None
    """since its service's process started"""
    token: Fp6 | None
    """the token in its file"""
    revoked_by: str | None
    """the run that revoked this token: it leaked"""
    age: float | None
    """of its token"""
    loaded: str | None
    """where the running process has its token from"""
    owes_for: float | None
    """how long it has owed the newest token; null where it does not"""
    cordoned_by: str | None
    """the run that has drained it and did not see it get work again"""
    last_run: str | None
    """the last run that worked on it"""
    strange_run: str | None
    """the last run that changed it, where this bastion's journal does not have that"""


class Status(Head):
    """A fleet as it is now: fab status."""

    form: Literal["status"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0 when all hosts were seen, are fine and agree, else 4"""
    agrees: bool
    """every host was seen, and all hold the same token"""
    newer_run: NewerRun | None
    """a run of another bastion that worked here after all of this one's"""
    tokens: dict[str, list[str]]
    """the hosts that hold each token"""
    rotation_due: Time | None
    """when the next rotation is due; null while no token was seen"""
    hosts: list[HostStatus]
    """in the inventory's order"""
    old_token: Uses | None
    """who has used the old token in the last hour, while two are accepted"""
    at_work: AtWork | None
    """who is at work on the fleet, from this bastion"""
    window: str | None
    """what the inventory's windows say now"""
    unapproved: list[str]
    """the runs that others are still to approve, newest first"""
