"""A backup file says what it is in the open, and nobody can change a word of that unseen."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from hivekeys import age
from hivekeys.age import Recipients
from hivekeys.backups import backup, shelf
from hivekeys.backups import folder as backup_folder
from hivekeys.backups.backup import Backup, Header
from hivekeys.backups.folder import Order, list_backups, put
from hivekeys.backups.shelf import BackupFile, expired
from hivekeys.backups.signature import Maker, maker, name_of, sign, signer_id
from hivekeys.errors import ExitCode, UserError
from hivekeys.report.evidence import key_id, public_pem
from hivekeys.token import Fingerprint, Token, generate, key_name
from tests.builders.documents import valid

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
AT = datetime(2026, 11, 24, 23, 30, 18, tzinfo=UTC)
TOKEN = generate()
SECRET = pyrage.x25519.Identity.generate()
WHOM = Recipients((SECRET.to_public(),))
SIGNER, STRANGER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (7, 8))
OURS = SIGNER.public_key()
UNSIGNED = Header("paper", "paper-1a2b", TOKEN.fingerprint(KEY), key_name(KEY), AT)
HEADER = replace(UNSIGNED, signer=name_of(OURS))


def file_of(header: Header, token: Token = TOKEN, signer: Ed25519PrivateKey = SIGNER) -> bytes:
    block = age.seal(backup.plain(header, token), WHOM)
    return backup.text_of(header, block, sign(header, block, signer) if header.signer else b"").encode()


def token_of(data: bytes, key: bytes = KEY) -> Token:
    sealed = backup.parse(data, "f")
    return backup.token_in(sealed, age.unseal(sealed.block, [SECRET], "f"), key, "f")


FILE = file_of(HEADER)


def refused(data: bytes, key: bytes = KEY) -> str:
    with pytest.raises(UserError) as caught:
        token_of(data, key)
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.hint
    assert TOKEN.reveal()[:12] not in caught.value.message + caught.value.hint
    return caught.value.message


def test_what_was_sealed_comes_back_with_its_header() -> None:
    sealed = backup.parse(FILE, "f")
    assert sealed.header == HEADER
    assert sealed.kinds == ("age",)
    assert token_of(FILE) == TOKEN


def test_the_header_holds_nothing_of_the_token_and_the_file_is_plain_ascii() -> None:
    assert FILE.isascii()
    assert TOKEN.reveal()[:12].encode() not in FILE
    assert FILE.decode().startswith("hivekeys-backup: 2\nfleet: paper\nrun: paper-1a2b\ntoken: ")


def test_every_byte_of_the_header_and_the_seal_counts() -> None:
    """Each one changed in turn: refused by the header's form, by age or the digest that is sealed; and not ours."""
    for place in range(len(FILE.rstrip())):
        changed = FILE[:place] + bytes([FILE[place] ^ 1]) + FILE[place + 1 :]
        assert maker_of(changed) in (None, Maker.CHANGED, Maker.NOBODY)
        if not FILE.index(b"signature: ") <= place < FILE.index(backup.BLOCK.encode() + b"\n"):
            refused(changed)


@pytest.mark.parametrize(
    "changed",
    [
        replace(HEADER, fleet="elsewhere"),
        replace(HEADER, run=""),
        replace(HEADER, made=AT + timedelta(days=90)),
        replace(HEADER, key=key_name(OTHER_KEY)),
        replace(HEADER, fingerprint=generate().fingerprint(KEY)),
    ],
)
def test_a_header_before_a_seal_that_is_not_its_own_is_found_out(changed: Header) -> None:
    sealed = backup.parse(FILE, "f")
    assert "it was changed" in refused(backup.text_of(changed, sealed.block, sealed.signature).encode())


def test_who_has_only_the_public_key_cannot_pass_another_token_off_as_the_fleets() -> None:
    """Anybody can seal for a public key; the fingerprint needs the bastion's own key."""
    assert "not the one that its header names" in refused(file_of(HEADER, generate()))
    forged = replace(HEADER, fingerprint=Fingerprint(HEADER.fingerprint.keyed, generate().fingerprint(KEY).fp6))
    assert "not the one that its header names" in refused(file_of(forged))


