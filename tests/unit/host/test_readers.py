"""Who opened the token file: grouped as far as a host's memory allows, none lost, and the newest one by one."""

from pathlib import Path
from typing import Any

import pytest

from hivekeys.host.verbs import accesses
from hivekeys.host.verbs.accesses import Readers
from tests.inprocess import InProcessFleet, Session, SimulatedHost


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return InProcessFleet(tmp_path, hives=1).hosts["hive1"]


def readers(host: SimulatedHost, *, failed: bool = False, records: int = 0) -> Readers:
    return Readers(Session(host, write=False).line.agent, failed, records)


def opened(
    at: float, exe: str = "/bin/cat", *, ok: bool = True, name: str = "api-token", **fields: str
) -> dict[str, Any]:
    """An event as auditd's lines give it."""
    syscall = {"uid": "0", "auid": "4294967295", "pid": "42", "exe": exe, "success": "yes" if ok else "no"} | fields
    return {
        "at": at,
        "names": [b"/etc", name.encode()],
        "title": b"",
        "config": False,
        "syscall": {key.encode(): text.encode() for key, text in syscall.items()},
    }


def test_those_that_are_alike_are_one_group_with_its_first_and_last_time(host: SimulatedHost) -> None:
    found = readers(host)
    for at in (20.0, 10.0, 30.0):
        found.take(opened(at))
    (group,) = found.rows()
    assert (group["count"], group["first"], group["last"]) == (3, 10.0, 30.0)
    assert (group["kind"], group["account"], group["login"], group["program"]) == ("other", "root", "", "/bin/cat")


@pytest.mark.parametrize("other", [{"exe": "/bin/dd"}, {"ok": False}, {"uid": "4000000"}, {"auid": "0"}])
def test_what_differs_in_program_outcome_account_or_login_is_another(
    host: SimulatedHost, other: dict[str, Any]
) -> None:
    found = readers(host)
    found.take(opened(1.0))
    found.take(opened(2.0, **other))
    assert [group["count"] for group in found.rows()] == [1, 1]


def test_another_file_is_none_of_ours(host: SimulatedHost) -> None:
    found = readers(host, records=9)
    found.take(opened(1.0, name="api-token.new"))
    assert (found.rows(), list(found.newest)) == ([], [])


def test_who_could_not_open_it_can_be_asked_for_alone(host: SimulatedHost) -> None:
    found = readers(host, failed=True)
    found.take(opened(1.0))
    found.take(opened(2.0, ok=False))
    assert [(group["ok"], group["first"]) for group in found.rows()] == [(False, 2.0)]


def test_the_newest_are_kept_one_by_one_with_their_process(host: SimulatedHost) -> None:
    found = readers(host, records=2)
    for at in (1.0, 2.0, 3.0):
        found.take(opened(at, pid=str(int(at))))
    assert [(record["at"], record["pid"]) for record in found.newest] == [(2.0, 2), (3.0, 3)]


def test_more_readers_than_are_kept_apart_are_counted_by_their_kind_and_outcome(host: SimulatedHost) -> None:
    """A burglar who opens it with ten thousand programs fills no memory, and hides nobody."""
    found = readers(host)
    for number in range(accesses.READERS):
        found.take(opened(1.0, f"/bin/{number}"))
    assert (len(found.rows()), found.folded) == (accesses.READERS, 0)
    for number in range(5):
        found.take(opened(2.0 + number, f"/home/{number}", ok=False))
    found.take(opened(9.0, "/bin/0"))
    rest = found.rows()[accesses.READERS :]
    assert found.folded == 5
    assert rest == [
        {"kind": "other", "account": "", "login": "", "program": "", "ok": False, "count": 5, "first": 2.0, "last": 6.0}
    ]
    assert found.rows()[0]["count"] == 2, "a group that is known goes on"
    assert sum(group["count"] for group in found.rows()) == accesses.READERS + 6
