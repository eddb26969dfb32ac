"""The token files on a host: whole, closed and rightly owned at every moment, whatever is in their place."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hivekeys.token import Token, generate
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost

ROOT = os.geteuid() == 0
SLOTS = ("api-token", "api-token.new", "api-token.backup")


def needs_root(why: str) -> None:
    if not ROOT and os.environ.get("CI") != "true":
        pytest.skip(why)


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    """A host whose service runs under an account of its own, where the tests may choose one."""
    account = ("daemon", "daemon") if ROOT else None
    return InProcessFleet(tmp_path, hives=1, account=account).hosts["hive1"]


@pytest.fixture
def new() -> Token:
    return generate()


def keyed(token: Token) -> str:
    return token.fingerprint(KEY).keyed


def names(host: SimulatedHost) -> set[str]:
    return {path.name for path in host.secrets.iterdir()}


def refused(result: dict[str, Any], trouble: str) -> str:
    """The detail of a refusal that must have this trouble."""
    assert (result["ok"], result["trouble"]) == (False, trouble), result
    return str(result["detail"])


# -- the verbs


def test_a_staged_token_stands_beside_the_active_one(host: SimulatedHost, new: Token) -> None:
    result = Session(host).do("stage", token=new.reveal())
    assert result["changed"]
    assert host.slots() == {"active": host.fleet.token.reveal(), "staged": new.reveal(), "previous": None}


def test_a_swap_makes_staged_active_and_active_previous(host: SimulatedHost, new: Token) -> None:
    session = Session(host)
    session.do("stage", token=new.reveal())
    assert session.do("swap", want=keyed(new))["changed"]
    assert host.slots() == {"active": new.reveal(), "staged": None, "previous": host.fleet.token.reveal()}


def test_a_revert_takes_the_previous_token_back(host: SimulatedHost, new: Token) -> None:
    old = host.fleet.token
    session = Session(host)
    session.do("stage", token=new.reveal())
    session.do("swap", want=keyed(new))
    assert session.do("revert", want=keyed(old))["changed"]
    assert host.slots() == {"active": old.reveal(), "staged": None, "previous": None}


def test_a_revert_takes_the_token_from_memory_when_its_slot_is_gone(host: SimulatedHost, new: Token) -> None:
    old = host.fleet.token
    session = Session(host, tokens=(old,))
    session.do("stage", token=new.reveal())
    session.do("swap", want=keyed(new))
    (host.secrets / "api-token.backup").unlink()
    assert session.do("revert", want=keyed(old))["ok"]
    assert host.active_token() == old.reveal()


def test_a_revert_to_a_token_that_nobody_has_changes_nothing(host: SimulatedHost, new: Token) -> None:
    before = host.slots()
    refused(Session(host).do("revert", want=keyed(new)), "slot-changed")
    assert host.slots() == before


def test_retire_leaves_the_active_token_alone_in_the_directory(host: SimulatedHost, new: Token) -> None:
    session = Session(host)
    session.do("stage", token=new.reveal())
    session.do("swap", want=keyed(new))
    assert session.do("retire", want=keyed(new))["changed"]
    assert names(host) == {"api-token"}


def test_retire_refuses_while_another_token_is_active(host: SimulatedHost, new: Token) -> None:
    host.write(generate(), ".backup")
    refused(Session(host).do("retire", want=keyed(new)), "slot-changed")
    assert "api-token.backup" in names(host)


def test_discard_empties_the_staged_slot(host: SimulatedHost, new: Token) -> None:
    session = Session(host)
    session.do("stage", token=new.reveal())
    assert session.do("discard")["changed"]
    assert names(host) == {"api-token"}


@pytest.mark.parametrize("verb", ["stage", "swap", "revert", "retire", "discard"])
def test_a_verb_done_twice_changes_nothing_the_second_time(host: SimulatedHost, new: Token, verb: str) -> None:
    session = Session(host)
    session.do("stage", token=new.reveal())
    if verb in ("revert", "retire"):
        session.do("swap", want=keyed(new))
    fields: dict[str, str] = {
        "stage": {"token": new.reveal()},
        "swap": {"want": keyed(new)},
        "revert": {"want": keyed(host.fleet.token)},
        "retire": {"want": keyed(new)},
        "discard": {},
    }[verb]
    session.do(verb, **fields)
    before = host.slots()
    again = session.do(verb, **fields)
    assert (again["ok"], again["changed"], host.slots()) == (True, False, before)


def test_a_swap_refuses_a_staged_file_that_somebody_exchanged(host: SimulatedHost, new: Token) -> None:
    session = Session(host)
    session.do("stage", token=new.reveal())
    host.write(generate(), ".new")
    refused(session.do("swap", want=keyed(new)), "slot-changed")
    assert host.active_token() == host.fleet.token.reveal()


def test_a_swap_refuses_a_staged_file_that_others_can_read(host: SimulatedHost, new: Token) -> None:
    session = Session(host)
    session.do("stage", token=new.reveal())
    (host.secrets / "api-token.new").chmod(0o644)
    refused(session.do("swap", want=keyed(new)), "slot-changed")
    assert host.active_token() == host.fleet.token.reveal()


def test_a_swap_mends_a_host_that_lost_its_token(host: SimulatedHost, new: Token) -> None:
    host.active.unlink()
    session = Session(host)
    session.do("stage", token=new.reveal())
    assert session.do("swap", want=keyed(new))["changed"]
    assert host.slots() == {"active": new.reveal(), "staged": None, "previous": None}


def test_what_is_written_is_the_accounts_closed_and_one_line(host: SimulatedHost, new: Token) -> None:
    Session(host).do("stage", token=new.reveal())
    staged = host.secrets / "api-token.new"
    info = staged.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o600, host.uid, host.gid)
    assert staged.read_text() == new.reveal() + "\n"


@pytest.mark.parametrize(
    "bad",
    ["", "short", "x" * 63, "x" * 4097, "a b" * 30, "x" * 64 + "\n", "x" * 32 + "\r\n" + "x" * 32, "é" * 64],
    ids=["empty", "short", "63", "4097", "blanks", "newline", "crlf", "non-ascii"],
)
def test_what_is_no_token_is_never_written(host: SimulatedHost, bad: str) -> None:
    detail = refused(Session(host).do("stage", token=bad), "slot-changed")
    assert names(host) == {"api-token"}
    assert not bad or bad not in detail


@pytest.mark.parametrize("verb", ["swap", "revert"])
def test_a_file_exchanged_in_the_moment_of_the_write_is_noticed(host: SimulatedHost, new: Token, verb: str) -> None:
    session = Session(host)
    session.do("stage", token=new.reveal())
    if verb == "revert":
        session.do("swap", want=keyed(new))
    secrets = session.line.agent.secrets
    rename = secrets.rename

    def meddled(folder: int, name: str, target: str) -> None:
        rename(folder, name, target)
        host.write(generate())

    secrets.rename = meddled  # type: ignore[method-assign]
    want = new if verb == "swap" else host.fleet.token
    assert "exchanged" in refused(session.do(verb, want=keyed(want)), "slot-changed")


def test_a_token_is_on_the_disk_before_its_slot_and_the_slot_before_the_answer(host: SimulatedHost, new: Token) -> None:
    session = Session(host)
    session.do("discard")  # from now on the host's record names this run as one that changes it
    calls: list[str] = []

    def note(_frame: object, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ in ("fchown", "fchmod", "write", "fsync", "rename"):
            calls.append(function.__name__)

    sys.setprofile(note)
    try:
        session.do("stage", token=new.reveal())
    finally:
        sys.setprofile(None)
    assert calls == ["fchown", "fchmod", "write", "fsync", "rename", "fsync"]


# -- what a look shows


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b" \r\n\t", "is empty"),
        (b"two words", "holds no token"),
        (b"one\ntwo", "holds no token"),
        ("clé".encode(), "holds no token"),
        (b"x" * 5000, "holds no token"),
        (b"x" * ((1 << 20) + 1), "is larger than 1 MiB"),
    ],
    ids=["empty", "blank", "words", "lines", "non-ascii", "long", "huge"],
)
def test_a_file_that_holds_no_token_is_shown_with_its_fault(host: SimulatedHost, content: bytes, fault: str) -> None:
    host.active.write_bytes(content)
    active = Session(host).do("observe")["facts"]["active"]
    assert fault in active["fault"]
    assert active["fingerprint"] is None


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"  \n"], ids=["none", "newline", "crlf", "blanks"])
def test_blanks_around_a_token_do_not_change_its_fingerprint(host: SimulatedHost, end: bytes) -> None:
    host.active.write_bytes(host.fleet.token.reveal().encode() + end)
    active = Session(host).do("observe")["facts"]["active"]
    assert active["fingerprint"]["keyed"] == keyed(host.fleet.token)
    assert active["fingerprint"]["fp6"] == host.fleet.token.fingerprint(KEY).fp6


def test_a_look_shows_mode_owner_and_group(host: SimulatedHost) -> None:
    host.active.chmod(0o644)
    facts = Session(host).do("observe")["facts"]
    service = host.host.service
    active = facts["active"]
    assert (active["mode"], active["owner"], active["group"]) == (0o644, service.owner, service.group)
    assert (facts["directory"]["mode"], facts["directory"]["fault"]) == (0o700, "")


def test_a_look_changes_nothing_and_needs_no_lock(host: SimulatedHost) -> None:
    before = sorted(host.root.rglob("*"))
    assert Session(host, write=False).do("observe")["ok"]
    assert sorted(host.root.rglob("*")) == before


# -- hostile directories: the service's account owns all of it


def as_link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def as_fifo(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def as_directory(path: Path, secret: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("make", [as_link, as_fifo, as_directory])
def test_a_slot_that_is_no_file_is_neither_followed_nor_written(
    host: SimulatedHost, tmp_path: Path, new: Token, slot: str, make: Callable[[Path, Path], None]
) -> None:
    secret = tmp_path / "shadow"
    secret.write_text(generate().reveal())
    before = secret.read_text()
    path = host.secrets / slot
    path.unlink(missing_ok=True)
    make(path, secret)
    session = Session(host)
    shown = session.do("observe")["facts"][{"": "active", ".new": "staged"}.get(slot[9:], "previous")]
    assert shown["fault"]
    assert shown["fingerprint"] is None
    session.do("stage", token=new.reveal())
    session.do("swap", want=keyed(new))
    session.do("revert", want=keyed(host.fleet.token))
    assert secret.read_text() == before
    assert keyed(Token(before)) not in session.line.agent.secrets.known


@pytest.mark.parametrize("slot", ["api-token", "api-token.new"])
def test_what_stands_in_a_slots_place_on_purpose_is_not_written_over(
    host: SimulatedHost, tmp_path: Path, new: Token, slot: str
) -> None:
    path = host.secrets / slot
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    session = Session(host)
    results = session.ask({"verb": "stage", "token": new.reveal()}, {"verb": "swap", "want": keyed(new)})
    refused(results[-1], "token-unsafe")
    assert path.is_symlink()


def test_a_sparse_file_of_five_gigabytes_does_not_hold_the_agent(host: SimulatedHost) -> None:
    os.truncate(host.active, 5 << 30)
    assert Session(host).do("observe")["facts"]["active"]["fault"] == "is larger than 1 MiB"


def test_a_lease_on_a_slot_does_not_hold_the_agent(host: SimulatedHost) -> None:
    """The owner of a file may take a lease on it, and whoever opens it then waits up to 45 s (fcntl(2), F_SETLEASE)."""
    hold = (
        "import fcntl, signal, sys; signal.signal(signal.SIGIO, signal.SIG_IGN); f = open(sys.argv[1], 'r+');"
        "fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK); print(flush=True); input()"
    )
    argv = [sys.executable, "-S", "-c", hold, str(host.active)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"\n"
        began = time.monotonic()
        fault = Session(host, write=False).do("observe")["facts"]["active"]["fault"]
        holder.kill()
    assert fault == "cannot be read: Resource temporarily unavailable"
    assert time.monotonic() - began < 30.0


def test_a_link_in_the_place_of_the_directory_is_not_followed(host: SimulatedHost, tmp_path: Path, new: Token) -> None:
    moved = tmp_path / "moved"
    host.secrets.rename(moved)
    host.secrets.symlink_to(moved)
    os.chown(host.secrets.parent, host.uid, host.gid)  # where root alone can put a link it is followed: test_origin
    session = Session(host)
    assert "link" in session.do("observe")["facts"]["directory"]["fault"]
    refused(session.do("stage", token=new.reveal()), "token-unsafe")
    assert {path.name for path in moved.iterdir()} == {"api-token"}


def test_a_link_above_the_directory_is_not_followed(host: SimulatedHost, tmp_path: Path, new: Token) -> None:
    moved = tmp_path / "moved"
    host.secrets.parent.rename(moved)
    host.secrets.parent.symlink_to(moved)
    os.chown(host.root / "etc", host.uid, host.gid)
    refused(Session(host).do("stage", token=new.reveal()), "token-unsafe")
    assert {path.name for path in (moved / "secrets").iterdir()} == {"api-token"}


def test_a_missing_directory_is_named(host: SimulatedHost, new: Token) -> None:
    host.secrets.rename(host.secrets.with_name("gone"))
    assert "does not exist" in refused(Session(host).do("stage", token=new.reveal()), "token-missing")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777], ids=oct)
def test_nothing_is_written_where_others_can_exchange_files(host: SimulatedHost, new: Token, mode: int) -> None:
    host.secrets.chmod(mode)
    refused(Session(host).do("stage", token=new.reveal()), "token-unsafe")
    assert names(host) == {"api-token"}


def test_nothing_is_written_into_another_accounts_directory(host: SimulatedHost, new: Token) -> None:
    needs_root("files of several accounts")
    os.chown(host.secrets, 12345, 12345)
    assert "12345" in refused(Session(host).do("stage", token=new.reveal()), "token-unsafe")


def test_a_hard_link_to_a_file_of_roots_is_never_taken_for_a_token(host: SimulatedHost) -> None:
    """Else the service's account could have root read it, and tell it to the service in a proof."""
    needs_root("files of several accounts")
    secret = host.root / "root-only"
    secret.write_text("s" * 70)
    host.active.unlink()
    os.link(secret, host.active)
    session = Session(host)
    active = session.do("observe")["facts"]["active"]
    assert active["fault"] == "belongs to root, not to daemon"
    assert active["fingerprint"] is None
    assert session.line.agent.secrets.known == {}


