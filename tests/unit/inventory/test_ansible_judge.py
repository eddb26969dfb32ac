"""What an Ansible inventory says is what the real `ansible-inventory` says it says: hosts, groups, every variable.

It takes half a second a call, so each of the inventories that hypothesis makes up is a large one.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hivekeys.inventory.ansible.documents import Encrypted
from hivekeys.inventory.ansible.groups import PRIORITY, Inventory
from hivekeys.inventory.ansible.sources import read_all

JUDGE = Path(sys.executable).with_name("ansible-inventory")
FORMS = Path(__file__).with_name("inventories")


def judged(path: Path) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """Ansible's own answer: every host's variables, and who is in each group or beneath it."""
    done = subprocess.run(
        [JUDGE, "-i", path, "--list"],
        env={"PATH": os.environ["PATH"], "HOME": str(path.parent), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Unable to parse" not in done.stderr, done.stderr
    said = json.loads(done.stdout)

    def beneath(name: str) -> set[str]:
        group = said.get(name, {})
        return set(group.get("hosts", [])).union(*map(beneath, group.get("children", [])))

    groups = {name: beneath(name) for name in said if name not in ("_meta", "all")}
    return said["_meta"]["hostvars"], {name: hosts for name, hosts in groups.items() if hosts}


def ours(path: Path) -> tuple[dict[str, Any], dict[str, set[str]]]:
    inventory, mistakes = read_all(path, frozenset())
    assert mistakes == []
    groups = {name: set(inventory.members(name)) for name in inventory.groups if name != "all"}
    return hostvars(inventory), {name: hosts for name, hosts in groups.items() if hosts}


def hostvars(inventory: Inventory) -> dict[str, Any]:
    found = {host: inventory.variables(host) for host in inventory.hosts}
    return {
        host: {name: variable.value for name, variable in variables.items()}
        for host, variables in found.items()
        if variables
    }


def agree(path: Path) -> None:
    his_variables, his_groups = judged(path)
    our_variables, our_groups = ours(path)
    for variables in (his_variables, our_variables):
        for host in variables.values():
            for name, value in list(host.items()):
                if isinstance(value, Encrypted) or (isinstance(value, Mapping) and "__ansible_vault" in value):
                    host[name] = "encrypted"
    assert our_variables == his_variables
    assert our_groups == his_groups


@pytest.mark.parametrize("form", ["hosts.ini", "hosts.yml", "hosts.json", "program", "folder", "mapped.ini"])
def test_ansible_says_the_same_of_our_own_inventories(tmp_path: Path, form: str) -> None:
    there = tmp_path / form
    if (FORMS / form).is_dir():
        shutil.copytree(FORMS / form, there)
    else:
        shutil.copy(FORMS / form, there)
    if form == "program":
        there.chmod(0o700)
    agree(there)


NAMES = st.sampled_from(["a", "b", "c", "d", "ansible_port", "ansible_user", "hivekeys_unit"])
# Texts as they stand in an INI file: literals of every kind, and what only looks like one.
TEXTS = st.sampled_from(
    [
        *("22", "0600", "0o17", "1_000", "1e3", "0x1F", "-3", "1+2j", "nan", "007", "1.2.3", "2027-01-31", "10.0.0.1"),
        *(
            "True",
            "False",
            "None",
            "true",
            "yes",
            "...",
            "~",
            "é",
            "'q'",
            "u'q'",
            "[1,2]",
            "(1,2)",
            "{1,1}",
            "[]",
            "{}",
        ),
        *(
            "{'k':[1]}",
            "{'x':1}",
            "a=b",
            "a,b",
            "[1",
            "[a]",
            "-o=x",
            "/etc/x",
            "x#y",
            "a\\nb",
            "\\d",
            "a b",
            "x ;y",
            "8 # n",
        ),
    ]
)
VALUES = st.recursive(
    st.one_of(st.integers(-9, 99), st.booleans(), st.sampled_from(["", "x", "yes", "0600", "a b", "é", "1e3", "null"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=3,
)


@st.composite
def pictures(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Ten groups, some beneath others, thirty hosts in some of them, variables everywhere."""
    groups = [f"g{number}" for number in draw(st.permutations(range(10)))]
    tables = st.dictionaries(NAMES, values, max_size=3)
    hosts = {f"h{number}": draw(st.lists(st.sampled_from(groups), max_size=3, unique=True)) for number in range(30)}
    return {
        "children": {
            name: draw(st.lists(st.sampled_from(groups[at + 1 :]), max_size=3, unique=True)) if groups[at + 1 :] else []
            for at, name in enumerate(groups)
        },
        "vars": {name: draw(tables) for name in [*groups, "all", "ungrouped"]},
        "priority": {name: draw(st.sampled_from([1, 1, 1, 5, 10])) for name in groups},
        "hosts": hosts,
        "own": {name: draw(tables) for name in hosts},
        "beside": {
            (kind, name): draw(st.dictionaries(NAMES, VALUES, max_size=2))
            for kind, names in (("group_vars", [*groups, "all"]), ("host_vars", list(hosts)))
            for name in draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
        },
    }


