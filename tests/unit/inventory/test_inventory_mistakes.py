"""A mistake in a fleet's file is refused before any host is contacted, by file and key, all of them at once."""

from pathlib import Path

import pytest

from hivekeys.errors import ExitCode, UserError
from hivekeys.inventory.batches import EXPECTED
from tests.builders.loading import load

FLEET = 'fleet = "f"\n'
HOSTS = 'hosts = { queen = { role = "queen" }, hive1 = { role = "hive" } }\n'


def refused(file: Path, content: str | bytes | None = None) -> list[str]:
    """The lines of the refusal, without the file's name that each begins with."""
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as caught:
        load(file)
    assert caught.value.code is ExitCode.USAGE
    lines = caught.value.message.splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "f.toml"


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    assert refused(
        file,
        """
        ssh = { prot = 22 }
        rollout = { batch = 0 }
        services.hive = { unti = "x.service" }
        [hosts.queen]
        role = "queen"
        port = 70000
        [hosts.queen2]
        role = "queen"
        """,
    ) == [
        'fleet: missing, expected the name of the fleet, such as fleet = "production"',
        "ssh.prot: unknown key, did you mean port?",
        f"rollout.batch: found 0, expected {EXPECTED}",
        "services.hive.unti: unknown key, did you mean unit?",
        "hosts.queen.port: found 70000, expected a whole number from 1 to 65535",
        'hosts: found 2 queens (queen, queen2), expected exactly one host with role = "queen"',
    ]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('ssh.user = "-oProxyCommand=sh"', "ssh.user"),
        ('ssh.jump = "-oProxyCommand=sh"', "ssh.jump"),
        ('ssh.jump = "a, b"', "ssh.jump"),
        ("ssh.port = 0", "ssh.port"),
        ("ssh.port = true", "ssh.port"),
        ('ssh.port = "22"', "ssh.port"),
        ('ssh.become = "su"', "ssh.become"),
        ("ssh.known_hosts = []", "ssh.known_hosts"),
        ('ssh.config = "~root/config"', "ssh.config"),
        ('ssh.key = ""', "ssh.key"),
        ("timeouts.connect = -1", "timeouts.connect"),
        ("timeouts.connect = 0", "timeouts.connect"),
        ("timeouts.connect = nan", "timeouts.connect"),
        ("timeouts.request = inf", "timeouts.request"),
        ("timeouts.banner = 1e9", "timeouts.banner"),
        ("timeouts.auth = true", "timeouts.auth"),
        ("rollout.stable_seconds = -0.1", "rollout.stable_seconds"),
        ('rollout.order = "hives"', "rollout.order"),
        ("rollout.canary = -1", "rollout.canary"),
        ("rollout.canary = 1.5", "rollout.canary"),
        ("rollout.width = 0", "rollout.width"),
        ('rollout.batch = "0%"', "rollout.batch"),
        ('rollout.batch = "101%"', "rollout.batch"),
        ("rollout.max_failures = -1", "rollout.max_failures"),
        ('services.hive.unit = "rbee-hive"', "services.hive.unit"),
        ('services.hive.unit = "a b.service"', "services.hive.unit"),
        ('services.hive.unit = "*.service"', "services.hive.unit"),
        ('services.hive.unit = "--all.service"', "services.hive.unit"),
        ('services.hive.unit = "hive@.service"', "services.hive.unit"),
        ('services.hive.token = "secrets/api-token"', "services.hive.token"),
        ('services.hive.token = "/etc/../api/token"', "services.hive.token"),
        ('services.hive.token = "/a//b"', "services.hive.token"),
        ('services.hive.token = "//a/b"', "services.hive.token"),
        ('services.hive.token = "/a/b/"', "services.hive.token"),
        ('services.hive.token = "/a/\\u0000b"', "services.hive.token"),
        ('services.hive.token = "/etc/api-token"', "services.hive.token"),
        ('services.hive.format = "env"', "services.hive.format"),
        ('services.hive.owner = "a:b"', "services.hive.owner"),
        ('services.hive.group = "-R"', "services.hive.group"),
        ('services.hive.mode = "0640"', "services.hive.mode"),
        ("services.hive.mode = 0o600", "services.hive.mode"),
        ("services.hive.mode = 600", "services.hive.mode"),
        ('services.hive.directory_mode = "0750"', "services.hive.directory_mode"),
        ('services.hive.directory_mode = "0600"', "services.hive.directory_mode"),
        ("services.hive.health = []", "services.hive.health"),
        ('services.hive.health = "health"', "services.hive.health"),
        ('services.hive.protected = ["/a b"]', "services.hive.protected"),
        ('services.hive.protected = "/a\\r\\nHost: b"', "services.hive.protected"),
        ('services.hive.places = "localhost:9000/v1/x"', "services.hive.places"),
        ('services.hive.places = "http://localhost:9000"', "services.hive.places"),
        ('services.hive.places = "https://127.0.0.1:9000"', "services.hive.places"),
        ('services.hive.places = ["9000", "http://1.2.3:9000"]', "services.hive.places"),
        ('services.hive.places = ["0"]', "services.hive.places"),
        ('services.hive.places = ["65536/x"]', "services.hive.places"),
        ('services.hive.places = "9000/a b"', "services.hive.places"),
        ("services.hive.places = [9000]", "services.hive.places"),
        ("services.hive.tokenless = [0]", "services.hive.tokenless"),
        ('services.hive.tokenless = ["9000"]', "services.hive.tokenless"),
        ("backup.keep = 0", "backup.keep"),
        ("backup.to = []", "backup.to"),
        ('backup.to = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8q"', "backup.to"),
        ('backup.to = ["ssh-ed25519 AAAA", "~/key.pub"]', "backup.to"),
        ('backup.to = "agel"', "backup.to"),
        ("backup.for = 1", "backup.for"),
        ("notify.pager = {}", "notify.pager"),
        ('notify.pager = { run = ["page"] }', "notify.pager.run"),
        ('notify.pager = { run = ["/page"], mail = "ops@example.com" }', "notify.pager"),
        ('notify.chat = { webhook = "http://example.com/" }', "notify.chat.webhook"),
        ('notify.chat = { webhook = "https://ann:word@example.com/" }', "notify.chat.webhook"),
        ('notify.ops = { mail = "ops@example.com, root" }', "notify.ops.mail"),
        ('notify.ops = { mail = "-t" }', "notify.ops.mail"),
        ('notify.ops = { mail = "root", header_file = "~/header" }', "notify.ops"),
        ('notify.ops = { mail = "root", on = "always" }', "notify.ops.on"),
        ('notify.ops = { mail = "root", at = "end" }', "notify.ops.at"),
        ("services.queen = 3", "services.queen"),
        ("services.worker = {}", "services.worker"),
        ("timeouts = []", "timeouts"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_under_its_key(file: Path, line: str, key: str) -> None:
    (mistake,) = refused(file, f"{FLEET}{line}\n{HOSTS}")
    assert mistake.startswith(f"{key}: ")


@pytest.mark.parametrize("name", ["-oProxyCommand=sh", "a b", "a;b", "$(a)", "a/b", "a\\nb", "", "h[2:1]", "h[1", "*"])
def test_a_name_that_ssh_or_a_shell_could_misread_is_refused(file: Path, name: str) -> None:
    hosts = f'[hosts.queen]\nrole = "queen"\n[hosts."{name}"]\nrole = "hive"\n'
    assert any(mistake.startswith('hosts."') for mistake in refused(file, FLEET + hosts))


@pytest.mark.parametrize("address", ["-oProxyCommand=sh", "a b", "a\\u0007b", "a`b`", "[::1]", "", "a@b"])
def test_an_address_that_ssh_or_a_shell_could_misread_is_refused(file: Path, address: str) -> None:
    hosts = f'[hosts.queen]\nrole = "queen"\naddress = "{address}"\n'
    (mistake,) = refused(file, FLEET + hosts)
    assert mistake.startswith("hosts.queen.address: ")


def between(*entries: str) -> str:
    return FLEET + 'hosts.queen = { role = "queen", address = "10.0.0.1" }\n' + "\n".join(entries)


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (
            FLEET + 'hosts.a.role = "hive"',
            'hosts: found no queen, expected exactly one host with role = "queen"',
        ),
        (
            FLEET + "hosts = {}",
            'hosts: found no queen, expected exactly one host with role = "queen"',
        ),
        (
            between('hosts.a = { role = "hive", address = "10.0.0.1" }'),
            'hosts.a.address: found "10.0.0.1" port 22, which hosts.queen has already, '
            'expected an address and port of its own, or beside = "queen"',
        ),
        (
            between('hosts."h[1:3]".role = "hive"', 'hosts.h2 = { role = "hive", address = "other" }'),
            'hosts.h2: found "h2", which hosts."h[1:3]" names already, expected every host once',
        ),
        (
            between('hosts."h[1:3]" = { role = "hive", address = "10.0.1.[1:4]" }'),
            'hosts."h[1:3]".address: found "10.0.1.[1:4]", 4 addresses, expected 3: one for each host',
        ),
        (
            between('hosts."h[1:3]" = { role = "hive", address = "10.0.1.1" }'),
            'hosts."h[1:3]".address: found "10.0.1.1", 1 address, expected 3: one for each host',
        ),
        (
            between('hosts.a.role = "worker"'),
            'hosts.a.role: found "worker", expected "queen" or "hive" or "client"',
        ),
        (
            FLEET + "hosts.queen = 3",
            "hosts.queen: found a single value, expected a table",
        ),
        (
            between("hosts.a = {}"),
            'hosts.a.role: missing, expected "queen", "hive" or "client"',
        ),
    ],
)
def test_entries_that_contradict_each_other_are_refused(file: Path, content: str, mistake: str) -> None:
    assert refused(file, content) == [mistake]


