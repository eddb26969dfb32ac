"""Who on a host still takes an old token: the worst is named first, and how many more there are."""

from dataclasses import replace

import pytest

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.listeners import Listener, Survivor, still_trusted, unasked

REFUSES = Listener("127.0.0.1", 9000, 7, "worker", "refuses")
TAKES = Listener("127.0.0.1", 9001, 8, "worker", "takes", path="/v1/work")
SILENT = Listener("::1", 9002, 9, "worker", "unasked", why="it speaks no HTTP")
OLD = Survivor(5, "rbee-hive", 120.4, (9000, 9001), takes=True)


def test_when_every_place_refuses_nobody_is_named() -> None:
    assert (
        still_trusted([REFUSES, replace(REFUSES, answer="open"), replace(REFUSES, answer="closed")], [], HIVE_SERVICE)
        is None
    )


@pytest.mark.parametrize("asked", [(), None], ids=["none there", "not asked"])
def test_no_place_is_no_cause(asked: tuple[()] | None) -> None:
    assert still_trusted(asked, asked, HIVE_SERVICE) is None
    assert unasked(asked, HIVE_SERVICE) == []


def test_a_place_that_takes_the_old_token_is_named_with_the_path() -> None:
    found = still_trusted([SILENT, REFUSES, TAKES], [], HIVE_SERVICE)
    assert found == Cause(Trouble.OLD_ACCEPTED, "127.0.0.1:9001 (worker, pid 8) accepts it at /v1/work")


def test_a_place_that_could_not_be_asked_is_named_with_the_reason() -> None:
    found = still_trusted([REFUSES, SILENT], [], HIVE_SERVICE)
    assert found == Cause(Trouble.PLACE_UNASKED, "[::1]:9002 (worker, pid 9): it speaks no HTTP")


def test_how_many_more_could_not_be_asked_is_said() -> None:
    found = still_trusted([SILENT, replace(SILENT, port=9003), replace(SILENT, port=9004)], [], HIVE_SERVICE)
    assert found is not None
    assert found.detail.endswith("; and 2 more places")


def test_a_port_that_takes_no_token_by_the_inventory_need_not_be_asked() -> None:
    service = replace(HIVE_SERVICE, tokenless=(9002,))
    assert still_trusted([SILENT], [], service) is None
    assert unasked([SILENT, REFUSES, replace(SILENT, port=9003)], service) == [replace(SILENT, port=9003)]


def test_a_process_that_outlived_the_restart_comes_before_every_place() -> None:
    found = still_trusted([TAKES], [OLD], HIVE_SERVICE)
    assert found == Cause(Trouble.SURVIVOR, "rbee-hive (pid 5, 120 s old, port 9000 9001) accepts the old token")


def test_of_one_that_was_not_asked_it_is_said_that_nothing_was_shown() -> None:
    quiet = Survivor(6, "rbee-hive", 3.0)
    found = still_trusted([], [quiet, OLD], HIVE_SERVICE)
    said = "rbee-hive (pid 6, 3 s old) is not shown to refuse the old token; and 1 more processes"
    assert found == Cause(Trouble.SURVIVOR, said)


def test_where_nobody_can_be_named_it_is_the_host() -> None:
    assert str(Listener("", 0, 0, "", "unasked")) == "the host"
