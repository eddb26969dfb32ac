"""What a report says of drains: who was waited for, and whose work the restart ended."""

from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.drained import Drained
from hivekeys.report.drains import drain_lines, drain_of


def run_of(**drained: Drained | None) -> Run:
    return Run("run-1", hosts={name: HostRun(name, drained=one) for name, one in drained.items()})


def test_one_host_that_was_waited_for_is_named_with_its_time() -> None:
    run = run_of(queen=None, hive1=Drained(0.2), hive2=Drained(12.0))
    assert drain_lines(run) == ["waited for the end of work on hive2: 12 s"]


def test_of_several_the_longest_is_named_and_work_that_was_ended() -> None:
    run = run_of(hive1=Drained(12.0), hive2=Drained(60.0, busy="two streams", forced=True))
    assert drain_lines(run) == [
        "waited for the end of work on hive1, hive2: 1 min 0 s at the longest (hive2)",
        "work that the restart ended: hive2: two streams",
    ]


def test_a_program_reads_nothing_of_a_host_without_a_drain() -> None:
    assert drain_of(HostRun("queen")) is None
    assert drain_of(HostRun("hive1", cordoned=True)) == {
        "seconds": 0.0,
        "busy": "",
        "forced": False,
        "output": "",
        "cordoned": True,
    }