def beside(*entries: str, queen: str = "") -> str:
    """A queen whose machine has other services, too."""
    return "\n".join(
        (f'{FLEET}hosts.queen = {{ role = "queen", address = "10.0.0.1", user = "ops"{queen} }}', *entries)
    )


OWN = 'service = { token = "/etc/llama-orch/hive/api-token" }'
HIVE = f'role = "hive", {OWN}'


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (
            beside(f'hosts.a = {{ beside = "quen", {HIVE} }}'),
            'hosts.a.beside: found "quen", expected another host of this fleet',
        ),
        (
            beside(f'hosts.a = {{ beside = "a", {HIVE} }}'),
            "hosts.a.beside: found the host itself, expected the host whose machine it is",
        ),
        (
            beside(f'hosts.a = {{ beside = "queen", {HIVE} }}', 'hosts.b = { beside = "a", role = "hive" }'),
            'hosts.b.beside: found "a", which stands beside another one itself, expected the host whose machine it is',
        ),
        (
            beside(f'hosts."a[1:2]" = {{ beside = "queen", {HIVE} }}'),
            'hosts."a[1:2]".beside: found 1 names, expected 2: one for each host',
        ),
        (
            beside('hosts.a = { beside = "queen", role = "hive" }'),
            "hosts.a.service.token: found the token directory of queen on its machine, expected one of its own",
        ),
        (
            beside(
                'hosts.a = { beside = "queen", role = "hive", '
                'service = { token = "/etc/llama-orch/secrets/hive-token" } }'
            ),
            "hosts.a.service.token: found the token directory of queen on its machine, expected one of its own",
        ),
        (
            beside(
                'hosts.a = { beside = "queen", role = "hive", service = { port = 8080, token = "/etc/hive/token" } }'
            ),
            "hosts.a.service.port: found the port of queen on its machine, expected one of its own",
        ),
        (
            beside(
                f'hosts.a = {{ beside = "queen", {HIVE} }}',
                'hosts.b = { beside = "queen", role = "hive", service = { port = 8082, token = "/etc/hive/token" } }',
            ),
            "hosts.b.service.unit: found the unit of a on its machine, expected one of its own",
        ),
        (
            beside(f'hosts.a = {{ beside = "queen", address = "10.0.0.2", {HIVE} }}'),
            "hosts.a.address: found another address than queen has, expected the same, or none",
        ),
        (
            beside(f'hosts.a = {{ beside = "queen", user = "root", {HIVE} }}'),
            "hosts.a.user: found another user than queen has, expected the same, or none",
        ),
        (
            beside(f'hosts.a = {{ beside = "queen", {HIVE} }}', queen=', become = "restricted"'),
            'hosts.a.beside: found "queen", whose agent serves one service alone, '
            "expected a host that is not in restricted mode",
        ),
        (
            beside(f'hosts.a = {{ beside = ["queen"], {HIVE} }}'),
            "hosts.a.beside: found [\"queen\"], expected a name of letters, digits, '.', '_' and '-' that does not "
            "begin with '-'",
        ),
    ],
)
def test_services_that_share_a_machine_share_nothing_else(file: Path, content: str, mistake: str) -> None:
    """Not even a token file: neither may be taken to a new token, or back, by the other."""
    assert refused(file, content) == [mistake]


