"""Inventories that people have already: the same fleet in each form is the same fleet, and can be written in ours."""

import json
import re
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Become, Fleet, Host, Role
from hivekeys.inventory import look, schema
from hivekeys.inventory.ansible.beneath import beneath
from hivekeys.inventory.ansible.question import ask
from hivekeys.inventory.files import read
from hivekeys.inventory.written import toml
from hivekeys.service import Format
from tests.builders.loading import load
from tests.builders.project import PROJECT

FORMS = Path(__file__).with_name("inventories")
EXAMPLE = PROJECT / "inventory" / "example.toml"
FLEET = load(FORMS / "fleet.toml")


@pytest.fixture
def forms(tmp_path: Path) -> Path:
    """The files of every form, where nobody else can change them."""
    folder = shutil.copytree(FORMS, tmp_path / "forms")
    (folder / "program").chmod(0o700)
    return folder


def same(one: Fleet, other: Fleet) -> bool:
    return replace(one, source="") == replace(other, source="")


def ungrouped(fleet: Fleet) -> Fleet:
    """Ansible's forms have their own groups, each others."""
    return replace(fleet, hosts=tuple(replace(host, groups=()) for host in fleet.hosts))


@pytest.mark.parametrize("form", ["hosts.ini", "hosts.yml", "hosts.json", "program", "folder"])
def test_the_same_fleet_in_an_ansible_form_is_the_same_fleet(forms: Path, form: str) -> None:
    assert same(ungrouped(load(forms / form)), FLEET)


def test_the_hosts_of_an_ansible_inventory_are_in_its_groups() -> None:
    assert {host.name: host.groups for host in load(FORMS / "hosts.ini").hosts} == {
        "queen": ("queen",),
        **dict.fromkeys(("hive01", "hive02", "hive03"), ("hives", "racked")),
        **dict.fromkeys(("hive-a", "hive-c"), ("hives", "lab")),
    }


def test_a_group_of_ansible_that_cannot_be_typed_is_none(tmp_path: Path) -> None:
    groups = {"queen": {"hosts": ["q"]}, "hives": {"hosts": ["h1"]}, "rack 1,2": {"hosts": ["h1"]}}
    said = {"_meta": {"hostvars": {"q": {"hivekeys_fleet": "f"}, "h1": {"hivekeys_fleet": "f"}}}, **groups}
    (tmp_path / "hosts.json").write_text(json.dumps(said))
    assert load(tmp_path / "hosts.json").hives[0].groups == ("hives",)


