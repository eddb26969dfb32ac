"""Connects the verbs to the engine: lock, journal, SSH, screen and signals of a run."""

import contextlib
import functools
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import DamagedError, ExitCode, UserError
from hivekeys.protocol.hints import for_fleet
from hivekeys.text.clean import printable
from tasks.options import secrets_given
from tasks.options.excluding import cut_out_now
from tasks.options.frame import TO_PEOPLE, Told
from tasks.terminal.stopping import stoppable

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host
    from hivekeys.journal.events import Event, Phase
    from hivekeys.journal.recorder import Record
    from hivekeys.journal.run import Run
    from hivekeys.journal.store import Journal
    from hivekeys.protocol.verbs import Greeting
    from hivekeys.rotation.crew import Crew
    from hivekeys.ssh.dialer import Sudo
    from hivekeys.ssh.line import Dialer
    from hivekeys.upkeep.upkeep import Upkeep
    from tasks.terminal.live import Show

PASSWORD_FILE = "HIVEKEYS_SUDO_PASSWORD_FILE"  # noqa: S105  a variable's name

# Imports inside the functions below: SSH, pydantic and rich take half a second that `fab --list` has not.


@dataclass(frozen=True)
class Asked:
    """What an operator asked for, beyond the fleet."""

    reason: str = ""
    told: Told = TO_PEOPLE
    task: str = "rotate"  # hivekeys.journal.run
    past: "Run | None" = None
    state_dir: str = ""
    records: bool = True  # a look alone is not written down, and takes no lock
    goes_back: bool = False  # it is taken back
    fence: bool = False  # services that cannot be turned are to be stopped
    take_over: bool = False  # whoever else has a host's lock is ended
    ends_survivors: bool = False  # processes that outlive a restart are to be ended
    excluded: tuple[str, ...] = ()  # cut out of the fleet

    def __post_init__(self) -> None:
        """A reason may come from a ticket or a pipeline: one line of it is recorded and shown."""
        object.__setattr__(self, "reason", printable(" ".join(self.reason.split())))


def new_run(fleet: str) -> str:
    """The id of a run that begins."""
    return f"{fleet}-{secrets.token_hex(4)}"


