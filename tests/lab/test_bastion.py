"""A bastion without a network, and one without a checkout: what `make dist` makes is installed, and turns a fleet."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab, cgroup
from tests.builders.project import PROJECT

from .rotating import truth

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the package is for this Python, the bastion has 3.11"),
]
BASTION = "hive5"
OPERATOR = "ann"
PATIENCE = 600  # seconds


def make(*words: str, cwd: Path, offline: bool = False) -> None:
    """A target of the Makefile; `offline` in a network namespace of its own, which has not even a loopback."""
    alone = ["unshare", "--net"] if offline else []
    done = subprocess.run([*alone, *words], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files as a clone has them: no environment yet."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "-z", "hivekeys", "requirements", "Makefile", "fabfile.py", "pyproject.toml", "*.md"]
    done = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    for name in [*done.stdout.split("\0")[:-1], "inventory/example.toml", "LICENSE"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheels(checkout: Path) -> Path:
    """What `make wheels` fetches, and no environment beside it."""
    make("make", "wheels", "DIR=wheels", f"PYTHON={sys.executable}", cwd=checkout)
    shutil.rmtree(checkout / ".venv")
    return checkout / "wheels"


def test_a_bastion_without_a_network_installs_from_a_folder_of_wheels(checkout: Path, wheels: Path) -> None:
    make("make", "install-offline", f"DIR={wheels}", f"PYTHON={sys.executable}", cwd=checkout, offline=True)
    for program in ("hivekeys", "fab"):
        done = subprocess.run(
            [checkout / ".venv" / "bin" / program, "inventory.check", "--fleet", "example", "--json"],
            cwd=checkout,
            env={"PATH": os.environ["PATH"], "HOME": str(checkout)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["fleet"]


@pytest.fixture(scope="module")
def dist(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` makes, its libraries from that folder."""
    folder = tmp_path_factory.mktemp("dist") / "dist"
    make("env", f"WHEELS={wheels}", f"DIST={folder}", "bin/dist", cwd=PROJECT, offline=True)
    return folder


def test_the_same_commit_gives_the_same_bytes_for_whoever_builds_it(dist: Path, wheels: Path, tmp_path: Path) -> None:
    """In another folder, at another time, in another zone and language, and with a umask that lets nobody read."""
    elsewhere = ["TZ=Asia/Tokyo", "LC_ALL=C", f"TMPDIR={tmp_path}", f"WHEELS={wheels}", f"DIST={tmp_path / 'again'}"]
    make("env", *elsewhere, "bash", "-c", "umask 077; exec bin/dist", cwd=PROJECT, offline=True)
    made, again = (Path(folder / "SHA256SUMS").read_text() for folder in (dist, tmp_path / "again"))
    assert made == again
    assert {line.split()[1].rpartition(".")[2] for line in made.splitlines()} == {"deb", "gz", "json", "whl"}


def test_the_bill_of_materials_names_what_the_lock_has(dist: Path) -> None:
    (bill,) = dist.glob("hivekeys-*.cdx.json")
    document = json.loads(bill.read_text())
    lock = (PROJECT / "requirements" / "runtime.lock").read_text()
    assert document["bomFormat"] == "CycloneDX" and document["metadata"]["component"]["name"] == "hivekeys"
    named = {f"{part['name']}=={part['version']}".lower().replace("_", "-") for part in document["components"]}
    everywhere, locked = (
        {name.lower().replace("_", "-") for name in re.findall(rf"^([\w.-]+==[\w.]+){marker} \\", lock, re.MULTILINE)}
        for marker in ("", "(?: ;.*)?")
    )
    assert everywhere and everywhere <= named <= locked


@pytest.fixture
def bastion(lab: Lab, dist: Path) -> Iterator[Lab]:
    """A host of the lab with the Debian package, and an account that may log in to the others."""
    root = Path(f"/proc/{cgroup.first_process(lab.name, BASTION)}/root")
    (package,) = dist.glob("*.deb")
    shutil.copy(package, root / "root" / "hivekeys.deb")
    try:
        lab.sh(BASTION, "dpkg --install /root/hivekeys.deb", timeout=PATIENCE)
        lab.sh(BASTION, f"useradd --create-home {OPERATOR}; install -d -m 700 -o {OPERATOR} /home/{OPERATOR}/.ssh")
        inventory = re.sub("(?m)^(key|known_hosts) = .*\n", "", (lab.folder / "inventory.toml").read_text())
        lab.write(BASTION, "/etc/hivekeys/lab.toml", f'{inventory}\n[rollout]\nstable_seconds = 0.3\nbatch = "100%"\n')
        for path, name in ((lab.key, "id_ed25519"), (lab.known_hosts, "known_hosts")):
            file = f"/home/{OPERATOR}/.ssh/{name}"
            lab.write(BASTION, file, path.read_text(), mode=0o600, owner=f"{OPERATOR}:{OPERATOR}")
        yield lab
    finally:
        lab.run(BASTION, ["dpkg", "--purge", "hivekeys"])
        lab.run(BASTION, ["userdel", "--remove", OPERATOR])
        lab.run(BASTION, ["rm", "-rf", "/root/hivekeys.deb", "/etc/hivekeys"])


def typed(lab: Lab, line: str) -> tuple[int, str, str]:
    """A line as the operator types it in her home folder: exit code, standard output, standard error."""
    done = lab.run(BASTION, ["runuser", "--login", OPERATOR, "--command", line], timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


def test_a_host_with_the_debian_package_turns_its_fleet(bastion: Lab) -> None:
    old = truth(bastion)["queen"].token
    code, out, err = typed(bastion, "hivekeys plan")
    assert code == 0 and "fab " not in out + err, out + err
    code, out, err = typed(bastion, "hivekeys rotate --yes")
    assert code == 0 and "done, and proven, on every host (6 proven" in out, out + err
    assert {host.token != old for host in truth(bastion).values()} == {True}
    code, out, err = typed(bastion, "hivekeys report --format html --output report.html; hivekeys history")
    assert code == 0 and "done" in out, out + err


def test_it_is_removed_without_a_trace_but_for_what_the_operator_made(bastion: Lab) -> None:
    typed(bastion, "hivekeys status")
    bastion.sh(BASTION, "dpkg --purge hivekeys")
    left = bastion.sh(BASTION, "ls -d /usr/lib/hivekeys /usr/bin/hivekeys /etc/hivekeys/lab.toml 2>/dev/null || true")
    assert left.split() == ["/etc/hivekeys/lab.toml"]
