"""What is not understood in an Ansible inventory is named, with file, host and variable; what is none of ours is not.

Most of these inventories are answers that were saved in a file, since Ansible takes half a second to say one.
"""

import json
from pathlib import Path
from typing import Any

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


def answered(folder: Path, groups: dict[str, list[str]], **variables: dict[str, Any]) -> Path:
    """What `ansible-inventory --list` answered, saved in a file."""
    hosts = {host: {"hivekeys_fleet": "f", **variables.get(host, {})} for names in groups.values() for host in names}
    tables = {group: {"hosts": names} for group, names in groups.items()}
    (folder / "hosts.json").write_text(json.dumps({"_meta": {"hostvars": hosts}, **tables}))
    return folder / "hosts.json"


def hive(folder: Path, variables: dict[str, Any]) -> Path:
    return answered(folder, {"queen": ["q"], "hives": ["h1"]}, h1=variables)


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"ansible_port": "x"}, 'ansible_port: found "x", expected a whole number from 1 to 65535'),
    ({"ansible_port": 0}, "ansible_port: found 0, expected a whole number from 1 to 65535"),
    (
        {"ansible_host": "-oProxyCommand=sh"},
        'ansible_host: found "-oProxyCommand=sh", expected a host name or an IP address (IPv6 without brackets)',
    ),
    ({"ansible_user": "-l"}, 'ansible_user: found "-l", expected the name of an account to log in with'),
    (
        {"ansible_host": "a", "ansible_ssh_host": "b"},
        "ansible_ssh_host: found another value than ansible_host has, expected one of the two",
    ),
    (
        {"ansible_private_key_file": "keys/a"},
        "ansible_private_key_file: found a relative path, "
        "expected one from / or ~ on: Ansible begins where it is started",
    ),
    ({"ansible_become": "maybe"}, 'ansible_become: found "maybe", expected true or false'),
    ({"ansible_become_method": "su"}, 'ansible_become_method: found "su", expected "sudo" or "ansible.builtin.sudo"'),
    ({"ansible_become_user": "llama"}, 'ansible_become_user: found "llama", expected "root"'),
    (
        {"ansible_connection": "winrm"},
        'ansible_connection: found "winrm", '
        'expected "ssh" or "smart" or "paramiko" or "paramiko_ssh" or "ansible.builtin.ssh"',
    ),
    (
        {"ansible_host": "{{ inventory_hostname }}.example"},
        "ansible_host: found a Jinja2 template, expected the value itself: nothing is templated here",
    ),
    (
        {"hivekeys_protected": ["/a", "{{ path }}"]},
        "hivekeys_protected: found a Jinja2 template, expected the value itself: nothing is templated here",
    ),
    (
        {"ansible_user": "$ANSIBLE_VAULT;1.1;AES256 61"},
        "ansible_user: found a value that ansible-vault encrypted, expected one that can be read",
    ),
    ({"ansible_password": "5ec2e7"}, "ansible_password: hivekeys logs in with a key, never with a password"),
    (
        {"ansible_ssh_private_key": "5ec2e7"},
        "ansible_ssh_private_key: hivekeys takes no key from a file's text: name its file, or let ssh-agent hold it",
    ),
    ({"ansible_prot": 2222}, "ansible_prot: unknown variable, did you mean ansible_port?"),
    ({"hivekeys_unti": "x.service"}, "hivekeys_unti: unknown variable, did you mean hivekeys_unit?"),
    ({"hivekeys_unit": "x"}, 'hivekeys_unit: found "x", expected a service unit such as rbee-hive.service'),
    ({"hivekeys_mode": 600}, 'hivekeys_mode: found 600, expected "0600" or "0400": nothing for group and others'),
    (
        {"hivekeys_token": "5ec2e75ec2e7"},
        "hivekeys_token: found a text of 12 characters, expected an absolute path without //, /. and /..",
    ),
]


@pytest.mark.parametrize(("variables", "said"), SETTINGS, ids=[str(variables)[:40] for variables, _ in SETTINGS])
def test_a_variable_that_can_t_be_used_is_refused_by_host_and_name(
    tmp_path: Path, variables: dict[str, Any], said: str
) -> None:
    assert refused(hive(tmp_path, variables)) == [f"h1.{said}"]


def test_a_variable_of_an_inventory_that_ansible_reads_is_refused_by_host_and_name(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "hives.yml").write_text("ansible_port: ssh\n")
    path = ini(tmp_path, f"{HEAD}h[1:40]\n")
    assert refused(path) == ['"h[1:40]".ansible_port: found "ssh", expected a whole number from 1 to 65535']


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
    (line,) = refused(hive(tmp_path, {"ansible_ssh_common_args": words}))
    assert line.startswith("h1.ansible_ssh_common_args: ") and said in line


