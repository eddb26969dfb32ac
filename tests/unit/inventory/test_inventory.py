"""A fleet's file becomes the fleet that was meant: defaults, overrides, paths."""

from datetime import date
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import (
    HIVE_SERVICE,
    QUEEN_SERVICE,
    Amount,
    Backups,
    Become,
    Fleet,
    Notify,
    Occasion,
    Order,
    Policy,
    Role,
    Ssh,
    Timeouts,
    TokenAge,
    Waiver,
)
from hivekeys.host.verbs.sweep import PLACE
from hivekeys.inventory import schema
from hivekeys.inventory.files import read
from hivekeys.inventory.written import toml
from hivekeys.service import Apply
from tests.builders.loading import load
from tests.builders.project import PROJECT

EXAMPLE = PROJECT / "inventory" / "example.toml"
SMALLEST = """
fleet = "small"
[hosts.hive1]
role = "hive"
[hosts.queen]
role = "queen"
"""


def fleet_of(text: str, folder: Path) -> Fleet:
    file = folder / "small.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def keys_of(table: type, *path: str) -> set[tuple[str, ...]]:
    return {(*path, key) for key in table.__annotations__}


def test_the_example_is_a_fleet() -> None:
    fleet = load(EXAMPLE)
    assert fleet.queen.address == "10.0.0.10"
    assert [host.name for host in fleet.hives[:2]] == ["hive01", "hive02"]
    assert fleet.hives[39].address == "10.0.1.50"
    assert fleet.hives[40].service.port == 9081


def test_the_example_shows_every_key() -> None:
    document = read(EXAMPLE)
    shown: set[tuple[str, ...]] = {
        (section, key)
        for section in ("ssh", "timeouts", "rollout", "token_age", "backup", "windows", "approval")
        for key in document[section]
    }
    shown |= {("hosts", key) for host in document["hosts"].values() for key in host}
    shown |= {(role, key) for role in ("queen", "hive") for key in document["services"][role]}
    shown |= {("waivers", key) for waiver in document["waivers"] for key in waiver}
    shown |= {("notify", key) for told in document["notify"].values() for key in told}
    shown |= {(key,) for key in document}
    # Commented out there; test_inventory_forms.py, test_drains.py, test_front.py and the test below look at them.
    elsewhere: set[tuple[str, ...]] = {("ansible",), ("llama_orch",)}
    elsewhere |= {(role, key) for role in ("queen", "hive") for key in ("drain", "front", "stream")}
    elsewhere |= {("notify", "webhook")}
    assert shown | elsewhere == (
        keys_of(schema.Document)
        | keys_of(schema.SshKeys, "ssh")
        | keys_of(schema.TimeoutKeys, "timeouts")
        | keys_of(schema.RolloutKeys, "rollout")
        | keys_of(schema.TokenAgeKeys, "token_age")
        | keys_of(schema.WaiverKeys, "waivers")
        | keys_of(schema.BackupKeys, "backup")
        | keys_of(schema.NotifyKeys, "notify")
        | keys_of(schema.WindowsKeys, "windows")
        | keys_of(schema.ApprovalKeys, "approval")
        | keys_of(schema.HostKeys, "hosts")
        | keys_of(schema.ServiceKeys, "queen")
        | keys_of(schema.ServiceKeys, "hive")
    )


def test_what_the_example_calls_defaults_are_the_defaults() -> None:
    fleet = load(EXAMPLE)
    assert (fleet.policy, fleet.timeouts, fleet.token_age) == (Policy(), Timeouts(), TokenAge())
    assert (fleet.queen.service, fleet.hives[0].service) == (QUEEN_SERVICE, HIVE_SERVICE)


def test_a_path_of_long_answers_is_for_the_meter(tmp_path: Path) -> None:
    fleet = fleet_of(SMALLEST + '[services.hive]\nstream = "/v1/stream?60"\n', tmp_path)
    assert [host.service.stream for host in fleet.hosts] == ["", "/v1/stream?60"]
    with pytest.raises(UserError, match="stream"):
        fleet_of(SMALLEST + '[services.hive]\nstream = "v1/stream"\n', tmp_path)


