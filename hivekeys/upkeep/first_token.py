"""Which token hosts get that join a fleet: the fleet's own, or a new one where no host has any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Host
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.messages import Reply
from hivekeys.token import Fingerprint, Token, refuse_revoked
from hivekeys.upkeep.current_token import Grounds, holders_of, read_from, refuse_unborne, wanted, witnesses
from hivekeys.upkeep.upkeep import Replies, Upkeep


@dataclass(frozen=True)
class TokenSource:
    """What a token that is handed on is judged by. `make`: a new one. `revoked`: leaked ones, and who revoked each."""

    make: Callable[[], Token]
    revoked: Mapping[Fingerprint, str]
    grounds: Grounds


def token_for(upkeep: Upkeep, shown: Replies, source: TokenSource) -> tuple[Fingerprint | None, Token | None]:
    """The fleet's token, which the chosen hosts' agents know from now on; where nothing is changed, only which it is.

    Raises UserError where it is not known which token they shall get, where too few hosts prove it, or where it leaked.
    """
    want = _shown_token(upkeep, shown, source.grounds)
    if want:
        refuse_revoked(want, source.revoked, f"fleet {upkeep.fleet.name}")
    if not upkeep.apply:
        return want, None
    token = source.make() if want is None else _read(upkeep, shown, want, source.grounds)
    return upkeep.know(token), token


def _refuse_unheld(queen: Host, shown: Replies) -> None:
    """Refuses a queen that works with a token that is in no file: the fleet has one, and a new one would differ."""
    reply = shown.get(queen)
    seen = reply.seen if isinstance(reply, Reply) else None
    if seen and seen.unit.state == "active" and seen.unit.env_token and not seen.active:
        raise UserError(
            f"{queen.name}: the service has its token from its environment, and {queen.service.token} is not there",
            hint='an EnvironmentFile of root\'s that sets it is named as it is: `token = "FILE"` and '
            '`format = "environment"` in [services]; else put the token that works into the file first',
        )


def _shown_token(upkeep: Upkeep, shown: Replies, grounds: Grounds) -> Fingerprint | None:
    """The fleet's token, not yet proven; None for a fleet that has none, which only hosts that answer can say."""
    held = {host: reply.seen.token for host, reply in shown.items() if isinstance(reply, Reply) and reply.seen}
    tokens = set(held.values()) - {None}
    want = wanted(upkeep.fleet, shown, grounds)
    others = [host for host in upkeep.hosts if held.get(host) not in (None, want)]
    if len(tokens) > 1 and (want is None or others):
        raise UserError(
            f"the hosts of fleet {upkeep.fleet.name} have {len(tokens)} different tokens",
            hint="bring them to one first: `fab reconcile`, or `fab rotate`; or leave one out with --exclude",
        )
    silent = [host.name for host, reply in shown.items() if isinstance(reply, Cause) and host not in upkeep.hosts]
    if want is None:
        _refuse_unheld(upkeep.fleet.queen, shown)
    if want is None and silent:
        raise UserError(
            f"no host that answers has a token, and {', '.join(silent)} cannot be asked: is this a new fleet?",
            hint="it must be known whether there is a token before one is made; `fab plan` says what is wrong",
            code=ExitCode.INCOMPLETE,
        )
    return want


def _read(upkeep: Upkeep, shown: Replies, want: Fingerprint, grounds: Grounds) -> Token:
    """The fleet's token from a host that proves it; in a fleet that is being set up, from the queen."""
    holders, queen = holders_of(want, shown), grounds.source or upkeep.fleet.queen
    proven_by = witnesses(upkeep, holders, want, grounds)
    cut_off = not proven_by and queen in holders and all(host in upkeep.hosts for host in holders)
    if cut_off and (grounds.source or grounds.known in (None, want)):  # no service runs on the token yet
        proven_by = [queen]
    if proven_by:
        refuse_unborne(upkeep, want, proven_by, grounds)
    found = read_from(upkeep, proven_by, want)
    if found is None:
        raise UserError(
            f"no host of fleet {upkeep.fleet.name} proves its token: a host that joins would get one that may not work",
            hint="`fab verify` says what is wrong; repair it, or `fab rotate`",
            code=ExitCode.INCOMPLETE,
        )
    return found