@pytest.mark.parametrize("form", ["hosts.ini", "program", "folder"])
def test_what_ansible_inventory_prints_is_an_inventory_as_well(
    forms: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept in a file, it needs neither Ansible nor a program to run."""
    (forms / "kept.json").write_bytes(ask(beneath(forms / form, frozenset())))
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    monkeypatch.setenv("PATH", "/nowhere")
    assert same(ungrouped(load(forms / "kept.json")), FLEET)


def test_a_file_of_ours_points_to_an_inventory_and_maps_its_groups() -> None:
    found = look(FORMS / "mapped.toml")
    assert [(host.name, host.role, host.address, host.user) for host in found.fleet.hosts] == [
        ("boss", Role.QUEEN, "10.0.0.10", "deploy"),
        ("w1", Role.HIVE, "10.0.1.1", "deploy"),
        ("w2", Role.HIVE, "10.0.1.2", "deploy"),
    ]
    assert (found.fleet.name, found.fleet.policy.canary) == ("mapped", 0)
    assert found.files == (str(FORMS / "mapped.ini"),)


def test_llama_orchs_own_list_gives_the_hives_of_a_fleet() -> None:
    fleet = load(FORMS / "llama_orch.toml")
    one, two = fleet.hives
    assert fleet.queen.address == "10.0.0.10"
    assert (one.name, one.address, one.port, one.user, one.key, one.service.port) == (
        *("hive01", "10.0.1.11", None, "deploy", None, 8081),
    )
    assert (two.name, two.address, two.port, two.user, two.service.port) == ("hive02", "10.0.1.12", 2222, "root", 9081)
    assert two.key == str(Path.home() / ".ssh/lab")


def test_llama_orchs_later_list_of_tables_gives_the_same_hives(tmp_path: Path) -> None:
    shutil.copy(FORMS / "llama_orch.toml", tmp_path)
    (tmp_path / "hives.conf").write_text(
        '[[hive]]\nalias = "hive01"\nhostname = "10.0.1.11"\nssh_user = "deploy"\nhive_port = 8081\nauto_start = true\n'
        '[[hive]]\nalias = "hive02"\nhostname = "10.0.1.12"\nssh_user = "root"\nssh_port = 2222\nhive_port = 9081\n'
    )
    hives = load(FORMS / "llama_orch.toml").hives
    assert load(tmp_path / "llama_orch.toml").hives == (hives[0], replace(hives[1], key=None))


def test_hosts_of_ours_stand_beside_those_of_an_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("[queen]\nq ansible_host=10.0.0.1\n[hives]\nh1\n")
    (tmp_path / "f.toml").write_text('fleet = "f"\nansible.inventory = "hosts.ini"\nhosts.h2.role = "hive"\n')
    assert {host.name for host in load(tmp_path / "f.toml").hosts} == {"q", "h1", "h2"}


def test_ssh_of_our_file_goes_for_hosts_that_say_nothing_themselves(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("[queen]\nq\n[hives]\nh1 ansible_user=own ansible_become=false\n")
    (tmp_path / "f.toml").write_text(
        'fleet = "f"\nansible.inventory = "hosts.ini"\nssh = { user = "all", port = 23 }\n'
    )
    queen, hive = load(tmp_path / "f.toml").hosts
    assert [(host.user, host.port) for host in (queen, hive)] == [("all", 23), ("own", 23)]
    assert hive.become is Become.NONE


def test_the_example_shows_how_to_point_to_other_files(tmp_path: Path) -> None:
    """The lines are commented out there; without the # they are a fleet, and name every key."""
    text = EXAMPLE.read_text()
    block = re.sub("^# ?", "", text[text.index("# [ansible]") :], flags=re.MULTILINE)
    (tmp_path / "f.toml").write_text(f'fleet = "f"\n{block}')
    tables = read(tmp_path / "f.toml")
    assert tables["ansible"].keys() == schema.AnsibleKeys.__annotations__.keys()
    assert tables["llama_orch"].keys() == schema.LlamaOrchKeys.__annotations__.keys()
    assert schema.checked(tables)[1] == []


# -- written in our own form


@pytest.mark.parametrize("form", ["fleet.toml", "hosts.ini", "mapped.toml", "llama_orch.toml", str(EXAMPLE)])
def test_a_fleet_that_is_written_in_our_form_is_the_same_fleet(tmp_path: Path, form: str) -> None:
    fleet = load(FORMS / form)
    (tmp_path / "written.toml").write_text(toml(fleet))
    assert same(load(tmp_path / "written.toml"), fleet)


def test_a_fleet_whose_services_share_a_machine_is_written_as_the_same_fleet(tmp_path: Path) -> None:
    fleet = load(EXAMPLE)
    assert any(host.beside for host in fleet.hosts)
    (tmp_path / "written.toml").write_text(toml(fleet))
    assert same(load(tmp_path / "written.toml"), replace(fleet, called=""))


def test_an_ansible_inventory_may_say_that_a_hive_is_on_the_queens_machine(tmp_path: Path) -> None:
    file = tmp_path / "hosts.ini"
    own = "hivekeys_beside=boss hivekeys_token=/etc/llama-orch/hive/api-token"
    groups = f"[queen]\nboss ansible_host=10.0.0.1\n[hives]\nworker ansible_host=10.0.0.1 {own}\n"
    file.write_text(f"{groups}[all:vars]\nhivekeys_fleet=small\n")
    assert [(host.name, host.address, host.beside) for host in load(file).hosts] == [
        ("boss", "10.0.0.1", ""),
        ("worker", "10.0.0.1", "boss"),
    ]
    file.write_text(file.read_text().replace("hivekeys_beside=boss ", ""))
    with pytest.raises(UserError, match="or beside = "):
        load(file)


def test_an_environment_file_is_written_as_one(tmp_path: Path) -> None:
    service = replace(FLEET.hives[0].service, token="/etc/rbee/secrets.env", format=Format.ENVIRONMENT)
    fleet = replace(FLEET, hosts=(FLEET.queen, *(replace(hive, service=service) for hive in FLEET.hives)))
    (tmp_path / "written.toml").write_text(toml(fleet))
    assert 'format = "environment"' in toml(fleet)
    assert same(load(tmp_path / "written.toml"), fleet)


def test_hosts_in_a_row_are_written_as_one_entry() -> None:
    assert '[hosts."hive[01:03]"]\nrole = "hive"\naddress = "10.0.1.[11:13]"' in toml(FLEET)
    assert 'user = "deploy"' in toml(FLEET).split("[hosts")[0]


def test_every_part_of_a_fleet_is_known_to_the_writer() -> None:
    """Who adds a part to a fleet teaches the writer, or a converted file would lose it."""
    known = {
        "name",
        "hosts",
        "policy",
        "timeouts",
        "ssh",
        "token_age",
        "waivers",
        "backup",
        "notify",
        "windows",
        "approval",
        "source",
        "digest",
        "called",
    }
    assert {each.name for each in fields(Fleet)} == known
    parts = {
        "name",
        "role",
        "address",
        "service",
        "port",
        "user",
        "key",
        "jump",
        "become",
        "python",
        "sudo_log",
        "beside",
        "groups",
    }
    assert {each.name for each in fields(Host)} - {"_"} == parts


OPTIONAL = {
    "user": st.sampled_from([None, "deploy", "root"]),
    "port": st.sampled_from([None, 22, 2222]),
    "key": st.sampled_from([None, "/k e/y", '/q"uote\\d']),
    "jump": st.sampled_from([None, "none", "a,b:22"]),
    "become": st.sampled_from(Become),
    "groups": st.sampled_from([(), ("rack1",), ("rack2", "gpu-a100")]),
}
NAMES = st.sampled_from(
    [*(f"h{n}" for n in range(12)), *(f"h{n:02d}" for n in range(12)), "x", "n9.example", "n10.example"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)  # each writes the same file anew
@given(data=st.data())
def test_any_fleet_is_written_so_that_it_is_read_again(tmp_path: Path, data: st.DataObject) -> None:
    queen = replace(FLEET.queen, **{key: data.draw(value) for key, value in OPTIONAL.items()})
    hives = [
        replace(
            FLEET.hives[0],
            name=name,
            address=data.draw(st.sampled_from([name, f"10.1.{number}.7", f"10.2.0.{number}"])),
            service=data.draw(st.sampled_from([hive.service for hive in FLEET.hives])),
            **{key: data.draw(value) for key, value in OPTIONAL.items()},
        )
        for number, name in enumerate(data.draw(st.lists(NAMES, unique=True, max_size=12)))
    ]
    fleet = replace(FLEET, hosts=(queen, *hives))
    (tmp_path / "written.toml").write_text(toml(fleet))
    assert same(load(tmp_path / "written.toml"), fleet)


# -- what is not enough


def refused(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        load(path)
    assert caught.value.code is ExitCode.USAGE
    return caught.value


def test_an_inventory_that_does_not_name_the_fleet_is_refused(tmp_path: Path) -> None:
    """A file's name won't do: two environments with a hosts.ini each would be one fleet."""
    (tmp_path / "hosts.ini").write_text("[queen]\nq\n[hives]\nh1\n")
    error = refused(tmp_path / "hosts.ini")
    assert "hivekeys_fleet: missing" in error.message and "[ansible] inventory" in error.hint


def test_llama_orchs_list_alone_is_no_fleet(tmp_path: Path) -> None:
    shutil.copy(FORMS / "hives.conf", tmp_path)
    assert "[hosts.queen]" in refused(tmp_path / "hives.conf").hint


def test_an_inventory_that_belongs_to_another_fleet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("[queen]\nq\n[hives]\nh1\n[all:vars]\nhivekeys_fleet=staging\n")
    (tmp_path / "f.toml").write_text('fleet = "production"\nansible.inventory = "hosts.ini"\n')
    said = refused(tmp_path / "f.toml").message
    assert said.endswith('hosts.ini: q.hivekeys_fleet: found "staging", expected "production" as f.toml says')


def test_a_host_that_two_files_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("[queen]\nq\n[hives]\nh1\n")
    (tmp_path / "f.toml").write_text('fleet = "f"\nansible.inventory = "hosts.ini"\nhosts.h1.role = "hive"\n')
    assert refused(tmp_path / "f.toml").message.endswith("hosts.ini: h1: found a host that is named elsewhere too")
