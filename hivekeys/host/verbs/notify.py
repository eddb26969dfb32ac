"""The verb notify: a service that takes a new token without a restart is told that its file is another.

Runs ON a host, in one text with agent.py, when it is asked for: where the inventory's `apply` is not "restart". No age
of a process says then what it has read: its answers do.
"""

import signal

from hivekeys.host.agent import VERBS, Agent, verb
from hivekeys.host.system import Refusal
from hivekeys.host.unit import UNIT_LOOKS

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any

SIGNALS = {"HUP": signal.SIGHUP, "USR1": signal.SIGUSR1, "USR2": signal.SIGUSR2}
REFRESHES = {"yes", "credentials"}  # RefreshOnReload=, from systemd 260 on; older ones show no such property


@verb("touches", "locked")
def notify(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """Reload, or a signal to the main process; a service that watches its file is told nothing. Of a front: `admit`."""
    service = agent.service
    if "front" in service:
        return VERBS["admit"][0](agent)
    how = {
        "reload": ["--no-ask-password", "reload"],
        # systemd calls it --kill-whom from 252 on, and takes both.
        "signal": ["--no-ask-password", "--kill-who=main", "--signal=SIG%s" % service.get("signal", "HUP"), "kill"],
    }.get(service.get("apply", ""))
    if not how:
        return False, {}
    code, output = agent.command(["systemctl", *how, "--", service["unit"]], agent.deadline.left())
    if code != 0:
        raise Refusal("notify-refused", agent.unit.last_words(agent.unit.look()) or output)
    return True, {}


def look_at_notifying(agent: "Agent", unit: "dict[str, Any]", facts: "dict[str, Any]") -> None:
    """What a look says of a restart is about none here: `bar` is why the service would not take a changed file."""
    if agent.service.get("apply"):
        why = not_taken(agent, unit)
        bar = {"trouble": "notify-refused", "detail": "%s %s" % (agent.service["unit"], why)} if why else None
        facts.update(bar=bar, stop_seconds=None)


def not_taken(agent: "Agent", unit: "dict[str, Any]") -> str:
    """Why a changed file would not reach the running service, as far as systemd and /proc say; "" for no reason."""
    apply, number = agent.service["apply"], SIGNALS.get(agent.service.get("signal", ""))
    argv = ["systemctl", "show", "--no-pager", "--property=CanReload,RefreshOnReload", "--", agent.service["unit"]]
    code, output = agent.command(argv, 10.0)
    shown = dict(line.partition("=")[::2] for line in output.splitlines()) if code == 0 else {}
    if unit["env_token"]:
        return "has its token in its environment, which only a restart changes"
    if unit["credential"] and not (apply == "reload" and REFRESHES & set(shown.get("RefreshOnReload", "").split())):
        need = 'a plain file, or RefreshOnReload=credentials (systemd 260) with apply = "reload", is needed'
        return "reads a credential, which systemd copies as the unit starts: %s" % need
    if apply == "reload" and shown.get("CanReload") == "no":
        return "cannot be reloaded (CanReload=no): it has no ExecReload="
    if number and unit["pid"] and not agent.system.outlives(unit["pid"], number):
        return "has no handler for SIG%s, which would end it" % agent.service["signal"]
    return ""


UNIT_LOOKS.append(look_at_notifying)
