"""`drain` in an inventory: what it may say, and what each mistake is told."""

import re
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.inventory.load import load
from hivekeys.inventory.written import toml
from hivekeys.protocol.wire import service_told
from hivekeys.service import Drain, Hook, Idle, OnDeadline

EXAMPLE = Path(__file__).resolve().parents[3] / "inventory" / "example.toml"
FLEET = """
fleet = "blue"
[hosts.queen]
role = "queen"
[hosts.hive1]
role = "hive"
"""


def drain_of(tmp_path: Path, keys: str) -> Drain | None:
    path = tmp_path / "blue.toml"
    path.write_text(f"{FLEET}[services.hive]\n{keys}\n")
    return load(path).hives[0].service.drain


def test_the_lines_of_the_example_are_a_drain(tmp_path: Path) -> None:
    lines = re.findall(r"^# (drain\..*)$", EXAMPLE.read_text(), re.MULTILINE)

    assert drain_of(tmp_path, "\n".join(lines)) == Drain(
        before=Hook(run=("/usr/local/bin/cordon",)),
        until=Idle(get="/metrics", none=r'workers_total\{.*state="busy".*\} [1-9]', every=2.0),
        after=Hook(run=("/usr/local/bin/uncordon",)),
        deadline=300.0,
        on_deadline=OnDeadline.FAIL,
    )


def test_every_way_of_a_hook_and_a_time_without_a_unit(tmp_path: Path) -> None:
    drain = drain_of(
        tmp_path,
        """drain.before = { bastion = ["lbctl", "drain", "{host}"] }
        drain.until = { run = ["/usr/local/bin/busy", "--all"] }
        drain.after = { http = "POST /undrain" }
        drain.deadline = 90
        drain.on_deadline = "skip"
        """,
    )

    assert drain == Drain(
        before=Hook(bastion=("lbctl", "drain", "{host}")),
        until=Idle(run=("/usr/local/bin/busy", "--all")),
        after=Hook(http="POST /undrain"),
        deadline=90.0,
        on_deadline=OnDeadline.SKIP,
    )


FRONT = """
accepts = "front"
port = 18081
front = { listen = "0.0.0.0:8081" }
"""


def test_a_front_keeps_new_requests_off_and_lets_them_in_again(tmp_path: Path) -> None:
    """`after` goes without saying; written anew it is the same."""
    assert drain_of(tmp_path, f'{FRONT}drain = {{ before = "front" }}') == Drain(
        Hook(front=True), None, Hook(front=True)
    )
    fleet = load(tmp_path / "blue.toml")
    told = service_told(fleet.hives[0].service)
    assert (told["drain"]["before"], told["drain"]["after"]) == ({"front": True}, {"front": True})
    assert "drain" not in told["front"]["behind"]
    (tmp_path / "again.toml").write_text(toml(fleet))
    assert load(tmp_path / "again.toml").hosts == fleet.hosts


def test_every_drain_is_written_as_it_was_read(tmp_path: Path) -> None:
    drain = drain_of(
        tmp_path,
        """drain.before = { http = "POST /drain" }
        drain.until = { get = "/metrics", none = 'busy\\{"' }
        drain.after = { run = ["/usr/local/bin/uncordon", "--all"] }
        drain.on_deadline = "skip"
        """,
    )
    (tmp_path / "again.toml").write_text(toml(load(tmp_path / "blue.toml")))
    assert load(tmp_path / "again.toml").hives[0].service.drain == drain


def test_an_empty_drain_is_none(tmp_path: Path) -> None:
    assert drain_of(tmp_path, "drain = {}") is None


def test_a_host_learns_of_it_only_where_there_is_one(tmp_path: Path) -> None:
    """A host in restricted mode compares all that it is told with what it was installed for."""
    path = tmp_path / "blue.toml"
    path.write_text(f"""{FLEET}service = {{ drain = {{ after = {{ bastion = ["lbctl", "{{host}}"] }} }} }}\n""")
    queen, hive = load(path).hosts

    assert "drain" not in service_told(queen.service)
    assert service_told(hive.service)["drain"] == {
        "deadline": 300.0,
        "on_deadline": "fail",
        "after": {"bastion": True},
    }


MISTAKES = {
    'drain.before = { run = ["cordon"] }': "services.hive.drain.before.run",
    'drain.before = { run = "/usr/local/bin/cordon" }': "services.hive.drain.before.run",
    "drain.before = { run = [] }": "services.hive.drain.before.run",
    'drain.before = { run = ["/bin/x"], http = "POST /x" }': "expected one of run",
    'drain.before = { run = ["/bin/x"] }': "expected after = {…} as well",
    'drain.after = { http = "PATCH /x" }': "services.hive.drain.after.http",
    'drain.after = { http = "POST http://elsewhere/x" }': "services.hive.drain.after.http",
    'drain.until = { get = "/metrics" }': 'expected get = "/PATH" with none',
    'drain.until = { get = "/metrics", none = "(" }': "services.hive.drain.until.none",
    'drain.until = { get = "/m", none = "x", run = ["/x"] }': 'expected get = "/PATH" with none',
    'drain.until = { run = ["/x"], every = 0 }': "services.hive.drain.until.every",
    'drain.deadline = "5 days"': "services.hive.drain.deadline",
    'drain.deadline = "25h"': "services.hive.drain.deadline",
    'drain.on_deadline = "wait"': "services.hive.drain.on_deadline",
    'drain.befor = { run = ["/x"] }': "did you mean before?",
    'drain.until = { gett = "/x" }': "did you mean get?",
    "drain = 5": "services.hive.drain",
    'drain = { before = "front" }': 'found "front", where the service has none, expected accepts = "front" beside it',
    'drain = { before = "back" }': "services.hive.drain.before",
    'drain = { before = "front", after = { run = ["/x"] } }': 'no `after` beside before = "front"',
    f'{FRONT}drain = {{ after = "front" }}': "services.hive.drain.after",
}


@pytest.mark.parametrize("keys", MISTAKES)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, keys: str) -> None:
    with pytest.raises(UserError) as error:
        drain_of(tmp_path, keys)
    assert MISTAKES[keys] in f"{error.value.message}"
