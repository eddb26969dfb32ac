"""The verbs as an operator types them: what is refused before any host is contacted, and how it is said."""

import contextlib
import inspect
import json
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import fabfile
from hivekeys.age import Recipients
from hivekeys.backups import backup
from hivekeys.backups import folder as backup_folder
from hivekeys.backups.signature import name_of, sign, signer_id
from hivekeys.errors import ExitCode
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Event, Intent, Phase, Readmitted, RunEnded, RunStarted, TokenChosen, TokensRevoked
from hivekeys.journal.past import superseded_tokens
from hivekeys.journal.run import REVOKE
from hivekeys.journal.state_folder import fingerprint_key, hold_lock, signing_key
from hivekeys.journal.store import Journal
from hivekeys.protocol.verbs import Verb
from hivekeys.report.evidence import key_id
from hivekeys.token import Fingerprint, Token, generate, parse
from tests.builders.fab import FAB, HERE, INVENTORY, KEY, Fab, state_of
from tests.builders.recorded import NEW, Teller, fleet_of
from tests.builders.terminal import CTRL_C

OTHER = Token("c" * 64).fingerprint(b"k")
NOW, LATER = Moment(0.0, 0.0), Moment(1_795_000_000.0, 0.0)
FAR_AWAY = "[timeouts]\nconnect = 600\nbanner = 600\n"


