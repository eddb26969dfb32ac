"""Gives sudo's password to a host that asks for it, once, and to no host after one refused it.

sudo's question is a random word of this line (`-p`), so no other text is taken for it. It may stand between other
words, as sudo-rs has it. Whether the password was right follows from what comes next: our own marker, the same
question again, or the end.
"""

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.bootstrap import Startup, with_password
from hivekeys.ssh.password import Password
from hivekeys.ssh.startup import read_until_ready
from hivekeys.ssh.stream import Stop, Stream

TELLING = 12  # characters


class Sudo:
    """A command's password, and whether hosts accepted it. Safe for many threads.

    Until one host has accepted it, hosts are tried one by one: a wrong password is tried once, not on the whole fleet.
    """

    def __init__(self, password: Password) -> None:
        self._password = password
        self._turns = threading.Lock()
        self._taken = False
        self._refused_by = ""

    def prompt(self, who: str) -> "SudoPrompt":
        """The way to root on the host named `who`, for one line."""
        return SudoPrompt(self, who, f"hivekeys{secrets.token_hex(16)}")

    @property
    def answer(self) -> bytes | Cause:
        """The answer to sudo's question; a Cause, and no answer, if a host has refused the password before."""
        if self._refused_by:
            return Cause(Trouble.SUDO_PASSWORD_REFUSED, f"not tried here: {self._refused_by} refused the password")
        return self._password.reveal().encode() + b"\n"

    @contextlib.contextmanager
    def turn(self, timeout: float) -> Iterator[Cause | None]:
        """While the password is untried no other line tries it; waits for `timeout` seconds at most."""
        with contextlib.ExitStack() as held:
            if not self._turns.acquire(timeout=timeout):
                yield Cause(Trouble.SILENT, "not tried here: another host has not answered to the password yet")
                return
            held.callback(self._turns.release)
            if self._taken and not self._refused_by:
                held.close()
            yield None

    def taken(self) -> None:
        """Records that a host accepted the password."""
        self._taken = True

    def refused(self, who: str) -> None:
        """Records that a host refused the password: it is tried on no other."""
        self._refused_by = who

    def redact(self, cause: Cause) -> Cause:
        """The cause without the password, should a host have repeated it."""
        return Cause(cause.trouble, cause.detail.replace(self._password.reveal(), "…"))

    def is_in(self, reply: dict[str, object]) -> bool:
        """Whether a host repeats the password. One so short that it may be a word of the fleet's is not looked for."""
        text = self._password.reveal()
        return len(text) >= TELLING and json.dumps(text)[1:-1] in json.dumps(reply)


class SudoPrompt:
    """sudo on one host: it may open by itself, ask for the password, or stay shut."""

    def __init__(self, sudo: Sudo, who: str, question: str) -> None:
        self._sudo = sudo
        self._who = who
        self._question = question
        self.command = with_password(question)

    def pass_through(self, stream: Stream, startup: Startup, timeout: float) -> Cause | None:
        """Up to the marker of root, in `timeout` seconds for each of: the question, our turn, the answer."""
        first = self._listen(stream, startup, timeout)
        if not isinstance(first, Stop):
            return first
        with self._sudo.turn(timeout) as nobody:
            answer = nobody or self._sudo.answer
            if isinstance(answer, Cause):
                return answer
            return self._verdict(self._listen(stream, startup, timeout, answer))

    def redact(self, cause: Cause) -> Cause:
        """The cause without the password, should the host have repeated it."""
        return self._sudo.redact(cause)

    def checked(self, answer: dict[str, object] | Cause) -> dict[str, object] | Cause:
        """The answer, unless the host repeats the password in it: that must get into no record and on no screen."""
        if isinstance(answer, Cause):
            return self.redact(answer)
        return Cause(Trouble.RUBBISH, "the host sent the sudo password back") if self._sudo.is_in(answer) else answer

    def _verdict(self, then: Stop | Cause | None) -> Cause | None:
        """What sudo made of the password, by what came next."""
        if then is None:
            self._sudo.taken()
            return None
        if isinstance(then, Stop):
            words = "sudo asks again: the password is wrong here"
        elif then.trouble is Trouble.SUDO_REFUSED:
            words = f"after the password, {then.detail}"
        else:
            return then
        self._sudo.refused(self._who)
        return Cause(Trouble.SUDO_PASSWORD_REFUSED, words)

    def _listen(self, stream: Stream, startup: Startup, timeout: float, say: bytes = b"") -> Stop | Cause | None:
        """None at the marker of root, Stop.ASKED at the question, else why there will be neither."""
        return read_until_ready(stream, startup, lambda: startup.is_root, timeout, say, self._question.encode())