def test_one_address_with_two_ports_or_behind_two_jump_hosts_is_two_hosts(file: Path) -> None:
    hive = 'role = "hive", address = "10.0.0.1"'
    file.write_text(between(f"hosts.a = {{ {hive}, port = 2222 }}", f'hosts.b = {{ {hive}, jump = "bastion" }}'))
    assert len(load(file).hosts) == 3


def test_a_secret_under_an_unknown_key_is_not_shown(file: Path) -> None:
    lines = refused(file, f'{FLEET}ssh.password = "hunter2"\nservices.hive.token_value = "hunter2"\n{HOSTS}')
    assert [line.split(":")[0] for line in lines] == ["ssh.password", "services.hive.token_value"]
    assert "hunter2" not in "".join(lines)


def test_a_token_or_key_pasted_where_its_path_belongs_is_not_shown(file: Path) -> None:
    lines = refused(file, f'{FLEET}services.hive.token = "{"5ec2e7" * 10}"\nssh.key = "-----BEGIN\\n5ec2e7"\n{HOSTS}')
    assert len(lines) == 2
    assert "5ec2e7" not in "".join(lines)


def test_a_secret_in_the_place_of_a_table_is_not_shown(file: Path) -> None:
    assert refused(file, f'{FLEET}ssh = "hunter2"\n{HOSTS}') == ["ssh: found a single value, expected a table"]


