"""What is new, what has changed, what a list of fingerprints says to it."""

import subprocess
from pathlib import Path

import pytest

from hivekeys.fleet import Fleet
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_keys import KnownKeys
from hivekeys.ssh.hostkeys.trust import ServerKeys, Standing, Trusted, parse_list, writable
from hivekeys.ssh.hostkeys.trust_report import code, document, lines, table
from tests.builders.documents import valid
from tests.builders.printed import printed

ED, OLD = HostKey("ssh-ed25519", b"ed"), HostKey("ssh-ed25519", b"old")
RSA = HostKey("ssh-rsa", b"rsa")


def shown(
    *keys: HostKey, known: tuple[HostKey, ...] = (), revoked: tuple[HostKey, ...] = (), name: str = "h"
) -> ServerKeys:
    return ServerKeys(name, "f", KnownKeys(name, ("f",), known, revoked), keys)


@pytest.mark.parametrize(
    ("what", "standing"),
    [
        (shown(ED, RSA), Standing.NEW),
        (shown(ED, RSA, known=(ED, RSA)), Standing.KNOWN),
        (shown(ED, known=(ED, RSA)), Standing.KNOWN),
        (shown(ED, RSA, known=(RSA,)), Standing.MORE),
        (shown(ED, known=(OLD, ED)), Standing.KNOWN),
        (shown(ED, known=(OLD,)), Standing.CHANGED),
        (shown(ED, RSA, known=(OLD, RSA)), Standing.CHANGED),
        (shown(RSA, known=(ED,)), Standing.CHANGED),
        (shown(ED, known=(ED,), revoked=(ED,)), Standing.REVOKED),
        (shown(), Standing.CERTIFIED),
    ],
)
def test_the_standing_is_the_worst_that_is_true(what: ServerKeys, standing: Standing) -> None:
    assert what.standing is standing


def test_changed_keys_are_written_for_hosts_that_were_named_and_revoked_ones_never() -> None:
    every = [
        shown(ED, name="new"),
        shown(ED, known=(OLD,), name="changed"),
        shown(ED, known=(OLD,), name="named"),
        shown(ED, revoked=(ED,), name="revoked"),
        shown(ED, known=(ED,), name="known"),
    ]
    fresh, changed = writable(every, {"named", "revoked", "known"})
    assert [each.name for each in fresh] == ["new"]
    assert [each.name for each in changed] == ["named"]


# -- lists of fingerprints


def trusted(text: str) -> Trusted:
    found = parse_list(text)
    assert isinstance(found, Trusted), found
    return found


def test_a_list_is_what_ssh_keygen_prints_on_the_hosts_or_name_and_fingerprint(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "root@hive1", "-f", key], check=True)
    made = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True, check=True).stdout
    print_ = made.split()[1]
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"hive2,10.0.0.2 {' '.join(Path(f'{key}.pub').read_text().split()[:2])}\n")
    listed = subprocess.run(["ssh-keygen", "-lf", known_hosts], capture_output=True, text=True, check=True).stdout
    found = trusted(f"# from the console\n\n{made}{listed}HIVE3 {print_}\n")
    assert set(found.by_name) == {"hive1", "hive2", "10.0.0.2", "hive3"}
    assert set(found.by_name.values()) == {frozenset({print_})}


@pytest.mark.parametrize(
    "line",
    [
        "hive1",
        "SHA256:abc",
        f"hive1 {ED.fingerprint} x",
        f"256 {ED.fingerprint} no comment (ED25519)",
        "hive1 MD5:00:11",
    ],
)
def test_a_line_that_names_no_host_or_no_fingerprint_is_named_by_its_number(line: str) -> None:
    found = parse_list(f"h {ED.fingerprint}\n{line}\n")
    assert isinstance(found, list)
    assert found[0].startswith("line 2: expected")


def test_keys_that_are_listed_are_kept_and_types_that_are_not_are_left_out() -> None:
    agreed = trusted(f"h {ED.fingerprint}").agreed(shown(ED, RSA))
    assert isinstance(agreed, ServerKeys)
    assert agreed.presented == (ED,)


def test_a_host_may_be_listed_by_its_address() -> None:
    host = ServerKeys("hive1", "f", KnownKeys("[10.0.0.1]:22", ("f",)), (ED,), None, ("10.0.0.1",))
    assert isinstance(trusted(f"10.0.0.1 {ED.fingerprint}").agreed(host), ServerKeys)


@pytest.mark.parametrize(
    "text",
    ["", f"other {ED.fingerprint}", f"h {OLD.fingerprint}", f"h {OLD.fingerprint}\nh {RSA.fingerprint}"],
    ids=["empty", "another host's", "another key", "one of two"],
)
def test_a_list_that_does_not_have_the_key_speaks_against_the_host(text: str) -> None:
    assert isinstance(trusted(text).agreed(shown(ED, RSA)), str)


# -- the screen


def test_the_screen_folds_hosts_shows_old_and_new_and_is_loud_about_changes() -> None:
    every = [
        *(shown(ED, RSA, known=(ED, RSA), name=f"hive{n}") for n in range(1, 5)),
        *(shown(RSA, name=f"hive{n}") for n in range(5, 8)),
        shown(ED, known=(OLD,), name="hive8"),
        ServerKeys("hive9", None, KnownKeys("hive9", ()), cause=Cause(Trouble.NO_CONNECTION, "gone")),
    ]
    rows = [line.split() for line in printed(table(every), 80).splitlines() if "SHA256:" in line]
    assert rows == [
        ["hive[5:7]", "new", "rsa", RSA.fingerprint],
        ["hive8", "CHANGED", "ed25519", ED.fingerprint],
        ["was", "ed25519", OLD.fingerprint],
    ]
    said = "\n".join(lines(every, Fleet("prod", ())))
    assert "known: hive[1:4]" in said
    assert "CHANGED: hive8" in said and "--replace hive8" in said
    assert "hive9: no-connection: gone" in said
    assert code(every) == 4
    assert code(every[:4]) == 0


def test_a_program_reads_the_same() -> None:
    made = valid(document(Fleet("f", ()), [shown(ED, known=(OLD,))], [], code([shown(ED, known=(OLD,))])))
    assert made["command"] == "fab trust --fleet f --replace h"
    (host,) = made["hosts"]
    assert (host["standing"], host["written"]) == ("changed", False)
    assert host["keys"] == [{"type": "ssh-ed25519", "fingerprint": ED.fingerprint, "known": False}]
    assert host["known_keys"] == [{"type": "ssh-ed25519", "fingerprint": OLD.fingerprint}]
