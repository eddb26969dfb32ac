"""The verb `audit` on a host: what it counts, how it stays small, and what it never sends."""

import calendar
import getpass
import grp
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.fleet import Policy
from hivekeys.host import trail
from hivekeys.host.agent import Agent
from hivekeys.host.serving import answer
from hivekeys.host.system import System
from hivekeys.host.verbs import audit
from hivekeys.protocol.audited import Audited, Query, Time
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.program import program_of
from hivekeys.protocol.verbs import Audit
from hivekeys.protocol.wire import decode, encode

TOKEN = "5e" * 32
NOW = 1_795_521_600.0  # 2026-11-24T12:00:00Z
UNIT = "Environment=LLORCH_AUDIT_MODE=local LLORCH_AUDIT_DIR=/audit\nMainPID=0\n"


SMALL: dict[str, Any] = {"__name__": "on-the-host"}  # what a host knows that reads in small bites
exec(compile(program_of("audit"), "hivekeys-agent", "exec"), SMALL)  # noqa: S102  as a host does
SMALL["LINE_LIMIT"] = 20


class Host:
    """A host with an audit directory; `ask` goes through JSON as on the wire."""

    def __init__(self, root: Path) -> None:
        self.audit = root / "audit"
        self.audit.mkdir()
        (root / "var/lib").mkdir(parents=True)
        (root / "secrets").mkdir(mode=0o700)
        (root / "secrets/api-token").write_text(TOKEN)
        self.root = root
        self.unit = UNIT

    def write(self, name: str, *lines: str) -> Path:
        path = self.audit / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def ask(self, query: Query | None = None, seconds: float = 100.0) -> Audited:
        host = self

        class Machine(System):
            def now(self) -> float:
                return NOW

            def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
                return 0, host.unit

        agent = Agent(str(self.root), Machine())
        service = {
            "unit": "rbee-hive.service",
            "token": "/secrets/api-token",
            "address": "127.0.0.1",
            "owner": getpass.getuser(),
            "group": grp.getgrgid(os.getegid()).gr_name,
        }
        hello = {"verb": "hello", "fleet": "f", "key": "00", "run": "r", "who": "w", "write": False, "service": service}
        step = encode(Audit(query=query or Query()), Policy(), {})
        request = json.loads(json.dumps({"deadline": seconds, "steps": [hello, step]}))
        raw = json.loads(json.dumps(answer(agent, request)))
        raw["results"] = raw["results"][1:]
        reply = decode(raw)
        assert isinstance(reply, Reply), (reply, raw)
        audited = reply.to(Audit)
        assert audited, reply
        return audited


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def success(at: str, fp6: str = "abcdef", path: str = "/v1/workers/list", ip: str = "10.0.0.9") -> str:
    """As rbee-hive writes it (llama-orch.md, "Audit record")."""
    event = {"event_type": "auth_success", "timestamp": at, "actor": {"user_id": f"token:{fp6}", "ip": ip}}
    return record(at, {**event, "method": "bearer_token", "path": path})


def failure(at: str, fp6: str | None = "abcdef", path: str = "/v1/workers/list", ip: str = "10.0.0.9") -> str:
    user = f"token:{fp6}" if fp6 else None
    return record(at, {"event_type": "auth_failure", "attempted_user": user, "reason": "no", "ip": ip, "path": path})


def record(at: str, event: dict[str, Any]) -> str:
    return json.dumps({"audit_id": "x", "timestamp": at, "service_id": "rbee-hive", "event": event})


def counts(audited: Audited) -> dict[tuple[str, bool], int]:
    found: dict[tuple[str, bool], int] = {}
    for group in audited.groups:
        found[group.token, group.ok] = found.get((group.token, group.ok), 0) + group.count
    return found