def test_a_credentials_name_cannot_lead_out_of_its_directory(host: SimulatedHost) -> None:
    """The name comes out of the service's own environment."""
    (host.root / "secret").write_text("s" * 70)
    (host.root / "run/credentials" / host.host.service.unit).mkdir(parents=True)
    secrets = Session(host).line.agent.secrets
    assert secrets.credential("../../../secret") is None
    assert secrets.credential("..") is None


# -- disks


@pytest.fixture
def tiny(host: SimulatedHost) -> Iterator[SimulatedHost]:
    """The host with its token directory on a disk of four pages."""
    needs_root("mounting a small disk")
    token = host.fleet.token
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=0700", "tiny", host.secrets], check=True)
    os.chown(host.secrets, host.uid, host.gid)
    host.write(token)
    yield host
    subprocess.run(["umount", host.secrets], check=True)


def test_on_a_full_disk_the_old_token_stays_and_nothing_is_left_over(tiny: SimulatedHost, new: Token) -> None:
    filler = tiny.secrets / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(b"x" * 65536)
    session = Session(tiny)
    assert "No space left" in refused(session.do("probe_write"), "write-failed")
    assert "No space left" in refused(session.do("stage", token=new.reveal()), "write-failed")
    assert names(tiny) == {"api-token", "filler"}
    assert tiny.active_token() == tiny.fleet.token.reveal()


