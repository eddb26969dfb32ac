"""Examines a fleet's hosts by the security checklist. Changes nothing anywhere."""

import secrets
import time
from dataclasses import replace
from datetime import UTC, datetime

from hivekeys.bastion.connection import dialer_of, greeting_of, new_run
from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.journal.past import past_runs, tombstones
from hivekeys.journal.store import Journal
from hivekeys.protocol.doubles import doubles
from hivekeys.protocol.program import modules_of, program_of
from hivekeys.protocol.verbs import Greeting
from hivekeys.ssh.line import Dialer
from hivekeys.token import Fingerprint
from hivekeys.verify.findings import Baseline, Check, Other, Record, Report, examine, recorded
from hivekeys.verify.survey import others, survey
from hivekeys.verify.waivers import over, waive


def examined(
    fleet: Fleet,
    hosts: tuple[Host, ...],
    checks: list[Check],
    other: Fleet | None,
    state_dir: str,
    dead: tuple[Fingerprint, ...],
) -> Report:
    """What the checks find on these hosts; `other`: a fleet to compare tokens with, `dead`: tokens to try."""
    now = time.time()
    record = _record(fleet, state_dir)
    folder = state_folder.folder_for(fleet.name, state_dir)
    greeting = greeting_of(fleet.name, folder)
    comparison = secrets.token_bytes(32) if other else b""  # nothing can be compared with it afterwards
    asked = hosts if fleet.queen in hosts else (fleet.queen, *hosts)  # hers is the token that all are held against
    fronts = ["look_behind"] if any(host.service.front for host in fleet.hosts) else []
    modules = ["inspect", *fronts, *(["sweep"] if dead else []), *modules_of(fleet.hosts)]
    dialer = dialer_of(fleet, asked, program_of(*modules), folder)
    to_others = None
    if other:  # whose password is asked for now
        to_others = dialer_of(other, other.hosts, program_of(), state_folder.folder_for(other.name, state_dir))
    try:
        observations = survey(fleet, asked, dialer, greeting, comparison, dead=dead)
    finally:
        dialer.close()
    machines = {observation.host.name: observation.machine for observation in observations}
    queen = next(observation for observation in observations if observation.host == fleet.queen)
    baseline = Baseline(
        queen.seen.token if queen.seen else None,
        fleet.token_age,
        now,
        record,
        _others(other, to_others, comparison) if other and to_others else None,
        doubles(fleet.hosts, machines),
    )
    findings = examine([observation for observation in observations if observation.host in hosts], baseline, checks)
    today = datetime.fromtimestamp(now, UTC).date()
    shown = waive(findings, fleet.waivers, today)
    return Report(fleet.name, shown, over(fleet.waivers, today), now, time.time() - now)


def dead_tokens(fleet: Fleet, state_dir: str) -> tuple[Fingerprint, ...]:
    """The tokens that were revoked, as this bastion's journal knows."""
    dead = tuple(tombstones(state_folder.folder_for(fleet.name, state_dir)))
    if not dead:
        raise UserError(
            f"--dead-token: this bastion knows of no token of fleet {fleet.name} that was revoked",
            hint="ask from the bastion that revoked it",
        )
    return dead


def _others(fleet: Fleet, dialer: Dialer, comparison: bytes) -> Other:
    """The other fleet's answer. Its hosts are greeted under its own name: they know whose they are."""
    greeting = Greeting(fleet.name, comparison, new_run(fleet.name), state_folder.operator())
    try:
        return others(fleet, dialer, greeting)
    finally:
        dialer.close()


def _record(fleet: Fleet, state_dir: str) -> Record | None:
    """What this bastion's journal knows; None where it has none. Makes no journal."""
    if not Journal.is_in(state_folder.folder_for(fleet.name, state_dir)):
        return None
    record = recorded(past_runs(fleet.name, state_dir))
    return replace(record, verb=f"{record.verb} --fleet {fleet.typed}")
