"""One hive of five lies with its own agent, on real hosts: the others end as they would without it (promise 13)."""

import json
import secrets
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from hivekeys.journal import state_folder
from hivekeys.lab import Lab
from hivekeys.lab.files import SECRETS
from hivekeys.token import Token

from .asking import eventually, put_token, restart, status
from .liar import RUBBISH, SILENCE, TOO_MUCH, Lie, is_honest, tells
from .rotating import Answer, serves, truth
from .surviving import Bastion, agents_left, write_inventory
from .whole import whole_at_once

pytestmark = pytest.mark.lab
MANY_RUNS = 1000  # more than this lab has seen; a liar says 10^9 and more
LIAR, CANARY = "hive3", "hive1"
PACE: dict[str, object] = {"canary": 1, "max_failures": 1, "stable_seconds": 0, "revocation_recheck": 0}
LEAKED = ("--reason", "token in a public paste", "--attempts", "1")
BEYOND, LAST = 10**15, 10**9
X_1 = "x-1"


@pytest.fixture(scope="module")
def booted(five_hives: Lab) -> Iterator[Lab]:
    was = five_hives.inventory.read_text()
    write_inventory(five_hives, **PACE)
    yield five_hives
    five_hives.inventory.write_text(was)


@pytest.fixture
def lab(booted: Lab) -> Iterator[Lab]:
    yield booted
    for name in (LIAR, CANARY):
        is_honest(booted, name)
    agents_left(booted)
    whole_at_once(booted)


@pytest.fixture
def bastion(lab: Lab, tmp_path: Path) -> Iterator[Bastion]:
    bastion = Bastion(lab, tmp_path)
    yield bastion
    bastion.leave()


def epoch(number: int) -> Lie:
    return Lie("hello", facts={"epoch": number, "run": X_1, "changed": {"epoch": number, "run": X_1}})


def turned(bastion: Bastion, verb: str, *words: str) -> tuple[Answer, float]:
    """What a run of this bastion's says in the end, and how long it took (seconds)."""
    began = time.monotonic()
    answer = bastion.fab(verb, "--yes", "--json", *words)
    return answer, time.monotonic() - began


def trouble(answer: Answer, name: str) -> str:
    cause = answer.hosts[name]["cause"]
    return str(cause["trouble"]) if cause else ""


def records(lab: Lab, but: str) -> set[tuple[str, int]]:
    """Which run the other hosts remember to have changed them, and its place among all."""
    texts = (lab.read(name, "/var/lib/hivekeys/run") for name in lab.hosts if name != but)
    return {(changed["run"], changed["epoch"]) for changed in (json.loads(text)["changed"] for text in texts)}


def turned_without(lab: Lab, liar: str, answer: Answer, old: str, *, retired: bool) -> bool:
    """Whether all others are proven on one new token, have the old one only until it is retired, and know the run."""
    others = [name for name in lab.hosts if name != liar]
    found = truth(lab)
    slots = {"api-token"} if retired else {"api-token", "api-token.backup"}
    assert {name: answer.hosts[name]["state"] for name in others} == dict.fromkeys(others, "proven"), answer.err
    assert {name: set(found[name].files) for name in others} == dict.fromkeys(others, slots)
    ((run, epoch),) = records(lab, liar)
    assert (run, epoch < MANY_RUNS) == (answer.document["run"], True), "the liar's epoch counts for nobody else"
    tokens = {found[name].token for name in others}
    assert old not in tokens
    return (
        len(tokens) == 1
        and {found[name].serves for name in others} == {200}
        and {status(lab.hosts[name], old) for name in others} == {401}
    )


ROTATIONS = {
    "it is superseded when it is asked to stage": (Lie("stage", "superseded"), "superseded"),
    "it is busy when it is asked to write": (Lie("probe_write", "host-busy"), "host-busy"),
    "it is superseded when it is asked to swap": (Lie("swap", "superseded"), "superseded"),
    "its epoch is the last there is": (epoch(LAST), "superseded"),
    "its epoch is beyond all": (epoch(BEYOND), "record-unsound"),
    "its proof was asked of nobody": (Lie("prove", facts={"calls": {}, "proven": True}), "rubbish"),
    "5 MB instead of an answer": (Lie("swap", line=TOO_MUCH), "rubbish"),
}


@pytest.mark.parametrize(("lie", "cause"), ROTATIONS.values(), ids=ROTATIONS)
def test_a_rotation_turns_all_others_and_names_the_liar(lab: Lab, bastion: Bastion, lie: Lie, cause: str) -> None:
    old = truth(lab)["queen"].token
    tells(lab, LIAR, lie)
    answer, took = turned(bastion, "rotate")
    assert trouble(answer, LIAR) == cause, answer.err
    assert answer.code == (4 if cause else 0), answer.err
    assert turned_without(lab, LIAR, answer, old, retired=not cause)
    assert took < 30


def test_a_canary_that_will_not_swap_takes_the_rotation_back(lab: Lab, bastion: Bastion) -> None:
    """Before, the queen stayed new and the hives old, with no way on."""
    was = truth(lab)
    tells(lab, CANARY, Lie("swap", "superseded"))
    answer, took = turned(bastion, "rotate")
    assert (answer.code, trouble(answer, CANARY)) == (3, "superseded"), answer.err
    found = truth(lab)
    assert all((found[name].token, found[name].serves) == (was[name].token, 200) for name in lab.hosts)
    assert took < 30


