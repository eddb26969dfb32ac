"""What is not understood in an Ansible inventory is named, with file, line and key; what is none of ours is not."""

from pathlib import Path

import pytest

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Become, Fleet
from hivekeys.inventory import load

HEAD = "[queen]\nq\n[all:vars]\nhivekeys_fleet=f\n[hives]\n"


def refused(path: Path) -> list[str]:
    """The lines of the refusal, without the file's name that each begins with."""
    with pytest.raises(UserError) as caught:
        load(path)
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.hint
    lines = caught.value.message.splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines), lines
    return [line.removeprefix(f"{path}: ") for line in lines]


def ini(folder: Path, text: str) -> Path:
    (folder / "hosts.ini").write_text(text)
    return folder / "hosts.ini"


def hive(folder: Path, variables: str) -> Path:
    """An inventory with one hive, whose line is line 6."""
    return ini(folder, f"{HEAD}h1 {variables}\n")


SETTINGS = [
    ("ansible_port=x", 'ansible_port: found "x", expected a whole number from 1 to 65535'),
    ("ansible_port=0", "ansible_port: found 0, expected a whole number from 1 to 65535"),
    (
        "ansible_host=-oProxyCommand=sh",
        'ansible_host: found "-oProxyCommand=sh", expected a host name or an IP address (IPv6 without brackets)',
    ),
    ("ansible_user=-l", 'ansible_user: found "-l", expected the name of an account to log in with'),
    (
        "ansible_host=a ansible_ssh_host=b",
        "ansible_ssh_host: found another value than ansible_host has, expected one of the two",
    ),
    (
        "ansible_private_key_file=keys/a",
        "ansible_private_key_file: found a relative path, "
        "expected one from / or ~ on: Ansible begins where it is started",
    ),
    ("ansible_become=maybe", 'ansible_become: found "maybe", expected true or false'),
    ("ansible_become_method=su", 'ansible_become_method: found "su", expected "sudo" or "ansible.builtin.sudo"'),
    ("ansible_become_user=llama", 'ansible_become_user: found "llama", expected "root"'),
    (
        "ansible_connection=winrm",
        'ansible_connection: found "winrm", '
        'expected "ssh" or "smart" or "paramiko" or "paramiko_ssh" or "ansible.builtin.ssh"',
    ),
    (
        "ansible_host='{{ inventory_hostname }}.example'",
        "ansible_host: found a Jinja2 template, expected the value itself: nothing is templated here",
    ),
    (
        "hivekeys_protected=\"['/a', '{{ path }}']\"",
        "hivekeys_protected: found a Jinja2 template, expected the value itself: nothing is templated here",
    ),
    (
        "ansible_user='$ANSIBLE_VAULT;1.1;AES256 61'",
        "ansible_user: found a value that ansible-vault encrypted, expected one that can be read",
    ),
    ("ansible_password=5ec2e7", "ansible_password: hivekeys logs in with a key, never with a password"),
    (
        "ansible_ssh_private_key=5ec2e7",
        "ansible_ssh_private_key: hivekeys takes no key from a file's text: name its file, or let ssh-agent hold it",
    ),
    ("ansible_prot=2222", "ansible_prot: unknown variable, did you mean ansible_port?"),
    ("hivekeys_unti=x.service", "hivekeys_unti: unknown variable, did you mean hivekeys_unit?"),
    ("hivekeys_unit=x", 'hivekeys_unit: found "x", expected a service unit such as rbee-hive.service'),
    ("hivekeys_mode=600", 'hivekeys_mode: found 600, expected "0600" or "0400": nothing for group and others'),
    (
        "hivekeys_token=5ec2e75ec2e7",
        "hivekeys_token: found a text of 12 characters, expected an absolute path without //, /. and /..",
    ),
]


@pytest.mark.parametrize(("variables", "said"), SETTINGS, ids=[variables[:40] for variables, _ in SETTINGS])
def test_a_variable_that_can_t_be_used_is_refused_by_line_and_name(tmp_path: Path, variables: str, said: str) -> None:
    assert refused(hive(tmp_path, variables)) == [f"line 6: h1.{said}"]


