"""`fab fix` on real hosts: what verify found is mended, what an attacker could have arranged is not."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab, down, up
from hivekeys.lab.files import AUDIT, SECRETS

from .asking import ACTIVE, eventually, restart, status
from .rotating import INVENTORY, Answer, fab, truth, truth_of

pytestmark = pytest.mark.lab
TOKEN = "c41d9f03e6a85b7270f2e8b16dc93a450b8e57d2f19c6a34e5a07c3d8f124b96"
# Everything that a test may have made wrong, by hand and without hivekeys.
RIGHT = f"""\
rm -rf {SECRETS} /etc/llama-orch/aside /tmp/api-token* /root/precious
chown root:root /etc/llama-orch; chmod 755 /etc/llama-orch
chown llama-orch:llama-orch {AUDIT}; chmod 750 {AUDIT}
install -d -m 700 -o llama-orch -g llama-orch {SECRETS}
umask 077; echo {TOKEN} >{ACTIVE}; chown llama-orch:llama-orch {ACTIVE}
"""
# acl(5) as the kernel keeps it: user 33 may read, and the mask takes it away again.
GIVE_ACL = """python3 -c "
import os, struct
nobody = 2**32 - 1
entries = (1, 6, nobody), (2, 4, 33), (4, 0, nobody), (16, 0, nobody), (32, 0, nobody)
os.setxattr('%s', 'system.posix_acl_access', struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in entries))
"
"""
GUIDES_WAY = f"""\
rm -rf {SECRETS}
chown root:root /etc/llama-orch
mkdir -p {SECRETS}
printf {TOKEN} >/tmp/api-token
mv /tmp/api-token {ACTIVE}
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """A queen with credentials, and a hive whose systemd has none: it reads the file itself."""
    name = f"lab-mend{os.getpid()}"
    try:
        yield up(name, hives=1, releases=("bookworm", "bullseye"), inventory_dir=INVENTORY, token=TOKEN)
    finally:
        down(name, inventory_dir=INVENTORY)


@pytest.fixture
def lab(pair: Lab) -> Iterator[Lab]:
    yield pair
    for name, host in pair.hosts.items():
        pair.sh(name, RIGHT)
        restart(pair, name)
        assert eventually(lambda: status(host, TOKEN) == 200)  # noqa: B023  called at once


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def fix(lab: Lab, state: Path, *words: str) -> Answer:
    return fab("fix", "--fleet", lab.name, "--json", *words, state=state)


def failed_checks(lab: Lab, state: Path) -> set[tuple[str, str]]:
    findings = fab("verify", "--fleet", lab.name, "--json", state=state).document["findings"]
    return {(one["check"], one["host"]) for one in findings if one["verdict"] == "fail"}


def parts(answer: Answer, host: str, *, refused: bool = False) -> list[str]:
    """The parts of a host that were (or would be) mended, or that stay as they are."""
    assert answer.out, answer.err
    return [one["part"] for one in answer.hosts[host]["changes"] if bool(one["refused"]) is refused]


@pytest.mark.parametrize(
    ("part", "make_wrong"),
    [
        ("directory", f"chmod 755 {SECRETS}"),
        ("directory", f"chgrp root {SECRETS}"),
        ("file-mode", f"chmod 644 {ACTIVE}"),
        ("file-mode", f"chown root:root {ACTIVE}"),
        ("acl", GIVE_ACL % ACTIVE),
        ("parents", "chmod 777 /etc/llama-orch"),
        ("audit", f"chmod 755 {AUDIT}"),
    ],
)
def test_what_is_wrong_is_shown_then_mended_then_nothing_is_left_to_do(
    lab: Lab, state: Path, part: str, make_wrong: str
) -> None:
    started = {name: host.started for name, host in truth(lab).items()}
    for name in lab.hosts:
        lab.sh(name, make_wrong)
    shown = fix(lab, state)
    assert (shown.code, parts(shown, "queen"), parts(shown, "hive1")) == (6, [part], [part]), shown.out
    mended = fix(lab, state, "--apply")  # had the look changed anything, there would be nothing to mend
    assert (mended.code, parts(mended, "queen"), parts(mended, "hive1")) == (0, [part], [part])
    assert not failed_checks(lab, state)
    assert {name: host.started for name, host in truth(lab).items()} == started
    again = fix(lab, state, "--apply")
    assert (again.code, parts(again, "queen"), parts(again, "hive1")) == (0, [], [])


