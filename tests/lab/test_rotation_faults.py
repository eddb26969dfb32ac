"""Every fault of the lab met in a rotation: what the run answers, what is then true of the hosts, and the way on.

Each test ends as an operator would: the fault is mended, the same command runs again, and all is proven.
"""

import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Timeouts
from hivekeys.journal.events import Intent, Phase, PhaseStarted, State, Stopped
from hivekeys.lab import Lab
from hivekeys.lab.faults import inject, mend
from hivekeys.lab.files import SECRETS
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.hints import hint
from hivekeys.protocol.verbs import Verb
from tests.builders.commands import commands_in

from .rotating import (
    SOON,
    WHOLE,
    Rotation,
    after,
    all_but,
    before,
    fleet_of,
    made_whole,
    mended,
    rotate,
    serves,
    truth,
    truth_of,
)
from .surviving import agents_left

pytestmark = pytest.mark.lab
PYTHON = "/usr/bin/python3"


@pytest.fixture
def old(lab: Lab) -> str:
    """The token that all hosts have before the run."""
    return truth_of(lab, "queen").token


def works_again(lab: Lab, old: str) -> bool:
    """Mended and run again, the fleet is proven on a new token."""
    mended(lab)
    again = rotate(fleet_of(lab))
    assert again.code is ExitCode.DONE, again.troubles
    return again.states == all_but(lab, State.PROVEN) and serves(lab, again.token.reveal(), refused=old)


def told(rotation: Rotation, lab: Lab, name: str) -> str:
    """What the report says of a host, once it is sure that the next step is among it."""
    lines = report.failure_lines(rotation.run, fleet_of(lab))
    cause = rotation.run.hosts[name].cause
    assert cause is not None
    assert any(line.startswith("    next: ") for line in lines)
    return next(line for line in lines if line.startswith(name))


# -- what stands in the way is found before anything is touched: all of it, in one run


@pytest.fixture(scope="module")
def in_the_way(five_hives: Lab) -> Iterator[tuple[Rotation, bool]]:
    """A run that meets a different fault on every hive, and whether the hosts were as before afterwards."""
    made_whole(five_hives)
    was = truth(five_hives)
    for name, fault in (
        ("hive1", "sudo-refused"),
        ("hive2", "host-key-changed"),
        ("hive3", "link-down"),
        ("hive4", "sshd-frozen"),
    ):
        inject(five_hives, name, fault)
    five_hives.sh("hive5", f"mv {PYTHON} {PYTHON}.away")
    rotation = rotate(fleet_of(five_hives))
    five_hives.sh("hive5", f"mv {PYTHON}.away {PYTHON}")
    mended(five_hives)
    yield rotation, truth(five_hives) == was
    made_whole(five_hives)


@pytest.mark.parametrize(
    ("name", "trouble", "words"),
    [
        ("hive1", Trouble.SUDO_REFUSED, "password is required"),
        ("hive2", Trouble.HOST_KEY_CHANGED, "SHA256:"),
        ("hive3", Trouble.NO_CONNECTION, "10.213"),
        ("hive4", Trouble.NO_BANNER, ""),
        ("hive5", Trouble.PYTHON_MISSING, "there is no python3"),
    ],
)
def test_what_keeps_hivekeys_from_a_host_is_named_with_the_next_step(
    in_the_way: tuple[Rotation, bool], lab: Lab, name: str, trouble: Trouble, words: str
) -> None:
    rotation, _ = in_the_way
    assert rotation.troubles[name] is trouble
    assert rotation.states[name] is State.UNREACHABLE
    assert words in told(rotation, lab, name)


def test_before_anything_is_touched_nothing_is_changed(in_the_way: tuple[Rotation, bool]) -> None:
    rotation, unchanged = in_the_way
    assert rotation.code is ExitCode.ROLLED_BACK
    assert rotation.states["queen"] is State.UNCHANGED
    assert unchanged
    assert {event.phase for event in rotation.events if isinstance(event, PhaseStarted)} == {Phase.LOOK}


