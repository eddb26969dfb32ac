"""A run as people and programs read it: plain words, one row a host, nothing of a host obeyed."""

import json
from dataclasses import replace

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import SERVICES, Fleet, Host, Role
from hivekeys.journal.events import Phase, State
from hivekeys.journal.gap import Served, Turn
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.milestones import Heading, Milestone
from hivekeys.journal.run import Run
from hivekeys.journal.sittings import Times
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.hints import hint
from hivekeys.protocol.seen import LoadedToken, Proof, Slot
from hivekeys.text.durations import ago
from hivekeys.token import Token
from tests.builders.documents import valid
from tests.builders.printed import printed, row
from tests.builders.seen import seen

OLD, NEW = Token("a" * 64).fingerprint(b"k"), Token("b" * 64).fingerprint(b"k")
HOSTS = tuple(
    Host(name, role, f"{name}.test", service=SERVICES[role])
    for name, role in {"queen": Role.QUEEN, "hive1": Role.HIVE, "hive2": Role.HIVE}.items()
)
FLEET = Fleet("blue", HOSTS)
PROOF = Proof({"new": 200, "old": 401, "none": 401, "garbage": 401}, True, "/v1/x")
LOOK = replace(seen(NEW), active=Slot(NEW, modified=900.0), clock=1000.0)
OUT = Served((Turn(1.0, 1), Turn(3.5, 1, NEW)))
WELL = HostRun("queen", was=OLD, now=NEW, seen=LOOK, proof=PROOF, state=State.PROVEN, served=OUT, seconds=4.0)
ILL = HostRun("hive1", was=OLD, now=OLD, cause=Cause(Trouble.UNHEALTHY, "[red]no[/]"), state=State.FAILED)
RUN = Run(
    id="run-1",
    fleet="blue",
    who="ann",
    times=Times(elapsed=12.0),
    seconds=12.0,
    want=NEW,
    waves=((Phase.QUEEN, ("queen",)), (Phase.WAVE, ("hive1",))),
    left_out=("hive2",),
    code=ExitCode.INCOMPLETE,
    hosts={"queen": WELL, "hive1": ILL, "hive2": HostRun("hive2", state=State.OWES)},
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.6, "1 min 0 s"),
        (95, "1 min 35 s"),
        (3600, "1 h 0 min"),
        (90000, "1 d 1 h"),
        (8e7, "925 d 22 h"),
    ],
)
def test_durations_are_told_in_two_units(seconds: float, words: str) -> None:
    assert ago(seconds) == words


def test_the_result_fits_a_terminal_and_has_a_row_for_every_host() -> None:
    table = report.result_table(RUN, FLEET)
    assert all(len(line) <= 80 for line in printed(table).splitlines())
    rows = {host.name: row(table, host.name) for host in HOSTS}
    assert f"{OLD} → {NEW}" in rows["queen"]
    assert "200 401 401 401" in rows["queen"]
    assert "2.5 s" in rows["queen"]
    assert "failed" in rows["hive1"]
    assert "owes" in rows["hive2"]


def test_a_run_of_the_past_is_told_though_hosts_have_joined_and_left_since() -> None:
    today = replace(FLEET, hosts=(*HOSTS[:2], replace(HOSTS[2], name="hive3")))
    assert row(report.result_table(RUN, today), "hive2").split()[1] == "–"
    assert [host["host"] for host in report.document(RUN, today)["hosts"]] == ["queen", "hive1", "hive2"]


def test_the_plan_shows_turns_and_who_is_left_out() -> None:
    queen, hive1, hive2 = (row(report.plan_table(RUN, FLEET), host.name, 120) for host in HOSTS)
    assert queen.startswith("1")
    assert "1 min 40 s" in queen
    assert "token proven" in queen
    assert "unhealthy" in hive1
    assert "left out" in hive2


def test_a_file_that_cannot_be_read_has_no_age() -> None:
    unreadable = replace(WELL, seen=replace(LOOK, active=Slot(fault="is a link")))
    assert report.age(unreadable) == "–"
    document = report.document(replace(RUN, hosts={**RUN.hosts, "queen": unreadable}), FLEET)
    assert document["hosts"][0]["age_seconds"] is None


TOUCHED_ONE = {"hive1": HostRun("hive1", touched=True)}
TOUCHED = {"hive1": replace(ILL, touched=True)}


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (replace(RUN, code=None, hosts=TOUCHED), "go on: fab resume --fleet blue   go back: fab rollback --fleet blue"),
        (replace(RUN, code=None), "go on: fab resume --fleet blue"),  # it changed nothing
        (replace(RUN, code=None, hosts=TOUCHED, came_to=Milestone.IRREVOCABLE), "go on: fab resume --fleet blue"),
        (RUN, "when hive1, hive2 can be reached and the causes are repaired: fab reconcile --fleet blue"),
        (
            replace(RUN, heading=Heading.BACK, hosts={"hive1": replace(ILL, touched=True)}),
            "when hive1 can be reached and the causes are repaired: fab rollback --fleet blue",
        ),
        (replace(RUN, hosts={"queen": WELL}, code=ExitCode.DONE), ""),
        (
            replace(RUN, hosts=TOUCHED_ONE, heading=Heading.BACK, code=ExitCode.ROLLED_BACK),
            "find the cause: fab plan --fleet blue   when it is repaired: fab rotate --fleet blue --exclude hive2",
        ),
    ],
)
def test_the_last_line_is_what_to_type(run: Run, words: str) -> None:
    assert report.next_step(run, FLEET) == words


def test_programs_are_told_what_to_type_too() -> None:
    assert valid(report.document(RUN, FLEET))["next"] == report.next_step(RUN, FLEET)


