"""Every verb on fleets of every shape: the token from a file, from a file of root's by systemd, or through a wrapper.

Three small fleets, booted at once and asked at once: most of it is waiting. What is true of them is asked of the hosts
themselves, over HTTP and in the file that their units name.
"""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hivekeys.lab import Host, Units, down, up
from hivekeys.lab.files import SECRETS, token_file

from .asking import put_token, status
from .rotating import INVENTORY, Answer, fab, start_fab, write_policy

pytestmark = pytest.mark.lab


CHANGED = ("--yes", "--json")


class Fleet:
    """A queen and a hive of one shape, and a bastion of their own."""

    def __init__(self, units: Units, state: Path) -> None:
        self.state = state
        self.lab = up(f"lab-{units}{os.getpid()}", hives=1, units=units, inventory_dir=INVENTORY)
        write_policy(self.lab, revocation_recheck=0.2)

    def fab(self, verb: str, *words: str) -> Answer:
        return fab(verb, "--fleet", self.lab.name, *words, state=self.state)

    def on_each(self, ask: Callable[[Host], object]) -> set[object]:
        """What is so on the hosts: one answer where they agree."""
        return {ask(host) for host in self.lab.hosts.values()}

    @property
    def token(self) -> str:
        """The one token that all hosts hold."""
        (found,) = self.on_each(lambda host: self.lab.read(host.name, token_file(self.lab)))
        assert isinstance(found, str)
        return re.sub(r"(?s).*LLORCH_API_TOKEN=(\S+).*", r"\1", found).strip()

    def serves(self, token: str, *, refused: str = "") -> bool:
        """Whether each host serves this token alone, and refuses none and the other."""
        answers = self.on_each(lambda host: (status(host, token), status(host, None), status(host, refused or "x")))
        return self.token == token and answers == {(200, 401, 401)}

    def is_cut_off(self) -> None:
        """A rotation has turned the queen, and is stopped before the hive."""
        words = ("--fleet", self.lab.name, "--yes", "--events", "--quiet", "--pause", "600")
        with start_fab("rotate", *words, state=self.state) as run:
            assert run.stdout
            assert run.stderr
            events = map(json.loads, run.stdout)
            assert any((event["type"], event.get("phase")) == ("host-answered", "queen") for event in events)
            run.send_signal(signal.SIGINT)
            list(events)
            run.stderr.read()
        assert run.returncode == 130


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Fleet]]:
    """One of each shape."""
    try:
        with ThreadPoolExecutor() as pool:
            yield list(pool.map(lambda units: Fleet(units, tmp_path_factory.mktemp(units)), Units))
    finally:
        for units in Units:
            down(f"lab-{units}{os.getpid()}", inventory_dir=INVENTORY)


def on_every_shape(fleets: list[Fleet], scenario: Callable[[Fleet], None]) -> None:
    """Plays a scenario on all of them at once; says of each that fails which it was."""

    def played(fleet: Fleet) -> str:
        try:
            scenario(fleet)
        except AssertionError as error:
            return f"{fleet.lab.shape.units}: {error or repr(error)}"
        return ""

    with ThreadPoolExecutor() as pool:
        assert [failed for failed in pool.map(played, fleets) if failed] == []


def rotated(fleet: Fleet) -> None:
    old = fleet.token
    answer = fleet.fab("rotate", *CHANGED)
    assert answer.code == 0, answer.err
    assert {host["state"] for host in answer.hosts.values()} == {"proven"}
    logged = [host["logged"] for host in answer.hosts.values()]
    assert logged == [[answer.document["token"]]] * len(logged)
    assert fleet.serves(fleet.token, refused=old)


def revoked(fleet: Fleet) -> None:
    leaked = fleet.token
    answer = fleet.fab("revoke", "--reason", "it was in a chat", *CHANGED)
    assert answer.code == 0, answer.err
    assert fleet.token != leaked
    assert fleet.serves(fleet.token, refused=leaked)


def resumed(fleet: Fleet) -> None:
    old = fleet.token
    fleet.is_cut_off()
    answer = fleet.fab("resume", *CHANGED[1:])
    assert answer.code == 0, answer.err
    assert fleet.token != old
    assert fleet.serves(fleet.token, refused=old)


def rolled_back(fleet: Fleet) -> None:
    old = fleet.token
    fleet.is_cut_off()
    answer = fleet.fab("rollback", *CHANGED[1:])
    assert answer.code == 0, answer.err
    assert fleet.serves(old)


def verified(fleet: Fleet) -> None:
    answer = fleet.fab("verify", "--json")
    failed = {one["check"] for one in answer.document["findings"] if one["verdict"] == "fail"}
    assert (answer.code, failed) == (0, set()), answer.out


def installed(fleet: Fleet) -> None:
    """A fleet that works is none to be installed: it goes on to work, whatever `fab install` makes of it."""
    token = fleet.token
    answer = fleet.fab("install", *CHANGED)
    assert answer.code in (0, 4), answer.err
    assert fleet.serves(token)


@pytest.mark.parametrize("scenario", [rotated, revoked, resumed, rolled_back, verified, installed])
def test_every_shape_is(fleets: list[Fleet], scenario: Callable[[Fleet], None]) -> None:
    on_every_shape(fleets, scenario)


def test_a_service_that_reads_no_file_works_as_before_after_an_install_that_thought_it_does(
    fleets: list[Fleet],
) -> None:
    """v0.1.0 under an inventory that is written as the guide says: the file is another than the unit's own."""
    (fleet,) = (fleet for fleet in fleets if fleet.lab.shape.units is Units.ENVIRONMENT_FILE)
    lab, token, inventory = fleet.lab, fleet.token, fleet.lab.inventory.read_text()
    lab.inventory.write_text(re.sub(r"(?m)^format = .*\n|^token = .*\n", "", inventory))
    try:
        refused = fleet.fab("install", *CHANGED)
        assert (refused.code, "has its token from its environment" in refused.err) == (2, True)
        for name in lab.hosts:
            lab.sh(name, f"install -d -o llama-orch -g llama-orch -m 700 {SECRETS}")
            put_token(lab, name, token)
        undone = fleet.fab("install", *CHANGED)
        assert undone.code == 4, undone.err
        assert undone.hosts["queen"]["cause"]["trouble"] == "new-refused"
        assert "this program does not read the file" in undone.hosts["queen"]["cause"]["detail"]
        assert undone.hosts["queen"]["cause"]["detail"].endswith("what was done is undone, it works as before")
        assert undone.hosts["hive1"]["cause"]["trouble"] == "not-begun"
    finally:
        lab.inventory.write_text(inventory)
        for name in lab.hosts:
            lab.sh(name, f"rm -rf {SECRETS}")
    assert fleet.serves(token)
