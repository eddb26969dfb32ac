"""The desk of an operator who follows the pages: a clone of the project, a terminal, a lab of their own.

What a page cannot know (the fleet's name, its addresses, a file that is only called FILE) is put in for it by `meant`;
what has to be so before a command makes sense (a run that was cut off, a host that owes) is a context manager here.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hivekeys import lab as labs
from hivekeys.lab import Lab
from hivekeys.lab.model import LABS
from tests.builders.documents import printed
from tests.builders.project import PROJECT
from tests.builders.terminal import Terminal

from . import stores
from .asking import ACTIVE, ADMIN, HIVES, RULES

CLONED = ("Makefile", "fabfile.py", "docs", "hivekeys")
PASSWORD = "correct horse battery staple"
ANSWERS = {"[y/N]": "y", "Passphrase to seal the token with: ": PASSWORD, "The same again: ": PASSWORD}
QUICK = '\n[rollout]\nstable_seconds = 0.3\nbatch = "100%"\nrevocation_recheck = 0.2\n'
# A hive that is the queen of its fleet.
QUEEN = 'service = { unit = "rbee-hive.service", port = 8081, protected = "/v1/workers/list", health = "/v1/health" }\n'
# A host with the service's program and its unit, and nothing else.
BARE = """\
systemctl disable -q --now rbee-hive
rm -rf /etc/llama-orch/secrets /var/log/llama-orch /var/lib/hivekeys
sed -i '/^LoadCredential/d; /^Environment=LLORCH_/d' /etc/systemd/system/rbee-hive.service
systemctl daemon-reload
"""
NODE_EXPORTER = """\
useradd --system hivekeys
mkdir -p /var/lib/prometheus/node-exporter
"""


FRONTS = """
[services.queen]
accepts = "front"
port = 18080
front = { listen = "0.0.0.0:8080", start = "/usr/local/bin/queen-rbee --port 18080", firewall = true }
[services.hive]
accepts = "front"
port = 18081
front = { listen = "0.0.0.0:8081", start = "/usr/local/bin/rbee-hive daemon --addr 127.0.0.1:18081" }
"""


class Desk:
    """Types lines as they stand on a page. `here` is the folder that the terminal is in."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.clone = self.here = folder / "clone"
        home = folder / "home"
        for made in (self.clone / "inventory", home / ".ssh"):
            made.mkdir(parents=True)
        for part in CLONED:
            whole = PROJECT / part
            if whole.is_dir():
                shutil.copytree(whole, self.clone / part, ignore=shutil.ignore_patterns("_build", "__pycache__"))
            else:
                shutil.copy2(whole, self.clone / part)
        (self.clone / ".venv").symlink_to(PROJECT / ".venv")
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / ".ssh" / "id_ed25519")
        programs = folder / "programs"
        programs.mkdir()
        self.sent = folder / "sent"
        (programs / "mail").write_text(f'#!/bin/sh\necho "$@" >{self.sent}\ncat >>{self.sent}\n')
        (programs / "mail").chmod(0o755)
        self.env = {
            "PATH": f"{programs}:{self.clone}/.venv/bin:{os.environ['PATH']}",
            "HOME": str(home),
            "HIVEKEYS_STATE_DIR": str(folder / "state"),
            "LANG": "C.UTF-8",
        }

    # -- typing

    def type(self, line: str) -> tuple[int, str]:
        """Its exit code and what it showed; questions are answered."""
        place = self.clone / ".here"
        script = f"cd {self.here}; {self.meant(line)}\ncode=$?; pwd >{place}; exit $code"
        shell = ["zsh", "-c", f"autoload -U compinit && compinit -u -D; {script}"]
        if not line.endswith(".zsh"):
            shell = ["bash", "-c", f"export TERM=dumb; {script}"]  # plain lines; a live view costs a slow machine much
        with Terminal(shell, self.clone, self.env, rows=50) as terminal:
            if "cat >" in line:
                terminal.type(f"{PASSWORD}\n\x04")
            code = terminal.answering(ANSWERS, 300)
        self.here = Path(place.read_text().strip())
        return code, terminal.shown

    def type_on_a_host(self, lines: tuple[str, ...]) -> tuple[int, str]:
        """The same as root on a hive, in a folder that has the project's docs/systemd."""
        self.lab.sh("hive1", "mkdir -p docs/systemd")
        for unit in (PROJECT / "docs" / "systemd").iterdir():
            self.lab.write("hive1", f"docs/systemd/{unit.name}", unit.read_text())
        done = self.lab.run("hive1", ["bash", "-euc", "\n".join(map(self.meant, lines))], timeout=120)
        return done.returncode, done.stdout + done.stderr

    def meant(self, line: str) -> str:
        """The line with this operator's names in it."""
        for said, meant in self.names().items():
            line = re.sub(said, meant, line)
        return line

    def names(self) -> dict[str, str | Callable[[re.Match[str]], str]]:
        """What the pages leave to the reader, and what root need not type."""
        return {
            r"\bsudo (?!-n)": "",
            r"\bNAME\b": "production",
            r"--fleet lab\b": f"--fleet {self.name}",
            r"(fab lab\.\w+)": rf"\1 --name {self.name}",
            r"ssh deploy@10\.0\.0\.10": f"ssh -F {LABS / self.name / 'ssh_config'} deploy@queen",
            r"\bhive42\b": "hive1",
            r"/opt/hivekeys\b": str(self.clone),
            r"--fingerprints FILE": "--fingerprints fingerprints",
            r"\bFILE\b": lambda _: self.sealed(),
            r"\bKEY\b": "key.txt",
            r"age1…": lambda _: call("age-keygen", "-y", self.clone / "key.txt").strip(),
            r"\bID\b": lambda _: self.run_id(),
        }

    def sealed(self) -> str:
        """The first backup."""
        return str(min(Path(self.env["HIVEKEYS_STATE_DIR"]).glob("*/backups/*")))

    def run_id(self) -> str:
        """A run that turned the fleet."""
        runs = json.loads(self.fab(0, "history", "--json"))["runs"]
        return next(str(run["run"]) for run in runs if run["exit_code"] == 0)

    # -- the fleet

    @property
    def lab(self) -> Lab:
        found = labs.load(self.name)
        assert found, f"{self.name} is not up"
        return found

    @property
    def inventory(self) -> Path:
        return self.clone / "inventory" / "production.toml"

    def edited(self) -> None:
        """What the reader writes into the inventories: the lab's hosts, of which two are production; short windows."""
        text = (self.lab.folder / "inventory.toml").read_text()
        (self.clone / "inventory" / f"{self.name}.toml").write_text(text + QUICK)
        self.inventory.write_text(text[: text.index("\n[hosts.hive2]")] + QUICK)

    def fab(self, code: int, task: str, *words: str) -> str:
        """What `fab` prints; its exit code has to be this one."""
        argv = ["fab", task, "--fleet", "production", *words]
        done = subprocess.run(argv, cwd=self.clone, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        printed((task, *words), code, done.stdout)
        return done.stdout

    def on_all_hosts(self, script: str) -> None:
        for name in self.lab.hosts:
            self.lab.sh(name, script)

    # -- what has to be so before a command

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """A rotation was stopped with Ctrl-C between two waves."""
        argv = ["fab", "rotate", "--fleet", "production", "--yes", "--events", "--quiet", "--pause", "600"]
        with subprocess.Popen(argv, cwd=self.clone, env=self.env, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout
            events = map(json.loads, run.stdout)
            assert any((event["type"], event.get("phase")) == ("host-answered", "queen") for event in events)
            run.send_signal(signal.SIGINT)
            list(events)
        assert run.returncode == 130
        yield

    @contextmanager
    def owing(self) -> Iterator[None]:
        """The fleet was turned without one hive."""
        self.fab(4, "rotate", "--yes", "--limit", "queen")
        yield

    @contextmanager
    def turned(self) -> Iterator[None]:
        """The fleet has a newer token than the backup."""
        self.fab(0, "rotate", "--yes")
        yield

    @contextmanager
    def of_two_persons(self) -> Iterator[None]:
        """The fleet is turned by two persons, the second of whom has the key at hand; afterwards by anybody again."""
        if "[approval]" in self.inventory.read_text():  # for a command before
            yield
            return
        kind, body, _ = (Path(self.env["HOME"]) / ".ssh" / "id_ed25519.pub").read_text().split()
        rule = f'\n[approval]\nkeys = ["{kind} {body} bob@example"]\n'
        self.inventory.write_text(self.inventory.read_text() + rule)
        yield
        self.edited()

    @contextmanager
    def revoked(self) -> Iterator[None]:
        """Such a fleet's token leaked, and nobody has approved yet what was done."""
        with self.of_two_persons():
            self.fab(0, "revoke", "--yes", "--reason", "it was in a ticket")
            yield

    @contextmanager
    def approved(self) -> Iterator[None]:
        """Such a fleet was turned with an approved plan. The same plan turns it no second time."""
        with self.of_two_persons():
            plan = self.clone / "carried-out.json"
            self.fab(0, "plan", "--propose", str(plan))
            call(
                "ssh-keygen", "-Y", "sign", "-f", f"{self.env['HOME']}/.ssh/id_ed25519", "-n", "hivekeys-plan@v1", plan
            )
            self.fab(0, "rotate", "--yes", "--approved", str(plan))
            self.fab(2, "rotate", "--yes", "--approved", str(plan))
            yield

    @contextmanager
    def stranger(self) -> Iterator[None]:
        """One host's keys are in no known_hosts; all hosts' fingerprints are in a file."""
        known = self.lab.known_hosts
        address = self.lab.hosts["hive1"].address
        known.write_text("".join(line for line in known.read_text().splitlines(True) if not line.startswith(address)))
        call("ssh-keygen", "-q", "-R", address, "-f", known)
        shown = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
        (self.clone / "fingerprints").write_text("".join(self.lab.sh(name, shown) for name in self.lab.hosts))
        yield

    @contextmanager
    def administrated(self) -> Iterator[None]:
        """Every host has an account `admin` whose sudo allows everything; afterwards no host is restricted."""
        self.on_all_hosts(ADMIN)
        yield
        self.fab(0, "uninstall", "--restricted", "--login", "admin", "--yes")

    @contextmanager
    def asking_for_a_password(self) -> Iterator[None]:
        """sudo wants deploy's password on every host, and the inventory says so."""
        rule = f"{RULES}/deploy"
        for name in self.lab.hosts:
            self.lab.run(name, ["chpasswd"], text=f"deploy:{PASSWORD}\n", check=True)
        self.on_all_hosts(f"sed -i 's/NOPASSWD: *//' {rule}")
        self.inventory.write_text(self.inventory.read_text().replace('become = "sudo"', 'become = "sudo-password"'))
        yield
        self.on_all_hosts(f"sed -i 's/) /) NOPASSWD: /' {rule}; usermod --password '*' deploy")
        self.edited()

    @contextmanager
    def fronted(self) -> Iterator[None]:
        """The inventory has a front for each service; afterwards no host has one."""
        if "front" in self.inventory.read_text():  # for the command before
            yield
            return
        self.inventory.write_text(self.inventory.read_text() + FRONTS)
        yield
        self.fab(0, "uninstall", "--front", "--yes")
        self.edited()

    @contextmanager
    def bare(self) -> Iterator[None]:
        """A host has nothing but the service's program and unit."""
        self.lab.sh("hive1", BARE)
        yield

    @contextmanager
    def ansible(self) -> Iterator[None]:
        """The hosts stand in an Ansible inventory, and in no other."""
        hosts = {name: {"ansible_host": self.lab.hosts[name].address} for name in ("queen", "hive1")}
        groups = {"queen": {"hosts": {"queen": hosts.pop("queen")}}, "hives": {"hosts": hosts}}
        document = {"all": {"vars": {"hivekeys_fleet": "production"}, "children": groups}}
        (self.clone / "hosts.yml").write_text(json.dumps(document))
        self.inventory.unlink()
        yield
        self.edited()

    @contextmanager
    def staging(self) -> Iterator[None]:
        """The other two hives, which know of no fleet, are one of their own: the first is its queen."""
        for name in HIVES[1:]:
            self.lab.sh(name, "rm /var/lib/hivekeys/fleet")
        head, *hosts = (self.lab.folder / "inventory.toml").read_text().split("\n[hosts.")
        queen, hive = (f"\n[hosts.{host}" for host in hosts[2:])
        text = head.replace(self.name, "staging", 1) + queen.replace('"hive"', '"queen"') + QUEEN + hive + QUICK
        (self.clone / "inventory" / "staging.toml").write_text(text)
        yield
        for name in HIVES[1:]:
            self.lab.sh(name, "rm /var/lib/hivekeys/fleet")

    @contextmanager
    def changed_by_hand(self) -> Iterator[None]:
        """A hive has its previous token as a backup."""
        self.lab.sh("hive1", "cd /etc/llama-orch/secrets; cp -p api-token api-token.backup")
        yield

    @contextmanager
    def stores(self) -> Iterator[None]:
        """pass, sops and OpenBao are set up; afterwards pass has the fleet's token, and nothing goes on of them."""
        if "BAO_ADDR" in self.env:  # for the command before
            yield
            return
        was = dict(self.env)
        with stores.at_work(self.env, self.clone / "key.txt"):
            yield
            stored = stores.call(self.env, "pass", "show", "llama/token")
            assert stored.strip() == self.lab.read("queen", ACTIVE).strip()
        self.env = was

    @contextmanager
    def node_exporter(self) -> Iterator[None]:
        """What the package makes, and the account that the timers run as."""
        self.lab.sh("hive1", NODE_EXPORTER)
        yield


def call(*argv: str | Path) -> str:
    """What a program prints that has to succeed."""
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
