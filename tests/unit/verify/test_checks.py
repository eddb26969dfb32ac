"""The checklist's judgement, where a real host cannot easily be brought to it."""

from dataclasses import replace
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import TokenAge
from hivekeys.journal.events import State
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.milestones import Heading
from hivekeys.journal.run import Run
from hivekeys.protocol.inspected import Chain, InEnvironment, Lock, Log, Login, Quality, Trail
from hivekeys.protocol.listeners import Listener, Survivor
from hivekeys.protocol.seen import Accepted, Directory, LoadedToken, Proof, Slot
from hivekeys.service import Accepts, Format
from hivekeys.token import Fingerprint
from hivekeys.verify.checks import CHECKS
from hivekeys.verify.findings import Baseline, Observation, Other, Record, Verdict, examine, recorded
from tests.builders.observations import DAY, GOOD, INSPECTED, NORM, NOW, QUEEN, SEEN, TOKEN, UNMET
from tests.builders.project import TESTS
from tests.lab.spoiled import WAYS

# The tests in which a check that is in no row of WAYS fails on a real host.
ON_A_HOST = {
    "lab/test_verify.py": {
        "token-length": "test_a_weak_token_is_found_and_never_told",
        "token-quality": "test_a_weak_token_is_found_and_never_told",
        "same-token": "test_a_host_with_a_token_of_its_own_is_found",
        "debts": "test_a_host_that_was_left_behind_owes_the_newest_token",
        "current": "test_a_file_that_the_process_has_not_read_is_found",
        "kill-signal": "test_a_queen_that_would_shut_her_hives_down_is_found",
        "active": "test_a_service_that_is_down_is_found",
        "proof": "test_a_service_that_runs_and_is_not_healthy_is_found",
        "audit-fresh": "test_a_trail_that_has_ended_is_a_warning",
        "clock": "test_a_clock_that_is_wrong_is_found",
        "space": "test_a_full_token_directory_is_found",
        "lock": "test_a_run_at_work_is_named_and_not_disturbed",
        "certificate": "test_a_service_on_its_own_address_that_speaks_tls_is_asked_there",
    },
    "lab/test_survivors.py": {
        "survivors": "test_a_worker_that_outlives_its_hive_is_found_ended_and_then_every_place_refuses",
        "dead-token": "test_a_worker_that_outlives_its_hive_is_found_ended_and_then_every_place_refuses",
    },
    "lab/test_front.py": {
        "front": "test_what_is_wrong_with_a_front_and_behind_it_is_found",
        "behind": "test_what_is_wrong_with_a_front_and_behind_it_is_found",
    },
    "lab/test_machines.py": {"machine": "test_a_checklist_names_two_names_of_one_machine"},
    "lab/test_verify_fleets.py": {"shared-token": "test_a_token_that_another_fleet_has_in_any_slot_is_found"},
    "lab/test_revocation.py": {
        "token-revoked": "test_a_leaked_token_is_refused_within_a_minute_and_whoever_is_left_behind_is_named"
    },
    "lab/test_restricted.py": {"mode": "test_verify_says_which_mode_each_host_is_in"},
    "ssh/test_auditd.py": {
        "audit-watch": "test_a_watch_is_put_kept_for_the_next_start_and_taken_away_and_all_of_it_once"
    },
}
UNCHECKED = replace(GOOD.host.service, scheme="https", verify=False)
OLDER = Survivor(7, "worker", 9.0)
NEWER = Fingerprint(keyed="cd" * 32, fp6="fedcba")


def in_environment(*places: str, is_of_file: bool = False) -> Observation:
    """A look at a host where LLORCH_API_TOKEN is set there."""
    return replace(GOOD, inspected=replace(INSPECTED, environment=InEnvironment(places, (), is_of_file)))


