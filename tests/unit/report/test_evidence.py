"""Evidence: whatever happens to an archive after it was signed is told, and by name."""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet
from hivekeys.journal.chain import Row
from hivekeys.journal.events import Approved, RunEnded, Signed
from hivekeys.journal.fold import fold
from hivekeys.journal.store import Journal
from hivekeys.report.evidence import Verdict, check, key_id, members, public_key, public_pem, sealed
from hivekeys.report.evidence.archive import BLOCK, END, BrokenError, pack, unpack
from hivekeys.report.evidence.check import EVENTS
from hivekeys.report.evidence.seal import SIGNATURE, SUMS
from hivekeys.report.page import page
from tests.builders.persons import person
from tests.builders.recorded import NEW, OLD, Teller, fleet_of

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
PUB = KEY.public_key()
RUN = "paper-1a2b3c4d"


def rows_of(teller: Teller, folder: Path) -> list[Row]:
    """The events as a journal keeps them."""
    journal = Journal(folder)
    for event in teller.events:
        journal.append(RUN, event)
    rows = journal.rows(RUN)
    journal.close()
    return rows


def parts_of(teller: Teller, folder: Path, **attached: bytes) -> dict[str, bytes]:
    run = fold(teller.events)
    fleet: Fleet = teller.fleet
    told = page(run, teller.events, fleet)
    return members(
        run, rows_of(teller, folder), teller.events, fleet, told, {f"{n}.json": c for n, c in attached.items()}
    )


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    teller = Teller(fleet_of(1))
    teller.whole()
    return parts_of(teller, tmp_path_factory.mktemp("journal"), audit=b'{"rows": []}\n')


@pytest.fixture(scope="module")
def archive(parts: dict[str, bytes]) -> bytes:
    return sealed(RUN, parts, KEY)


def test_an_archive_as_it_was_written_is_valid_and_says_whose_it_is(archive: bytes) -> None:
    verdict = check(archive, PUB)
    assert verdict.faults == ()
    assert (verdict.run, verdict.key, verdict.members) == (RUN, key_id(PUB), 7)
    assert verdict.events > 10


def test_the_same_run_written_out_again_gives_the_same_bytes(archive: bytes, parts: dict[str, bytes]) -> None:
    assert sealed(RUN, parts, KEY) == archive


def test_it_holds_the_run_its_proofs_and_who_and_why(parts: dict[str, bytes]) -> None:
    facts = json.loads(parts["evidence.json"])
    assert (facts["operator"], facts["reason"], facts["exit_code"]) == ("ann@bastion", "90 days", 0)
    assert facts["hivekeys"]["run"] == "0.1.0"
    assert facts["inventory"]["sha256_at_start"] == "5e" * 32
    assert facts["attached"] == ["audit.json"]
    proofs = [host["proofs"] for host in json.loads(parts["report.json"])["hosts"]]
    assert proofs == [{"new": 200, "old": 401, "none": 401, "garbage": 401}] * 2
    assert b"<svg" in parts["report.html"]


def test_only_the_events_hold_keyed_fingerprints(parts: dict[str, bytes]) -> None:
    holding = {name for name, content in parts.items() for one in (OLD, NEW) if one.keyed.encode() in content}
    assert holding == {EVENTS}


def structural(archive: bytes) -> Iterator[int]:
    """Every byte that is no content: headers, padding, the end; and all of the signed list and its signature."""
    _, found = unpack(archive)
    at = 0
    for name, content in found.items():
        yield from range(at, at + BLOCK)
        begin, end = at + BLOCK, at + BLOCK + len(content)
        if name in (SUMS, SIGNATURE):
            yield from range(begin, end)
        at = end + -len(content) % BLOCK
        yield from range(end, at)
    yield from range(at, len(archive))


def test_a_byte_flipped_anywhere_is_detected(archive: bytes) -> None:
    dice = random.Random(20261124)  # noqa: S311  a seed, so that a failure comes again
    places = [*structural(archive), *dice.sample(range(len(archive)), 1000)]
    undetected = []
    for place in places:
        changed = bytearray(archive)
        changed[place] ^= dice.randrange(1, 256)
        if not check(bytes(changed), PUB).faults:
            undetected.append(place)
    assert undetected == []
    assert len(set(places)) > 5000


