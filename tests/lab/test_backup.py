"""`fab backup` and `fab restore` on real hosts (what `age` makes of a backup: tests/unit/backups/test_backup.py)."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hivekeys.backups.backup import OPEN
from hivekeys.lab import Lab
from tests.builders.project import PROJECT
from tests.builders.terminal import typed

from .rotating import FAB, Answer, fab, serves, truth, write_policy

pytestmark = pytest.mark.lab


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key of age-keygen; its public half stands beside it, as age1…"""
    subprocess.run(["age-keygen", "-o", tmp_path / "KEY"], capture_output=True, check=True)
    return tmp_path / "KEY"


def public(key: Path) -> str:
    return subprocess.run(["age-keygen", "-y", key], capture_output=True, text=True, check=True).stdout.strip()


def backed_up(lab: Lab, state: Path, key: Path, *words: str) -> Path:
    answer = fab("backup", "--fleet", lab.name, "--to", public(key), "--json", *words, state=state)
    assert answer.code == 0, answer.err
    return Path(answer.document["file"])


def restored(lab: Lab, state: Path, file: Path | str, *words: str) -> Answer:
    return fab("restore", str(file), "--fleet", lab.name, "--yes", "--json", *words, state=state)


def rotated(lab: Lab, state: Path) -> str:
    answer = fab("rotate", "--fleet", lab.name, "--yes", "--json", state=state)
    assert answer.code == 0, answer.err
    return truth(lab)["queen"].token


def json_list(lab: Lab, state: Path) -> list[dict[str, Any]]:
    answer = fab("backup", "--list", "--fleet", lab.name, "--json", state=state)
    found: list[dict[str, Any]] = answer.document["backups"]
    return found


def test_a_restore_is_a_rotation_back_to_the_token_of_the_backup(lab: Lab, tmp_path: Path, key: Path) -> None:
    write_policy(lab, canary=0)
    state = tmp_path / "state"
    before = truth(lab)
    old = before["queen"].token
    file = backed_up(lab, state, key)
    assert truth(lab) == before
    new = rotated(lab, state)
    answer = restored(lab, state, file.name, "--identity", str(key), "--reason", "the release needs it")
    assert answer.code == 0, answer.err
    assert {host["state"] for host in answer.hosts.values()} == {"proven"}
    assert answer.document["reason"].startswith("restore of the backup of 20")
    assert answer.document["reason"].endswith(": the release needs it")
    assert serves(lab, old, refused=new)
    again = restored(lab, state, file.name, "--identity", str(key))
    assert (again.code, again.document["form"]) == (2, "refusal")
    assert "the fleet has its token already" in again.err


def test_a_backup_of_a_token_that_leaked_is_refused_here_and_by_the_hosts(lab: Lab, tmp_path: Path, key: Path) -> None:
    """By the bastion that revoked it, naming the run; and by each host, when a new bastion knows nothing of it."""
    write_policy(lab, canary=0, revocation_recheck=0)
    state = tmp_path / "state"
    file = backed_up(lab, state, key)
    revoked = fab("revoke", "--fleet", lab.name, "--reason", "a paste", "--yes", "--json", state=state)
    assert revoked.code == 0, revoked.err
    before = truth(lab)
    here = restored(lab, state, file.name)
    assert (here.code, here.document["form"]) == (2, "refusal")
    assert f"was revoked by run {revoked.document['run']}: nothing may write it again" in here.err
    there = restored(lab, tmp_path / "elsewhere", file, "--identity", str(key), "--from-elsewhere")
    assert there.code == 3, there.err
    assert {host["cause"]["trouble"] for host in there.hosts.values() if host["cause"]} == {"revoked"}
    assert truth(lab) == before
    (listed,) = json_list(lab, state)
    assert (listed["usable"], listed["revoked_by"]) == (False, revoked.document["run"])


def test_a_new_bastion_that_has_nothing_but_the_backup_and_its_passphrase_restores_it(lab: Lab, tmp_path: Path) -> None:
    """Another fingerprint key, no journal. The passphrase is asked on the terminal and not echoed."""
    write_policy(lab, canary=0)
    old = truth(lab)["queen"].token
    words, file = "four words by dice", tmp_path / "FILE"
    there = ("--fleet", lab.name, "--state-dir", str(tmp_path / "state"))
    asked = (("Passphrase to seal", words), ("same again", words))
    code, shown = typed([FAB, "backup", *there, "--passphrase", "--output", file], *asked, cwd=PROJECT)
    assert code == 0, shown
    assert words not in shown
    new = rotated(lab, tmp_path / "state")
    here = ("--fleet", lab.name, "--state-dir", str(tmp_path / "elsewhere"))
    vouched, opened = ("the same? [y/N]", "y"), ("Passphrase of", words)
    code, shown = typed([FAB, "restore", file, *here], vouched, opened, ("[y/N]", "y"), cwd=PROJECT)
    assert code == 0, shown
    assert "is signed by SHA256:" in " ".join(shown.split())  # lines are broken between words
    assert words not in shown
    assert serves(lab, old, refused=new)


def test_a_rotation_takes_a_backup_of_its_token_and_the_newest_stay(lab: Lab, tmp_path: Path, key: Path) -> None:
    write_policy(lab, canary=0)
    with lab.inventory.open("a") as file:
        file.write(f'\n[backup]\nto = "{public(key)}"\nkeep = 1\n')
    state = tmp_path / "state"
    first = fab("rotate", "--fleet", lab.name, "--yes", "--json", state=state)
    second = fab("rotate", "--fleet", lab.name, "--yes", "--json", state=state)
    assert (first.code, second.code) == (0, 0)
    assert second.document["backup"]["removed"] == [first.document["backup"]["file"]]
    (listed,) = json_list(lab, state)
    assert (listed["run"], listed["token"]) == (second.document["run"], second.document["token"])
    opened = OPEN.replace("FILE", listed["file"])
    token = subprocess.run(["sh", "-c", opened], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert serves(lab, token.strip())


def test_a_backup_that_cannot_be_taken_is_a_warning_and_the_rotation_done(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab, canary=0)
    with lab.inventory.open("a") as file:
        file.write('\n[backup]\nto = "./gone.pub"\n')
    answer = fab("rotate", "--fleet", lab.name, "--yes", state=tmp_path / "state")
    assert answer.code == 0, answer.err
    assert "warning: no backup was taken: recipient" in answer.out
    assert "gone.pub: No such file or directory" in answer.out
    assert "done, and proven, on every host" in answer.out
