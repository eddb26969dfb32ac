"""The checklist's judgement, where a real host cannot easily be brought to it; and how findings are told."""

import json
from dataclasses import replace
from typing import Any

import pytest

from hivekeys import checklist
from hivekeys.checks import CHECKS
from hivekeys.errors import ExitCode
from hivekeys.findings import Finding, Norm, Sight, Verdict, examine
from hivekeys.fleet import HIVE_SERVICE, QUEEN_SERVICE, Host, Role
from hivekeys.model import (
    Directory,
    InEnvironment,
    Inspected,
    Loaded,
    Log,
    Parent,
    Proof,
    Quality,
    Seen,
    Slot,
    Trail,
    Unit,
)
from hivekeys.token import Fingerprint

DAY = 86400.0
NOW = 1_800_000_000.0
TOKEN = Fingerprint(keyed="ab" * 32, fp6="abcdef")
HIVE = Host("hive1", Role.HIVE, "10.0.0.1", service=HIVE_SERVICE)
QUEEN = Host("queen", Role.QUEEN, "10.0.0.2", service=QUEEN_SERVICE)
SEEN = Seen(
    directory=Directory(mode=0o700, owner="llama-orch", group="llama-orch"),
    active=Slot(TOKEN, mode=0o600, owner="llama-orch", group="llama-orch", size=65, modified=NOW - DAY),
    staged=None,
    previous=None,
    unit=Unit("loaded", "active", "running", 42, 0, NOW - 60, HIVE_SERVICE.token, "api-token", env_token=False),
    loaded=Loaded(TOKEN, "credential"),
    clock=NOW,
)
INSPECTED = Inspected(
    parents=(Parent("/", 0o755, "root"), Parent("/etc/llama-orch", 0o755, "llama-orch")),
    hardening={"NoNewPrivileges": "yes", "PrivateTmp": "yes", "ProtectSystem": "strict", "ProtectHome": "yes"},
    kill_signal="15",
    enabled="enabled",
    environment=InEnvironment((), ()),
    systemd=252,
    log=Log(loaded=True, dev_mode=False),
    audit=Trail(on=True, folder="/var/log/llama-orch/audit", mode=0o750, owner="llama-orch", newest=NOW),
    watch=True,
    temporary=(),
    free=1 << 30,
    acl=(),
    links=1,
    quality=Quality(64, 16, 3, 64),
    strays=(),
    reused=(),
)
GOOD = Sight(HIVE, SEEN, INSPECTED, Proof({"new": 200}, proven=True), off=0.0)
UNMET = Sight(HIVE, complaint="no-connection: no answer in time", unproven="no-connection")


def judged(sight: Sight, norm: Norm | None = None) -> dict[str, Verdict]:
    """Every check's verdict on one host."""
    found = examine([sight], norm or Norm(TOKEN), list(CHECKS.values()))
    return {finding.check.id: finding.verdict for finding in found}


def other_than_pass(sight: Sight) -> dict[str, Verdict]:
    return {name: verdict for name, verdict in judged(sight).items() if verdict is not Verdict.PASS}


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
        "watch",
        "temporary",
        "free",
        "acl",
        "links",
        "quality",
        "strays",
    ):
        unseen: dict[str, Any] = {name: None}
        hidden = other_than_pass(replace(GOOD, inspected=replace(INSPECTED, **unseen)))
        assert set(hidden.values()) == {Verdict.UNTOLD}, name


@pytest.mark.parametrize(
    ("check", "verdict", "sight"),
    [
        ("clock", Verdict.FAIL, replace(GOOD, off=-6.0)),
        ("clock", Verdict.FAIL, replace(GOOD, off=86400.0)),
        ("space", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, free=4096))),
        ("audit-watch", Verdict.WARN, replace(GOOD, inspected=replace(INSPECTED, watch=False))),
        ("token-quality", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, quality=Quality(64, 16, 8, 64)))),
        ("token-quality", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, quality=Quality(64, 9, 2, 64)))),
        ("token-quality", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, quality=Quality(64, 16, 2, 32)))),
        ("loaded", Verdict.FAIL, replace(GOOD, inspected=replace(INSPECTED, log=Log(loaded=False, dev_mode=True)))),
        (
            "environment",
            Verdict.UNTOLD,
            replace(GOOD, inspected=replace(INSPECTED, environment=InEnvironment((), ("/etc/default/llama",)))),
        ),
        ("proof", Verdict.FAIL, replace(GOOD, unproven="fail-open: no token answers 200")),
        ("proof", Verdict.UNTOLD, replace(GOOD, proof=Proof({}, proven=False))),
        (
            "audit-fresh",
            Verdict.WARN,
            replace(GOOD, inspected=replace(INSPECTED, audit=Trail(True, "/a", 0o750, "llama-orch", NOW - 3600))),
        ),
    ],
)
def test_one_fault_is_judged_by_its_own_check_alone(check: str, verdict: Verdict, sight: Sight) -> None:
    assert other_than_pass(sight) == {check: verdict}