def test_a_token_put_there_as_the_guide_does_is_mended(lab: Lab, state: Path) -> None:
    for name in lab.hosts:
        lab.sh(name, GUIDES_WAY)
        restart(lab, name)
    answer = fix(lab, state, "--apply")
    assert {name: parts(answer, name) for name in lab.hosts} == {name: ["file-mode", "directory"] for name in lab.hosts}
    told = [(one["before"], one["after"]) for host in answer.hosts.values() for one in host["changes"]]
    due = "llama-orch:llama-orch"
    assert told == [("0644 root:root", f"0600 {due}"), ("0755 root:root", f"0700 {due}")] * len(lab.hosts)
    assert {truth_of(lab, name).files["api-token"] for name in lab.hosts} == {f"600 {due}"}
    for name, host in lab.hosts.items():
        restart(lab, name)  # the hive reads its file itself, and would not start on one that is open to all
        assert eventually(lambda: status(host, TOKEN) == 200)  # noqa: B023  called at once
    assert not failed_checks(lab, state)  # the token has no final newline


def test_copies_are_removed_only_when_asked_for(lab: Lab, state: Path) -> None:
    lab.sh("hive1", f"cp -p {ACTIVE} {ACTIVE}.old; touch '{SECRETS}/api-token\nold' '/tmp/api-token new'")
    left = fix(lab, state, "--apply")
    assert (left.code, parts(left, "hive1", refused=True)) == (6, ["strays"] * 3)
    removed = fix(lab, state, "--apply", "--strays")
    assert (removed.code, parts(removed, "hive1")) == (0, ["strays"] * 3)
    assert not failed_checks(lab, state)


def test_the_only_copy_of_a_token_is_no_stray(lab: Lab, state: Path) -> None:
    lab.sh("hive1", f"mv {ACTIVE} {ACTIVE}.old")
    answer = fix(lab, state, "--apply", "--strays")
    assert (answer.code, parts(answer, "hive1")) == (6, [])
    assert lab.read("hive1", f"{ACTIVE}.old").strip() == TOKEN


def test_what_a_run_that_may_be_taken_up_left_stays(lab: Lab, state: Path) -> None:
    """The host's record names a run that this bastion does not know: another one's, perhaps cut off."""
    lab.sh("hive1", f"cp -p {ACTIVE} {ACTIVE}.backup")
    lab.write(
        "hive1", "/var/lib/hivekeys/run", '{"epoch": 3, "run": "another-bastions", "who": "somebody@else"}', mode=0o600
    )
    lab.sh("hive1", "chmod 700 /var/lib/hivekeys")
    answer = fix(lab, state, "--apply", "--strays")
    lab.sh("hive1", "rm -r /var/lib/hivekeys")
    assert parts(answer, "hive1", refused=True) == ["slots"]
    assert truth_of(lab, "hive1").files["api-token.backup"]