def test_who_is_told_has_a_name_an_occasion_and_one_way(tmp_path: Path) -> None:
    fleet = fleet_of(
        SMALLEST + '[notify.chat]\non = ["end", "start"]\nwebhook_file = "slack"\nheader_file = "/etc/header"\n'
        '[notify.ops]\nmail = "root"\n[notify.pager]\nrun = ["/bin/page", "now"]\n'
        '[notify.hook]\nwebhook = "https://hooks.example.com:8443/x"\n',
        tmp_path,
    )
    begin_and_end = (Occasion.START, Occasion.END)
    assert fleet.notify == (
        Notify("chat", on=begin_and_end, webhook_file=str(tmp_path / "slack"), header_file="/etc/header"),
        Notify("ops", mail=("root",)),
        Notify("pager", run=("/bin/page", "now")),
        Notify("hook", webhook="https://hooks.example.com:8443/x"),
    )
    assert fleet.notify[1].on == (Occasion.FAILURE, Occasion.END)


def test_the_smallest_file_has_the_guides_services_and_leaves_ssh_to_openssh(tmp_path: Path) -> None:
    fleet = fleet_of(SMALLEST, tmp_path)
    queen, hive = fleet.hosts
    assert (queen.role, hive.role) == (Role.QUEEN, Role.HIVE)
    assert (queen.service.unit, queen.service.port) == ("queen-rbee.service", 8080)
    assert (hive.service.unit, hive.service.port) == ("rbee-hive.service", 8081)
    assert hive.service.token == "/etc/llama-orch/secrets/api-token"
    assert (hive.service.mode, hive.service.directory_mode) == (0o600, 0o700)
    assert (hive.address, hive.port, hive.user, hive.key, hive.jump) == ("hive1", None, None, None, None)
    assert hive.become is Become.SUDO
    assert fleet.ssh == Ssh(known_hosts=None, config=None)


def test_the_queen_comes_first_and_hives_keep_the_order_of_the_file(tmp_path: Path) -> None:
    fleet = fleet_of('hosts."z[1:2]".role = "hive"\nhosts.a.role = "hive"\n' + SMALLEST.lstrip(), tmp_path)
    assert [host.name for host in fleet.hosts] == ["queen", "z1", "z2", "a", "hive1"]


def test_a_hosts_own_words_go_before_those_for_all(tmp_path: Path) -> None:
    extra = """user = "root"\nbecome = "none"\nservice = { port = 9090 }
[ssh]\nuser = "deploy"\nport = 2222
[services.queen]\nport = 80\nunit = "queen.service"
"""
    queen, hive = fleet_of(SMALLEST + extra, tmp_path).hosts
    assert (queen.user, queen.become, queen.port) == ("root", Become.NONE, 2222)
    assert (hive.user, hive.become, hive.port) == ("deploy", Become.SUDO, 2222)
    assert (queen.service.port, queen.service.unit) == (9090, "queen.service")
    assert hive.service == HIVE_SERVICE


def test_a_host_beside_another_is_reached_as_that_one_is(tmp_path: Path) -> None:
    text = """
fleet = "small"
ssh = { user = "deploy", key = "keys/deploy" }
[hosts."gpu[1:2]"]
role = "hive"
address = "10.0.1.[11:12]"
port = 2222
become = "none"
[hosts."more[1:2]"]
role = "hive"
beside = "gpu[1:2]"
address = "10.0.1.[11:12]"
service = { unit = "rbee-hive@2.service", port = 9081, token = "/etc/llama-orch/second/api-token" }
[hosts.queen]
role = "queen"
beside = "gpu1"
service = { token = "/etc/llama-orch/queen/api-token" }
"""
    fleet = fleet_of(text, tmp_path)
    reached = {host.name: (host.address, host.port, host.user, host.key, host.become) for host in fleet.hosts}
    key = str(tmp_path / "keys/deploy")
    one, two = ((f"10.0.1.{number}", 2222, "deploy", key, Become.NONE) for number in (11, 12))
    assert reached == {"queen": one, "gpu1": one, "gpu2": two, "more1": one, "more2": two}
    assert [(host.name, host.home) for host in fleet.hosts if host.beside] == [
        ("queen", "gpu1"),
        ("more1", "gpu1"),
        ("more2", "gpu2"),
    ]