def test_on_a_read_only_disk_every_verb_that_writes_is_refused(tiny: SimulatedHost, new: Token) -> None:
    session = Session(tiny)
    session.do("stage", token=new.reveal())
    subprocess.run(["mount", "-o", "remount,ro", tiny.secrets], check=True)
    before = tiny.slots()
    results = [
        session.do("probe_write"),
        session.do("stage", token=generate().reveal()),
        session.do("swap", want=keyed(new)),
        session.do("discard"),
    ]
    assert {result["trouble"] for result in results} == {"write-failed"}
    assert tiny.slots() == before


@pytest.mark.parametrize(("fault", "words"), [("disk-full", "No space"), ("read-only", "Read-only")])
def test_the_simulated_disks_fail_as_the_real_ones(host: SimulatedHost, new: Token, fault: str, words: str) -> None:
    host.fault = fault
    session = Session(host)
    assert words in refused(session.do("probe_write"), "write-failed")
    assert words in refused(session.do("stage", token=new.reveal()), "write-failed")
    assert names(host) == {"api-token"}


def test_a_missing_account_is_named(host: SimulatedHost, new: Token) -> None:
    session = Session(host)
    session.line.agent.secrets.service["owner"] = "nobody-of-that-name"
    assert "nobody-of-that-name" in refused(session.do("probe_write"), "account-missing")


