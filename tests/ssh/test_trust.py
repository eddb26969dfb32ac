"""`fab trust` against real sshds: what is shown, asked, compared and written; hosts behind jump hosts as well."""

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders.fab import Answer, Fab

from .bastion import Bastion, Sshd, free_port
from .commands import relay

KINDS = ("ed25519", "ecdsa", "rsa")


@dataclass
class Operator:
    """Somebody at the bastion, with an inventory of sshds."""

    ssh: Bastion
    fab: Fab

    def inventory(self, hosts: dict[str, Sshd | int], **jump: str) -> None:
        """The first host is the queen."""
        lines = [
            'fleet = "paper"\n[timeouts]\nconnect = 5\n[ssh]',
            f'config = "{self.ssh.config}"\nknown_hosts = "{self.ssh.known_hosts}"\nkey = "{self.ssh.key}"',
        ]
        for number, (name, sshd) in enumerate(hosts.items()):
            port = sshd if isinstance(sshd, int) else sshd.port
            lines.append(
                f'[hosts.{name}]\nrole = "{"hive" if number else "queen"}"\naddress = "127.0.0.1"\nport = {port}'
            )
            lines += [f'jump = "{jump[name]}"'] if name in jump else []
        (self.fab.folder / "inventory" / "paper.toml").write_text("\n".join(lines))

    def compare(self, text: str, *words: str) -> Answer:
        (self.fab.folder / "list").write_text(text)
        return self.fab("trust", "--fingerprints", "list", *words)

    def asked(self, answers: str, *words: str) -> tuple[int, str]:
        """`fab trust` on a terminal, one character an answer: its exit code, and all that was on the screen."""
        with self.fab.on_terminal("trust", *words) as terminal:
            for answer in answers:
                terminal.until("[y/N] ")
                terminal.type(answer if answer in "\n\x03\x04" else f"{answer}\n")
            return terminal.end(), terminal.shown

    def trusts(self, sshd: Sshd, *options: str) -> bool:
        """OpenSSH's own opinion, by this known_hosts alone."""
        settings = ("StrictHostKeyChecking=yes", "BatchMode=yes", f"UserKnownHostsFile={self.ssh.known_hosts}")
        flags = [flag for setting in settings for flag in ("-o", setting)]
        where = ["-i", str(self.ssh.key), "-p", str(sshd.port), "127.0.0.1", "true"]
        command = ["ssh", "-F", str(self.ssh.config), *flags, *options, *where]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


@pytest.fixture
def operator(ssh: Bastion, tmp_path: Path) -> Operator:
    folder = tmp_path / "seat"
    folder.mkdir()
    return Operator(ssh, Fab(folder))


def listed(*hosts: tuple[str, Sshd], kinds: tuple[str, ...] = KINDS) -> str:
    return "".join(f"{name} {sshd.fingerprint(kind)}\n" for name, sshd in hosts for kind in kinds)


def test_one_screen_one_question_and_every_type_of_key_is_written(operator: Operator) -> None:
    first, second = (operator.ssh.sshd(kinds=KINDS, known=False) for _ in range(2))
    operator.inventory({"queen": first, "hive1": second})
    code, screen = operator.asked("y")
    assert code == 0, screen
    assert screen.count("[y/N]") == 1
    for sshd in (first, second):
        assert all(sshd.fingerprint(kind) in screen for kind in KINDS)
        for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"):
            assert operator.trusts(sshd, "-o", f"HostKeyAlgorithms={kind}")
    assert "127.0.0.1" not in operator.ssh.known_hosts.read_text()
    assert "2 hosts: 2 trusted (2 written now), 0 not" in screen


def test_without_a_yes_nothing_is_written(operator: Operator) -> None:
    operator.inventory({"queen": operator.ssh.sshd(known=False)})
    for answer in "n\n\x04\x03":
        code, screen = operator.asked(answer)
        assert code == 2, screen
        assert "not confirmed" in screen
    assert operator.ssh.known_hosts.read_text() == ""