def test_both_namings_and_both_vocabularies_are_counted_packed_files_too(host: Host) -> None:
    host.write("2026-11-24.audit", success("2026-11-24T10:00:00Z"), failure("2026-11-24T10:00:01Z", "123456"))
    host.write(
        "2026-11-23.ndjson",
        '{"timestamp": "2026-11-23T10:00:00+00:00", "event_type": "authentication_success", "path": "/x"}',
        '{"timestamp": "2026-11-23T11:00:00+00:00", "event": {"event_type": "authentication_failed"}}',
        '{"timestamp": "2026-11-23T11:00:00+00:00", "event": {"event_type": "token_created"}}',
    )
    old = host.write("2026-11-22.audit", *[success("2026-11-22T10:00:00Z")] * 3)
    (host.audit / "2026-11-22.audit.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    host.write("notes.txt", success("2026-11-24T10:00:00Z"))
    found = host.ask()
    assert counts(found) == {("abcdef", True): 4, ("123456", False): 1, ("", True): 1, ("", False): 1}
    assert (found.files, found.lines, found.matched, found.broken, found.cut) == (3, 8, 7, 0, "")
    assert found.on


def test_a_call_is_told_with_service_path_address_and_times(host: Host) -> None:
    host.write("2026-11-24.audit", success("2026-11-24T10:00:00Z"), success("2026-11-24T11:00:00.5Z"))
    (group,) = host.ask().groups
    assert (group.service, group.ok, group.token, group.path, group.address, group.count) == (
        *("rbee-hive", True, "abcdef", "/v1/workers/list", "10.0.0.9", 2),
    )
    assert (group.first, group.last) == (NOW - 7200, NOW - 3599.5)


def test_first_and_last_are_by_their_times_and_not_by_their_places(host: Host) -> None:
    """Two services that share a file need not write in turn."""
    for name, hours in (("2026-11-24.audit", (10, 7, 9)), ("2026-11-24-1.audit", (8, 11, 6))):
        host.write(name, *(success(f"2026-11-24T{hour:02d}:00:00Z") for hour in hours))
    (group,) = host.ask().groups
    assert (group.count, group.first, group.last) == (6, NOW - 6 * 3600, NOW - 3600)


def test_only_the_end_of_a_file_that_grows_may_be_cut_off(host: Host) -> None:
    whole = success("2026-11-24T10:00:00Z")
    host.write("2026-11-24.audit", whole[:40], whole)
    found = host.ask()
    assert (found.matched, found.broken) == (1, 1)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-24T12:00:00Z", NOW),
        ("2026-11-24T12:00:00+00:00", NOW),
        ("2026-11-24T12:00:00.250000000Z", NOW + 0.25),  # chrono has nanoseconds
        ("2026-11-24T14:30:00+02:30", NOW),
        ("2026-11-24T07:00:00-0500", NOW),
        ("2026-11-24 12:00:00", NOW),
        ("2026-13-45T12:00:00Z", None),
        ("yesterday", None),
    ],
)
def test_times_are_read_as_services_write_them(text: str, at: float | None) -> None:
    assert audit.epoch_of(text) == at


@given(st.datetimes())
def test_a_time_of_any_year_is_the_calendars(at: datetime) -> None:
    assert audit.epoch_of(f"{at:%Y-%m-%dT%H:%M:%S}".zfill(19)) == calendar.timegm(at.timetuple())


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (Query(), 4),
        (Query(since=Time(3600.0, before_now=True)), 2),
        (Query(until=Time(3600.0, before_now=True)), 2),
        (Query(since=Time(NOW - 7200), until=Time(NOW - 1800)), 2),
        (Query(tokens=("123456",)), 2),
        (Query(failed=True), 1),
        (Query(failed=True, tokens=("abcdef",)), 0),
    ],
)
def test_only_what_was_asked_for_is_counted(host: Host, query: Query, kept: int) -> None:
    host.write(
        "2026-11-24.audit",
        success("2026-11-24T09:00:00Z"),
        success("2026-11-24T10:30:00Z", "123456"),
        failure("2026-11-24T11:15:00Z", "123456"),
        success("2026-11-24T11:45:00Z"),
    )
    assert host.ask(query).matched == kept


def test_uses_behind_the_replacement_are_counted_apart(host: Host) -> None:
    host.write("2026-11-24.audit", *(success(f"2026-11-24T{hour:02}:00:00Z") for hour in (8, 9, 10, 11)))
    (group,) = host.ask(Query(replaced=NOW - 9000)).groups
    assert (group.count, group.after) == (4, 2)
    (group,) = host.ask(Query(replaced=NOW - 9000, fresh=5400.0)).groups
    assert (group.count, group.after) == (4, 1)


def test_the_newest_records_come_one_by_one_with_their_place(host: Host) -> None:
    path = host.write("2026-11-24.audit", *(success(f"2026-11-24T10:00:{second:02}Z") for second in range(30)))
    host.write("2026-11-23.audit", success("2026-11-23T10:00:00Z"))
    found = host.ask(Query(records=3))
    assert [call.at for call in found.newest] == [NOW - 7200 + second for second in (29, 28, 27)]
    name, _, offset = found.newest[0].place.partition(" @ ")
    assert (host.audit / name, path.read_bytes()[int(offset) :]) == (path, path.read_bytes().splitlines(True)[-1])


def test_what_a_limit_cuts_is_the_oldest(host: Host) -> None:
    lines = [success(f"2026-11-24T10:{number // 60:02}:{number % 60:02}Z") for number in range(3000)]
    host.write("2026-11-24.audit", *lines, *lines, *lines)
    host.write("2026-11-23.audit", success("2026-11-23T10:00:00Z", "0000aa"))
    found = host.ask(Query(size=trail.BLOCK, records=1))
    assert found.cut == "there is more than is read at once"
    assert 0 < found.matched < 9000
    assert found.newest[0].place.startswith("2026-11-24.audit @ ")
    assert found.newest[0].at == audit.epoch_of(json.loads(lines[-1])["timestamp"])
    assert ("0000aa", True) not in counts(found)
    assert host.ask(Query(seconds=0.0)).cut == "the time was up"