def test_what_the_file_says_cannot_drive_the_terminal(file: Path) -> None:
    lines = refused(file, f'{FLEET}ssh.user = "\\u001b[2J\\u202e"\n"\\u001b]0;x" = 1\n{HOSTS}')
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 2


WAIVER = {"check": '"acl"', "reason": '"why"', "until": "2027-01-31"}


def waiver(**keys: str) -> str:
    """An inventory with one waiver; a key that is empty is left out."""
    lines = [f"{key} = {value}\n" for key, value in {**WAIVER, **keys}.items() if value]
    return FLEET + HOSTS + "[[waivers]]\n" + "".join(lines)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"check": ""}, "waivers.1.check: missing, expected the name of a check, such as credential"),
        (
            {"check": '"crednetial"'},
            'waivers.1.check: found "crednetial", '
            "expected the name of a check of `fab verify`; did you mean credential?",
        ),
        ({"reason": ""}, "waivers.1.reason: missing, expected why the check need not pass"),
        (
            {"reason": '"  "'},
            'waivers.1.reason: found "  ", expected why, in words: one line of at most 200 characters',
        ),
        (
            {"reason": '"a\\u001b[31mb"'},
            'waivers.1.reason: found "a\\u001b[31mb", expected why, in words: one line of at most 200 characters',
        ),
        ({"until": ""}, "waivers.1.until: missing, expected the last day that it holds, such as 2027-01-31"),
        (
            {"until": '"2027-01-31"'},
            'waivers.1.until: found "2027-01-31", expected a day without quotes, such as 2027-01-31',
        ),
        (
            {"until": "2027-01-31T10:00:00"},
            "waivers.1.until: found 2027-01-31 10:00:00, expected a day without quotes, such as 2027-01-31",
        ),
        ({"hosts": '["hive1", "hive[2:3]"]'}, 'waivers.1.hosts: found "hive2", "hive3", expected hosts of this fleet'),
        ({"hosts": "[]"}, "waivers.1.hosts: found [], expected a text or a list of at least one"),
        ({"host": '"hive1"'}, "waivers.1.host: unknown key, did you mean hosts?"),
    ],
)
def test_a_waiver_that_is_not_right_is_refused_by_number_and_key(file: Path, keys: dict[str, str], said: str) -> None:
    assert refused(file, waiver(**keys)) == [said]