def test_without_a_terminal_and_a_list_nobody_is_asked_anything(operator: Operator) -> None:
    sshd = operator.ssh.sshd(known=False)
    operator.inventory({"queen": sshd})
    answer = operator.fab("trust", given="y\n")
    assert answer.code == 2
    assert "no terminal" in answer.err and "--fingerprints" in answer.err
    assert "Connection from" not in sshd.log.read_text()


def test_what_is_known_already_is_not_asked_for(operator: Operator) -> None:
    operator.inventory({"queen": operator.ssh.sshd(kinds=KINDS)})
    was = operator.ssh.known_hosts.read_text()
    code, screen = operator.asked("")
    assert code == 0, screen
    assert "known: queen" in screen and "[y/N]" not in screen
    assert operator.ssh.known_hosts.read_text() == was


def test_a_changed_key_is_not_covered_by_the_general_yes(operator: Operator) -> None:
    other, new, changed = (operator.ssh.sshd(known=False) for _ in range(3))
    operator.ssh.know(f"{changed.name} {new.public()}")
    operator.inventory({"queen": other, "hive1": changed})
    code, screen = operator.asked("y")
    assert code == 4, screen
    assert "CHANGED: hive1" in screen
    assert new.fingerprint() in screen and changed.fingerprint() in screen
    assert operator.trusts(other) and not operator.trusts(changed)
    code, screen = operator.asked("y", "--replace", "hive1")
    assert code == 0, screen
    assert "REPLACE all old keys of hive1 by 1 new key in" in screen
    assert operator.trusts(changed)
    assert new.public() not in operator.ssh.known_hosts.read_text()
    backups = operator.ssh.folder.glob("known_hosts.*")
    assert any(new.public() in backup.read_text() for backup in backups)


def test_a_revoked_key_is_never_written(operator: Operator) -> None:
    sshd = operator.ssh.sshd(known=False)
    operator.ssh.know(f"@revoked * {sshd.public()}")
    operator.inventory({"queen": sshd})
    code, screen = operator.asked("", "--replace", "queen")
    assert code == 4, screen
    assert "REVOKED: queen" in screen and "[y/N]" not in screen
    assert not operator.trusts(sshd)


def test_a_list_that_agrees_asks_nothing(operator: Operator) -> None:
    first, second = (operator.ssh.sshd(kinds=KINDS, known=False) for _ in range(2))
    operator.inventory({"queen": first, "hive1": second})
    answer = operator.compare(listed(("queen", first), ("hive1", second), kinds=("ed25519",)), "--plain-names")
    assert answer.code == 0, answer.err
    assert operator.trusts(first) and operator.trusts(second)
    lines = operator.ssh.known_hosts.read_text().splitlines()
    assert lines == [f"{sshd.name} {sshd.public()}" for sshd in (first, second)]


def test_keys_of_more_types_of_a_known_host_need_not_be_listed(operator: Operator) -> None:
    """It is trusted already, and so are the ways through it; what is not listed is not written."""
    jump, host = operator.ssh.sshd(kinds=KINDS, known=False), operator.ssh.sshd(known=False)
    operator.ssh.know(f"{jump.name} {jump.public()}")
    operator.inventory({"queen": host}, queen=f"127.0.0.1:{jump.port}")
    answer = operator.compare(listed(("queen", host), kinds=("ed25519",)))
    assert answer.code == 0, answer.err
    assert operator.trusts(host)
    assert len(operator.ssh.known_hosts.read_text().splitlines()) == 2


def test_one_mismatch_refuses_all(operator: Operator) -> None:
    first, second = (operator.ssh.sshd(known=False) for _ in range(2))
    operator.inventory({"queen": first, "hive1": second})
    answer = operator.compare(listed(("queen", first), ("hive1", first), kinds=("ed25519",)))
    assert answer.code == 2
    assert f"hive1: shows ssh-ed25519 {second.fingerprint()}" in answer.err
    assert operator.ssh.known_hosts.read_text() == ""


def test_a_list_that_can_not_be_read_is_refused_before_anybody_is_asked(operator: Operator) -> None:
    sshd = operator.ssh.sshd(known=False)
    operator.inventory({"queen": sshd})
    answer = operator.compare("queen MD5:00\n")
    assert answer.code == 2 and "--fingerprints list: line 1: expected" in answer.err
    assert "Connection from" not in sshd.log.read_text()


