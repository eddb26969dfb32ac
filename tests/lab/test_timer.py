"""The documented unit under a real systemd: the bastion is a host of the fleet, and all sudo wants a password."""

import re
import secrets
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hivekeys.lab import Lab, cgroup
from tests.builders.project import PROJECT

from .asking import log_of
from .rotating import truth

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the bastion has Debian 12's Python, and our libraries"),
]
BASTION = "hive5"
HOME = "/opt/hivekeys"
RULES = "/etc/sudoers.d/deploy"
PASSWORD = secrets.token_urlsafe(12)
ACCOUNT = f"""\
useradd --system --create-home --home-dir /home/hivekeys hivekeys
install -d -m 700 -o hivekeys -g hivekeys /home/hivekeys/.ssh
mkdir -p {HOME}/.venv/bin {HOME}/inventory /etc/hivekeys
ln -s /usr/bin/python3 {HOME}/.venv/bin/python3
printf 'home = /usr/bin\\ninclude-system-site-packages = false\\n' >{HOME}/.venv/pyvenv.cfg
"""
GONE = f"""\
userdel --remove hivekeys 2>/dev/null
rm -rf {HOME} /etc/hivekeys /var/lib/hivekeys-bastion /etc/systemd/system/hivekeys-*
systemctl daemon-reload
"""


def needed(lines: Iterable[str], found: dict[str, metadata.Distribution]) -> dict[str, metadata.Distribution]:
    """The libraries that these requirements name, and what those need."""
    for requirement in map(Requirement, lines):
        is_meant = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if is_meant and requirement.name not in found:
            found[requirement.name] = metadata.distribution(requirement.name)
            needed(found[requirement.name].requires or (), found)
    return found


def put_hivekeys(lab: Lab) -> None:
    """Tasks, engine and libraries, as they are here."""
    root = Path(f"/proc/{cgroup.first_process(lab.name, BASTION)}/root")
    there, packages = root / HOME[1:], root / HOME[1:] / ".venv/lib/python3.11/site-packages"
    shutil.copytree(PROJECT / "hivekeys", there / "hivekeys", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "fabfile.py", there)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for distribution in needed(project["dependencies"], {}).values():
        for file in distribution.files or ():
            if ".." not in file.parts and file.suffix not in (".pyc", ".pth"):
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(str(file.locate())), packages / file)


@pytest.fixture
def bastion(lab: Lab) -> Iterator[Lab]:
    """hive5 with an account for hivekeys, its key, an inventory, and the unit; nothing is left of it."""
    was = lab.read("queen", RULES)
    try:
        for name in lab.hosts:
            lab.run(name, ["chpasswd"], text=f"deploy:{PASSWORD}\n", check=True)
            lab.write(name, RULES, was.replace("NOPASSWD:", ""), mode=0o440)
        become_bastion(lab)
        yield lab
    finally:
        for name in lab.hosts:
            lab.sh(name, "usermod --password '*' deploy")
            lab.write(name, RULES, was, mode=0o440)
        lab.sh(BASTION, GONE)


def become_bastion(lab: Lab) -> None:
    """As the how-to says it, and the two lines of the unit that are comments there."""
    lab.sh(BASTION, ACCOUNT)
    put_hivekeys(lab)
    fab = re.sub("^#!.*", f"#!{HOME}/.venv/bin/python3", Path(sys.executable).with_name("fab").read_text())
    lab.write(BASTION, f"{HOME}/.venv/bin/fab", fab, mode=0o755)
    inventory = re.sub("(?m)^(key|known_hosts) = .*\n", "", (lab.folder / "inventory.toml").read_text())
    inventory = inventory.replace('"sudo"', '"sudo-password"') + '\n[rollout]\nstable_seconds = 0.3\nbatch = "100%"\n'
    lab.write(BASTION, f"{HOME}/inventory/lab.toml", inventory)
    for path, name in ((lab.key, "id_ed25519"), (lab.known_hosts, "known_hosts")):
        lab.write(BASTION, f"/home/hivekeys/.ssh/{name}", path.read_text(), mode=0o600, owner="hivekeys:hivekeys")
    lab.write(BASTION, "/etc/hivekeys/sudo", f"{PASSWORD}\n", mode=0o600)
    unit = (PROJECT / "docs/systemd/hivekeys-rotate@.service").read_text().replace("--if-older-than 90d ", "")
    unit = re.sub("^#(LoadCredential|Environment)=", r"\1=", unit, flags=re.MULTILINE)
    lab.write(BASTION, "/etc/systemd/system/hivekeys-rotate@.service", unit)


def test_a_unit_rotates_with_a_password_that_systemd_alone_can_read(bastion: Lab) -> None:
    old = truth(bastion)["queen"].token
    bastion.sh(BASTION, "systemctl daemon-reload; systemctl start hivekeys-rotate@lab || true", timeout=120)
    said = log_of(bastion, BASTION, "-u hivekeys-rotate@lab")
    assert "done, and proven, on every host (6 proven" in said
    assert {host.token != old for host in truth(bastion).values()} == {True}
    assert bastion.run(BASTION, ["runuser", "-u", "hivekeys", "cat", "/etc/hivekeys/sudo"]).returncode != 0
    assert PASSWORD not in log_of(bastion, BASTION) + log_of(bastion, "queen")
