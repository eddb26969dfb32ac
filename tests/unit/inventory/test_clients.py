"""Clients in an inventory: what an entry with `role = "client"` may say, and what each mistake is told."""

import json
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Role, takes_two
from hivekeys.inventory.table import document, lines, table
from hivekeys.inventory.written import toml
from hivekeys.service import Apply
from tests.builders.loading import load
from tests.builders.printed import printed

FLEET = """fleet = "blue"
hosts.queen = { role = "queen", service = { accepts = "lines", apply = "reload" } }
"""
PRESENTS = "expected no such key: a client presents the token, and is not called"
UNIT = "expected unit beside it: whose program is to take the token"


def fleet_of(folder: Path, text: str) -> Fleet:
    file = folder / "blue.toml"
    file.write_text(FLEET + text)
    return load(file)


def test_a_client_has_a_token_file_and_a_unit(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path,
        """[hosts.ci]
        role = "client"
        service.unit = "runner.service"
        service.token = "/etc/runner/api-token"
        service.owner = "ci"
        service.group = "ci"
        service.mode = "0400"
        """,
    )
    (ci,) = fleet.clients
    assert (ci.role, ci.service.unit, ci.service.token) == (Role.CLIENT, "runner.service", "/etc/runner/api-token")
    assert (ci.service.owner, ci.service.group, ci.service.mode) == ("ci", "ci", 0o400)
    assert ci.service.apply is Apply.RESTART
    assert ci.service.is_client
    assert not any(host.service.is_client for host in fleet.hosts if host != ci)


def test_without_a_unit_nothing_is_done_to_its_program(tmp_path: Path) -> None:
    (ci,) = fleet_of(tmp_path, 'hosts.ci.role = "client"').clients
    assert (ci.service.unit, ci.service.apply) == ("", Apply.WATCH)


def test_what_clients_have_in_common_stands_once(tmp_path: Path) -> None:
    text = """[services.client]
    unit = "runner.service"
    [hosts."ci[1:2]"]
    role = "client"
    [hosts.gateway]
    role = "client"
    service = { apply = "reload" }
    """
    services = [host.service for host in fleet_of(tmp_path, text).clients]
    assert {service.unit for service in services} == {"runner.service"}
    assert [service.apply for service in services] == [Apply.RESTART, Apply.RESTART, Apply.RELOAD]


def test_clients_come_last_and_do_not_say_how_many_tokens_are_accepted(tmp_path: Path) -> None:
    hive = 'hosts.a = { role = "client" }\nhosts.hive1 = { role = "hive", service = { accepts = "pair" } }'
    fleet = fleet_of(tmp_path, hive)
    assert [host.name for host in fleet.hosts] == ["queen", "hive1", "a"]
    assert [host.name for host in fleet.hives] == ["hive1"]
    assert takes_two(fleet.hosts)
    assert not takes_two(fleet.clients)


def test_a_client_beside_a_service_is_told_from_it_by_its_unit(tmp_path: Path) -> None:
    text = """[hosts.exporter]
    role = "client"
    beside = "queen"
    service = { unit = "exporter.service", token = "/etc/exporter/api-token" }
    [hosts.runner]
    role = "client"
    beside = "queen"
    service = { unit = "runner.service", token = "/etc/runner/api-token" }
    """
    assert [host.beside for host in fleet_of(tmp_path, text).clients] == ["queen", "queen"]


@pytest.mark.parametrize(
    "text",
    [
        'hosts.ci = { role = "client" }',
        'hosts.ci = { role = "client", service = { unit = "a.service" } }\nhosts.gateway = { role = "client" }',
        'services.client = { unit = "a.service", apply = "watch" }\nhosts."ci[1:3]" = { role = "client" }',
    ],
)
def test_written_as_toml_it_is_the_same_fleet(tmp_path: Path, text: str) -> None:
    fleet = fleet_of(tmp_path, text)
    other = tmp_path / "other.toml"
    other.write_text(toml(fleet))
    assert load(other).hosts == fleet.hosts


def test_the_table_names_clients_and_no_port_of_theirs(tmp_path: Path) -> None:
    text = 'hosts.ci = { role = "client", service = { unit = "runner.service" } }\nhosts.gateway = { role = "client" }'
    fleet = fleet_of(tmp_path, text)
    shown = printed(table(fleet))
    assert "runner" in shown
    assert "runner:0" not in shown
    assert "token file" in shown
    assert lines(fleet, (), ())[0].startswith("3 hosts, 0 of them hives, 2 clients;")
    assert document(fleet, (), ())["hosts"][1]["role"] == "client"


