"""`fab verify` on real hosts: one that is made wrong in one way fails the check for it, and no other."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hivekeys.errors import ExitCode
from hivekeys.lab import Lab
from hivekeys.lab.faults import inject, mend
from hivekeys.lab.files import AUDIT, SECRETS
from hivekeys.ledger import Clock
from hivekeys.model import Phase
from hivekeys.remote import SshDialer
from hivekeys.verify.survey import survey
from hivekeys.wire import Greeting
from tasks.engine import program_of

from .asking import ACTIVE, eventually, put_token, restart, status
from .rotating import Answer, before, fab, fleet_of, rotate, truth, truth_of, write_policy

pytestmark = pytest.mark.lab
HIVE_DROP_IN = "/run/systemd/system/rbee-hive.service.d/zz-test.conf"
QUEEN_DROP_IN = "/run/systemd/system/queen-rbee.service.d/zz-test.conf"
RIGHT = f"""\
rm -rf {HIVE_DROP_IN} {QUEEN_DROP_IN} /etc/llama-orch/elsewhere /tmp/api-token* /tmp/llama.env {SECRETS}
systemctl daemon-reload
systemctl enable -q {{unit}}
chmod 755 /etc/llama-orch
rm -rf {AUDIT}/*
chmod 750 {AUDIT}
install -d -m 700 -o llama-orch -g llama-orch {SECRETS}
"""
# acl(5) as the kernel keeps it: user 33 may read, and the mask takes it away again, so that the mode stays 0600.
GIVE_ACL = f"""\
import os, struct
nobody = 2**32 - 1
entries = (1, 6, nobody), (2, 4, 33), (4, 0, nobody), (16, 0, nobody), (32, 0, nobody)
text = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)
os.setxattr('{ACTIVE}', 'system.posix_acl_access', text)
"""


def drop_in(*lines: str, place: str = HIVE_DROP_IN) -> str:
    """A shell line that gives a unit more lines, read by systemd but not by the running process."""
    text = "\\n".join(("[Service]", *lines))
    return f"mkdir -p $(dirname {place}); printf '{text}\\n' >{place}; systemctl daemon-reload"


class Late:
    """A bastion whose clock is six seconds behind."""

    def time(self) -> float:
        return time.time() - 6.0

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)


@pytest.fixture(scope="module", autouse=True)
def _fresh_trails(five_hives: Lab) -> None:
    """Other tests fill disks and pull plugs; their audit records are not this file's matter."""
    for name in five_hives.hosts:
        five_hives.sh(name, f"rm -rf {AUDIT}/*")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def wrong(lab: Lab) -> Iterator[Lab]:
    """The fleet, whose hosts may be made wrong in their units and modes; `lab` sees to its tokens."""
    yield lab
    lab.inventory.write_text((lab.folder / "inventory.toml").read_text())
    token = truth_of(lab, "queen").token
    for name in ("queen", "hive1"):
        mend(lab, name)
        lab.sh(name, RIGHT.format(unit=lab.hosts[name].unit))
        put_token(lab, name, token)
        restart(lab, name)
        assert eventually(lambda: status(lab.hosts[name], token) == 200)  # noqa: B023  called at once


def verify(lab: Lab, state: Path, *words: str) -> Answer:
    return fab("verify", "--fleet", lab.name, "--json", *words, state=state)


def found(answer: Answer, verdict: str = "fail") -> set[tuple[str, str]]:
    """(check, host) of every finding with this verdict."""
    assert answer.out, answer.err
    return {(one["check"], one["host"]) for one in answer.document["findings"] if one["verdict"] == verdict}


def test_a_fleet_set_up_as_the_guide_says_passes_everything_that_can_be_seen(lab: Lab, state: Path) -> None:
    was = truth(lab)
    answer = verify(lab, state)
    assert answer.code == 0
    assert not found(answer) | found(answer, "warn")
    # There is no auditd in a container, and no rotation of this fleet in the journal of this bastion.
    assert found(answer, "can't tell") == {(check, name) for name in lab.hosts for check in ("audit-watch", "debts")}
    assert truth(lab) == was


@pytest.mark.parametrize(
    ("check", "make_wrong"),
    [
        ("directory-mode", f"chmod 750 {SECRETS}"),
        ("directory-mode", f"chown root {SECRETS}"),
        ("file-mode", f"chmod 640 {ACTIVE}"),
        ("file-mode", f"chgrp root {ACTIVE}"),
        ("acl", f'python3 -c "{GIVE_ACL}"'),
        ("hard-links", f"ln {ACTIVE} /etc/llama-orch/elsewhere"),
        ("parents", "chmod 777 /etc/llama-orch"),
        ("strays", f"touch {SECRETS}/api-token.old"),
        ("strays", f"touch {SECRETS}/.api-token.swp"),
        ("strays", "touch '/tmp/api-token\nnew'"),
        ("strays", f"touch '{SECRETS}/api-token\n\x1b[31m'"),
        ("slots", f"cp -p {ACTIVE} {ACTIVE}.backup"),
        ("slots", f"cp -p {ACTIVE} {ACTIVE}.new"),
        ("reused", f"cp -p {ACTIVE} {SECRETS}/worker-key"),
        ("token-age", f"touch -d '91 days ago' {ACTIVE}"),
        ("environment", drop_in("Environment=LLORCH_API_TOKEN=x")),
        ("environment", f"echo ' LLORCH_API_TOKEN = x' >/tmp/llama.env; {drop_in('EnvironmentFile=/tmp/llama.env')}"),
        ("loads-from-file", drop_in("LoadCredential=", "LoadCredential=api-token:/etc/llama-orch/elsewhere")),
        (
            "credential",
            drop_in("LoadCredential=", f"Environment=LLORCH_API_TOKEN_FILE={ACTIVE}") + "; systemctl restart rbee-hive",
        ),
        ("hardening", drop_in("NoNewPrivileges=no")),
        ("enabled", "systemctl disable -q rbee-hive"),
        ("audit-chain", f"cd {AUDIT}; sed '2s/auth_/open_/' *.audit >/run/changed; cat /run/changed >$(echo *.audit)"),
        ("audit-chain", f"cd {AUDIT}; sed 2d *.audit >/run/changed; cat /run/changed >$(echo *.audit)"),
        ("audit", f"chmod 755 {AUDIT}"),
        ("audit", drop_in("Environment=LLORCH_AUDIT_MODE=off")),
    ],
)
def test_what_is_wrong_on_one_host_fails_its_check_and_no_other(
    wrong: Lab, state: Path, check: str, make_wrong: str
) -> None:
    wrong.sh("hive1", make_wrong)
    answer = verify(wrong, state)
    assert answer.code == 6
    assert found(answer) == {(check, "hive1")}


def test_a_full_token_directory_is_found(wrong: Lab, state: Path) -> None:
    inject(wrong, "hive1", "disk-full")
    assert found(verify(wrong, state)) == {("space", "hive1")}


def test_a_trail_that_has_ended_is_a_warning(wrong: Lab, state: Path) -> None:
    """The unit says that there is an audit trail; the process was started before it did."""
    wrong.sh("hive1", drop_in("Environment=LLORCH_AUDIT_MODE=off") + "; systemctl restart rbee-hive")
    wrong.sh("hive1", f"rm {HIVE_DROP_IN}; systemctl daemon-reload; touch -d '1 hour ago' {AUDIT}/*")
    answer = verify(wrong, state)
    assert answer.code == 0
    assert found(answer, "warn") == {("audit-fresh", "hive1")}


def test_a_host_that_came_up_without_its_token_is_found(wrong: Lab, state: Path) -> None:
    """It runs, is healthy, and lets everybody in (llama-orch.md, "Missing token")."""
    wrong.sh(
        "hive1", drop_in("LoadCredential=", "Environment=LLORCH_API_TOKEN_FILE=") + "; systemctl restart rbee-hive"
    )
    assert eventually(lambda: status(wrong.hosts["hive1"], None) == 200)
    answer = verify(wrong, state)
    checks = ("loads-from-file", "loaded", "credential", "proof")
    assert found(answer) == {(check, "hive1") for check in checks}
    assert ("active", "hive1") in found(answer, "pass")


def test_a_log_that_is_gone_says_nothing_of_the_token(wrong: Lab, state: Path) -> None:
    wrong.sh("hive1", "rm -rf /run/log/journal/* /var/log/journal/*; systemctl restart systemd-journald")
    answer = verify(wrong, state)
    assert answer.code == 0
    assert ("loaded", "hive1") in found(answer, "can't tell")


@pytest.mark.parametrize(
    "make_unreadable",
    [
        "mkdir /tmp/llama.env",
        "mkfifo /tmp/llama.env",
        "truncate -s 2M /tmp/llama.env",
        "ln -s llama.env /tmp/llama.env",
    ],
)
def test_an_environment_file_that_cannot_be_read_is_no_pass(wrong: Lab, state: Path, make_unreadable: str) -> None:
    wrong.sh("hive1", f"{make_unreadable}; {drop_in('EnvironmentFile=/tmp/llama.env')}")
    answer = verify(wrong, state)
    assert answer.code == 0
    assert ("environment", "hive1") in found(answer, "can't tell")
    assert ("environment", "hive2") in found(answer, "pass")


def test_a_clock_that_is_wrong_is_found(lab: Lab) -> None:
    """The hosts' clock is this machine's own and stays right; it is the bastion's that differs from it."""
    fleet = fleet_of(lab)
    greeting = Greeting(fleet.name, secrets.token_bytes(32), f"{fleet.name}-1", "tester@bastion")
    program = program_of("inspection")

    def off(clock: Clock) -> list[float]:
        sights = survey(fleet, fleet.hosts, SshDialer(fleet, program), greeting, clock=clock)
        assert [sight.host.name for sight in sights] == list(lab.hosts)
        return [sight.off for sight in sights if sight.off is not None]

    assert all(abs(seconds) < 1 for seconds in off(time))
    late = off(Late())
    assert len(late) == len(lab.hosts)
    assert all(5 < seconds <= 6 for seconds in late)


def test_a_run_at_work_is_named_and_not_disturbed(wrong: Lab, state: Path) -> None:
    answers: list[Answer] = []
    look = before(Phase.QUEEN, lambda: answers.append(verify(wrong, state)))
    rotation = rotate(fleet_of(wrong), look)
    assert rotation.code is ExitCode.DONE
    (answer,) = answers
    assert found(answer, "warn") == {("lock", name) for name in wrong.hosts}
    assert {one["detail"] for one in answer.document["findings"] if one["verdict"] == "warn"} == {
        f"run {rotation.run.id} of tester@bastion holds its lock"
    }
    assert found(answer) == {("slots", name) for name in wrong.hosts}  # all hold the staged token


def test_a_host_that_was_left_behind_owes_the_newest_token(wrong: Lab, state: Path) -> None:
    write_policy(wrong)
    inject(wrong, "hive1", "link-down")
    left = fab("rotate", "--fleet", wrong.name, "--yes", "--allow-missing", "hive1", state=state)
    mend(wrong, "hive1")
    assert left.code == 4, left.err
    answer = verify(wrong, state)
    way_back = {("slots", name) for name in wrong.hosts if name != "hive1"}  # kept for as long as somebody owes
    assert found(answer) == way_back | {("debts", "hive1"), ("same-token", "hive1")}
    assert not {one for one in found(answer, "can't tell") if one[0] == "debts"}


def test_a_touched_file_is_as_old_as_the_journal_knows_its_token_to_be(wrong: Lab, state: Path) -> None:
    write_policy(wrong)
    assert fab("rotate", "--fleet", wrong.name, "--yes", state=state).code == 0
    wrong.inventory.write_text(wrong.inventory.read_text() + "\n[token_age]\nwarn = 1\nfail = 2\n")
    assert not found(verify(wrong, state), "warn")
    wrong.sh("hive1", f"touch -d '3 days ago' {ACTIVE}")
    assert found(verify(wrong, state)) == {("token-age", "hive1")}


def test_a_waived_finding_is_shown_and_does_not_count_until_its_day_has_passed(wrong: Lab, state: Path) -> None:
    wrong.sh("hive1", f"chmod 640 {ACTIVE}")
    for until, code in (("9999-12-31", 0), ("2020-01-31", 6)):
        waiver = f'\n[[waivers]]\ncheck = "file-mode"\nhosts = "hive[1:2]"\nreason = "a migration"\nuntil = {until}\n'
        wrong.inventory.write_text((wrong.folder / "inventory.toml").read_text() + waiver)
        answer = fab("verify", "--fleet", wrong.name, state=state)
        assert answer.code == code, answer.err
        assert "0640 llama-orch:llama-orch" in answer.out
        assert ("waived until 9999-12-31: a migration" in answer.out) is (code == 0)
        assert ("the waiver of file-mode on hive1, hive2 expired on 2020-01-31" in answer.out) is (code == 6)
        (one,) = [one for one in verify(wrong, state).document["findings"] if one["verdict"] == "fail"]
        assert (one["waived"] is not None) is (code == 0)


def test_a_report_for_a_ci_system_can_be_written_to_a_file(wrong: Lab, state: Path, tmp_path: Path) -> None:
    wrong.sh("hive1", f"chmod 640 {ACTIVE}; touch '{SECRETS}/api-token]]>&<\x1b[31m'")
    for form in ("junit", "sarif"):
        report = tmp_path / form
        answer = fab("verify", "--fleet", wrong.name, "--format", form, "--output", str(report), state=state)
        assert (answer.code, answer.out) == (6, "")
    suites = ET.parse(tmp_path / "junit").getroot()  # noqa: S314  our own text
    assert [suite.get("failures") for suite in suites] == ["0", "2", "0", "0", "0", "0"]
    (run,) = json.loads((tmp_path / "sarif").read_text())["runs"]
    assert {one["ruleId"] for one in run["results"] if one["kind"] == "fail"} == {"file-mode", "strays"}


def test_a_token_in_the_managers_environment_is_found(wrong: Lab, state: Path) -> None:
    wrong.sh("hive1", "systemctl set-environment LLORCH_API_TOKEN=x")
    answer = verify(wrong, state)
    wrong.sh("hive1", "systemctl unset-environment LLORCH_API_TOKEN")
    assert found(answer) == {("environment", "hive1")}


def test_a_queen_that_would_shut_her_hives_down_is_found(wrong: Lab, state: Path) -> None:
    wrong.sh("queen", drop_in("KillSignal=SIGINT", place=QUEEN_DROP_IN))
    assert found(verify(wrong, state)) == {("kill-signal", "queen")}


def test_a_token_near_its_end_is_a_warning(wrong: Lab, state: Path) -> None:
    wrong.sh("hive1", f"touch -d '80 days ago' {ACTIVE}")
    answer = verify(wrong, state)
    assert answer.code == 0
    assert found(answer, "warn") == {("token-age", "hive1")}


def test_a_copy_that_is_named_after_the_token_is_found_and_not_quoted(wrong: Lab, state: Path) -> None:
    wrong.sh("hive1", f"touch {ACTIVE}.$(cat {ACTIVE})")
    answer = verify(wrong, state)
    assert found(answer) == {("strays", "hive1")}
    assert truth_of(wrong, "queen").token not in answer.out + answer.err


def everywhere(lab: Lab, token: str) -> None:
    for name, host in lab.hosts.items():
        put_token(lab, name, token)
        restart(lab, name)
        assert eventually(lambda: status(host, token) == 200)  # noqa: B023  called at once


@pytest.mark.parametrize(
    ("check", "token"), [("token-length", "8d2f0b6c91e47a53d0c8f4b2a6173e95"), ("token-quality", "ab" * 32)]
)
def test_a_weak_token_is_found_and_never_told(lab: Lab, state: Path, check: str, token: str) -> None:
    was = truth_of(lab, "queen").token
    everywhere(lab, token)
    answer = verify(lab, state)
    everywhere(lab, was)
    assert found(answer) == {(check, name) for name in lab.hosts}
    assert token not in answer.out + answer.err


def test_a_host_with_a_token_of_its_own_is_found(lab: Lab, state: Path) -> None:
    put_token(lab, "hive2", secrets.token_hex(32))
    restart(lab, "hive2")
    assert found(verify(lab, state)) == {("same-token", "hive2")}


def test_a_file_that_the_process_has_not_read_is_found(lab: Lab, state: Path) -> None:
    """Somebody did the first half of the guide's rotation on a hive."""
    put_token(lab, "hive2", secrets.token_hex(32))
    assert found(verify(lab, state)) == {(check, "hive2") for check in ("same-token", "current", "proof")}


def test_a_service_that_is_down_is_found(lab: Lab, state: Path) -> None:
    lab.sh("hive2", "systemctl stop rbee-hive")
    assert found(verify(lab, state)) == {(check, "hive2") for check in ("active", "current", "proof")}


def test_a_service_that_lets_anybody_in_is_found(wrong: Lab, state: Path) -> None:
    inject(wrong, "hive1", "accepts-any-token")
    restart(wrong, "hive1")
    assert eventually(lambda: status(wrong.hosts["hive1"], "garbage") == 200)
    assert ("proof", "hive1") in found(verify(wrong, state))


@pytest.mark.parametrize(
    "make_hostile",
    [
        f"rm {ACTIVE}; ln -s /etc/shadow {ACTIVE}",
        f"rm {ACTIVE}; mkfifo {ACTIVE}",
        f"rm {ACTIVE}; mkdir {ACTIVE}",
        f"truncate -s 5G {ACTIVE}",
        f": >{ACTIVE}",
    ],
)
def test_what_is_no_token_file_is_named_and_nothing_is_made_of_it(wrong: Lab, state: Path, make_hostile: str) -> None:
    wrong.sh("hive1", make_hostile)
    answer = verify(wrong, state)
    assert answer.code == 6
    assert ("token-file", "hive1") in found(answer)
    assert all(host == "hive1" for _, host in found(answer)), found(answer)
    passed = {check for check, host in found(answer, "pass") if host == "hive1"}
    assert not passed & {"token-length", "token-quality", "same-token", "current", "proof", "hard-links"}
    assert ":99999:" not in answer.out  # of /etc/shadow


def test_a_host_that_cannot_be_asked_passes_nothing(wrong: Lab, state: Path) -> None:
    inject(wrong, "hive1", "link-down")
    answer = verify(wrong, state)
    assert answer.code == 4
    assert not {one for one in found(answer, "pass") | found(answer) if one[1] == "hive1"}


def test_a_host_whose_systemctl_hangs_is_waited_for_within_a_limit(wrong: Lab, state: Path) -> None:
    hangs = "#!/bin/sh\\nexec sleep 300\\n"
    away = "mv /usr/bin/systemctl /usr/bin/systemctl.away"
    wrong.sh("hive1", f"{away}; printf '{hangs}' >/usr/bin/systemctl; chmod 755 /usr/bin/systemctl")
    wrong.inventory.write_text(wrong.inventory.read_text() + "\n[timeouts]\nrequest = 3\n")
    try:
        answer = verify(wrong, state)
    finally:
        wrong.sh("hive1", "mv /usr/bin/systemctl.away /usr/bin/systemctl")
        wrong.inventory.write_text((wrong.folder / "inventory.toml").read_text())
    assert answer.code == 4
    assert not {one for one in found(answer, "pass") if one[1] == "hive1"}


def test_one_host_alone_is_held_against_the_queen(lab: Lab, state: Path) -> None:
    answer = verify(lab, state, "--limit", "hive2", "--checks", "same-token,file-mode")
    assert answer.code == 0
    assert found(answer, "pass") == {("same-token", "hive2"), ("file-mode", "hive2")}


def test_the_table_folds_hosts_and_names_what_passed(wrong: Lab, state: Path, tmp_path: Path) -> None:
    for name in ("hive1", "hive2", "hive3"):
        wrong.sh(name, f"chmod 640 {ACTIVE}")
    answer = fab("verify", "--fleet", wrong.name, state=state)
    for name in ("hive2", "hive3"):
        wrong.sh(name, f"chmod 600 {ACTIVE}")
    assert answer.code == 6
    assert "hive[1:3]" in answer.out
    assert "0640 llama-orch:llama-orch, not 0600 llama-orch:llama-orch" in answer.out
    assert "passed everywhere: directory-mode" in answer.out
    report = tmp_path / "report.md"
    fab("verify", "--fleet", wrong.name, "--format", "markdown", "--output", str(report), state=state)
    assert "| fail | file-mode | hive1 |" in report.read_text()
