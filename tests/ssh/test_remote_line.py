"""A line that stands: questions, answers, and every way in which an answer can fail to come."""

import os
import signal
import socket
import time

import pytest

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.program import program_of
from hivekeys.ssh.channel import REPLY_LIMIT, SshLine
from hivekeys.ssh.heartbeat import Heartbeat

from .bastion import ECHO_AGENT, SOON, Bastion, paramiko_threads, wait_until


def test_the_agent_answers_each_request_on_one_connection(ssh: Bastion) -> None:
    """One connection serves the whole run: many requests, each with its own reply."""
    line = ssh.line(ssh.host())
    for number in range(20):
        assert line.ask({"number": number}, 10) == {"echo": {"number": number}}


def test_a_megabyte_goes_out_and_comes_back(ssh: Bastion) -> None:
    """Size is no matter of time: nothing feeds the host a character at a time."""
    line = ssh.line(ssh.host())
    text = "0123456789abcdef" * 65536
    assert line.ask({"text": text}, SOON) == {"echo": {"text": text}}


def test_small_packets_are_not_held_back(ssh: Bastion) -> None:
    """TCP_NODELAY is set before the handshake, else each request costs 40 ms."""
    line = ssh.line(ssh.host())
    assert isinstance(line, SshLine)
    plug = line._login.wire.socket
    assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert plug.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_an_agent_that_is_too_late_costs_its_deadline_and_the_line(ssh: Bastion) -> None:
    """A host that takes longer than its deadline is silent; nobody waits for it, nobody asks it again."""
    line = ssh.line(ssh.host())
    started = time.monotonic()
    late = line.ask({"first": "time.sleep(60)"}, 0.3)
    assert isinstance(late, Cause)
    assert late.trouble is Trouble.SILENT
    again = line.ask({}, 600)
    assert isinstance(again, Cause)
    assert again.trouble is Trouble.LINE_BROKEN
    assert "silent" in again.detail
    assert time.monotonic() - started < SOON


def test_a_host_that_stops_reading_cannot_hold_the_run(ssh: Bastion) -> None:
    """The host froze between two requests, and the next does not fit into any buffer."""
    line = ssh.line(ssh.host())
    os.kill(ssh.sshd_of(line), signal.SIGSTOP)
    started = time.monotonic()
    cause = line.ask({"text": "x" * 32_000_000}, 1)
    line.close()
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.SILENT
    assert time.monotonic() - started < SOON


def test_a_frozen_host_does_not_hold_up_the_farewell(ssh: Bastion) -> None:
    """Closing takes no longer than a moment, whatever the host does."""
    line = ssh.line(ssh.host())
    os.kill(ssh.sshd_of(line), signal.SIGSTOP)
    started = time.monotonic()
    line.close()
    assert time.monotonic() - started < SOON


# -- a host that goes quiet in the middle

READY = b'print("hivekeys:ready", flush=True)'
KNOWN_CLOCK = ECHO_AGENT.replace(READY, b'print("hivekeys:ready %.3f" % time.monotonic(), flush=True)')


def living(reply: bytes, every: float) -> bytes:
    """hivekeys' own agent with an answer of its own, which gives a sign of life `every` so many seconds."""
    begin = b"import time\nprint('hivekeys:ready', flush=True)\nserve(Agent(), sys.stdin.buffer, sys.stdout.buffer"
    return program_of().replace(BEGIN, begin + b", every=%g, reply=lambda line: %s)\n" % (every, reply))


BEGIN = b'if __name__ == "__main__":\n    main()\n'


def test_an_agent_that_stands_still_costs_its_line_soon_and_not_the_whole_deadline(ssh: Bastion) -> None:
    line = ssh.line(ssh.host(), quiet=0.5)
    answer = line.ask({"first": "request = os.getpid()"}, 10)
    assert isinstance(answer, dict)
    os.kill(int(str(answer["echo"])), signal.SIGSTOP)
    started = time.monotonic()
    cause = line.ask({}, 600)
    os.kill(int(str(answer["echo"])), signal.SIGCONT)
    assert isinstance(cause, Cause)
    assert (cause.trouble, cause.detail) == (Trouble.SILENT, "nothing was heard from the host for 0.5 s")
    assert 0.5 <= time.monotonic() - started < SOON


