"""The tools: what each is, where its pinned environment comes from, and the commands that do the job with it."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.given import Given

HERE = Path(__file__).resolve().parent
ENVS = HERE / ".envs"
TOOLS = HERE / "tools"
FAB = str(Path(sys.executable).with_name("fab"))


@dataclass(frozen=True)
class Contender:
    """A tool. `commands` are run one after the other and make up one run."""

    name: str
    commands: Callable[[Given], list[list[str]]]
    env: str = ""  # the requirements file that pins it; none: what the machine or the project has
    variables: Callable[[Given], dict[str, str]] = field(default=lambda _: {})
    makes_token: bool = False  # it brings its own token and takes none

    def prepare(self) -> None:
        """Its environment, made anew when what is pinned has changed."""
        if not self.env:
            return
        wanted = HERE / "requirements" / f"{self.env}.txt"
        place = ENVS / self.env
        mark = place / "installed.txt"
        if mark.exists() and mark.read_text() == wanted.read_text():
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        pip = [str(place / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(wanted)], check=True)
        mark.write_text(wanted.read_text())


def _script(env: str, name: str) -> Callable[[Given], list[list[str]]]:
    return lambda g: [[_bin(env, "python"), str(TOOLS / name), g.path("fleet.json"), g.path("token")]]


def _bin(env: str, program: str) -> str:
    return str(ENVS / env / "bin" / program)


def _shell(name: str, *files: str) -> Callable[[Given], list[list[str]]]:
    return lambda g: [[str(TOOLS / name), *(g.path(file) for file in files)]]


def _ansible(g: Given) -> list[list[str]]:
    extra = f"token_file={g.path('token')}"
    return [
        [_bin("ansible", "ansible-playbook"), "-i", g.path("ansible.ini"), "-e", extra, str(TOOLS / "playbook.yml")]
    ]


def _pyinfra(g: Given) -> list[list[str]]:
    deploy = str(TOOLS / "pyinfra_deploy.py")
    inventories = [g.path(f"pyinfra_{group}.py") for group in ("queen", "hives")]
    return [[_bin("pyinfra", "pyinfra"), "-y", inventory, deploy] for inventory in inventories]


def _clush(g: Given) -> list[list[str]]:
    files = [g.path(name) for name in ("ssh_config", "hosts", "turn.sh")]
    return [[str(TOOLS / "clush.sh"), _bin("clustershell", "clush"), *files]]


def _fab(verb: str, inventory: str, *options: str) -> Callable[[Given], list[list[str]]]:
    def commands(g: Given) -> list[list[str]]:
        token = ["--token-file", g.path("token")] if verb == "rotate" else []
        where = ["--fleet", g.path(inventory), "--state-dir", g.path("state")]
        return [[FAB, verb, *where, "--yes", *token, *options]]

    return commands


CONTENDERS = (
    Contender("hivekeys, like with like", _fab("rotate", "like.toml")),
    Contender("hivekeys, its defaults", _fab("rotate", "defaults.toml")),
    Contender("hivekeys, revoke", _fab("revoke", "defaults.toml", "--reason", "a benchmark"), makes_token=True),
    Contender("paramiko, by hand", _script("paramiko", "paramiko_tuned.py"), "paramiko"),
    Contender("asyncssh, by hand", _script("asyncssh", "asyncssh_tuned.py"), "asyncssh"),
    Contender("parallel-ssh", _script("parallel-ssh", "parallel_ssh.py"), "parallel-ssh"),
    Contender("OpenSSH and xargs", _shell("xargs.sh", "ssh_config", "hosts", "turn.sh")),
    Contender("clush", _clush, "clustershell"),
    Contender("Fabric, the obvious way", _script("fabric", "fabric_obvious.py"), "fabric"),
    Contender(
        "pyinfra", _pyinfra, "pyinfra", lambda g: {"BENCH_TOKEN_FILE": g.path("token"), "PYTHONDONTWRITEBYTECODE": "1"}
    ),
    Contender(
        "Ansible",
        _ansible,
        "ansible",
        lambda g: {
            "ANSIBLE_CONFIG": str(TOOLS / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": g.path("ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": g.path("cp"),
            "PATH": f"{ENVS / 'ansible/bin'}:{os.environ['PATH']}",
        },
    ),
    Contender("the guide's loop", _shell("guide.sh", "ssh_config", "hosts", "token")),
)