def greeting_of(fleet: str, folder: Path, run: str = "") -> "Greeting":
    """Who speaks to the hosts: the operator, as a run that exists or as a new one; and what must never come back."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import tombstones
    from hivekeys.protocol.verbs import Greeting

    run = run or new_run(fleet)
    revoked = {fingerprint.keyed: by for fingerprint, by in tombstones(folder).items()}
    return Greeting(fleet, state_folder.fingerprint_key(folder), run, state_folder.operator(), revoked=revoked)


def dialer_of(
    fleet: "Fleet", hosts: "tuple[Host, ...]", program: bytes, folder: Path, *, readmitted: Sequence[str] = ()
) -> "Dialer":
    """Who opens lines to these hosts; never to one that is cut out of the fleet, but for those `readmitted` now.

    If the sudo of any wants a password, this asks for it, once a command.

    So it is called when all else is known to be right, and before anything is drawn on the screen.
    """
    from hivekeys.fleet import Become
    from hivekeys.protocol.program import installed_program
    from hivekeys.ssh import limits
    from hivekeys.ssh.dialer import SshDialer
    from hivekeys.ssh.excluded import Guarded

    limits.raise_open_files(len(hosts), fleet.policy.width)
    limits.check_threads(len(hosts), fleet.policy.width, limits.ceilings())
    wanted = any(host.become is Become.SUDO_PASSWORD for host in hosts)
    source = os.environ.get(PASSWORD_FILE) or fleet.ssh.sudo_password_file or ""
    digest = hashlib.sha256(installed_program()).hexdigest()
    dialer = SshDialer(fleet, program, _sudo(fleet.name, source) if wanted else None, digest)
    return Guarded(dialer, {name: by for name, by in cut_out_now(folder).items() if name not in readmitted})


@functools.cache
def _sudo(fleet: str, source: str) -> "Sudo":
    """The password for sudo on the hosts of a fleet, from a file or from the operator."""
    from hivekeys.ssh import password
    from hivekeys.ssh.dialer import Sudo

    if source:
        hint = "chmod 600 it, and change the password: others may know it"
        return Sudo(password.parse(secrets_given.read(source, password.MAX_BYTES + 3, hint), source))
    hint = (
        f"put it into a file that only you can read, and name that: {PASSWORD_FILE}, or `sudo_password_file` in [ssh]"
    )
    return Sudo(password.parse(secrets_given.typed(f"sudo password on fleet {fleet}: ", hint), "as typed"))


@contextlib.contextmanager
def runner_of(fleet: "Fleet", hosts: "tuple[Host, ...]", asked: Asked) -> "Iterator[tuple[Crew, Show]]":
    """A run that is ready to begin, or to be taken up again."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import history_of
    from hivekeys.journal.progress import Direction
    from hivekeys.journal.run import REVOKE
    from hivekeys.protocol.program import program_of
    from hivekeys.rotation.crew import Crew
    from tasks.terminal.live import Show

    folder = state_folder.folder_for(fleet.name, asked.state_dir)
    run = asked.past.id if asked.past else new_run(fleet.name)
    with contextlib.ExitStack() as stack:
        way = Direction.LOOK if not asked.records else Direction.BACK if asked.goes_back else Direction.FORWARD
        show = Show(asked.told, asked.past, way, fleet)
        if asked.told.on_finish:
            stack.enter_context(_noticed(fleet, run, asked.told.on_finish, show))
        record: Record = show.record
        if asked.records:
            record = stack.enter_context(recorded(fleet, run, asked, show, asked.past is not None))
        history = history_of(folder)
        greeting = greeting_of(fleet.name, folder, run)  # under the lock: a run that has just ended may have condemned
        # Who writes also asks for the services' records, before old tokens go.
        revokes = asked.past.is_revocation if asked.past else asked.task == REVOKE
        program = program_of(*(["audit"] if asked.records else []), *(["sweep"] if revokes else []))
        dialer = dialer_of(fleet, hosts, program, folder)
        stack.enter_context(show)
        runner = Crew(
            fleet,
            hosts,
            dialer,
            replace(greeting, take_over=asked.take_over),
            record,
            reason=asked.reason,
            task=asked.task,
            past=asked.past,
            fence=asked.fence,
            history=history,
            excluded=asked.excluded,
        )
        stack.callback(runner.close)
        stack.enter_context(stoppable(runner, show))
        yield runner, show


@contextlib.contextmanager
def upkeep_of(
    fleet: "Fleet",
    hosts: "tuple[Host, ...]",
    phase: "Phase",
    asked: Asked,
    modules: tuple[str, ...] = (),
    *,
    beside_open: bool = True,
    only_asks: bool = False,
    readmitted: Sequence[str] = (),
) -> "Iterator[Upkeep]":
    """Upkeep that is ready to begin; what is recorded is applied unless it `only_asks`, the rest only shown.

    `readmitted`: hosts that were cut out and come back into the fleet with it.
    """
    from hivekeys.journal import state_folder
    from hivekeys.protocol.program import program_of
    from hivekeys.upkeep.upkeep import Upkeep
    from tasks.terminal.live import Show

    run = new_run(fleet.name)
    with contextlib.ExitStack() as stack:
        show = Show(asked.told)
        record: Record = show.record
        if asked.records:
            record = stack.enter_context(recorded(fleet, run, asked, show, beside_open))
        folder = state_folder.folder_for(fleet.name, asked.state_dir)
        greeting = greeting_of(fleet.name, folder, run)
        dialer = dialer_of(fleet, hosts, program_of(*modules), folder, readmitted=readmitted)
        stack.callback(dialer.close)
        stack.enter_context(show)
        apply = asked.records and not only_asks
        work = Upkeep(fleet, hosts, dialer, greeting, record, phase, apply, asked.reason)
        stack.callback(work.close)
        work.readmit(readmitted)
        try:
            yield work
        except KeyboardInterrupt:
            work.end(ExitCode.INTERRUPTED)
            raise


