"""What a host is told, as JSON: what upkeep may do, and what of a query each verb understands."""

import json
from typing import Any

from hivekeys.fleet import Policy
from hivekeys.protocol.audited import Query, Time
from hivekeys.protocol.restriction import Restriction
from hivekeys.protocol.tombstone import Stone
from hivekeys.protocol.verbs import Accesses, Audit, Fix, Install, Restrict, Step, Uninstall
from hivekeys.protocol.wire import encode
from hivekeys.token import Token

WANT = Token("recognisable" * 6).fingerprint(b"key")
STONE = Stone("ab" * 16, "cd" * 32, "run-1")


def told(step: Step) -> dict[str, Any]:
    words: dict[str, Any] = json.loads(json.dumps(encode(step, Policy(), {})))
    return words


def test_upkeep_is_only_a_look_unless_it_is_told_to_apply() -> None:
    assert told(Fix()) == {"verb": "fix", "apply": False, "options": []}
    assert told(Fix(apply=True, options=("slots", "modes"))) == {
        "verb": "fix",
        "apply": True,
        "options": ["slots", "modes"],
    }


def test_an_install_names_the_fleets_token_and_what_its_fellows_remember() -> None:
    words = told(Install(want=WANT, stones=(STONE,)))
    assert words["want"] == WANT.keyed
    assert words["stones"] == [{"salt": "ab" * 16, "digest": "cd" * 32, "run": "run-1"}]


def test_an_uninstall_names_neither() -> None:
    assert told(Uninstall(apply=True)).keys() == {"verb", "apply", "options"}


def test_restricted_mode_brings_its_program_and_its_rule() -> None:
    words = told(Restrict(restriction=Restriction("deploy", "text", "rule", "line")))
    assert words == {
        "verb": "restrict",
        "apply": False,
        "options": [],
        "account": "deploy",
        "program": "text",
        "sudoers": "rule",
        "login": "line",
    }


QUERY = Query(Time(5.0), Time(60.0, before_now=True), ("a1b2c3",), records=7, seconds=9.0)


def test_an_audit_is_told_the_whole_query() -> None:
    words = told(Audit(query=QUERY))
    assert words["since"] == {"seconds": 5.0, "before_now": False}
    assert words["until"] == {"seconds": 60.0, "before_now": True}
    assert (words["tokens"], words["records"], words["chain"]) == (["a1b2c3"], 7, True)


def test_auditds_record_is_asked_only_what_it_can_answer() -> None:
    words = told(Accesses(query=QUERY))
    assert words.keys() == {"verb", "since", "until", "failed", "records", "seconds"}