def test_a_frozen_sshd_costs_the_line_soon_too_though_its_agent_lives(ssh: Bastion) -> None:
    line = ssh.line(ssh.host(), quiet=0.5)
    os.kill(ssh.sshd_of(line), signal.SIGSTOP)
    started = time.monotonic()
    cause = line.ask({"text": "x" * 32_000_000}, 600)  # does not fit into any buffer: it cannot even be sent
    assert isinstance(cause, Cause)
    assert (cause.trouble, cause.detail) == (Trouble.SILENT, "nothing was heard from the host for 0.5 s")
    assert time.monotonic() - started < SOON


def test_an_agent_that_is_long_at_work_gives_signs_of_life_and_is_waited_for(ssh: Bastion) -> None:
    """An audit of a gigabyte says nothing for a minute: here it takes four times as long as a host may be quiet."""
    line = ssh.line(ssh.host(), program=living(b"(time.sleep(4), {'done': 1})[1]", 0.05), quiet=1.0)
    assert line.ask({}, SOON) == {"done": 1}
    assert line.ask({}, SOON) == {"done": 1}, "no sign was left over that would be taken for an answer"


def test_signs_of_life_stand_before_an_answer_and_never_in_the_middle_of_it(ssh: Bastion) -> None:
    line = ssh.line(ssh.host(), program=living(b"{'text': 'x' * 3000000}", 0.0001))
    for _ in range(5):
        assert line.ask({}, SOON) == {"text": "x" * 3_000_000}


def test_an_agent_hears_from_the_bastion_while_it_is_at_work(ssh: Bastion) -> None:
    """Else its lease would end in the middle of a long request. The sign says when it was sent, by the host's clock."""
    line = ssh.line(ssh.host(), program=KNOWN_CLOCK)
    assert isinstance(line, SshLine)
    pulse = Heartbeat(every=0.01)
    pulse.add(line)
    before = time.monotonic()
    answer = line.ask({"first": "request = sys.stdin.buffer.readline().decode()"}, SOON)
    pulse.stop()
    assert isinstance(answer, dict)
    sent = str(answer["echo"])
    assert sent.startswith("@")
    assert before - 1 < float(sent[1:]) <= time.monotonic(), "never later than it was: the lease counts from there"


def beats_heard(line: SshLine) -> int:
    """How many signs of life the agent has had, by its own count."""
    answer = line.ask({"first": "request = beats"}, 10)
    assert isinstance(answer, dict)
    return int(str(answer["echo"]))


def test_an_agent_hears_from_the_bastion_while_nobody_asks_it_anything(ssh: Bastion) -> None:
    """Each sign is one empty line without an answer, and none gets into the middle of a request."""
    line = ssh.line(ssh.host())
    assert isinstance(line, SshLine)
    pulse = Heartbeat(every=0.001)
    pulse.add(line)
    text = "x" * 100_000
    wait_until(lambda: beats_heard(line) > 20, "signs of life")
    for _ in range(20):
        assert line.ask({"text": text}, 10) == {"echo": {"text": text}}
    pulse.stop()
    line.close()
    assert not line.send_sign_of_life()


def test_a_frozen_host_does_not_hold_up_the_signs_of_life_of_the_others(ssh: Bastion) -> None:
    frozen, line = ssh.line(ssh.host()), ssh.line(ssh.host())
    assert isinstance(frozen, SshLine)
    assert isinstance(line, SshLine)
    os.kill(ssh.sshd_of(frozen), signal.SIGSTOP)
    pulse = Heartbeat(every=0.001)
    for each in (frozen, line):
        pulse.add(each)
    wait_until(lambda: beats_heard(line) > 200, "signs of life")
    pulse.stop()