@pytest.mark.parametrize(("fault", "words"), [("disk-full", "No space left"), ("read-only", "Read-only")])
def test_a_directory_that_takes_no_token_stops_the_run_before_it_changes_anything(
    lab: Lab, old: str, fault: str, words: str
) -> None:
    was = truth(lab)
    inject(lab, "hive3", fault)
    rotation = rotate(fleet_of(lab))
    assert rotation.code is ExitCode.ROLLED_BACK
    assert rotation.states == all_but(lab, State.UNCHANGED, hive3=State.FAILED)
    assert rotation.troubles == {"hive3": Trouble.WRITE_FAILED}
    assert words in told(rotation, lab, "hive3")
    assert truth(lab) == was
    assert works_again(lab, old)


# -- what does not matter any more, or only takes longer


@pytest.fixture(scope="module")
def no_matter(five_hives: Lab) -> Iterator[Rotation]:
    """A run under faults that it need not mind: the line is open, the token lies ready, or patience is enough."""
    made_whole(five_hives)
    inject(five_hives, "hive1", "link-slow")
    inject(five_hives, "hive5", "start-slow", seconds=4)
    yield rotate(
        fleet_of(five_hives),
        after(Phase.STAGE, lambda: inject(five_hives, "hive2", "disk-full"), "hive2"),
        after(Phase.CLAIM, lambda: inject(five_hives, "hive3", "sudo-refused"), "hive3"),
        after(Phase.CLAIM, lambda: inject(five_hives, "hive4", "host-key-changed"), "hive4"),
    )
    made_whole(five_hives)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("hive1", "every packet is slow"),
        ("hive2", "the disk fills up once the token is staged"),
        ("hive3", "sudo is taken away once the agent runs"),
        ("hive4", "sshd changes its keys once the line is open"),
        ("hive5", "the service starts slowly, within its deadline"),
    ],
)
def test_it_does_not_matter_that(no_matter: Rotation, lab: Lab, name: str, what: str) -> None:
    assert no_matter.code is ExitCode.DONE, no_matter.troubles
    assert no_matter.states[name] is State.PROVEN, what
    here = truth_of(lab, name)
    assert (here.token, here.files, here.serves) == (no_matter.token.reveal(), WHOLE, 200)


# -- a service that will not have the new token, and is well with the old one: everything goes back


def typed_as_hinted(rotation: Rotation, lab: Lab, name: str) -> bool:
    """The command of the hint shows the log of the host's own service, from where the operator sits."""
    cause, fleet = rotation.run.hosts[name].cause, fleet_of(lab)
    assert cause is not None
    (command,) = commands_in(hint(cause, fleet, name))
    assert f"    next: {hint(cause, fleet, name)}" in report.failure_lines(rotation.run, fleet)
    looked = subprocess.run(
        shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )
    return looked.returncode == 0 and "Failed with result" in looked.stdout


def counted(rotation: Rotation, name: str) -> int | None:
    """The processes that the host says its unit has beside the service's own."""
    seen = rotation.run.hosts[name].seen
    assert seen is not None
    return seen.unit.beside


def beside_the_service(lab: Lab, name: str) -> set[str]:
    """The same, as the kernel lists them."""
    group = f"system.slice/{lab.hosts[name].unit}.service"
    listed = lab.sh(name, f"cd /sys/fs/cgroup; cat {group}/cgroup.procs || cat systemd/{group}/cgroup.procs")
    main = lab.sh(name, f"systemctl show --property=MainPID --value {lab.hosts[name].unit}.service").strip()
    assert main in listed.split()
    return set(listed.split()) - {main}


ONLY_OLD = f"""\
[Service]
ExecStartPre=/bin/sh -c 'test ! -e {SECRETS}/api-token.backup'
"""