@pytest.mark.parametrize("kept", [0, 1, 511, 512, 513, 1024, 4000, -1, -512, -1024, -1025])
def test_a_truncated_archive_is_told_in_one_message(archive: bytes, kept: int) -> None:
    verdict = check(archive[:kept], PUB)
    assert len(verdict.faults) == 1, verdict


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (lambda data: data + b"\0", "bytes that belong to nothing at its end"),
        (lambda data: data + bytes(BLOCK), "bytes that belong to nothing at its end"),
        (lambda data: data + data, "bytes that belong to nothing at its end"),
        (lambda data: b"\n" + data, "no evidence archive"),
        (lambda data: bytes(BLOCK) + data, "no evidence archive"),
        (lambda data: data.removesuffix(END), "cut off after member audit.json"),
        (lambda data: data[:-BLOCK], "its last bytes are missing"),
        (lambda data: b"PK\3\4" + bytes(4000), "no evidence archive"),
        (lambda data: b"", "no evidence archive"),
        (lambda data: bytes(2 * BLOCK), "no evidence archive"),
        (lambda data: data[: 3 * BLOCK] + data, "a second member"),
    ],
)
def test_what_was_put_before_behind_or_is_something_else_is_told(archive: bytes, changed: object, fault: str) -> None:
    assert callable(changed)
    (told,) = check(changed(archive), PUB).faults
    assert fault in told


def faults(parts: dict[str, bytes], **changed: bytes | None) -> tuple[str, ...]:
    """Of an archive whose members were changed by somebody who knows its form but has no key."""
    _, found = unpack(sealed(RUN, parts, KEY))
    for name, content in changed.items():
        if content is None:
            del found[name]
        else:
            found[name] = content
    return check(pack(f"evidence-{RUN}", found), PUB).faults


def test_a_changed_member_is_named(parts: dict[str, bytes]) -> None:
    assert faults(parts, **{"report.md": b"# Done\n"}) == ("report.md was changed: its digest does not match",)


def test_a_missing_member_is_named(parts: dict[str, bytes]) -> None:
    assert "audit.json is missing" in faults(parts, **{"audit.json": None})


def test_an_added_member_is_named(parts: dict[str, bytes]) -> None:
    assert faults(parts, **{"more.txt": b"x"}) == ("more.txt was added: it is not among the signed digests",)


def test_members_in_another_order_are_told(parts: dict[str, bytes]) -> None:
    _, found = unpack(sealed(RUN, parts, KEY))
    content = found.pop("README.txt")
    assert check(pack(f"evidence-{RUN}", {**found, "README.txt": content}), PUB).faults == (
        "the members are in another order",
    )


def test_a_folder_of_another_run_is_told(parts: dict[str, bytes]) -> None:
    _, found = unpack(sealed(RUN, parts, KEY))
    (told,) = check(pack("evidence-other", found), PUB).faults
    assert told == f"the folder is evidence-other, and the run {RUN}"


def test_a_changed_event_is_named_by_its_place_in_the_chain(parts: dict[str, bytes]) -> None:
    lines = parts[EVENTS].splitlines(keepends=True)
    lines[4] = lines[4].replace(b"1790000000", b"1790000001")  # it was a second later
    assert lines[4] not in parts[EVENTS]
    told = faults(parts, **{EVENTS: b"".join(lines)})
    assert told == (f"{EVENTS} was changed: its digest does not match", f"{EVENTS}: the chain is broken at event 5")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"{}\n", "event 3 cannot be read"),
        (b"not json\n", "event 3 cannot be read"),
        (b"[" * 100_000 + b"\n", "event 3 cannot be read"),
        (b'{"number": "3", "kind": "x", "facts": "", "hash": ""}\n', "event 3 cannot be read"),
        (b'{"number": true, "kind": "x", "facts": "", "hash": ""}\n', "event 3 cannot be read"),
        (b'{"number": 3, "kind": "x", "facts": "", "hash": ""}\n', "the chain is broken at event 3"),
        (b"", "the chain is broken at event 3"),
    ],
)
def test_an_event_that_is_none_or_is_missing_is_told(parts: dict[str, bytes], line: bytes, fault: str) -> None:
    lines = parts[EVENTS].splitlines(keepends=True)
    lines[2] = line
    assert f"{EVENTS}: {fault}" in faults(parts, **{EVENTS: b"".join(lines)})


def test_events_that_were_never_there_are_told_even_if_their_owner_signed(parts: dict[str, bytes]) -> None:
    assert check(sealed(RUN, {**parts, EVENTS: b""}, KEY), PUB).faults == (f"{EVENTS}: there is no event",)


def test_a_chain_of_another_run_is_broken_from_its_first_event_on(parts: dict[str, bytes]) -> None:
    assert check(sealed("other-run", parts, KEY), PUB).faults == (f"{EVENTS}: the chain is broken at event 1",)


def test_the_key_of_another_is_told_with_both_names(archive: bytes) -> None:
    other = Ed25519PrivateKey.generate().public_key()
    (told,) = check(archive, other).faults
    assert told == f"signed with another key: it names {key_id(PUB)}, and you gave {key_id(other)}"


def test_an_archive_that_was_signed_again_by_somebody_else_is_no_evidence(parts: dict[str, bytes]) -> None:
    """Everything in it fits together, and nobody whom we know stands for it."""
    forged = sealed(RUN, {**parts, "report.md": b"# Done\n"}, Ed25519PrivateKey.generate())
    assert len(check(forged, PUB).faults) == 1