def loaded(folder: Path, variables: dict[str, Any]) -> Fleet:
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
    assert loaded(tmp_path, {"ansible_ssh_common_args": words}).hives[0].jump == jump


def test_words_for_ssh_may_stand_on_several_lines(tmp_path: Path) -> None:
    assert loaded(tmp_path, {"ansible_ssh_common_args": "-C\n\t-o ProxyJump=b\n"}).hives[0].jump == "b"


def test_what_is_none_of_our_business_may_be_anything(tmp_path: Path) -> None:
    others = {"ansible_python_interpreter": "{{ x }}", "db_password": "5ec2e7", "ansible_ssh_pipelining": "yes"}
    vault = {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n61\n"}
    assert loaded(tmp_path, {**others, "zone": "{% a %}", "key": vault}).hives[0].name == "h1"


def test_a_host_of_no_group_of_ours_may_be_anything(tmp_path: Path) -> None:
    wrong = {"ansible_connection": "winrm", "ansible_password": "x", "ansible_prot": 1}
    path = answered(tmp_path, {"windows": ["w1"], "queen": ["q"], "hives": ["h1"]}, w1=wrong)
    assert len(load(path).hosts) == 2


def test_a_text_that_must_not_be_templated_is_a_text(tmp_path: Path) -> None:
    assert loaded(tmp_path, {"ansible_user": {"__ansible_unsafe": "ann"}}).hives[0].user == "ann"


def test_a_mistake_of_many_hosts_is_told_once_for_all_of_them(tmp_path: Path) -> None:
    hosts = [f"h{number}" for number in range(1, 41)]
    wrong = {host: {"ansible_port": "ssh", "ansible_connection": "winrm"} for host in hosts if host != "h7"}
    lines = refused(answered(tmp_path, {"queen": ["q"], "hives": hosts}, **wrong))
    assert [line.partition(": ")[0] for line in lines] == ['"h[1:6], h[8:40]".ansible_connection']
    path = answered(tmp_path, {"queen": ["q"], "hives": hosts}, **{host: {"ansible_port": "ssh"} for host in hosts})
    assert refused(path) == ['"h[1:40]".ansible_port: found "ssh", expected a whole number from 1 to 65535']


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    names = ("ansible_password", "hivekeys_token", "hivekeys_secret", "ansible_private_key")
    assert "hunter2" not in "".join(refused(hive(tmp_path, dict.fromkeys(names, "hunter2"))))


GROUPS: list[tuple[dict[str, list[str]], str]] = [
    ({"queens": ["q"], "hives": ["h1"]}, 'found no group "queen", expected the queen\'s; there are queens, hives'),
    ({"queen": ["q"], "nodes": ["h1"]}, 'found no group "hives", expected the hive\'s; there are queen, nodes'),
    ({"queen": ["q1", "q2"], "hives": ["h1"]}, 'found 2 hosts in group "queen", expected exactly one: the queen'),
    ({"queen": [], "hives": ["h1"]}, 'found 0 hosts in group "queen", expected exactly one: the queen'),
    ({"queen": ["q"], "hives": ["h1", "q"]}, 'q: found "q" in "queen" and "hives", expected it in one'),
]


@pytest.mark.parametrize(("groups", "said"), GROUPS, ids=[said for _, said in GROUPS])
def test_groups_that_make_no_fleet_are_refused(tmp_path: Path, groups: dict[str, list[str]], said: str) -> None:
    assert refused(answered(tmp_path, groups)) == [said]


def test_groups_may_be_beneath_one_another_even_in_a_circle(tmp_path: Path) -> None:
    """Ansible answers no circle; a file might."""
    tables = {"hives": {"hosts": ["h1"], "children": ["a"]}, "a": {"hosts": ["h2", "h1"], "children": ["hives", "b"]}}
    hosts = {"_meta": {"hostvars": {"q": {"hivekeys_fleet": "f"}}}, "queen": {"hosts": ["q"]}, **tables}
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    assert [host.name for host in load(tmp_path / "hosts.json").hives] == ["h1", "h2"]


def test_hosts_that_belong_to_different_fleets_are_refused(tmp_path: Path) -> None:
    path = hive(tmp_path, {"hivekeys_fleet": "g"})
    assert refused(path) == ['h1.hivekeys_fleet: found another name than "f", expected one for all hosts']


# What Ansible says of a file in its own words, in which nothing that stands in the file is told.
UNREADABLE = [
    ("ini", f"{HEAD}h1 ansible_user\n", "as INI: Expected key=value host variable assignment"),
    ("ini", f"{HEAD}h1 word hunter2\n", "as INI: Expected key=value host variable assignment"),
    ("ini", f"{HEAD}h1 'a=hunter2\n", "as INI: Error parsing host definition …: No closing quotation"),
    ("ini", f"{HEAD}h1\n[a:vars]\n", "as INI: Section [a:vars] not valid for undefined group …"),
    ("ini", f"{HEAD}h1\n[a]\n[b]\n[a:children]\nb\n[b:children]\na\n", "creates a recursive dependency loop"),
    ("yml", "hives: {hosts: {h1: {a: hunter2}, h1: {}}}\n", "line 1: ", "Found duplicate mapping key …"),
    ("yml", "hives: [hunter2\n", "line 2: "),
    ("yml", "hives: {hosts: {h1: {x: !!python/object:os.x {}}}}\n", "as YAML: YAML parsing failed"),
    ("yml", "plugin: not.there.hunter2\n", "the plugin that it names is not installed, or failed"),
    ("yml", "hives: {hosts: {h1: hunter2}}\n", "as YAML: Invalid data from file, expected dictionary and"),
]


@pytest.mark.parametrize(("form", "text", "said"), [(row[0], row[1], row[2:]) for row in UNREADABLE])
def test_what_ansible_can_t_read_is_told_without_what_stands_there(
    tmp_path: Path, form: str, text: str, said: tuple[str, ...]
) -> None:
    path = tmp_path / f"hosts.{form}"
    path.write_text(text)
    (line,) = refused(path)
    assert "ansible-inventory can't read it: " in line
    assert all(words in line for words in said), line
    assert "hunter2" not in line


def test_of_a_folder_the_file_that_ansible_can_t_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "in two words"
    folder.mkdir()
    (folder / "hosts.ini").write_text(f"{HEAD}h1\n")
    (folder / "more.yml").write_text("hives: {hosts: [h2]}\n")
    with pytest.raises(UserError) as caught:
        load(folder)
    assert caught.value.message.startswith(f"{folder}/more.yml: ansible-inventory can't read it: as YAML: Invalid …")
    assert f"ansible-inventory -i '{folder}' --list" in caught.value.hint


def test_what_ansible_would_leave_out_with_a_warning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text("queen: {hosts: {q: {hivekeys_fleet: f}}}\nhives: {hots: {h1: }}\n")
    (line,) = refused(path)
    assert "ansible-inventory leaves something out: " in line and "unexpected key (hots) in group (hives)" in line


@pytest.mark.parametrize("second", ["", "group_vars/all.yml"])
def test_a_mistake_in_group_vars_is_told_in_its_own_file(tmp_path: Path, second: str) -> None:
    """Ansible does not say which file: where there are several, only where they are."""
    path = ini(tmp_path, f"{HEAD}h1\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "hives.yml").write_text("a: b: hunter2\n")
    if second:
        (tmp_path / second).write_text("a: 1\n")
    with pytest.raises(UserError) as caught:
        load(path)
    where = f"{tmp_path}: ansible-inventory can't read group_vars or host_vars in it"
    said = where if second else f"{tmp_path}/group_vars/hives.yml: ansible-inventory can't read it"
    assert caught.value.message.startswith(f"{said}: YAML parsing failed")
    assert "hunter2" not in caught.value.message and f"ansible-inventory -i {path} --list" in caught.value.hint


def test_a_refused_variable_may_be_ignored_by_name(tmp_path: Path) -> None:
    hive(tmp_path, {"ansible_password": "x"})
    (tmp_path / "f.toml").write_text(
        'fleet = "f"\nansible = { inventory = "hosts.json", ignore = ["ansible_password"] }\n'
    )
    assert len(load(tmp_path / "f.toml").hosts) == 2


@pytest.mark.parametrize(
    ("variables", "become"),
    [
        ({}, Become.SUDO),
        ({"ansible_become": "yes"}, Become.SUDO),
        ({"ansible_become": False}, Become.NONE),
        ({"ansible_become_password": "{{ vault }}"}, Become.SUDO_PASSWORD),
        ({"ansible_become": True, "ansible_sudo_pass": "x"}, Become.SUDO_PASSWORD),
        ({"ansible_become": "no", "ansible_become_pass": "x"}, Become.NONE),
    ],
)
def test_a_password_for_sudo_is_not_read_but_asked_for(
    tmp_path: Path, variables: dict[str, Any], become: Become
) -> None:
    assert loaded(tmp_path, variables).hives[0].become is become


@pytest.mark.parametrize(
    ("interpreter", "python"),
    [
        ("/opt/python/bin/python3.11", "/opt/python/bin/python3.11"),
        ("/usr/bin/python3", None),
        ("/usr/bin/python", None),
        ("auto_silent", None),
        ("/usr/bin/env python3", None),
        ("{{ x }}", None),
    ],
)
def test_a_python_in_a_place_of_its_own_is_taken_over(tmp_path: Path, interpreter: str, python: str | None) -> None:
    """All others the host finds by itself, or they are no python3."""
    assert loaded(tmp_path, {"ansible_python_interpreter": interpreter}).hives[0].python == python


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