def test_a_bastion_with_another_key_still_opens_it() -> None:
    assert token_of(FILE, OTHER_KEY) == TOKEN
    assert "not the one that its header names" in refused(file_of(HEADER, generate()), OTHER_KEY)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no backup"),
        (b"\x00\xff" * 100, "is no backup"),
        (FILE.replace(b"backup: 2", b"backup: 3", 1), "written by a newer hivekeys (format 3, this one knows 2)"),
        (FILE[FILE.index(b"-----BEGIN AGE ENC") :], "an age file without a header"),
        (b"age-encryption.org/v1\n-> X25519 abc\n", "an age file without a header"),
        (FILE[: len(FILE) // 2], "cut short"),
        (FILE[:-5], "cut short"),
        (FILE.replace(b"fleet: paper", b"fleet: ../paper"), "its header was changed"),
        (FILE.replace(b"made: 2026-11", b"made: 2026-13"), "cut short or changed"),
        (FILE.replace(b"age -d", b"rm -rf"), "its header was changed"),
        (FILE + b"x" * backup.LARGEST, "is larger than"),
        (FILE.replace(b"\n", b"\r\n"), "is no backup"),
    ],
)
def test_a_file_that_is_no_whole_backup_is_refused_before_anything_is_opened(data: bytes, said: str) -> None:
    with pytest.raises(UserError) as caught:
        backup.parse(data, "f")
    assert said in caught.value.message


def test_another_fleets_backup_and_a_revoked_one_are_refused_by_the_header_alone() -> None:
    sealed = backup.parse(FILE, "f")
    with pytest.raises(UserError, match="backup of fleet paper, not of production"):
        backup.refuse_early(sealed, "production", {}, "f")
    with pytest.raises(UserError, match="was revoked by run paper-9: nothing may write it again"):
        backup.refuse_early(sealed, "paper", {TOKEN.fingerprint(KEY): "paper-9"}, "f")
    backup.refuse_early(sealed, "paper", {generate().fingerprint(KEY): "paper-9"}, "f")


# -- who made it


def maker_of(data: bytes) -> Maker | None:
    """None for a file that is refused as it stands."""
    try:
        return maker(backup.parse(data, "f"), OURS)
    except UserError:
        return None


def test_a_backup_that_this_bastion_signed_is_known_as_its_own() -> None:
    assert maker_of(FILE) is Maker.OURS
    assert signer_id(HEADER) == key_id(OURS)


def test_an_old_backup_has_no_signature_and_is_read_all_the_same() -> None:
    old = file_of(UNSIGNED)
    assert old.startswith(b"hivekeys-backup: 1\n")
    assert maker_of(old) is Maker.NOBODY
    assert signer_id(UNSIGNED) == ""
    assert token_of(old) == TOKEN


def test_one_that_a_host_forged_with_the_fleets_key_is_nobodys() -> None:
    """Its root knows the key of fingerprints and whom backups are for: all that an unsigned one is made of."""
    forged = file_of(replace(UNSIGNED, fingerprint=(other := generate()).fingerprint(KEY)), other)
    assert token_of(forged) == other, "nothing else in it tells"
    assert maker_of(forged) is Maker.NOBODY


def test_one_that_names_this_bastion_and_was_signed_by_a_stranger_is_found_out() -> None:
    other = generate()
    assert maker_of(file_of(replace(HEADER, fingerprint=other.fingerprint(KEY)), other, STRANGER)) is Maker.CHANGED


def test_a_strangers_signature_is_his_own_and_names_him() -> None:
    his = replace(HEADER, signer=name_of(STRANGER.public_key()))
    assert maker_of(file_of(his, signer=STRANGER)) is Maker.ELSEWHERE
    assert signer_id(his) == key_id(STRANGER.public_key())


