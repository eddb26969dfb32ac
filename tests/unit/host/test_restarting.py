"""A restart that systemd refuses, that may take too long, or that somebody else does: seen before, or called that."""

import time
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.host.restarting import FOR_EVER
from hivekeys.journal.events import State
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.token import Token, generate
from tests.builders.operator import Operator, serving
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost

OLD_LINES = ["WARN rbee-hive: auth failed: invalid token ip=127.0.0.1"]


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=2, policy=Policy(revocation_recheck=0.0))


@pytest.fixture
def host(fleet: InProcessFleet) -> SimulatedHost:
    return fleet.hosts["hive1"]


REFUSED: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "nobody may stop it": ({"RefuseManualStop": "yes"}, {}, "has RefuseManualStop=yes"),
    "nobody may start it": ({"RefuseManualStart": "yes"}, {}, "has RefuseManualStart=yes"),
    "it cannot be stopped": ({"CanStop": "no"}, {}, "has CanStop=no"),
    "what it requires is not there": (
        {"Requires": "sysinit.target system.slice gpu.service absent-gpu.service"},
        {"gpu.service": "loaded"},
        "has Requires=absent-gpu.service, which is not-found",
    ),
    "what it is bound to is masked": ({"BindsTo": "gpu.service"}, {"gpu.service": "masked"}, "which is masked"),
    "it is masked": ({"LoadState": "masked"}, {}, "is masked"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_restart_that_systemd_will_refuse_is_seen_in_the_look_and_nothing_is_restarted(
    fleet: InProcessFleet, host: SimulatedHost, what: str
) -> None:
    settings, units, words = REFUSED[what]
    host.unit_settings, host.units = settings, units
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ann.troubles == {"hive1": Trouble.RESTART_REFUSED}
    assert words in str(ann.outcomes("hive1")[-1].cause)
    assert {entry.verb for entry in fleet.log} == {"hello", "observe", "prove"}


def test_what_it_requires_and_has_is_no_obstacle(fleet: InProcessFleet, host: SimulatedHost) -> None:
    host.unit_settings, host.units = {"Requires": "sysinit.target gpu.service"}, {"gpu.service": "loaded"}
    assert Operator(fleet).rotate() is ExitCode.DONE


@pytest.mark.parametrize("settings", [{"RefuseManualStop": "yes"}, {"Requires": "absent-gpu.service"}])
def test_of_a_restart_that_is_refused_systemctls_words_are_the_cause_and_not_the_old_process_log(
    host: SimulatedHost, settings: dict[str, str]
) -> None:
    """It was called start-failed, with the log of the process that still runs: our own garbage call among its lines."""
    session = Session(host)
    host.log, host.unit_settings = OLD_LINES, settings
    result = session.do("restart")
    assert result["trouble"] == "restart-refused"
    assert result["detail"].startswith("Failed to restart rbee-hive.service: ")
    assert not any(words in result["detail"] for words in ("auth failed", "See system logs"))


def test_in_a_revocation_the_others_turn_and_it_is_named(fleet: InProcessFleet, host: SimulatedHost) -> None:
    host.log, host.unit_settings = OLD_LINES, {"RefuseManualStop": "yes"}
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.INCOMPLETE
    assert ann.troubles == {"hive1": Trouble.RESTART_REFUSED}
    assert serving(fleet, ann.token) == {"queen": "new", "hive1": "old", "hive2": "new"}


def test_a_service_that_was_started_for_us_and_failed_has_its_own_words(host: SimulatedHost) -> None:
    session = Session(host)
    host.fault, host.last_words = "start-fails", "error: no such model"
    result = session.do("restart")
    assert (result["trouble"], result["detail"]) == ("start-failed", "error: no such model")


# -- a service that is slow to end


TIMEOUTS: list[tuple[str, bool, str, float | None]] = [
    ("1min 30s", False, "", None),  # SIGTERM ends it at once, as it does the real services
    ("1min 30s", True, "", 90.0),
    ("1min 10s 500ms", True, "", 70.5),
    ("2h", True, "", 7200.0),
    ("infinity", True, "", FOR_EVER),
    ("1min 10s", False, "{ path=/usr/bin/drain }", 70.0),  # ExecStop=
]


@pytest.mark.parametrize(("said", "outlives", "stop", "seconds"), TIMEOUTS)
def test_how_long_systemd_may_wait_for_its_end_is_seen(
    host: SimulatedHost, said: str, outlives: bool, stop: str, seconds: float | None
) -> None:
    host.unit_settings = {"TimeoutStopUSec": said, "KillMode": "control-group", "KillSignal": "15", "ExecStop": stop}
    host.outlives_sigterm = outlives
    assert Session(host, write=False).do("observe")["facts"]["unit"]["stop_seconds"] == seconds


def test_one_that_may_be_slower_than_a_request_is_refused_before_anything_is_restarted(
    fleet: InProcessFleet, host: SimulatedHost
) -> None:
    host.unit_settings, host.outlives_sigterm = {"TimeoutStopUSec": "10min", "KillMode": "control-group"}, True
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ann.troubles == {"hive1": Trouble.STOP_TOO_SLOW}
    assert "600 s (TimeoutStopSec); [timeouts] request is 120 s" in str(ann.outcomes("hive1")[-1].cause)
    assert "restart" not in {entry.verb for entry in fleet.log}


# -- somebody else's restart


def turned(host: SimulatedHost, new: Token) -> Session:
    """A session in which the host's service was given this token and restarted."""
    session = Session(host)
    want = new.fingerprint(KEY).keyed
    steps = session.ask({"verb": "stage", "token": new.reveal()}, {"verb": "swap", "want": want}, {"verb": "restart"})
    assert all(step["ok"] for step in steps)
    return session


def watched(session: Session, **happens: Any) -> dict[str, Any]:
    """A proof of 3 s; `happens[at]` is done once so many tenths of a second are over."""
    host = session.line.host
    machine, began = session.line.agent.system, host.clock
    sleep, left = machine.sleep, {float(at[1:]) / 10: do for at, do in happens.items()}

    def passes(seconds: float) -> None:
        sleep(seconds)
        for at in [at for at in left if host.clock - began >= at]:
            left.pop(at)()

    machine.sleep = passes  # type: ignore[method-assign]
    return session.do("prove", stable_seconds=3.0)


def test_a_restart_by_something_else_is_called_that(host: SimulatedHost) -> None:
    """A path unit that sees the new file: NRestarts stays 0, Result is success, the invocation is another."""
    result = watched(turned(host, generate()), t10=host.start)
    assert result["trouble"] == "restarted-by-another"
    assert "rbee-hive.service was restarted on the host by something else" in result["detail"]


def test_a_restart_by_something_else_that_takes_a_moment_is_called_that_too(host: SimulatedHost) -> None:
    """Between its end and its start the unit has no process, and nothing has failed."""
    result = watched(turned(host, generate()), t10=host.stop, t20=host.start)
    assert result["trouble"] == "restarted-by-another"


def test_a_service_that_somebody_stopped_did_not_die(host: SimulatedHost) -> None:
    result = watched(turned(host, generate()), t10=host.stop)
    assert (result["trouble"], result["detail"]) == (
        "unstable",
        "rbee-hive.service ended without an error, or was stopped",
    )


def test_a_service_that_dies_is_still_one_that_dies(host: SimulatedHost) -> None:
    session = Session(host)
    host.fault, host.last_words = "crash-loops", "panic"
    session.do("restart")
    assert session.do("prove", stable_seconds=3.0)["trouble"] == "unstable"


def test_a_rotation_that_meets_one_says_so(fleet: InProcessFleet, host: SimulatedHost) -> None:
    def path_unit(host: SimulatedHost) -> None:
        machine = host.lines[-1].agent.system
        sleep = machine.sleep

        def passes(seconds: float) -> None:
            sleep(seconds)
            host.start()

        machine.sleep = passes  # type: ignore[method-assign]

    fleet.at("hive1", "prove", path_unit, nth=2)
    ann = Operator(fleet)
    ann.rotate()
    found = next(outcome for outcome in ann.outcomes("hive1") if outcome.state is State.FAILED)
    assert found.cause
    assert found.cause.trouble is Trouble.RESTARTED_BY_ANOTHER


def test_what_a_process_makes_of_a_signal_is_read_of_the_kernel(tmp_path: Path) -> None:
    """Asked of real processes: one that ignores SIGTERM, and one that does not."""
    import subprocess  # noqa: PLC0415

    from hivekeys.host.system import System  # noqa: PLC0415

    for trap, outlives in (("trap '' TERM; ", True), ("", False)):
        with subprocess.Popen(["/bin/sh", "-c", f"{trap}echo; exec sleep 30"], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            try:
                end = time.monotonic() + 10
                while System().outlives(process.pid, 15) is not outlives and time.monotonic() < end:
                    pass
                assert System().outlives(process.pid, 15) is outlives
            finally:
                process.kill()
