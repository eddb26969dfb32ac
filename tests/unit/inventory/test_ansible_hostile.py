"""Inventories that mean harm, or only look like it: refused in one line, in bounded time and memory, nothing run."""

import contextlib
import json
import os
import resource
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hivekeys.errors import ExitCode, UserError
from hivekeys.inventory import load
from hivekeys.inventory.ansible.program import MOST_OUTPUT, answer

HEAD = "[queen]\nq\n[all:vars]\nhivekeys_fleet=f\n[hives]\n"


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    assert caught.value.code is ExitCode.USAGE
    (line,) = caught.value.message.splitlines()
    assert line.isprintable()
    return line.removeprefix(f"{path}: ")


def laughs(levels: int) -> str:
    """A billion laughs: each line stands for nine times the one above."""
    rows = ["a0: &a0 {hosts: {h: }}"]
    rows += [
        f"a{n}: &a{n} {{children: {{{', '.join(f'b{n}{i}: *a{n - 1}' for i in range(9))}}}}}" for n in range(1, levels)
    ]
    return "\n".join(rows) + "\n"


TEXTS: dict[str, tuple[str | bytes, str]] = {
    "billion-laughs.yml": (laughs(12), "values, aliases written out, expected less"),
    "itself.yml": ("a: &a\n  children: *a\n", "line 1: found an alias within what it stands for"),
    "merged-into-itself.yml": ("a: &a\n  <<: *a\n", "found an alias within what it stands for"),
    "deep.yml": ("[" * 100_000, "this is not YAML"),
    "deep-blocks.yml": ("- " * 20_000, "nest"),
    "deep.json": ("[" * 100_000, "found values nested too deeply"),
    "digits.json": ('{"a": ' + "9" * 10_000 + "}", "Exceeds the limit"),
    "two-documents.yml": ("a:\n---\nb:\n", "but found another document"),
    "control.yml": ("a\x1b: 1\n", "this is not YAML: unacceptable character #x001b"),
    "object.yml": ("a: !!python/object/apply:os.system ['touch pwned']\n", "could not determine a constructor"),
    "literal.ini": (f"{HEAD}h ansible_port={'(' * 3_000}\n", "ansible_port: found"),
    "names.ini": (f"{HEAD}h\x1b[2J\x07\n", 'line 6: found "h\\u001b[2J\\u0007", expected a range'),
    "name.ini": (f"{HEAD}'-oProxyCommand=sh'\n", 'line 6: "-oProxyCommand=sh": found'),
    "path.ini": (f"{HEAD}../../etc/passwd\n", 'line 6: "../../etc/passwd": found'),
    "section.ini": ("[a\x1b[2J]\n[hives\x1b]\n", "found no group"),
    "vault.ini": ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", "found a file that ansible-vault encrypted"),
    "key": ("-----BEGIN OPENSSH PRIVATE KEY-----\n5ec2e7\n", "line 1: found a word without ="),
    "empty.yml": ("", "found no table, expected groups"),
    "many.ini": (
        f"{HEAD}{'h[1:9999] a=1 b=2 c=3 d=4' + chr(10)}" * 5_000,
        "found more than 500000 hosts and variables",
    ),
    "variables.ini": (
        f"{HEAD}h[1:9999] {' '.join(f'v{n}=1' for n in range(9_999))}",
        "found more than 500000 hosts and",
    ),
    "many.yml": (
        "".join(f"g{n}: {{hosts: {{'h[1:9999]': }}}}\n" for n in range(100)),
        "found more than 500000 hosts and",
    ),
    "nested.yml": ("".join(f"{'  ' * n}{'children' if n % 2 else f'g{n}'}:\n" for n in range(1_600)), "nest"),
    "nested.json": ("".join(f'{{"g{n}": {{"children": ' for n in range(495)) + "{}" + "}}" * 495, "nested too deeply"),
    "value.json": (
        '{"hives": {"vars": {"hivekeys_fleet": "f"}, "hosts": {"h": {}}},'
        '"queen": {"hosts": {"q": {"hivekeys_fleet": "f", "ansible_host": ' + "[" * 600 + "]" * 600 + "}}}}",
        "queen.hosts.q.ansible_host: found a list, expected a host name",
    ),
    "null.json": ("null", "found no table, expected groups"),
    "latin.ini": (HEAD.encode() + b"h\xe9\n", "found a byte that is not UTF-8"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_inventory_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, said = TEXTS[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    lines = refused(path) if name != "section.ini" else "\n".join(section_lines(path))
    assert said in lines
    assert time.process_time() - began < 10.0
    assert not (tmp_path / "pwned").exists()


def section_lines(path: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(path)
    lines = caught.value.message.splitlines()
    assert all(line.isprintable() for line in lines)
    return lines


def test_aliases_that_stand_for_little_are_fine(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(
        "x: &x {hosts: {h: {ansible_user: a}}}\nhives: *x\nqueen: {hosts: {q: }, vars: {hivekeys_fleet: f}}\n"
    )
    assert [host.name for host in load(tmp_path / "hosts.yml").hosts] == ["q", "h"]


@pytest.mark.parametrize("name", ["hosts.ini", "hosts.yml", "hosts.json", "hosts", "f.toml"])
def test_a_file_of_a_gigabyte_is_refused_unread(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(path) == "found more than 4 MiB, expected less"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hosts.ini")
    assert refused(tmp_path / "hosts.ini") == "found something else, expected a file"


def test_ten_thousand_hosts_take_seconds(tmp_path: Path) -> None:
    began = time.process_time()
    (tmp_path / "hosts.ini").write_text(f"{HEAD}h[0001:9999]\n")
    assert len(load(tmp_path / "hosts.ini").hosts) == 10_000
    assert time.process_time() - began < 20.0


# -- programs


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    def write(body: str, mode: int = 0o700) -> Path:
        path = tmp_path / "inventory"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(mode)
        return path

    return write


BAD = [
    ("exit 3", "found a program that ended with status 3"),
    ("echo 'no \033[2J cloud' >&2; exit 1", "found a program that ended with status 1: no \\x1b[2J cloud"),
    ("kill -9 $$", "found a program that ended with signal 9"),
    ("true", "line 1: this is not JSON: Expecting value"),
    ("echo rubbish", "line 1: this is not JSON: Expecting value"),
    ("head -c 100 /dev/urandom | tr -d '\\200-\\377'; echo", "this is not JSON"),
    ("printf '\\377'", "codec can't decode byte"),
    ("echo '[]'", "found a list, expected a table of groups"),
    ("echo '{}'", "_meta.hostvars: missing, expected a table of every host's variables"),
    ('echo \'{"_meta": {"hostvars": {}}, "a": {"hosts": [1]}}\'', "a.hosts: found a list, expected a list of names"),
    ('echo \'{"_meta": {"hostvars": {}}, "a": 1}\'', "a: found a single value, expected a table with hosts"),
    ('echo \'{"_meta": {"hostvars": {}}, "a": {}, "a": {}}\'', 'found the key "a" twice in one table'),
    ("cat /dev/zero", f"found a program that says more than {MOST_OUTPUT >> 20} MiB, expected less"),
    ("cat /dev/zero >&2", f"found a program that says more than {MOST_OUTPUT >> 20} MiB, expected less"),
]


@pytest.mark.parametrize(("body", "said"), BAD, ids=[said for _, said in BAD])
def test_a_program_that_answers_rubbish_is_refused(program: Callable[[str], Path], body: str, said: str) -> None:
    assert said in refused(program(body))


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, program: Callable[[str], Path]) -> None:
    path = program(f"sleep 1000 & echo $! >{tmp_path}/started; wait")
    with pytest.raises(ValueError, match=r"did not end within 2 s of --list"):
        answer(path, limit=2.0)
    started = int((tmp_path / "started").read_text())
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(started)) as process:
        ended, _, _ = select.select([process], [], [], 10)
        assert ended


def test_a_program_that_leaves_its_output_open_is_not_waited_for_for_ever(program: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="did not end within"):
        answer(program("sleep 1000 & exit 0"), limit=0.5)


def test_a_program_gets_no_shell_no_terminal_and_one_word(tmp_path: Path, program: Callable[[str], Path]) -> None:
    path = program('printf "%s\\n" "$#" "$1"; cat')
    path = path.rename(tmp_path / "a; touch pwned")
    assert answer(path) == b"1\n--list\n"
    assert not (tmp_path / "pwned").exists()


def test_a_program_that_others_can_put_another_in_the_place_of_is_not_run(
    tmp_path: Path, program: Callable[[str], Path]
) -> None:
    path = program(f"touch {tmp_path}/pwned")
    tmp_path.chmod(0o707)
    assert f"others can change it: everybody can write to {tmp_path} (mode" in refused(path)
    assert not (tmp_path / "pwned").exists()


def test_groups_may_be_many_and_stand_in_a_long_row(tmp_path: Path) -> None:
    began = time.process_time()
    rows = "".join(f"[g{n}]\nh{n}\n[g{n}:children]\ng{n + 1}\n" for n in range(20_000))
    path = tmp_path / "hosts.ini"
    path.write_text(f"{HEAD}h\n[hives:children]\ng19990\n{rows}[g20000]\n[g19990:vars]\nansible_port=7\n")
    assert {host.port for host in load(path).hives} == {None, 7}
    assert time.process_time() - began < 20.0


@pytest.mark.parametrize("mode", [0o722, 0o702, 0o777])
def test_a_program_that_others_can_change_is_not_run(tmp_path: Path, program: Callable[[str], Path], mode: int) -> None:
    path = program(f"touch {tmp_path}/pwned")
    path.chmod(mode)
    assert "others can change it: everybody can write to" in refused(path)
    assert not (tmp_path / "pwned").exists()


def test_a_program_in_a_folder_is_not_run(tmp_path: Path, program: Callable[[str], Path]) -> None:
    path = program(f"touch {tmp_path}/pwned")
    with pytest.raises(UserError) as caught:
        load(path.parent)
    assert "found a program in a folder, expected it to be named itself" in caught.value.message
    assert not (tmp_path / "pwned").exists()


def test_data_with_an_execute_bit_is_still_data(tmp_path: Path) -> None:
    """File systems that know no such bit show it on every file."""
    path = tmp_path / "hosts.ini"
    path.write_text(f"{HEAD}h\n")
    path.chmod(0o700)
    assert stat.S_IMODE(path.stat().st_mode) & 0o100
    assert len(load(path).hosts) == 2


# -- anything at all

WORDS = [
    "[queen]",
    "[hives]",
    "[hives:vars]",
    "[a:children]",
    "q",
    "h[1:3]",
    "h1",
    "ansible_port=22",
    "x={",
    "#",
    "\x00",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)  # each writes the same file anew
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join), max_size=12).map("\n".join))
def test_whatever_an_ini_inventory_says_it_is_a_fleet_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("[all:vars]\nhivekeys_fleet=f\n[ungrouped]\n" + text)
    fleet_or_refusal(path)


KEYS = st.sampled_from(
    ["all", "queen", "hives", "hosts", "children", "vars", "_meta", "hostvars", "h[1:2]", "ansible_port"]
)
TABLES = st.recursive(
    st.sampled_from([None, 1, "h1", "x", [], ["h1"], [1], True]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(document=TABLES, name=st.sampled_from(["hosts.yml", "hosts.json"]))
@example(document={"_meta": 1}, name="hosts.json")
@example(document={"_meta": {"hostvars": {"h1": 1}}, "all": {"hosts": ["h1"]}}, name="hosts.json")
def test_whatever_a_table_says_it_is_a_fleet_or_refused(tmp_path: Path, document: object, name: str) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(document))
    fleet_or_refusal(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
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