def test_a_signature_of_another_backup_does_not_fit() -> None:
    later = backup.parse(file_of(replace(HEADER, made=AT + timedelta(days=1))), "f")
    sealed = backup.parse(FILE, "f")
    swapped = backup.text_of(sealed.header, sealed.block, later.signature).encode()
    assert maker_of(swapped) is Maker.CHANGED
    block = backup.text_of(sealed.header, later.block, sealed.signature).encode()
    assert maker_of(block) is Maker.CHANGED


def test_a_signature_cannot_be_taken_away() -> None:
    lines = FILE.splitlines(keepends=True)
    no_signature = b"".join(line for line in lines if not line.startswith(b"signature: "))
    no_signer = b"".join(line for line in lines if not line.startswith((b"signature: ", b"signed-by: ")))
    for data in (no_signature, no_signer):
        assert "its signature was taken away" in refused(data)
    assert "it was changed" in refused(no_signer.replace(b"backup: 2", b"backup: 1", 1))


def test_openssl_comes_to_the_same_verdict(tmp_path: Path) -> None:
    (tmp_path / "FILE").write_bytes(FILE)
    (tmp_path / "evidence.pub").write_bytes(public_pem(OURS))
    script = (
        "sed -n 's/^signature: //p' FILE | base64 -d >sig && sed '/^signature: /d' FILE >signed && "
        "openssl pkeyutl -verify -pubin -inkey evidence.pub -rawin -in signed -sigfile sig"
    )
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Signature Verified Successfully" in done.stdout


def test_a_token_that_would_be_too_weak_today_comes_back_all_the_same() -> None:
    old = Token("from-before-anybody-counted")
    assert token_of(file_of(replace(HEADER, fingerprint=old.fingerprint(KEY)), old)) == old


# -- the folder


def taken(state: Path, token: Token, day: int, keep: int | None = None) -> shelf.BackupResult:
    now = (AT + timedelta(days=day)).timestamp()
    return put(token, KEY, "paper", "", now, order=Order(WHOM, keep=keep), state=state, signer=SIGNER)


def test_a_backup_is_its_owners_alone_and_found_again(tmp_path: Path) -> None:
    path = Path((taken(tmp_path, TOKEN, 0).file or BackupFile("")).path)
    assert path.name == f"paper-20261124T233018Z-{TOKEN.fingerprint(KEY)}.backup"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    (one,) = list_backups(backup_folder.folder_in(tmp_path))
    assert one.backup is not None
    assert (one.path, one.backup.header.fingerprint, one.backup.header.run) == (str(path), TOKEN.fingerprint(KEY), "")


def test_a_backup_is_never_written_over_another(tmp_path: Path) -> None:
    order = Order(WHOM, output=str(tmp_path / "f"))
    put(TOKEN, KEY, "paper", "", 0.0, order=order, state=tmp_path, signer=SIGNER)
    before = (tmp_path / "f").read_bytes()
    with pytest.raises(UserError, match="is there already"):
        put(TOKEN, KEY, "paper", "", 0.0, order=order, state=tmp_path, signer=SIGNER)
    assert (tmp_path / "f").read_bytes() == before


def test_backups_of_the_same_second_lie_side_by_side(tmp_path: Path) -> None:
    """For two people, say, one command behind the other."""
    kept = [Path((taken(tmp_path, TOKEN, 0).file or BackupFile("")).path) for _ in range(3)]
    name = f"paper-20261124T233018Z-{TOKEN.fingerprint(KEY)}"
    assert [path.name for path in kept] == [f"{name}.backup", f"{name}-2.backup", f"{name}-3.backup"]
    assert {path.read_bytes() for path in kept} == {path.read_bytes() for path in (tmp_path / "backups").iterdir()}


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    order = Order(WHOM, output=str(tmp_path / "gone" / "f"))
    with pytest.raises(UserError, match="No such file or directory"):
        put(TOKEN, KEY, "paper", "", 0.0, order=order, state=tmp_path, signer=SIGNER)
    assert list(tmp_path.rglob("*")) == []


