"""What is run to read an Ansible inventory, with what, and for how long: no more than was named, and nothing of others.

An inventory is read by root, at the bastion, where other accounts are.
"""

import contextlib
import json
import os
import select
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode, UserError
from hivekeys.files import NotYoursError
from hivekeys.inventory import load
from hivekeys.inventory.ansible.beneath import beneath
from hivekeys.inventory.ansible.program import MOST_MEMORY, MOST_OUTPUT, answer
from hivekeys.inventory.ansible.question import ask, find, plugins

HEAD = "[queen]\nq\n[all:vars]\nhivekeys_fleet=f\n[hives]\n"
SAID = {"_meta": {"hostvars": {"q": {"hivekeys_fleet": "f"}}}, "queen": {"hosts": ["q"]}, "hives": {"hosts": ["h"]}}
VAULT = Path(sys.executable).with_name("ansible-vault")


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


# -- ansible-inventory


def test_an_inventory_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "laughs.yml"
    path.write_text(laughs(12))
    with pytest.raises(UserError, match="ansible-inventory did not end within 3 s") as caught:
        ask(beneath(path, frozenset()), limit=3.0)
    assert caught.value.message.startswith(f"{path}: ")


def test_nothing_of_the_caller_s_ansible_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ansible.cfg here, at home or named, no variable of Ansible's or Python's, no plugin of the home folder."""
    pwned = f"import pathlib; pathlib.Path({str(tmp_path / 'pwned')!r}).touch()\n"
    for place in ("sitecustomize.py", "yaml.py", ".ansible/plugins/vars/more.py", ".ansible/plugins/inventory/ini.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(pwned)
    config = "[defaults]\nvars_plugins = .ansible/plugins/vars\n[inventory]\nenable_plugins = host_list\n"
    for name in ("ansible.cfg", ".ansible.cfg"):
        (tmp_path / name).write_text(config)
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("HOME", str(tmp_path)),
        ("PYTHONPATH", str(tmp_path)),
        ("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg")),
        ("ANSIBLE_INVENTORY_ENABLED", "host_list"),
        ("ANSIBLE_VARS_PLUGINS", str(tmp_path / ".ansible/plugins/vars")),
        ("ANSIBLE_INVENTORY_PLUGINS", str(tmp_path / ".ansible/plugins/inventory")),
    ):
        monkeypatch.setenv(name, value)
    (tmp_path / "hosts.ini").write_text(f"{HEAD}h\n")
    assert len(load(tmp_path / "hosts.ini").hosts) == 2
    assert not (tmp_path / "pwned").exists()


def test_without_ansible_an_inventory_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts.ini").write_text(f"{HEAD}h\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        load(tmp_path / "hosts.ini")
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.message.endswith("hosts.ini: ansible-inventory, which reads it, is not installed")
    assert "pip install 'hivekeys[ansible]'" in caught.value.hint


def test_the_program_beside_our_python_goes_before_one_on_the_path(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours" / "ansible-inventory", tmp_path / "theirs" / "ansible-inventory"
    for path in (ours, theirs):
        path.parent.mkdir()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    assert find(ours, str(theirs.parent)) == ours
    assert find(tmp_path / "nothing", f"{tmp_path}:{theirs.parent}") == theirs
    theirs.chmod(0o757)
    with pytest.raises(NotYoursError, match="others can change it"):
        find(tmp_path / "nothing", str(theirs.parent))


def test_folders_of_the_path_that_others_can_write_to_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program_at: Callable[[str], Path]
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin").chmod(0o777)
    shown = tmp_path / "environ"
    path = program_at(f"env >{shown}; pwd >>{shown}; echo '{json.dumps(SAID)}'")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin::.:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "bin"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert len(load(path).hosts) == 2
    lines = shown.read_text().splitlines()
    assert "PATH=/usr/bin:/bin" in lines and "LANG=C.UTF-8" in lines
    assert not any(str(tmp_path / "bin") in line or "hunter2" in line for line in lines)


# -- programs


@pytest.fixture
def program_at(tmp_path: Path) -> Callable[[str], Path]:
    def write(body: str, mode: int = 0o700) -> Path:
        path = tmp_path / "inventory"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(mode)
        return path

    return write


BAD = [
    ("exit 3", "as a program: Inventory script returned non-zero exit code 3"),
    ("echo 'hunter2 \033[2J' >&2; exit 1", "as a program: Inventory script returned non-zero exit code 1"),
    ("kill -9 $$", "as a program: Inventory script returned non-zero exit code -9"),
    ("echo hunter2", "as a program: Unable to get JSON decoder for inventory script result"),
    ('echo \'{"_meta": {"hostvars": {}}, "a": {"hosts": [1]}}\'', "as a program: Invalid host name supplied"),
    ('echo \'{"hives": {"hosts": []}}\'', 'found no group "queen"'),
]


@pytest.mark.parametrize(("body", "said"), BAD, ids=[said for _, said in BAD])
def test_a_program_that_answers_rubbish_is_refused(program_at: Callable[[str], Path], body: str, said: str) -> None:
    line = refused(program_at(body))
    assert said in line
    assert "hunter2" not in line


@pytest.mark.parametrize("stream", [1, 2])
def test_a_program_that_says_too_much_is_ended(tmp_path: Path, program_at: Callable[[str], Path], stream: int) -> None:
    with pytest.raises(ValueError, match=f"says more than {MOST_OUTPUT >> 20} MiB, expected less"):
        answer([str(program_at(f"exec cat /dev/zero >&{stream}"))], {"PATH": os.defpath}, tmp_path)


def test_a_program_gets_so_much_memory_and_no_more(tmp_path: Path) -> None:
    body = "import resource\nwhile not 0 < resource.getrlimit(resource.RLIMIT_DATA)[1] <= {0}: pass"
    assert answer([sys.executable, "-c", body.format(MOST_MEMORY)], {}, tmp_path, limit=60.0).code == 0


def test_a_program_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, program_at: Callable[[str], Path]
) -> None:
    path = program_at(f"sleep 1000 & echo $! >{tmp_path}/started; wait")
    with pytest.raises(ValueError, match=r"did not end within 2 s"):
        answer([str(path)], {"PATH": os.defpath}, tmp_path, limit=2.0)
    gone(int((tmp_path / "started").read_text()))


def test_what_a_program_leaves_behind_is_ended(tmp_path: Path, program_at: Callable[[str], Path]) -> None:
    path = program_at(f"sleep 1000 >/dev/null 2>&1 & echo $! >{tmp_path}/started; echo done")
    assert answer([str(path)], {"PATH": os.defpath}, tmp_path).output == b"done\n"
    gone(int((tmp_path / "started").read_text()))


def gone(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as process:
        ended, _, _ = select.select([process], [], [], 10)
        assert ended


def test_a_program_that_leaves_its_output_open_is_not_waited_for_for_ever(
    tmp_path: Path, program_at: Callable[[str], Path]
) -> None:
    with pytest.raises(ValueError, match="did not end within"):
        answer([str(program_at("sleep 1000 & exit 0"))], {"PATH": os.defpath}, tmp_path, limit=0.5)


def test_a_program_gets_no_shell_no_terminal_and_one_word(tmp_path: Path, program_at: Callable[[str], Path]) -> None:
    path = program_at(f'printf "%s\\n" "$#" "$1" >{tmp_path}/words; cat >&2; echo \'{json.dumps(SAID)}\'')
    path = path.rename(tmp_path / "a, $(touch pwned); touch pwned")
    assert len(load(path).hosts) == 2
    assert (tmp_path / "words").read_text() == "1\n--list\n"
    assert not (tmp_path / "pwned").exists()


def test_a_program_that_others_can_put_another_in_the_place_of_is_not_run(
    tmp_path: Path, program_at: Callable[[str], Path]
) -> None:
    path = program_at(f"touch {tmp_path}/pwned")
    tmp_path.chmod(0o707)
    assert f"others can change it: every account can write to {tmp_path} (mode" in refused(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("mode", [0o722, 0o702, 0o777])
def test_a_program_that_others_can_change_is_not_run(
    tmp_path: Path, program_at: Callable[[str], Path], mode: int
) -> None:
    path = program_at(f"touch {tmp_path}/pwned")
    path.chmod(mode)
    assert "others can change it: every account can write to" in refused(path)
    assert not (tmp_path / "pwned").exists()


def test_a_program_in_a_folder_is_not_run(tmp_path: Path, program_at: Callable[[str], Path]) -> None:
    path = program_at(f"touch {tmp_path}/pwned")
    (path.parent / "hosts.ini").write_text(f"{HEAD}h\n")
    with pytest.raises(UserError) as caught:
        load(path.parent)
    assert "found a program in a folder, inventory, expected it to be named itself" in caught.value.message
    path.rename(path.with_name("inventory.txt"))  # passed over in a folder
    assert "script" not in plugins(beneath(path.parent, frozenset()))
    assert not (tmp_path / "pwned").exists()


def test_a_program_that_fails_is_not_read_as_data(tmp_path: Path, program_at: Callable[[str], Path]) -> None:
    """Ansible would go on with its next plugin, and find hosts in the program's text."""
    path = program_at(f"exit 1\n{HEAD}h")
    assert "non-zero exit code 1" in refused(path)