ARGUMENTS = [
    ("-o ProxyCommand='nc -X 5 %h %p'", "ProxyCommand is only understood as ssh -W %h:%p [USER@]HOST: write it as"),
    ("-o ProxyCommand='ssh -i k -W %h:%p b'", "ProxyCommand is only understood as"),
    ("-o 'UserKnownHostsFile /etc/k'", "UserKnownHostsFile is not understood here: name the file in known_hosts"),
    ("-o HostName=other", "HostName is not understood here: write it in ssh_config"),
    ("-F other", "-F is not understood here, only ProxyJump, ProxyCommand and IdentityFile"),
    ("-p 99", "-p is not understood here: write it as ansible_port"),
    ("-l ann", "-l is not understood here: write it as ansible_user"),
    ("elsewhere", "found elsewhere, expected an option of ssh"),
    ("-J 'a b'", 'found "a b", expected jump hosts as for ssh -J'),
    ("-o 'ProxyJump=-oProxyCommand=sh'", "expected jump hosts as for ssh -J"),
    ("-o 'unclosed", "the words can't be told apart: No closing quotation"),
]


@pytest.mark.parametrize(("words", "said"), ARGUMENTS)
def test_words_for_ssh_that_would_lead_elsewhere_are_refused(tmp_path: Path, words: str, said: str) -> None:
    path = ini(tmp_path, f"{HEAD}h1\n[hives:vars]\nansible_ssh_common_args={words}\n")
    (line,) = refused(path)
    assert line.startswith("line 8: hives.ansible_ssh_common_args: ") and said in line


def loaded(folder: Path, variables: str) -> Fleet:
    return load(hive(folder, variables))


JUMPS = [
    ("-J ops@b", "ops@b"),
    ("-Jb,c", "b,c"),
    ("-o ProxyJump=b", "b"),
    ("-oProxyJump=b", "b"),
    ("-o 'proxyjump b'", "b"),
    ("-o ProxyJump=b -J c", "b"),
    ("-o ProxyJump=none", "none"),
    ("-o ProxyCommand=none", "none"),
    ("-o ProxyCommand='ssh -W %h:%p -q b'", "b"),
    ("-o ProxyCommand=\"ssh -W '[%h]:%p' -p 22 u@b\"", "u@b:22"),
    ("-o 'ProxyCommand ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -l u -W %h:%p b'", "u@b"),
    (
        "-C -o ControlMaster=auto -o ControlPersist=60s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        None,
    ),
]


@pytest.mark.parametrize(("words", "jump"), JUMPS, ids=[words for words, _ in JUMPS])
def test_the_jump_host_is_found_in_the_words_for_ssh(tmp_path: Path, words: str, jump: str | None) -> None:
    path = ini(tmp_path, f"{HEAD}h1\n[hives:vars]\nansible_ssh_common_args={words}\n")
    assert load(path).hives[0].jump == jump


def test_what_is_none_of_our_business_may_be_anything(tmp_path: Path) -> None:
    others = "ansible_python_interpreter='{{ x }}' db_password=5ec2e7 ansible_ssh_pipelining=yes zone='{% a %}'"
    assert loaded(tmp_path, others).hives[0].name == "h1"


def test_a_host_of_no_group_of_ours_may_be_anything(tmp_path: Path) -> None:
    ini(tmp_path, f"[windows]\nw1 ansible_connection=winrm ansible_password=x ansible_prot=1\n{HEAD}h1\n")
    assert len(load(tmp_path / "hosts.ini").hosts) == 2


def test_a_mistake_in_a_group_s_variable_is_told_once_for_all_its_hosts(tmp_path: Path) -> None:
    path = ini(tmp_path, f"{HEAD}h[1:40]\n[hives:vars]\nansible_port=ssh\n")
    assert refused(path) == ['line 8: hives.ansible_port: found "ssh", expected a whole number from 1 to 65535']


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    variables = "ansible_password=hunter2 hivekeys_token=hunter2 hivekeys_secret=hunter2 word hunter2"
    (tmp_path / "hosts.ini").write_text(f"{HEAD}h1 {variables}\nh2 hunter2\n")
    assert "hunter2" not in "".join(refused(tmp_path / "hosts.ini"))
    assert "hunter2" not in "".join(refused(hive(tmp_path, variables.removesuffix(" word hunter2"))))


