"""The audit trail's hash chain, as the stand-in writes it and as somebody may have changed it."""

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hivekeys.host import trail
from hivekeys.lab import standin

ROOMY = 1 << 30


class Service:
    """A service that writes its trail where it is told, a file at a time."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLORCH_AUDIT_MODE", "local")
        monkeypatch.setenv("LLORCH_AUDIT_DIR", str(folder / "scratch"))
        (folder / "scratch").mkdir()
        self.folder = folder
        self.start()

    def start(self) -> None:
        self.audit = standin.Audit()

    def write(self, name: str, records: int = 3) -> Path:
        """So many records more, in the file of this name."""
        for number in range(records):
            self.audit.write("auth_success", actor={"user_id": "token:abcdef", "n": number}, path='/a "b" é')
        (scratch,) = (self.folder / "scratch").iterdir()
        path = self.folder / name
        with path.open("ab") as file:
            file.write(scratch.read_bytes())
        scratch.unlink()
        return path


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(tmp_path, monkeypatch)


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    folder = os.open(tmp_path, os.O_RDONLY)

    def chain(size: int = ROOMY, seconds: float = 60.0, clock: Callable[[], float] = lambda: 0.0) -> dict[str, Any]:
        return trail.chain_of(folder, [path.name for path in tmp_path.iterdir()], trail.Budget(size, seconds, clock))

    yield chain
    os.close(folder)


def whole(files: int, records: int) -> dict[str, Any]:
    return {"files": files, "records": records, "broken": "", "cut": ""}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def test_a_chain_goes_on_from_file_to_file(service: Service, look: Callable[..., dict[str, Any]]) -> None:
    for name in ("2026-11-22.audit", "2026-11-23.audit", "2026-11-23-1.audit", "2026-11-23-10.audit"):
        service.write(name)
    assert look() == whole(4, 12)


def test_a_service_that_starts_again_begins_a_new_chain_in_the_days_first_file(
    service: Service, look: Callable[..., dict[str, Any]]
) -> None:
    service.write("2026-11-23.audit")
    service.write("2026-11-23-1.audit")
    service.start()
    service.write("2026-11-23.audit")
    service.write("2026-11-23-2.audit")
    assert look() == whole(3, 12)


def test_old_files_may_be_packed_or_gone(service: Service, look: Callable[..., dict[str, Any]]) -> None:
    service.write("2026-11-21.audit").unlink()
    old = service.write("2026-11-22.audit")
    service.write("2026-11-23.audit")
    (old.parent / "2026-11-22.audit.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    assert look() == whole(2, 6)


def test_two_services_may_share_a_file(service: Service, look: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    path = service.write("2026-11-23.audit")
    ours = lines(path)
    theirs = [line.replace(f'"service_id":"{standin.NAME}"', '"service_id":"other"') for line in ours]
    before = standin.GENESIS
    for place, line in enumerate(theirs):
        record = json.loads(line)
        _, event = trail.record_of(line.encode()) or ({}, "")
        record["prev_hash"] = before
        time = record["timestamp"].replace("Z", "+00:00")
        before = hashlib.sha256((record["audit_id"] + time + "other" + event + before).encode()).hexdigest()
        record["hash"] = before
        theirs[place] = json.dumps(record, separators=(",", ":")) + "\n"
    path.write_text("".join(line for pair in zip(ours, theirs, strict=True) for line in pair))
    assert look() == whole(1, 6)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (
            lambda own: [own[0], own[1].replace("abcdef", "fedcba"), own[2]],
            "line 2: its hash is not that of its content",
        ),
        (lambda own: [own[0], own[2]], "line 2: the record before it is missing"),
        (lambda own: [own[0], own[2], own[1]], "line 2: the record before it is missing"),
        (lambda own: [own[0], "{}\n", own[1]], "line 2: no audit record"),
        (lambda own: [own[0], own[1][:50], own[2]], "line 2: no audit record"),
        (lambda own: [own[0], "[" * 100_000 + "\n"], "line 2: no audit record"),
        (lambda own: [own[0], "x" * (trail.LINE_LIMIT + 1)], "has a line of more than 1048576 bytes"),
    ],
    ids=["changed", "taken out", "swapped", "another object", "cut off", "nested", "endless"],
)
def test_what_was_done_to_a_file_is_named_with_its_line(
    service: Service, look: Callable[..., dict[str, Any]], change: Callable[[list[str]], list[str]], broken: str
) -> None:
    path = service.write("2026-11-23.audit")
    path.write_text("".join(change(lines(path))))
    assert broken in look()["broken"]
    assert look()["broken"].startswith("2026-11-23.audit")


def test_a_file_that_is_missing_in_the_middle_is_found(service: Service, look: Callable[..., dict[str, Any]]) -> None:
    for name in ("2026-11-21.audit", "2026-11-22.audit", "2026-11-23.audit"):
        service.write(name)
    (service.folder / "2026-11-22.audit").unlink()
    assert look()["broken"] == "2026-11-23.audit, line 1: the record before it is missing"


def test_a_record_that_is_being_written_is_waited_for_by_nobody(
    service: Service, look: Callable[..., dict[str, Any]]
) -> None:
    path = service.write("2026-11-23.audit")
    path.write_bytes(path.read_bytes()[:-20])
    assert look() == whole(1, 2)


def test_the_days_first_file_may_be_written_to_again_beside_its_second(
    service: Service, look: Callable[..., dict[str, Any]]
) -> None:
    """A service that starts again goes back to it, and is at work on a record there."""
    first = service.write("2026-11-23.audit")
    service.write("2026-11-23-1.audit")
    service.start()
    service.write("2026-11-23.audit")
    with first.open("a") as file:
        file.write('{"audit_id":"audit-rbee-hive-0","timest')
    assert look() == whole(2, 9)


def test_the_newest_files_come_first_and_the_rest_is_said_to_be_unread(
    service: Service, look: Callable[..., dict[str, Any]]
) -> None:
    service.write("2026-11-22.audit", 100)
    service.write("2026-11-23.audit")
    found = look(size=5000)
    assert (found["files"], found["broken"], found["cut"]) == (1, "", "there is more than is read at once")
    assert found["records"] > 3


def test_the_time_is_limited_as_well(service: Service, look: Callable[..., dict[str, Any]]) -> None:
    service.write("2026-11-23.audit", 10)
    ticks = iter(range(100))
    found = look(seconds=5.0, clock=lambda: float(next(ticks)))
    assert (found["records"], found["broken"], found["cut"]) == (5, "", "the time was up")


def test_a_packed_file_that_is_broken_is_no_crash_and_a_bomb_no_burden(
    look: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    packed = tmp_path / "2026-11-23.audit.gz"
    packed.write_bytes(gzip.compress(b"\n".join(os.urandom(50).hex().encode() for _ in range(100)))[:-30])
    assert look()["broken"]
    packed.write_bytes(gzip.compress(b"\0" * (64 << 20)))
    assert "more than 1048576 bytes" in look()["broken"]
    packed.write_bytes(b"no gzip")
    assert look()["cut"]


def test_what_is_no_file_of_the_trail_is_not_opened(look: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "2026-11-23.audit").symlink_to("/etc/shadow")
    assert look()["cut"] == "2026-11-23.audit: Too many levels of symbolic links"
    (tmp_path / "2026-11-23.audit").unlink()
    os.mkfifo(tmp_path / "2026-11-23.audit")
    assert look()["broken"] == "2026-11-23.audit: is no regular file"
    (tmp_path / "2026-11-23.audit").unlink()
    for name in ("notes.audit", "2026-11-23.audit~", "2026-11-23.ndjson", "2026-11-23.audit\n"):
        (tmp_path / name).write_text("no record")
    assert look() == whole(0, 0)
