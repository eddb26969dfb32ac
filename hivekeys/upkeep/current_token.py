"""Reads the fleet's current token into memory, from a host whose service has just proven it.

For a host that joins, and for a backup. The host's lock is held meanwhile, so that no rotation begins there.

One host alone cannot say which token the fleet has: it may be hostile, or have been away when a leaked one was revoked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.verbs import Prove, Step
from hivekeys.text.names import fold_names
from hivekeys.token import Fingerprint, Token, refuse_revoked
from hivekeys.upkeep.inheritance import inheritance
from hivekeys.upkeep.upkeep import Replies, Upkeep, fleets_token

INCOMPLETE = ExitCode.INCOMPLETE


def holders_of(want: Fingerprint, shown: Mapping[Host, Reply | Cause]) -> list[Host]:
    """The hosts whose token file holds `want`, in the inventory's order."""
    return [
        host for host, reply in shown.items() if isinstance(reply, Reply) and reply.seen and reply.seen.token == want
    ]


@dataclass(frozen=True)
class Grounds:
    """Why a token is accepted as the fleet's, besides the hosts that prove it.

    `known`: the token that the fleet went on with, by this bastion's journal, unless it was revoked. `source`: the host
    that the operator takes it from, whatever the others say.
    """

    known: Fingerprint | None = None
    source: Host | None = None

    def suffice(self, want: Fingerprint, proven_by: Sequence[Host], queen: Host) -> bool:
        """True for the queen if the journal knows no other token; for two hosts if it knows this or one is her."""
        if self.source:
            return self.source in proven_by
        if len(proven_by) > 1:
            return queen in proven_by or want == self.known
        return queen in proven_by and self.known in (None, want)


def wanted(fleet: Fleet, shown: Replies, grounds: Grounds) -> Fingerprint | None:
    """The token that is to be proven: the named host's, or what the hosts show; None where they show none or several.

    Raises UserError where the named host shows none.
    """
    if grounds.source is None:
        return fleets_token(fleet, shown, grounds.known)
    reply = shown.get(grounds.source)
    token = reply.seen.token if isinstance(reply, Reply) and reply.seen else None
    if token is None:
        raise UserError(
            f"--from {grounds.source.name}: it shows no token", hint="`fab status` shows every host", code=INCOMPLETE
        )
    return token


def witnesses(upkeep: Upkeep, holders: Sequence[Host], want: Fingerprint, grounds: Grounds) -> list[Host]:
    """Those of these hosts that prove the token: asked one by one, the queen first, until there are enough."""
    queen, proven_by = upkeep.fleet.queen, list[Host]()
    for host in sorted(holders, key=lambda host: (host != grounds.source, host != queen)):
        if _proves(upkeep.ask(host, prove(want))):
            proven_by.append(host)
        if grounds.suffice(want, proven_by, queen):
            break
    return proven_by


def refuse_unborne(upkeep: Upkeep, want: Fingerprint, proven_by: Sequence[Host], grounds: Grounds) -> None:
    """Raises UserError unless the hosts that prove the token are enough for it to be handed on."""
    queen = upkeep.fleet.queen
    if grounds.suffice(want, proven_by, queen):
        return
    if grounds.source:
        hint = "`fab verify` says what is wrong there; or name another host"
        raise UserError(f"--from {grounds.source.name}: it does not prove its token", hint=hint, code=INCOMPLETE)
    names = fold_names(host.name for host in proven_by)
    knows = "knows it" if grounds.known == want else f"knows token:{grounds.known}" if grounds.known else "knows none"
    hers = "the queen proves it" if queen in proven_by else "the queen does not prove it"
    raise UserError(
        f"token:{want} is proven by {names or 'no host'} alone: {hers}, and this bastion's journal {knows}",
        hint=f"bring {queen.name} back, or more hosts that have it; or name a host that you trust: --from HOST",
        code=INCOMPLETE,
    )


def _proves(reply: Reply | Cause) -> bool:
    return isinstance(reply, Reply) and reply.proof is not None and reply.proof.proven


def read_from(upkeep: Upkeep, holders: Sequence[Host], want: Fingerprint) -> Token | None:
    """The token, from the first of these hosts that lets it be read."""
    return next(filter(None, (upkeep.read_token(host, want) for host in holders)), None)


def prove(want: Fingerprint) -> Step:
    """Asks a service for the four answers, once."""
    return Prove(want, stable=False, waits=False)


def current(upkeep: Upkeep, title: str, revoked: Mapping[Fingerprint, str], grounds: Grounds) -> Token:
    """The token that the fleet serves now, read from a host that proves it; else as for `proven`."""
    want, proven_by = proven(upkeep, title, revoked, grounds)
    if token := read_from(upkeep, proven_by, want):
        inheritance(upkeep, upkeep.hosts, token)  # refuses one that the hosts remember as leaked
        return token
    raise _unproven(upkeep, want)


def proven(
    upkeep: Upkeep, title: str, revoked: Mapping[Fingerprint, str], grounds: Grounds
) -> tuple[Fingerprint, list[Host]]:
    """Which token the fleet serves now, and the hosts that prove it. To ask them is recorded under `title`.

    Raises UserError where it is not known which token that is, where it is `revoked`, or too few hosts prove it.
    """
    shown = upkeep.look(upkeep.hosts)
    want = wanted(upkeep.fleet, shown, grounds)
    if want is None:
        raise UserError(
            f"it is not known which token fleet {upkeep.fleet.name} has: the queen shows none, and the hives do not "
            f"agree on one",
            hint="`fab status` shows every host",
            code=INCOMPLETE,
        )
    refuse_revoked(want, revoked, f"fleet {upkeep.fleet.name}")
    holders = holders_of(want, shown)
    kept = upkeep.do(title, holders, lambda _: (prove(want),))
    proven_by = [host for host, one in zip(holders, kept, strict=True) if one.proof and one.proof.proven]
    if not proven_by:
        raise _unproven(upkeep, want)
    refuse_unborne(upkeep, want, proven_by, grounds)
    return want, proven_by


def _unproven(upkeep: Upkeep, want: Fingerprint) -> UserError:
    return UserError(
        f"no host of fleet {upkeep.fleet.name} proves its token (token:{want}) and lets it be read",
        hint="`fab verify` says what is wrong; only a token that works is worth a backup",
        code=INCOMPLETE,
    )