@contextlib.contextmanager
def recorded(fleet: "Fleet", run: str, asked: Asked, show: "Show", beside_open: bool) -> "Iterator[Record]":
    """What takes a run's events: under the fleet's lock, and each in the journal before anything is done.

    Unless it may go on `beside_open`, it is refused while a run that was cut off waits to be taken up. A revocation
    supersedes every such run as it begins, and goes past a journal that is damaged: what leaked cannot wait.
    """
    from hivekeys.journal import state_folder
    from hivekeys.journal.events import Superseded

    folder = state_folder.folder_for(fleet.name, asked.state_dir)
    with contextlib.ExitStack() as stack:
        stack.enter_context(state_folder.hold_lock(folder, fleet.name, run, asked.reason))
        journal, superseded = _journal(folder, fleet, asked, show, beside_open)
        stack.enter_context(contextlib.closing(journal))

        def record(events: "Sequence[Event]") -> None:
            journal.append(run, *events)
            while superseded:
                journal.append(superseded.pop().id, Superseded(run, events[0].when))
            show.record(events)

        yield record


def _journal(
    folder: Path, fleet: "Fleet", asked: Asked, show: "Show", beside_open: bool
) -> "tuple[Journal, list[Run]]":
    """The journal, whole and written with the fleet's key; for a revocation a new one where the old is neither.

    With it the runs that are superseded by this one.
    """
    from hivekeys.journal import salvage
    from hivekeys.journal.run import REVOKE

    try:
        return _whole_journal(folder, fleet, asked, beside_open)
    except DamagedError as damage:
        if asked.task != REVOKE:
            raise
        aside = salvage.set_aside(folder, time.time())
        show.warn(f"{damage.message}. This revocation goes on with a new journal; the old one is kept as {aside}")
        return _whole_journal(folder, fleet, asked, beside_open)


def _whole_journal(folder: Path, fleet: "Fleet", asked: Asked, beside_open: bool) -> "tuple[Journal, list[Run]]":
    from hivekeys.journal import state_folder
    from hivekeys.journal.run import REVOKE
    from hivekeys.journal.store import Journal
    from hivekeys.token import key_name

    key = state_folder.fingerprint_key(folder)
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(contextlib.closing(Journal(folder, writes=True)))
        cut_off = [] if beside_open else _cut_off(journal)
        if asked.task != REVOKE:
            _refuse_while_open(cut_off, fleet)
        journal.note_key(key_name(key))
        stack.pop_all()
        return journal, cut_off if asked.task == REVOKE else []


@contextlib.contextmanager
def _noticed(fleet: "Fleet", run: str, words: tuple[str, ...], show: "Show") -> Iterator[None]:
    """The operator's command hears of the end, whatever it was; also when the run never began."""
    from tasks.terminal import on_finish

    summary, code = "hivekeys ended without a result\n", ExitCode.BUG
    try:
        yield
        summary, code = show.summary or (summary, code)
    except UserError as error:
        summary, code = f"{error.message}\nhint: {for_fleet(error.hint, fleet.typed)}\n", error.code
        raise
    except KeyboardInterrupt:
        summary, code = "interrupted\n", ExitCode.INTERRUPTED
        raise
    finally:
        facts = {"HIVEKEYS_EXIT_CODE": str(int(code)), "HIVEKEYS_RUN": run, "HIVEKEYS_FLEET": fleet.name}
        on_finish.give(words, summary, facts, show.warn)


def _refuse_while_open(cut_off: "Sequence[Run]", fleet: "Fleet") -> None:
    """A new run must not begin on top of one that was cut off and has changed something."""
    newest = next((run for run in cut_off if run.left_a_trace), None)
    if newest is None:
        return
    phase = newest.phase.value if newest.phase else "–"
    back = "" if newest.is_revocation else f"; or take it back: fab rollback --fleet {fleet.typed}"
    raise UserError(
        f"run {newest.id} of {newest.who} was cut off in phase {phase}",
        hint=f"go on: fab resume --fleet {fleet.typed}{back}",
    )


def _cut_off(journal: "Journal") -> "list[Run]":
    """The runs that were cut off and may be taken up, newest first. Under the lock: no other run is at work.

    None is older than the newest that left a trace: it was over, or cut off, when that one began. One that was cut off,
    or refused, before it changed anything hides nothing beneath it.
    """
    from hivekeys.journal.run import fold

    found = []
    for name in journal.runs():
        run = fold(journal.events(name))
        if run.brings_token and run.is_open:
            found.append(run)
        if run.brings_token and run.left_a_trace and not run.superseded_by:
            break
    return found
