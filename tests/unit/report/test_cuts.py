"""What a revocation cut of what a front had let in with a leaked token: from the host's answer to the report."""

from pathlib import Path
from typing import Any

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.journal.fold import fold
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import REVOKE, Run
from hivekeys.protocol.causes import Trouble
from hivekeys.report.incident import checklist
from hivekeys.service import Apply
from tests.builders.operator import Operator
from tests.inprocess import InProcessFleet, Lie


def fleet_of(folder: Path) -> InProcessFleet:
    fleet = InProcessFleet(
        folder, hives=2, service={"apply": Apply.RELOAD}, policy=Policy(revocation_recheck=0.0, stable_seconds=0.0)
    )
    for host in fleet.hosts.values():
        host.outlives_sigterm = True
    return fleet


def cutting(count: object) -> Lie:
    """Told of its new token, a host says that it cut so many connections."""

    def lie(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        for result in answer.get("results", []):
            if result["verb"] == "notify":
                result["facts"] = {"cut": count}
        return answer

    return lie


def test_a_revocation_says_how_many_streams_it_cut_and_where(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    for name, count in (("hive1", 2), ("hive2", 3)):
        fleet.hosts[name].lies = cutting(count)
    ann = Operator(fleet, task=REVOKE)

    assert ann.revoke() is ExitCode.DONE

    said = "5 streams that were let in with the leaked token were cut: 3 on hive2, 2 on hive1"
    assert said in report.summary_lines(ann.run, ExitCode.DONE, fleet.inventory)
    document = report.document(ann.run, fleet.inventory)
    assert document["streams_cut"] == 5
    assert {host["host"]: host["streams_cut"] for host in document["hosts"]} == {"queen": 0, "hive1": 2, "hive2": 3}
    (box,) = [item for item in checklist(ann.run, ann.events) if item.text == "Restart all services"]
    assert (box.done, box.note.endswith(f"; {said}")) == (True, True)
    assert report.cut_lines(fold(ann.events)) == [said], "the journal has it"


@pytest.mark.parametrize("count", [-1, 1 << 23, 1e300, 2.5, True, "5", [5]])
def test_a_count_that_no_nginx_can_mean_is_no_answer_and_in_no_sum(tmp_path: Path, count: object) -> None:
    fleet = fleet_of(tmp_path)
    fleet.hosts["hive2"].lies = cutting(count)
    ann = Operator(fleet, task=REVOKE)

    assert ann.revoke() is ExitCode.INCOMPLETE

    cause = ann.run.hosts["hive2"].cause
    assert cause is not None
    assert cause.trouble is Trouble.RUBBISH
    assert report.cut_lines(ann.run) == []


def test_one_stream_is_one_and_none_is_not_worth_a_line() -> None:
    run = Run("run-1", hosts={"queen": HostRun("queen"), "hive1": HostRun("hive1", cut=1)})
    assert report.cut_lines(run) == ["1 stream that was let in with the leaked token was cut on hive1"]
    assert report.cut_lines(Run("run-1", hosts={"queen": HostRun("queen")})) == []