# -- killed anywhere


# Between two of these nothing changes on the disk.
CHANGES = {"open", "write", "pwrite", "ftruncate", "fsync", "fchown", "fchmod", "link", "rename", "unlink", "mkdir"}


def killed_before_change(number: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that SIGKILL ends before its `number`-th change; False if it got to its end."""
    child = os.fork()
    if child == 0:
        made = 0

        def count(_frame: object, event: str, function: Any) -> None:
            nonlocal made
            if event == "c_call" and function.__module__ == "posix" and function.__name__ in CHANGES:
                made += 1
                if made == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(count)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def assert_sound(host: SimulatedHost, allowed: set[str]) -> None:
    """Every slot is whole, closed and the account's; so is what has content but no slot yet."""
    assert host.active.exists()
    for path in host.secrets.iterdir():
        info = path.stat()
        assert stat.S_IMODE(info.st_mode) == 0o600, path.name
        if path.name in SLOTS:
            assert path.read_text().strip() in allowed, path.name
        if info.st_size:
            assert (info.st_uid, info.st_gid) == (host.uid, host.gid), path.name


STORIES: dict[str, tuple[list[str], str]] = {
    "stage": ([], "stage"),
    "stage over another": (["stage other"], "stage"),
    "swap": (["stage"], "swap"),
    "revert": (["stage", "swap"], "revert"),
    "retire": (["stage", "swap"], "retire"),
    "discard": (["stage"], "discard"),
    "probe_write": ([], "probe_write"),
}


@pytest.mark.parametrize("story", STORIES)
def test_killed_before_any_change_a_verb_leaves_sound_files_and_can_be_repeated(
    host: SimulatedHost, new: Token, story: str
) -> None:
    """Promises 1 and 6: the sweep stops a verb before every change that it makes, and looks from outside."""
    old, other = host.fleet.token, generate()
    steps: dict[str, dict[str, object]] = {
        "stage other": {"verb": "stage", "token": other.reveal()},
        "stage": {"verb": "stage", "token": new.reveal()},
        "swap": {"verb": "swap", "want": keyed(new)},
        "revert": {"verb": "revert", "want": keyed(old)},
        "retire": {"verb": "retire", "want": keyed(new)},
        "discard": {"verb": "discard"},
        "probe_write": {"verb": "probe_write"},
    }
    before, verb = STORIES[story]

    def prepare() -> None:
        for path in host.secrets.iterdir():
            path.unlink()
        host.write(old)
        session = Session(host)
        for name in before:
            assert session.ask(steps[name])[0]["ok"]
        session.line.close()

    def end_of(session: Session) -> dict[str, str | None]:
        result = session.ask(steps[verb])[0]
        assert result["ok"], result
        session.line.close()
        return host.slots()

    prepare()
    undisturbed = end_of(Session(host))
    number = 0
    killed = True
    while killed:
        number += 1
        prepare()
        session = Session(host)
        killed = killed_before_change(number, lambda asked=session: asked.ask(steps[verb]))  # type: ignore[misc]
        session.line.close()
        assert_sound(host, {token.reveal() for token in (old, other, new)})
        assert end_of(Session(host)) == undisturbed
        assert names(host) <= set(SLOTS)
    assert number > 5  # else the sweep saw no changes at all