def test_an_environment_file_is_no_credential_and_nothing_to_mend_today() -> None:
    host = replace(GOOD.host, service=replace(GOOD.host.service, format=Format.ENVIRONMENT))
    observation = replace(GOOD, host=host, seen=replace(SEEN, unit=replace(SEEN.unit, credential="")))
    assert judged(observation)["credential"] is Verdict.WARN


def judged(observation: Observation, baseline: Baseline | None = None) -> dict[str, Verdict]:
    """Every check's verdict on one host."""
    found = examine([observation], baseline or NORM, list(CHECKS.values()))
    return {finding.check.id: finding.verdict for finding in found}


def of_quality(*counts: int) -> Observation:
    return replace(GOOD, inspected=replace(INSPECTED, quality=Quality(*counts)))


def swept(place: Listener) -> Observation:
    return replace(GOOD, swept=Proof({}, proven=False, places=(place,)))


def with_list(**found: Any) -> Observation:
    """A host whose service has a list of the tokens that it accepts, with what is said of it."""
    host = replace(GOOD.host, service=replace(GOOD.host.service, accepts=Accepts.LINES))
    service = host.service
    ours = Accepted(TOKEN, mode=service.mode, owner=service.owner, group=service.group)
    return replace(GOOD, host=host, seen=replace(SEEN, accepted=replace(ours, **found)))


def test_a_list_with_the_token_alone_passes() -> None:
    assert other_than_pass(with_list()) == {}


def test_while_a_run_waits_for_clients_two_tokens_are_a_warning() -> None:
    observation = with_list(second=NEWER)
    waiting = replace(NORM, record=Record({}, "lab-1", TOKEN, overlaps="lab-1"))
    assert judged(observation, waiting)["slots"] is Verdict.WARN
    assert judged(with_list(second=NEWER, more=1), waiting)["slots"] is Verdict.FAIL
    staged = replace(observation.seen or SEEN, staged=Slot(NEWER))
    assert judged(replace(observation, seen=staged), waiting)["slots"] is Verdict.FAIL


def test_without_a_list_the_token_in_the_file_is_accepted_alone() -> None:
    assert other_than_pass(replace(with_list(), seen=SEEN)) == {}


def other_than_pass(observation: Observation) -> dict[str, Verdict]:
    return {name: verdict for name, verdict in judged(observation).items() if verdict is not Verdict.PASS}


def test_every_check_is_shown_to_fail_on_a_real_host() -> None:
    shown = [check for tests in ON_A_HOST.values() for check in tests]
    assert sorted({*shown, *(check for check, _, _ in WAYS)}) == sorted(CHECKS)
    for file, tests in ON_A_HOST.items():
        text = (TESTS / file).read_text()
        assert all(f"def {name}(" in text for name in tests.values()), file


def test_a_host_as_it_should_be_passes_every_check() -> None:
    assert other_than_pass(GOOD) == {}


def test_what_was_not_seen_is_never_passed() -> None:
    assert set(judged(UNMET).values()) == {Verdict.UNTOLD}


def test_each_fact_that_a_host_hides_is_untold_and_no_other() -> None:
    """Every field that may be None, one at a time: something is untold, and nothing fails for it."""
    for name in (
        "parents",
        "environment",
        "log",
        "audit",
        "chain",
        "lock",
        "watch",
        "temporary",
        "free",
        "acl",
        "links",
        "quality",
        "strays",
        "survivors",
    ):
        unseen: dict[str, Any] = {name: None}
        hidden = other_than_pass(replace(GOOD, inspected=replace(INSPECTED, **unseen)))
        assert set(hidden.values()) == {Verdict.UNTOLD}, name


