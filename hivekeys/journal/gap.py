"""Measures how long clients with one token could not use both a host and the queen. Pure.

Between queen and hives the services of v0.1.0 present no token; only clients do. All times are seconds
since the run began: within a sitting by the bastion's monotonic clock, from one to the next by its wall clock.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

from hivekeys.journal.events import Outcome, Status
from hivekeys.protocol.seen import Seen
from hivekeys.protocol.verbs import STEPS, Verb
from hivekeys.token import Fingerprint

Tokens = tuple[Fingerprint | None, Fingerprint | None]
# What these verbs do to a service is not seen from here until the answer.
STOPS = frozenset(verb for verb, kind in STEPS.items() if kind.moves)


@dataclass(frozen=True)
class Turn:
    """From `at` on the service accepts `token` (None: no token). Not `known`: it may be either."""

    at: float
    sitting: int
    token: Fingerprint | None = None
    known: bool = True
    also: Fingerprint | None = None  # accepted as well


@dataclass(frozen=True)
class Served:
    """Which token a host's service accepted since its first look.

    `told`: when it was told to restart, while it has not answered; `heard`: when it answered last.
    """

    turns: tuple[Turn, ...] = ()
    ordered_at: float | None = None
    answered_at: float | None = None


UNSEEN = Served()


@dataclass(frozen=True)
class Gap:
    """`seconds` is None where they are not known. `by_wall`: it reaches over two sittings. `over`: it has an end."""

    seconds: float | None
    by_wall: bool = False
    over: bool = True
    spans: tuple[tuple[float, float], ...] = ()  # (begin, end)


def after_order(served: Served, verbs: tuple[Verb, ...], at: float) -> Served:
    """After the host was sent these verbs."""
    return replace(served, ordered_at=at) if served.ordered_at is None and STOPS & set(verbs) else served


def cut_off(served: Served, sitting: int) -> Served:
    """After the line to the host broke: it may have done what it was sent, at any time since."""
    if served.ordered_at is None:
        return served
    return replace(served, turns=(*served.turns, Turn(served.ordered_at, sitting, known=False)), ordered_at=None)


def answered(served: Served, outcome: Outcome, now: float, sitting: int, tokens: Tokens) -> Served:
    """After one more answer, `now`. `tokens`: the host's from before the run, and the run's own."""
    steps = _turns(outcome, now, sitting, tokens)
    if not steps and outcome.status is Status.UNKNOWN:
        return replace(cut_off(served, sitting), answered_at=now)
    if not steps and outcome.seen:
        return _looked(served, outcome.seen, Turn(0.0, 1, tokens[0], tokens[0] is not None), now, sitting)
    least = served.answered_at if served.ordered_at is None else served.ordered_at
    # A host may say anything of its seconds: what it did lies between the order and the answer.
    turns = (replace(turn, at=min(max(turn.at, least or 0.0), now)) for turn in steps)
    return Served((*served.turns, *turns), None, now)


def between(host: Served, queen: Served, tokens: Tokens, end: float, sitting: int) -> Gap | None:
    """The gap of a host; None where neither service was changed. `tokens`: the host's and the queen's from before."""
    if not host.turns and not queen.turns and host.ordered_at is None and queen.ordered_at is None:
        return None
    mine, hers = (_from_the_beginning(one, token) for one, token in zip((host, queen), tokens, strict=True))
    begins = sorted({turn.at for turn in (*mine, *hers)} | {end})
    apart: list[tuple[float, float]] = []
    for begin, until in pairwise(begins):
        fit = _fits(_at(mine, begin), _at(hers, begin))
        if fit is None:
            return Gap(None, over=False)
        if not fit and apart and apart[-1][1] == begin:
            apart[-1] = (apart[-1][0], until)
        elif not fit:
            apart.append((begin, until))
    over = _fits(mine[-1], hers[-1])
    if over is None or (apart and apart[0][0] == 0.0):
        return Gap(None, over=False)  # not known; or it began before the run
    sittings = {turn.at: turn.sitting for turn in (*mine, *hers)} | ({} if over else {end: sitting})
    by_wall = any(sittings.get(begin) != sittings.get(until) for begin, until in apart)
    return Gap(sum(until - begin for begin, until in apart), by_wall, over, tuple(apart))


def _from_the_beginning(served: Served, token: Fingerprint | None) -> list[Turn]:
    late = [] if served.ordered_at is None else [Turn(served.ordered_at, 0, known=False)]
    return [Turn(0.0, 1, token, token is not None), *served.turns, *late]


def _at(turns: list[Turn], moment: float) -> Turn:
    return next(turn for turn in reversed(turns) if turn.at <= moment)


def _fits(one: Turn, other: Turn) -> bool | None:
    """True while both accept the same token; None when that is not known."""
    if any(turn.known and turn.token is None for turn in (one, other)):
        return False
    return bool(_tokens(one) & _tokens(other)) if one.known and other.known else None


def _tokens(turn: Turn) -> set[Fingerprint]:
    return {token for token in (turn.token, turn.also) if token}


def _turns(outcome: Outcome, now: float, sitting: int, tokens: Tokens) -> list[Turn]:
    """Which token the service accepted after each of its steps, in order; none if it was not stopped."""
    if not any(step.verb in STOPS for step in outcome.steps):
        return _without_restart(outcome, now, sitting, tokens)
    turns, at = [], now - sum(step.seconds for step in outcome.steps)
    for step in outcome.steps:
        if step.verb is Verb.RESTART:
            turns.append(Turn(at, sitting))
        elif step.verb is Verb.FENCE:
            turns.append(Turn(at + step.seconds, sitting))
        elif step.verb is Verb.PROVE and outcome.proof and outcome.proof.healthy_after is not None:
            turns.append(replace(_proven(outcome, sitting, tokens), at=at + outcome.proof.healthy_after))
        at += step.seconds
    refused = outcome.broke and outcome.broke.verb is Verb.RESTART
    if refused and outcome.seen and outcome.seen.unit.state == "active":  # and runs on
        turns.append(replace(_shown_token(outcome.seen, sitting), at=now))
    return turns


def _without_restart(outcome: Outcome, now: float, sitting: int, tokens: Tokens) -> list[Turn]:
    """The token of a service that took it without a restart: from the time on at which it refused the earlier one."""
    proof, is_new = outcome.proof, any(STEPS[step.verb].turns for step in outcome.steps)
    if not is_new or proof is None or proof.healthy_after is None:
        return []
    rest = 0.0
    for step in reversed(outcome.steps):
        rest += step.seconds
        if step.verb is Verb.PROVE:
            took = proof.healthy_after if proof.refused_after is None else proof.refused_after
            return [replace(_proven(outcome, sitting, tokens), at=now - rest + took)]
    return []


def _proven(outcome: Outcome, sitting: int, tokens: Tokens) -> Turn:
    """Which token a healthy service accepts: the one that it was called with, or by its file and process."""
    calls, held = outcome.proof.calls if outcome.proof else {}, outcome.seen.token if outcome.seen else None
    if 200 <= calls.get("new", 0) < 300 and held:
        second = next((token for token in tokens if token != held), None) if "also" in calls else None
        return Turn(0.0, sitting, held, also=second)
    if 200 <= calls.get("old", 0) < 300:
        return Turn(0.0, sitting, next((token for token in tokens if token != held), None))
    return Turn(0.0, sitting) if calls.get("new") == 401 else _shown_token(outcome.seen, sitting)


def _shown_token(seen: Seen | None, sitting: int) -> Turn:
    """Which token is served, as far as a look can tell."""
    if seen is None:
        return Turn(0.0, sitting, known=False)
    if seen.unit.state != "active":
        return Turn(0.0, sitting)
    token = seen.loaded.fingerprint or (seen.token if seen.loaded.evidence == "touched" else None)
    return Turn(0.0, sitting, token, token is not None)


def _looked(served: Served, seen: Seen, first: Turn, now: float, sitting: int) -> Served:
    """After a look that shows a change that no answer reported: it happened since the order or the last answer."""
    turns, heard = served.turns, Served(served.turns, None, now)
    last, shown = turns[-1] if turns else first, replace(_shown_token(seen, sitting), at=now)
    since = served.answered_at if served.ordered_at is None else served.ordered_at
    if since is None or not shown.known or (last.known and last.token == shown.token):
        return heard
    if last.known:
        return replace(heard, turns=(*turns, Turn(since, sitting, known=False), shown))
    before, started = turns[-2] if len(turns) > 1 else first, seen.unit.started
    if before.known and before.token == shown.token and started is not None and seen.clock - started > now - last.at:
        return replace(heard, turns=turns[:-1])  # its process is older than the order: it never restarted
    return replace(heard, turns=(*turns, shown))