def test_a_recent_question_reads_the_end_of_a_large_file_only(host: Host) -> None:
    lines = [success(f"2026-11-24T{hour:02}:{minute:02}:00Z") for hour in range(12) for minute in range(60)]
    host.write("2026-11-24.audit", *(line for line in lines for _ in range(20)))
    found = host.ask(Query(since=Time(600.0, before_now=True)))
    assert found.matched == 200
    assert found.size <= 2 * trail.BLOCK < (host.audit / "2026-11-24.audit").stat().st_size


def test_broken_lines_are_counted_and_the_rest_is_read(host: Host) -> None:
    endless = "x" * (trail.LINE_LIMIT * 3)
    whole = success("2026-11-24T10:00:00Z")
    broken = ["{", "not json", whole[:60], '{"event": {"event_type": "auth_success"', endless]
    path = host.write("2026-11-24.audit", whole, *broken, whole)
    found = host.ask()
    assert (found.matched, found.broken) == (2, 5)
    assert all(place.startswith("2026-11-24.audit @ ") for place in found.places)
    (host.audit / "2026-11-24.audit.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    found = host.ask()
    assert (found.matched, found.broken) == (2, 5)


def test_a_record_that_is_being_written_is_no_broken_line(host: Host) -> None:
    path = host.write("2026-11-24.audit", *[success("2026-11-24T10:00:00Z")] * 2)
    path.write_bytes(path.read_bytes()[:-30])
    found = host.ask()
    assert (found.matched, found.broken) == (1, 0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "Too many levels"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.mkdir(), "is no regular file"),
    ],
    ids=["a link", "a pipe", "a directory"],
)
def test_root_is_led_nowhere_and_kept_by_nothing(host: Host, make: Callable[[Path], None], said: str) -> None:
    make(host.audit / "2026-11-24.audit")
    host.write("2026-11-23.audit", success("2026-11-23T10:00:00Z"))
    found = host.ask()
    assert found.matched == 1
    (unread,) = found.unread
    assert unread.startswith("2026-11-24.audit")
    assert said in unread


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(b"x" * 100)[:-12]], ids=["other", "cut off"])
def test_a_packed_file_that_cannot_be_unpacked_is_named(host: Host, data: bytes) -> None:
    (host.audit / "2026-11-22.audit.gz").write_bytes(data)
    (unread,) = host.ask().unread
    assert unread.replace(":", "") == "2026-11-22.audit.gz cannot be unpacked"


def test_a_small_file_that_unpacks_to_a_huge_line_ends_at_the_limit(host: Host) -> None:
    bomb = gzip.compress(b"0" * (64 << 20), compresslevel=1)
    (host.audit / "2026-11-22.audit.gz").write_bytes(bomb)
    found = host.ask(Query(size=16 << 20))
    assert found.cut
    assert found.size <= 18 << 20


def test_where_nothing_is_written_that_is_said(host: Host) -> None:
    host.unit = "Environment=A=1\nMainPID=0\n"
    found = host.ask()
    assert (found.on, found.found, found.folder) == (False, False, "/var/log/llama-orch/audit")


def test_a_directory_behind_a_link_is_not_read_and_that_is_said(host: Host) -> None:
    host.write("2026-11-24.audit", success("2026-11-24T10:00:00Z"))
    host.audit.rename(host.root / "elsewhere")
    host.audit.symlink_to(host.root / "elsewhere")
    found = host.ask()
    assert (found.matched, found.unread) == (0, ("/audit: Not a directory",))


def test_many_different_calls_cost_no_more_memory_and_none_is_lost(host: Host) -> None:
    """Whoever calls the service chooses path and token of a refused call."""
    lines = [failure("2026-11-24T10:00:00Z", f"{number:06x}", f"/{number}") for number in range(5000)]
    host.write("2026-11-24.audit", *lines, *[success("2026-11-24T10:00:00Z")] * 5)
    found = host.ask()
    assert len(found.groups) <= 2 * audit.GROUPS + 2
    assert sum(group.count for group in found.groups) == found.matched == 5005
    assert found.folded > 0


def test_no_token_and_no_control_character_leaves_the_host(host: Host) -> None:
    hostile = f"/list?key={TOKEN}&other={'7c' * 20}\x1b[31m\nhive9 is fine"
    host.write("2026-11-24.audit", failure("2026-11-24T10:00:00Z", path=hostile, ip=TOKEN))
    found = host.ask(Query(records=5))
    said = repr(found)
    assert found.matched == 1
    assert TOKEN not in said
    assert "7c" * 20 not in said
    assert "\\n" not in said
    assert "\\x1b" not in said


