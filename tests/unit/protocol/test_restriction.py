"""What restricted mode writes for sudo and for sshd: one account, one program, one key."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.protocol.restriction import COMMAND, INSTALLED, login_line, sudoers


@pytest.mark.parametrize("account", ["deploy", "_svc", "d.e-p_1", "a" * 32])
def test_an_account_with_a_plain_name_may_run_the_one_program_without_arguments(account: str) -> None:
    rules = [line for line in sudoers(account).splitlines() if not line.startswith("#")]
    assert rules == [f'{account} ALL=(root) NOPASSWD: {INSTALLED} ""']


@pytest.mark.parametrize(
    "account",
    ["root", "ALL", "Deploy", "", "1deploy", "%wheel", "a,b", "a b", "deploy\n", "a" * 33, "#0", "bob ALL=ALL"],
)
def test_root_and_what_sudo_reads_as_something_else_get_no_rule(account: str) -> None:
    with pytest.raises(UserError, match="not root"):
        sudoers(account)


@pytest.mark.skipif(not shutil.which("visudo"), reason="needs sudo")
def test_sudo_reads_the_rule(tmp_path: Path) -> None:
    rule = tmp_path / "hivekeys"
    rule.write_text(sudoers("deploy"))
    subprocess.run([str(shutil.which("visudo")), "-c", "-f", str(rule)], check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_of_openssh_may_start_the_agent_and_nothing_else(tmp_path: Path, kind: str) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "ann at the bastion", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text()
    line = login_line(public, "key.pub")
    assert line == f'restrict,command="{COMMAND}" {" ".join(public.split()[:2])} hivekeys'
    read = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=line, check=True, capture_output=True, text=True)
    assert read.stdout.split()[2] == "hivekeys"


@pytest.mark.parametrize(
    "public",
    [
        "",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        'command="sh" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA',
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA one\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA two",
    ],
)
def test_what_is_no_public_key_is_refused_and_its_source_named(public: str) -> None:
    with pytest.raises(UserError, match=r"^bastion\.pub is no public key"):
        login_line(public, "bastion.pub")
