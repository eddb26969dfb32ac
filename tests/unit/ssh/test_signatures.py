"""Signatures of persons, by the real `ssh-keygen`: which count, and that a changed byte is never one of them."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivekeys.errors import UserError
from hivekeys.ssh.signatures import MOST, signers
from tests.builders.persons import Person, person

MESSAGE = b'{"form": "a plan"}\n'
FOR = "hivekeys-plan@v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def bob(folder: Path) -> Person:
    return person(folder)


@pytest.fixture(scope="module")
def signature(bob: Person) -> bytes:
    return bob.signature(MESSAGE, FOR)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_signature_names_the_person_whose_key_it_is(folder: Path, bob: Person, kind: str) -> None:
    carol = person(folder, "carol@example", kind)
    (signed,) = signers(MESSAGE, carol.signature(MESSAGE, FOR), [bob.approver, carol.approver], FOR, "FILE.sig")
    assert (signed.person, signed.key) == ("carol@example", carol.approver.key)
    assert signed.fingerprint == carol.approver.fingerprint
    assert signed.lines[0] == "-----BEGIN SSH SIGNATURE-----"


def test_several_stand_one_after_the_other(folder: Path, bob: Person, signature: bytes) -> None:
    dave = person(folder, "dave@example")
    both = signature + dave.signature(MESSAGE, FOR)
    found = signers(MESSAGE, both, [dave.approver, bob.approver], FOR, "FILE.sig")
    assert [signed.person for signed in found] == ["bob@example", "dave@example"]


def refused(message: bytes, signature: bytes, bob: Person, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        signers(message, signature, [bob.approver], FOR, "FILE.sig")
    assert error.value.message.startswith("FILE.sig: ") and error.value.hint


def test_a_key_that_is_not_listed_is_refused_by_its_fingerprint(folder: Path, bob: Person) -> None:
    eve = person(folder, "eve@example")
    signature = eve.signature(MESSAGE, FOR)
    refused(MESSAGE, signature, bob, f"a key that is none of .approval.: {re.escape(eve.approver.fingerprint)}")


def test_one_that_is_not_listed_spoils_those_that_are(folder: Path, bob: Person, signature: bytes) -> None:
    mallory = person(folder, "mallory@example")
    refused(MESSAGE, signature + mallory.signature(MESSAGE, FOR), bob, "a key that is none of")


def test_a_signature_for_something_else_is_refused(bob: Person) -> None:
    """A person who signs files and mails has not approved plans by that."""
    refused(MESSAGE, bob.signature(MESSAGE, "file"), bob, r"bob@example signed it for another purpose \(file\)")


def test_another_message_is_refused(bob: Person, signature: bytes) -> None:
    refused(MESSAGE + b"\n", signature, bob, "bob@example is not valid: what was signed, or the signature, was changed")


@pytest.mark.parametrize("what", ["", "no signature", "-----BEGIN SSH SIGNATURE-----\n", "\0" * 100])
def test_what_is_no_signature_is_refused(bob: Person, what: str) -> None:
    refused(MESSAGE, what.encode(), bob, "is not as `ssh-keygen -Y sign` writes it")


def test_more_than_anybody_needs_are_refused(bob: Person, signature: bytes) -> None:
    refused(MESSAGE, signature * (MOST + 1), bob, "is not as")


# Each example starts `ssh-keygen`, or is refused before it.
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(data=st.data())
def test_whatever_byte_of_the_signature_is_changed_it_is_refused(
    bob: Person, signature: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(signature) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != signature[at]))
    with pytest.raises(UserError):
        signers(MESSAGE, signature[:at] + bytes([byte]) + signature[at + 1 :], [bob.approver], FOR, "FILE.sig")


@FEW
@given(data=st.data())
def test_whatever_byte_of_the_message_is_changed_it_is_refused(
    bob: Person, signature: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(MESSAGE) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != MESSAGE[at]))
    with pytest.raises(UserError):
        signers(MESSAGE[:at] + bytes([byte]) + MESSAGE[at + 1 :], signature, [bob.approver], FOR, "FILE.sig")


@given(at=st.integers(0, 10_000), added=st.binary(min_size=1, max_size=4))
@FEW
def test_whatever_is_added_to_the_signature_it_is_refused(bob: Person, signature: bytes, at: int, added: bytes) -> None:
    at %= len(signature) + 1
    with pytest.raises(UserError):
        signers(MESSAGE, signature[:at] + added + signature[at:], [bob.approver], FOR, "FILE.sig")
