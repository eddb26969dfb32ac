"""Others are told of a run: a program, a webhook, people by mail. What fails in this never fails a run."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pytest

from bench.simulated import Hosts
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Notify, Occasion, Policy
from hivekeys.journal.fold import advance
from hivekeys.journal.run import Run
from hivekeys.rotation.drive import Drive
from hivekeys.tasks.notifications import command, notification, notifier
from hivekeys.tasks.notifications.notification import Notification, at_end, not_begun, of_event, trial
from hivekeys.tasks.notifications.notifier import Notifier, sender_of, try_each
from tests.builders.operator import Operator, breaks
from tests.builders.project import PROJECT
from tests.builders.webhook import Webhook, webhook
from tests.inprocess import InProcessFleet

FACTS = {"HIVEKEYS_EXIT_CODE": "4", "HIVEKEYS_RUN": "blue-1", "HIVEKEYS_FLEET": "blue"}
TOLD = Notification(
    "rotate of fleet blue: hive3: failed", "run blue-1\n", {"form": 1, "occasion": "failure", "run": "blue-1"}
)
ALWAYS = (Occasion.START, Occasion.FAILURE, Occasion.END)


def script(folder: Path, text: str, name: str = "tell") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def secret(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with webhook(tmp_path) as found:
        monkeypatch.setenv("SSL_CERT_FILE", str(found.certificate))
        yield found


# -- what is told


def notifications(operator: Operator) -> list[str]:
    """The titles of the notifications of a run, in order."""
    told: set[Occasion] = set()
    run, titles = Run(), []
    for event in operator.events:
        run = advance(run, event)
        if due := of_event(event, run, told):
            told.add(due[0])
            titles.append(due[1].title)
    return titles


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path / "hosts", policy=Policy(revocation_recheck=0.0))


def test_a_rotation_that_goes_well_is_told_as_it_begins(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    assert notifications(operator) == [f"rotate of fleet inprocess began: {len(fleet.inventory.hosts)} hosts"]


def test_a_rotation_that_fails_on_several_hosts_is_told_with_the_first_and_once(fleet: InProcessFleet) -> None:
    for name in ("hive2", "hive3"):
        fleet.at(name, "restart", breaks("start-fails"))
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.INCOMPLETE
    began, failed = notifications(operator)
    assert began.startswith("rotate of fleet inprocess began")
    assert re.match("rotate of fleet inprocess: hive[23]: failed: start-failed", failed)


def test_a_look_that_ends_in_a_refusal_is_no_run_that_began(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    assert Drive(operator.runner).look()
    assert notifications(operator) == []


def test_the_end_is_told_with_the_verdict_the_exit_code_and_the_summary(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    code = operator.rotate()
    told = at_end(operator.runner.run, "the summary\n", code)
    assert told.title == "rotate of fleet inprocess: done, and proven, on every host (exit code 0)"
    assert (told.text, told.facts["exit_code"], told.facts["run"]) == ("the summary\n", 0, "run-1")
    assert operator.token.reveal() not in str(told)


def test_a_run_that_another_one_kept_out_is_told_at_its_end_and_one_that_was_refused_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tell = Notify("pager", run=(script(tmp_path, f"cat >>{out}"),))
    for code, words in ((ExitCode.LOCKED, "another run works on fleet blue"), (ExitCode.USAGE, "not confirmed")):
        told = not_begun("blue", "rotate", "blue-2", f"{words}\nhint: wait\n", code)
        Notifier([tell], pytest.fail).end(told, code)
    assert out.read_text() == (
        "rotate of fleet blue: another run works on fleet blue (exit code 5)\n"
        "another run works on fleet blue\nhint: wait\n"
    )


# -- a program


def test_the_command_gets_the_summary_and_the_facts_and_its_own_words_as_they_are(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tell = script(tmp_path, f'{{ printf "%s|" "$@"; echo; env | grep ^HIVEKEYS_ | sort; cat; }} >{out}')
    words = command.command(f"{tell} 'two words' $HOME ; '`id`'")
    assert command.start(words, "hive3: unhealthy: $(touch x)\n", FACTS, 30) == ""
    said = out.read_text().splitlines()
    assert said[0] == "two words|$HOME|;|`id`|"
    assert said[1:4] == ["HIVEKEYS_EXIT_CODE=4", "HIVEKEYS_FLEET=blue", "HIVEKEYS_RUN=blue-1"]
    assert said[4:] == ["hive3: unhealthy: $(touch x)"]


@pytest.mark.parametrize(
    ("line", "said"),
    [("'open", "No closing quotation"), ("  ", "no command"), ("no-such-program-here x", "no program 'no-such-")],
)
def test_a_command_that_cannot_start_is_refused_before_anything_begins(line: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        command.command(line)
    assert refused.value.code is ExitCode.USAGE and refused.value.hint


def test_a_command_that_fails_or_reads_nothing_is_a_warning(tmp_path: Path) -> None:
    tell = script(tmp_path, "exit 7")
    assert command.start((tell,), "x" * 200_000, FACTS, 30) == f"{tell} ended with 7; the run's exit code is its own"
    (tmp_path / "tell").write_text("no program")
    assert command.start((tell,), "x", FACTS, 30) == f"{tell}: Exec format error"


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    tell = script(tmp_path, f"sleep 60 >{fifo} & sleep 60")
    assert command.start((tell,), "x", FACTS, 0.3) == f"{tell}: not through after 0 s, ended"
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # nobody holds the other end
    os.close(reader)


# -- a webhook


def test_a_webhook_is_posted_a_text_for_people_and_the_facts_for_programs(hook: Webhook, tmp_path: Path) -> None:
    header = secret(tmp_path, "header", "Authorization: Bearer hook-secret\n")
    deliver = sender_of(Notify("chat", webhook=hook.address, header_file=header))
    assert deliver(TOLD) == ""
    (headers, said), *more = hook.posted
    assert not more
    assert said == {"text": "*rotate of fleet blue: hive3: failed*\nrun blue-1", "hivekeys": TOLD.facts}
    assert (headers["Content-Type"], headers["Authorization"]) == ("application/json", "Bearer hook-secret")


def test_an_address_that_is_a_secret_is_read_from_a_file_that_only_its_owner_can_read(
    hook: Webhook, tmp_path: Path
) -> None:
    file = secret(tmp_path, "address", f"{hook.address}\n")
    assert sender_of(Notify("chat", webhook_file=file))(TOLD) == ""
    assert len(hook.posted) == 1
    Path(file).chmod(0o644)
    with pytest.raises(UserError, match="others can read it"):
        sender_of(Notify("chat", webhook_file=file))


def test_what_a_host_said_calls_no_channel(hook: Webhook) -> None:
    sender_of(Notify("chat", webhook=hook.address))(Notification("hive3: <!channel> & <@U1>", "", {}))
    assert hook.told == ["*hive3: &lt;!channel&gt; &amp; &lt;@U1&gt;*"]


def test_a_redirect_is_not_followed_since_the_header_would_go_with_it(hook: Webhook, tmp_path: Path) -> None:
    hook.answer = (302, hook.address)
    header = secret(tmp_path, "header", "X-Key: hook-secret")
    said = sender_of(Notify("chat", webhook=hook.address, header_file=header))(TOLD)
    assert said.endswith("answers 302")
    assert len(hook.posted) == 1


def test_a_webhook_that_is_not_who_it_should_be_hears_nothing(
    hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook(tmp_path) as other:
        monkeypatch.setenv("SSL_CERT_FILE", str(other.certificate))
        said = sender_of(Notify("chat", webhook=hook.address))(TOLD)
    assert "certificate verify failed" in said
    assert hook.posted == []


@pytest.mark.parametrize("status", [403, 500])
def test_a_webhook_that_refuses_is_a_warning_without_its_path(hook: Webhook, status: int) -> None:
    hook.answer = (status, "")
    said = sender_of(Notify("chat", webhook=hook.address))(TOLD)
    assert said == f"{hook.address.removeprefix('https://').removesuffix('/hook')} answers {status}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no header at all", "expected one header"),
        ("X-Key: one\nX-Other: two", "expected one header"),
        ("X Key: one", "expected one header"),
        ("", "expected one header"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = secret(tmp_path, "header", text)
    with pytest.raises(UserError, match=said) as refused:
        sender_of(Notify("chat", webhook="https://127.0.0.1:9/", header_file=file))
    assert not text or text not in refused.value.message


def test_an_address_in_a_file_that_is_none_is_refused_and_not_shown(tmp_path: Path) -> None:
    file = secret(tmp_path, "address", "http://hooks.example.com/services/T0/secret")
    with pytest.raises(UserError, match="expected the https:// address") as refused:
        sender_of(Notify("chat", webhook_file=file))
    assert "secret" not in refused.value.message


# -- mail


def test_people_are_told_by_mail_as_sendmail_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "mail"
    script(tmp_path, f'echo "$@" >{out}.words; cat >{out}', "sendmail")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = Notification("rotate of fleet blue: hivé 3", "a line\nanother\n", {"run": "blue-1"})
    assert sender_of(Notify("ops", mail=("ops@example.com", "root")))(told) == ""
    assert Path(f"{out}.words").read_text() == "-i -t\n"
    mail = message_from_string(out.read_text())
    assert (mail["To"], mail["Auto-Submitted"]) == ("ops@example.com, root", "auto-generated")
    assert mail["X-Hivekeys-Run"] == "blue-1"
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert body.decode() == "rotate of fleet blue: hivé 3\n\na line\nanother\n"


def test_a_title_has_one_line_or_it_would_be_no_header_of_a_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mail"
    script(tmp_path, f"cat >{out}", "sendmail")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = Notification("hive3: failed: x\nBcc: eve@example.com\x1b[2J", "", {})
    assert sender_of(Notify("ops", mail=("root",)))(told) == ""
    mail = message_from_string(out.read_text())
    assert (mail["Subject"], mail["Bcc"]) == ("hivekeys: hive3: failed: x Bcc: eve@example.com [2J", None)


def test_where_there_is_no_sendmail_that_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tasks.notifications.mail.PLACES", str(tmp_path))
    assert sender_of(Notify("ops", mail=("root",)))(TOLD) == "there is no program sendmail on this bastion"


# -- beside the run


def test_a_run_waits_for_nobody_whom_it_tells(tmp_path: Path, fleet: InProcessFleet) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    tell = Notify("slow", on=(Occasion.START,), run=(script(tmp_path, f"cat {fifo} >/dev/null"),))
    warnings: list[str] = []
    beside = Notifier([tell], warnings.append)
    run = Run()
    operator = Operator(fleet)
    code = operator.rotate()
    for event in operator.events:
        run = advance(run, event)
        beside.on_event(event, run)  # returns, although the command has not
    opener = threading.Thread(target=fifo.write_text, args=("",))
    opener.start()
    beside.end(at_end(run, "", code), code)
    opener.join()
    assert warnings == []


def test_who_is_not_told_in_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "PATIENCE", -1.0)
    held = threading.Event()
    monkeypatch.setattr(notifier, "sender_of", lambda _: lambda _: held.wait() and "")
    warnings: list[str] = []
    Notifier([Notify("slow")], warnings.append).end(notification.trial("blue"), ExitCode.DONE)
    held.set()
    assert warnings == ["notify.slow: not told within -1 s"]


def test_what_is_in_vain_is_said_at_once_and_the_others_are_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = Notify("pager", run=(script(tmp_path, f"cat >{out}"),))
    warnings: list[str] = []
    both = Notifier([Notify("chat", webhook_file=str(tmp_path / "none")), good], warnings.append)
    assert warnings == [f"notify.chat: {tmp_path}/none: No such file or directory: nobody is told by it"]
    both.end(trial("blue"), ExitCode.DONE)
    assert out.read_text().startswith("a trial notification for fleet blue")


def test_each_is_told_only_what_it_asked_for(tmp_path: Path, fleet: InProcessFleet) -> None:
    out = tmp_path / "out"
    tell = script(tmp_path, f'echo "$1 $HIVEKEYS_OCCASION $HIVEKEYS_EXIT_CODE" >>{out}')
    asked = {"begin": (Occasion.START,), "all": ALWAYS, "ill": (Occasion.FAILURE,)}
    beside = Notifier([Notify(name, on=on, run=(tell, name)) for name, on in asked.items()], pytest.fail)
    operator = Operator(fleet)
    code, run = operator.rotate(), Run()
    for event in operator.events:
        run = advance(run, event)
        beside.on_event(event, run)
    beside.end(at_end(run, "", code), code)
    assert sorted(out.read_text().splitlines()) == ["all end 0", "all start ", "begin start "]


def test_a_trial_notification_says_of_each_whether_it_arrived(hook: Webhook, tmp_path: Path) -> None:
    ways = [Notify("chat", webhook=hook.address), Notify("pager", run=(script(tmp_path, "exit 3"),))]
    said = try_each([*ways, Notify("lost", webhook_file="/none")], "blue")
    assert said == {
        "chat": "",
        "pager": f"{tmp_path}/tell ended with 3; the run's exit code is its own",
        "lost": "/none: No such file or directory",
    }
    assert hook.told == ["*a trial notification for fleet blue: nothing was changed*"]


def typed(folder: Path, hook: Webhook, *words: str) -> "subprocess.CompletedProcess[str]":
    """`fab` as an operator types it, over simulated hosts behind real SSH, of which two are told."""
    with Hosts(folder, "--hosts=2"):
        with (folder / "fleet.toml").open("a") as file:
            file.write(f'[notify.chat]\non = ["start", "end"]\nwebhook = "{hook.address}"\n')
            file.write('[notify.lost]\nwebhook_file = "none"\n')
        return subprocess.run(
            [Path(sys.executable).with_name("fab"), *words, "--fleet", folder / "fleet.toml"],
            cwd=PROJECT,
            env={**os.environ, "HIVEKEYS_STATE_DIR": str(folder / "state")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def test_a_rotation_tells_of_itself_and_one_who_cannot_be_told_changes_nothing(hook: Webhook, tmp_path: Path) -> None:
    done = typed(tmp_path, hook, "rotate", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"warning: notify.lost: {tmp_path}/none: No such file or directory: nobody is told by it" in done.stderr
    began, ended = hook.told
    assert began.startswith("*rotate of fleet simulated began: ")
    assert ended.startswith("*rotate of fleet simulated: done, and proven, on every host (exit code 0)*\n")
    assert len({said["hivekeys"]["run"] for _, said in hook.posted}) == 1


def test_work_that_is_no_rotation_is_told_as_well(hook: Webhook, tmp_path: Path) -> None:
    """These hosts know no such work: they are named."""
    done = typed(tmp_path, hook, "fix", "--apply")
    assert done.returncode == 4, done.stderr
    began, ended = hook.told
    assert began.startswith("*fix of fleet simulated began: 2 hosts*")
    assert ended.startswith("*fix of fleet simulated: ended with exit code 4: 2 unknown (exit code 4)*\n")
    assert "queen, hive1: line-broken: the connection broke" in ended


def test_what_only_looks_is_told_to_nobody(hook: Webhook, tmp_path: Path) -> None:
    done = typed(tmp_path, hook, "fix")
    assert "hosts: " in done.stdout and "notify" not in done.stderr
    assert hook.told == []