def test_a_forger_who_names_our_key_is_told_that_the_signature_does_not_match(parts: dict[str, bytes]) -> None:
    theirs = Ed25519PrivateKey.generate()
    _, found = unpack(sealed(RUN, parts, theirs))
    found[SUMS] = found[SUMS].replace(key_id(theirs.public_key()).encode(), key_id(PUB).encode())
    found[SIGNATURE] = theirs.sign(found[SUMS])
    assert check(pack(f"evidence-{RUN}", found), PUB).faults == (f"the signature does not match {SUMS}",)


@pytest.mark.parametrize("signature", [b"", b"x" * 63, b"x" * 64, b"x" * 65])
def test_a_signature_of_any_length_is_only_wrong(parts: dict[str, bytes], signature: bytes) -> None:
    assert faults(parts, **{SIGNATURE: signature}) == (f"the signature does not match {SUMS}",)


def test_a_list_of_another_form_is_refused_even_if_its_owner_signed(parts: dict[str, bytes]) -> None:
    _, found = unpack(sealed(RUN, parts, KEY))
    found[SUMS] = b"# hivekeys evidence 2\n"
    found[SIGNATURE] = KEY.sign(found[SUMS])
    assert check(pack(f"evidence-{RUN}", found), PUB) == Verdict((f"{SUMS} is not as it was written",))


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 80, ".hidden", "with blank"])
def test_no_member_has_a_name_that_leads_elsewhere(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        pack("evidence-x", {name: b""})


def test_a_header_that_promises_more_than_there_is_reads_no_further() -> None:
    whole = pack("evidence-x", {"a": b"1234"})
    with pytest.raises(BrokenError, match=r"header of member|cut off"):
        unpack(whole[:124] + b"77777777777" + whole[135:])


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
        (
            generate_private_key(SECP256R1())
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "another kind",
        ),
    ],
)
def test_a_file_that_is_no_such_key_is_a_mistake_with_a_hint(pem: bytes, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        public_key(pem, "evidence.pub")
    assert "--public-key" in caught.value.hint


def test_tools_that_everybody_has_come_to_the_same_verdict(archive: bytes, tmp_path: Path) -> None:
    """Nobody has to believe hivekeys: tar, openssl and sha256sum check it all but the frame."""
    (tmp_path / "e.tar").write_bytes(archive)
    (tmp_path / "evidence.pub").write_bytes(public_pem(PUB))
    script = f"""
    tar xf e.tar 2>&1 && cd evidence-{RUN} &&
    openssl pkeyutl -verify -pubin -inkey ../evidence.pub -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig &&
    sha256sum --strict --quiet -c SHA256SUMS &&
    openssl pkey -pubin -in ../evidence.pub -outform DER | sha256sum
    """
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done
    verified, digest = done.stdout.splitlines()
    assert verified == "Signature Verified Successfully"
    assert f"SHA256:{digest.split()[0]}" == key_id(PUB)
    (tmp_path / f"evidence-{RUN}" / "report.md").write_text("# Done\n")
    again = ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"]
    assert subprocess.run(again, cwd=tmp_path / f"evidence-{RUN}", capture_output=True, check=False).returncode == 1


def test_an_archive_of_an_approved_run_has_the_plan_and_its_signature_as_they_were_signed(tmp_path: Path) -> None:
    """And its own README says how they are checked: that line is typed here."""
    bob, plan = person(tmp_path), b'{\n  "form": "hivekeys-plan"\n}\n'
    signature = bob.signature(plan, "hivekeys-plan@v1").decode().splitlines()
    signed = Signed("bob@example", bob.approver.key, bob.approver.fingerprint, tuple(signature))
    teller = Teller(fleet_of(1))
    teller.begin()
    teller.tell(Approved("0123456789abcdef", "5e" * 32, tuple(plan.decode().splitlines()), (signed,), teller.now()))
    teller.tell(RunEnded(ExitCode.USAGE, teller.now()))
    parts = parts_of(teller, tmp_path)
    assert check(sealed(RUN, parts, KEY), PUB).faults == ()
    for name in ("plan.json", "plan.1.sig", "allowed_signers"):
        (tmp_path / name).write_bytes(parts[name])
    assert parts["plan.json"] == plan
    (how,) = (line.strip() for line in parts["README.txt"].decode().splitlines() if "ssh-keygen -Y verify" in line)
    argv = ["sh", "-c", how.replace("PERSON", "bob@example")]
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False, timeout=30).returncode == 0


def test_an_archive_of_a_run_that_nobody_had_to_approve_says_nothing_of_it(parts: dict[str, bytes]) -> None:
    assert not {"plan.json", "statement.json", "allowed_signers"} & parts.keys()
    assert b"ssh-keygen" not in parts["README.txt"]
    assert json.loads(parts["evidence.json"])["approval"] is None
