"""What would keep a token from being written is found while every service still runs as it did."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.wire import decode
from hivekeys.status.status import lines, status_of
from hivekeys.token import generate
from hivekeys.verify.findings import Record
from tests.builders.operator import Operator
from tests.inprocess import InProcessFleet, Session, SimulatedHost

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and os.environ.get("CI") != "true", reason="flags, mounts and small disks are root's to make"
)
TOKEN = "/etc/llama-orch/secrets/api-token"


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=2)


@pytest.fixture
def host(fleet: InProcessFleet) -> SimulatedHost:
    """The hive of which the operator does not know that a file of it cannot be replaced."""
    return fleet.hosts["hive2"]


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """What is taken away again before the files are."""
    with ExitStack() as stack:
        yield stack


def command(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


def chattr(undo: ExitStack, path: Path, flag: str) -> None:
    command("chattr", f"+{flag}", path)
    undo.callback(command, "chattr", f"-{flag}", path)


def mount(undo: ExitStack, *words: object) -> None:
    command("mount", *words)
    undo.callback(command, "umount", words[-1])


def beside(host: SimulatedHost, name: str) -> Path:
    """A path in the token directory, with a token in it where it is none yet; "" is the directory."""
    if name.startswith("api-token."):
        host.write(generate(), name.removeprefix("api-token"))
    elif name:
        (host.secrets / name).touch(mode=0o600)
    return host.secrets / name


def seen(host: SimulatedHost) -> dict[str, str]:
    """What a read-only look has to say of it, in (trouble, detail)."""
    session = Session(host, write=False)
    bar: dict[str, str] = session.do("observe")["facts"]["directory"]["bar"]
    session.line.close()
    return bar


def files(host: SimulatedHost) -> dict[Path, tuple[int, ...]]:
    """Each file as it is, but for when it was last read."""
    found = {path: path.stat() for path in host.secrets.iterdir()}
    return {
        path: (info.st_ino, info.st_mode, info.st_uid, info.st_nlink, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        for path, info in found.items()
    }


def claimed(host: SimulatedHost) -> dict[str, str]:
    """What a claim answers, which must leave all files as they were."""
    before = files(host)
    session = Session(host)
    result = session.do("probe_write")
    session.line.close()
    assert files(host) == before
    return {part: result[part] for part in ("trouble", "detail")}


NAMES = ["", "api-token", "api-token.new", "api-token.backup", ".api-token.hivekeys"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("flag", "word"), [("i", "immutable"), ("a", "append-only")])
def test_a_flag_that_fixes_a_file_or_the_directory_is_seen_and_named_with_the_command_that_takes_it_off(
    host: SimulatedHost, undo: ExitStack, name: str, flag: str, word: str
) -> None:
    chattr(undo, beside(host, name), flag)
    path = TOKEN.replace("api-token", name).rstrip("/")
    said = {"trouble": "immutable", "detail": f"{path} is {word}: chattr -{flag} {path}"}
    assert claimed(host) == said
    assert seen(host) == said


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_file_that_is_a_mount_point_is_seen_and_named(host: SimulatedHost, undo: ExitStack, name: str) -> None:
    """Bound to itself: the same device, inode and owner."""
    path = beside(host, name)
    mount(undo, "--bind", path, path)
    named = TOKEN.replace("api-token", name)
    detail = f"{named} is a mount point, and cannot be replaced: umount {named}"
    assert claimed(host) == seen(host) == {"trouble": "mount-point", "detail": detail}


def test_a_directory_in_the_place_of_the_kept_token_is_named(host: SimulatedHost) -> None:
    (host.secrets / "api-token.backup").mkdir()
    said = {"trouble": "token-unsafe", "detail": f"{TOKEN}.backup is a directory"}
    assert claimed(host) == seen(host) == said


def test_a_file_system_without_hard_links_is_named_and_left_clean(host: SimulatedHost) -> None:
    host.has_hard_links = False
    assert claimed(host)["trouble"] == "no-hard-links"
    assert [path.name for path in host.secrets.iterdir()] == ["api-token"]


def test_the_claim_does_not_change_what_is_known_of_the_token_that_is_active(host: SimulatedHost) -> None:
    """A link to the file would change its ctime: its service would look older than its token."""
    session = Session(host)
    before = host.active.stat()
    assert session.do("probe_write")["ok"]
    assert host.active.stat() == before
    assert session.do("observe")["facts"]["loaded"]["evidence"] == "younger"


# -- full disks, as a look sees them


DISKS: dict[str, tuple[str, str]] = {
    "space": ("size=8k,mode=0700", "No space left on device"),
    "inodes": ("nr_inodes=2,mode=0700", "no inode left on device"),
    "a disk that takes no writes": ("ro,mode=0700", "Read-only file system"),
}


@pytest.mark.parametrize("what", DISKS)
@pytest.mark.parametrize("where", ["/etc/llama-orch/secrets", "/var/lib/hivekeys"])
def test_a_full_disk_is_seen_by_a_look(host: SimulatedHost, undo: ExitStack, what: str, where: str) -> None:
    options, words = DISKS[what]
    Session(host).line.close()
    folder = host.root / where.lstrip("/")
    owner = folder.stat()
    mount(undo, "-t", "tmpfs", "-o", options.removeprefix("ro,"), "small", folder)
    os.chown(folder, owner.st_uid, owner.st_gid)
    (folder / "api-token").write_bytes(b"x" * (8192 if what == "space" else 1))
    if options.startswith("ro,"):
        command("mount", "-o", "remount,ro", folder)
    assert seen(host) == {"trouble": "write-failed", "detail": f"{where}: {words}"}


def test_a_disk_with_room_is_no_obstacle(host: SimulatedHost) -> None:
    assert seen(host) is None


# -- what follows for the operator


Break = Callable[[SimulatedHost, ExitStack], None]
BROKEN: dict[str, tuple[Break, Trouble]] = {
    "immutable": (lambda host, undo: chattr(undo, host.active, "i"), Trouble.IMMUTABLE),
    "kept before, immutable": (
        lambda host, undo: chattr(undo, beside(host, "api-token.backup"), "i"),
        Trouble.IMMUTABLE,
    ),
    "mounted": (lambda host, undo: mount(undo, "--bind", host.active, host.active), Trouble.MOUNT_POINT),
    "full": (lambda host, _: setattr(host, "fault", "disk-full"), Trouble.WRITE_FAILED),
    "var full": (lambda host, _: setattr(host, "fault", "var-full"), Trouble.WRITE_FAILED),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_plan_names_it_and_a_rotation_restarts_nothing(
    fleet: InProcessFleet, host: SimulatedHost, undo: ExitStack, what: str
) -> None:
    """It was found after the queen and every other hive had been turned; all went back, each restarted twice."""
    breaks, trouble = BROKEN[what]
    breaks(host, undo)
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ann.troubles == {"hive2": trouble}
    assert {entry.verb for entry in fleet.log} == {"hello", "observe", "prove"}, "it was only looked at"


def test_what_happens_between_the_plan_and_the_claim_is_found_by_the_claim(
    fleet: InProcessFleet, host: SimulatedHost, undo: ExitStack
) -> None:
    ann = Operator(fleet)
    assert ann.rotate(lambda: chattr(undo, host.active, "i")) is ExitCode.ROLLED_BACK
    assert ann.troubles == {"hive2": Trouble.IMMUTABLE}
    assert {"stage", "swap", "restart"}.isdisjoint(entry.verb for entry in fleet.log)


def test_what_happens_later_has_its_right_name_too(fleet: InProcessFleet, host: SimulatedHost, undo: ExitStack) -> None:
    fleet.at("hive2", "swap", lambda host: chattr(undo, host.active, "i"))
    ann = Operator(fleet)
    ann.rotate()
    assert ann.troubles == {"hive2": Trouble.IMMUTABLE}


def test_a_revocation_turns_the_others_and_names_it(
    fleet: InProcessFleet, host: SimulatedHost, undo: ExitStack
) -> None:
    chattr(undo, host.active, "i")
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.INCOMPLETE
    assert ann.troubles == {"hive2": Trouble.IMMUTABLE}


def test_status_names_it_with_what_to_do(fleet: InProcessFleet, host: SimulatedHost) -> None:
    host.fault = "disk-full"
    shown: dict[Any, Reply | Cause] = {}
    for name, one in fleet.hosts.items():
        line = Session(one, write=False)
        shown[fleet.hosts[name].host] = decode({"results": line.ask({"verb": "observe"})})
    status = status_of(fleet.inventory, shown, Record({}), (), 0.0)
    assert status.code is ExitCode.INCOMPLETE
    said = next(line for line in lines(status) if line.startswith("hive2: "))
    assert said.startswith(
        "hive2: write-failed: /etc/llama-orch/secrets: No space left on device\n  hint: free the disk"
    )
    assert "inodes" in said


def test_a_host_that_calls_a_bar_what_is_none_is_rubbish(host: SimulatedHost) -> None:
    """A trouble that means something for others: a newer run, another run's lock."""
    (look,) = Session(host, write=False).ask({"verb": "observe"})
    look["facts"]["directory"]["bar"] = {"trouble": "superseded", "detail": "run x"}
    answer = decode({"results": [look]})
    assert isinstance(answer, Cause)
    assert answer.trouble is Trouble.RUBBISH
