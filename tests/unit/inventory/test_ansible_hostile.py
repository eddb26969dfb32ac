"""Inventories that mean harm, or only look like it: refused in one line, in bounded time and memory."""

import json
import os
import resource
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hivekeys.errors import ExitCode, UserError
from hivekeys.inventory import load

HEAD = "[queen]\nq\n[all:vars]\nhivekeys_fleet=f\n[hives]\n"
SAID = {"_meta": {"hostvars": {"q": {"hivekeys_fleet": "f"}}}, "queen": {"hosts": ["q"]}, "hives": {"hosts": ["h"]}}


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    assert caught.value.code is ExitCode.USAGE
    (line,) = caught.value.message.splitlines()
    assert line.isprintable()
    return line.removeprefix(f"{path}: ")


TEXTS: dict[str, tuple[str | bytes, str]] = {
    "itself.yml": ("a: &a\n  children: *a\n", "ansible-inventory can't read it"),
    "deep.yml": ("[" * 100_000, "ansible-inventory can't read it"),
    "object.yml": ("a: !!python/object/apply:os.system ['touch pwned']\n", "ansible-inventory can't read it"),
    "names.ini": (f"{HEAD}h\x1b[2J\x07\n", "ansible-inventory can't read it: as INI"),
    "name.ini": (f"{HEAD}'-oProxyCommand=sh'\n", '"-oProxyCommand=sh": found'),
    "path.ini": (f"{HEAD}../../etc/passwd\n", '"../../etc/passwd": found'),
    "vault.ini": ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", "found a file that ansible-vault encrypted"),
    "key": ("-----BEGIN OPENSSH PRIVATE KEY-----\n5ec2e7\n", "ansible-inventory can't read it"),
    "empty.yml": ("", "ansible-inventory can't read it: as YAML: Parsed empty YAML file"),
    "latin.ini": (HEAD.encode() + b"h\xe9\n", "found a byte that is not UTF-8"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_inventory_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, said = TEXTS[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(path)
    assert said in line
    assert "5ec2e7" not in line
    assert not (tmp_path / "pwned").exists()


# Answers of Ansible's that were saved in a file, or so it seems.
ANSWERS: dict[str, tuple[object, str]] = {
    "no-table": ({"_meta": 1}, "_meta.hostvars: missing, expected a table of every host's variables"),
    "list": ({**SAID, "a": ["h"]}, "a: found a list, expected a table with hosts and children"),
    "numbers": ({**SAID, "a": {"hosts": [1]}}, "a.hosts: found a list, expected a list of names"),
    "section": ({**SAID, "a": {"hots": []}}, "a.hots: unknown key, expected hosts or children"),
    "vars": ({**SAID, "a": {"vars": {"x": "hunter2"}}}, "a.vars: found a group's variables, expected them in _meta"),
    "one": ({**SAID, "_meta": {"hostvars": {"h": 1}}}, "_meta.hostvars.h: found a single value, expected a table"),
    "name": (
        {**SAID, "hives": {"hosts": ["h\x1b[2J"]}},
        '"h\N{REPLACEMENT CHARACTER}[2J": found "h\N{REPLACEMENT CHARACTER}[2J", expected',
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_checked_for_what_it_should_be(tmp_path: Path, name: str) -> None:
    document, said = ANSWERS[name]
    (tmp_path / "hosts.json").write_text(json.dumps(document))
    line = refused(tmp_path / "hosts.json")
    assert said in line
    assert "hunter2" not in line


def test_a_host_that_an_answer_has_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text('{"_meta": {"hostvars": {}}, "a": {}, "a": {}}')
    assert 'found the key "a" twice in one table' in refused(tmp_path / "hosts.json")


def test_an_answer_may_not_be_nested_for_ever(tmp_path: Path) -> None:
    deep = "[" * 900 + "]" * 900
    (tmp_path / "hosts.json").write_text(f'{{"_meta": {{"hostvars": {{"q": {{"a": {deep}}}}}}}}}')
    assert "found values nested too deeply" in refused(tmp_path / "hosts.json")


@pytest.mark.parametrize("name", ["hosts.ini", "hosts.yml", "hosts.json", "hosts", "f.toml"])
def test_a_file_of_a_gigabyte_is_refused_unread(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(path) == "found more than 4 MiB, expected less"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@pytest.mark.parametrize("place", ["hosts/more.ini", "hosts/group_vars/all.yml", "hosts.ini"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, place: str) -> None:
    pipe = tmp_path / place
    pipe.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="found something else, expected a file"):
        load(tmp_path / place.partition("/")[0])


def test_a_folder_within_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert "found folders nested too deeply" in refused(tmp_path / "a")


def test_ten_thousand_hosts_are_a_fleet(tmp_path: Path) -> None:
    hosts = [f"h{number:04}" for number in range(1, 10_000)]
    variables = {host: {"hivekeys_fleet": "f", "ansible_user": "ann"} for host in ["q", *hosts]}
    answer = {"_meta": {"hostvars": variables}, "queen": {"hosts": ["q"]}, "hives": {"hosts": hosts}}
    (tmp_path / "hosts.json").write_text(json.dumps(answer))
    began = time.process_time()
    assert len(load(tmp_path / "hosts.json").hosts) == 10_000
    assert time.process_time() - began < 20.0


# -- anything at all

KEYS = st.sampled_from(
    ["all", "queen", "hives", "hosts", "children", "vars", "_meta", "hostvars", "h1", "ansible_port", "hivekeys_fleet"]
)
TABLES = st.recursive(
    st.sampled_from([None, 1, "h1", "x\x1b", [], ["h1"], ["h1", "q"], [1], True]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)  # each writes the same file anew
@given(document=st.dictionaries(KEYS, TABLES, max_size=4))
@example(document={"queen": {"hosts": ["q"]}, "hives": {"hosts": ["h1"]}, "_meta": {"hostvars": {"q": 1}}})
def test_whatever_an_answer_says_it_is_a_fleet_or_refused(tmp_path: Path, document: dict[str, object]) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps({"_meta": {"hostvars": {"q": {"hivekeys_fleet": "f"}}}, **document}))
    fleet_or_refusal(path)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=5
)  # each asks Ansible
@given(content=st.binary(max_size=200), name=st.sampled_from(["hosts.ini", "hosts.yml", "hosts.json", "hosts"]))
def test_any_bytes_are_a_fleet_or_refused_in_every_form(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    fleet_or_refusal(path)


def fleet_or_refusal(path: Path) -> None:
    try:
        fleet = load(path)
    except UserError as error:
        assert error.message
        assert all(line.isprintable() for line in error.message.splitlines())
    else:
        assert fleet.queen in fleet.hosts