@pytest.mark.parametrize(
    ("check", "verdict", "observation"),
    [
        ("file-mode", Verdict.FAIL, with_list(mode=0o644, owner="llama-orch", group="llama-orch")),
        ("token-file", Verdict.FAIL, with_list(fault="has a line that is no token")),
        ("slots", Verdict.FAIL, with_list(second=NEWER)),
        ("slots", Verdict.FAIL, with_list(more=1)),
        ("clock", Verdict.FAIL, replace(GOOD, off=-6.0)),
        ("clock", Verdict.FAIL, replace(GOOD, off=86400.0)),
        ("space", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, free=4096))),
        ("audit-watch", Verdict.WARN, replace(GOOD, inspected=replace(INSPECTED, watch=False))),
        ("token-quality", Verdict.FAIL, of_quality(64, 16, 8, 64, 40, 0)),
        ("token-quality", Verdict.FAIL, of_quality(64, 9, 2, 64, 40, 0)),
        ("token-quality", Verdict.FAIL, of_quality(64, 16, 2, 32, 40, 0)),
        ("token-quality", Verdict.FAIL, of_quality(64, 16, 2, 64, 9, 1)),
        ("token-quality", Verdict.FAIL, of_quality(64, 16, 2, 64, 0, 0)),
        ("loaded", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, log=Log(loaded=False, dev_mode=True)))),
        (
            "environment",
            Verdict.UNTOLD,
            replace(GOOD, inspected=replace(INSPECTED, environment=InEnvironment((), ("/etc/default/llama",)))),
        ),
        ("environment", Verdict.WARN, in_environment("the running process", is_of_file=True)),
        ("environment", Verdict.FAIL, in_environment("the running process")),
        ("environment", Verdict.FAIL, in_environment("the running process", "/etc/x.conf", is_of_file=True)),
        ("loads-from-file", Verdict.FAIL, replace(GOOD, seen=replace(SEEN, unit=replace(SEEN.unit, reads="")))),
        ("loads-from-file", Verdict.FAIL, replace(GOOD, seen=replace(SEEN, unit=replace(SEEN.unit, sources=("x",))))),
        ("proof", Verdict.FAIL, replace(GOOD, unproven="fail-open: no token answers 200")),
        ("proof", Verdict.UNTOLD, replace(GOOD, proof=Proof({}, proven=False))),
        (
            "sudo-log",
            Verdict.FAIL,
            replace(GOOD, inspected=replace(INSPECTED, login=Login("deploy", False, (), ("input",)))),
        ),
        ("certificate", Verdict.WARN, replace(GOOD, host=replace(GOOD.host, service=UNCHECKED))),
        ("kill-mode", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, kill_mode="process"))),
        (
            "survivors",
            Verdict.FAIL,
            replace(GOOD, inspected=replace(INSPECTED, survivors=(Survivor(7, "worker", 9.0),))),
        ),
        ("dead-token", Verdict.FAIL, swept(Listener("127.0.0.1", 9000, 7, "worker", "takes", "/"))),
        ("dead-token", Verdict.UNTOLD, swept(Listener("127.0.0.1", 9000, 7, "worker", "unasked"))),
        ("dead-token", Verdict.UNTOLD, replace(GOOD, swept=Proof({}, proven=False))),
        ("lock", Verdict.WARN, replace(GOOD, inspected=replace(INSPECTED, lock=Lock(True, "lab-2", "eve@bastion")))),
        ("audit-chain", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, chain=Chain(1, 9, broken="line 9")))),
        ("audit-chain", Verdict.UNTOLD, replace(GOOD, inspected=replace(INSPECTED, chain=Chain(1, 9, cut="late")))),
        ("audit-chain", Verdict.UNTOLD, replace(GOOD, inspected=replace(INSPECTED, chain=Chain(0, 0)))),
        (
            "audit-fresh",
            Verdict.WARN,
            replace(GOOD, inspected=replace(INSPECTED, audit=Trail(True, "/a", 0o750, "llama-orch", NOW - 3600))),
        ),
    ],
)
def test_one_fault_is_judged_by_its_own_check_alone(check: str, verdict: Verdict, observation: Observation) -> None:
    assert other_than_pass(observation) == {check: verdict}


