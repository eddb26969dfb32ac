"""Collects the tombstones of the fleet for a host that joins, since a fresh image has none.

Tombstones are salted digests. A tombstone can only forbid a token; so they are taken as they are from every
host that answers, within bounds, except those that would forbid the token that the fleet has now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Host
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.tombstone import Stone
from hivekeys.protocol.verbs import Tombstones
from hivekeys.text.names import fold_names
from hivekeys.token import Token
from hivekeys.upkeep.upkeep import Upkeep

MOST_OF_ONE = 1000  # tombstones of one host; a fleet that revokes every week has them in ten years
MOST = 2000  # in all that one host is given; its file has room for three times as many


@dataclass(frozen=True)
class Inheritance:
    """The tombstones that a host is given. `denied_by`: the host that has one for the token which the fleet serves."""

    stones: tuple[Stone, ...] = ()
    denied_by: str = ""
    left: int = 0  # how many were too many


def inheritance(upkeep: Upkeep, hosts: Sequence[Host], token: Token) -> Inheritance:
    """The tombstones of these hosts, the queen's first, then from each in turn, so that none can crowd out the rest.

    Raises UserError where the queen or two hosts remember that `token` itself leaked.
    """
    answers = upkeep.look(hosts, Tombstones())
    remembered = {host: reply.to(Tombstones) for host, reply in answers.items() if isinstance(reply, Reply)}
    lists = {host: found.stones[-MOST_OF_ONE:][::-1] for host, found in remembered.items() if found}  # the newest first
    denied = {host: run for host, stones in lists.items() if (run := _run_against(token, stones))}
    _refuse_leaked(upkeep, denied)
    queens = lists.pop(upkeep.fleet.queen, ())
    others = chain.from_iterable(zip_longest(*(stones for host, stones in lists.items() if host not in denied)))
    merged = list(dict.fromkeys(stone for stone in (*queens, *others) if stone))
    return Inheritance(tuple(merged[:MOST]), fold_names(host.name for host in denied), len(merged[MOST:]))


def _run_against(token: Token, stones: Sequence[Stone]) -> str:
    """The run that revoked the token, by these tombstones; "" when none is the token's."""
    return next((stone.run or "of no name" for stone in stones if token.is_under(stone.salt, stone.digest)), "")


def _refuse_leaked(upkeep: Upkeep, denied: Mapping[Host, str]) -> None:
    """Refuses a token that the queen or two hosts remember as leaked: the journal may be older than that revocation."""
    if len(denied) < 2 and upkeep.fleet.queen not in denied:
        return
    names = fold_names(host.name for host in denied)
    raise UserError(
        f"fleet {upkeep.fleet.name}: its token was revoked by run {next(iter(denied.values()))}, as {names} remember",
        hint="`fab rotate` brings a new token",
        code=ExitCode.INCOMPLETE,
    )