def test_a_relative_path_begins_at_the_files_folder_and_a_tilde_at_home(tmp_path: Path) -> None:
    paths = 'ssh = { key = "keys/deploy", known_hosts = "~/known", config = "/etc/ssh/ssh_config" }\n'
    fleet = fleet_of(paths + SMALLEST, tmp_path)
    assert fleet.queen.key == str(tmp_path / "keys/deploy")
    assert fleet.ssh == Ssh((str(Path.home() / "known"),), "/etc/ssh/ssh_config")


def test_files_of_recipients_are_paths_and_keys_are_themselves(tmp_path: Path) -> None:
    key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    fleet = fleet_of(f'backup = {{ to = ["{key}", "ops.pub", "/etc/safe.pub"], keep = 3 }}\n{SMALLEST}', tmp_path)
    assert fleet.backup == Backups((key, str(tmp_path / "ops.pub"), "/etc/safe.pub"), 3)
    assert fleet_of(SMALLEST, tmp_path).backup == Backups()


def test_the_rollout_is_read(tmp_path: Path) -> None:
    rollout = 'rollout = { order = "hives-first", canary = 0, batch = 5, max_failures = "10%", stable_seconds = 0 }\n'
    assert fleet_of(rollout + SMALLEST, tmp_path).policy == Policy(
        order=Order.HIVES_FIRST,
        canary=0,
        batch=Amount(5, least=1),
        max_failures=Amount(10, percent=True),
        stable_seconds=0,
    )


@pytest.mark.parametrize(("percent", "hives", "in_a_wave"), [(25, 40, 10), (25, 7, 1), (25, 3, 1), (100, 3, 3)])
def test_a_batch_in_percent_is_rounded_down_but_never_empty(percent: int, hives: int, in_a_wave: int) -> None:
    assert Amount(percent, percent=True, least=1).of(hives) == in_a_wave


def test_a_budget_in_percent_is_rounded_down_to_none() -> None:
    assert Amount(10, percent=True).of(9) == 0


def test_further_places_are_written_by_port_path_and_address(tmp_path: Path) -> None:
    """The host's agent reads them by the same rule."""
    places = ("9000", "9000/v1/x", "http://10.0.0.1:9000", "http://[::1]:9000/v1/x", "http://[fe80::1%eth0]:80/")
    fleet = fleet_of(f"services.hive.places = {list(places)!r}\nservices.hive.tokenless = 50051\n" + SMALLEST, tmp_path)
    service = fleet.hives[0].service
    assert (service.places, service.tokenless) == (places, (50051,))
    assert all(PLACE.fullmatch(place) for place in places)


def test_a_service_without_a_protected_path_is_allowed(tmp_path: Path) -> None:
    fleet = fleet_of("services.hive.protected = []\n" + SMALLEST, tmp_path)
    assert fleet.hives[0].service.protected == ()


def test_the_examples_waiver_names_its_hosts_one_by_one() -> None:
    (waiver,) = load(EXAMPLE).waivers
    assert waiver == Waiver(
        "credential",
        "their systemd is upgraded in January",
        date(2027, 1, 31),
        ("hive01", "hive02", "hive03", "hive-lab"),
    )


def test_a_waiver_without_hosts_and_an_age_of_one_kind(tmp_path: Path) -> None:
    fleet = fleet_of(
        SMALLEST + '[token_age]\nfail = 80\n[[waivers]]\ncheck = "acl"\nreason = "why"\nuntil = 2027-01-31\n', tmp_path
    )
    assert fleet.token_age == TokenAge(warn=75.0, fail=80.0)
    assert fleet.waivers == (Waiver("acl", "why", date(2027, 1, 31)),)