def test_a_request_says_by_the_hosts_own_clock_when_nobody_waits_for_it_any_more(ssh: Bastion) -> None:
    """Host and bastion are one machine here, whose clock has been put an hour ahead for the host."""
    ready = b'print("hivekeys:ready %.3f" % (time.monotonic() + 3600), flush=True)'
    program = ECHO_AGENT.replace(b'print("hivekeys:ready", flush=True)', ready)
    line = ssh.line(ssh.host(), program=program)
    before = time.monotonic()
    answer = line.ask({"first": "request['now'] = time.monotonic() + 3600"}, 10)
    assert isinstance(answer, dict)
    echo = answer["echo"]
    assert isinstance(echo, dict)
    assert echo["expires"] - echo["now"] <= 10
    assert echo["expires"] <= before + 3600 + 10 + 0.001, "never later than here"
    assert echo["expires"] > before + 3600 + 5, "and not so early that a host has no time"


def test_an_agent_that_dies_breaks_the_line_and_says_why(ssh: Bastion) -> None:
    """The last line of its stderr and its status reach the operator."""
    line = ssh.line(ssh.host())
    cause = line.ask({"first": "raise ValueError('no such thing')"}, 10)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.LINE_BROKEN
    assert cause.detail == "the agent ended with status 1: ValueError: no such thing"


def test_a_connection_that_breaks_is_told_from_an_agent_that_ends(ssh: Bastion) -> None:
    """The host's sshd is gone, not the agent."""
    line = ssh.line(ssh.host())
    cause = line.ask({"first": f"os.kill({ssh.sshd_of(line)}, 9)"}, 10)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.LINE_BROKEN
    assert cause.detail == "the connection broke"


@pytest.mark.parametrize(
    "reply",
    [
        "print('# hello')",
        "print('[1]')",
        "print('{' * 100000)",
        "sys.stdout.buffer.write(bytes([255, 254, 10]))",
        f"print('x' * {REPLY_LIMIT + 1})",
        "[os.write(1, bytes(65536)) for _ in iter(int, 1)]",
        "[os.write(1, b'\\n' * 65536) for _ in iter(int, 1)]",
    ],
    ids=["text", "no-object", "nested", "no-text", "too-long", "flood", "flood-of-signs"],
)
def test_a_reply_that_is_none_is_rubbish(ssh: Bastion, reply: str) -> None:
    """Whatever a host says, it is read up to a limit and never believed."""
    cause = ssh.line(ssh.host()).ask({"first": reply}, 20)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.RUBBISH


def test_a_second_reply_to_one_request_is_not_taken_for_the_next(ssh: Bastion) -> None:
    """An answer nobody asked for would shift every later one."""
    line = ssh.line(ssh.host())
    line.ask({"first": "print('{}')"}, 10)
    wait_until(lambda: isinstance(line, SshLine) and line._stream.pending, "the second reply")
    cause = line.ask({}, 10)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.RUBBISH


def test_a_flood_of_complaints_neither_blocks_nor_fills_the_bastion(ssh: Bastion) -> None:
    """More stderr than SSH's window holds, before the reply: it is drained, and only its end is kept."""
    line = ssh.line(ssh.host())
    flood = "[os.write(2, b'w' * 65536) for _ in range(100)]"
    assert line.ask({"first": flood}, 20) == {"echo": {"first": flood}}
    assert isinstance(line, SshLine)
    assert len(line._stream._errors) <= 4096


def test_closing_a_line_ends_the_agent_and_every_thread(ssh: Bastion) -> None:
    """The agent sees the end of its input; nothing of the connection is left here."""
    before = set(paramiko_threads())
    witness = ssh.folder / "agent-ended"
    line = ssh.line(ssh.host())
    line.ask({"first": f"import atexit; atexit.register(open, {str(witness)!r}, 'w')"}, 10)
    line.close()
    line.close()
    wait_until(witness.exists, "the end of the agent")
    wait_until(lambda: set(paramiko_threads()) <= before, "the end of paramiko's threads")
    cause = line.ask({}, 10)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.LINE_BROKEN