MISTAKES = {
    "services.client.port = 80": f"services.client.port: found 80, {PRESENTS}",
    'services.client.accepts = "lines"': f'services.client.accepts: found "lines", {PRESENTS}',
    'hosts.ci.service.health = "/health"': f'hosts.ci.service.health: found "/health", {PRESENTS}',
    'hosts.ci.service.front.listen = "0.0.0.0:80"': f"hosts.ci.service.front: found a table, {PRESENTS}",
    'hosts.ci.service.apply = "reload"': f'hosts.ci.service.apply: found "reload", {UNIT}',
    'services.client.apply = "restart"': f'services.client.apply: found "restart", {UNIT}',
    'hosts.ci.service.drain.until = { run = ["/bin/true"] }': f"hosts.ci.service.drain: found a table, {UNIT}",
    'hosts.ci.service = { unit = "a.service", drain.until = { get = "/m", none = "x" } }': (
        'hosts.ci.service.drain.until.get: found "/m", expected run in its place: a client is not called'
    ),
    'hosts.ci.service = { unit = "a.service", drain.before = "front" }': (
        'hosts.ci.service.drain.before: found "front", expected run or bastion: a client has no front'
    ),
    'hosts.ci.service = { unit = "a.service", format = "environment", apply = "reload" }': (
        'hosts.ci.service.format: found "environment", expected apply = "restart": an environment is read as a service '
        "starts"
    ),
    'hosts.ci.service = { unit = "a.service", signal = "USR1" }': (
        'hosts.ci.service.signal: found "USR1", expected apply = "signal" beside it'
    ),
    'hosts.ci = { beside = "queen", service.token = "/etc/ci/api-token" }': (
        'hosts.ci.beside: found "queen", expected unit in its service: by that it is told from the other service on '
        "the machine"
    ),
}


@pytest.mark.parametrize(("text", "mistake"), MISTAKES.items())
def test_each_mistake_is_told_once(tmp_path: Path, text: str, mistake: str) -> None:
    whole = text.replace("hosts.ci = {", 'hosts.ci = { role = "client", ')
    whole += "" if "hosts.ci = {" in text else '\nhosts.ci.role = "client"'
    with pytest.raises(UserError) as refused:
        fleet_of(tmp_path, whole)
    assert [line.partition("blue.toml: ")[2] for line in refused.value.message.splitlines()] == [mistake]


def with_ansible(folder: Path, **groups: list[str]) -> Path:
    """A file of ours that takes its hosts from Ansible's answer, and names the group of the clients."""
    hosts: dict[str, dict[str, str]] = {host: {} for names in groups.values() for host in names}
    if "ci" in hosts:
        hosts["ci"] = {"hivekeys_token": "/etc/runner/token"}
    said = {"_meta": {"hostvars": hosts}, **{group: {"hosts": names} for group, names in groups.items()}}
    (folder / "hosts.json").write_text(json.dumps(said))
    (folder / "blue.toml").write_text('fleet = "blue"\n[ansible]\ninventory = "hosts.json"\nclients = "runners"\n')
    return folder / "blue.toml"


def test_a_group_of_ansibles_may_hold_the_clients(tmp_path: Path) -> None:
    fleet = load(with_ansible(tmp_path, queen=["q"], hives=["h1"], runners=["ci"], clients=["somebody"]))
    assert [(host.name, host.role) for host in fleet.hosts] == [
        ("q", Role.QUEEN),
        ("h1", Role.HIVE),
        ("ci", Role.CLIENT),
    ]
    assert fleet.clients[0].service.token == "/etc/runner/token"


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"hives": ["h1"], "runners": ["h1"]}, 'h1: found "h1" in "hives" and "runners", expected it in one'),
        ({"hives": ["h1"]}, 'found no group "runners", expected the client\'s; there are'),
    ],
)
def test_what_is_wrong_with_that_group_is_named(tmp_path: Path, groups: dict[str, list[str]], said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(with_ansible(tmp_path, queen=["q"], **groups))
    assert said in caught.value.message