HOSTILE = {
    "a link to root's file": f"ln -sf /etc/shadow {ACTIVE}",
    "a link to root's copy of the token": f"install -m 600 {ACTIVE} /root/precious; ln -sf /root/precious {ACTIVE}",
    "a pipe": f"rm {ACTIVE}; mkfifo {ACTIVE}",
    "a file of root's that was renamed": f"install -m 600 /etc/shadow {ACTIVE}.x; mv {ACTIVE}.x {ACTIVE}",
    "another secret of root's": f"umask 077; echo {'7e' * 32} >{ACTIVE}.x; mv {ACTIVE}.x {ACTIVE}",
    "a hard link to root's file": f"cp -p /etc/shadow /etc/llama-orch/aside; ln -f /etc/llama-orch/aside {ACTIVE}",
    "five gigabytes": f"truncate -s 5G {ACTIVE}; chown root {ACTIVE}",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_of_roots_is_given_to_the_service(lab: Lab, state: Path, what: str) -> None:
    """In its own directory the service's account can put any file under the token's name."""
    lab.sh("hive1", HOSTILE[what])
    before = lab.sh("hive1", f"stat -c '%a %U %i' /etc/shadow; stat -Lc '%F %a %U' {ACTIVE}")
    answer = fix(lab, state, "--apply", "--strays")
    assert (answer.code, parts(answer, "hive1")) == (6, [])
    assert lab.sh("hive1", f"stat -c '%a %U %i' /etc/shadow; stat -Lc '%F %a %U' {ACTIVE}") == before


# Root's copy of the token and of an older one, where the service's account cannot even look.
PRECIOUS = f"""\
chown llama-orch /etc/llama-orch
mkdir -m 700 /root/precious
cp -p {ACTIVE} /root/precious/api-token; chmod 644 /root/precious/api-token
echo gold >/root/precious/api-token.old
"""


def test_a_directory_that_is_swapped_for_a_link_while_fix_runs_leads_root_nowhere(lab: Lab, state: Path) -> None:
    """The account owns the directory above: there is a link for good at first, then they change places all the time."""
    lab.sh("hive1", PRECIOUS)
    look = "stat -c '%n %a %U' /root/precious /root/precious/*"
    before = lab.sh("hive1", look)
    away, back = f"mv -T {SECRETS} /etc/llama-orch/aside", f"mv -T /etc/llama-orch/aside {SECRETS}"
    link, no_link = f"ln -s /root/precious {SECRETS}", f"rm {SECRETS}"
    as_service = "runuser -u llama-orch -- sh -c"
    lab.sh("hive1", f"{as_service} '{away}; {link}'")
    assert fix(lab, state, "--apply", "--strays").code == 4
    assert failed_checks(lab, state) == {("directory-mode", "hive1")}
    assert lab.sh("hive1", look) == before
    swap = f"{no_link}; {back}; while [ ! -e /tmp/enough ]; do {away}; {link}; {no_link}; {back}; done"
    attacker = threading.Thread(target=lab.sh, args=("hive1", f"{as_service} '{swap}'"), kwargs={"timeout": 600})
    attacker.start()
    try:
        codes = {fix(lab, state, "--apply", "--strays").code for _ in range(5)}
    finally:
        lab.sh("hive1", "touch /tmp/enough")
        attacker.join()
        lab.sh("hive1", "rm /tmp/enough")
    assert codes <= {0, 4, 6}
    assert lab.sh("hive1", look) == before


def test_a_host_that_is_away_does_not_keep_the_other_from_being_mended(lab: Lab, state: Path) -> None:
    lab.sh("queen", f"chmod 644 {ACTIVE}")
    lab.sh("hive1", "systemctl stop ssh.socket ssh 2>/dev/null || systemctl stop ssh")
    try:
        answer = fix(lab, state, "--apply")
    finally:
        lab.sh("hive1", "systemctl start ssh")
    assert answer.code == 4
    assert parts(answer, "queen") == ["file-mode"]
    assert answer.hosts["hive1"]["cause"]["trouble"] == "no-connection"


def test_what_was_mended_is_in_the_journal(lab: Lab, state: Path) -> None:
    lab.sh("queen", f"chmod 644 {ACTIVE}")
    fix(lab, state, "--apply", "--reason", "audit 2026")
    runs = fab("history", "--fleet", lab.name, "--json", state=state).document["runs"]
    assert [(run["task"], run["reason"], run["exit_code"]) for run in runs] == [("fix", "audit 2026", 0)]
