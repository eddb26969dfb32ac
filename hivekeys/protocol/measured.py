"""What a host says of time, held against what the bastion has measured: hosts can lie. Pure.

A number beyond that would go into sums over the fleet. It is a wrong answer, of this host alone.
"""

from hivekeys.protocol.messages import Reply
from hivekeys.protocol.verbs import Drain, Meter, Uncordon

PACE = 11.0  # calls a second that a meter makes at most: ten, and a long answer (hivekeys.host.verbs.meter.PACE, REST)
DRIFT = 1.05  # a host's clock may run so much faster
SLACK = 2.0  # seconds


def beyond_measure(reply: Reply, took: float, metered: float, line: float, waited: float) -> str:
    """Why the host cannot have measured what it says; "" where it can.

    Seconds: `took`, from the request to this answer; `metered`, since the request whose answer had the counts before;
    `line`, since the host was dialed: the calls begin later; `waited`, the most that an answer was waited for.
    """
    steps = [*reply.results, *([reply.broke] if reply.broke else [])]
    if any(step.seconds < 0 for step in steps) or sum(step.seconds for step in steps) > _at_most(waited):
        shown = ", ".join(f"{step.verb.value} {step.seconds:.0f} s" for step in steps)
        return f"its steps took longer than they were waited for, {waited:.0f} s: {shown}"
    drained, counted = reply.to(Drain) or reply.to(Uncordon), reply.to(Meter)
    if drained and drained.seconds > _at_most(took):
        return f"it drained its service for {drained.seconds:.0f} s, in a request that took {took:.0f} s"
    if counted and counted.requests > PACE * _at_most(metered):
        return f"it has counted {counted.requests} requests in {metered:.0f} s"
    if counted and counted.pause > _at_most(line):
        return f"no request was let in for {counted.pause:.0f} s, and it was dialed {line:.0f} s ago"
    return ""


def _at_most(seconds: float) -> float:
    return seconds * DRIFT + SLACK
