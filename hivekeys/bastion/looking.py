"""Looks at a fleet's hosts: as they are now, with what this bastion's journal knows of them."""

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from hivekeys.audit.census import census_taken, query_of_uses, replaced_at
from hivekeys.bastion.connection import dialer_of, greeting_of
from hivekeys.fleet import Fleet, Host, takes_two
from hivekeys.journal import state_folder
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import CensusTaken
from hivekeys.journal.past import past_runs
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.program import modules_of, program_of
from hivekeys.protocol.verbs import Audit
from hivekeys.status.status import FleetStatus, status_of
from hivekeys.verify.findings import recorded
from hivekeys.verify.survey import Watch


class Look(Protocol):
    """Looks once more; unless it `knows` nothing, with what the journal says. Raises DamagedError for the journal."""

    def __call__(self, knows: bool = True) -> FleetStatus:
        """How the hosts are now."""


@contextlib.contextmanager
def looking(fleet: Fleet, hosts: tuple[Host, ...], state_dir: str, *, asks_for_uses: bool = False) -> Iterator[Look]:
    """How to look at hosts, once or again and again, over lines that stay open; unless it is told otherwise, with what
    the journal knows of them. `asks_for_uses`: also who uses the old token, while two are accepted.
    """
    folder = state_folder.folder_for(fleet.name, state_dir)
    greeting = greeting_of(fleet.name, folder)
    audit = ("audit",) if asks_for_uses and takes_two(fleet.hosts) else ()
    dialer = dialer_of(fleet, hosts, program_of(*modules_of(fleet.hosts), *audit), folder)
    watch = Watch(fleet, hosts, dialer, greeting)

    def look(knows: bool = True) -> FleetStatus:
        answers = watch.look()
        runs = list(past_runs(fleet.name, state_dir, every=True)) if knows else None
        record = recorded(run for run in runs or () if run.brings_token)
        newest = next((run for run in runs or () if run.brings_token), None)
        uses = _uses(watch, answers, newest) if audit and newest and newest.is_overlapping else None
        return status_of(fleet, answers, record, runs, time.time(), uses)

    try:
        yield look
    finally:
        watch.close()
        dialer.close()


def _uses(watch: Watch, looks: dict[Host, Reply | Cause], run: Run) -> CensusTaken:
    """Who has used the old token in the last hour, by the records of the hosts that could be looked at."""
    looks = {host: look for host, look in looks.items() if not host.service.is_client}  # who is called has records
    tokens = sorted({host.was.fp6 for host in run.hosts.values() if host.was and host.was != run.want})
    there = {host: look for host, look in looks.items() if not isinstance(look, Cause) and not look.cause}
    asked = {host: (Audit(query_of_uses(tokens, replaced_at(host, look, run))),) for host, look in there.items()}
    answers = watch.ask(asked)
    now = Moment(time.time(), time.monotonic())
    return census_taken({host.name: answers.get(host, look) for host, look in looks.items()}, tokens, now)
