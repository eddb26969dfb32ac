"""The password for sudo: checked, never shown, taken from a file that is a secret still or typed without an echo."""

import pickle
import traceback
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.ssh.password import Password, parse
from tests.builders.fab import Answer, Fab

SECRET = "correct horse battery staple"


def test_it_is_shown_nowhere() -> None:
    password = Password(SECRET)
    assert SECRET not in f"{password} {password!r} {[password]}"
    with pytest.raises(TypeError) as refused:
        pickle.dumps(password)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    assert password.reveal() == SECRET


@pytest.mark.parametrize("data", [b"pass word", b"pass word\n", b"pass word\r\n", "grün".encode(), b"x" * 255])
def test_it_is_one_line_of_whatever_people_type(data: bytes) -> None:
    assert parse(data, "f").reveal() == data.decode().rstrip("\r\n")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"x" * 256, "is longer than 255 bytes"),
        (b"hidden\nhidden", "more than one line"),
        (b"hidden\0", "control characters"),
        (b"hidden\xff", "is not UTF-8"),
    ],
)
def test_what_no_sudo_would_read_as_one_answer_is_refused_and_not_quoted(data: bytes, why: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(data, "the file")
    assert why in refused.value.message
    assert "hidden" not in "".join(traceback.format_exception(refused.value))


@pytest.fixture
def fab(tmp_path: Path) -> Fab:
    """A fleet whose sudo wants a password and whose only port is closed."""
    fab = Fab(tmp_path)
    path = tmp_path / "inventory" / "paper.toml"
    text = path.read_text().replace("192.0.2", "127.0.0")
    login = 'fleet = "paper"\n[ssh]\nbecome = "sudo-password"\nport = 1\nknown_hosts = "known_hosts"\nconfig = "config"'
    path.write_text(text.replace('fleet = "paper"', login))
    (tmp_path / "inventory" / "config").touch()
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    return fab


def reached(answer: Answer) -> bool:
    """Whether hosts were dialed."""
    assert SECRET not in answer.out + answer.err
    return "no-connection" in answer.out + answer.err


@pytest.mark.parametrize("words", ["rotate --yes", "status", "verify", "fix"])
def test_without_a_terminal_and_without_a_file_nothing_begins(fab: Fab, words: str) -> None:
    answer = fab(*words.split())
    assert answer.code == 2
    assert "there is no terminal to ask on: sudo password on fleet paper" in answer.err
    assert "HIVEKEYS_SUDO_PASSWORD_FILE" in answer.err
    assert not reached(answer)


def test_a_file_answers_for_timers_and_scripts(fab: Fab) -> None:
    """Named by the environment, or by the inventory. Standard input is closed, as cron has it."""
    assert reached(fab("plan", HIVEKEYS_SUDO_PASSWORD_FILE="password"))
    path = fab.folder / "inventory" / "paper.toml"
    path.write_text(path.read_text().replace("[ssh]", '[ssh]\nsudo_password_file = "../password"'))
    assert reached(fab("plan"))


def test_a_file_that_others_can_read_is_no_secret(fab: Fab) -> None:
    (fab.folder / "password").chmod(0o640)
    answer = fab("plan", HIVEKEYS_SUDO_PASSWORD_FILE="password")
    assert answer.code == 2 and "password: others can read it (mode 0640)" in answer.err
    assert not reached(answer)


def test_a_credential_of_systemd_s_is_one_whatever_its_mode_says(fab: Fab) -> None:
    """systemd may give the unit's account access by a list, which shows as the group's."""
    (fab.folder / "password").chmod(0o440)
    source = str(fab.folder / "password")
    assert reached(fab("plan", HIVEKEYS_SUDO_PASSWORD_FILE=source, CREDENTIALS_DIRECTORY=str(fab.folder)))


def test_a_missing_file_is_named(fab: Fab) -> None:
    answer = fab("plan", HIVEKEYS_SUDO_PASSWORD_FILE="gone")
    assert answer.code == 2 and "gone: No such file" in answer.err


def test_other_mistakes_come_before_the_question(fab: Fab) -> None:
    answer = fab("rotate", "--yes", "--token-file", "gone", "--if-older-than", "90d")
    assert "gone: No such file" in answer.err and "password" not in answer.err


def test_fleets_that_need_no_password_are_not_asked_for_one(fab: Fab) -> None:
    path = fab.folder / "inventory" / "paper.toml"
    path.write_text(path.read_text().replace("sudo-password", "sudo"))
    assert reached(fab("plan"))


def test_it_is_asked_once_on_the_terminal_and_not_echoed(fab: Fab) -> None:
    """`rotate --if-older-than` looks first and runs then: two connections to each host, one question."""
    with fab.on_terminal("rotate", "--yes", "--if-older-than", "90d") as terminal:
        terminal.until("sudo password on fleet paper: ")
        terminal.type(f"{SECRET}\n")
        assert terminal.end() == 3
        assert terminal.shown.count("sudo password") == 1
        assert terminal.shown.count("no-connection") >= 2
        assert SECRET not in terminal.shown