def test_what_to_type_names_the_fleet_as_the_operator_did() -> None:
    """Its own name would not find a file that lies elsewhere."""
    elsewhere = replace(FLEET, called="./hosts.ini")
    assert valid(report.document(RUN, elsewhere))["next"].endswith(": fab reconcile --fleet ./hosts.ini")


def test_failures_are_grouped_by_cause_the_most_hosts_first_each_with_the_next_step() -> None:
    others = {name: replace(ILL, name=name, cause=Cause(Trouble.SILENT)) for name in ("hive2", "hive3")}
    lines = report.failure_lines(replace(RUN, hosts={"hive1": ILL} | others), FLEET)
    assert lines == [
        "hive2, hive3: silent",
        f"    next: {hint(Cause(Trouble.SILENT), FLEET, 'hive2', 'hive3')}",
        "hive1: unhealthy: [red]no[/]",
        f"    next: {hint(Cause(Trouble.UNHEALTHY), FLEET, 'hive1')}",
    ]


def test_hosts_that_owe_are_named_with_what_to_type() -> None:
    lines = report.failure_lines(RUN, FLEET)
    assert "hive2: still on the old token" in lines
    assert "fab reconcile" in lines[-1]


def test_a_wave_of_many_is_told_in_one_line() -> None:
    names = tuple(f"hive{number}" for number in range(1, 31))
    (line,) = report.wave_lines(replace(RUN, waves=((Phase.WAVE, names),)))
    assert line.endswith("hive8 and 22 more")


@pytest.mark.parametrize("code", ExitCode)
def test_every_end_has_a_last_line_with_its_code(code: ExitCode) -> None:
    line = report.summary(RUN, code)
    assert f"exit code {int(code)})" in line
    assert "1 proven, 1 failed, 1 owes" in line
    assert not line.startswith(" ")


def test_the_document_is_json_and_shows_only_what_people_may_see() -> None:
    text = json.dumps(report.document(RUN, FLEET), allow_nan=False)
    document = json.loads(text)
    assert [host["host"] for host in document["hosts"]] == ["queen", "hive1", "hive2"]
    assert document["exit_code"] == 4
    assert document["hosts"][0]["age_seconds"] == 100
    assert document["hosts"][1]["cause"]["trouble"] == "unhealthy"
    assert OLD.keyed not in text
    assert NEW.keyed not in text


def test_what_a_host_says_reaches_no_table_as_markup() -> None:
    """Remote text that is shown at all is shown as it came, on one line."""
    nasty = "[bold]x[/bold]\x1b[2J\n[link=http://evil]y[/link]"
    look = replace(LOOK, loaded=LoadedToken(NEW, nasty), unit=replace(LOOK.unit, credential=nasty))
    host = replace(WELL, seen=look, proof=replace(PROOF, path=nasty), cause=Cause(Trouble.RUBBISH, nasty))
    run = replace(RUN, who=nasty, hosts={**RUN.hosts, "queen": host})
    shown = "".join(printed(table, 300) for table in (report.result_table(run, FLEET), report.plan_table(run, FLEET)))
    shown += "".join(report.failure_lines(run, FLEET))
    assert "\x1b" not in shown
    (line,) = [line for line in report.failure_lines(run, FLEET) if line.startswith("queen")]
    assert line == "queen: rubbish: [bold]x[/bold] [2J [link=http://evil]y[/link]"
    document = valid(report.document(run, FLEET))["hosts"][0]
    assert all(text.isprintable() for text in (document["path"], document["loaded_by"], document["cause"]["detail"]))


LONG = replace(
    RUN,
    id="production-eu-west-5f0e12ab",
    who="maintenance-bot@bastion-2.example.com",
    hosts={**RUN.hosts, "gpu-rack-07-node-12": replace(ILL, name="gpu-rack-07-node-12")},
    waves=(*RUN.waves, (Phase.WAVE, ("gpu-rack-07-node-12",))),
)
WIDER = replace(FLEET, hosts=(*HOSTS, replace(HOSTS[2], name="gpu-rack-07-node-12")))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_table_has_fewer_columns_and_cuts_no_name_and_no_id(width: int) -> None:
    tables = {
        "history": (report.history_table([LONG, RUN], width), "production-eu-west-5f0e12ab", "4 incomplete"),
        "result": (report.result_table(LONG, WIDER, width), "gpu-rack-07-node-12", "failed"),
        "plan": (report.plan_table(LONG, WIDER, width), "gpu-rack-07-node-12", "unhealthy"),
    }
    for name, (table, *words) in tables.items():
        lines = printed(table, width).splitlines()
        assert all(len(line) <= width for line in lines), name
        assert "…" not in "".join(lines), name
        assert any(all(word in line for word in words) for line in lines), name


def test_a_wide_table_has_every_column() -> None:
    assert len(report.history_table([LONG], 200).columns) == 9
    assert len(report.plan_table(LONG, WIDER, 200).columns) == 7
    assert len(report.result_table(LONG, WIDER, 200).columns) == 7


def test_the_answers_are_explained_below_their_table_and_the_gap_with_them() -> None:
    assert report.legend(RUN, report.result_table(RUN, FLEET)) == [
        "answers: the service's HTTP status for the new token, the old token, no token, a garbage token",
        "gap: how long clients could not use both this host and the queen with the same token",
        "+: still open when the run ended",
        "not known: its beginning or end was not seen",
    ]
    narrow = report.legend(LONG, report.result_table(LONG, WIDER, 50))
    assert not any(line.startswith("answers") for line in narrow), "nor is what is not there"


def test_a_list_of_runs_says_which_were_cut_off() -> None:
    cut = replace(RUN, id="run-2", code=None)
    table = report.history_table([cut, RUN])
    assert "cut off" in row(table, "run-2", 160)
    assert "4 incomplete" in row(table, "run-1", 160)
