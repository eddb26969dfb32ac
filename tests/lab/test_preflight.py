"""What stops a host is found before any service is restarted; what ends an agent, or restarts one, is called that."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Order
from hivekeys.journal.events import Intent, Outcome, Phase, PhaseStarted
from hivekeys.lab import Lab
from hivekeys.lab.faults import inject
from hivekeys.lab.files import SECRETS
from hivekeys.protocol.causes import Trouble

from .rotating import WHOLE, Rotation, fleet_of, made_whole, rotate, truth, truth_of

pytestmark = pytest.mark.lab
TOKEN = f"{SECRETS}/api-token"
IGNORES = """\
[Service]
TimeoutStopSec=70
ExecStart=
ExecStart=/bin/sh -c 'trap "" TERM; exec /usr/local/bin/rbee-hive --port 8081'
"""


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """What is taken away again however a test ends."""
    with ExitStack() as stack:
        yield stack


def drop_in(lab: Lab, undo: ExitStack, name: str, text: str, then: str = "true") -> None:
    """A drop-in for the host's unit, as an administrator adds one."""
    folder = f"/run/systemd/system/{lab.hosts[name].unit}.service.d"
    path = f"{folder}/zz-test.conf"
    lab.sh(name, f"mkdir -p {folder}")
    lab.write(name, path, text)
    lab.sh(name, f"systemctl daemon-reload; {then}")
    undo.callback(lab.sh, name, f"rm -f {path}; systemctl daemon-reload; {then}")


def as_it_is(lab: Lab) -> dict[str, tuple[str, dict[str, str], int]]:
    """The token of each host, all its token files, and when its service was started."""
    return {name: (host.token, host.files, host.started) for name, host in truth(lab).items()}


# -- five hives, five reasons, one look


@pytest.fixture(scope="module")
def in_the_way(five_hives: Lab) -> Iterator[tuple[Rotation, bool]]:
    """A run that meets another obstacle on each hive, and whether all hosts are as before, their processes too."""
    lab = five_hives
    made_whole(lab)
    unit = lab.hosts["hive5"].unit
    with ExitStack() as undo:
        lab.sh("hive1", f"chattr +i {TOKEN}")
        undo.callback(lab.sh, "hive1", f"chattr -i {TOKEN}")
        lab.sh("hive2", f"mount --bind {TOKEN} {TOKEN}")
        undo.callback(lab.sh, "hive2", f"umount {TOKEN}")
        drop_in(lab, undo, "hive3", "[Unit]\nRefuseManualStop=yes\n")
        drop_in(lab, undo, "hive4", "[Unit]\nRequires=absent-gpu.service\nAfter=absent-gpu.service\n")
        drop_in(lab, undo, "hive5", IGNORES, f"systemctl kill -s KILL {unit}; systemctl restart {unit}")
        was = as_it_is(lab)
        rotation = rotate(fleet_of(lab))
        unchanged = as_it_is(lab) == was
    yield rotation, unchanged
    made_whole(lab)


@pytest.mark.parametrize(
    ("name", "trouble", "words"),
    [
        ("hive1", Trouble.IMMUTABLE, f"{TOKEN} is immutable: chattr -i {TOKEN}"),
        ("hive2", Trouble.MOUNT_POINT, f"{TOKEN} is a mount point, and cannot be replaced: umount {TOKEN}"),
        ("hive3", Trouble.RESTART_REFUSED, "RefuseManualStop=yes"),
        ("hive4", Trouble.RESTART_REFUSED, "Requires=absent-gpu.service, which is not-found"),
        ("hive5", Trouble.STOP_TOO_SLOW, "70 s (TimeoutStopSec); [timeouts] request is 8 s"),
    ],
)
def test_what_would_stop_a_host_later_is_named_by_the_look(
    in_the_way: tuple[Rotation, bool], name: str, trouble: Trouble, words: str
) -> None:
    rotation, _ = in_the_way
    cause = rotation.run.hosts[name].cause
    assert cause
    assert (cause.trouble, words in cause.detail) == (trouble, True), cause


def test_nothing_is_written_and_nothing_restarted(in_the_way: tuple[Rotation, bool]) -> None:
    """All of it was met after the queen and the other hives had turned: each was restarted twice."""
    rotation, unchanged = in_the_way
    assert {event.phase for event in rotation.events if isinstance(event, PhaseStarted)} == {Phase.LOOK}
    assert unchanged


# -- what comes in the middle


@pytest.fixture
def pair(lab: Lab) -> Fleet:
    """The first hive, before its queen, each watched for a while after its restart."""
    fleet = fleet_of(lab, stable_seconds=2.5, order=Order.HIVES_FIRST)
    return replace(fleet, hosts=tuple(host for host in fleet.hosts if host.name in ("queen", "hive1")))


def test_a_limit_on_how_long_a_command_may_run_is_a_broken_line(lab: Lab, pair: Fleet, undo: ExitStack) -> None:
    """sudo ends each agent after 4 s, the first in the middle of its proof: the service takes 2 s to come up."""
    inject(lab, "hive1", "start-slow", seconds=2)
    lab.sh("hive1", "echo 'Defaults command_timeout=4s' >/etc/sudoers.d/zz; chmod 440 /etc/sudoers.d/zz")
    undo.callback(lab.sh, "hive1", "rm /etc/sudoers.d/zz")
    rotation = rotate(pair)
    assert rotation.code is ExitCode.DONE, rotation.troubles
    here = truth_of(lab, "hive1")
    assert (here.token, here.files, here.serves) == (rotation.token.reveal(), WHOLE, 200)
    turns = [event for event in rotation.events if isinstance(event, Intent) and event.phase is Phase.CANARY]
    assert len(turns) > 1, "no agent was ended in the middle of its turn"


def test_a_path_unit_that_restarts_the_service_is_not_called_its_death(lab: Lab, pair: Fleet, undo: ExitStack) -> None:
    folder, unit = "/run/systemd/system", lab.hosts["hive1"].unit
    restarts = f"[Service]\nType=oneshot\nExecStart=/bin/sleep 1\nExecStart=/bin/systemctl restart {unit}\n"
    lab.write("hive1", f"{folder}/watch.path", f"[Path]\nPathChanged={TOKEN}\n")
    lab.write("hive1", f"{folder}/watch.service", restarts)
    lab.sh("hive1", "systemctl daemon-reload; systemctl start watch.path")
    ends = f"systemctl stop watch.path watch.service; rm {folder}/watch.*; systemctl daemon-reload"
    undo.callback(lab.sh, "hive1", ends)
    rotation = rotate(pair)
    failed = [event for event in rotation.events if isinstance(event, Outcome) and event.cause]
    assert {event.cause.trouble for event in failed if event.cause} == {Trouble.RESTARTED_BY_ANOTHER}