REVOCATIONS = {
    "it is superseded when it is asked to write": (Lie("probe_write", "superseded"), "superseded"),
    "it is busy when it is asked to stage": (Lie("stage", "host-busy"), "host-busy"),
    "it is superseded when it is asked to swap": (Lie("swap", "superseded"), "superseded"),
    "its epoch is beyond all": (epoch(BEYOND), "record-unsound"),
    "its proof was asked of nobody": (
        Lie("prove", facts={"calls": {}, "proven": True, "refused_after": 0.1}),
        "rubbish",
    ),
    "no JSON": (Lie("swap", line=RUBBISH), "rubbish"),
    "nothing at all": (Lie("swap", line=SILENCE), ""),  # once: it did what it was told, as a second look shows
}


@pytest.mark.parametrize(("lie", "cause"), REVOCATIONS.values(), ids=REVOCATIONS)
def test_a_revocation_turns_all_others_and_names_the_liar(lab: Lab, bastion: Bastion, lie: Lie, cause: str) -> None:
    old = truth(lab)["queen"].token
    tells(lab, LIAR, lie)
    answer, took = turned(bastion, "revoke", *LEAKED)
    assert trouble(answer, LIAR) == cause, answer.err
    assert answer.code == (4 if cause else 0), answer.err
    assert turned_without(lab, LIAR, answer, old, retired=True)
    assert took < 45


@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_a_run_that_is_taken_up_goes_on_or_back_without_the_liar(lab: Lab, bastion: Bastion, verb: str) -> None:
    """Its bastion was killed while the queen turned, and the hive holds the staged token."""
    old = truth(lab)["queen"].token
    work = bastion.start("rotate", "--yes", "--pause", "600")
    work.until("queen: queen")
    work.send(signal.SIGKILL)
    work.end()
    tells(lab, LIAR, Lie("probe_write", "superseded"))
    answer = bastion.fab(verb, "--json")
    assert trouble(answer, LIAR) == "superseded", answer.err
    if verb == "resume":
        assert answer.code == 4
        assert turned_without(lab, LIAR, answer, old, retired=False)
    else:
        assert answer.code == 0, "asked again, with what it has staged still there, it went back as well"
        states = {host["state"] for name, host in answer.hosts.items() if name != LIAR}
        assert states <= {"rolled back", "unchanged"}, answer.err
        assert serves(lab, old, but=(LIAR,))


@pytest.mark.parametrize(("number", "cause"), [(LAST, "superseded"), (BEYOND, "record-unsound")])
def test_an_epoch_in_its_record_shuts_out_that_host_alone_and_fix_mends_it(
    lab: Lab, bastion: Bastion, number: int, cause: str
) -> None:
    """Before, each host was given the next number, and every verb of every bastion found all of them `rubbish`."""
    old = truth(lab)["queen"].token
    record = json.dumps({"epoch": number, "run": X_1, "who": "a@b"})
    lab.sh(LIAR, "mkdir -pm 700 /var/lib/hivekeys")
    lab.write(LIAR, "/var/lib/hivekeys/run", record)
    answer, _ = turned(bastion, "rotate")
    assert (answer.code, trouble(answer, LIAR)) == (4, cause), answer.err
    assert turned_without(lab, LIAR, answer, old, retired=False)

    shown = bastion.fab("fix", "--limit", LIAR, "--record", "--json")
    assert [change["part"] for change in shown.hosts[LIAR]["changes"]] == ["record"], shown.err + shown.out
    assert lab.read(LIAR, "/var/lib/hivekeys/run") == record, "it was only shown"
    mended = bastion.fab("fix", "--limit", LIAR, "--record", "--apply", "--json")
    assert mended.code == 0, mended.err
    assert lab.read(LIAR, "/var/lib/hivekeys/run.unsound") == record
    again, _ = turned(bastion, "rotate")
    assert again.code == 0, again.err
    assert {host["state"] for host in again.hosts.values()} == {"proven"}


def test_tokens_that_no_run_would_write_stop_no_revocation(lab: Lab, bastion: Bastion) -> None:
    """The fleet's has 32 digits, as the guide's `uuidgen | tr -d '-'` makes it; one hive's account has put one of five
    letters beside it, root of another the digits of its fingerprint, which every honest answer quotes.
    """
    old = secrets.token_hex(16)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(serve, lab, old), lab.hosts))
    key = state_folder.fingerprint_key(state_folder.folder_for(lab.name, str(bastion.home)))
    planted = {"hive2": "short", LIAR: Token(old).fingerprint(key).keyed}
    for name, text in planted.items():
        lab.write(name, f"{SECRETS}/api-token.backup", f"{text}\n", mode=0o600, owner="llama-orch:llama-orch")
    answer, took = turned(bastion, "revoke", *LEAKED)
    assert {name for name in answer.hosts if trouble(answer, name)} <= {LIAR}, answer.err
    assert answer.code == (4 if trouble(answer, LIAR) else 0)
    assert turned_without(lab, LIAR, answer, old, retired=True)
    assert took < 30


def serve(lab: Lab, token: str, name: str) -> None:
    put_token(lab, name, token)
    restart(lab, name)
    assert eventually(lambda: status(lab.hosts[name], token) == 200)
