"""Whether a run calls the services meanwhile: by what was typed, and by what they accept."""

from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import Host
from hivekeys.service import Accepts, Apply
from hivekeys.tasks.options.turning import MeterOptions
from tests.inprocess import InProcessFleet

TWO = {"accepts": Accepts.LINES, "apply": Apply.RELOAD}


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[Host, ...]:
    return InProcessFleet(tmp_path, hives=1, service=TWO).inventory.hosts


def test_services_that_accept_two_tokens_are_called_without_being_asked(hosts: tuple[Host, ...]) -> None:
    assert MeterOptions().meters(hosts)
    assert not MeterOptions(no_meter=True).meters(hosts)


def test_services_that_take_one_token_are_called_where_it_is_asked_for(tmp_path: Path) -> None:
    hosts = InProcessFleet(tmp_path, hives=1).inventory.hosts
    assert not MeterOptions().meters(hosts)
    assert MeterOptions(meter=True).meters(hosts)
    assert MeterOptions(no_refusal=True).meters(hosts)


@pytest.mark.parametrize(
    ("options", "named"),
    [(MeterOptions(meter=True, no_meter=True), "--meter"), (MeterOptions(no_refusal=True, no_meter=True), "--no-ref")],
)
def test_to_call_and_not_to_call_is_refused(options: MeterOptions, named: str, hosts: tuple[Host, ...]) -> None:
    with pytest.raises(UserError, match=named):
        options.meters(hosts)
