"""What happens in the middle of a run: at a host's n-th time of carrying out a verb."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .host import SimulatedHost
from .line import InProcessLine

When = Literal["before", "after"]


@dataclass
class Trap:
    """Something that happens at the n-th time that a verb comes up on a host; "*" is any verb, any host."""

    host: str
    verb: str
    when: When
    action: Callable[[SimulatedHost, InProcessLine], None]
    nth: int = 1
