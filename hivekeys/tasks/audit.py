"""`fab audit`: who used which token, by the services' own records. Changes nothing anywhere."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.times import count, fp6, moment
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import print_document

if TYPE_CHECKING:
    from hivekeys.audit.census import Census, Tokens
    from hivekeys.errors import ExitCode
    from hivekeys.fleet import Fleet, Host
    from hivekeys.protocol.audited import Query

MOST_RECORDS = 1000


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """Which records are asked for."""

    since: str = option("only calls from then on: an age by each host's clock (30m, 2h, 3d), or a time (ISO 8601)")
    until: str = option("only calls up to then")
    token: str = option("only calls with this token: current, previous, or its six hex digits")
    failed: bool = option("only calls that were refused", default=False)
    file_access: bool = option(
        "who opened the token file instead, as auditd noted it (`fab watch` makes it do so)", default=False
    )
    records: str = option(
        "how many of the newest records are shown one by one, at most 1000 (default: 10)", default="10"
    )


@verb
def audit(scope: HostsOptions, own: AuditOptions, output: JsonOption) -> None:
    """Show who used which token, and who still presents the old one, by the services' audit records."""
    fleet, hosts = scope.load_hosts()
    wanted = own.token if own.token in ("", "current", "previous") else fp6(own.token)
    if own.file_access and own.token:
        raise UserError("--file-access and --token: it was not noted which token was read", hint="leave --token out")
    query = _query(own)
    if own.file_access:
        leave(_accesses(fleet, hosts, query, scope.state_dir, output.json))
        return
    services = tuple(host for host in hosts if not host.service.is_client)  # clients write no records
    if not services:
        names = ", ".join(host.name for host in hosts)
        raise UserError(f"{names}: clients write no records", hint="ask the services that they call, or --file-access")
    census = _census(fleet, services, query, wanted, scope.state_dir)
    if output.json:
        from hivekeys.audit import census_report

        print_document(census_report.document(census, fleet))
    else:
        _show(census, fleet, query.records)
    leave(census.code)


def _query(own: AuditOptions) -> "Query":
    from hivekeys.protocol.audited import Query

    records = count("--records", own.records, MOST_RECORDS)
    begin, end = moment("--since", own.since), moment("--until", own.until)
    if begin and end and begin.before_now == end.before_now:
        first, last = (end, begin) if begin.before_now else (begin, end)
        if first.seconds > last.seconds:
            raise UserError(f"--since {own.since} is later than --until {own.until}", hint="exchange them")
    return Query(begin, end, failed=own.failed, records=records)


def _census(fleet: "Fleet", hosts: "tuple[Host, ...]", query: "Query", token: str, state_dir: str) -> "Census":
    from dataclasses import replace

    from hivekeys.audit.census import census_of, known_tokens, replaced_at
    from hivekeys.bastion.connection import dialer_of, greeting_of
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import newest_served
    from hivekeys.protocol.causes import Cause
    from hivekeys.protocol.program import program_of
    from hivekeys.protocol.verbs import Audit
    from hivekeys.verify.survey import Watch

    run = newest_served(fleet.name, state_dir)
    folder = state_folder.folder_for(fleet.name, state_dir)
    greeting = greeting_of(fleet.name, folder)
    dialer = dialer_of(fleet, hosts, program_of("audit"), folder)
    watch = Watch(fleet, hosts, dialer, greeting)
    try:
        looks = watch.look()
        tokens = known_tokens(looks, run)
        query = replace(query, tokens=_meant(tokens, token))
        steps = {
            host: (Audit(replace(query, replaced=replaced_at(host, look, run))),)
            for host, look in looks.items()
            if not isinstance(look, Cause) and not look.cause
        }
        answers = watch.ask(steps)
        return census_of(fleet.name, tokens, looks, answers, time.time())
    finally:
        watch.close()
        dialer.close()


def _accesses(fleet: "Fleet", hosts: "tuple[Host, ...]", query: "Query", state_dir: str, as_json: bool) -> "ExitCode":
    """Asks auditd's record on every host, and shows it."""
    from hivekeys.audit import access_report
    from hivekeys.bastion.connection import dialer_of, greeting_of
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import past_runs
    from hivekeys.protocol.program import program_of
    from hivekeys.protocol.verbs import Accesses
    from hivekeys.tasks.terminal.live import Show
    from hivekeys.verify.survey import Watch

    folder = state_folder.folder_for(fleet.name, state_dir)
    greeting = greeting_of(fleet.name, folder)
    dialer = dialer_of(fleet, hosts, program_of("accesses"), folder)
    watch = Watch(fleet, hosts, dialer, greeting)
    try:
        answers = watch.ask(dict.fromkeys(hosts, (Accesses(query),)))
    finally:
        watch.close()
        dialer.close()
    accesses = access_report.accesses_of(answers, time.time())
    runs = list(past_runs(fleet.name, state_dir, every=True))
    code = access_report.exit_code(accesses)
    if as_json:
        document = access_report.document(accesses, fleet, runs, code)
        print_document(document)
        return code
    show = Show()
    show.table(access_report.table(accesses))
    if query.records:
        show.table(access_report.newest_table(accesses, runs, query.records))
    for line in access_report.lines(accesses, fleet):
        show.line(line)
    return code


def _meant(tokens: "Tokens", word: str) -> tuple[str, ...]:
    """The fp6 that an operator means."""
    if word not in ("current", "previous"):
        return (word,) if word else ()
    found = tuple(sorted(getattr(tokens, word)))
    if not found:
        raise UserError(
            f"--token {word}: neither the hosts nor this bastion's journal know it",
            hint="name it by the six hex digits that the services log: --token 1a2b3c",
        )
    return found


def _show(census: "Census", fleet: "Fleet", records: int) -> None:
    from hivekeys.audit import census_report
    from hivekeys.tasks.terminal.live import Show

    show = Show()
    if census.rows:
        show.table(census_report.tally_table(census))
    if records and census.newest:
        show.table(census_report.newest_table(census, records))
    for line in census_report.lines(census, fleet):
        show.line(line)