def test_the_newest_stay(tmp_path: Path) -> None:
    tokens = [generate() for _ in range(4)]
    for day, token in enumerate(tokens):
        taken(tmp_path, token, day, keep=2)
    left = [one.backup.header.fingerprint for one in list_backups(tmp_path / "backups") if one.backup]
    assert left == [tokens[3].fingerprint(KEY), tokens[2].fingerprint(KEY)]


def kept(day: int, token: Token, key: bytes = KEY) -> BackupFile:
    header = Header("paper", "", token.fingerprint(key), key_name(key), AT + timedelta(days=day))
    return BackupFile(f"/{day}", Backup(header, "", ("age",)))


def test_the_only_backup_of_the_token_that_is_served_stays_however_old() -> None:
    served, others = generate(), [kept(day, generate()) for day in (3, 2)]
    want, mine = served.fingerprint(KEY), key_name(KEY)
    assert expired([*others, kept(0, served)], 1, want, mine) == [others[1]]
    assert expired([*others, kept(0, served, OTHER_KEY)], 1, want, mine) == [others[1]]
    assert expired([kept(9, served), *others, kept(0, served)], 2, want, mine) == [others[1], kept(0, served)]


def test_a_file_that_is_no_backup_of_the_fleet_is_shown_and_never_removed(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    stray, other = tmp_path / "backups" / "notes.backup", tmp_path / "backups" / "other.backup"
    stray.write_text("[red]not one\x1b[31m")
    other.write_bytes(file_of(replace(HEADER, fleet="other")))
    for day in range(3):
        taken(tmp_path, generate(), day, keep=1)
    console = Console(width=200)
    with console.capture() as said:
        console.print(shelf.table(list_backups(tmp_path / "backups"), "paper", {}))
    assert stray.exists() and other.exists()
    assert "of fleet other" in said.get()
    assert "notes.backup: is no backup" in said.get()
    assert "\x1b[31m" not in said.get()


def test_the_list_marks_what_was_revoked(tmp_path: Path) -> None:
    other = generate()
    taken(tmp_path, TOKEN, 0)
    taken(tmp_path, other, 1)
    there, gone = list_backups(tmp_path / "backups"), {TOKEN.fingerprint(KEY): "paper-9"}
    console = Console(width=200)
    with console.capture() as said:
        console.print(shelf.table(there, "paper", gone))
    assert [line.count("revoked by paper-9") for line in said.get().splitlines() if ".backup" in line] == [0, 1]
    document = valid(shelf.document(there, "paper", gone, "backups"))
    entries = [(one["revoked_by"], one["usable"], one["opened_by"]) for one in document["backups"]]
    assert entries == [(None, True, ["age"]), ("paper-9", False, ["age"])]
    assert TOKEN.fingerprint(KEY).keyed not in str(document)


def test_the_command_in_the_header_needs_nothing_but_a_shell_and_age(tmp_path: Path) -> None:
    """Run as it is written, at 3 in the morning."""
    (tmp_path / "FILE").write_bytes(FILE)
    (tmp_path / "KEY").write_text(f"{SECRET}\n")
    done = subprocess.run(["sh", "-c", backup.OPEN], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{TOKEN.reveal()}\n"


def test_a_backup_that_age_sealed_anew_for_another_key_is_as_good(tmp_path: Path) -> None:
    """The header stays as it is; recipients are no part of what it is bound to. That it is not as signed is told."""
    (tmp_path / "FILE").write_bytes(FILE)
    (tmp_path / "KEY").write_text(f"{SECRET}\n")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "new"], check=True)
    head, block = "sed '/^-----BEGIN AGE/,$d' FILE", "sed -n '/^-----BEGIN AGE/,$p' FILE"
    script = f"{{ {head}; {block} | age -d -i KEY | age -a -R new.pub; }}"
    again = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=True).stdout
    sealed = backup.parse(again, "f")
    keys = age.identities(str(tmp_path / "new"), str)
    assert (sealed.header, sealed.kinds) == (HEADER, ("ssh-ed25519",))
    assert maker(sealed, OURS) is Maker.CHANGED
    assert backup.token_in(sealed, age.unseal(sealed.block, keys, "f"), KEY, "f") == TOKEN
