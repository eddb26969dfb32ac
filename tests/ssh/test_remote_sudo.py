"""sudo with a password, for real: an account of this machine that has one, and sudo's own log as the witness."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hivekeys.fleet import Become, Host, Timeouts
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.dialer import Sudo
from hivekeys.ssh.password import Password

from .bastion import Bastion, Sshd, wait_until
from .commands import command_in_path, shell

WRONG = "1 incorrect password attempt"
SEEN: dict[str, object] = {"first": "request = os.getuid()"}


@dataclass
class Account:
    """Somebody who may do everything with a password."""

    name: str
    password: str
    home: Path
    sudoers: Path
    log: Path

    def rules(self, *defaults: str, rule: str = "ALL=(ALL:ALL) ALL") -> None:
        """What sudo asks of the account."""
        lines = [f"Defaults:{self.name} logfile={self.log}", *(f"Defaults:{self.name} {each}" for each in defaults)]
        self.sudoers.write_text("\n".join([*lines, f"{self.name} {rule}", ""]))
        self.sudoers.chmod(0o440)

    @property
    def logged(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def settled(self, hosts: int = 1) -> str:
        """sudo's log once it has written about so many hosts: of a failure it does so when we have gone."""
        wait_until(lambda: self.logged.count("COMMAND=") >= hosts, "sudo's log")
        return self.logged


@pytest.fixture(scope="module")
def anybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A test account of this machine, gone afterwards."""
    if os.getuid() != 0:
        pytest.skip("an account with a password needs root")
    name = f"hktest{os.getpid()}"
    account = Account(
        name,
        secrets.token_urlsafe(12),
        Path("/home") / name,
        Path("/etc/sudoers.d") / name,
        tmp_path_factory.mktemp("sudo") / "log",
    )
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{account.password}\n", text=True, check=True)
        yield account
    finally:
        account.sudoers.unlink(missing_ok=True)
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


@pytest.fixture
def account(anybody: Account, ssh: Bastion) -> Account:
    """The account, with a fresh log, whom the bastion's key lets in."""
    anybody.log.unlink(missing_ok=True)
    anybody.rules()
    keys = anybody.home / "keys"
    keys.write_bytes(ssh.key.with_suffix(".pub").read_bytes())
    return anybody


def sshd_for(ssh: Bastion, account: Account, *options: str) -> Sshd:
    return ssh.sshd(f"AuthorizedKeysFile {account.home}/keys", *options)


def host_of(ssh: Bastion, account: Account, *options: str, name: str = "hive1") -> Host:
    sshd = sshd_for(ssh, account, *options)
    return ssh.host(sshd, user=account.name, become=Become.SUDO_PASSWORD, name=name)


def with_password(text: str) -> Sudo:
    return Sudo(Password(text))


def test_the_right_password_opens_and_the_agent_is_root(ssh: Bastion, account: Account) -> None:
    line = ssh.line(host_of(ssh, account), sudo=with_password(account.password))
    assert line.ask(SEEN, 10) == {"echo": 0}
    assert line.ask({"a": 1}, 10) == {"echo": {"a": 1}}
    assert "COMMAND=/bin/sh" in account.logged
    assert account.password not in account.logged


@pytest.mark.parametrize("how", ["request = {'x': word}", "sys.exit(word)"], ids=["answer", "last words"])
def test_a_host_that_repeats_the_password_is_not_written_down(ssh: Bastion, account: Account, how: str) -> None:
    line = ssh.line(host_of(ssh, account), sudo=with_password(account.password))
    answer = line.ask({"first": f"word = {account.password[::-1]!r}[::-1]; {how}"}, 10)
    assert isinstance(answer, Cause)
    assert answer.trouble in (Trouble.RUBBISH, Trouble.LINE_BROKEN)
    assert account.password not in str(answer)


def test_a_wrong_password_is_tried_once(ssh: Bastion, account: Account) -> None:
    detail = ssh.refused(host_of(ssh, account), Trouble.SUDO_PASSWORD_REFUSED, sudo=with_password("not it"))
    assert detail == "sudo asks again: the password is wrong here"
    assert account.settled().count(WRONG) == 1
    assert account.logged.count("COMMAND=") == 1


def test_no_other_host_is_tried_with_a_password_that_one_refused(ssh: Bastion, account: Account) -> None:
    """Hosts often share an account in a directory, which locks it after a few failures."""
    sshd = sshd_for(ssh, account, "MaxStartups 100")
    hosts = [ssh.host(sshd, user=account.name, become=Become.SUDO_PASSWORD, name=f"hive{n}") for n in range(8)]
    dialer = ssh.dialer(sudo=with_password("not it"))
    with ThreadPoolExecutor(8) as threads:
        causes = list(threads.map(lambda host: ssh.dial(host, dialer), hosts))
    assert account.settled(8).count(WRONG) == 1
    troubles = {cause.trouble for cause in causes if isinstance(cause, Cause)}
    assert troubles == {Trouble.SUDO_PASSWORD_REFUSED}
    (by,) = (host.name for host, cause in zip(hosts, causes, strict=True) if "asks again" in str(cause))
    assert sum(f"not tried here: {by} refused the password" in str(cause) for cause in causes) == 7


