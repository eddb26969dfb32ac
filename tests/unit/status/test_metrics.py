"""`fab status --metrics`: what Prometheus' own parser reads in it, and the files of the bastion that it comes from."""

import os
import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from hivekeys import files
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet
from hivekeys.journal import state_folder
from hivekeys.journal.events import State
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.seen import Seen
from hivekeys.status.metrics import metrics
from hivekeys.status.status import FleetStatus, status_of
from hivekeys.verify.findings import Check, Finding, Record, Report, Severity, Verdict
from hivekeys.verify.last import store_tally, stored_tally
from hivekeys.verify.tally import Tally, read, tally, written
from tests.builders.observations import DAY, HIVE, NOW, QUEEN, SEEN, TOKEN
from tests.builders.replies import reply_of

FLEET = Fleet("paper", (QUEEN, HIVE))
AWAY = Cause(Trouble.NO_CONNECTION, "no answer in time")
PROVEN = {name: HostRun(name, state=State.PROVEN) for name in ("queen", "hive1")}
LOW = Check("clock", "", "", Severity.LOW, lambda *_: (Verdict.PASS, ""))


def status(hive: Seen | Cause = SEEN, record: Record | None = None, fleet: Fleet = FLEET) -> FleetStatus:
    shown = {QUEEN: reply_of(SEEN), HIVE: hive if isinstance(hive, Cause) else reply_of(hive)}
    return status_of(fleet, shown, record or Record({}), (), NOW)


def samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        yield from family.samples


def values(text: str, name: str) -> dict[str, float]:
    """A metric's values, by their labels but for the fleet's."""
    found = [sample for sample in samples(text) if sample.name == f"hivekeys_{name}"]
    return {" ".join(value for key, value in one.labels.items() if key != "fleet"): one.value for one in found}


def rotation(name: str, started: float, code: ExitCode | None, hosts: dict[str, HostRun] = PROVEN) -> Run:
    return Run(name, started=started, code=code, want=TOKEN, hosts=hosts)


def test_a_fleet_that_is_fine_says_so_in_numbers() -> None:
    text = metrics(status(), (), None)
    assert values(text, "fleet_agrees") == {"": 1}
    for name in ("host_reachable", "host_service_active", "host_fine"):
        assert values(text, name) == {"queen queen": 1, "hive1 hive": 1}
    assert values(text, "host_token_age_seconds") == {"queen queen": DAY, "hive1 hive": DAY}
    assert values(text, "host_owes_token") == {"queen queen": 0, "hive1 hive": 0}
    assert values(text, "rotation_due_timestamp_seconds") == {"": NOW + 89 * DAY}
    assert values(text, "look_timestamp_seconds") == {"": NOW}


def test_what_was_not_seen_of_a_host_that_is_away_is_left_out_and_its_debt_is_not() -> None:
    owing = Record({TOKEN.keyed: NOW - 3 * DAY}, "paper-1", TOKEN, ("hive1",))
    text = metrics(status(AWAY, owing), (), None)
    assert values(text, "host_reachable") == {"queen queen": 1, "hive1 hive": 0}
    assert values(text, "host_fine") == {"queen queen": 1, "hive1 hive": 0}
    assert values(text, "host_owes_token") == {"queen queen": 0, "hive1 hive": 1}
    assert values(text, "host_token_age_seconds").keys() == {"queen queen"}
    assert values(text, "host_service_active").keys() == {"queen queen"}
    assert values(text, "fleet_agrees") == {"": 0}


def test_the_newest_rotation_and_the_newest_that_came_through_are_told_apart() -> None:
    back = {name: replace(host, state=State.ROLLED_BACK) for name, host in PROVEN.items()}
    failed, done = rotation("b", NOW - DAY, ExitCode.ROLLED_BACK, back), rotation("a", NOW - 9 * DAY, ExitCode.DONE)
    text = metrics(status(), (failed, done), None)
    assert values(text, "rotation_last_timestamp_seconds") == {"": NOW - DAY}
    assert values(text, "rotation_last_exit_code") == {"": 3}
    assert values(text, "rotation_open") == {"": 0}
    assert values(text, "rotation_last_success_timestamp_seconds") == {"": NOW - 9 * DAY}