def test_waivers_are_tables_of_a_list(file: Path) -> None:
    expected = "expected tables, each headed [[waivers]]"
    assert refused(file, FLEET + HOSTS + '[waivers]\ncheck = "acl"') == [f"waivers: found a table, {expected}"]


def test_a_day_that_there_is_not_is_no_toml(file: Path) -> None:
    (said,) = refused(file, waiver(until="2027-02-30"))
    assert said.startswith("this is not TOML")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("warn = 0", "token_age.warn: found 0, expected days: a number from 1 to 3650"),
        ("fail = nan", "token_age.fail: found nan, expected days: a number from 1 to 3650"),
        ("fail = true", "token_age.fail: found true, expected days: a number from 1 to 3650"),
        ("warn = 91", "token_age.warn: found 91, expected no more than fail, which is 90"),
        ("fail = 30", "token_age.fail: found 30, expected no less than warn, which is 75"),
        ("wran = 30", "token_age.wran: unknown key, did you mean warn?"),
    ],
)
def test_ages_that_make_no_sense_are_refused(file: Path, line: str, said: str) -> None:
    assert refused(file, f"{FLEET}{HOSTS}[token_age]\n{line}") == [said]


def test_a_secret_key_in_place_of_a_public_one_is_not_shown(file: Path) -> None:
    (hook,) = refused(file, f'{FLEET}notify.chat.webhook = "http://hooks.example.com/T0/secret"\n{HOSTS}')
    assert "T0" not in hook and "expected the https:// address" in hook
    (mistake,) = refused(file, f'{FLEET}backup.to = ["~/key.pub", "AGE-SECRET-KEY-1QYQSZQGP"]\n{HOSTS}')
    assert mistake.startswith("backup.to: found a secret key, expected ")
    assert "QYQSZQGP" not in mistake


def test_a_group_with_the_name_of_a_host_is_refused(file: Path) -> None:
    hosts = '[hosts.queen]\nrole = "queen"\n[hosts."hive[1:2]"]\nrole = "hive"\ngroups = ["rack1", "queen"]\n'
    assert refused(file, f"{FLEET}{hosts}") == [
        'hosts."hive[1:2]".groups: found "queen", which is a host\'s name, expected a name that no host has'
    ]


def test_a_group_of_one_host_alone_may_have_its_name(file: Path) -> None:
    """As the queen's group has in many an Ansible inventory."""
    file.write_text(f'{FLEET}[hosts.queen]\nrole = "queen"\ngroups = "queen"\n')
    assert load(file).queen.groups == ("queen",)


@pytest.mark.parametrize("groups", ['["-rack"]', '["rack 1"]', '["a,b"]', "[1]", '["@failed"]', '[""]'])
def test_a_group_that_cannot_be_typed_is_refused(file: Path, groups: str) -> None:
    (line,) = refused(file, f'{FLEET}[hosts.queen]\nrole = "queen"\ngroups = {groups}\n')
    assert line.startswith("hosts.queen.groups: found ") and "expected the name of a group" in line
