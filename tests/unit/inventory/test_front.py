"""A front in the inventory: what clients reach is the front, and the service's own keys say what stands behind it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import HIVE_SERVICE, Fleet
from hivekeys.inventory.table import document
from hivekeys.inventory.written import toml
from hivekeys.protocol.wire import service_told
from hivekeys.service import Apply
from tests.builders.loading import load
from tests.builders.project import PROJECT

HOSTS = """
fleet = "blue"
[hosts.queen]
role = "queen"
[hosts."hive[1:3]"]
role = "hive"
"""
FRONT = """
[services.hive]
accepts = "front"
port = 18081
[services.hive.front]
listen = "0.0.0.0:8081"
start = "/usr/local/bin/rbee-hive daemon --addr 127.0.0.1:18081"
"""


def fleet_of(text: str, folder: Path) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(text)
    return load(path)


def test_the_fleet_is_turned_at_the_front_and_the_service_stands_behind_it(tmp_path: Path) -> None:
    fleet = fleet_of(HOSTS + FRONT, tmp_path)
    service = fleet.hives[0].service
    assert (service.unit, service.where) == ("hivekeys-front-rbee-hive.service", "http://127.0.0.1:8081")
    assert (service.token, service.rights) == ("/etc/hivekeys-front/rbee-hive/api-token", "0600 root:root")
    assert service.apply is Apply.RELOAD
    assert (service.health, service.protected) == (HIVE_SERVICE.health, HIVE_SERVICE.protected)
    front = service.front
    assert front
    assert (front.behind.unit, front.behind.where) == ("rbee-hive.service", "http://127.0.0.1:18081")
    assert front.behind.token == HIVE_SERVICE.token
    assert fleet.queen.service.front is None


def test_a_host_may_have_its_own_front_or_none(tmp_path: Path) -> None:
    own = 'service = { port = 19081, front = { listen = "[::]:9081", certificate = "/a.crt", key = "/a.key" } }'
    none = 'service = { accepts = "one", port = 8081 }'
    more = f'[hosts.hive8]\nrole = "hive"\n{own}\n[hosts.hive9]\nrole = "hive"\n{none}\n'
    hives = fleet_of(HOSTS + FRONT + more, tmp_path).hives
    service = hives[3].service
    assert (service.where, service.front and service.front.start) == ("https://[::1]:9081", FRONT.split('"')[-2])
    assert hives[4].service == HIVE_SERVICE


def test_its_host_is_told_of_it_and_others_are_told_what_they_always_were(tmp_path: Path) -> None:
    fleet = fleet_of(HOSTS + FRONT, tmp_path)
    told: dict[str, Any] = json.loads(json.dumps(service_told(fleet.hives[0].service)))
    assert told["front"]["behind"]["port"] == 18081
    assert {"front", "apply"} & set(service_told(fleet.queen.service)) == set()


def test_a_service_that_asks_for_no_token_is_said_so_and_its_port_counts_as_one_that_takes_none(tmp_path: Path) -> None:
    asks = fleet_of(HOSTS + FRONT, tmp_path)
    fleet = fleet_of(HOSTS + FRONT + "own_token = false\n", tmp_path)
    service = fleet.hives[0].service
    assert service.front
    assert not service.front.own_token
    assert (asks.hives[0].service.tokenless, service.tokenless) == ((), (18081,))
    told = [service_told(each.hives[0].service)["front"] for each in (asks, fleet)]
    assert [each.get("own_token") for each in told] == [None, False], "older hosts know no such word"
    assert fleet_of(toml(fleet), tmp_path).hosts == fleet.hosts


def test_written_anew_it_is_the_same_fleet_and_as_json_it_is_whole(tmp_path: Path) -> None:
    more = '[hosts.hive9]\nrole = "hive"\nservice = { front = { listen = "10.0.0.9:8081", public = ["/metrics"] } }\n'
    fleet = fleet_of(HOSTS + FRONT + more, tmp_path)
    assert fleet_of(toml(fleet), tmp_path).hosts == fleet.hosts
    shown = json.loads(json.dumps(document(fleet, (), ())))
    assert shown["hosts"][1]["service"]["front"]["behind"]["format"] == "token"


def test_what_the_example_says_of_it_can_be_put_in_force(tmp_path: Path) -> None:
    text = (PROJECT / "inventory/example.toml").read_text()
    text = re.sub(r"^#(\[services\.hive\.front\]|[a-z_]+ = )", r"\1", text, flags=re.MULTILINE)
    hive = text.index("[services.hive]")
    text = text[:hive] + text[hive:].replace('accepts = "one"', 'accepts = "front"', 1).replace(
        "port = 8081", "port = 18081", 1
    )
    front = fleet_of(text, tmp_path).hives[0].service.front
    assert front
    assert (front.listen, front.public, front.certificate) == ("0.0.0.0:8081", ("/metrics",), "/etc/ssl/hive.crt")
    assert not front.own_token


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('services.hive = { accepts = "two" }', 'services.hive.accepts: found "two", expected "one" or "front"'),
        ('services.hive = { accepts = "front", port = 1 }', "services.hive.front.listen: missing, expected where"),
        ('services.hive = { front = { listen = "0.0.0.0:1" } }', 'found a table, expected accepts = "front" beside it'),
        (
            'services.hive = { accepts = "front", front = { listen = "0.0.0.0:8081" } }',
            "services.hive.port: found 8081, where the front listens",
        ),
        (
            'services.hive = { accepts = "front", address = "10.0.0.1", front = { listen = "0.0.0.0:1" } }',
            'services.hive.address: found "10.0.0.1", expected an address that only the host itself reaches',
        ),
        (
            'services.hive = { accepts = "front", front = { listen = "hive1:80" } }',
            'services.hive.front.listen: found "hive1:80", expected an address of the host in numbers and a port',
        ),
        (
            'services.hive = { accepts = "front", front = { listen = "0.0.0.0:1", key = "/a.key" } }',
            "services.hive.front.certificate: missing, expected the file of the certificate beside `key`",
        ),
        (
            'services.hive = { accepts = "front", front = { listen = "0.0.0.0:1", verify = false } }',
            "services.hive.front.verify: found false, expected certificate and key beside it",
        ),
        (
            'services.hive = { accepts = "front", unit = "hive@1.service", front = { listen = "0.0.0.0:1" } }',
            "expected a unit that is no instance of a template",
        ),
        (
            'services.hive = { accepts = "front", front = { listen = "0.0.0.0:1", start = "rbee-hive" } }',
            'services.hive.front.start: found "rbee-hive", expected a command as ExecStart= has it',
        ),
        (
            'services.hive = { accepts = "front", front = { listen = "0.0.0.0:1", public = ["/a\\";x"] } }',
            "services.hive.front.public: found",
        ),
        (
            'services.hive = { accepts = "front", front = { listen = "0.0.0.0:1", certificates = "/a" } }',
            "services.hive.front.certificates: unknown key, did you mean certificate?",
        ),
    ],
)
def test_a_front_that_cannot_work_is_refused(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        fleet_of(f"{lines}\n{HOSTS}", tmp_path)
    assert said in refused.value.message