def test_a_rotation_that_was_cut_off_is_open_and_has_no_code_yet() -> None:
    text = metrics(status(), (rotation("a", NOW - DAY, None),), None)
    assert (values(text, "rotation_open"), values(text, "rotation_last_exit_code")) == ({"": 1}, {})
    assert values(text, "rotation_last_success_timestamp_seconds") == {}


def test_what_verify_found_last_is_counted_by_severity_and_verdict() -> None:
    found = (Finding(LOW, "queen", Verdict.FAIL, "x"), Finding(LOW, "hive1", Verdict.PASS, ""))
    text = metrics(status(), (), tally(Report("paper", found, at=NOW - 60)))
    shown = values(text, "verify_findings")
    assert (shown["low fail"], shown["low pass"], shown["high fail"], len(shown)) == (1, 1, 0, 15)
    assert values(text, "verify_timestamp_seconds") == {"": NOW - 60}


def test_a_fleet_that_verify_never_looked_at_has_no_findings_not_none() -> None:
    assert "verify" not in metrics(status(), (), None)


def test_names_come_through_as_they_are() -> None:
    name = 'a "fleet"\\n of\nthree\\'
    text = metrics(status(fleet=replace(FLEET, name=name)), (), None)
    assert {sample.labels["fleet"] for sample in samples(text)} == {name}


def test_two_fleets_files_can_lie_side_by_side() -> None:
    """node_exporter joins them: it refuses all of it for one series that is there twice, or has a time of its own."""
    numbers = tally(Report("", (Finding(LOW, "queen", Verdict.FAIL, "x"),)))
    runs = (rotation("a", NOW, ExitCode.DONE),)
    texts = [metrics(status(fleet=replace(FLEET, name=name)), runs, numbers) for name in ("blue", "green")]
    every = [sample for text in texts for sample in samples(text)]
    assert max(Counter((one.name, *sorted(one.labels.items())) for one in every).values()) == 1
    assert {one.timestamp for one in every} == {None}
    heads = [[line for line in text.splitlines() if line.startswith("#")] for text in texts]
    assert heads[0] == heads[1]
    assert all(text.endswith("\n") for text in texts)


# -- the files


def test_node_exporter_can_read_the_file_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.write_whole(files.destination("--metrics", str(tmp_path / "fleet.prom")), "a 1\n", mode=0o644)
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.prom"]
    assert (tmp_path / "fleet.prom").stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "fleet.prom"
    path.write_text("a 1\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # as much as fits on a full disk
    try:
        with pytest.raises(UserError, match=r"fleet\.prom: File too large"):
            files.write_whole(path, "a" * 9999, mode=0o644)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "a 1\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["device", "link", "folder"])
def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="no plain file"):
        files.destination("--metrics", str(tmp_path / name))


def test_what_verify_found_is_kept_for_the_operator_alone(tmp_path: Path) -> None:
    folder = state_folder.folder_for("paper", str(tmp_path))
    assert stored_tally(folder) is None
    numbers = Tally(NOW, {("low", "fail"): 3})
    store_tally(folder, numbers)
    assert stored_tally(folder) == numbers
    assert (folder / "verify.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"at": 1, "found": [["low"]]}', '{"at": null, "found": []}', "[" * 9999]
)
def test_numbers_that_cannot_be_read_name_their_file(tmp_path: Path, text: str) -> None:
    folder = state_folder.folder_for("paper", str(tmp_path))
    (folder / "verify.json").write_text(text)
    with pytest.raises(UserError, match=r"verify\.json"):
        stored_tally(folder)


def test_numbers_survive_being_written() -> None:
    numbers = tally(Report("paper", (Finding(LOW, "queen", Verdict.WARN, "x"),), at=NOW))
    assert read(written(numbers)) == numbers
