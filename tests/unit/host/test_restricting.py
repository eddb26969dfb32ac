"""Restricted mode before any host is contacted, and what its verb leaves alone on one."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import HIVE_SERVICE, Become
from hivekeys.host import gate
from hivekeys.host.agent import Agent
from hivekeys.host.greeting import hello
from hivekeys.host.system import Refusal, System
from hivekeys.host.verbs import inspect
from hivekeys.host.verbs import restrict as verb
from hivekeys.protocol import restriction
from hivekeys.ssh import bootstrap
from tests.builders.fab import Fab
from tests.inprocess import told

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKtVqb5t6R"
LINE = restriction.login_line(f"{KEY} ann@bastion\n", "key.pub")
RULE = restriction.sudoers("deploy")
ME = "nobody"


class Quiet(System):
    """A host whose commands succeed and list no other rule."""

    def __init__(self) -> None:
        self.visudo = (0, "parsed OK")
        self.listed = (0, "")

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        return {"visudo": self.visudo, "sudo": self.listed}.get(argv[0], (0, ""))


@pytest.fixture
def system() -> Quiet:
    return Quiet()


@pytest.fixture
def agent(tmp_path: Path, system: Quiet) -> Iterator[Any]:
    """An agent that has been greeted, on a host below a folder. Its account's home is there as well."""
    for folder in ("usr/local/lib", "etc/sudoers.d", "var/lib", pwd.getpwnam(ME).pw_dir.lstrip("/")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    agent = Agent(str(tmp_path), system)
    agent.deadline.end = 1e12
    _, facts = hello(
        agent, fleet="paper", key="5a" * 32, service=told(HIVE_SERVICE), run="run-1", write=True, who="ann", claim=False
    )
    assert facts
    yield agent
    agent.state.release()


def restrict(agent: Any, **fields: Any) -> list[tuple[str, str]]:
    """(part, why it stays) of all that the verb noted."""
    given = {"apply": True, "account": ME, "program": "#!x\n", "sudoers": RULE, "login": "", **fields}
    return [(one["part"], one["refused"]) for one in verb.restrict(agent, **given)[1]["changes"]]


def refused(agent: Any, **fields: Any) -> str:
    with pytest.raises(Refusal) as found:
        restrict(agent, **fields)
    return f"{found.value.trouble}: {found.value.detail}"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another account")


def test_host_and_bastion_mean_the_same_program() -> None:
    assert inspect.AGENT == restriction.INSTALLED
    assert verb.OWN_SETTINGS == gate.SETTINGS
    assert verb.RULE in RULE
    assert bootstrap.COMMANDS[Become.RESTRICTED] == restriction.COMMAND


def test_a_second_time_changes_nothing_and_a_changed_service_is_told(agent: Any) -> None:
    assert [part for part, _ in restrict(agent)] == ["agent", "agent", "agent", "sudoers"]
    assert restrict(agent) == []
    agent.service["port"] = 9999
    assert restrict(agent) == [("agent", "")]


def test_a_look_says_it_all_and_changes_nothing(agent: Any, tmp_path: Path) -> None:
    assert [part for part, _ in restrict(agent, apply=False)] == ["agent", "agent", "agent", "sudoers"]
    assert not (tmp_path / "usr/local/lib/hivekeys").exists()


def test_a_directory_that_others_can_write_to_holds_no_program_of_roots(agent: Any, tmp_path: Path) -> None:
    (tmp_path / "usr/local/lib").chmod(0o2775)
    assert "/usr/local/lib is 2775" in refused(agent)
    assert not (tmp_path / "usr/local/lib/hivekeys").exists()


def test_a_rule_that_visudo_refuses_is_gone_again(agent: Any, system: Quiet, tmp_path: Path) -> None:
    system.visudo = (1, "syntax error near line 1")
    assert refused(agent) == "sudoers-refused: syntax error near line 1"
    assert os.listdir(tmp_path / "etc/sudoers.d") == []  # noqa: PTH208  names alone


LISTED = "User deploy may run the following commands on hive1:\n"


@pytest.mark.parametrize(
    ("said", "others"),
    [
        ("User deploy is not allowed to run sudo on hive1.\n", []),
        (f'{LISTED}    (root) NOPASSWD: {restriction.INSTALLED} ""\n', []),
        (f'{LISTED}    (root) NOPASSWD: {restriction.INSTALLED} \\"\\"\n', []),  # sudo 1.9.13
        (f"{LISTED}    (root) NOPASSWD: {restriction.INSTALLED}\n", []),  # sudo-rs
        (f"{LISTED}    (ALL : ALL) NOPASSWD: ALL\n", ["(ALL : ALL) NOPASSWD: ALL"]),
        (f"{LISTED}    (root) /bin/ls, {restriction.INSTALLED}\n", [f"(root) /bin/ls, {restriction.INSTALLED}"]),
        (f"{LISTED}    (root) {restriction.INSTALLED}, /bin/sh\n", [f"(root) {restriction.INSTALLED}, /bin/sh"]),
        (f"{LISTED}    (root) {restriction.INSTALLED}-2\n", [f"(root) {restriction.INSTALLED}-2"]),
    ],
)
def test_every_rule_but_ours_is_one_more(agent: Any, system: Quiet, said: str, others: list[str]) -> None:
    system.listed = (0, said)
    assert inspect.other_rules(agent, "deploy") == others


def test_a_sudo_that_lists_nothing_is_not_taken_for_one_that_allows_nothing(agent: Any, system: Quiet) -> None:
    system.listed = (127, "sudo: not found")
    assert inspect.other_rules(agent, "deploy") is None


def test_root_is_not_restricted(agent: Any) -> None:
    assert "root is root" in refused(agent, account="root")


@needs_root
def test_a_key_goes_among_the_others_and_out_again(agent: Any, tmp_path: Path) -> None:
    file = authorized(tmp_path, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ ann\n")
    assert ("login-key", "") in restrict(agent, login=LINE)
    assert file.read_text().splitlines() == ["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ ann", LINE]
    assert (file.stat().st_mode & 0o777, file.owner()) == (0o600, ME)
    assert restrict(agent, login=LINE) == []
    verb.restrict(agent, apply=True, options=["remove"])
    assert file.read_text() == "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ ann\n"
    assert not (tmp_path / "usr/local/lib/hivekeys").exists()
    assert os.listdir(tmp_path / "etc/sudoers.d") == []  # noqa: PTH208


@needs_root
def test_a_key_that_opens_everything_already_is_left_for_the_operator(agent: Any, tmp_path: Path) -> None:
    file = authorized(tmp_path, f"{KEY} ann\n")
    assert ("login-key", "take its line out first, then run again") in restrict(agent, login=LINE)
    assert file.read_text() == f"{KEY} ann\n"


@needs_root
def test_a_link_that_the_account_put_there_is_not_followed(agent: Any, tmp_path: Path) -> None:
    file = authorized(tmp_path, "")
    file.unlink()
    (tmp_path / "shadow").write_text("root:secret\n")
    file.symlink_to(tmp_path / "shadow")
    assert "symbolic links" in refused(agent, login=LINE)
    assert (tmp_path / "shadow").read_text() == "root:secret\n"


def authorized(root: Path, text: str) -> Path:
    """The account's own authorized_keys."""
    folder = root / pwd.getpwnam(ME).pw_dir.lstrip("/") / ".ssh"
    folder.mkdir(mode=0o700)
    file = folder / "authorized_keys"
    file.write_text(text)
    for path in (folder, file):
        shutil.chown(path, ME)
    return file


# -- before anybody is contacted


@pytest.mark.parametrize(
    "name", ["root", "ALL", "OPERATORS", "%wheel", "#0", "a b", "a,b", "a=ALL", "", "-u", "ann@corp"]
)
def test_what_would_mean_something_else_to_sudo_is_no_account(name: str) -> None:
    with pytest.raises(UserError, match="restricted mode needs an account"):
        restriction.sudoers(name)


@pytest.mark.skipif(shutil.which("visudo") is None, reason="no sudo here")
def test_the_rule_is_one_that_sudo_reads(tmp_path: Path) -> None:
    path = tmp_path / "hivekeys"
    path.write_text(RULE)
    done = subprocess.run(["visudo", "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb\n",
        f'command="id" {KEY}',
        f"{KEY}\n{KEY}",
        "ssh-ed25519",
        "x" * 99,
    ],
)
def test_what_is_no_public_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(UserError, match=r"key\.pub is no public key"):
        restriction.login_line(text, "key.pub")


@pytest.fixture
def fab(tmp_path: Path) -> Fab:
    """A fleet on paper, in restricted mode."""
    fab = Fab(tmp_path)
    path = tmp_path / "inventory" / "paper.toml"
    path.write_text(path.read_text().replace('fleet = "paper"', 'fleet = "paper"\n[ssh]\nbecome = "restricted"'))
    return fab


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fix"], "the inventory's login may not do this"),
        (["install"], "--login ACCOUNT"),
        (["uninstall", "--restricted"], "--login ACCOUNT"),
        (["watch"], "--login ACCOUNT"),
        (["install", "--restricted", "--harden"], "--restricted touches no service"),
        (["install", "--restrict-key", "key.pub"], "expected --restricted"),
        (["install", "--restricted", "--login", "ann"], "must know the login"),
        (["install", "--print-sudoers"], "must know the login"),
        (["install", "--login", "ann", "--become", "restricted"], "expected --login ACCOUNT, and one of"),
        (["install", "--become", "none"], "expected --login ACCOUNT, and one of"),
    ],
)
def test_what_restricted_mode_cannot_do_is_said_before_anybody_is_contacted(
    fab: Fab, words: list[str], said: str
) -> None:
    answer = fab(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_the_rule_is_printed_for_those_who_keep_sudoers_themselves(fab: Fab) -> None:
    path = fab.folder / "inventory" / "paper.toml"
    path.write_text(path.read_text().replace("[ssh]", '[ssh]\nuser = "deploy"'))
    answer = fab("install", "--print-sudoers")
    assert (answer.code, answer.out) == (0, RULE)
