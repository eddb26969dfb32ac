"""The way to a login: addresses, ports, keys, agents, algorithms. Each failure is a plain cause, in time."""

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from hivekeys.fleet import Timeouts
from hivekeys.protocol.causes import Cause, Trouble

from .bastion import SOON, Bastion, free_port, paramiko_threads, wait_until
from .commands import relay

QUICK = Timeouts(connect=1, banner=1, auth=1, channel=1)


def test_a_closed_port_is_no_connection(ssh: Bastion) -> None:
    """The detail names address and port."""
    port = free_port()
    detail = ssh.refused(ssh.host(port=port), Trouble.NO_CONNECTION)
    assert detail == f"127.0.0.1 port {port}: Connection refused"


def test_a_name_that_does_not_resolve_is_said_to_be_unknown(ssh: Bastion) -> None:
    """`.invalid` never resolves (RFC 2606)."""
    assert "no-such-host.invalid" in ssh.refused(
        ssh.host(address="no-such-host.invalid", port=22), Trouble.NAME_UNKNOWN
    )


@pytest.mark.parametrize(
    "words", [b"", b"SSH-2.0-Tar\r\n", b"220 smtp ready\r\n" * 3], ids=["silent", "tarpit", "smtp"]
)
def test_a_port_behind_which_no_sshd_answers_costs_its_time_and_no_more(ssh: Bastion, words: bytes) -> None:
    """A plain listener that accepts and says nothing, or something else, or stops half way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = []

        def accept() -> None:
            plug, _ = listener.accept()
            held.append(plug)
            plug.sendall(words)

        threading.Thread(target=accept, daemon=True).start()
        started = time.monotonic()
        ssh.refused(ssh.host(port=listener.getsockname()[1]), Trouble.NO_BANNER, timeouts=QUICK)
        assert time.monotonic() - started < SOON
        held[0].close()
    wait_until(lambda: not paramiko_threads(), "the end of paramiko's threads")


def test_an_unknown_key_is_refused_with_what_was_tried(ssh: Bastion) -> None:
    """Who, where, which key."""
    stranger = ssh.folder / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    host = ssh.host(key=str(stranger))
    detail = ssh.refused(host, Trouble.LOGIN_REFUSED)
    assert detail == f"{host.user}@127.0.0.1:{host.port}: {stranger} refused"


def test_a_missing_key_file_is_named(ssh: Bastion) -> None:
    """An inventory that names a file which is not there."""
    assert "/no/such/key does not exist" in ssh.refused(ssh.host(key="/no/such/key"), Trouble.LOGIN_REFUSED)


def test_a_file_that_is_no_key_is_named(ssh: Bastion) -> None:
    """Not a traceback of whichever parser gave up."""
    path = ssh.folder / "not a key"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n")
    assert "is not a private key" in ssh.refused(ssh.host(key=str(path)), Trouble.LOGIN_REFUSED)


def test_a_key_with_a_passphrase_is_not_prompted_for(ssh: Bastion) -> None:
    """Nobody is there to answer a prompt; the agent is the place for such a key."""
    assert "has a passphrase" in ssh.refused(ssh.host(key=str(locked_key(ssh))), Trouble.LOGIN_REFUSED)


def test_the_agent_on_this_machine_opens_a_key_with_a_passphrase(ssh: Bastion) -> None:
    """The key is named by the inventory and held by the agent; IdentitiesOnly is no obstacle to it."""
    path = locked_key(ssh)
    agent = ssh.folder / "agent"
    plain = ssh.folder / "plain"
    plain.write_bytes(ssh.key.read_bytes())
    plain.chmod(0o600)
    ssh.config.write_text(f"IdentityAgent {agent}\nIdentitiesOnly yes\n")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL)
    try:
        wait_until(agent.exists, "the agent's socket")
        environment = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
        subprocess.run(["ssh-add", "-q", str(plain)], check=True, env=environment)
        ssh.line(ssh.host(key=str(path)))
        ssh.refused(ssh.host(key="/no/such/key"), Trouble.LOGIN_REFUSED)
    finally:
        process.kill()
        process.wait()


def test_a_stale_agent_does_not_hang_the_run(ssh: Bastion) -> None:
    """A socket that accepts and never answers, as a forwarded agent leaves behind: asked once, not for each
    host.
    """
    agent = ssh.folder / "agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(agent))
        listener.listen()
        ssh.config.write_text(f"IdentityAgent {agent}\n")
        dialer = ssh.dialer()
        host = ssh.host(key="/no/such/key")
        assert "does not answer" in ssh.refused(host, Trouble.LOGIN_REFUSED, dialer=dialer)
        ssh.refused(host, Trouble.LOGIN_REFUSED, dialer=dialer)
        listener.accept()[0].close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_password_is_never_offered(ssh: Bastion) -> None:
    """A host that takes nothing else is refused."""
    sshd = ssh.sshd("PubkeyAuthentication no", "KbdInteractiveAuthentication yes")
    ssh.refused(ssh.host(sshd), Trouble.LOGIN_REFUSED)
    assert "password" not in sshd.log.read_text().lower()


def test_a_host_that_wants_more_than_a_key_says_so(ssh: Bastion) -> None:
    """Two factors need a person."""
    sshd = ssh.sshd("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes")
    assert "keyboard-interactive" in ssh.refused(ssh.host(sshd), Trouble.LOGIN_REFUSED)


@pytest.mark.parametrize(
    "weakness",
    [
        ["Ciphers aes256-cbc"],
        ["MACs hmac-sha1", "Ciphers aes256-ctr"],
        ["KexAlgorithms diffie-hellman-group14-sha1"],
    ],
    ids=["cipher", "MAC", "key exchange"],
)
def test_weak_algorithms_are_not_spoken(ssh: Bastion, weakness: list[str]) -> None:
    """An sshd that offers nothing better is named as such."""
    ssh.refused(ssh.host(ssh.sshd(*weakness)), Trouble.NO_COMMON_ALGORITHM)


@pytest.mark.parametrize(
    "strictness",
    [
        "KexAlgorithms curve25519-sha256",
        "KexAlgorithms curve25519-sha256,diffie-hellman-group18-sha512",
        "MACs umac-128-etm@openssh.com",
    ],
    ids=["the name that RFC 8731 gave it", "beside one that we have not", "a MAC that no sealed packet needs"],
)
def test_a_strict_sshd_is_spoken_to(ssh: Bastion, strictness: str) -> None:
    ssh.line(ssh.host(ssh.sshd(strictness)))


@pytest.mark.parametrize(
    ("strictness", "said"),
    [
        (
            ["KexAlgorithms sntrup761x25519-sha512@openssh.com"],
            "no key exchange in common: it offers sntrup761x25519-sha512@openssh.com",
        ),
        (["Ciphers chacha20-poly1305@openssh.com"], "no cipher in common: it offers chacha20-poly1305@openssh.com; we"),
        (
            ["MACs umac-128-etm@openssh.com", "Ciphers aes256-ctr"],
            "no MAC in common: it offers umac-128-etm@openssh.com; we have hmac-sha2-256, hmac-sha2-512",
        ),
    ],
    ids=["key exchange", "cipher", "MAC"],
)
def test_where_there_is_no_algorithm_in_common_both_lists_are_named(
    ssh: Bastion, strictness: list[str], said: str
) -> None:
    """An sshd that is stricter than we are needs no update: it may be that we have too little."""
    assert said in ssh.refused(ssh.host(ssh.sshd(*strictness)), Trouble.NO_COMMON_ALGORITHM)


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [("aes256-ctr,aes256-gcm@openssh.com", "aes256-gcm@openssh.com"), ("aes256-ctr", "aes256-ctr")],
)
def test_packets_are_sealed_by_gcm_where_the_host_has_it(ssh: Bastion, offered: str, spoken: str) -> None:
    """All others need a digest, which paramiko compares byte by byte in Python."""
    sshd = ssh.sshd(f"Ciphers {offered}", "LogLevel DEBUG1")
    ssh.line(ssh.host(sshd))
    assert f"kex: client->server cipher: {spoken} " in sshd.log.read_text()


def test_forward_agent_is_not_honoured(ssh: Bastion) -> None:
    """Whatever the user's configuration says, a host never gets at the operator's agent."""
    agent = ssh.folder / "agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(agent))
        listener.listen()
        ssh.config.write_text(f"ForwardAgent yes\nIdentityAgent {agent}\n")
        line = ssh.line(ssh.host(ssh.sshd("AllowAgentForwarding yes")))
        seen = line.ask({"first": "request = os.environ.get('SSH_AUTH_SOCK')"}, 10)
    assert seen == {"echo": None}


def test_the_configuration_finds_host_port_user_and_key(ssh: Bastion) -> None:
    """Include and Match, read by OpenSSH itself."""
    sshd = ssh.sshd()
    included = ssh.folder / "included"
    included.write_text(f"Host hive\n  HostName 127.0.0.1\n  Port {sshd.port}\n")
    ssh.config.write_text(
        f"IdentityAgent none\nInclude {included}\nMatch originalhost hive exec true\n  IdentityFile {ssh.key}\n"
    )
    ssh.line(ssh.host(address="hive", port=None, key=None))


def test_a_proxy_command_is_the_way_and_ends_with_the_line(ssh: Bastion) -> None:
    """OpenSSH's own tokens, and no process left behind."""
    sshd = ssh.sshd()
    pid = ssh.folder / "pid"
    ssh.config.write_text(f"IdentityAgent none\nProxyCommand sh -c 'echo $$ > {pid}; exec {relay(ssh)} %h %p'\n")
    line = ssh.line(ssh.host(sshd))
    assert line.ask({"a": 1}, 10) == {"echo": {"a": 1}}
    line.close()
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_a_proxy_command_that_fails_is_quoted(ssh: Bastion) -> None:
    """Its last words are the detail."""
    ssh.config.write_text("IdentityAgent none\nProxyCommand sh -c 'echo no way >&2; exit 1'\n")
    assert "no way" in ssh.refused(ssh.host(), Trouble.NO_BANNER)


