"""Hosts behind jump hosts: the order of the chain, one connection for all, what a broken hop costs."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hivekeys.fleet import Timeouts
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.jumps import STARTING

from .bastion import PATIENT, SOON, Bastion, Sshd, free_port, paramiko_threads, wait_until


def test_a_chain_is_walked_in_its_order(ssh: Bastion) -> None:
    """`a,b` means a, then b, then the host: each hop lets nobody through but to the next."""
    host = ssh.sshd()
    second = ssh.sshd(f"PermitOpen 127.0.0.1:{host.port}")
    first = ssh.sshd(f"PermitOpen 127.0.0.1:{second.port}")
    line = ssh.line(ssh.host(host, jump=f"{hop(first)},{hop(second)}"))
    assert line.ask({"a": 1}, 10) == {"echo": {"a": 1}}
    ssh.refused(ssh.host(host, jump=f"{hop(second)},{hop(first)}"), Trouble.JUMP_FAILED)


def test_a_chain_from_the_configuration_takes_each_hops_own_settings(ssh: Bastion) -> None:
    """Hops are names that `ssh -G` resolves, and the first may have a jump host of its own."""
    host, second, first = ssh.sshd(), ssh.sshd(), ssh.sshd()
    ssh.config.write_text(
        "IdentityAgent none\n"
        f"Host first\n HostName 127.0.0.1\n Port {first.port}\n IdentityFile {ssh.key}\n"
        f"Host second\n HostName 127.0.0.1\n Port {second.port}\n IdentityFile {ssh.key}\n ProxyJump first\n"
        "Host hive\n HostName 127.0.0.1\n ProxyJump second\n"
    )
    ssh.line(ssh.host(host, address="hive"))
    assert "Accepted publickey" in first.log.read_text()
    assert "Accepted publickey" in second.log.read_text()


def test_the_inventory_can_switch_a_configured_jump_off(ssh: Bastion) -> None:
    """`jump = "none"`."""
    ssh.config.write_text("IdentityAgent none\nProxyJump no-such-host.invalid\n")
    ssh.line(ssh.host(jump="none"))


def test_a_hops_host_key_is_checked_as_strictly(ssh: Bastion) -> None:
    """The cause names the hop and its key."""
    jump = ssh.sshd(known=False)
    detail = ssh.refused(ssh.host(jump=hop(jump)), Trouble.JUMP_FAILED)
    assert "jump host 127.0.0.1: host-key-unknown" in detail
    assert jump.fingerprint() in detail


def test_the_host_behind_a_jump_is_checked_too(ssh: Bastion) -> None:
    """A jump host cannot pass itself off as the host."""
    jump, host = ssh.sshd(), ssh.sshd(known=False)
    ssh.know(f"{host.name} {jump.public()}")
    ssh.refused(ssh.host(host, jump=hop(jump)), Trouble.HOST_KEY_CHANGED)


def test_thirty_hosts_at_once_share_one_login_to_the_jump_host(ssh: Bastion) -> None:
    """None of them fails because the others are on their way, and the jump host sees one login."""
    jump, host = ssh.sshd(), ssh.sshd("MaxStartups 100")
    dialer = ssh.dialer()
    hosts = [ssh.host(host, jump=hop(jump), name=f"hive{number}") for number in range(30)]
    with ThreadPoolExecutor(30) as threads:
        lines = list(threads.map(lambda each: ssh.dial(each, dialer), hosts))
    for number, line in enumerate(lines):
        assert not isinstance(line, Cause), line
        assert line.ask({"number": number}, 20) == {"echo": {"number": number}}
    assert jump.log.read_text().count("Accepted publickey") == 1
    dialer.close()
    wait_until(lambda: not paramiko_threads(), "the end of all connections")


def test_few_logins_start_at_once_through_one_jump_host(ssh: Bastion) -> None:
    """sshd drops connections when more than ten are about to log in (MaxStartups)."""
    assert STARTING < 10
    jump, dialer = ssh.sshd(), ssh.dialer(timeouts=replace(PATIENT, banner=SOON))
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(20) as threads:
        port = silent.getsockname()[1]
        for number in range(20):
            threads.submit(ssh.dial, ssh.host(port=port, jump=hop(jump), name=f"hive{number}"), dialer)
        silent.settimeout(SOON)
        plugs = [silent.accept()[0] for _ in range(STARTING)]
        silent.settimeout(0.5)
        with pytest.raises(TimeoutError):
            silent.accept()
        silent.settimeout(SOON)
        for _ in range(20 - STARTING):  # when one is over, the next begins
            plugs.pop(0).close()
            plugs.append(silent.accept()[0])
        for plug in plugs:
            plug.close()


def test_a_dead_jump_host_is_tried_once_and_not_for_each_host(ssh: Bastion) -> None:
    """All hosts behind it get its cause; a host that comes back finds it mended."""
    jump, host = ssh.sshd(), ssh.sshd()
    dialer = ssh.dialer()
    ssh.stop(jump)
    hosts = [ssh.host(host, jump=hop(jump), name=f"hive{number}") for number in range(3)]
    for each in hosts:
        detail = ssh.refused(each, Trouble.JUMP_FAILED, dialer=dialer)
        assert detail.startswith("jump host 127.0.0.1: no-connection")
    ssh.restart(jump)
    ssh.line(hosts[0], dialer)
    ssh.line(hosts[1], dialer)
    assert jump.log.read_text().count("Accepted publickey") == 1


def test_a_jump_host_whose_connection_broke_is_logged_in_to_again(ssh: Bastion) -> None:
    """The run goes on with a new connection."""
    jump, host = ssh.sshd(), ssh.sshd()
    dialer = ssh.dialer()
    line = ssh.line(ssh.host(host, jump=hop(jump)), dialer)
    dialer.close()
    cause = line.ask({}, 10)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.LINE_BROKEN
    ssh.line(ssh.host(host, jump=hop(jump)), dialer)


def test_a_host_that_is_down_behind_a_good_jump_host_is_the_hosts_trouble(ssh: Bastion) -> None:
    """The jump host is not blamed for it."""
    detail = ssh.refused(ssh.host(port=free_port(), jump=hop(ssh.sshd())), Trouble.NO_CONNECTION)
    assert "from 127.0.0.1" in detail


def test_a_jump_host_that_forbids_forwarding_is_blamed(ssh: Bastion) -> None:
    """AllowTcpForwarding no."""
    host = ssh.host(jump=hop(ssh.sshd("AllowTcpForwarding no")))
    assert "refuses to forward" in ssh.refused(host, Trouble.JUMP_FAILED)


def test_a_circle_of_jump_hosts_is_a_mistake_of_the_configuration(ssh: Bastion) -> None:
    """Nobody dials in circles."""
    ssh.config.write_text("Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    assert "circle" in ssh.refused(ssh.host(port=22, jump="a"), Trouble.SSH_CONFIG)


def test_a_silent_host_behind_a_jump_host_costs_its_time_and_no_more(ssh: Bastion) -> None:
    """The deadlines hold through a jump host as well."""
    line = ssh.line(ssh.host(jump=hop(ssh.sshd())), timeouts=Timeouts())
    started = time.monotonic()
    cause = line.ask({"first": "time.sleep(60)"}, 0.3)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.SILENT
    assert time.monotonic() - started < SOON


def hop(sshd: Sshd) -> str:
    """An sshd as an item of ProxyJump."""
    return f"127.0.0.1:{sshd.port}"