def test_a_host_behind_a_jump_host_comes_after_the_jump_host(operator: Operator) -> None:
    """Two screens: who would believe a stranger what the host behind it shows?"""
    jump, host = (operator.ssh.sshd(known=False) for _ in range(2))
    operator.ssh.config.write_text(
        f"IdentityAgent none\nGlobalKnownHostsFile none\nHost gate\n HostName 127.0.0.1\n Port {jump.port}\n"
    )
    operator.inventory({"queen": host}, queen="gate")
    code, screen = operator.asked("n")
    assert code == 2, screen
    assert jump.fingerprint() in screen and host.fingerprint() not in screen
    assert "Connection from" not in host.log.read_text()
    code, screen = operator.asked("yy")
    assert code == 0, screen
    assert screen.index("key of gate") < screen.index("key of queen")
    assert "Accepted publickey" in jump.log.read_text()
    assert "ublickey" not in host.log.read_text()
    assert operator.trusts(jump) and operator.trusts(host)


def test_a_jump_host_that_is_not_trusted_keeps_those_behind_it_out(operator: Operator) -> None:
    jump, host = (operator.ssh.sshd(known=False) for _ in range(2))
    operator.ssh.know(f"{jump.name} {host.public()}")
    operator.inventory({"queen": host}, queen=f"127.0.0.1:{jump.port}")
    answer = operator.compare(listed(("queen", host), kinds=("ed25519",)), "--json")
    assert answer.code == 4
    assert '"standing": "changed"' in answer.out
    assert "it has to be trusted first" in answer.out


def test_a_proxy_command_is_a_way_like_any_other(operator: Operator) -> None:
    sshd = operator.ssh.sshd(known=False)
    config = operator.ssh.config
    config.write_text(f"{config.read_text()}ProxyCommand {relay(operator.ssh)} %h %p\n")
    operator.inventory({"queen": sshd})
    assert operator.compare(listed(("queen", sshd), kinds=("ed25519",))).code == 0
    assert operator.trusts(sshd)


def test_a_certified_host_needs_nothing(operator: Operator) -> None:
    sshd = operator.ssh.certified("ca", "-n", "127.0.0.1")
    operator.ssh.know(f"@cert-authority * {operator.ssh.trusted()}")
    operator.inventory({"queen": sshd})
    code, screen = operator.asked("")
    assert code == 0, screen
    assert "certified: queen" in screen


def test_hosts_that_do_not_answer_are_named_and_cost_their_time_only(operator: Operator) -> None:
    sshd = operator.ssh.sshd(known=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        operator.inventory({"queen": sshd, "hive1": free_port(), "hive2": silent.getsockname()[1]})
        text = (operator.fab.folder / "inventory" / "paper.toml").read_text()
        (operator.fab.folder / "inventory" / "paper.toml").write_text(text.replace("connect = 5", "banner = 1"))
        code, screen = operator.asked("y")
    assert code == 4, screen
    assert "hive1: no-connection" in screen and "hive2: no-banner" in screen
    assert operator.trusts(sshd)


def test_an_old_key_in_another_file_is_not_left_behind(operator: Operator) -> None:
    """It would stay good."""
    old, sshd = (operator.ssh.sshd(known=False) for _ in range(2))
    elsewhere = operator.ssh.folder / "global"
    elsewhere.write_text(f"{sshd.name} {old.public()}\n")
    operator.ssh.config.write_text(f"IdentityAgent none\nGlobalKnownHostsFile {elsewhere}\n")
    operator.inventory({"queen": sshd})
    answer = operator.compare(listed(("queen", sshd), kinds=("ed25519",)), "--replace", "queen")
    assert answer.code == 2
    assert f"{elsewhere} has an old key of queen as well" in answer.err
    assert operator.ssh.known_hosts.read_text() == ""


def test_a_name_that_is_to_be_replaced_must_be_somebodys(operator: Operator) -> None:
    sshd = operator.ssh.sshd(known=False)
    operator.inventory({"queen": sshd})
    answer = operator.compare("", "--replace", "hive7")
    assert answer.code == 2 and "--replace hive7: matches no host" in answer.err
