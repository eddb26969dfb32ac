"""What `ssh -G` says of a host: OpenSSH reads its own files, and the inventory's values come first."""

import getpass
import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.openssh import OpenSsh, Target
from hivekeys.ssh.settings import Settings


def test_the_configuration_decides_what_the_inventory_leaves_open(tmp_path: Path) -> None:
    """Include and Match included."""
    more = tmp_path / "more"
    more.write_text("Match originalhost hive1 exec true\n  User deploy\n  Port 2201\n")
    settings = ask(tmp_path, f"Include {more}\nHost hive1\n  HostName 10.0.0.1\n  AddressFamily inet\n", "hive1")
    assert (settings.hostname, settings.user, settings.port) == ("10.0.0.1", "deploy", 2201)
    assert settings.family is socket.AF_INET
    assert settings.known_as == "[10.0.0.1]:2201"


def test_the_inventory_wins_over_the_configuration(tmp_path: Path) -> None:
    """Port, user, key and jump host."""
    config = "User nobody\nPort 1\nIdentityFile /etc/other\nProxyJump elsewhere\n"
    settings = ask(tmp_path, config, Target("h", port=22, user="deploy", key="/k/a key", jump="j1,u@j2:2222"))
    assert (settings.user, settings.port, settings.jump) == ("deploy", 22, "j1,u@j2:2222")
    assert settings.identity_files == ("/k/a key", "/etc/other")
    assert settings.known_as == "h"


def test_home_and_tokens_are_expanded(tmp_path: Path) -> None:
    """`ssh -G` leaves them to whoever uses the value."""
    config = (
        "HostName 10.0.0.1\nUser deploy\nIdentityFile ~/.ssh/%h_%r_%n%%\nIdentityFile ${HIVE_TEST_DIR}/key\n"
        "ProxyCommand relay %h:%p\n"
    )
    settings = ask(tmp_path, config, "hive1")
    assert settings.identity_files == (f"{Path.home()}/.ssh/10.0.0.1_deploy_hive1%", "${HIVE_TEST_DIR}/key")
    assert settings.proxy_command == "relay 10.0.0.1:22"


def test_the_files_of_known_hosts_can_be_replaced(tmp_path: Path) -> None:
    """The inventory's take the place of the user's; the system's stay."""
    config = "UserKnownHostsFile ~/mine /tmp/%n\nGlobalKnownHostsFile /etc/all\n"
    assert ask(tmp_path, config, "h").known_hosts == (f"{Path.home()}/mine", "/tmp/h", "/etc/all")  # noqa: S108  a name
    assert ask(tmp_path, config, "h", known_hosts=("/fleet",)).known_hosts == ("/fleet", "/etc/all")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("none", None),
        ("SSH_AUTH_SOCK", "/run/agent"),
        ("$SSH_AUTH_SOCK", "/run/agent"),
        ("/x/%u", f"/x/{getpass.getuser()}"),
    ],
)
def test_the_agents_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, expected: str | None) -> None:
    """IdentityAgent, in each of its forms."""
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    assert ask(tmp_path, f"IdentityAgent {option}\n", "h").identity_agent == expected


def test_without_an_agent_there_is_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cron has none."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert ask(tmp_path, "", "h").identity_agent is None


def test_an_ipv6_address_is_an_address(tmp_path: Path) -> None:
    """Also as a hop, in brackets."""
    assert ask(tmp_path, "", Target("2001:db8::1", port=2222)).known_as == "[2001:db8::1]:2222"
    route = openssh(tmp_path, "").route(Target("h", jump="u@[2001:db8::2]:2201,[2001:db8::3]"))
    assert not isinstance(route, Cause)
    assert [str(hop) for hop in route[:2]] == ["u@[2001:db8::2]:2201", f"{getpass.getuser()}@[2001:db8::3]:22"]


def test_a_route_lists_its_hops_in_the_order_of_dialing(tmp_path: Path) -> None:
    """The first hop's own jump host comes before it; the key of the host is also tried on the way."""
    config = "Host a\n  ProxyJump gate\nHost b\n  IdentityFile /k/b\n"
    route = openssh(tmp_path, config).route(Target("hive", key="/k/hive", jump="a,deploy@b:2200"))
    assert not isinstance(route, Cause)
    assert [hop.alias for hop in route] == ["gate", "a", "b", "hive"]
    assert (route[2].user, route[2].port) == ("deploy", 2200)
    assert route[2].identity_files == ("/k/b", "/k/hive")
    assert route[3].identity_files == ("/k/hive",)


def test_jump_none_switches_a_configured_jump_off(tmp_path: Path) -> None:
    """As on ssh's command line."""
    route = openssh(tmp_path, "ProxyJump gate\n").route(Target("hive", jump="none"))
    assert not isinstance(route, Cause)
    assert [hop.alias for hop in route] == ["hive"]


@pytest.mark.parametrize(
    ("member", "way", "hops"),
    [
        ("10.0.0.10", "deploy@10.0.0.10", ["10.0.0.10"]),
        ("mgmt01", "deploy@10.0.0.10", ["mgmt01"]),
        ("mgmt01", "gate,deploy@10.0.0.10,inner", ["gate", "mgmt01"]),
        ("hive1", "deploy@10.0.0.10", ["10.0.0.10", "hive1"]),
        ("10.0.0.10", "deploy@10.0.0.10:2222", ["10.0.0.10", "10.0.0.10"]),
    ],
)
def test_a_member_that_is_the_jump_host_is_reached_as_one(
    tmp_path: Path, member: str, way: str, hops: list[str]
) -> None:
    """One way is set for all hosts, the jump host among them; another port is another sshd."""
    route = openssh(tmp_path, "Host mgmt01\n  HostName 10.0.0.10\n").route(Target(member, jump=way))
    assert not isinstance(route, Cause), route
    assert [hop.alias for hop in route] == hops