def beside(folder: Path, picture: Mapping[str, Any]) -> None:
    for (kind, name), table in picture["beside"].items():
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / f"{name}.yml").write_text(yaml.safe_dump(table))


def written_ini(picture: Mapping[str, Any]) -> str:
    lines = []
    for host, groups in picture["hosts"].items():
        pairs = " ".join(shlex.quote(f"{name}={text}") for name, text in picture["own"][host].items())
        lines += [f"[{group}]\n{host} {pairs}" for group in groups] or [f"[ungrouped]\n{host} {pairs}"]
    for group, children in picture["children"].items():
        lines += [f"[{group}]", f"[{group}:children]", *children]
    for group, table in picture["vars"].items():
        lines += [f"[{group}:vars]", *(f"{name} = {text}" for name, text in table.items())]
    lines += [f"[{group}:vars]\n{PRIORITY}={number}" for group, number in picture["priority"].items()]
    return "\n".join(lines) + "\n"


def tables_of(picture: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {
        group: {
            "vars": {**picture["vars"][group], PRIORITY: picture["priority"][group]},
            "children": dict.fromkeys(children),
            "hosts": {host: picture["own"][host] for host, groups in picture["hosts"].items() if group in groups},
        }
        for group, children in picture["children"].items()
    }
    loose = {host: picture["own"][host] for host, groups in picture["hosts"].items() if not groups}
    return {
        **tables,
        "all": {"vars": picture["vars"]["all"]},
        "ungrouped": {"hosts": loose, "vars": picture["vars"]["ungrouped"]},
    }


def listed(picture: Mapping[str, Any]) -> dict[str, Any]:
    groups = {
        name: {**table, "hosts": list(table.get("hosts", {})), "children": list(table.get("children", {}))}
        for name, table in tables_of(picture).items()
    }
    return {**groups, "_meta": {"hostvars": picture["own"]}}


FEW = settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink would take minutes
    suppress_health_check=list(HealthCheck),
)


@FEW
@given(picture=pictures(TEXTS))
def test_ansible_says_the_same_of_any_ini_inventory(
    tmp_path_factory: pytest.TempPathFactory, picture: Mapping[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("ini")
    (folder / "hosts.ini").write_text(written_ini(picture))
    beside(folder, picture)
    agree(folder / "hosts.ini")


@FEW
@given(picture=pictures(VALUES), form=st.sampled_from(["hosts.yml", "hosts.json", "program"]))
def test_ansible_says_the_same_of_any_inventory_of_tables(
    tmp_path_factory: pytest.TempPathFactory, picture: Mapping[str, Any], form: str
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    file = folder / form
    if form == "program":
        file.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(listed(picture))}\nEND\n")
        file.chmod(0o700)
    else:
        file.write_text(yaml.safe_dump(tables_of(picture)) if form == "hosts.yml" else json.dumps(tables_of(picture)))
    beside(folder, picture)
    agree(file)


PATTERNS = [
    *("h[1:3]", "h[01:10:3]", "h[a:c]", "h[a:f:2]x", "h[x:C]", "a[1:2]b[3:4]", "h[:2]", "h[08:12].example", "x[0:0]"),
    *("n:2222", "m[1:2]:22", "[k]:24", "10.0.0.[1:3]", "10.0.0.1:99", "[fe80::1]:22", "fe80::2", "h-x_y", "p[9:11]q"),
]


@pytest.mark.parametrize("form", ["ini", "yml"])
def test_ansible_expands_host_patterns_to_the_same_names(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"hosts.{form}"
    rows = {f"p{number}": {"hosts": {pattern: None}} for number, pattern in enumerate(PATTERNS)}
    ini = "".join(f"[{group}]\n{''.join(table['hosts'])}\n" for group, table in rows.items())
    file.write_text(ini if form == "ini" else yaml.safe_dump(rows))
    agree(file)