LINES = [
    ("[a:what]", 'line 7: found "[a:what]", expected [GROUP:children] or [GROUP:vars]'),
    ("[a b]", 'line 7: found "[a b]", expected [GROUP], [GROUP:children] or [GROUP:vars]'),
    ("[a:vars]", 'line 7: found "a", expected a group that has a section of its own'),
    ("[all:children]\nb", 'line 8: found "b", expected a group that has a section of its own'),
    ("h2 ansible_user", "line 7: found a word without =, expected NAME=VALUE; a value with blanks stands in quotes"),
    ("h2 'a=b", "line 7: this host can't be read: No closing quotation"),
    ("h[3:1]", 'line 7: found "h[3:1]", expected a range that counts up'),
    ("h[1:99999]", 'line 7: found "h[1:99999]", expected a range of 10000 hosts at most'),
    ("h[1:999][1:999]", 'line 7: found "h[1:999][1:999]", expected a pattern that stands for 10000 hosts at most'),
    ("h[01:100]", "line 7: found"),
    ("h[1", 'line 7: found "h[1", expected a range such as [01:40], [a:f] or [0:10:2]'),
    ("h[1:3:0]", "line 7: found"),
    ("h2:", "line 7: found \"h2:\", expected a port after ':'"),
    ("[all:vars]\nansible_group_priority=high", 'line 8: ansible_group_priority: found "high", expected a number'),
    (
        "[a]\n[b]\n[a:children]\nb\n[b:children]\na",
        "found groups in a circle, ",
    ),
]


@pytest.mark.parametrize(("lines", "said"), LINES, ids=[lines for lines, _ in LINES])
def test_a_line_that_can_t_be_read_is_refused_by_its_number(tmp_path: Path, lines: str, said: str) -> None:
    assert refused(ini(tmp_path, f"{HEAD}h1\n{lines}\n"))[0].startswith(said)


GROUPS = [
    ("[queens]\nq\n[hives]\nh1\n", 'found no group "queen", expected the queen\'s; there are all, queens, hives'),
    ("[queen]\nq\n[nodes]\nh1\n", 'found no group "hives", expected the hive\'s; there are all, queen, nodes'),
    ("[queen]\nq[1:2]\n[hives]\nh1\n", 'found 2 hosts in group "queen", expected exactly one: the queen'),
    ("[queen]\n[hives]\nh1\n", 'found 0 hosts in group "queen", expected exactly one: the queen'),
    ("[queen]\nq\n[hives]\nh1\nq\n", 'line 2: q: found "q" in "queen" and "hives", expected it in one'),
]


@pytest.mark.parametrize(("text", "said"), GROUPS, ids=[said for _, said in GROUPS])
def test_groups_that_make_no_fleet_are_refused(tmp_path: Path, text: str, said: str) -> None:
    assert refused(ini(tmp_path, text)) == [said]


TABLES = [
    ("hives: [h1]\n", "hives: found a list, expected a table with hosts, children and vars"),
    ("hives:\n  hots: {h1: }\n", "hives.hots: unknown key, expected hosts, children or vars"),
    ("hives:\n  hosts: [h1]\n", "hives.hosts: found a list, expected a table"),
    (
        "hives:\n  hosts:\n    h1: 22\n",
        "hives.hosts.h1: found a single value, expected a table of the host's variables",
    ),
    ("hives:\n  hosts:\n    1: {}\n", "hives.hosts.1: found a name that is no text, expected it in quotes"),
    ("hives:\n  hosts:\n    h[2:1]:\n", 'hives.hosts."h[2:1]": found "h[2:1]", expected a range that counts up'),
    (
        "hives:\n  hosts:\n    h1: {}\n    h1: {}\n",
        'line 9: found the key "h1" twice in one table, expected it once',
    ),
    (
        "hives:\n  vars:\n    x: !!python/object:os.x {}\n",
        "line 8: this is not YAML: could not determine a constructor",
    ),
    ("hives: {\n", "line 7: this is not YAML"),
    ("plugin: aws_ec2\n", "plugin: found the settings of an inventory plugin, expected hosts"),
    ("hives:\n  hosts:\n    h1: {ansible_user: !vault x}\n", "hives.hosts.h1.ansible_user: found a value that ansible"),
    ("hives:\n  hosts:\n    h1: {ansible_port: 70000}\n", "hives.hosts.h1.ansible_port: found 70000, expected a whole"),
]


@pytest.mark.parametrize(("text", "said"), TABLES, ids=[said[:50] for _, said in TABLES])
def test_a_table_that_can_t_be_read_is_refused_by_its_key(tmp_path: Path, text: str, said: str) -> None:
    head = "all:\n  vars: {hivekeys_fleet: f}\nqueen:\n  hosts:\n    q:\n"
    (tmp_path / "hosts.yml").write_text(head + text)
    assert refused(tmp_path / "hosts.yml")[0].startswith(said)


def test_a_mistake_in_group_vars_is_told_in_its_own_file(tmp_path: Path) -> None:
    path = hive(tmp_path, "")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "hives.yml").write_text("ansible_port: ssh\n")
    with pytest.raises(UserError) as caught:
        load(path)
    assert caught.value.message.startswith(f'{tmp_path}/group_vars/hives.yml: ansible_port: found "ssh", expected')