@pytest.mark.parametrize(
    ("name", "restarted"),
    [("queen", []), ("hive1", ["queen"]), ("hive4", ["queen", "hive1", "hive2", "hive3", "hive5"])],
)
def test_one_host_that_cannot_run_on_the_new_token_takes_all_back_to_the_old(
    lab: Lab, old: str, name: str, restarted: list[str]
) -> None:
    was = truth(lab)
    inject(lab, name, "start-fails")
    host = lab.hosts[name]
    lab.write(name, f"/run/systemd/system/{host.unit}.service.d/lab-start-fails.conf", ONLY_OLD)
    lab.sh(name, "systemctl daemon-reload")
    rotation = rotate(fleet_of(lab))
    assert rotation.code is ExitCode.ROLLED_BACK
    changed = dict.fromkeys([name, *restarted], State.ROLLED_BACK)
    assert rotation.states == all_but(lab, State.UNCHANGED, **changed)
    assert rotation.troubles == {name: Trouble.START_FAILED}
    assert typed_as_hinted(rotation, lab, name)
    assert counted(rotation, name) == len(beside_the_service(lab, name)), "workers, for the question before a run"
    assert serves(lab, old, refused=rotation.token.reveal())
    now = truth(lab)
    assert {host for host in lab.hosts if now[host].started > was[host].started} == set(changed)
    assert works_again(lab, old)


# -- a service that is ill with any token: the others go back, and the report names it


@pytest.mark.parametrize(
    ("fault", "name", "trouble", "policy"),
    [
        ("start-fails", "queen", Trouble.START_FAILED, {}),
        ("start-fails", "hive5", Trouble.START_FAILED, {}),
        ("start-slow", "hive1", Trouble.UNHEALTHY, {"health_deadline": 1.0}),  # it takes 20 s
        ("accepts-any-token", "queen", Trouble.FAIL_OPEN, {}),
        ("accepts-any-token", "hive2", Trouble.FAIL_OPEN, {}),
        ("crash-loops", "queen", Trouble.UNSTABLE, {"stable_seconds": 2.5}),
        ("crash-loops", "hive1", Trouble.UNSTABLE, {"stable_seconds": 2.5}),
    ],
)
def test_a_host_that_is_ill_is_named_and_the_others_go_back(
    lab: Lab, old: str, fault: str, name: str, trouble: Trouble, policy: dict[str, Any]
) -> None:
    inject(lab, name, fault)
    rotation = rotate(fleet_of(lab, **policy))
    assert rotation.code is ExitCode.INCOMPLETE
    assert rotation.states[name] is State.FAILED
    assert {state for host, state in rotation.states.items() if host != name} <= {State.ROLLED_BACK, State.UNCHANGED}
    assert rotation.troubles == {name: trouble}
    assert told(rotation, lab, name)
    assert serves(lab, old, refused=rotation.token.reveal(), but=(name,))
    ill = truth_of(lab, name)
    assert (ill.token, ill.files["api-token"]) == (old, WHOLE["api-token"])
    assert works_again(lab, old)


@pytest.mark.parametrize("name", ["queen", "hive1"])
def test_a_service_that_stays_on_the_old_token_is_healthy_and_has_failed(lab: Lab, old: str, name: str) -> None:
    rotation = rotate(fleet_of(lab), after(Phase.STAGE, partial(inject, lab, name, "keeps-old-token"), name))
    assert rotation.troubles == {name: Trouble.NEW_REFUSED}
    assert "it still works with the other token: the unit reads /run/" in told(rotation, lab, name)
    assert rotation.run.hosts[name].proof
    assert serves(lab, old, refused=rotation.token.reveal())
    assert works_again(lab, old)