REFUSED = [
    (["plan", "--fleet", "nowhere"], "nowhere"),
    (["plan", "--fleet", "../paper"], "--fleet"),
    (["plan", "--limit", "hive9"], "hive9"),
    (["rotate", "--yes", "--limit", "hive1"], "the queen is left out"),
    (["rotate", "--yes", "--allow-missing", "*"], "--allow-missing: the queen turns first"),
    (["rotate", "--yes", "--batch", "0"], "--batch: found '0'"),
    (["rotate", "--yes", "--batch", "101%"], "--batch: found '101%'"),
    (["rotate", "--yes", "--canary", "50%"], "--canary: found '50%'"),
    (["rotate", "--yes", "--max-failures", "many"], "--max-failures: found 'many'"),
    (["rotate", "--yes", "--if-older-than", "90"], "--if-older-than: found '90'"),
    (["rotate", "--yes", "--pause", "nan"], "--pause: found 'nan'"),
    (["rotate", "--yes", "--allow-missing", "hive7"], "hive7"),
    (["rotate", "--yes", "--token-file", "gone"], "gone: No such file"),
    (["rotate"], "no terminal to ask"),
    (["verify", "--checks", "file-mode,nonsense"], "--checks: there is no check nonsense"),
    (["verify", "--severity", "awful"], "--severity awful: expected low, medium, high"),
    (["verify", "--format", "pdf"], "--format pdf: expected table"),
    (["verify", "--checks", "clock", "--skip", "clock"], "no check is left to do"),
    (["verify", "--checks", "shared-token"], "there is no other fleet to compare with"),
    (["verify", "--against", "paper"], "that is fleet paper itself"),
    (["verify", "--against", "elsewhere"], "--fleet elsewhere: there is no such fleet"),
    (["rotate", "--yes", "--pause-for-confirmation"], "no terminal to ask"),
    (["rotate", "--token-file", "-"], "no terminal to ask"),
    (["revoke", "--yes"], "a revocation needs its reason"),
    (["revoke", "--yes", "--reason", " "], "a revocation needs its reason"),
    (["revoke", "--reason", "it leaked"], "no terminal to ask"),
    (["revoke", "--yes", "--reason", "it leaked", "--attempts", "0"], "--attempts: found '0'"),
    (["revoke", "--yes", "--reason", "it leaked", "--batch", "0"], "--batch: found '0'"),
    (["resume"], "there was no run"),
    (["rollback"], "there was no run"),
    (["reconcile"], "there was no run"),
    (["status", "--run", "last"], "there was no run"),
    (["report"], "there was no run"),
    (["report", "--run", "paper-1"], "has no run paper-1"),
    (["report", "--format", "pdf"], "--format pdf: expected table"),
    (["report", "--findings", "gone"], "there was no run"),
    (["evidence"], "--output is missing"),
    (["evidence", "--output", "e.tar"], "there was no run"),
    (["evidence", "--check", "e.tar"], "--check needs --key"),
    (["evidence", "--check", "e.tar", "--key", "gone"], "--key gone: No such file"),
    (["evidence", "--check", "e.tar", "--key", "fabfile.py"], "no public key in PEM form"),
    (["evidence", "--check", "e.tar", "--public-key"], "exclude each other"),
    (["evidence", "--check", "e.tar", "--output", "x"], "exclude each other"),
    (["status", "--run", "paper-1"], "has no run paper-1"),
    (["status", "--watch"], "--watch draws on a terminal, and there is none"),
    (["status", "--watch", "--json"], "--watch and --json do not go together"),
    (["status", "--run", "last", "--metrics", "fleet.prom"], "--run and --metrics do not go together"),
    (["status", "--metrics", "fleet.prom", "--limit", "queen"], "--metrics tells of a whole fleet"),
    (["status", "--metrics", "gone/fleet.prom"], "--metrics gone/fleet.prom: there is no folder gone"),
    (["verify", "--output", "/dev/null"], "--output /dev/null: there is something that is no plain file"),
    (["backup"], "for whom is the token to be sealed?"),
    (["backup", "--to", "age1foo"], "recipient age1foo…: is no public key"),
    (["backup", "--to", f"{KEY},gone.pub"], "recipient gone.pub: No such file"),
    (["backup", "--to", KEY, "--to", "gone.pub"], "recipient gone.pub: No such file"),
    (["backup", "--to", "inventory/paper.toml"], "recipient inventory/paper.toml, line 2: is no public key"),
    (["backup", "--to", KEY, "--passphrase"], "one or the other"),
    (["backup", "--passphrase"], "there is no terminal to ask on: Passphrase to seal"),
    (["backup", "--to", KEY, "--keep", "0"], "--keep: found '0'"),
    (["backup", "--to", KEY, "--keep", "2", "--output", "f"], "--keep is for the fleet's folder"),
    (["backup", "--to", KEY, "--output", "fabfile.py"], "fabfile.py: is there already"),
    (["backup", "--to", KEY, "--output", "gone/f"], "gone: there is no such folder"),
    (["install", "--from", "hive9"], "--from hive9: fleet paper has no such host"),
    (["install", "--from", "hive1"], "no terminal to ask for confirmation of --from on"),
    (["install", "--from", "hive1", "--restricted"], "--from: --restricted hands on no token"),
    (["backup", "--to", KEY, "--from", "hive1"], "no terminal to ask for confirmation of --from on"),
    (["restore", "gone", "--yes"], "gone: No such file"),
    (["restore", "fabfile.py", "--yes"], "fabfile.py: is no backup"),
    (["restore", "fabfile.py"], "no terminal to ask"),
    (["restore", "fabfile.py", "--yes", "--limit", "hive1"], "the queen is left out"),
    (["restore", "fabfile.py", "--yes", "--pause", "nan"], "--pause: found 'nan'"),
    (["restore", "fabfile.py", "--yes", "--pause-for-confirmation"], "no terminal to ask"),
    (["restore", "fabfile.py", "--yes", "--json", "--events"], "--events and --json both want"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_a_mistake_is_one_clear_message_and_exit_2(fab: Fab, words: list[str], said: str) -> None:
    answer = fab(*words)
    assert answer.code == 2, answer
    assert answer.err.startswith("hivekeys: ") and said in answer.err
    assert bool(answer.out) == ("--json" in words), "a program that asked for a document gets one"


def test_a_closed_stdin_is_no_terminal(fab: Fab) -> None:
    """As some schedulers start a program."""
    command = ["sh", "-c", f"exec {FAB} rotate <&-"]
    done = subprocess.run(command, cwd=fab.folder, env=fab.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "there is no terminal to ask for confirmation on" in done.stderr


def test_fabrics_own_host_option_is_refused_once(fab: Fab) -> None:
    answer = fab("-H", "hive1,hive2", "plan")
    assert answer.code == 2
    assert answer.err.count("-H would run this once per host") == 1
    assert "--limit" in answer.err


def test_the_only_fleet_there_is_need_not_be_named(fab: Fab) -> None:
    shutil.copy(fab.folder / "inventory" / "paper.toml", fab.folder / "inventory" / "second.toml")
    answer = fab("history")
    assert answer.code == 2 and "paper" in answer.err and "second" in answer.err
    assert fab("history", HIVEKEYS_FLEET="paper").code == 0


def test_an_empty_history_is_an_empty_list(fab: Fab) -> None:
    answer = fab("history", "--json")
    assert (answer.code, json.loads(answer.out)["runs"]) == (0, [])


WEAK = [
    ("", "is empty"),
    ("short", "is 5 characters long"),
    ("ab" * 32, "fewer than 8 different"),
    ("0123456789abcdef" * 4, "it repeats itself"),
    ("".join(chr(33 + number) for number in range(70)), "in sequence"),
    ("a1b2c3d4e5f6g7h8" * 5 + " x", "blanks or control"),
    ("a1b2c3d4e5f6g7h8\n" * 5, "more than one line"),
]


@pytest.mark.parametrize(("text", "said"), WEAK, ids=[said for _, said in WEAK])
def test_a_weak_or_broken_token_is_refused_and_never_shown(fab: Fab, text: str, said: str) -> None:
    path = fab.folder / "token"
    path.touch(mode=0o600)
    path.write_text(text)
    answer = fab("rotate", "--yes", "--token-file", "token")
    assert answer.code == 2 and said in answer.err, answer
    assert not text or text[:12] not in answer.err + answer.out


def test_a_token_file_that_others_can_read_is_refused(fab: Fab) -> None:
    path = fab.folder / "token"
    path.write_text("f3c1" * 16)
    path.chmod(0o644)
    answer = fab("rotate", "--yes", "--token-file", "token")
    assert answer.code == 2 and "others can read it (mode 0644)" in answer.err


def test_a_state_folder_that_others_can_read_is_refused(fab: Fab) -> None:
    (fab.folder / "state" / "paper").mkdir(parents=True)
    (fab.folder / "state" / "paper").chmod(0o755)
    answer = fab("history")
    assert answer.code == 2 and "must be yours alone (0700)" in answer.err


def test_a_journal_that_cannot_be_used_stops_a_run_before_any_host_is_contacted(fab: Fab) -> None:
    folder = fab.folder / "state" / "paper"
    folder.mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    (folder / "journal.db").write_bytes(b"this is not a database" * 100)
    answer = fab("rotate", "--yes")
    assert answer.code == 2 and "journal.db cannot be used" in answer.err
    assert "nothing was touched" in answer.err


@pytest.fixture
def sealed(fab: Fab) -> Path:
    """A backup of the fleet on paper, and the key that opens it beside it."""
    secret, token = pyrage.x25519.Identity.generate(), generate()
    (fab.folder / "key").write_text(f"{secret}\n")
    (fab.folder / "token").touch(0o600)
    (fab.folder / "token").write_text(token.reveal())
    state = state_of(fab)
    order = backup_folder.Order(Recipients((secret.to_public(),)), str(fab.folder / "sealed"))
    backup_folder.put(
        token, fingerprint_key(state), "paper", "", 0.0, order=order, state=state, signer=signing_key(state)
    )
    return fab.folder / "sealed"


def test_a_backup_that_may_not_be_restored_is_refused_before_any_host_is_contacted(fab: Fab, sealed: Path) -> None:
    text = (fab.folder / "inventory" / "paper.toml").read_text()
    (fab.folder / "inventory" / "other.toml").write_text(text.replace('"paper"', '"other"'))
    shutil.copy(sealed, fab.folder / "changed")
    (fab.folder / "changed").write_text(sealed.read_text().replace("made: 1970", "made: 1971"))
    (fab.folder / "stranger").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    for said, words in {
        "sealed: is a backup of fleet paper, not of other": ("sealed", "--fleet", "other", "--identity", "gone"),
        "sealed: is sealed for age": ("sealed", "--fleet", "paper"),
        "gone: No such file": ("sealed", "--fleet", "paper", "--identity", "gone"),
        "sealed: is not sealed for this key": ("sealed", "--fleet", "paper", "--identity", "stranger"),
        "changed: its header is not the one": (
            *("changed", "--fleet", "paper", "--identity", "key"),
            "--from-elsewhere",
        ),
    }.items():
        answer = fab("restore", *words, "--yes")
        assert (answer.code, answer.out) == (2, ""), answer
        assert said in answer.err
    assert json.loads(fab("history", "--fleet", "paper", "--json").out)["runs"] == []


@pytest.mark.parametrize("who", ["a stranger", "nobody", "changed"])
def test_a_backup_that_this_bastion_has_not_signed_is_asked_about(fab: Fab, sealed: Path, who: str) -> None:
    """Before it is opened, and before any host is contacted; --yes is an answer to another question."""
    stranger = Ed25519PrivateKey.generate()
    of_stranger = name_of(stranger.public_key())
    read = backup.parse(sealed.read_bytes(), "sealed")
    header = replace(read.header, signer={"a stranger": of_stranger, "nobody": ""}.get(who, read.header.signer))
    signature = sign(header, read.block, stranger) if who != "nobody" else b""
    sealed.write_text(backup.text_of(header, read.block, signature))
    said = {
        "a stranger": f"sealed: is signed by {key_id(stranger.public_key())}, and not by this bastion",
        "nobody": "sealed: is not signed: anyone may have made it",
        "changed": f"sealed: was changed, or sealed anew, after {signer_id(read.header)} had signed it",
    }[who]
    words = ("restore", "sealed", "--identity", "gone")
    answer = fab(*words, "--yes")
    assert (answer.code, answer.out) == (2, ""), answer
    assert said in answer.err and "--from-elsewhere" in answer.err
    answer = fab(*words, "--yes", "--from-elsewhere")
    assert f"hivekeys: warning: {said}\n" in answer.err
    assert "gone: No such file" in answer.err, "the next thing that is wrong"
    with fab.on_terminal(*words) as terminal:
        terminal.until("Restore its token all the same? [y/N]")
        terminal.type("n\n")
        assert "no host contacted" in terminal.until("no host contacted")
        assert terminal.end() == 2


def test_a_token_that_was_revoked_is_refused_before_any_host_is_contacted(fab: Fab, sealed: Path) -> None:
    """A backup by its header, so that no key is asked for; from a bastion with another key when it is opened."""
    leaked, folder = parse((fab.folder / "token").read_bytes(), "token"), state_of(fab)
    condemn(folder, leaked.fingerprint(fingerprint_key(folder)))
    said = f"its token (token:{leaked.fingerprint(b'')}) was revoked by run paper-9: nothing may write it again"
    for words in (("restore", "sealed"), ("rotate", "--token-file", "token")):
        answer = fab(*words, "--yes")
        assert (answer.code, answer.out) == (2, "")
        assert f"{words[-1]}: {said}" in answer.err


def test_a_run_whose_token_was_revoked_since_is_not_taken_up_again(fab: Fab) -> None:
    """Cut off before the leak, or over with a host that owes: neither on nor back, and no host is contacted."""
    ended = Teller(fleet_of(3), "paper-2", lost=("hive3",))
    cut_off = Teller(fleet_of(3), "paper-1")
    ended.whole()
    cut_off.before()
    with contextlib.closing(Journal(state_of(fab))) as journal:
        for teller in (cut_off, ended):
            journal.append(teller.run, *teller.events)
    condemn(state_of(fab), NEW)
    said = f"its token (token:{NEW}) was revoked by run paper-9: nothing may write it again"
    for words in (
        "resume --run paper-1",
        "rollback --run paper-1",
        "rollback --run paper-2",
        "reconcile --run paper-2",
    ):
        answer = fab(*words.split())
        assert (answer.code, answer.out) == (2, ""), answer
        assert f"run {words.split()[-1]}: {said}" in answer.err


@pytest.fixture
def claimed(fab: Fab) -> Fab:
    """A rotation that was cut off when it had the queen's lock: no host was told anything that changes it."""
    fingerprint_key(state_of(fab))
    teller = Teller(fleet_of(3), "paper-1")
    teller.begin()
    teller.phase(Phase.LOOK, ["queen", "hive1", "hive2", "hive3"])
    teller.tell(TokenChosen(NEW, teller.now()))
    teller.phase(Phase.CLAIM, ["queen"])
    fingerprint_key(state_of(fab))
    with contextlib.closing(Journal(state_of(fab))) as journal:
        journal.append(teller.run, *teller.events)
    closed = INVENTORY.replace("192.0.2", "127.0.0").replace('fleet = "paper"', 'fleet = "paper"\n[ssh]\nport = 1')
    (fab.folder / "inventory" / "paper.toml").write_text(closed)
    return fab


def test_a_run_that_touched_no_host_has_nothing_to_take_back(claimed: Fab) -> None:
    """Refused before any host is asked for its lock: such a claim shut out whoever was at work there."""
    answer = claimed("rollback")
    assert (answer.code, answer.out) == (2, "")
    assert "run paper-1 has nothing to take back: it changed no host\n  hint: `fab resume` goes on" in answer.err
    ended = Teller(fleet_of(3), "paper-2")
    ended.begin()
    ended.tell(RunEnded(ExitCode.LOCKED, ended.now()))
    with contextlib.closing(Journal(state_of(claimed))) as journal:
        journal.append("paper-2", *ended.events)
    answer = claimed("rollback", "--run", "paper-2")
    assert answer.code == 2 and "paper-2 has nothing to take back: it changed no host" in answer.err


def test_a_run_that_was_cut_off_before_it_touched_a_host_stops_no_other(claimed: Fab) -> None:
    """The next one begins, and it may be gone on with as well: here both come as far as hosts that do not answer."""
    said = claimed("status").out
    assert "cut off in phase claim" in said and "nothing was changed, so another run may begin as well" in said
    assert claimed("resume").code == 4
    answer = claimed("rotate", "--yes")
    assert answer.code == 3 and "stopped before any host was changed; 4 unreachable, not touched by it" in answer.out


def test_a_run_that_was_cut_off_after_it_touched_a_host_stops_a_new_one(fab: Fab) -> None:
    """Also beneath one that was refused, or cut off, before it changed anything."""
    staged, looked = Teller(fleet_of(3), "paper-1"), Teller(fleet_of(3), "paper-2", clock=6000.0)
    staged.before()
    looked.begin()
    looked.phase(Phase.LOOK, ["queen"])
    fingerprint_key(state_of(fab))
    with contextlib.closing(Journal(state_of(fab))) as journal:
        for teller in (staged, looked):
            journal.append(teller.run, *teller.events)
    answer = fab("rotate", "--yes")
    assert answer.code == 2 and "run paper-1 of ann@bastion was cut off in phase stage" in answer.err


# -- a host that is cut out of the fleet


@pytest.fixture
def lost(fab: Fab) -> Iterator[socket.socket]:
    """Where hive3 listens, which was broken into; the others do not answer. A revocation has cut hive3 out."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0.0)
        written = (
            INVENTORY.replace("192.0.2", "127.0.0").replace('"hive[1:3]"', '"hive[1:2]"').replace("11:13", "11:12")
        )
        written = written.replace('fleet = "paper"', 'fleet = "paper"\n[ssh]\nport = 1')
        broken_into = f'[hosts.hive3]\nrole = "hive"\naddress = "127.0.0.1"\nport = {door.getsockname()[1]}\n'
        (fab.folder / "inventory" / "paper.toml").write_text(written + broken_into + "[timeouts]\nbanner = 1\n")
        told(fab, "paper-1", excluded=("hive3",))
        yield door


def told(fab: Fab, run: str, *events: Event, excluded: tuple[str, ...] = (), clock: float = 5000.0) -> None:
    """A revocation that this bastion's journal has, and what else is in it."""
    fingerprint_key(state_of(fab))
    teller = Teller(fleet_of(3), run, task=REVOKE, clock=clock)
    teller.begin()
    begun = next(event for event in teller.events if isinstance(event, RunStarted))
    with contextlib.closing(Journal(state_of(fab))) as journal:
        journal.append(run, replace(begun, excluded=excluded), *(replace(event, when=teller.now()) for event in events))


def was_contacted(door: socket.socket) -> bool:
    try:
        door.accept()[0].close()
    except BlockingIOError:
        return False
    return True


CONTACTING = (
    "plan",
    "rotate --yes",
    "rotate --yes --allow-missing hive3",
    "revoke --yes --reason again --attempts 1",
    "status",
    "verify",
    "audit",
    "fix --login root",
    "watch --login root",
    "uninstall --yes --login root",
    "install --login root --exclude hive3",
    "backup --to " + KEY,
)


def test_no_verb_contacts_a_host_that_an_earlier_run_cut_out(fab: Fab, lost: socket.socket) -> None:
    for words in CONTACTING:
        answer = fab(*words.split())
        assert answer.code in (3, 4), (words, answer)
        assert not was_contacted(lost), words


def test_who_looks_at_the_fleet_is_told_that_a_host_is_cut_out(fab: Fab, lost: socket.socket) -> None:
    answer = fab("status")
    assert "hive3: excluded: by run paper-1 of ann@bastion" in answer.out and "--readmit" in answer.out
    assert "excluded from the fleet, not contacted: hive3" in fab("plan").out
    rotated = fab("rotate", "--yes", "--json")
    document = json.loads(rotated.out)
    assert document["excluded"] == ["hive3"] and "excluded" in [host["state"] for host in document["hosts"]]
    assert "without hive3" in fab("history").out.replace("\n", " ")
    assert not was_contacted(lost)


def test_a_host_that_is_named_with_without_is_not_contacted_then_and_not_later(fab: Fab, lost: socket.socket) -> None:
    with contextlib.closing(Journal(state_of(fab))) as journal:
        begun = RunStarted("paper-2", "paper", "ann", "", (), (), (), LATER, "install")
        journal.append("paper-2", begun, Readmitted(("hive3",), LATER))
    assert fab("revoke", "--yes", "--reason", "broken into", "--attempts", "1", "--without", "hive3,queen").code == 4
    assert fab("rotate", "--yes").code == 3
    assert not was_contacted(lost)


def test_a_revocation_that_goes_past_a_damaged_journal_still_knows_who_was_cut_out(
    fab: Fab, lost: socket.socket
) -> None:
    """And its own journal says so from then on. Where nobody can read it any more, that is said."""
    journal = state_of(fab) / "journal.db"
    with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as base:
        base.execute(
            "INSERT INTO events SELECT place + 2, run, number + 2, kind, facts, hash, head FROM events LIMIT 1"
        )
    again = ("revoke", "--yes", "--reason", "again", "--attempts", "1")
    answer = fab(*again)
    assert answer.code == 4 and "This revocation goes on with a new journal" in answer.err, answer
    assert json.loads(fab("history", "--json").out)["runs"][0]["excluded"] == ["hive3"]
    assert fab("rotate", "--yes").code == 3
    assert not was_contacted(lost)
    journal.write_bytes(b"this is not a database" * 100)
    answer = fab(*again, "--without", "hive3")
    assert answer.code == 4 and "Which hosts earlier runs excluded is not known: name them with --without" in answer.err
    assert not was_contacted(lost)


def test_only_an_install_that_says_so_takes_it_back(fab: Fab, lost: socket.socket) -> None:
    answer = fab("install", "--login", "root", "--limit", "hive3")
    assert answer.code == 2 and "hive3: excluded from the fleet by run paper-1: not to be given its token" in answer.err
    assert "--readmit: expected --limit" in fab("install", "--login", "root", "--readmit").err
    assert not was_contacted(lost)
    fab("install", "--login", "root", "--limit", "hive3", "--readmit", "--dry-run")
    assert was_contacted(lost)
    assert "hive3: excluded" in fab("status").out, "a look takes nobody back"
    assert not was_contacted(lost)
    fab("install", "--login", "root", "--limit", "hive3", "--readmit")
    assert was_contacted(lost)
    assert "hive3: excluded" not in fab("status").out
    assert was_contacted(lost)


def test_a_fleet_of_which_every_host_is_cut_out_is_turned_by_nobody(fab: Fab) -> None:
    answer = fab("revoke", "--yes", "--reason", "all of it", "--without", "*")
    assert answer.code == 2 and "every host that was asked for is excluded from the fleet" in answer.err


def test_a_new_revocation_takes_the_place_of_one_that_was_cut_off(claimed: Fab) -> None:
    """Also of a rotation: their tokens may be staged on a host that is lost."""
    told(claimed, "paper-2", TokenChosen(OTHER, NOW), Intent("queen", Phase.STAGE, (Verb.STAGE,), NOW), clock=6000.0)
    answer = claimed("revoke", "--yes", "--reason", "hive3 was broken into", "--without", "hive3", "--attempts", "1")
    assert answer.code == 4, answer
    history = json.loads(claimed("history", "--json").out)["runs"]
    newest = next(run for run in history if run["run"] not in ("paper-1", "paper-2"))
    assert (newest["task"], newest["excluded"]) == ("revoke", ["hive3"])
    place = {run["run"]: run["superseded_by"] for run in history}
    assert place == {newest["run"]: None, "paper-2": newest["run"], "paper-1": None}, "beneath one that left a trace"
    assert f"cut off; run {newest['run']} took its place" in claimed("status", "--run", "paper-2").out
    for words in ("resume", "rollback", "reconcile"):
        answer = claimed(words, "--run", "paper-2")
        assert answer.code == 2 and f"run paper-2 was superseded by run {newest['run']}" in answer.err
    assert superseded_tokens(state_of(claimed)) == {OTHER}


def test_a_run_goes_on_with_the_hosts_that_the_inventory_still_has(claimed: Fab) -> None:
    path = claimed.folder / "inventory" / "paper.toml"
    path.write_text(path.read_text().replace('"hive[1:3]"', '"hive[1:2]"').replace("11:13", "11:12"))
    answer = claimed("resume", "--json")
    assert answer.code == 4
    document = json.loads(answer.out)
    assert document["gone"] == ["hive3"]
    assert {host["host"]: host["state"] for host in document["hosts"]}["hive3"] == "excluded"


def test_a_bastion_with_a_new_key_knows_a_revoked_token_when_the_backup_is_open(fab: Fab, sealed: Path) -> None:
    leaked, folder = parse((fab.folder / "token").read_bytes(), "token"), state_of(fab)
    (folder / "fingerprint.key").unlink()
    condemn(folder, leaked.fingerprint(fingerprint_key(folder)))
    answer = fab("restore", "sealed", "--identity", "key", "--yes")
    assert (answer.code, answer.out) == (2, "")
    assert "was revoked by run paper-9" in answer.err


def condemn(folder: Path, fingerprint: Fingerprint) -> None:
    """As a revocation that this bastion made writes it down."""
    now = Moment(0.0, 0.0)
    with contextlib.closing(Journal(folder)) as journal:
        if "paper-9" not in journal.runs():
            journal.append("paper-9", RunStarted("paper-9", "paper", "ann", "leaked", (), (), (), now, REVOKE))
        journal.append("paper-9", TokensRevoked((fingerprint,), now))


def test_a_list_of_no_backups_is_an_empty_list(fab: Fab) -> None:
    answer = fab("backup", "--list", "--json")
    assert (answer.code, json.loads(answer.out)["backups"]) == (0, [])


def test_every_verb_explains_its_options(fab: Fab) -> None:
    for words in ("plan", "rotate", "resume", "rollback", "reconcile", "history", "status", "lab.up", "lab.break"):
        answer = fab("--help", words)
        assert (
            answer.code == 0 and "Docstring:" in answer.out and "none" not in answer.out.lower().split("docstring")[0]
        )


def test_a_restore_takes_every_option_of_a_rotation_that_means_something_for_a_known_token() -> None:
    """The backup is the file with the token, and nobody restores by the clock."""
    options = {verb: set(inspect.signature(fabfile.namespace[verb].body).parameters) for verb in ("rotate", "restore")}
    assert options["rotate"] - options["restore"] == {"token_file", "if_older_than", "finish"}


def test_the_list_of_verbs_needs_none_of_the_heavy_libraries(fab: Fab) -> None:
    answer = fab("--list", PYTHONPROFILEIMPORTTIME="1")
    assert answer.code == 0 and "rotate" in answer.out
    imported = {line.split("|")[-1].strip() for line in answer.err.splitlines() if "|" in line}
    assert imported, "the interpreter names what it imports"
    assert imported.isdisjoint(
        {"pydantic", "rich", "sqlite3", "hivekeys.rotation.drive", "hivekeys.ssh.dialer", "hivekeys.lab"}
    )


# -- two at once


def test_a_run_whose_journal_is_being_made_at_this_moment_has_the_fleets_lock(fab: Fab) -> None:
    """Who comes second is told who is at work, not that a file cannot be used."""
    folder = fab.folder / "state" / "paper"
    folder.mkdir(parents=True, mode=0o700)
    journal = sqlite3.connect(folder / "journal.db", isolation_level=None)
    journal.execute("BEGIN EXCLUSIVE")
    with hold_lock(folder, "paper", "paper-1", "the yearly one"):
        answer = fab("rotate", "--yes")
    journal.close()
    assert answer.code == 5
    assert "another run works on fleet paper: run paper-1" in answer.err


# -- on a terminal


def test_a_watch_of_hosts_that_say_nothing_ends_at_once(fab: Fab) -> None:
    """Their time-outs are far away."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (fab.folder / "inventory" / "paper.toml").write_text(HERE.format(port=silent.getsockname()[1]) + FAR_AWAY)
        with fab.on_terminal("status", "--watch") as terminal:
            terminal.until("asking the hosts for")
            terminal.type(CTRL_C)
            assert terminal.end() == 130
    assert "Traceback" not in terminal.shown


def test_a_second_ctrl_c_ends_at_once_and_gives_the_cursor_back(fab: Fab) -> None:
    """Hosts in flight are not waited for: this one would say nothing for five minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        inventory = HERE.format(port=silent.getsockname()[1]) + "[timeouts]\nbanner = 300\n"
        (fab.folder / "inventory" / "paper.toml").write_text(inventory)
        with fab.on_terminal("rotate", "--yes") as terminal:
            terminal.until("not yet: queen", within=60)
            terminal.type(CTRL_C)
            terminal.until("stopping: hosts in flight finish")
            terminal.type(CTRL_C)
            terminal.until("nothing was changed: no host was given a token")
            assert terminal.end() == 130
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex("\x1b[?25l")
    assert "Traceback" not in terminal.shown


def test_the_last_picture_of_a_watch_stays_and_its_code_is_that_of_the_hosts(fab: Fab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (fab.folder / "inventory" / "paper.toml").write_text(HERE.format(port=taken.getsockname()[1]))
    with fab.on_terminal("status", "--watch") as terminal:  # nobody listens there any more
        terminal.until("queen: no-connection")
        terminal.type(CTRL_C)
        last = terminal.until("\x1b[?25h")  # the cursor is back
        assert terminal.end() == 4
    assert "not all hosts are seen to hold one token: not seen: queen" in last
    assert "loaded from" in last


def test_what_goes_wrong_while_watching_is_told(fab: Fab) -> None:
    (fab.folder / "inventory" / "paper.toml").write_text(HERE.format(port=9))
    folder = fab.folder / "state" / "paper"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "journal.db").write_bytes(b"this is not a database" * 100)
    with fab.on_terminal("status", "--watch") as terminal:
        assert terminal.end() == 2
    assert "journal.db cannot be used" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_a_failure_on_a_terminal_stays_and_holds_nothing_up(fab: Fab) -> None:
    """It is part of the picture while that is drawn, and of the result afterwards."""
    path = fab.folder / "inventory" / "paper.toml"
    closed = 'fleet = "paper"\n[ssh]\nport = 1\nconfig = "config"'
    path.write_text(path.read_text().replace("192.0.2", "127.0.0").replace('fleet = "paper"', closed))
    (fab.folder / "inventory" / "config").touch()
    with fab.on_terminal("plan") as terminal:
        assert terminal.end() == 4
        assert "hive[1:3]: no-connection" in terminal.shown
