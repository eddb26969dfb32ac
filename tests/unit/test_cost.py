"""What a run costs, counted and not timed: connections, requests and bytes per host, however many hosts there are."""

import ast
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from hivekeys.fleet import Amount, Policy
from hivekeys.journal.run import REVOKE, ROTATE
from hivekeys.protocol.program import installed_program, program_of
from hivekeys.ssh.bootstrap import opening
from tests.builders.operator import Operator
from tests.inprocess import InProcessFleet, SimulatedHost

POLICY = Policy(batch=Amount(100, percent=True), revocation_recheck=0.0)
BYTES = 4096  # that are sent to a host in a run, the program itself apart
PROGRAM = 36 * 1024  # bytes of the program: what TCP sends in its first two round trips is 43,800
# One request a phase: the phases are the run's barriers, so none of these can be saved.
ROTATION = [
    "hello observe prove",  # look
    "hello probe_write observe",  # claim: greeted anew, as a run that writes
    "stage observe",
    "swap restart prove observe",
    "prove observe",  # settle
    "audit",  # who still uses the old token, before it goes
    "retire observe",
]
REVOCATION = [
    "hello observe",
    "hello probe_write observe",
    "hello revoke stage observe",  # the old tokens are known now: they go with the greeting
    "swap restart prove observe",
    "prove sweep observe",  # the second time, and of every other place on the host
    "retire observe",
    "audit",  # for the report; it holds nothing back
]


@pytest.mark.parametrize("hives", [3, 30])
@pytest.mark.parametrize(("task", "requests"), [(ROTATE, ROTATION), (REVOKE, REVOCATION)])
def test_a_run_opens_one_line_a_host_and_asks_once_a_phase(
    tmp_path: Path, task: str, requests: list[str], hives: int
) -> None:
    fleet = InProcessFleet(tmp_path, hives, policy=POLICY)
    asked: dict[str, list[str]] = defaultdict(list)
    sent: Counter[str] = Counter()

    def on_request(host: SimulatedHost, request: dict[str, Any]) -> None:
        asked[host.name].append(" ".join(step["verb"] for step in request["steps"]))
        sent[host.name] += len(json.dumps(request))

    fleet.on_request = on_request
    operator = Operator(fleet, task=task, census=True)
    assert (operator.revoke() if task == REVOKE else operator.rotate()) == 0
    assert Counter(fleet.dialled) == dict.fromkeys(fleet.hosts, 1)
    assert {name: asked[name] for name in fleet.hosts if name != "queen"} == dict.fromkeys(
        (name for name in fleet.hosts if name != "queen"), requests
    )
    assert max(sent.values()) < BYTES


def test_the_program_is_sent_packed() -> None:
    program = program_of("audit")
    assert len(opening(program)) < PROGRAM < len(program) / 2


def test_nothing_but_docstrings_comments_and_types_is_left_out_of_it() -> None:
    verbs = ("inspect", "audit", "accesses", "tombstones", "sweep", "fix", "install", "uninstall")
    sent, whole = program_of(*verbs), installed_program(*verbs)
    assert tree_of(sent.partition(b'if __name__ == "__main__":')[0]) in tree_of(whole)


def tree_of(text: bytes) -> str:
    """The statements of a program, with empty docstrings, whatever its functions return."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        for one in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                one.value.value = ""
    return "\n".join(ast.dump(one) for one in tree.body)


def test_a_host_starts_no_process_for_what_it_saw_a_moment_ago(tmp_path: Path) -> None:
    """A look at a unit is a process: one for each phase that needs it, and a new one behind each restart."""
    fleet = InProcessFleet(tmp_path, 2, policy=POLICY, credentials=True)
    assert Operator(fleet, census=True).rotate() == 0
    show = "systemctl show"
    look, turn, settle = (
        [show, "busctl", "systemctl show-environment"],
        ["systemctl restart", show],
        [show, "journalctl"],
    )
    assert fleet.hosts["hive1"].started == [*look, *turn, *settle]


def test_a_run_writes_two_events_for_each_request(tmp_path: Path) -> None:
    """Intent and outcome; a look needs no intent, a question neither. Each is a sync of the bastion's disk."""
    fleet = InProcessFleet(tmp_path, 3, policy=POLICY)
    operator = Operator(fleet, census=True)
    operator.rotate()
    kinds = Counter(type(event).__name__ for event in operator.events)
    phases = len(ROTATION) - 1
    assert kinds["Outcome"] == phases * len(fleet.hosts)
    assert kinds["Intent"] == (phases - 1) * len(fleet.hosts)
