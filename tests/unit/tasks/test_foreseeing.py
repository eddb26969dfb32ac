"""`--dry-run` and `--yes` of every verb that changes something: the plan, of hosts that are as they were afterwards."""

import contextlib
import inspect
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import fabfile
from bench.simulated import Hosts
from hivekeys.journal.fold import fold
from hivekeys.journal.store import Journal
from hivekeys.protocol.verbs import Verb
from hivekeys.rotation.preview import foreseen
from tests.builders.documents import valid
from tests.builders.project import PROJECT
from tests.builders.recorded import NEW, OLD, Teller, fleet_of

FAB = Path(sys.executable).with_name("fab")
ONLY_LOOK = {"init", "plan", "verify", "audit", "report", "evidence", "status", "inventory.check", "inventory.convert"}
TO = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def test_every_verb_that_changes_something_has_a_dry_run_and_takes_yes() -> None:
    """The lab's hosts are there to be broken, and are nobody's."""
    verbs = [name for name in fabfile.namespace.task_names if not name.startswith("lab.") and name not in ONLY_LOOK]
    assert len(verbs) == 14
    for verb in verbs:
        options = inspect.signature(fabfile.namespace[verb].body).parameters
        assert {"dry_run", "yes"} <= set(options), verb


@dataclass(frozen=True)
class Bastion:
    """Where an operator types, over a queen and three hives that turn."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state" / "simulated"

    def do(self, verb: str, **options: object) -> int:
        """The exit code of a verb."""
        given = {"fleet": str(self.folder / "fleet.toml"), **options}
        if "state_dir" in inspect.signature(fabfile.namespace[verb].body).parameters:
            given["state_dir"] = str(self.folder / "state")
        try:
            fabfile.namespace[verb](Context(), **given)
        except Exit as ended:
            if ended.message:
                sys.stderr.write(f"{ended.message}\n")
            return int(ended.code)
        return 0

    def all_there_is(self) -> dict[str, bytes]:
        """Every file of the hosts and of this bastion that a verb could change, but for locks that were let go."""
        kept = [path for path in self.folder.rglob("*") if path.is_file() and path.name != "lock"]
        files = {str(path): path.read_bytes() for path in kept if not path.name.startswith("journal.db")}
        return files | dict.fromkeys(self.runs(), b"")

    def runs(self) -> list[str]:
        with contextlib.closing(Journal(self.state)) as journal:
            return [f"{run}: {len(journal.rows(run))} events" for run in journal.runs()]


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bastion]:
    """A fleet that was rotated once, and has a backup."""
    folder = tmp_path_factory.mktemp("foreseeing")
    with Hosts(folder, "--hosts=4"):
        bastion = Bastion(folder)
        assert bastion.do("rotate", yes=True, quiet=True) == 0
        yield bastion


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was said on stdout since the last question, its blanks as one."""
    return lambda: " ".join(capsys.readouterr().out.split())


def test_a_dry_rotation_is_the_plan(turned: Bastion, said: Callable[[], str]) -> None:
    before = turned.all_there_is()
    assert turned.do("rotate", dry_run=True, batch="1", canary="0") == 0
    shown = said()
    assert "what a rotation would do" in shown and "4. wave: hive3" in shown
    assert turned.all_there_is() == before


def test_a_dry_revocation_says_what_would_be_condemned_and_needs_no_reason(
    turned: Bastion, said: Callable[[], str]
) -> None:
    before = turned.all_there_is()
    with contextlib.closing(Journal(turned.state)) as journal:
        want = fold(journal.events(journal.runs()[0])).want
    assert turned.do("revoke", dry_run=True, fence=True) == 0
    shown = said()
    assert f"hive3 {want} a new one stage swap restart prove retire" in shown
    assert f"would be revoked: token:{want}" in shown and "its service would be stopped" in shown
    assert shown.endswith("a dry run: nothing was changed")
    assert turned.all_there_is() == before


def test_a_dry_reconcile_of_hosts_that_owe_nothing_would_only_prove_them(turned: Bastion) -> None:
    before = turned.all_there_is()
    assert turned.do("reconcile", dry_run=True, quiet=True) == 0
    assert turned.all_there_is() == before


def test_a_dry_backup_names_token_and_witnesses_and_reads_nothing(turned: Bastion, said: Callable[[], str]) -> None:
    before = turned.all_there_is()
    assert turned.do("backup", to=[TO], dry_run=True) == 0
    assert "proven by queen, hive[1:3], for 1 recipient" in said()
    assert turned.do("backup", to=[TO], dry_run=True, json=True) == 0
    assert valid(json.loads(said()))["from"] == ["queen", "hive1", "hive2", "hive3"]
    assert turned.all_there_is() == before


