"""The fleet's token back in the bastion's memory, from a host whose service has just proven it.

For a host that joins, and for a backup. The host's lock is held meanwhile, so that no rotation begins there.
"""

from collections.abc import Mapping, Sequence

from hivekeys.causes import Cause
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Host
from hivekeys.model import Reply, Step, Verb
from hivekeys.token import Fingerprint, Token, refuse_revoked
from hivekeys.upkeep import Upkeep, fleets_token

Shown = dict[Host, Reply | Cause]


def holders_of(want: Fingerprint, shown: Mapping[Host, Reply | Cause]) -> list[Host]:
    """The hosts whose token file holds `want`, in the inventory's order."""
    return [
        host for host, reply in shown.items() if isinstance(reply, Reply) and reply.seen and reply.seen.token == want
    ]


def recalled(upkeep: Upkeep, holders: Sequence[Host], want: Fingerprint) -> Token | None:
    """The token, from the first of these hosts that proves it and lets it be read."""
    for host in holders:
        reply = upkeep.ask(host, prove(want))
        if isinstance(reply, Reply) and reply.proof and reply.proof.proven and (token := upkeep.recall(host, want)):
            return token
    return None


def prove(want: Fingerprint) -> Step:
    """Asks a service for the four answers, once."""
    return Step(Verb.PROVE, want, stable=False)


def current(upkeep: Upkeep, title: str, revoked: Mapping[Fingerprint, str]) -> Token:
    """The token that the fleet serves now. The hosts that hold it are proven, and that is recorded under `title`.

    Raises UserError where nobody can tell which token that is, where it is `revoked`, or no host proves it.
    """
    shown = upkeep.look(upkeep.hosts)
    want = fleets_token(upkeep.fleet, shown)
    if want is None:
        raise UserError(
            f"nobody can tell which token fleet {upkeep.fleet.name} has: the queen shows none, the hives not one alone",
            hint="`fab status` shows every host",
            code=ExitCode.INCOMPLETE,
        )
    refuse_revoked(want, revoked, f"fleet {upkeep.fleet.name}")
    holders = holders_of(want, shown)
    kept = upkeep.do(title, holders, lambda _: (prove(want),))
    for host, one in zip(holders, kept, strict=True):
        if one.proof and one.proof.proven and (token := upkeep.recall(host, want)):
            return token
    raise UserError(
        f"no host of fleet {upkeep.fleet.name} proves its token (token:{want}) and lets it be read",
        hint="`fab verify` says what is wrong; only a token that works is worth a backup",
        code=ExitCode.INCOMPLETE,
    )