def test_once_one_host_has_taken_it_all_others_are_asked_together(ssh: Bastion, account: Account) -> None:
    sshd = sshd_for(ssh, account, "MaxStartups 100")
    hosts = [ssh.host(sshd, user=account.name, become=Become.SUDO_PASSWORD, name=f"hive{n}") for n in range(8)]
    dialer = ssh.dialer(sudo=with_password(account.password))
    with ThreadPoolExecutor(8) as threads:
        for line in threads.map(lambda host: ssh.line(host, dialer), hosts):
            assert line.ask(SEEN, 10) == {"echo": 0}
    assert account.logged.count("COMMAND=/bin/sh") == 8


def test_a_host_that_asks_for_no_password_is_told_none(ssh: Bastion, account: Account) -> None:
    """Some hosts of a fleet have NOPASSWD, others not yet."""
    account.rules(rule="ALL=(ALL:ALL) NOPASSWD: ALL")
    line = ssh.line(host_of(ssh, account), sudo=with_password("not it"))
    assert line.ask(SEEN, 10) == {"echo": 0}


def test_a_ticket_from_earlier_does_not_hide_a_wrong_password(ssh: Bastion, account: Account) -> None:
    account.rules("timestamp_type=global")
    become = ["setpriv", f"--reuid={account.name}", "--clear-groups", "sudo", "-S", "-p", "", "true"]
    subprocess.run(become, input=f"{account.password}\n", text=True, check=True, cwd="/")
    subprocess.run([*become[:3], "sudo", "-n", "true"], check=True, cwd="/")  # the ticket is there
    ssh.refused(host_of(ssh, account), Trouble.SUDO_PASSWORD_REFUSED, sudo=with_password("not it"))


def test_an_account_that_may_try_once_only_is_understood_as_well(ssh: Bastion, account: Account) -> None:
    """sudo then ends instead of asking again."""
    account.rules("passwd_tries=1")
    detail = ssh.refused(host_of(ssh, account), Trouble.SUDO_PASSWORD_REFUSED, sudo=with_password("not it"))
    assert detail.startswith("after the password, sudo ended with status 1")


def test_a_right_password_that_opens_nothing_is_refused(ssh: Bastion, account: Account) -> None:
    """The account may not run what we need."""
    account.rules(rule="ALL=(ALL:ALL) /bin/true")
    detail = ssh.refused(host_of(ssh, account), Trouble.SUDO_PASSWORD_REFUSED, sudo=with_password(account.password))
    assert "after the password, sudo ended with status 1" in detail


def test_a_sudo_that_asks_where_none_was_expected_is_refused_with_its_words(ssh: Bastion, account: Account) -> None:
    """`become = "sudo"` never waits for an answer; the hint says what to set."""
    host = ssh.host(sshd_for(ssh, account), user=account.name, become=Become.SUDO)
    detail = ssh.refused(host, Trouble.SUDO_REFUSED)
    assert detail == "sudo ended with status 1: sudo: a password is required"


def test_other_text_that_looks_like_a_prompt_gets_no_password(ssh: Bastion) -> None:
    """A start-up file, or a host that would like to know."""
    told = ssh.folder / "told"
    fishing = f"printf '[sudo] password for you: ' >&2; timeout 2 head -n 1 >{told}; exit 1"
    host = ssh.host(ssh.sshd(shell(ssh, fishing)), become=Become.SUDO_PASSWORD)
    ssh.refused(host, Trouble.RUBBISH, sudo=with_password("hunter2-hunter2"))
    assert told.read_text() == ""


FOREIGN = """\
word=$(printf '%s\\n' "$@" | sed -n '/^-p$/{n;p;}')
printf '[sudo: %s] Passwort: ' "$word" >&2
IFS= read -r answer
[ "$answer" = "grün ist die Heide" ] || { echo "sudo: 1 falscher Versuch: $answer" >&2; exit 1; }
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.mark.parametrize("right", [True, False])
def test_a_sudo_of_another_make_and_language_is_understood(ssh: Bastion, right: bool) -> None:
    """sudo-rs puts the question between words of its own. A host that repeats the password is not quoted."""
    command_in_path(ssh, "sudo", FOREIGN)
    sshd = ssh.sshd(shell(ssh, f'PATH={ssh.folder}:$PATH sh -c "$SSH_ORIGINAL_COMMAND"'))
    host = ssh.host(sshd, become=Become.SUDO_PASSWORD)
    if right:
        assert ssh.line(host, sudo=with_password("grün ist die Heide")).ask(SEEN, 10) == {"echo": os.getuid()}
    else:
        detail = ssh.refused(host, Trouble.SUDO_PASSWORD_REFUSED, sudo=with_password("schwarzbraun"))
        assert detail == "after the password, sudo ended with status 1: sudo: 1 falscher Versuch: …"


def test_a_sudo_that_never_says_what_it_thinks_of_the_password_costs_its_time(ssh: Bastion) -> None:
    """And is no verdict on the password: the next host is tried."""
    silent = "word=$5; printf '%s' \"$word\" >&2; exec sleep 20"
    command_in_path(ssh, "sudo", silent)
    sshd = ssh.sshd(shell(ssh, f'PATH={ssh.folder}:$PATH sh -c "$SSH_ORIGINAL_COMMAND"'))
    dialer = ssh.dialer(timeouts=Timeouts(auth=1), sudo=with_password("x" * 12))
    for name in ("hive1", "hive2"):
        host = ssh.host(sshd, become=Become.SUDO_PASSWORD, name=name)
        assert ssh.refused(host, Trouble.SILENT, dialer=dialer) == "sudo did not get ready within 1 s"
