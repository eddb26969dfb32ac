"""Tells all whom an inventory names, beside the run: each has a thread, and its notifications in their order.

A run waits for nobody, but at its end, and then for PATIENCE at most. What fails is a warning.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Notify, Occasion
from hivekeys.journal.events import Event
from hivekeys.journal.run import Run
from hivekeys.tasks.notifications import command, notification
from hivekeys.tasks.notifications.notification import Notification

PATIENCE = 30.0  # seconds that a notification may take, and those at the end together
Deliver = Callable[[Notification], str]  # what went wrong, "" if nothing did


class Notifier:
    """Listens to a run's events, and tells of it. They reach it one by one."""

    def __init__(self, notifies: Sequence[Notify], warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._occasions: set[Occasion] = set()
        self._channels = [_Channel(notify, deliver, warn) for notify in notifies if (deliver := self._sender(notify))]

    def _sender(self, notify: Notify) -> Deliver | None:
        """What delivers to one; None, with a warning at once, where that can be seen to be in vain."""
        try:
            return sender_of(notify)
        except UserError as error:
            self._warn(f"{_called(notify)}: {error.message}: nobody is told by it")
            return None

    def on_event(self, event: Event, run: Run) -> None:
        """An event of the run, which has it already."""
        if due := notification.of_event(event, run, self._occasions):
            self._send(*due)

    def end(self, last: Notification, code: ExitCode) -> None:
        """Tells how it ended; a run that was refused before it began is told of where another holds the fleet."""
        if Occasion.START in self._occasions or code is not ExitCode.USAGE:
            self._send(Occasion.END, last)
        until = time.monotonic() + PATIENCE + 1.0  # a command that is not through says so itself
        for channel in self._channels:
            channel.close(until)

    def _send(self, occasion: Occasion, told: Notification) -> None:
        self._occasions.add(occasion)
        for channel in self._channels:
            channel.send(occasion, told)


def sender_of(notify: Notify) -> Deliver:
    """What delivers a notification by the way that the inventory says. Raises UserError where that cannot be."""
    if notify.run:
        return lambda told: command.start(notify.run, f"{told.title}\n{told.text}", _environment(told), PATIENCE)
    if notify.mail:
        from hivekeys.tasks.notifications import mail

        return lambda told: mail.send(notify.mail, told, PATIENCE)
    from hivekeys.tasks.notifications import webhook

    request = webhook.request_of(notify)
    return lambda told: webhook.post(request, told, PATIENCE)


def try_each(notifies: Sequence[Notify], fleet: str) -> dict[str, str]:
    """Sends each a trial notification now: what went wrong by its name, "" where nothing did."""
    said = {}
    for notify in notifies:
        try:
            said[notify.name] = sender_of(notify)(notification.trial(fleet))
        except UserError as error:
            said[notify.name] = error.message
    return said


def _called(notify: Notify) -> str:
    return f"notify.{notify.name}"


def _environment(told: Notification) -> dict[str, str]:
    names = ("occasion", "exit_code", "run", "fleet")
    return {f"HIVEKEYS_{name.upper()}": str(told.facts[name]) for name in names if name in told.facts}


class _Channel:
    """One who is told, in a thread that waits for notifications; the process does not wait for it."""

    def __init__(self, notify: Notify, deliver: Deliver, warn: Callable[[str], None]) -> None:
        self._notify, self._deliver, self._warn = notify, deliver, warn
        self._due: queue.SimpleQueue[Notification | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=_called(notify), daemon=True)
        self._thread.start()

    def send(self, occasion: Occasion, told: Notification) -> None:
        if occasion in self._notify.on:
            self._due.put(told)

    def close(self, until: float) -> None:
        """Waits until all is delivered, or it is time."""
        self._due.put(None)
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._warn(f"{_called(self._notify)}: not told within {PATIENCE:.0f} s")

    def _work(self) -> None:
        while (told := self._due.get()) is not None:
            if wrong := self._deliver(told):
                self._warn(f"{_called(self._notify)}: {wrong}")
