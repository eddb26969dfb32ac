"""The units of docs/systemd are what systemd takes, and what they call is there."""

import re
import shlex
import subprocess
import sys
from email import message_from_string
from pathlib import Path

import pytest

from tests.builders.project import PROJECT

UNITS = sorted((PROJECT / "docs" / "systemd").iterdir())
FAILED = "hivekeys-failed@.service"
RUNS = [unit.name for unit in UNITS if unit.suffix == ".service" and unit.name != FAILED]  # they start hivekeys
FAB = Path(sys.executable).with_name("fab")


def complaints(folder: Path, name: str) -> str:
    """What systemd says of a unit in a folder; only what it says of that folder's units."""
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", folder / name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return "\n".join(line for line in told.stderr.splitlines() if "hivekeys-" in line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units as installed, with hivekeys where it is here."""
    for unit in UNITS:
        text = unit.read_text().replace("/opt/hivekeys/.venv/bin/fab", str(FAB))
        (tmp_path / unit.name).write_text(text.replace("/opt/hivekeys", str(PROJECT)))
    return tmp_path


def test_each_timer_has_its_service() -> None:
    names = {unit.name for unit in UNITS}
    services = {f"hivekeys-{verb}@.service" for verb in ("rotate", "status", "verify")}
    assert services == set(RUNS)
    assert {n.replace(".timer", ".service") for n in names if n.endswith(".timer")} < names


@pytest.mark.parametrize("name", [unit.name for unit in UNITS])
def test_systemd_has_nothing_to_say_about_a_unit(folder: Path, name: str) -> None:
    assert complaints(folder, name) == ""


@pytest.mark.parametrize("name", RUNS)
def test_nor_about_the_lines_that_give_it_a_password(folder: Path, name: str) -> None:
    unit = folder / name
    text = re.sub("^#(LoadCredential|Environment)=", r"\1=", unit.read_text(), flags=re.MULTILINE)
    assert text != unit.read_text()
    unit.write_text(text)
    assert complaints(folder, name) == ""


@pytest.mark.parametrize("name", [unit.name for unit in UNITS])
def test_systemd_would_have_named_a_setting_that_it_does_not_know(folder: Path, name: str) -> None:
    unit = folder / name
    unit.write_text(unit.read_text().replace("[Unit]\n", "[Unit]\nRotateEvery=90d\n"))
    assert "RotateEvery" in complaints(folder, name)


@pytest.mark.parametrize("name", RUNS)
def test_what_a_service_runs_is_understood(folder: Path, name: str) -> None:
    """Up to the fleet, which there is none of here."""
    line = next(line for line in (folder / name).read_text().splitlines() if line.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart=").replace("%i", "nowhere-at-all"))
    told = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == 2
    assert "nowhere-at-all" in told.stderr


def test_of_a_unit_that_failed_root_is_told_by_mail_with_its_last_lines(tmp_path: Path) -> None:
    text = (PROJECT / "docs" / "systemd" / FAILED).read_text()
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    words = line.removeprefix("ExecStart=").replace("%i", "hivekeys-rotate@blue.service").replace("%H", "bastion1")
    sendmail, systemctl = tmp_path / "sendmail", tmp_path / "systemctl"
    sendmail.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/words\ncat >{tmp_path}/mail\n')
    systemctl.write_text('#!/bin/sh\nfor word; do :; done; echo "status of $word"\n')
    for program in (sendmail, systemctl):
        program.chmod(0o755)
    argv = shlex.split(words.replace("/usr/sbin/sendmail", str(sendmail)))
    subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, timeout=60)
    assert (tmp_path / "words").read_text() == "-i -t\n"
    mail = message_from_string((tmp_path / "mail").read_text())
    assert (mail["To"], mail["Subject"]) == ("root", "hivekeys-rotate@blue.service failed on bastion1")
    assert mail.get_payload() == "status of hivekeys-rotate@blue.service\n"


def test_a_rotation_or_a_checklist_that_fails_starts_that_notice() -> None:
    for verb in ("rotate", "verify"):
        text = (PROJECT / "docs" / "systemd" / f"hivekeys-{verb}@.service").read_text()
        assert "\nOnFailure=hivekeys-failed@%n.service\n" in text
