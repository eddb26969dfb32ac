"""Whoever can change a file that steers a run acts as the operator: such files are the operator's or root's alone."""

import grp
import os
import pwd
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hivekeys.age import recipients
from hivekeys.errors import ExitCode, UserError
from hivekeys.files import NotYoursError, refuse_strangers, stranger
from hivekeys.inventory import load
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.hostkeys.known_hosts import KnownHosts
from hivekeys.ssh.hostkeys.known_hosts_file import write
from hivekeys.ssh.keyring import Keyring
from hivekeys.ssh.openssh import OpenSsh, Target
from hivekeys.ssh.settings import Settings
from tests.builders.project import PROJECT

HOSTS = """
[hosts.queen]
role = "queen"
address = "192.0.2.1"
[hosts.hive1]
role = "hive"
address = "192.0.2.2"
"""
HIVES_CONF = "Host hive1\n  HostName 192.0.2.2\n  User ann\n  HivePort 8081\n"
INI = "[all:vars]\nhivekeys_fleet=f\n[queen]\nq\n[hives]\nh\n"
AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another account")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SUDO_UID", raising=False)
    tmp_path.chmod(0o755)
    return tmp_path


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return path


def fleet_file(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = put(folder / "f.toml", f'fleet = "f"\n{HOSTS}')
    return path, lambda: load(path)


def ansible_inventory(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = put(folder / "hosts.ini", INI)
    own = put(folder / "f.toml", 'fleet = "f"\nansible = { inventory = "hosts.ini" }\n')
    return path, lambda: load(own)


def variables_beside_it(folder: Path) -> tuple[Path, Callable[[], object]]:
    path, read = ansible_inventory(folder)
    return put(path.parent / "group_vars" / "hives.yml", "ansible_user: ann\n"), read


def inventory_program(folder: Path) -> tuple[Path, Callable[[], object]]:
    said = (
        '{"_meta": {"hostvars": {}}, "all": {"vars": {"hivekeys_fleet": "f"}}, '
        '"queen": {"hosts": ["q"]}, "hives": {"hosts": ["h"]}}'
    )
    path = put(folder / "program", f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path, lambda: load(path)


def hives_of_llama_orch(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = put(folder / "hives.conf", HIVES_CONF)
    queen = HOSTS.partition("[hosts.hive1]")[0]
    own = put(folder / "f.toml", f'fleet = "f"\nllama_orch = {{ hives = "hives.conf" }}\n{queen}')
    return path, lambda: load(own)


def ssh_configuration(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = put(folder / "ssh_config", f"Match exec \"touch '{folder}/ran'\"\n  User ann\n")
    return path, lambda: OpenSsh(str(path), None, timeout=20).settings(Target("hive1"))


def what_it_includes(folder: Path) -> tuple[Path, Callable[[], object]]:
    """Also under a Host that is another, in a file of an included one, and by a pattern."""
    put(folder / "ssh_config", f'Host other\n  include = "{folder}/more/*.conf"\n')
    put(folder / "more" / "a.conf", f"Include nothing {folder}/%h/b\n")
    path, _ = ssh_configuration(folder / "last")
    path = path.rename(path.with_name("b"))
    return path, lambda: OpenSsh(str(folder / "ssh_config"), None, timeout=20).settings(Target("hive1"))


def recipients_of_backups(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = put(folder / "keys.txt", AGE)
    return path, lambda: recipients([str(path)])


STEERING = [
    fleet_file,
    ansible_inventory,
    variables_beside_it,
    inventory_program,
    hives_of_llama_orch,
    ssh_configuration,
    what_it_includes,
    recipients_of_backups,
]
Make = Callable[[Path], tuple[Path, Callable[[], object]]]


@pytest.mark.parametrize("make", STEERING)
def test_a_file_that_steers_a_run_and_that_others_can_write_is_refused_by_name(here: Path, make: Make) -> None:
    path, read = make(here)
    read()
    (here / "ran").unlink(missing_ok=True)
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o002)
    with pytest.raises(NotYoursError) as caught:
        read()
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.message.startswith(f"{path}: others can change it: every account can write to {path} (mode 0")
    assert caught.value.hint.endswith(f"chmod go-w {path}")
    assert not list(here.rglob("ran")), "a command of a stranger's was run"


@pytest.mark.parametrize("make", STEERING)
def test_a_file_in_a_folder_that_others_can_write_is_refused(here: Path, make: Make) -> None:
    """They could put another in its place."""
    _, read = make(here / "open" / "mine")
    read()
    (here / "open").chmod(0o757)
    with pytest.raises(NotYoursError, match=r"others can change it: every account can write to .*/open \(mode 0757\)"):
        read()


def test_a_folder_into_which_others_could_put_what_is_included_is_refused(here: Path) -> None:
    config = put(here / "ssh_config", f"Include {here}/open/*.conf\n")
    (here / "open").mkdir()
    OpenSsh(str(config), None, timeout=20)
    (here / "open").chmod(0o777)
    with pytest.raises(NotYoursError, match="/open: others can change it"):
        OpenSsh(str(config), None, timeout=20)


def test_files_that_include_each_other_are_each_looked_at_once(here: Path) -> None:
    config = put(here / "ssh_config", f"Include {here}/*\nInclude {here}/ssh_config\nInclude 'open\n")
    OpenSsh(str(config), None, timeout=20)


def test_known_hosts_that_others_can_write_are_no_ones_keys(here: Path) -> None:
    path = put(here / "known_hosts", "")
    path.chmod(0o646)
    said = KnownHosts(20).keys("hive1", (str(path),))
    assert isinstance(said, Cause)
    assert said.trouble is Trouble.LOCAL_FILE
    assert str(path) in said.detail and "every account can write" in said.detail
    with pytest.raises(NotYoursError):
        write(str(path), [], hashed=False, timeout=20)


def test_a_private_key_that_others_can_write_is_not_used(here: Path) -> None:
    path = put(here / "id", "")
    path.chmod(0o606)
    settings = Settings("hive1", "hive1", 22, "ann", identity_files=(str(path),))
    with Keyring().keys(settings) as (candidates, problems):
        assert list(candidates) == []
    assert f"{path} is not used: others can change it" in problems[0]
    assert f"chmod go-w {path}" in problems[0]


# -- the rule


def test_no_file_is_no_strangers(here: Path) -> None:
    assert stranger(here / "nothing" / "there") is None
    assert stranger(Path("a\0b")) is None
    assert stranger(Path(os.devnull)) is None


def test_in_a_folder_with_the_sticky_bit_a_file_of_ones_own_is_safe(here: Path) -> None:
    path = put(here / "f", "")
    here.chmod(0o1777)
    assert stranger(path) is None


def test_a_link_counts_with_the_folder_that_it_is_in_and_those_that_it_leads_through(here: Path) -> None:
    """A link in an open folder could lead elsewhere at any moment, wherever it leads now."""
    path = put(here / "mine" / "f", "")
    for name in ("open", "closed"):
        (here / name).mkdir()
    (here / "open" / "link").symlink_to("../mine/f")
    (here / "closed" / "link").symlink_to(here / "open" / "link")
    assert stranger(here / "closed" / "link") is None
    (here / "open").chmod(0o777)
    found = stranger(here / "closed" / ".." / "closed" / "link")
    assert found is not None
    assert found.place == here / "open"
    assert stranger(path) is None


def test_links_in_a_circle_lead_nowhere(here: Path) -> None:
    (here / "a").symlink_to("b")
    (here / "b").symlink_to("a")
    assert stranger(here / "a") is None


@needs_root
@pytest.mark.parametrize("what", ["the file", "the folder", "a link in /tmp's kind of folder"])
def test_what_belongs_to_another_account_is_its(here: Path, what: str) -> None:
    path = put(here / "theirs" / "f", "")
    if what == "the folder":
        os.chown(path.parent, 54321, 54321)
    elif what == "the file":
        os.chown(path, 54321, 54321)
    else:
        (here / "theirs").chmod(0o1777)
        link = here / "theirs" / "link"
        link.symlink_to(path)
        os.chown(link, 54321, 54321, follow_symlinks=False)
        path = link
    with pytest.raises(NotYoursError, match="belongs to uid 54321") as caught:
        refuse_strangers(path)
    assert "must be yours or root's" in caught.value.hint


@needs_root
def test_who_became_root_by_sudo_may_have_the_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo fab …` in a clone of one's own."""
    path = put(here / "f", "")
    for each in (here, path):
        os.chown(each, 54321, 54321)
    assert stranger(path) is not None
    monkeypatch.setenv("SUDO_UID", "54321")
    assert stranger(path) is None
    monkeypatch.setenv("SUDO_UID", "no number")
    assert stranger(path) is not None


def test_nobody_is_asked_about_the_folders_in_which_the_program_itself_is(here: Path) -> None:
    """A clone below a folder that all can write, as CI makes it, or root in somebody's clone: they have the program."""
    clone = here / "builds" / "clone"
    shutil.copytree(PROJECT / "hivekeys", clone / "hivekeys", ignore=shutil.ignore_patterns("__pycache__"))
    inventory = put(clone / "inventory" / "f.toml", "")
    ask = "import pathlib, sys; from hivekeys import files; print(files.stranger(pathlib.Path(sys.argv[1])))"

    def said() -> str:
        argv, own = [sys.executable, "-c", ask, str(inventory)], {"PYTHONPATH": str(clone)}
        return subprocess.run(argv, cwd=clone, env=own, capture_output=True, text=True, check=True).stdout.strip()

    for above in (clone.parent, clone):
        above.chmod(0o777)
    assert said() == "None"
    inventory.parent.chmod(0o777)
    assert "every account can write to" in said()
    inventory.parent.chmod(0o755)
    if os.geteuid() == 0:
        for each in (clone, clone / "hivekeys", inventory.parent, inventory):
            os.chown(each, 54321, 54321)
        assert said() == "None"
        os.chown(inventory, 54322, 54322)
        assert "belongs to uid 54322" in said()


# -- groups


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> pwd.struct_passwd:
    """The operator, who has a group of the same name alone, as every account has where the umask is 002."""
    alone = next(each for each in map(pwd.getpwnam, ("daemon", "bin", "sys")) if _is_alone(each))
    monkeypatch.setenv("SUDO_UID", str(alone.pw_uid))
    return alone


def _is_alone(account: pwd.struct_passwd) -> bool:
    group = grp.getgrgid(account.pw_gid)
    members = [each for each in pwd.getpwall() if each.pw_gid == account.pw_gid]
    return group.gr_name == account.pw_name and group.gr_mem in ([], [account.pw_name]) and len(members) == 1


@needs_root
def test_a_group_that_has_no_member_but_the_operator_may_write(here: Path, account: pwd.struct_passwd) -> None:
    """A git clone under umask 002, in which each file is writable for the group."""
    path = put(here / "clone" / "f", "")
    for each, mode in ((path, 0o664), (path.parent, 0o775)):
        os.chown(each, account.pw_uid, account.pw_gid)
        each.chmod(mode)
    assert stranger(path) is None


@needs_root
def test_a_group_with_others_in_it_may_not(here: Path, account: pwd.struct_passwd) -> None:
    path = put(here / "f", "")
    shared = next(each for each in grp.getgrall() if each.gr_gid != account.pw_gid and each.gr_name != "root")
    os.chown(path, account.pw_uid, shared.gr_gid)
    path.chmod(0o664)
    with pytest.raises(NotYoursError, match=f"group {shared.gr_name} can write to {path}"):
        refuse_strangers(path)


@needs_root
def test_a_group_of_another_account_alone_may_not(
    here: Path, account: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(here / "f", "")
    os.chown(path, 0, account.pw_gid)
    path.chmod(0o664)
    assert stranger(path) is None
    monkeypatch.setenv("SUDO_UID", "54321")
    assert stranger(path) is not None


@needs_root
def test_an_access_list_says_more_than_the_mode(here: Path, account: pwd.struct_passwd) -> None:
    """acl(5): the group's bits are its mask, and somebody else is in it."""
    path = put(here / "f", "")
    os.chown(path, account.pw_uid, account.pw_gid)
    everyone = 2**32 - 1
    entries = (1, 6, everyone), (2, 6, 54321), (4, 6, everyone), (16, 6, everyone), (32, 4, everyone)
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert stranger(path) is not None


def test_a_mistake_of_a_file_is_still_a_mistake_of_the_inventory(here: Path) -> None:
    """Only a stranger's file stops the reading; all mistakes of one's own are named at once."""
    put(here / "f.toml", 'fleet = "f"\nansible = { inventory = "nothing.ini" }\n')
    with pytest.raises(UserError) as caught:
        load(here / "f.toml")
    assert not isinstance(caught.value, NotYoursError)