@pytest.mark.parametrize(
    ("config", "target", "words"),
    [
        ("Bogus yes\n", "h", "bogus"),
        ("", "-oProxyCommand=id", "invalid characters"),
        ("", "two words", "invalid characters"),
        ("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n", "a", "circle"),
        ("ProxyJump a\n", "a", "jumphost loop"),
        ("RevokedHostKeys /etc/revoked\n", "h", "RevokedHostKeys"),
        ("ProxyCommand relay %h\nProxyUseFdpass yes\n", "h", "ProxyUseFdpass"),
        ("HostName a;id\nProxyCommand relay %h\n", "h", "ProxyCommand"),
    ],
)
def test_what_cannot_be_honoured_is_refused(tmp_path: Path, config: str, target: str, words: str) -> None:
    """Nothing that the user asked of OpenSSH is left out in silence where safety hangs on it."""
    cause = openssh(tmp_path, config).route(Target(target))
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.SSH_CONFIG
    assert words in cause.detail


def test_without_ssh_the_cause_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty PATH has no ssh."""
    monkeypatch.setenv("PATH", str(tmp_path))
    cause = openssh(tmp_path, "").route(Target("h"))
    assert isinstance(cause, Cause)
    assert "OpenSSH client" in cause.detail


def test_openssh_is_asked_once_about_the_same_target(tmp_path: Path) -> None:
    """A process per host, not per question."""
    asker = openssh(tmp_path, "User first\n")
    before = asker.settings(Target("h"))
    (tmp_path / "config").write_text("User second\n")
    assert asker.settings(Target("h")) is before


COUNTED = """\
#!/bin/sh
echo asked >>"$0.log"
PATH={path} exec ssh "$@"
"""
NAMES = ("hive1", "hive2.example.org", "10.0.0.7")


def asked(folder: Path, config: str, targets: Sequence[Target], monkeypatch: pytest.MonkeyPatch) -> int:
    """How often OpenSSH was started for all of them; each got what it gets when it is asked about alone."""
    alone = [openssh(folder, config).settings(target) for target in targets]
    program = folder / "ssh"
    program.write_text(COUNTED.format(path=shlex.quote(os.environ["PATH"])))
    program.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=":")
        asker = openssh(folder, config)
        assert [asker.settings(target) for target in targets] == alone
    return len((folder / "ssh.log").read_text().splitlines())


@pytest.mark.parametrize(
    "config",
    [
        "",
        "User deploy\nIdentityFile ~/.ssh/id\nHostKeyAlias all\n# 100 % of them\n",
        "Host *\n  Port 2201\n  AddressFamily inet\n",
        "Include more\n",
    ],
)
def test_hosts_that_no_configuration_tells_apart_share_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    (tmp_path / "more").write_text("Port 2202\n")
    config = config.replace("more", str(tmp_path / "more"))
    assert asked(tmp_path, config, [Target(name, user="deploy") for name in NAMES], monkeypatch) == 1


@pytest.mark.parametrize("jump", ["none", "gate,ops@inner:2222"])
def test_hosts_behind_the_same_jump_host_share_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: str
) -> None:
    assert asked(tmp_path, "", [Target(name, jump=jump) for name in NAMES], monkeypatch) == 1


@pytest.mark.parametrize(
    "config",
    [
        "Host hive1\n  Port 2201\n",
        "Host * !hive2.example.org\n  User ann\n",
        "Match originalhost hive1\n  User ann\n",
        "MATCH host hive1\n  User ann\n",
        '"Host"="10.*"\n  User ann\n',
        "IdentityFile ~/.ssh/%h\n",
        "HostName hive1\n",
        "HostName %h.example.org\n",
        "CanonicalizeHostname yes\nCanonicalDomains example.org\n",
        "ProxyJump gate\n",
        "ProxyCommand relay %h\n",
        "Include more\n",
    ],
)
def test_hosts_that_a_configuration_may_tell_apart_are_asked_about_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    (tmp_path / "more").write_text("Host hive*\n  Port 2202\n")
    config = config.replace("more", str(tmp_path / "more"))
    assert asked(tmp_path, config, [Target(name) for name in NAMES], monkeypatch) > len(NAMES)


def test_hosts_share_an_answer_only_where_the_inventory_says_the_same_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [
        Target("a", port=1),
        Target("b", port=2),
        Target("c", user="u"),
        Target("d", key="/k"),
        Target("e", port=1),
    ]
    assert asked(tmp_path, "", targets, monkeypatch) == 4


@pytest.mark.parametrize(
    "odd", [Target("UPPER"), Target("2001:db8::1"), Target("h", key="/k/%h"), Target("gate", jump="u@gate:2")], ids=str
)
def test_a_host_that_is_not_plain_is_asked_about_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: Target
) -> None:
    assert asked(tmp_path, "", [Target("h"), odd, replace(odd, alias=f"{odd.alias}1")], monkeypatch) == 3


def openssh(folder: Path, config: str, known_hosts: tuple[str, ...] | None = None) -> OpenSsh:
    """OpenSSH with this configuration and no other."""
    path = folder / "config"
    path.write_text(config)
    return OpenSsh(str(path), known_hosts, timeout=20)


def ask(folder: Path, config: str, target: Target | str, known_hosts: tuple[str, ...] | None = None) -> Settings:
    """The settings of a target that has some."""
    asked = Target(target) if isinstance(target, str) else target
    settings = openssh(folder, config, known_hosts).settings(asked)
    assert isinstance(settings, Settings), settings
    return settings