def test_before_systemd_250_a_plain_file_is_as_good_as_it_gets() -> None:
    plain = replace(SEEN, unit=replace(SEEN.unit, credential=""))
    assert other_than_pass(replace(GOOD, seen=plain, inspected=replace(INSPECTED, systemd=247))) == {}
    assert other_than_pass(replace(GOOD, seen=plain)) == {"credential": Verdict.FAIL}


def test_only_the_queens_kill_signal_matters() -> None:
    stopped_by_sigint = replace(GOOD, inspected=replace(INSPECTED, kill_signal="2"))
    assert other_than_pass(stopped_by_sigint) == {}
    assert other_than_pass(replace(stopped_by_sigint, host=QUEEN)) == {"kill-signal": Verdict.FAIL}


@pytest.mark.parametrize(("days", "verdict"), [(74.9, Verdict.PASS), (75.0, Verdict.WARN), (90.0, Verdict.FAIL)])
def test_a_token_ages(days: float, verdict: Verdict) -> None:
    assert SEEN.active is not None
    aged = replace(SEEN, active=replace(SEEN.active, modified=NOW - days * DAY))
    assert judged(replace(GOOD, seen=aged))["token-age"] is verdict


def test_without_a_queen_to_compare_with_nobody_says_that_the_tokens_agree() -> None:
    assert judged(GOOD, Norm(None))["same-token"] is Verdict.UNTOLD


# -- how it is told


def results(*sights: Sight) -> list[Finding]:
    return examine(list(sights), Norm(TOKEN), list(CHECKS.values()))


def test_exit_codes_say_found_something_could_not_ask_or_neither() -> None:
    bad = replace(GOOD, off=60.0)
    assert checklist.exit_code(results(GOOD)) is ExitCode.DONE
    assert checklist.exit_code(results(GOOD, replace(UNMET, host=QUEEN))) is ExitCode.INCOMPLETE
    assert checklist.exit_code(results(bad, replace(UNMET, host=QUEEN))) is ExitCode.FINDINGS


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        (("queen",), "queen"),
        (("hive1", "hive2"), "hive1, hive2"),
        (("queen", "hive1", "hive2", "hive3"), "queen, hive[1:3]"),
        (("hive08", "hive09", "hive10", "hive12"), "hive[08:10], hive12"),
        (("hive9", "hive10", "hive11"), "hive[9:11]"),
        (("hive09", "hive10", "hive011"), "hive09, hive10, hive011"),
        (("a1", "b2", "b3"), "a1, b2, b3"),
    ],
)
def test_hosts_are_folded_as_the_inventory_writes_them(names: tuple[str, ...], folded: str) -> None:
    assert checklist.fold_names(names) == folded


def test_the_worst_comes_first_and_hosts_that_say_the_same_share_a_row() -> None:
    hives = [replace(GOOD, host=replace(HIVE, name=f"hive{number}"), off=60.0) for number in (1, 2, 3)]
    warned = replace(GOOD, inspected=replace(INSPECTED, watch=False), host=QUEEN)
    rows = checklist.folded(results(warned, *hives))
    assert [(finding.check.id, hosts) for finding, hosts in rows] == [
        ("clock", ("hive1", "hive2", "hive3")),
        ("audit-watch", ("queen",)),
    ]


def test_the_document_has_every_finding_and_markdown_shows_no_markup_of_a_hosts() -> None:
    hostile = replace(GOOD, inspected=replace(INSPECTED, strays=("api-token|<img src=x>[a](b)\n`",)))
    found = results(hostile)
    document = json.loads(json.dumps(checklist.document(found, "lab", ExitCode.FINDINGS)))
    assert len(document["findings"]) == len(CHECKS)
    assert document["counts"]["fail"] == 1
    page = checklist.markdown(found, "lab")
    assert "\\<img src=x\\>\\[a\\]\\(b\\) \\`" in page
    assert "<img" not in page.replace("\\<img", "")