def test_before_systemd_250_a_plain_file_is_as_good_as_it_gets() -> None:
    plain = replace(SEEN, unit=replace(SEEN.unit, credential=""))
    assert other_than_pass(replace(GOOD, seen=plain, inspected=replace(INSPECTED, systemd=247))) == {}
    assert other_than_pass(replace(GOOD, seen=plain)) == {"credential": Verdict.FAIL}


def test_a_unit_that_systemd_could_not_read_shows_nothing_of_itself() -> None:
    hidden = replace(INSPECTED, hardening={}, kill_signal="", kill_mode="", audit=None, chain=None)
    open_ = ("hardening", "kill-signal", "kill-mode", "audit", "audit-fresh", "audit-chain")
    assert other_than_pass(replace(GOOD, host=QUEEN, inspected=hidden)) == dict.fromkeys(open_, Verdict.UNTOLD)


def test_a_file_of_anothers_account_is_that_and_whether_it_holds_a_token_nobody_can_tell() -> None:
    roots = Slot(None, "belongs to root, not to llama-orch", 0o600, "root", "root")
    found = judged(replace(GOOD, seen=replace(SEEN, active=roots)))
    assert (found["file-mode"], found["token-file"]) == (Verdict.FAIL, Verdict.UNTOLD)
    pipe = replace(roots, fault="is no regular file", regular=False)
    assert judged(replace(GOOD, seen=replace(SEEN, active=pipe)))["token-file"] is Verdict.FAIL


def test_a_directory_that_was_not_entered_holds_nobody_knows_what() -> None:
    """As the agent answers for one that is a link, and asks no further."""
    closed = replace(
        SEEN, directory=Directory("/etc/llama-orch/secrets: is a link"), active=None, loaded=LoadedToken(TOKEN, "")
    )
    unseen: dict[str, Any] = dict.fromkeys(("acl", "links", "quality", "strays", "reused", "free"))
    found = judged(replace(GOOD, seen=closed, inspected=replace(INSPECTED, **unseen)))
    assert [check for check, verdict in found.items() if verdict is Verdict.FAIL] == ["directory-mode"]
    in_it = (
        "token-file",
        "file-mode",
        "slots",
        "token-revoked",
        "token-length",
        "same-token",
        "strays",
        "reused",
        "acl",
    )
    assert {found[check] for check in in_it} == {Verdict.UNTOLD}


def test_a_slot_that_cannot_be_read_may_hold_a_token_that_leaked() -> None:
    unread = replace(SEEN, previous=Slot(None, fault="is no regular file"))
    found = judged(replace(GOOD, seen=unread))
    assert found["token-revoked"] is Verdict.UNTOLD


def test_only_the_queens_kill_signal_matters() -> None:
    stopped_by_sigint = replace(GOOD, inspected=replace(INSPECTED, kill_signal="2"))
    assert other_than_pass(stopped_by_sigint) == {}
    assert other_than_pass(replace(stopped_by_sigint, host=QUEEN)) == {"kill-signal": Verdict.FAIL}


@pytest.mark.parametrize(("days", "verdict"), [(74.9, Verdict.PASS), (75.0, Verdict.WARN), (90.0, Verdict.FAIL)])
def test_a_token_ages(days: float, verdict: Verdict) -> None:
    assert judged(aged(days))["token-age"] is verdict


def aged(days: float) -> Observation:
    assert SEEN.active is not None
    return replace(GOOD, seen=replace(SEEN, active=replace(SEEN.active, modified=NOW - days * DAY)))


def test_a_fleet_may_have_ages_of_its_own() -> None:
    strict = replace(NORM, age=TokenAge(warn=20, fail=30))
    verdicts = [judged(aged(days), strict)["token-age"] for days in (19, 20, 30)]
    assert verdicts == [Verdict.PASS, Verdict.WARN, Verdict.FAIL]


def test_a_file_that_was_touched_does_not_make_its_token_younger() -> None:
    known = replace(NORM, record=Record({TOKEN.keyed: NOW - 91 * DAY}, "lab-1", TOKEN))
    (found,) = examine([aged(2)], known, [CHECKS["token-age"]])
    assert found.verdict is Verdict.FAIL
    assert found.detail == "91 days old by the journal, 2 by its file"


