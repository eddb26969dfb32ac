"""Between login and agent: shells that talk, sudo that refuses, Pythons that lack something."""

import os
import sys
import time

from hivekeys.fleet import Become, Timeouts
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.hints import general

from .bastion import ECHO_AGENT, SOON, Bastion
from .commands import command_in_path, shell


def test_the_agent_runs_as_root_through_sudo(ssh: Bastion) -> None:
    """sudo keeps nothing of the caller's environment, and the agent is there all the same."""
    line = ssh.line(ssh.host(become=Become.SUDO))
    seen = line.ask({"first": "request = {'sudo': os.environ.get('SUDO_UID'), 'uid': os.getuid()}"}, 10)
    assert seen == {"echo": {"sudo": str(os.getuid()), "uid": 0}}


def test_a_banner_and_a_chatty_shell_are_skipped(ssh: Bastion) -> None:
    """Start-up files that print, even half a line, do not get between the agent and its line."""
    banner = ssh.folder / "banner"
    banner.write_text("Authorized use only\n")
    chatty = shell(ssh, 'echo Welcome; printf "100%% of"; echo oops >&2; sh -c "$SSH_ORIGINAL_COMMAND"')
    line = ssh.line(ssh.host(ssh.sshd(f"Banner {banner}", chatty)))
    assert line.ask({"a": 1}, 10) == {"echo": {"a": 1}}


def test_a_login_shell_that_only_prints_is_rubbish(ssh: Bastion) -> None:
    """nologin, a menu, a forced command: the detail is what it printed."""
    host = ssh.host(ssh.sshd(shell(ssh, "echo This account is closed.; exit 1")))
    detail = ssh.refused(host, Trouble.RUBBISH)
    assert detail == "the login shell ended with status 1; it said: This account is closed."


def test_a_login_shell_that_ends_without_a_word_is_rubbish(ssh: Bastion) -> None:
    """Exit without marker."""
    assert "status 0" in ssh.refused(ssh.host(ssh.sshd(shell(ssh, "exit 0"))), Trouble.RUBBISH)


def test_a_login_shell_that_floods_is_cut_off(ssh: Bastion) -> None:
    """64 KiB are enough to know; the rest is not read."""
    for command in ("yes", "tr '\\0' x < /dev/zero"):
        detail = ssh.refused(ssh.host(ssh.sshd(shell(ssh, command))), Trouble.RUBBISH)
        assert "more than 65536 bytes" in detail


def test_a_login_shell_that_hangs_is_silent(ssh: Bastion) -> None:
    """Nothing is waited for beyond its time, and a flood on stderr does not hide it."""
    quick = Timeouts(auth=1)
    for command in ("exec sleep 60", "timeout 60 yes >&2"):
        host = ssh.host(ssh.sshd(shell(ssh, command)))
        started = time.monotonic()
        detail = ssh.refused(host, Trouble.SILENT, timeouts=quick)
        assert detail == "the login shell did not get ready within 1 s"
        assert time.monotonic() - started < SOON


def test_a_sudo_that_refuses_is_known_by_what_it_did_not_do(ssh: Bastion) -> None:
    """Its words differ by language and implementation; they are shown and not read. Start-up files may talk."""
    command_in_path(ssh, "sudo", "echo sudo: ein Passwort ist notwendig >&2; exit 1")
    sshd = ssh.sshd(shell(ssh, f'echo Hi; PATH={ssh.folder}:$PATH sh -c "$SSH_ORIGINAL_COMMAND"'))
    detail = ssh.refused(ssh.host(sshd, become=Become.SUDO), Trouble.SUDO_REFUSED)
    assert detail == "sudo ended with status 1: sudo: ein Passwort ist notwendig"


def test_a_host_without_sudo_refuses_too(ssh: Bastion) -> None:
    """sudo is not installed."""
    command_in_path(ssh, "env", 'echo "env: $2: not found" >&2; exit 127')
    sshd = ssh.sshd(shell(ssh, f'PATH={ssh.folder} /bin/sh -c "$SSH_ORIGINAL_COMMAND"'))
    assert "not found" in ssh.refused(ssh.host(sshd, become=Become.SUDO), Trouble.SUDO_REFUSED)


def test_a_python_outside_of_sudos_path_is_found(ssh: Bastion) -> None:
    """`secure_path` may name no folder that has one."""
    sshd = ssh.sshd(shell(ssh, f'PATH={ssh.folder} /bin/sh -c "$SSH_ORIGINAL_COMMAND"'))
    ssh.line(ssh.host(sshd))


def test_a_host_may_have_its_own_python(ssh: Bastion) -> None:
    """The inventory names it, as ansible_python_interpreter does."""
    own = command_in_path(ssh, "python3.own", f'echo >"{ssh.folder}/ran"; exec "{sys.executable}" "$@"')
    ssh.line(ssh.host(python=str(own)))
    assert (ssh.folder / "ran").exists()


def test_a_python_that_may_not_be_run_is_not_told_to_be_installed(ssh: Bastion) -> None:
    """sudo's noexec, SELinux and fapolicyd have a shell say 126."""
    barred = command_in_path(ssh, "python3.barred", "")
    barred.chmod(0o644)
    cause = Cause(Trouble.PYTHON_REFUSED, ssh.refused(ssh.host(python=str(barred)), Trouble.PYTHON_REFUSED))
    assert "python3 ended with status 126" in cause.detail
    assert "install" not in general(cause.trouble)


def test_a_python_that_does_not_start_counts_as_missing(ssh: Bastion) -> None:
    """A broken installation is not mistaken for a crash of the agent."""
    command_in_path(ssh, "python3", "echo cannot open shared object file >&2; exit 127")
    sshd = ssh.sshd(shell(ssh, f'PATH={ssh.folder} /bin/sh -c "$SSH_ORIGINAL_COMMAND"'))
    detail = ssh.refused(ssh.host(sshd), Trouble.PYTHON_MISSING)
    assert detail == "python3 ended with status 127: cannot open shared object file"


def test_a_python_without_a_module_names_it(ssh: Bastion) -> None:
    """python3-minimal lacks half of the standard library."""
    detail = ssh.refused(ssh.host(), Trouble.MODULE_MISSING, program=b"import json\nimport nonesuch.part\n")
    assert "nonesuch" in detail


def test_an_agent_that_dies_before_it_is_ready_crashed(ssh: Bastion) -> None:
    """A bug of ours, shown with its last line."""
    detail = ssh.refused(ssh.host(), Trouble.AGENT_CRASHED, program=b"raise KeyError('x')\n")
    assert detail == "the agent ended with status 1: KeyError: 'x'"


def test_an_agent_that_never_gets_ready_is_silent(ssh: Bastion) -> None:
    """The detail says how far it came."""
    stuck = b"import time\ntime.sleep(20)\n"
    detail = ssh.refused(ssh.host(), Trouble.SILENT, program=stuck, timeouts=Timeouts(auth=1))
    assert detail == "the agent did not get ready within 1 s"


def test_what_the_agent_prints_before_it_is_ready_is_skipped(ssh: Bastion) -> None:
    """Only the ready line counts."""
    line = ssh.line(ssh.host(), program=b"print('warming up')\n" + ECHO_AGENT)
    assert line.ask({}, 10) == {"echo": {}}
