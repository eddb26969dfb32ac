"""One host whose every text is evil, asked by every verb, shown in every format: nothing that it says acts on anybody.

The lie is made by type: each field of each answer, as the bastion reads it, filled with escapes, line breaks, bidi
controls and three million characters. Time is bounded by what is written, which is counted.
"""

import dataclasses
import io
import json
import types
import typing
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from invoke.context import Context
from invoke.exceptions import Exit
from rich.console import Console

import hivekeys.host.verbs.tombstones  # noqa: F401  hosts know its verb
from hivekeys import report
from hivekeys.audit import access_report, census_report
from hivekeys.audit.census import census_of, known_tokens
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Host, Policy
from hivekeys.host.verbs.fix import Work
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Event, Outcome, Phase, State, Status
from hivekeys.journal.fold import fold
from hivekeys.journal.progress import Progress
from hivekeys.journal.run import REVOKE, ROTATE
from hivekeys.journal.store import Journal
from hivekeys.protocol import verbs
from hivekeys.protocol.audited import READERS, Accessed, Audited, Query
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.change import Change
from hivekeys.protocol.inspected import Inspected
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.seen import HostRecord, Proof, Seen
from hivekeys.protocol.tombstone import Remembered, Stone
from hivekeys.protocol.verbs import Greeting, Verb
from hivekeys.protocol.wire import MOST_CHANGES, decode
from hivekeys.report.evidence import key_id, public_pem
from hivekeys.report.evidence.archive import pack
from hivekeys.report.evidence.check import EVENTS
from hivekeys.report.evidence.seal import HEAD, SIGNATURE, SUMS
from hivekeys.report.page import page
from hivekeys.report.stream import line_of, result_line
from hivekeys.report.view import view
from hivekeys.report.writing import html, markdown
from hivekeys.ssh.line import Applicant, Line
from hivekeys.status import status as statuses
from hivekeys.status.metrics import metrics
from hivekeys.tasks.evidence import evidence
from hivekeys.text.clean import LONGEST
from hivekeys.token import Fingerprint, generate
from hivekeys.upkeep import changes
from hivekeys.upkeep.changes import UpkeepResult
from hivekeys.upkeep.current_token import Grounds, current
from hivekeys.upkeep.first_token import TokenSource
from hivekeys.upkeep.install import install, uninstall
from hivekeys.upkeep.upkeep import Upkeep, fix
from hivekeys.verify import checklist
from hivekeys.verify.checks import CHECKS
from hivekeys.verify.findings import Baseline, Record, Report, examine
from hivekeys.verify.junit import junit
from hivekeys.verify.sarif import sarif
from hivekeys.verify.survey import Watch, survey
from tests.builders.documents import valid
from tests.builders.operator import Operator
from tests.builders.running import then
from tests.builders.seen import seen
from tests.inprocess import KEY, InProcessFleet, OwnClock
from tests.inprocess import Session as LineOf

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[32mvalid\r\nhive9: proven\u202e\u2066\u200f\u2028\x9b31m\x00é漢"
LONG = EVIL * (3_000_000 // len(EVIL))
FREE = ("detail", "fault", "before", "after", "refused", "path", "folder", "address", "service", "place", "program")
SHOWN = 400_000  # characters that one evil host may cost on one screen or in one document
FACTS: dict[Verb, type] = {
    Verb.HELLO: HostRecord,
    Verb.OBSERVE: Seen,
    Verb.PROVE: Proof,
    Verb.INSPECT: Inspected,
    Verb.AUDIT: Audited,
    Verb.ACCESSES: Accessed,
    Verb.TOMBSTONES: Remembered,
}

Fill = Callable[[str], str]


def short(_: str) -> str:
    return EVIL


def long_where_a_host_may_tell(field: str) -> str:
    return LONG if field in FREE else EVIL


def long(_: str) -> str:
    return LONG


def of_type(kind: Any, fill: Fill, field: str = "") -> Any:
    """A value of that type as JSON, with an evil text wherever it has one."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is str:
        return {"kind": READERS[0], "token": "abcdef", "machine": "ab" * 32}.get(field) or fill(field)
    if kind is Stone:
        return {"salt": "ab" * 16, "digest": "ab" * 32, "run": "run-1"}
    if kind is Fingerprint:
        return {"keyed": "ab" * 32, "fp6": "ababab"}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {one.name: of_type(hints[one.name], fill, one.name) for one in dataclasses.fields(kind)}
    if origin in (typing.Union, types.UnionType):
        return of_type(parts[0], fill, field)
    if origin is tuple:
        return [of_type(parts[0], fill, field)]
    if origin is dict:
        return {"new": of_type(parts[1], fill, field)}
    return {bool: True, int: 1, float: 1.0, Trouble: Trouble.WRITE_FAILED.value}[kind]


class EvilLine:
    """A line to a host whose every answer is a lie of the right type. `fails`: it says that each step failed."""

    took = 60.0

    def __init__(self, fill: Fill, fails: bool, changes: int) -> None:
        self.fill, self.fails, self.changes = fill, fails, changes

    def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
        steps = typing.cast("list[dict[str, Any]]", request["steps"])
        return {"results": [self._answer(Verb(step["verb"])) for step in steps]}

    def _answer(self, verb: Verb) -> dict[str, Any]:
        facts: dict[str, Any] = of_type(FACTS[verb], self.fill) if verb in FACTS else {}
        if verb is Verb.HELLO:
            facts |= {"epoch": 0, "machine": ""}
        if verb is Verb.PROVE:
            facts |= {"proven": False, "refused_after": None}  # of what was not asked, or it is no answer at all
        if verb in (Verb.FIX, Verb.INSTALL, Verb.UNINSTALL, Verb.WATCH, Verb.RESTRICT):
            facts = {"changes": [of_type(Change, self.fill) for _ in range(self.changes)]}
        failed = self.fails and verb not in (Verb.HELLO, Verb.OBSERVE)
        told = {"verb": verb.value, "ok": not failed, "changed": False, "seconds": 0.1, "facts": facts}
        return {**told, "trouble": "unhealthy" if failed else "", "detail": self.fill("detail")}

    def call_off(self) -> None:
        """It does what it likes anyway."""

    def close(self) -> None:
        """Nothing is held."""


class EvilDialer:
    """Every host is the simulated one but hive1, which is evil."""

    def __init__(self, fleet: InProcessFleet, fill: Fill, *, fails: bool = False, changes: int = 1) -> None:
        self._honest = fleet.dialer()
        self._evil = EvilLine(fill, fails, changes)

    def connect(self, host: Host, applicant: Applicant) -> None:
        self._honest.connect(host, applicant)

    def dial(self, host: Host) -> Line | Cause:
        return self._evil if host.name == "hive1" else self._honest.dial(host)

    def close(self) -> None:
        self._honest.close()


LIES: dict[str, dict[str, Any]] = {
    "escapes": {"fill": short},
    "escapes in a failure": {"fill": short, "fails": True},
    "3 MB where a host may tell": {"fill": long_where_a_host_may_tell},
    "3 MB in a failure": {"fill": long_where_a_host_may_tell, "fails": True},
    "3 MB everywhere": {"fill": long},
    "28,000 changes": {"fill": short, "changes": 28_000},
}


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=2, policy=Policy(revocation_recheck=0.0))


@pytest.fixture(params=LIES, ids=list(LIES))
def dialer(request: pytest.FixtureRequest, fleet: InProcessFleet) -> EvilDialer:
    return EvilDialer(fleet, **LIES[request.param])


def printed(*things: object) -> str:
    """As a person gets it, without the colours that are ours."""
    told = io.StringIO()
    console = Console(file=told, width=160, highlight=False)
    for thing in things:
        console.print(thing, markup=False, soft_wrap=isinstance(thing, str))
    return told.getvalue()


def as_json(document: object) -> str:
    """With every letter as it is: what a program shows on after it has read the document."""
    return "\n".join(texts(json.loads(json.dumps(document))))


def texts(document: object) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping):
        for name, part in document.items():
            yield from (name, *texts(part))
    elif isinstance(document, list):
        for part in document:
            yield from texts(part)


def assert_harmless(shown: Mapping[str, str]) -> None:
    for shape, text in shown.items():
        acting = {char for char in text if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"} - {"\n"}
        assert not acting, (shape, acting)
        assert "owned\x07" not in text
        assert not any(line.startswith("hive9: proven") for line in text.splitlines()), f"{shape}: a line of its own"
        assert len(text) < SHOWN, (shape, len(text))


def formats_of_a_run(operator: Operator, code: ExitCode) -> dict[str, str]:
    run, fleet = operator.runner.run, operator.fleet.inventory
    told = page(run, operator.events, fleet, None, None)
    progress, pictures = Progress(), []
    for event in operator.events:
        progress = then(progress, event)
        if progress.phase:
            pictures += view(progress, Moment(1_700_000_100.0, 100.0), 100, 30)
    return {
        "table": printed(report.plan_table(run, fleet), report.result_table(run, fleet), report.states_table(run)),
        "lines": printed(*report.summary_lines(run, code, fleet), *report.census_lines(run)),
        "history": printed(report.history_table([run])),
        "json": as_json(report.document(run, fleet)),
        "events": as_json([line_of(event, run.id, fleet) for event in operator.events]),
        "result": as_json(result_line(run, code, 1.7e9, fleet)),
        "live view": printed(*pictures[-200:]),
        "markdown": markdown(told),
        "html": html(told),
    }


# -- the verbs


@pytest.mark.parametrize("task", [ROTATE, REVOKE])
def test_a_run_shows_nothing_that_acts(fleet: InProcessFleet, dialer: EvilDialer, task: str) -> None:
    """plan, rotate, revoke, and with them restore, resume, rollback and reconcile, which are the same loop."""
    operator = Operator(fleet, dialer=dialer, task=task, census=True)
    code = operator.revoke() if task == REVOKE else operator.rotate()
    assert code is not ExitCode.DONE
    assert_harmless(formats_of_a_run(operator, code))


@pytest.mark.parametrize("verb", ["fix", "install", "uninstall", "watch", "backup"])
@pytest.mark.parametrize("apply", [False, True], ids=["look", "apply"])
def test_upkeep_shows_nothing_that_acts(fleet: InProcessFleet, dialer: EvilDialer, verb: str, apply: bool) -> None:
    events: list[Event] = []
    hosts = [host for host in fleet.inventory.hosts if host.name == "hive1"]
    greeting = Greeting(fleet.inventory.name, KEY, "upkeep-1", "ann@bastion")
    work = Upkeep(fleet.inventory, hosts, dialer, greeting, events.extend, Phase[verb.upper()], apply, clock=OwnClock())
    kept, refused = [], ""
    try:
        kept = upkept(verb, work)
    except UserError as error:
        refused = f"{error.message}\n{error.hint}"
    finally:
        work.close()
    code = changes.exit_code(kept, apply)
    document = changes.document(kept, fleet.inventory, verb, apply, code)
    assert_harmless(
        {
            "refusal": refused,
            "table": printed(changes.table(kept, apply)),
            "lines": printed(*changes.lines(kept, fleet.inventory, apply)),
            "json": as_json(document),
            "history": printed(report.history_table([fold(events)])),
        }
    )


def upkept(verb: str, work: Upkeep) -> list[UpkeepResult]:
    match verb:
        case "fix":
            return fix(work, True, lambda _: True)
        case "install":
            return install(work, (), TokenSource(generate, {}, Grounds()))
        case "uninstall":
            return uninstall(work)
        case "watch":
            return work.do("watch", work.hosts, lambda _: (verbs.Watch(apply=work.apply),))
        case _:
            current(work, "read the token", {}, Grounds())
            return []


def test_status_shows_nothing_that_acts(fleet: InProcessFleet, dialer: EvilDialer) -> None:
    greeting = Greeting(fleet.inventory.name, KEY, "status-1", "ann@bastion")
    watch = Watch(fleet.inventory, fleet.inventory.hosts, dialer, greeting)
    shown = statuses.status_of(fleet.inventory, watch.look(), Record({}), (), 1_790_000_000.0)
    watch.close()
    table = printed(statuses.table(shown))
    assert_harmless(
        {
            "table": table,
            "lines": printed(*statuses.lines(shown)),
            "json": as_json(statuses.document(shown)),
            "metrics": metrics(shown, [], None),
        }
    )
    rows = [line.split() for line in table.splitlines()]
    assert any(row[:2] == ["hive2", "active"] for row in rows), "its fellow's row is not pushed off the screen"


def test_verify_shows_nothing_that_acts(fleet: InProcessFleet, dialer: EvilDialer) -> None:
    greeting = Greeting(fleet.inventory.name, KEY, "verify-1", "ann@bastion")
    hive1 = [host for host in fleet.inventory.hosts if host.name == "hive1"]
    observations = survey(fleet.inventory, hive1, dialer, greeting)
    found = examine(
        observations, Baseline(Fingerprint("cd" * 32, "cdcdcd"), now=1_790_000_000.0), list(CHECKS.values())
    )
    told = Report(fleet.inventory.name, found)
    assert_harmless(
        {
            "table": printed(checklist.table(found, True), checklist.summary(found), checklist.passed_line(found)),
            "json": as_json(valid(checklist.document(told, "paper"))),
            "junit": junit(told),
            "sarif": as_json(sarif(told)),
            "markdown": checklist.markdown(told),
        }
    )


def test_audit_shows_nothing_that_acts(fleet: InProcessFleet, dialer: EvilDialer) -> None:
    hive1 = [host for host in fleet.inventory.hosts if host.name == "hive1"]
    watch = Watch(fleet.inventory, hive1, dialer, Greeting(fleet.inventory.name, KEY, "audit-1", "ann@bastion"))
    looks = watch.look()
    tokens = known_tokens(looks, None)
    query = Query(records=10)
    calls = watch.ask(dict.fromkeys(hive1, (verbs.Audit(query),)))
    census = census_of(fleet.inventory.name, tokens, looks, calls, 1_790_000_000.0)
    opened = access_report.accesses_of(watch.ask(dict.fromkeys(hive1, (verbs.Accesses(query),))), 1.79e9)
    watch.close()
    assert_harmless(
        {
            "table": printed(census_report.tally_table(census), census_report.newest_table(census, 10)),
            "lines": printed(*census_report.lines(census, fleet.inventory)),
            "json": as_json(census_report.document(census, fleet.inventory)),
            "readers": printed(access_report.table(opened), access_report.newest_table(opened, [], 10)),
            "lines of readers": printed(*access_report.lines(opened, fleet.inventory)),
            "json of readers": as_json(access_report.document(opened, fleet.inventory, [], ExitCode.DONE)),
        }
    )


# -- where it is decoded


@pytest.mark.parametrize("verb", FACTS, ids=lambda verb: verb.value)
def test_every_text_of_an_answer_is_printable_and_bounded_when_it_is_decoded(verb: Verb) -> None:
    reply = decode(EvilLine(long_where_a_host_may_tell, False, 1).ask({"steps": [{"verb": verb.value}]}, 1.0))
    assert isinstance(reply, Reply), reply
    (answer,) = reply.answers.values()
    found = list(texts(json.loads(json.dumps(dataclasses.asdict(answer), default=str))))
    assert verb is Verb.TOMBSTONES or any("é漢" in text for text in found), "letters stay"
    assert all(text.isprintable() and len(text) <= LONGEST for text in found)


def test_what_is_beyond_a_bound_names_the_field() -> None:
    told = decode(EvilLine(long, False, 1).ask({"steps": [{"verb": "observe"}]}, 1.0))
    assert isinstance(told, Cause)
    assert told.trouble is Trouble.RUBBISH
    assert "characters, more than" in told.detail
    many = decode(EvilLine(short, False, MOST_CHANGES + 1).ask({"steps": [{"verb": "fix"}]}, 1.0))
    assert isinstance(many, Cause)
    assert f"changes has {MOST_CHANGES + 1} entries, more than {MOST_CHANGES}" in many.detail


def test_as_many_changes_as_are_allowed_are_kept() -> None:
    reply = decode(EvilLine(short, False, MOST_CHANGES).ask({"steps": [{"verb": "fix"}]}, 1.0))
    assert isinstance(reply, Reply)
    assert len(reply.changes) == MOST_CHANGES


@pytest.mark.parametrize("lie", ["hive1\x00", "hi\u200bve1", "hive1\n", "\u202ehive1", "hive1\x1b[0m"])
def test_a_name_with_something_hidden_in_it_does_not_become_the_name(lie: str) -> None:
    facts = {"python": "3.11", "fleet": lie, "epoch": 0, "run": "r"}
    told = {"verb": "hello", "ok": True, "changed": False, "seconds": 0.1, "facts": facts, "trouble": "", "detail": ""}
    reply = decode({"results": [told]})
    assert isinstance(reply, Reply)
    assert reply.host_record
    assert reply.host_record.fleet != "hive1"
    assert reply.host_record.fleet.isprintable()


def test_an_honest_host_with_more_to_mend_adds_up_what_is_beyond_the_bound(fleet: InProcessFleet) -> None:
    """Anybody on a host can leave copies by the thousand: that is no reason for it to be called a liar."""
    line = LineOf(fleet.hosts["hive2"])
    work = Work(line.line.agent, apply=False)
    for number in range(3000):
        work.add("strays", f"/root/copy{number}", "there", "removed", "is a link" if number % 2 else "")
    changes_of = work.result()[1]["changes"]
    assert len(changes_of) == MOST_CHANGES
    assert changes_of[-1]["path"] == "2001 further places"
    assert changes_of[-1]["refused"] == "1001 of them stay as they are"


# -- what was written down


def test_a_journal_of_an_older_version_is_read_clean(tmp_path: Path) -> None:
    """It wrote down what hosts said as they said it; the chain over it stays whole."""
    looked = seen(None)
    looked = dataclasses.replace(looked, unit=dataclasses.replace(looked.unit, reads=LONG, state=EVIL))
    mended = tuple(Change(EVIL, EVIL, LONG, EVIL, LONG) for _ in range(3))
    told = Outcome("hive1", Phase.FIX, Status.OK, State.UNCHANGED, Moment(1.7e9, 1.0), None, looked, changes=mended)
    journal = Journal(tmp_path)
    journal.append("paper-1", dataclasses.replace(told, met=HostRecord(EVIL, EVIL, 1, LONG)))
    (read,) = journal.events("paper-1")
    journal.close()
    found = list(texts(json.loads(json.dumps(dataclasses.asdict(read), default=str))))
    assert any("é漢" in text for text in found)
    assert all(text.isprintable() and len(text) <= LONGEST for text in found)


# -- what somebody hands over


def evil_archives() -> dict[str, bytes]:
    """Archives that a stranger made: he lists, and signs, what he likes."""
    stranger = Ed25519PrivateKey.from_private_bytes(b"\x66" * 32)
    paint = "\x1b[2J\x1b[32mvalid:\u202eevidence"
    digest = "ab" * 32
    head = HEAD.format(run=paint.replace(" ", ""), key=key_id(stranger.public_key()))
    names = "".join(f"{digest}  {paint}{number}\n" for number in range(28_000))
    plain = HEAD.format(run="paper-1", key=key_id(stranger.public_key()))
    many = "".join(f"{digest}  member{number}\n" for number in range(28_000))
    made = {}
    for name, text in {"its run": head, "its members": plain + names, "a flood": plain + many}.items():
        listed = text.encode()
        made[name] = pack("evidence-paper-1", {SUMS: listed, SIGNATURE: stranger.sign(listed), EVENTS: b"{}\n" * 9})
    made["many files"] = pack("evidence-paper-1", {f"m{number}": b"" for number in range(5000)})
    return made


@pytest.mark.parametrize("name", evil_archives())
@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "json"])
def test_an_archive_that_nobody_vouches_for_cannot_paint_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, as_json: bool
) -> None:
    file = tmp_path / "\x1b[32mvalid\u202e.tar"
    file.write_bytes(evil_archives()[name])
    (tmp_path / "evidence.pub").write_bytes(public_pem(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key()))
    arguments = {"check": str(file), "key": str(tmp_path / "evidence.pub"), "json": as_json}
    with pytest.raises(Exit) as ended:
        evidence(Context(), **arguments)
    assert ended.value.code == int(ExitCode.FINDINGS)
    shown = capsys.readouterr().out
    assert_harmless({"verdict": as_json_texts(shown) if as_json else shown})
    assert len(shown.splitlines()) < 100
    assert as_json or shown.endswith("NOT VALID: do not rely on it\n")


def as_json_texts(text: str) -> str:
    return "\n".join(texts(json.loads(text)))


def test_a_refusal_says_a_files_name_and_does_not_obey_it(tmp_path: Path) -> None:
    with pytest.raises(Exit) as ended:
        evidence(Context(), check=str(tmp_path / "\x1b[2Jnone\u202e"), key=str(tmp_path / "\x1b[2Jkey"))
    assert_harmless({"refusal": str(ended.value.message)})
    assert "key: No such file" in str(ended.value.message)
