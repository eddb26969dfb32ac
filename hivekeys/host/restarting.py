"""Restarts a unit: whether systemd will, why it refused, and whether something else restarted it meanwhile.

Runs ON a host, in one text with agent.py. Log lines are a cause only where they are of a process that was started for
us: one that was not replaced has nothing to say of a restart that was refused.
"""

import re

from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

    from hivekeys.host.agent import Agent

RESTARTABLE = (
    "RefuseManualStart,RefuseManualStop,CanStart,CanStop,Requires,Requisite,BindsTo,TimeoutStopUSec,KillSignal,ExecStop"
)
NEEDED = ("Requires", "Requisite", "BindsTo")  # systemd.unit(5): without these a start is refused
ALWAYS = ("sysinit.target", "basic.target", "system.slice", "-.mount")  # what every service needs, and every host has
FOR_EVER = 10.0**9  # seconds; TimeoutStopSec=infinity
UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800, "month": 2629800}
SETTLES = 2.0  # seconds in which a unit that something stopped has started again, or it is no restart
LOOKS = 0.2  # seconds between two looks at it


def restart_bar(agent: "Agent", shown: "dict[str, str]") -> "Optional[dict[str, str]]":
    """Why systemd would refuse to restart the unit, as far as it says: {"trouble", "detail"}, or None."""
    name, why = agent.service["unit"], ""
    for setting in ("RefuseManualStart", "RefuseManualStop"):
        if shown.get(setting) == "yes":
            why = why or "%s has %s=yes" % (name, setting)
    for setting in ("CanStart", "CanStop"):
        if shown.get("LoadState") == "loaded" and shown.get(setting) == "no":
            why = why or "%s has %s=no" % (name, setting)
    why = why or missing(agent, name, shown)
    return {"trouble": "restart-refused", "detail": why} if why else None


def missing(agent: "Agent", name: str, shown: "dict[str, str]") -> str:
    """Which unit that this one cannot start without is not there; "" for none."""
    needed = [(other, setting) for setting in NEEDED for other in shown.get(setting, "").split() if other not in ALWAYS]
    if not needed:
        return ""
    others = dict(needed)
    argv = ["systemctl", "show", "--no-pager", "--property=Id,LoadState,ActiveState", "--", *others]
    code, output = agent.command(argv, 10.0)
    blocks = output.strip().split("\n\n") if code == 0 else []
    for asked, block in zip(others, blocks):  # in the order in which they were asked for; an alias has another Id
        said = dict(line.partition("=")[::2] for line in block.splitlines())
        state = said.get("LoadState", "")
        if state == "loaded" and others[asked] == "Requisite" and said.get("ActiveState") in ("inactive", "failed"):
            state = said["ActiveState"]
        if state not in ("", "loaded"):
            return "%s has %s=%s, which is %s" % (name, others[asked], asked, state)
    return ""


def stop_seconds(agent: "Agent", unit: "dict[str, Any]", shown: "dict[str, str]") -> "Optional[float]":
    """How long systemd may wait for the service's end; None where its processes do not outlive the signal."""
    if shown.get("KillMode") == "control-group":
        pids = agent.system.members(unit["cgroup"]) or []
    else:
        pids = [unit["pid"]] if unit["pid"] else []
    number = int(shown.get("KillSignal") or 15)
    if not shown.get("ExecStop") and not any(agent.system.outlives(pid, number) for pid in pids):
        return None
    said = shown.get("TimeoutStopUSec", "")
    if said == "infinity":
        return FOR_EVER
    parts = re.findall(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w|month)\b", said)
    return sum(float(number) * UNITS_OF_TIME[unit] for number, unit in parts) if parts else None


def restarted(agent: "Agent", unit: "dict[str, Any]") -> None:
    """Asks systemd for a fresh process. A unit that failed before gets its start limit back first."""
    name = agent.service["unit"]
    if unit["load"] == "masked":
        raise Refusal("restart-refused", "%s is masked" % name)
    if unit["load"] != "loaded":
        raise Refusal("unit-missing", "%s is %s" % (name, unit["load"] or "unknown"))
    if unit["state"] == "failed" or unit["restarts"]:
        agent.command(["systemctl", "reset-failed", "--", name], 10.0)
    agent.unit.outlived = unit["invocation"]
    again = ["systemctl", "--no-ask-password", "restart", "--", name]
    code, output = agent.command(again, agent.deadline.left())
    if code == 0:
        return
    now = agent.unit.look()
    if now["result"] == "start-limit-hit":  # restarts of ours count too: five in ten seconds
        agent.command(["systemctl", "reset-failed", "--", name], 10.0)
        code, output = agent.command(again, agent.deadline.left())
        if code == 0:
            return
        now = agent.unit.look()
    words = " ".join(line for line in output.splitlines() if not line.startswith("See "))
    if now["invocation"] == unit["invocation"]:  # nothing was started
        raise Refusal("restart-refused", words)
    raise Refusal("start-failed", agent.unit.last_words(now) or words)


def why_gone(agent: "Agent", unit: "dict[str, Any]", seconds: float) -> Refusal:
    """Why the process that was watched is no longer the unit's: it died, or something else on the host restarted it.

    systemd counts in NRestarts only what it restarts by itself.
    """
    end = agent.system.monotonic() + agent.deadline.left(SETTLES)
    now = agent.unit.look()
    while was_stopped(unit, now) and now["invocation"] == unit["invocation"] and agent.system.monotonic() < end:
        agent.deadline.pause(LOOKS)
        now = agent.unit.look()
    if was_stopped(unit, now):
        name = agent.service["unit"]
        if now["invocation"] != unit["invocation"]:
            words = "%s was restarted on the host by something else, while it was watched for %.0f s" % (name, seconds)
            return Refusal("restarted-by-another", "%s (NRestarts=%d, another invocation)" % (words, now["restarts"]))
        if now["state"] == "inactive":
            return Refusal("unstable", "%s ended without an error, or was stopped" % name)
    died = "the process did not live for %.0f s" % seconds if unit["pid"] else "systemd knows no main process"
    return Refusal("unstable", agent.unit.last_words(now) or died)


def was_stopped(unit: "dict[str, Any]", now: "dict[str, Any]") -> bool:
    """False for a process that died: systemd says how, or has started another by itself."""
    if not unit["pid"] or now["result"] != "success" or now["sub"] == "auto-restart":
        return False
    return bool(now["restarts"] <= unit["restarts"])
