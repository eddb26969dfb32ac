"""What we are told of an Ansible inventory is what `ansible-inventory` tells whoever types it.

We ask it with an environment, settings and a choice of plugins of our own, and none of these changes what is meant.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hivekeys.inventory.ansible.beneath import beneath
from hivekeys.inventory.ansible.listing import Listing
from hivekeys.inventory.ansible.question import ask

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
        timeout=120,
        check=True,
    )
    assert "Unable to parse" not in done.stderr, done.stderr
    said = json.loads(done.stdout)

    def beneath(name: str) -> set[str]:
        group = said.get(name, {})
        return set(group.get("hosts", [])).union(*map(beneath, group.get("children", [])))

    return said["_meta"]["hostvars"], {name: beneath(name) for name in said if name != "_meta"}


def agree(path: Path, *ignored: str) -> None:
    listing = Listing(ask(beneath(path, frozenset(ignored))), str(path))
    assert listing.mistakes == []
    variables, groups = judged(path)
    assert {host: values for host, values in listing.hosts.items() if values} == variables
    assert {name: hosts for name in listing.groups if (hosts := set(listing.members(name)))} == {
        name: hosts for name, hosts in groups.items() if hosts
    }


def copied(form: str, folder: Path) -> Path:
    there = folder / form
    if (FORMS / form).is_dir():
        shutil.copytree(FORMS / form, there)
    else:
        shutil.copy(FORMS / form, there)
    if form == "program":
        there.chmod(0o700)
    return there


@pytest.mark.parametrize("form", ["hosts.ini", "hosts.json", "program", "folder", "mapped.ini"])
def test_ansible_says_the_same_of_our_own_inventories(tmp_path: Path, form: str) -> None:
    agree(copied(form, tmp_path))


@pytest.mark.parametrize("form", ["hosts.ini", "folder"])
def test_an_inventory_of_which_a_file_is_left_out_means_the_same_otherwise(tmp_path: Path, form: str) -> None:
    """The file is of no group of the inventory, so that Ansible does not read it either."""
    path = copied(form, tmp_path)
    folder = path if path.is_dir() else tmp_path
    for name in ("group_vars/hives/more.yml", "group_vars/nobody.yml", "host_vars/hive-a.yml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"said_in: {name}\n")
    agree(path, "group_vars/nobody.yml")


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