def test_every_break_of_the_chain_is_named_with_file_and_line(host: Host) -> None:
    host.write("2026-11-24.audit", success("2026-11-24T10:00:00Z"), success("2026-11-24T10:00:01Z"))
    found = host.ask()
    assert found.breaks == ("2026-11-24.audit, line 1: no audit record", "2026-11-24.audit, line 2: no audit record")
    assert host.ask(Query(chain=False)).breaks == ()


@given(st.lists(st.text("ab", max_size=12), max_size=30), st.booleans(), st.integers(1, 9))
def test_files_are_read_block_by_block_without_losing_a_byte(lines: list[str], ended: bool, block: int) -> None:
    """Backwards and forwards: the same lines at the same places, whatever the blocks cut through."""
    SMALL["BLOCK"] = block
    data = "\n".join(lines).encode() + (b"\n" if ended else b"")
    expected = [(place, line) for place, line in places(data) if line]
    for blocks in (SMALL["backwards"](io.BytesIO(data), len(data)), SMALL["forwards"](io.BytesIO(data))):
        found = [one for offset, whole, _ in blocks for one in places(b"\n".join(whole), offset) if one[1]]
        assert sorted(found) == expected


def places(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """The lines of a text that begins there, each with where it begins."""
    found = []
    for line in data.split(b"\n"):
        found.append((offset, line))
        offset += len(line) + 1
    return found


MEASURE = r"""
import os, re, sys, time
count = Count(None, None, (), False, 20, None)
folder = os.open(sys.argv[1], os.O_RDONLY)
read_trail(count, folder, os.listdir(folder), Budget(1 << 40, 300.0, time.monotonic))
peak = re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read()).group(1)
print(count.matched, count.size, peak)
"""


def test_a_trail_of_any_size_is_read_in_a_few_megabytes(tmp_path: Path) -> None:
    """As on a host: a process of its own. HIVEKEYS_TRAIL_MIB=1024 (make soak) makes it a gigabyte."""
    size = int(os.environ.get("HIVEKEYS_TRAIL_MIB", "32")) << 20
    lines = (success(f"2026-11-24T10:{n // 60 % 60:02}:{n % 60:02}Z", f"{n % 9:06x}") + "\n" for n in range(5000))
    block = "".join(lines).encode()
    with (tmp_path / "2026-11-24.audit").open("wb") as file:
        for _ in range(size // len(block) + 1):
            file.write(block)
    program = tmp_path / "program.py"  # as one argument it would be too long
    program.write_bytes(program_of("audit").replace(b"\n    main()", MEASURE.replace("\n", "\n    ").encode()))
    done = subprocess.run(
        [sys.executable, "-IS", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    matched, read, peak = map(int, done.stdout.split())
    assert read == (tmp_path / "2026-11-24.audit").stat().st_size >= size
    assert matched == 5000 * (size // len(block) + 1)
    assert peak < 60_000, "KiB"


def test_the_trail_of_a_real_service_is_read_as_it_writes_it(host: Host) -> None:
    """llama-orch.md, "Audit record": ids that come again, two clocks, nanoseconds, no address, a second file."""

    def real(count: int, event: dict[str, Any]) -> str:
        times = {"timestamp": f"2026-11-28T10:00:0{count}.123456789Z", "service_id": "rbee-hive"}
        return json.dumps({"audit_id": f"audit-rbee-hive-{count}", **times, "event": event})

    def called(at: str, **event: Any) -> dict[str, Any]:
        return {"timestamp": f"2026-11-28T{at}Z", "path": "/v1/workers/list", "service_id": "rbee-hive", **event}

    let_in = {"event_type": "auth_success", "actor": {"user_id": "token:abcdef", "ip": None}, "method": "bearer_token"}
    refused = {"event_type": "auth_failure", "attempted_user": "token:0ddba1", "reason": "invalid", "ip": "0.0.0.0"}  # noqa: S104
    nobody = {"event_type": "auth_failure", "attempted_user": None, "reason": "missing", "ip": "0.0.0.0"}  # noqa: S104
    host.write(
        "2026-11-28.audit", real(0, called("09:59:58.999999999", **let_in)), real(0, called("09:59:59.5", **refused))
    )
    host.write("2026-11-28-1.audit", real(1, called("10:00:01.000000001", **nobody)))
    found = host.ask(Query(records=9))
    assert (found.files, found.lines, found.matched, found.broken) == (2, 3, 3, 0)
    assert {(row.token, row.ok, row.address) for row in found.groups} == {
        ("abcdef", True, ""),
        ("0ddba1", False, ""),
        ("", False, ""),
    }
    first, second, third = (call.at for call in found.newest)
    assert [round(one - third, 3) for one in (first, second)] == [2.0, 0.5], "the events' own times"