def test_an_encrypted_file_in_group_vars_is_refused_until_it_is_said_to_be_none_of_ours(tmp_path: Path) -> None:
    hive(tmp_path, "")
    (tmp_path / "group_vars" / "all").mkdir(parents=True)
    (tmp_path / "group_vars" / "all" / "vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    ours = tmp_path / "f.toml"
    ours.write_text('fleet = "f"\nansible.inventory = "hosts.ini"\n')
    with pytest.raises(UserError) as caught:
        load(ours)
    assert f"{tmp_path}/group_vars/all/vault.yml: found a file that ansible-vault encrypted" in caught.value.message
    ours.write_text('fleet = "f"\nansible = { inventory = "hosts.ini", ignore = ["group_vars/all/vault.yml"] }\n')
    assert len(load(ours).hosts) == 2


def test_a_refused_variable_may_be_ignored_by_name(tmp_path: Path) -> None:
    hive(tmp_path, "ansible_password=x")
    (tmp_path / "f.toml").write_text(
        'fleet = "f"\nansible = { inventory = "hosts.ini", ignore = ["ansible_password"] }\n'
    )
    assert len(load(tmp_path / "f.toml").hosts) == 2


@pytest.mark.parametrize(
    ("variables", "become"),
    [
        ("", Become.SUDO),
        ("ansible_become=yes", Become.SUDO),
        ("ansible_become=no", Become.NONE),
        ("ansible_become_password='{{ vault }}'", Become.SUDO_PASSWORD),
        ("ansible_become=yes ansible_sudo_pass=x", Become.SUDO_PASSWORD),
        ("ansible_become=no ansible_become_pass=x", Become.NONE),
    ],
)
def test_a_password_for_sudo_is_not_read_but_asked_for(tmp_path: Path, variables: str, become: Become) -> None:
    assert loaded(tmp_path, variables).hives[0].become is become


@pytest.mark.parametrize(
    ("interpreter", "python"),
    [
        ("/opt/python/bin/python3.11", "/opt/python/bin/python3.11"),
        ("/usr/bin/python3", None),
        ("/usr/bin/python", None),
        ("auto_silent", None),
        ("'/usr/bin/env python3'", None),
        ("'{{ x }}'", None),
    ],
)
def test_a_python_in_a_place_of_its_own_is_taken_over(tmp_path: Path, interpreter: str, python: str | None) -> None:
    """All others the host finds by itself, or they are no python3."""
    assert loaded(tmp_path, f"ansible_python_interpreter={interpreter}").hives[0].python == python


HIVES = [
    ("Host h1\n  HostName a\n  HivePort 1\n", "line 1: h1: User missing: llama-orch leaves such a host out"),
    ("Host *\n  User a\n", 'line 1: "*": found "*", expected the name of one host'),
    ("User a\n", "line 1: found a setting above the first Host, expected it below one"),
    ("Host h1\n  HostName\n", "line 2: h1: found a line that is no setting, expected KEYWORD VALUE"),
    ("Host h1\n  HostName a\n  User u\n  HivePort x\n", 'line 4: h1.HivePort: found "x", expected a whole number'),
    ("Host h1\n  HostName a\n  User u\n  HivePort 1\n  Match x\n", "line 5: h1.Match: is not understood here"),
    (2 * "Host h1\n  HostName a\n  User u\n  HivePort 1\n", "line 5: h1: found this host a second time"),
    ("# nobody\n", "found no Host, expected the fleet's hives"),
    ('[[hive]]\nhostname = "a"\n', "hive.1: alias is missing"),
    ('[[hive]]\nalias = "h1"\nssh_usr = "a"\n', "hive.1.ssh_usr: unknown key"),
    ("[[hive]]\nalias = \n", "this is not TOML"),
    ("[hive]\n[[hive]]\n", "this is not TOML"),
]


@pytest.mark.parametrize(("text", "said"), HIVES, ids=[said for _, said in HIVES])
def test_a_mistake_in_llama_orchs_list_is_refused_by_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "hives.conf").write_text(text)
    (tmp_path / "f.toml").write_text('fleet = "f"\nllama_orch.hives = "hives.conf"\nhosts.q.role = "queen"\n')
    with pytest.raises(UserError) as caught:
        load(tmp_path / "f.toml")
    assert caught.value.message.startswith(f"{tmp_path}/hives.conf: {said}")
