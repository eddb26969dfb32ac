"""What a host said stays as it was said: its answers are frozen values, and a field that is missing means the least."""

import json
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest

import hivekeys.protocol
from hivekeys.protocol.audited import Audited, Query, who
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.restriction import Restriction
from hivekeys.protocol.verbs import Accesses, Audit, Inspect
from hivekeys.protocol.wire import decode
from hivekeys.text.clean import DETAIL_LIMIT
from tests.builders.observations import INSPECTED

MODULES = [import_module(f"hivekeys.protocol.{module.name}") for module in iter_modules(hivekeys.protocol.__path__)]
VALUES = [
    found
    for module in MODULES
    for found in vars(module).values()
    if isinstance(found, type) and is_dataclass(found) and found.__module__ == module.__name__
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_what_was_said_cannot_be_changed_by_who_reads_it(value: type) -> None:
    """Several threads read one answer: of the run, its journal, the live view."""
    said: Any = object.__new__(value)
    with pytest.raises(AttributeError):
        setattr(said, next((part.name for part in fields(said)), "verb"), "changed")


def test_two_hosts_that_are_given_the_same_are_given_equal_values() -> None:
    given = Restriction("deploy", "#!/usr/bin/python3 -IS\n", "deploy ALL=(root) NOPASSWD: x\n")
    assert given == Restriction(account="deploy", program=given.program, sudoers=given.sudoers, login="")


def read(verb: str, facts: dict[str, Any]) -> Reply:
    result = {"verb": verb, "ok": True, "changed": False, "seconds": 0.1, "facts": facts, "trouble": "", "detail": ""}
    found = decode({"results": [json.loads(json.dumps(result))]})
    assert isinstance(found, Reply), found
    return found


def test_a_token_in_the_environment_is_held_against_a_host_that_does_not_say_whether_it_is_the_files() -> None:
    facts = asdict(INSPECTED) | {"environment": {"places": ["/etc/default/rbee"], "unread": []}}
    inspected = read("inspect", facts).to(Inspect)
    assert inspected is not None and inspected.environment is not None
    assert not inspected.environment.is_of_file


AUDITED: dict[str, Any] = {
    "on": True,
    "folder": "/var/log/llama-orch/audit",
    "found": True,
    "clock": 1.0,
    "groups": [],
    "newest": [],
    "files": 1,
    "size": 10,
    "lines": 1,
    "matched": 0,
    "broken": 0,
    "folded": 0,
    "places": [],
    "unread": [],
    "cut": "",
    "breaks": [],
    "chained": 0,
    "chain_cut": "",
}
GROUP = {
    "service": "rbee-hive",
    "ok": True,
    "token": "a1b2c3",
    "path": "/v1/work",
    "address": "10.0.0.9",
    "count": 2,
    "after": 0,
    "first": 1.0,
    "last": 2.0,
}


def audited(**changed: Any) -> Audited:
    found = read("audit", AUDITED | changed).to(Audit)
    assert found is not None
    return found


@pytest.mark.parametrize("token", ["a1b2c3", ""])
def test_a_use_names_the_fingerprint_of_its_token_or_none(token: str) -> None:
    (group,) = audited(groups=[GROUP | {"token": token}]).groups
    assert group.token == token


@pytest.mark.parametrize("token", ["A1B2C3", "a1b2c", "a1b2c3d", "a1b2c3\n", "x" * 6, " "])
def test_what_can_be_no_fingerprint_is_in_no_use(token: str) -> None:
    with pytest.raises(AssertionError, match="malformed"):
        audited(groups=[GROUP | {"token": token}])


@pytest.mark.parametrize("name", ["places", "unread", "breaks"])
def test_every_entry_of_a_list_is_one_line_that_fits_a_screen(name: str) -> None:
    (entry,) = getattr(audited(**{name: ["a.audit\nline 3\x1b[2J" + 1000 * "x"]}), name)
    assert entry.isprintable()
    assert (entry[:7], len(entry)) == ("a.audit", DETAIL_LIMIT)


def test_a_reader_is_of_a_kind_that_is_known() -> None:
    reader = {"kind": "other", "account": "bob", "login": "bob", "program": "/usr/bin/cat", "ok": True}
    reader |= {"count": 1, "first": 1.0, "last": 1.0}
    facts = {"watched": True, "clock": 1.0, "readers": [reader], "newest": [], "folded": 0, "cut": ""}
    accesses = read("accesses", facts).to(Accesses)
    assert accesses is not None and [found.account for found in accesses.readers] == ["bob"]
    with pytest.raises(AssertionError, match="malformed"):
        read("accesses", facts | {"readers": [reader | {"kind": "burglar"}]})


@pytest.mark.parametrize("address", ["", "0.0.0.0"])  # noqa: S104  what v0.1.0 of the services records
def test_a_caller_without_an_address_is_said_to_have_none(address: str) -> None:
    assert who(address) == "a caller whose address is not recorded"
    assert who("10.0.0.9") == "10.0.0.9"


def test_an_audit_reads_four_gigabytes_in_a_minute_at_most_unless_it_is_told_otherwise() -> None:
    assert (Query().size, Query().seconds) == (4 * 1024**3, 60.0)
