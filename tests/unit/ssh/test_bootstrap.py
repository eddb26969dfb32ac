"""The remote command and its markers: any login shell passes it on, the last marker tells what failed."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from hivekeys.fleet import Become
from hivekeys.protocol.causes import Trouble
from hivekeys.ssh.bootstrap import COMMANDS, OTHER_LIMIT, Startup, opening

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "ksh", "fish", "tcsh", "csh") if shutil.which(shell)]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: "sudo" if "sudo" in command else "none")
def test_the_command_holds_nothing_that_a_login_shell_could_take_for_its_own(command: str) -> None:
    """One line; no history, no escapes, no quotes inside quotes: true for fish and csh as for sh."""
    assert not set("\n\\!`") & set(command)
    assert command.count("'") in (2, 6)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_login_shell_here_starts_the_program(shell: str) -> None:
    """Whichever of them are installed; sh always is."""
    program = b"import sys\nprint('hivekeys:ready', sys.stdin.readline(), __name__)\n"
    command = [shell, "-c", COMMANDS[Become.NONE]]
    answer = subprocess.run(command, input=opening(program) + b"hello\n", capture_output=True, check=True)
    words = answer.stdout.decode().split()
    assert words[:3] == ["hivekeys:shell", "hivekeys:root", "hivekeys:python"]
    assert words[4:] == ["hivekeys:ready", "hello", "__main__"]


def test_no_package_of_the_hosts_has_a_say_in_the_program(tmp_path: Path) -> None:
    """A .pth file of site-packages is run by every python3 that is not told otherwise: also by one with -I."""
    venv.create(tmp_path / "python", with_pip=False)
    (site_packages,) = tmp_path.glob("python/lib/python3*/site-packages")
    (site_packages / "package.pth").write_text(f"import os; open({str(tmp_path / 'ran')!r}, 'w')\n")
    own = {"PATH": f"{tmp_path}/python/bin:{os.environ['PATH']}"}
    subprocess.run(["python3", "-I", "-c", ""], env=own, check=True)
    (tmp_path / "ran").unlink()  # it does run
    program = b"import sys\nprint('hivekeys:ready', sys.executable)\n"
    answer = subprocess.run(
        ["sh", "-c", COMMANDS[Become.NONE]], input=opening(program), env=own, capture_output=True, check=True
    )
    assert answer.stdout.decode().split()[-1] == f"{tmp_path}/python/bin/python3"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("lines", "status", "trouble"),
    [
        ([], 1, Trouble.RUBBISH),
        (["Welcome"], 0, Trouble.RUBBISH),
        (["Welcome", "hivekeys:shell"], 1, Trouble.SUDO_REFUSED),
        (["hivekeys:shell", "hivekeys:root"], 83, Trouble.PYTHON_MISSING),
        (["hivekeys:shell", "hivekeys:root"], 126, Trouble.PYTHON_REFUSED),
        (["hivekeys:shell", "hivekeys:root"], 127, Trouble.PYTHON_MISSING),
        (["hivekeys:root", "hivekeys:python 3.5"], 83, Trouble.PYTHON_MISSING),
        (["hivekeys:root", "hivekeys:python 3.6", "hivekeys:missing json"], 84, Trouble.MODULE_MISSING),
        (["hivekeys:root", "hivekeys:python 3.6"], 1, Trouble.AGENT_CRASHED),
        (["hivekeys:shell"], -1, Trouble.LINE_BROKEN),
        ([], -1, Trouble.LINE_BROKEN),
    ],
)
def test_the_last_marker_and_the_status_tell_what_ended(lines: list[str], status: int, trouble: Trouble) -> None:
    """The table of the module."""
    assert heard(*lines).ended(status, "last words").trouble is trouble


@pytest.mark.parametrize(
    ("lines", "who"),
    [
        ([], "the login shell"),
        (["hivekeys:shell"], "sudo"),
        (["hivekeys:root"], "python3"),
        (["hivekeys:python 3.9"], "the agent"),
    ],
)
def test_silence_names_who_was_waited_for(lines: list[str], who: str) -> None:
    """The operator knows where to look."""
    cause = heard(*lines).silent(5)
    assert cause.trouble is Trouble.SILENT
    assert cause.detail.startswith(who)


def test_only_a_whole_line_is_a_marker() -> None:
    """A motd that mentions one is no marker, and other text is counted."""
    startup = heard("see hivekeys:ready", "hivekeys:ready-or-not", "x" * OTHER_LIMIT)
    assert not startup.ready
    assert startup.other_bytes > OTHER_LIMIT


def heard(*lines: str) -> Startup:
    """A start-up that has said these lines."""
    startup = Startup()
    for line in lines:
        startup.add_line(line.encode())
    return startup
