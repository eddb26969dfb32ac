"""`[approval]` as it is written: understood, kept when it is written anew, or refused with what is expected."""

import subprocess
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import Approval
from hivekeys.inventory.written import toml
from tests.builders.loading import load
from tests.builders.persons import Person, person

HEAD = 'fleet = "f"\n[hosts.queen]\nrole = "queen"\n[approval]\n'
TOUCHED = (  # on a token that has to be touched
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIK7rYpnwpOZnAeS0LUk0AcvpR3QsKjRjUqGBGBtl"
    "hlHyAAAABHNzaDo= carol@yubikey"
)


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return person(tmp_path_factory.mktemp("keys"))


def approval(folder: Path, body: str) -> Approval:
    file = folder / "f.toml"
    file.write_text(HEAD + body)
    fleet = load(file)
    assert fleet.approval
    (folder / "again.toml").write_text(toml(fleet))
    assert load(folder / "again.toml").approval == fleet.approval, "written anew it means the same"
    return fleet.approval


def refused(folder: Path, body: str, *says: str) -> None:
    with pytest.raises(UserError) as error:
        approval(folder, body)
    assert all(words in error.value.message for words in ("f.toml: approval", *says)), error.value.message


def test_one_key_is_enough_and_a_plan_is_valid_for_a_week(tmp_path: Path, bob: Person) -> None:
    found = approval(tmp_path, f'keys = ["{bob.public}"]\n')
    assert found == Approval((bob.approver,), needed=1, valid=7 * 86_400.0)
    assert approval(tmp_path, f'keys = "{bob.public}"\n') == found


def test_keys_of_every_kind_may_stand_there(tmp_path: Path, bob: Person) -> None:
    others = [person(tmp_path, "carol@example", kind).public for kind in ("ecdsa", "rsa")]
    keys = ", ".join(f'"{key}"' for key in [bob.public, *others, TOUCHED])
    found = approval(tmp_path, f'keys = [{keys}]\nneeded = 3\nvalid = "36h"\n')
    assert (len(found.keys), found.needed, found.valid) == (4, 3, 36 * 3_600.0)


def test_a_person_with_two_keys_is_one_person(tmp_path: Path, bob: Person) -> None:
    keys = f'keys = ["{bob.public}", "{person(tmp_path, kind="ecdsa").public}"]\n'
    assert approval(tmp_path, keys).needed == 1
    refused(tmp_path, f"{keys}needed = 2\n", "expected keys of at least 2 persons", "there are 1, by name")


def test_a_fingerprint_is_the_one_that_ssh_keygen_shows(bob: Person) -> None:
    shown = subprocess.run(["ssh-keygen", "-lf", f"{bob.file}.pub"], capture_output=True, text=True, check=True).stdout
    assert bob.approver.fingerprint == shown.split()[1]


def test_each_mistake_is_named_with_the_key_that_has_it(tmp_path: Path, bob: Person) -> None:
    public = bob.public
    other = public.replace("ssh-ed25519", "ssh-dss", 1)
    refused(tmp_path, "needed = 1\n", "approval.keys: missing")
    refused(tmp_path, "keys = []\n", "found []")
    refused(tmp_path, f'keys = ["{public}", "{public}"]\n', "key 2 (bob@example) is key 1 again")
    refused(tmp_path, f'keys = ["{public.removesuffix(" bob@example")}"]\n', "key 1 is none", "a name")
    refused(tmp_path, f'keys = ["{public.replace("bob@", "bob *@")}"]\n', "key 1 is none")
    refused(tmp_path, f'keys = ["{other}"]\n', "key 1 (bob@example) is of another kind")
    refused(
        tmp_path, f'keys = ["{public.replace(" bob", "AAAA bob")}"]\n', "key 1 (bob@example) was cut off or changed"
    )
    refused(tmp_path, f'keys = ["{public}"]\nvalid = 7\n', 'found 7, expected a text such as "4h"')
    refused(tmp_path, f'keys = ["{public}"]\nvalid = "10s"\n', "from 1min to 365d")
    refused(tmp_path, f'keys = ["{public}"]\nneeded = 0\n', "approval.needed", "from 1 to 10")
    refused(tmp_path, f'key = ["{public}"]\n', "approval.key: unknown key, did you mean keys?")


def test_a_short_rsa_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "short"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-C", "a@b", "-f", file],
        check=True,
        capture_output=True,
    )
    refused(tmp_path, f'keys = ["{Path(f"{file}.pub").read_text().strip()}"]\n', "has 1024 bits: RSA keys need 2048")


def test_a_private_key_is_not_shown(tmp_path: Path, bob: Person) -> None:
    body = bob.file.read_text()
    refused(tmp_path, f"keys = ['''{body}''']\n", "found a secret key", "replace it")
    with pytest.raises(UserError) as error:
        approval(tmp_path, f"keys = ['''{body}''']\n")
    assert body.splitlines()[1][:30] not in error.value.message