def test_a_service_that_is_told_to_read_another_file_is_seen_before_anything_is_changed(lab: Lab, old: str) -> None:
    was = truth(lab)
    inject(lab, "hive4", "keeps-old-token")
    rotation = rotate(fleet_of(lab))
    assert rotation.code is ExitCode.ROLLED_BACK
    assert rotation.troubles == {"hive4": Trouble.UNIT_READS_ANOTHER_FILE}
    assert "reads /run/" in told(rotation, lab, "hive4")
    assert truth(lab) == was
    assert works_again(lab, old)


# -- the way to a host is lost in the middle


class LinkComesBack:
    """A clock on which the pause before another try to get a host back is when its cable is put in again."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.mend = partial(mend, lab, name)

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, _: float, /) -> None:
        self.mend()


def test_a_cable_that_comes_back_is_waited_for_and_the_host_looked_at_again(lab: Lab, old: str) -> None:
    rotation = rotate(
        replace(fleet_of(lab), timeouts=replace(SOON, request=5, connect=1)),
        before(Phase.WAVE, partial(inject, lab, "hive3", "link-down"), "hive3"),
        clock=LinkComesBack(lab, "hive3"),
    )
    assert rotation.code is ExitCode.DONE, rotation.troubles
    assert serves(lab, rotation.token.reveal(), refused=old)


def test_a_host_that_stays_away_is_unknown_and_named_while_the_others_go_back(lab: Lab, old: str) -> None:
    quick = replace(fleet_of(lab), timeouts=replace(SOON, request=5, connect=1))
    rotation = rotate(quick, before(Phase.WAVE, partial(inject, lab, "hive3", "sshd-frozen"), "hive3"))
    assert rotation.code is ExitCode.INCOMPLETE
    assert rotation.states["hive3"] is State.UNKNOWN
    assert rotation.troubles["hive3"] in (Trouble.SILENT, Trouble.NO_BANNER)
    assert told(rotation, lab, "hive3")
    assert serves(lab, old, refused=rotation.token.reveal(), but=("hive3",))
    assert works_again(lab, old)


def decided_after(rotation: Rotation, name: str) -> float:
    """Seconds by the journal's own clock from when a host was told to turn to the decision to go back."""
    told = next(e for e in rotation.events if isinstance(e, Intent) and e.host == name and Verb.SWAP in e.verbs)
    stopped = next(event for event in rotation.events if isinstance(event, Stopped))
    return stopped.when.clock - told.when.clock


def test_a_host_that_stands_still_in_the_middle_is_decided_on_within_a_minute(lab: Lab, old: str) -> None:
    """Every process of it, the agent too, with the swap on its way. Thawed after the decision it does nothing of it."""
    usual, was = replace(fleet_of(lab), timeouts=Timeouts()), truth_of(lab, "hive3").started
    rotation = rotate(usual, before(Phase.WAVE, partial(inject, lab, "hive3", "frozen"), "hive3"))
    assert rotation.code is ExitCode.INCOMPLETE
    assert rotation.states == all_but(lab, State.ROLLED_BACK, hive3=State.UNKNOWN)
    assert 40 < decided_after(rotation, "hive3") < 60
    mend(lab, "hive3")
    agents_left(lab)
    now = truth_of(lab, "hive3")
    assert (now.token, now.started) == (old, was)
    assert serves(lab, old, refused=rotation.token.reveal(), but=("hive3",))
    assert works_again(lab, old)


def test_a_directory_that_became_read_only_keeps_its_old_token(lab: Lab, old: str) -> None:
    rotation = rotate(fleet_of(lab), after(Phase.STAGE, partial(inject, lab, "hive2", "read-only"), "hive2"))
    assert rotation.code is ExitCode.INCOMPLETE
    assert rotation.states["hive2"] is State.FAILED  # what was staged there cannot be taken away
    assert rotation.troubles == {"hive2": Trouble.WRITE_FAILED}
    assert "Read-only" in told(rotation, lab, "hive2")
    assert serves(lab, old, refused=rotation.token.reveal(), but=("hive2",))
    assert truth_of(lab, "hive2").token == old
    assert works_again(lab, old)
