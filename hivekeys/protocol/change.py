"""A change that fix, install or uninstall makes, or would make, on a host. Frozen values. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One thing that is repaired, or would be. `refused` says why it stays as it is."""

    part: str
    path: str
    before: str
    after: str
    refused: str = ""