def test_a_dry_restore_opens_the_backup_and_turns_nobody(turned: Bastion, tmp_path: Path) -> None:
    """It is the fleet's token already: that is refused dry as well."""
    key = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "key").write_text(key)
    to = key.split("public key: ")[1].split()[0]
    assert turned.do("backup", to=[to], output=str(tmp_path / "sealed")) == 0
    assert turned.do("rotate", yes=True, quiet=True) == 0
    before = turned.all_there_is()
    assert turned.do("restore", file=str(tmp_path / "sealed"), identity=str(tmp_path / "key"), dry_run=True) == 0
    assert turned.all_there_is() == before


def test_a_dry_fix_writes_nothing_down_whatever_else_is_asked(turned: Bastion) -> None:
    before = turned.all_there_is()
    turned.do("fix", apply=True, dry_run=True, yes=True)
    assert turned.all_there_is() == before


def test_host_keys_are_shown_dry_and_written_with_yes(turned: Bastion, said: Callable[[], str]) -> None:
    file = turned.folder / "known_hosts"
    known = file.read_text()
    file.write_text("")
    try:
        turned.do("trust", dry_run=True)
        assert "SHA256:" in said() and file.read_text() == ""
        assert turned.do("trust", yes=True, plain_names=True) == 0
        assert {line.split()[0] for line in file.read_text().splitlines()} == {
            line.split()[0] for line in known.splitlines()
        }
    finally:
        file.write_text(known)


def test_a_journal_that_is_whole_stays_and_a_damaged_one_too_when_it_is_dry(
    turned: Bastion, capsys: pytest.CaptureFixture[str]
) -> None:
    assert turned.do("history", set_aside=True, dry_run=True, yes=True) == 2
    assert "is whole: it stays" in capsys.readouterr().err
    mark = turned.state / "journal.mark"
    whole = mark.read_bytes()
    mark.write_bytes(whole.replace(b'"events": ', b'"events": 9') if b'"events": ' in whole else b"9" + whole)
    try:
        assert turned.do("history", set_aside=True, dry_run=True) == 0
        assert "would be put aside; a dry run: nothing was changed" in capsys.readouterr().err
        assert (turned.state / "journal.db").exists()
    finally:
        mark.write_bytes(whole)


def is_queens(event: dict[str, object]) -> bool:
    """She has turned: now comes the pause before the canary."""
    return (event["type"], event.get("host"), event.get("phase")) == ("host-answered", "queen", "queen")


def test_a_run_that_was_cut_off_is_looked_at_both_ways_before_one_is_taken(
    turned: Bastion, said: Callable[[], str]
) -> None:
    """The queen was turned, the hives have the new token staged."""
    line = ["rotate", "--fleet", f"{turned.folder}/fleet.toml", "--state-dir", f"{turned.folder}/state", "--yes"]
    with subprocess.Popen(
        ["env", "--default-signal", str(FAB), *line, "--pause", "600", "--events"],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as cut_off:
        assert cut_off.stdout and any(is_queens(json.loads(event)) for event in cut_off.stdout)
        cut_off.send_signal(signal.SIGTERM)
        cut_off.stdout.read()
    assert cut_off.returncode == 130
    with contextlib.closing(Journal(turned.state)) as journal:
        run = fold(journal.events(journal.runs()[0]))
    new, old = run.want, run.hosts["queen"].was
    before = turned.all_there_is()
    said()
    assert turned.do("resume", dry_run=True) == 0
    shown = said()
    assert f"queen {new} {new} prove retire" in shown and f"hive1 {old} {new} swap restart prove retire" in shown
    assert turned.do("rollback", dry_run=True) == 0
    shown = said()
    assert f"queen {new} {old} revert restart prove" in shown and f"hive3 {old} {old} prove discard" in shown
    assert turned.all_there_is() == before
    assert turned.do("rollback", yes=True, quiet=True) == 0


def test_what_cannot_be_foreseen_of_a_host_is_said_instead_of_steps() -> None:
    """It was not reached, or the run has not touched it."""
    teller = Teller(fleet_of(2), "paper-1", lost=("hive2",))
    teller.whole()
    hosts = list(fold(teller.events).hosts.values())
    forward = {one.host: one for one in foreseen(hosts, NEW)}
    assert forward["hive2"].steps == () and forward["hive2"].why
    back = {one.host: one for one in foreseen(hosts, NEW, goes_back=True)}
    assert back["queen"].then == OLD and Verb.RESTART in back["queen"].steps