def test_where_services_listen_may_be_an_address_for_each_host_of_an_entry(tmp_path: Path) -> None:
    fleet = fleet_of(
        """
        fleet = "f"
        [services.hive]
        scheme = "https"
        ca = "/etc/llama-orch/tls/ca.pem"
        [hosts.queen]
        role = "queen"
        service = { address = "unix:/run/rbee/queen.sock" }
        [hosts."hive[1:2]"]
        role = "hive"
        service = { address = "10.0.1.[11:12]" }
        [hosts.hive3]
        role = "hive"
        service = { address = "0:0::1", ca = "", verify = false }
        """,
        tmp_path,
    )
    assert [host.service.where for host in fleet.hosts] == [
        "http+unix:/run/rbee/queen.sock",
        "https://10.0.1.11:8081",
        "https://10.0.1.12:8081",
        "https://[::1]:8081",
    ]
    assert [host.service.verify for host in fleet.hives] == [True, True, False]
    again = tmp_path / "again.toml"
    again.write_text(toml(fleet))
    assert load(again).hosts == fleet.hosts


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('services.hive.address = "hive1"', 'services.hive.address: found "hive1", expected an address of the host'),
        ('services.hive.address = "0.0.0.0"', "reached at 127.0.0.1"),
        ('services.hive.address = "unix:run/x"', "expected an absolute path"),
        ('services.hive.address = "10.0.0.[1:2]"', "expected one address; ranges stand in the entry of the hosts"),
        ('services.hive.scheme = "ftp"', 'services.hive.scheme: found "ftp", expected "http" or "https"'),
        ('services.hive.ca = "/ca.pem"', 'services.hive.ca: found "/ca.pem", expected scheme = "https" beside it'),
        ("services.queen.verify = false", 'expected scheme = "https" beside it'),
        (
            'services.hive = { scheme = "https", ca = "/ca.pem", verify = false }',
            "expected one of ca and verify = false",
        ),
        (
            'services.hive = { scheme = "https", verify = "no" }',
            'verify: found "no", expected true or false',
        ),
    ],
)
def test_a_place_that_nobody_can_listen_on_is_refused(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        fleet_of(lines + "\n" + SMALLEST, tmp_path)
    assert said in refused.value.message


def test_how_a_service_learns_of_a_new_token_is_said_once_or_by_host(tmp_path: Path) -> None:
    lines = 'services.queen.apply = "reload"\nservices.hive = { apply = "signal", signal = "USR1" }\n'
    fleet = fleet_of(f'{lines}{SMALLEST}\n[hosts.hive9]\nrole = "hive"\nservice = {{ apply = "watch" }}\n', tmp_path)
    assert fleet.queen.service.apply is Apply.RELOAD
    assert fleet.hives[0].service.signal == "USR1"
    assert fleet.hives[-1].service.apply is Apply.WATCH
    again = tmp_path / "again.toml"
    again.write_text(toml(fleet))
    assert load(again).hosts == fleet.hosts


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('services.hive.apply = "kill"', 'found "kill", expected "restart" or "reload" or "signal" or "watch"'),
        ('services.hive = { apply = "signal", signal = "TERM" }', 'found "TERM", expected "HUP" or "USR1" or "USR2"'),
        ('services.hive.signal = "USR1"', 'services.hive.signal: found "USR1", expected apply = "signal" beside it'),
        (
            'services.hive = { apply = "watch", protected = [] }',
            "services.hive.protected: found [], expected a path that needs the token",
        ),
        ('services.hive.accepts = "two"', 'found "two", expected "one" or "front" or "lines" or "pair"'),
        ('services.hive.tokens = "/etc/llama-orch/secrets/x"', 'expected accepts = "lines" beside it'),
        ('services.hive = { accepts = "lines", tokens = "/srv/other/x" }', "another file in the token's folder"),
        (
            'services.hive = { accepts = "lines", tokens = "/etc/llama-orch/secrets/api-token.new" }',
            "expected another file in the token's folder, such as /etc/llama-orch/secrets/api-tokens",
        ),
        ('services.hive = { accepts = "pair", apply = "watch" }', "two files do not change in one moment"),
        ('services.hive = { accepts = "lines", protected = [] }', "only its answers tell which tokens are accepted"),
        (
            'services.hive = { accepts = "pair", format = "environment" }',
            'found "environment", expected accepts = "one"',
        ),
        (
            'services.hive = { apply = "reload", format = "environment" }',
            'services.hive.format: found "environment", expected apply = "restart"',
        ),
    ],
)
def test_a_way_to_take_a_token_that_cannot_work_is_refused(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        fleet_of(lines + "\n" + SMALLEST, tmp_path)
    assert said in refused.value.message


def test_as_many_addresses_as_hosts(tmp_path: Path) -> None:
    entry = '[hosts."hive[1:3]"]\nrole = "hive"\nservice = { address = "10.0.1.[11:12]" }\n'
    with pytest.raises(UserError) as refused:
        fleet_of('fleet = "f"\nhosts.queen.role = "queen"\n' + entry, tmp_path)
    assert 'found "10.0.1.[11:12]", 2 addresses, expected 3: one for each host' in refused.value.message