def test_data_with_an_execute_bit_is_still_data(tmp_path: Path) -> None:
    """File systems that know no such bit show it on every file."""
    path = tmp_path / "hosts.ini"
    path.write_text(f"{HEAD}h\n")
    path.chmod(0o700)
    assert stat.S_IMODE(path.stat().st_mode) & 0o100
    assert len(load(path).hosts) == 2


# -- variables beside it


@pytest.mark.parametrize("place", ["group_vars", "group_vars/hives", "group_vars/nobody.yml", "host_vars/h/a.yml"])
def test_what_others_can_write_beside_an_inventory_is_refused(tmp_path: Path, place: str) -> None:
    """Also a folder, into which they could put a file, and a file that is of no group today."""
    (tmp_path / "hosts.ini").write_text(f"{HEAD}h\n")
    for file in ("group_vars/hives/a.yml", "group_vars/nobody.yml", "host_vars/h/a.yml"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("a: 1\n")
    (tmp_path / place).chmod(0o777)
    line = refused(tmp_path / "hosts.ini")
    assert (
        f"{tmp_path / place}: others can change it" in line or f"every account can write to {tmp_path / place}" in line
    )


# -- vaults


@pytest.fixture
def with_vault(tmp_path: Path) -> Path:
    """An inventory whose hives' variables are encrypted as a file, and the file that points to it."""
    (tmp_path / "hosts.ini").write_text(f"{HEAD}h\n")
    secret = tmp_path / "group_vars" / "all" / "vault.yml"
    secret.parent.mkdir(parents=True)
    secret.write_text("ansible_user: ann\nansible_port: hunter2\n")
    (tmp_path / "password").write_text("of the vault\n")
    environ = {"PATH": os.defpath, "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    words = ["encrypt", "--vault-password-file", str(tmp_path / "password"), str(secret)]
    subprocess.run(
        [str(VAULT), *words], env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True
    )
    (tmp_path / "f.toml").write_text('fleet = "f"\nansible.inventory = "hosts.ini"\n')
    return tmp_path


def test_an_encrypted_file_is_refused_until_it_is_said_to_be_none_of_ours(with_vault: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(with_vault / "f.toml")
    assert f"{with_vault}/group_vars/all/vault.yml: found a file that ansible-vault encrypted" in caught.value.message
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in caught.value.hint and "ignore of [ansible]" in caught.value.hint
    keys = 'inventory = "hosts.ini", ignore = ["group_vars/all/vault.yml"]'
    (with_vault / "f.toml").write_text(f'fleet = "f"\nansible = {{ {keys} }}\n')
    assert [host.user for host in load(with_vault / "f.toml").hosts] == [None, None]


def test_a_vault_whose_password_file_is_named_is_read_and_no_mistake_shows_what_is_in_it(
    with_vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(with_vault / "password"))
    with pytest.raises(UserError) as caught:
        load(with_vault / "f.toml")
    assert "q, h.ansible_port: found another value, expected a whole number" in caught.value.message.replace('"', "")
    (with_vault / "f.toml").write_text(
        'fleet = "f"\nansible = { inventory = "hosts.ini", ignore = ["ansible_port"] }\n'
    )
    assert [host.user for host in load(with_vault / "f.toml").hosts] == ["ann", "ann"]


@pytest.mark.parametrize(("mode", "said"), [(0o666, "others can change it"), (None, "there is no such file")])
def test_a_password_file_that_others_can_change_or_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None, said: str
) -> None:
    (tmp_path / "hosts.ini").write_text(f"{HEAD}h\n")
    if mode:
        (tmp_path / "password").write_text("x\n")
        (tmp_path / "password").chmod(mode)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / "password"))
    with pytest.raises(UserError, match=said):
        load(tmp_path / "hosts.ini")