def test_a_journal_that_is_younger_than_the_file_changes_nothing() -> None:
    known = replace(NORM, record=Record({TOKEN.keyed: NOW - 2 * DAY}, "lab-1", TOKEN))
    (found,) = examine([aged(91)], known, [CHECKS["token-age"]])
    assert (found.verdict, found.detail) == (Verdict.FAIL, "91 days old by its file")


def test_a_host_that_owes_the_newest_token_fails_even_when_nobody_can_ask_it() -> None:
    owed = replace(NORM, record=Record({}, "lab-2", NEWER, owing=("hive1",)))
    assert judged(GOOD, owed)["debts"] is Verdict.FAIL
    assert judged(UNMET, owed)["debts"] is Verdict.FAIL
    assert judged(replace(GOOD, host=QUEEN), owed)["debts"] is Verdict.PASS


def test_a_debt_that_was_paid_from_elsewhere_is_none() -> None:
    paid = replace(NORM, record=Record({}, "lab-2", TOKEN, owing=("hive1",)))
    assert judged(GOOD, paid)["debts"] is Verdict.PASS


def test_without_a_rotation_from_this_bastion_nobody_knows_of_debts() -> None:
    assert judged(GOOD, replace(NORM, record=None))["debts"] is Verdict.UNTOLD
    assert judged(GOOD, replace(NORM, record=Record({})))["debts"] is Verdict.UNTOLD


def test_the_journals_oldest_run_with_a_token_is_when_it_was_made() -> None:
    served = {"hive1": HostRun("hive1", state=State.PROVEN), "hive2": HostRun("hive2", state=State.OWES)}
    failed = Run("r3", started=300.0, want=NEWER, heading=Heading.BACK, code=ExitCode.ROLLED_BACK)
    again, first = Run("r2", started=200.0, want=TOKEN, hosts=served), Run("r1", started=100.0, want=TOKEN)
    assert recorded([failed, again, first]) == Record(
        {NEWER.keyed: 300.0, TOKEN.keyed: 100.0}, "r2", TOKEN, ("hive2",), verb="resume"
    )


def compared(held: frozenset[str] | None, other: Other | None) -> tuple[Verdict, str]:
    (found,) = examine([replace(GOOD, held=held)], replace(NORM, other=other), [CHECKS["shared-token"]])
    return found.verdict, found.detail


def test_a_token_that_another_fleet_has_is_found_with_the_hosts_that_have_it() -> None:
    other = Other("staging", {"aa": ("s1", "s2"), "bb": ("s3",)}, {"s4": "silent"})
    assert compared(frozenset({"aa", "cc"}), other) == (Verdict.FAIL, "fleet staging has it on s1, s2")


def test_a_token_is_not_shared_only_when_every_other_host_was_asked() -> None:
    holders = {"bb": ("s3",)}
    assert compared(frozenset({"aa"}), Other("staging", holders, {}))[0] is Verdict.PASS
    verdict, said = compared(frozenset({"aa"}), Other("staging", holders, {"s4": "silent"}))
    assert (verdict, said) == (Verdict.UNTOLD, "fleet staging could not be asked on s4 (silent)")
    assert compared(None, Other("staging", holders, {}))[0] is Verdict.UNTOLD


def test_a_token_that_leaked_is_found_in_any_slot() -> None:
    leaked = Slot(TOKEN, revoked="blue-1")
    for slot in ("active", "staged", "previous"):
        held: dict[str, Any] = {slot: leaked}
        assert judged(replace(GOOD, seen=replace(SEEN, **held)))["token-revoked"] is Verdict.FAIL, slot


def test_without_a_queen_to_compare_with_nobody_says_that_the_tokens_agree() -> None:
    assert judged(GOOD, replace(NORM, token=None))["same-token"] is Verdict.UNTOLD
