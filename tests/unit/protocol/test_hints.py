"""Every hint that is a command can be typed: fab and OpenSSH themselves read it, and what is known stands in it."""

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys import inventory
from hivekeys.fleet import SERVICES, Become, Fleet, Host, Role, Ssh
from hivekeys.protocol.causes import HINTS, Cause, Trouble
from hivekeys.protocol.hints import BLANKS, for_fleet, general, hint, limit_of, line, ssh_words
from tests.builders.commands import commands_in, mistake_in

QUEEN = Host("queen", Role.QUEEN, "10.0.0.10", service=SERVICES[Role.QUEEN])
HIVE = Host("hive1", Role.HIVE, "10.0.0.11", service=SERVICES[Role.HIVE], user="deploy")
FAR = Host(
    "hive2",
    Role.HIVE,
    "10.1.0.12",
    service=SERVICES[Role.HIVE],
    port=2222,
    user="ops",
    key="~/.ssh/fleet key",
    jump="jump@10.0.0.1:2200",
    become=Become.SUDO_PASSWORD,
)
FLEET = Fleet("production", (QUEEN, HIVE, FAR))


def asked_of_openssh(words: str) -> dict[str, str]:
    """Where `ssh` would go with these words, as OpenSSH itself says; it contacts no host."""
    argv = ["ssh", "-F", "/dev/null", "-G", *shlex.split(words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True, stdin=subprocess.DEVNULL)
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())


@pytest.mark.parametrize("trouble", Trouble)
def test_every_trouble_has_a_hint_in_which_all_is_filled_in(trouble: Trouble) -> None:
    said = hint(Cause(trouble), FLEET, "hive1")
    assert len(said) > 20 and not said.endswith(".")
    assert not re.search(r"[{}]|\b(?:HOST|UNIT|NAME)\b", said.replace("HostName", ""))


@pytest.mark.parametrize("trouble", Trouble)
def test_every_command_of_a_hint_can_be_typed_for_every_way_to_a_host(trouble: Trouble) -> None:
    for name in ("queen", "hive1", "hive2"):
        for command in commands_in(hint(Cause(trouble), FLEET, name)):
            assert mistake_in(command, FLEET) == "", command


def test_no_hint_names_a_blank_that_nobody_fills_in() -> None:
    named = {blank for text in HINTS.values() for blank in re.findall(r"{(\w+)}", text)}
    assert named <= BLANKS.keys() and not any(re.search("[{}]", general(trouble)) for trouble in Trouble)


def test_a_service_that_does_not_start_is_looked_into_as_the_inventory_goes_there() -> None:
    assert "`ssh deploy@10.0.0.11 sudo journalctl -u rbee-hive.service -n 50`" in hint(
        Cause(Trouble.START_FAILED), FLEET, "hive1"
    )
    assert "`ssh 10.0.0.10 sudo journalctl -u queen-rbee.service -n 50`" in hint(
        Cause(Trouble.START_FAILED), FLEET, "queen"
    )


def test_openssh_goes_where_hivekeys_does(tmp_path: Path) -> None:
    key = tmp_path / "fleet key"
    key.touch()
    way = asked_of_openssh(ssh_words(FLEET, replace(FAR, key=str(key))))
    assert (way["hostname"], way["port"], way["user"]) == ("10.1.0.12", "2222", "ops")
    assert way["proxyjump"].replace("[10.0.0.1]", "10.0.0.1") == "jump@10.0.0.1:2200"
    assert way["identityfile"] == str(key)
    away = replace(FLEET, ssh=Ssh(known_hosts=("/etc/our hosts", "/etc/more"), config="/etc/ssh/ours"))
    words = ssh_words(away, HIVE)
    assert words.startswith("-F /etc/ssh/ours ")
    known = asked_of_openssh(words.removeprefix("-F /etc/ssh/ours "))["userknownhostsfile"]
    assert known == "/etc/our hosts /etc/more"


def test_straight_there_is_said_too() -> None:
    """The ssh configuration may have a jump host that the inventory does without."""
    assert asked_of_openssh(ssh_words(FLEET, replace(HIVE, jump="none"))).get("proxyjump", "none") == "none"


@pytest.mark.parametrize(
    ("become", "words"),
    [
        (Become.SUDO, "ssh deploy@10.0.0.11 sudo journalctl"),
        (Become.SUDO_PASSWORD, "ssh -t deploy@10.0.0.11 sudo journalctl"),  # sudo asks on a terminal
        (Become.NONE, "ssh deploy@10.0.0.11 journalctl"),
        (Become.RESTRICTED, "ssh deploy@10.0.0.11 journalctl"),  # its sudo runs the agent alone
    ],
)
def test_who_may_read_the_log_is_said_as_the_inventory_has_it(become: Become, words: str) -> None:
    there = replace(FLEET, hosts=(QUEEN, replace(HIVE, become=become)))
    assert words in hint(Cause(Trouble.UNHEALTHY), there, "hive1")


def test_many_hosts_with_one_trouble_share_a_command_that_means_all_of_them() -> None:
    hosts = tuple(replace(HIVE, name=f"hive{number}") for number in range(1, 6))
    many = replace(FLEET, hosts=(QUEEN, *hosts))
    names = [host.name for host in hosts]
    said = hint(Cause(Trouble.TOKEN_MISSING), many, *names)
    assert "`fab install --fleet production --limit 'hive[1:5]'`" in said
    assert [host.name for host in inventory.select(many, *shlex.split(limit_of(names)))] == names
    assert line(Cause(Trouble.TOKEN_MISSING), many, *names).startswith("hive[1:5]: token-missing\n  hint: ")


def test_the_fleet_is_named_as_the_operator_did() -> None:
    elsewhere = replace(FLEET, called="'./my fleets/hosts.ini'")
    assert "fab plan --fleet './my fleets/hosts.ini'" in hint(Cause(Trouble.SUPERSEDED), elsewhere, "hive1")


def test_a_host_that_the_inventory_has_no_longer_is_called_by_its_name() -> None:
    assert "ssh hive9 sudo journalctl -u UNIT" in hint(Cause(Trouble.START_FAILED), FLEET, "hive9")


def test_a_command_is_given_the_fleet_unless_it_names_one() -> None:
    assert for_fleet("`fab status --watch`", "production") == "`fab status --fleet production --watch`"
    assert for_fleet("`fab status --fleet other`", "production") == "`fab status --fleet other`"
    assert for_fleet("`fab status`", "") == "`fab status`"
