"""Debian's `age` opens what we seal and we open what it seals, for every kind of key; what is weak is refused."""

import subprocess
from pathlib import Path

import pytest

from hivekeys import age
from hivekeys.age import identities, recipients, seal, unseal, unseal_by_passphrase
from hivekeys.errors import UserError
from tests.builders.terminal import typed

LOW_ORDER = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"
LOW_ORDER_SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
PLAIN = b"a secret\nand a second line\n"


def run(*argv: str | Path, given: bytes = b"") -> bytes:
    return subprocess.run(argv, input=given, capture_output=True, check=True, timeout=60).stdout


def keygen(path: Path, *options: str) -> Path:
    run("ssh-keygen", "-q", "-N", "", "-f", path, *options)
    return path


def nobody(question: str) -> str:
    raise AssertionError(f"nobody is to be asked: {question}")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Secret and public half of each kind of key, in files, made by their own programs."""
    folder = tmp_path_factory.mktemp("keys")
    secret, public = folder / "age", folder / "age.txt"
    run("age-keygen", "-o", secret)
    public.write_bytes(b"# for the safe\n\n" + run("age-keygen", "-y", secret))
    ed25519 = keygen(folder / "ed25519", "-t", "ed25519")
    rsa = keygen(folder / "rsa", "-t", "rsa", "-b", "2048", "-m", "PEM")
    return {
        "age": (secret, public),
        "ssh-ed25519": (ed25519, ed25519.with_suffix(".pub")),
        "ssh-rsa": (rsa, rsa.with_suffix(".pub")),
    }


@pytest.mark.parametrize("kind", ["age", "ssh-ed25519", "ssh-rsa"])
def test_age_opens_what_we_seal_and_we_open_what_it_seals(keys: dict[str, tuple[Path, Path]], kind: str) -> None:
    secret, public = keys[kind]
    assert run("age", "-d", "-i", secret, given=seal(PLAIN, recipients([str(public)])).encode()) == PLAIN
    theirs = run("age", "-a", "-R", public, given=PLAIN).decode()
    assert unseal(theirs, identities(str(secret), nobody), "f") == PLAIN


def test_each_of_several_recipients_opens_it(keys: dict[str, tuple[Path, Path]]) -> None:
    itself, *files = (public for _, public in keys.values())
    block = seal(PLAIN, recipients([itself.read_text().splitlines()[-1], *map(str, files)]))
    assert [unseal(block, identities(str(secret), nobody), "f") for secret, _ in keys.values()] == [PLAIN] * 3


def test_a_passphrase_opens_it_here_and_there(tmp_path: Path) -> None:
    """And a key that lies sealed by one, as `age -p` makes it. scrypt takes seconds on purpose."""
    words = "four words by dice"
    (tmp_path / "ours").write_text(seal(PLAIN, age.passphrase(words, words)))
    code, shown = typed(["age", "-d", "-o", tmp_path / "plain", tmp_path / "ours"], ("passphrase", words))
    assert (code, (tmp_path / "plain").read_bytes()) == (0, PLAIN), shown
    run("age-keygen", "-o", tmp_path / "key")
    typed(["age", "-p", "-a", "-o", tmp_path / "key.age", tmp_path / "key"], ("passphrase", words), ("onfirm", words))
    public = run("age-keygen", "-y", tmp_path / "key").decode().strip()
    opened = identities(str(tmp_path / "key.age"), lambda _: words)
    assert unseal(seal(PLAIN, recipients([public])), opened, "f") == PLAIN
    with pytest.raises(UserError, match="the passphrase does not open it"):
        unseal_by_passphrase((tmp_path / "key.age").read_bytes(), "another one altogether", "f")


@pytest.mark.parametrize("form", [(), ("-m", "PEM")], ids=["openssh", "pem"])
def test_an_ssh_key_under_a_passphrase_is_asked_for_it(tmp_path: Path, form: tuple[str, ...]) -> None:
    secret = tmp_path / "id"
    run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "open sesame", "-f", secret, *form)
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "open sesame"

    opened = identities(str(secret), answer)
    assert unseal(seal(PLAIN, recipients([f"{secret}.pub"])), opened, "f") == PLAIN
    assert asked == [f"Passphrase of {secret}: "]
    with pytest.raises(UserError, match="the passphrase is wrong"):
        identities(str(secret), lambda _: "wrong")


def test_a_file_that_is_not_sealed_for_the_key_says_so(keys: dict[str, tuple[Path, Path]]) -> None:
    block = seal(PLAIN, recipients([str(keys["age"][1])]))
    with pytest.raises(UserError, match="is not sealed for this key"):
        unseal(block, identities(str(keys["ssh-ed25519"][0]), nobody), "f")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age1foo", "recipient age1foo…: is no public key that age knows"),
        ("ssh-ed25519 AAAA", "is no public key that age knows"),
        ("ecdsa.pub", "recipient ecdsa.pub, line 1: is no public key that age knows"),
        ("weak.pub", "an RSA key of fewer than 2048 bits is too weak"),
        (LOW_ORDER, "anyone could open"),
        (LOW_ORDER_SSH, "anyone could open"),
        ("gone.pub", "gone.pub: No such file or directory"),
        (".", ".: is no file"),
        ("empty", "empty: holds no public key"),
        ("binary", "binary: is no file of public keys"),
    ],
)
def test_a_recipient_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    keygen(tmp_path / "ecdsa", "-t", "ecdsa")
    keygen(tmp_path / "weak", "-t", "rsa", "-b", "1024")
    (tmp_path / "empty").write_text("# nobody\n\n")
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    with pytest.raises(UserError) as caught:
        recipients([text])
    assert said in caught.value.message
    assert caught.value.hint


def test_a_secret_where_a_public_key_belongs_is_not_shown(keys: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    secret = keys["age"][0].read_text().splitlines()[-1]
    (tmp_path / "token").write_text("f3c1" * 16)
    for text in (secret, str(keys["age"][0]), str(keys["ssh-ed25519"][0]), str(tmp_path / "token")):
        with pytest.raises(UserError) as caught:
            recipients([text])
        assert secret[20:30] not in caught.value.message
        assert "f3c1" not in caught.value.message


@pytest.mark.parametrize("name", ["gone", "public", "empty"])
def test_a_file_without_a_secret_key_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "public").write_text("ssh-ed25519 AAAA somebody\n")
    (tmp_path / "empty").write_text("")
    with pytest.raises(UserError) as caught:
        identities(str(tmp_path / name), nobody)
    assert "AGE-SECRET-KEY-1…" in caught.value.hint


def test_a_short_passphrase_and_a_slip_of_the_fingers_are_refused() -> None:
    with pytest.raises(UserError, match="fewer than 12"):
        age.passphrase("short", "short")
    with pytest.raises(UserError, match="differ"):
        age.passphrase("long enough indeed", "long enough indeed ")
    assert "long" not in repr(age.passphrase("long enough indeed", "long enough indeed"))
