"""`[groups.NAME]`: what hosts of a group have in common, and whose word goes first."""

from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet
from tests.builders.loading import load

HOSTS = """
fleet = "f"
[hosts.queen]
role = "queen"
[hosts."hive[1:2]"]
role = "hive"
groups = ["rack1", "gpu"]
[hosts.hive3]
role = "hive"
groups = ["gpu"]
port = 2222
service = { unit = "own.service" }
"""


def fleet_of(folder: Path, text: str) -> Fleet:
    (folder / "f.toml").write_text(HOSTS + text)
    return load(folder / "f.toml")


def refused(folder: Path, text: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        fleet_of(folder, text)
    return [line.removeprefix(f"{folder}/f.toml: ") for line in caught.value.message.splitlines()]


def test_hosts_have_what_their_group_says_and_others_do_not(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, '[groups.rack1]\nuser = "racked"\njump = "j1"\nservice = { port = 9000 }\n')
    assert [(host.user, host.jump, host.service.port) for host in fleet.hosts] == [
        (None, None, 8080),
        ("racked", "j1", 9000),
        ("racked", "j1", 9000),
        (None, None, 8081),
    ]


def test_the_entry_goes_before_the_group_and_the_group_before_all_hosts(tmp_path: Path) -> None:
    common = '[ssh]\nuser = "all"\nport = 22\n[services.hive]\nunit = "hive.service"\nport = 7000\n'
    fleet = fleet_of(tmp_path, f'[groups.gpu]\nport = 2200\nservice = {{ unit = "gpu.service" }}\n{common}')
    assert [(host.user, host.port, host.service.unit, host.service.port) for host in fleet.hives[1:]] == [
        ("all", 2200, "gpu.service", 7000),
        ("all", 2222, "own.service", 7000),
    ]


def test_two_groups_of_a_host_may_say_the_same(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, '[groups.gpu]\nuser = "one"\n[groups.rack1]\nuser = "one"\n')
    assert {host.user for host in fleet.hives} == {"one"}


def test_two_groups_of_a_host_that_differ_are_refused(tmp_path: Path) -> None:
    groups = "[groups.gpu]\nservice = { port = 1 }\n[groups.rack1]\nservice = { port = 2 }\n"
    assert refused(tmp_path, groups) == [
        'hosts."hive[1:2]".groups: found "rack1" and "gpu", which say different things of service.port, '
        "expected one of them, or the entry's own word"
    ]


def test_a_host_beside_another_is_reached_as_that_one_is_whatever_its_group_says(tmp_path: Path) -> None:
    beside = (
        '[hosts.hive4]\nrole = "hive"\nbeside = "queen"\ngroups = "rack1"\nservice.token = "/etc/hive/x/api-token"\n'
    )
    fleet = fleet_of(tmp_path, f'{beside}[groups.rack1]\nuser = "racked"\n')
    assert (fleet.hosts[-1].name, fleet.hosts[-1].user) == ("hive4", None)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("[groups.rack1]\nport = 70000\n", "groups.rack1.port: found 70000, expected a whole number from 1 to 65535"),
        ('[groups.rack1]\nusr = "x"\n', "groups.rack1.usr: unknown key, did you mean user?"),
        ("[groups.rack1]\nservice = { verify = false }\n", "groups.rack1.service.verify: found false, expected scheme"),
        (
            '[groups.rcak1]\nuser = "x"\n',
            "groups.rcak1: found a group that no host is in, expected a group of a host; ",
        ),
        ('[groups.rack1]\naddress = "x"\n', "groups.rack1.address: unknown key"),
    ],
)
def test_a_mistake_is_told_once_at_the_place_of_the_group(tmp_path: Path, groups: str, said: str) -> None:
    (line,) = refused(tmp_path, groups)
    assert line.startswith(said)


def test_the_groups_of_an_ansible_inventory_have_settings_here(tmp_path: Path) -> None:
    listed = (
        '{"_meta": {"hostvars": {"h1": {"ansible_user": "own"}}}, "queen": {"hosts": ["q"]},'
        ' "hives": {"hosts": ["h1", "h2"]}, "rack1": {"hosts": ["h1", "h2"]}}'
    )
    (tmp_path / "hosts.json").write_text(listed)
    file = tmp_path / "f.toml"
    file.write_text('fleet = "f"\nansible.inventory = "hosts.json"\n[groups.rack1]\nuser = "racked"\nport = 2200\n')
    assert [(host.name, host.user, host.port) for host in load(file).hosts] == [
        ("q", None, None),
        ("h1", "own", 2200),
        ("h2", "racked", 2200),
    ]