def test_a_proxy_command_that_hangs_costs_its_time_and_no_more(ssh: Bastion) -> None:
    """The time-outs hold for it as for a socket."""
    ssh.config.write_text("IdentityAgent none\nProxyCommand sleep 60\n")
    started = time.monotonic()
    ssh.refused(ssh.host(), Trouble.NO_BANNER, timeouts=QUICK)
    assert time.monotonic() - started < SOON


def test_a_configuration_that_openssh_refuses_is_a_cause(ssh: Bastion) -> None:
    """In OpenSSH's own words."""
    ssh.config.write_text("NoSuchOption yes\n")
    assert "nosuchoption" in ssh.refused(ssh.host(), Trouble.SSH_CONFIG).lower()


def test_an_address_cannot_become_an_option(ssh: Bastion) -> None:
    """An inventory is data."""
    witness = ssh.folder / "witness"
    cause = ssh.dial(ssh.host(address=f"-oProxyCommand=touch {witness}", port=22))
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.SSH_CONFIG
    assert not witness.exists()


def locked_key(ssh: Bastion) -> Path:
    """The bastion's key, under a passphrase."""
    path = ssh.folder / "locked"
    path.write_bytes(ssh.key.read_bytes())
    path.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", path], check=True)
    (ssh.folder / "locked.pub").write_bytes(ssh.key.with_suffix(".pub").read_bytes())
    return path
