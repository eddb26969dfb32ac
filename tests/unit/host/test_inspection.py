"""What the verb `inspect` counts of a token, and how its text is sent with the agent's."""

import base64
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hivekeys.host.slots import Secrets
from hivekeys.host.verbs import inspect
from hivekeys.protocol.program import program_of


@pytest.mark.parametrize(
    ("token", "counts"),
    [
        ("ab" * 32, {"chars": 64, "symbols": 2, "run": 2, "period": 2, "digits": 0, "words": 0}),
        ("a" * 64, {"chars": 64, "symbols": 1, "run": 64, "period": 1, "digits": 0, "words": 0}),
        ("0123456789", {"chars": 10, "symbols": 10, "run": 10, "period": 10, "digits": 10, "words": 0}),
        ("9876xyz", {"chars": 7, "symbols": 7, "run": 4, "period": 7, "digits": 4, "words": 0}),
        ("abcabcab", {"chars": 8, "symbols": 3, "run": 3, "period": 3, "digits": 0, "words": 0}),
        ("x", {"chars": 1, "symbols": 1, "run": 1, "period": 1, "digits": 0, "words": 0}),
        ("Password-2027", {"chars": 13, "symbols": 11, "run": 2, "period": 13, "digits": 4, "words": 1}),
        ("llama-orch/API_TOKEN", {"chars": 20, "symbols": 18, "run": 2, "period": 20, "digits": 0, "words": 2}),
    ],
)
def test_counts_tell_what_a_token_is_made_of(token: str, counts: dict[str, int]) -> None:
    assert inspect.quality(token) == counts


def test_a_random_token_is_not_taken_for_words() -> None:
    """Hex digits as the guide makes them, and base64, whose letters could spell anything."""
    source = random.Random(4)  # noqa: S311  the same ones each time
    for _ in range(1000):
        bytes_ = source.randbytes(48)
        for token in (bytes_.hex(), base64.b64encode(bytes_).decode()):
            counts = inspect.quality(token)
            assert counts["digits"] and not counts["words"]


def test_the_longest_token_is_counted_in_no_time() -> None:
    """Whoever owns the file chooses its text: it must not keep root busy. A wrong way takes minutes here."""
    longest = "a" * 2047 + "b" + "a" * 2048
    assert inspect.quality(longest)["period"] == 2049


@pytest.mark.parametrize(
    ("name", "stray"),
    [
        ("api-token.old", True),
        ("api-token-new", True),
        (".api-token.swp", True),
        ("#api-token#", True),  # emacs
        (".#api-token", True),
        ("tls.key~", True),
        ("worker-token", False),
        ("api-tokenizer-model.json", False),
        ("tls.key", False),
    ],
)
def test_copies_are_known_by_their_names(name: str, stray: bool) -> None:
    assert inspect.is_stray(name, Secrets("/", {"token": "/x/api-token", "unit": "x.service"}, b"")) is stray


def test_an_access_list_is_none_where_the_disk_knows_none(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert inspect.has_acl(folder) is False
    finally:
        os.close(folder)


def test_an_agent_with_more_verbs_still_begins_its_work_last(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_bytes(program_of("inspect"))
    done = subprocess.run([sys.executable, "-IS", str(program)], input=b"", capture_output=True, timeout=30, check=True)
    assert done.stdout.split()[0] == b"hivekeys:ready"
    assert done.stderr == b""


TOKEN = "/etc/llama-orch/secrets/api-token"


@pytest.mark.parametrize(
    ("rules", "watched"),
    [
        ("No rules", False),
        (f"-w {TOKEN} -p r -k secret-access", True),  # the guide's own
        (f"-w {TOKEN} -p rwxa", True),
        (f"-w {TOKEN} -p wa -k changes", False),  # nobody would see it being read
        ("-w /etc/llama-orch -p r", True),
        ("-w /etc/llama-orch/secrets/ -p r", True),
        ("-w /etc/llama-orch/secrets/api -p r", False),
        ("-w /etc/passwd -p wa\n-w /etc/llama-orch/secrets -p r", True),
        (f"-a always,exit -F path={TOKEN} -F perm=r -F key=secret-access", True),
        ("-a always,exit -S all -F dir=/etc/llama-orch -F perm=wa", False),
        ("-a always,exit -F arch=b64 -S openat -F dir=/etc", True),
    ],
)
def test_an_audit_watch_is_one_that_sees_the_token_being_read(rules: str, watched: bool) -> None:
    """As `auditctl -l` prints them; tests/ssh/test_auditd.py has a real one."""
    assert inspect.watches(rules, TOKEN) is watched
