"""auditd's rule and record on a host that has none, will not, or has been given rules by others."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hivekeys.audit import access_report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.host.agent import Agent
from hivekeys.host.system import Refusal, System
from hivekeys.host.verbs import accesses
from hivekeys.host.verbs.watch import watch
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.audited import Access, Accessed, Reader
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh import bootstrap
from tests.builders.observations import HIVE, NOW, QUEEN
from tests.builders.replies import reply_of

TOKEN = "/secrets/api-token"
RULE = f"-w {TOKEN} -p r -k secret-access"


class Kernel(System):
    """auditctl with rules that last as long as the test."""

    def __init__(self) -> None:
        self.rules = ["-w /etc/passwd -p wa"]
        self.enabled = 1
        self.fails = (0, "")

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        if self.fails[0]:
            return self.fails
        match argv[1]:
            case "-s":
                return 0, f"enabled {self.enabled}\nfailure 1\npid 9"
            case "-l":
                return 0, "\n".join(self.rules)
            case "-w":
                self.rules.append(" ".join(argv[1:]))
            case "-W":
                self.rules.remove(" ".join(["-w", *argv[2:]]))
        return 0, ""


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def agent(tmp_path: Path, kernel: Kernel) -> Iterator[Any]:
    (tmp_path / "etc/audit/rules.d").mkdir(parents=True)
    agent = Agent(str(tmp_path), kernel)
    agent.service = {"token": TOKEN}
    agent.deadline.end = agent.system.monotonic() + 60
    agent.state.lock = 0
    yield agent
    agent.state.lock = None


def rules_file(root: Path, name: str = "50-hivekeys.rules") -> Path:
    return root / "etc/audit/rules.d" / name


def changes(agent: Any, *options: str) -> list[tuple[str, bool]]:
    """What was changed, and what stayed as it is."""
    _, facts = watch(agent, apply=True, options=options)
    return [(Path(change["path"]).name, not change["refused"]) for change in facts["changes"]]


def refusal(agent: Any) -> tuple[str, str]:
    with pytest.raises(Refusal) as refused:
        watch(agent, apply=True)
    return refused.value.trouble, refused.value.detail


@pytest.mark.parametrize(
    ("fails", "trouble"),
    [
        ((127, "auditctl: No such file or directory"), "auditd-missing"),
        ((1, "Error - audit support not in kernel\nError opening audit netlink socket"), "auditd-unusable"),
        ((4, "You must be root to run this program."), "auditd-unusable"),
    ],
)
def test_a_host_without_auditd_says_so(agent: Any, kernel: Kernel, fails: tuple[int, str], trouble: str) -> None:
    kernel.fails = fails
    assert refusal(agent) == (trouble, " ".join(fails[1].split()))


def test_locked_rules_are_kept_for_the_next_start_and_not_touched_now(
    agent: Any, kernel: Kernel, tmp_path: Path
) -> None:
    kernel.enabled = 2
    assert changes(agent) == [("50-hivekeys.rules", True), ("api-token", False)]
    assert RULE in rules_file(tmp_path).read_text()
    assert RULE not in kernel.rules


def test_a_rule_that_others_keep_and_have_loaded_is_enough(agent: Any, kernel: Kernel, tmp_path: Path) -> None:
    kernel.rules.append("-w /secrets -p rwa")
    rules_file(tmp_path, "10-site.rules").write_text("-w /secrets/ -p rwa\n")
    assert changes(agent) == []
    assert changes(agent, "remove") == []


def test_a_removal_that_was_cut_off_is_finished_by_the_next(agent: Any, kernel: Kernel, tmp_path: Path) -> None:
    assert changes(agent) == [("50-hivekeys.rules", True), ("api-token", True)]
    kernel.rules.remove(RULE)  # and then the line broke
    assert changes(agent, "remove") == [("50-hivekeys.rules", True)]
    assert not rules_file(tmp_path).exists()
    assert kernel.rules == ["-w /etc/passwd -p wa"]


def test_a_file_of_somebody_elses_under_our_name_is_not_removed(agent: Any, tmp_path: Path) -> None:
    rules_file(tmp_path).write_text(f"{RULE}\n")
    assert changes(agent, "remove") == []
    assert rules_file(tmp_path).exists()


def test_rules_that_are_locked_are_named_only_where_ours_is_among_them(
    agent: Any, kernel: Kernel, tmp_path: Path
) -> None:
    kernel.enabled = 2
    assert changes(agent, "remove") == []
    kernel.enabled = 1
    changes(agent)
    kernel.enabled = 2
    assert changes(agent, "remove") == [("api-token", False), ("50-hivekeys.rules", True)]
    assert (RULE in kernel.rules, rules_file(tmp_path).exists()) == (True, False), "gone when the host starts again"


def test_a_rule_that_another_file_asks_for_stays_in_force(agent: Any, kernel: Kernel, tmp_path: Path) -> None:
    changes(agent)
    rules_file(tmp_path, "10-site.rules").write_text(f"{RULE}\n")
    assert changes(agent, "remove") == [("api-token", False), ("50-hivekeys.rules", True)]
    assert RULE in kernel.rules


# -- auditd's record

EVENT = (
    "type=SYSCALL msg=audit(1795563156.597:5): arch=c000003e success={ok} exit=3 ppid=1 pid=42 auid={auid} uid={uid} "
    'comm={comm} exe={exe} key="secret-access"\x1dARCH=x86_64 UID="somebody" SUCCESS=no\n'
    'type=PATH msg=audit(1795563156.597:5): item=0 name="api-token" inode=1\n'
    "type=PROCTITLE msg=audit(1795563156.597:5): proctitle={title}"
)


def event(**changes: str) -> dict[str, Any]:
    usual = {"ok": "yes", "auid": "4294967295", "uid": "0", "comm": '"cat"', "exe": '"/bin/cat"', "title": '"cat"'}
    lines = EVENT.format(**{**usual, **changes}).encode().split(b"\n")
    (found,) = accesses.events(iter(lines))
    return dict(found)


def test_what_auditd_translated_for_people_is_not_taken_for_its_own_words() -> None:
    fields = event()["syscall"]
    assert (fields[b"uid"], fields[b"success"]) == (b"0", b"yes")


def test_what_stands_in_hex_is_read() -> None:
    assert event(exe=b"/a cat".hex().upper())["syscall"][b"exe"] == b"/a cat"
    assert event(title=b"cat\0x y".hex())["title"] == b"cat\0x y"


def test_a_rule_that_comes_or_goes_is_no_access() -> None:
    lines = [b"type=CONFIG_CHANGE msg=audit(1.0:3): op=add_rule", b"type=SYSCALL msg=audit(1.0:3): success=yes"]
    assert list(accesses.events(iter(lines))) == []


def test_our_agents_are_told_by_how_they_are_started(agent: Any) -> None:
    title = "/usr/bin/python3\0-IS\0-c\0" + bootstrap._IN_PYTHON
    readers = accesses.Readers.__new__(accesses.Readers)
    readers.owner, readers.program = 990, "/usr/bin/rbee-hive"
    kinds = [
        readers.kind(event(title=title.encode().hex()), 0, "/usr/bin/python3"),
        readers.kind(event(title=title.encode().hex()), 1000, "/usr/bin/python3"),
        readers.kind(event(), 0, "/usr/lib/systemd/systemd"),
        readers.kind(event(), 990, "/usr/bin/rbee-hive"),
        readers.kind(event(), 990, "/bin/cat"),
        readers.kind(event(), 0, "/bin/cat"),
    ]
    assert kinds == ["hivekeys", "other", "systemd", "service", "other", "other"]


PROD = Fleet("prod", ())
READER = Reader("other", "root", "ann", "/bin/cat", True, 3, NOW - 9, NOW - 5)
ACCESS = Access("hivekeys", "root", "", "/usr/bin/python3", True, NOW - 5, 42)
FOUND = Accessed(True, NOW, (READER,), (ACCESS,), 0, "")


def test_our_own_accesses_are_shown_with_the_run_that_was_at_work() -> None:
    hosts = access_report.accesses_of({HIVE: reply_of(FOUND)}, NOW)
    run = Run(id="prod-1", started=NOW - 20, seconds=10.0, hosts={"hive1": HostRun("hive1")})
    (host,) = access_report.document(hosts, PROD, [run], ExitCode.DONE)["hosts"]
    assert host["newest"][0]["run"] == "prod-1"
    (host,) = access_report.document(hosts, PROD, [replace(run, started=NOW - 900)], ExitCode.DONE)["hosts"]
    assert host["newest"][0]["run"] is None


def test_hosts_that_are_not_watched_or_not_asked_are_named() -> None:
    answers: dict[Any, Any] = {
        HIVE: reply_of(replace(FOUND, watched=False, cut="the time was up")),
        QUEEN: reply_of(cause=Cause(Trouble.AUDITD_MISSING, "ausearch: No such file or directory")),
    }
    hosts = access_report.accesses_of(answers, NOW)
    said = "\n".join(access_report.lines(hosts, PROD))
    assert access_report.exit_code(hosts) is ExitCode.INCOMPLETE
    assert "queen: auditd-missing: ausearch" in said
    assert "no rule watches the token file, so nothing is noted: hive1" in said
    assert "hive1: cut, the time was up" in said
    assert "3 accesses noted, 3 of them by other programs" in said
