"""What a run does with its hosts at once: which tokens they are told, who stands, how it ends."""

from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.journal.events import Paused, Phase, PhaseStarted, RunEnded, State
from hivekeys.journal.fold import fold
from hivekeys.journal.history import History
from hivekeys.token import Token, generate
from tests.builders.operator import Operator, breaks
from tests.inprocess import KEY, InProcessFleet

LONE, EARLIER, LEAKED = generate(), generate(), generate()


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """hive1 and hive2 run on a token of their own each, hive3 does not run, hive4 is away."""
    fleet = InProcessFleet(tmp_path, hives=4)
    for name, token in (("hive1", LONE), ("hive2", LEAKED)):
        fleet.hosts[name].write(token)
        fleet.hosts[name].start()
    fleet.hosts["hive3"].stop()
    fleet.hosts["hive4"].fault = "link-down"
    return fleet


def looked(fleet: InProcessFleet, **more: object) -> Operator:
    ann = Operator(fleet, **more)  # type: ignore[arg-type]  # a test's own keywords
    ann.look()
    return ann


def test_a_token_that_services_run_on_is_one_that_a_host_shows(fleet: InProcessFleet) -> None:
    served = looked(fleet).runner.served_tokens()
    assert served == {token.fingerprint(KEY) for token in (fleet.token, LONE, LEAKED)}, "nothing of who shows none"


def test_only_what_is_borne_out_as_the_fleets_may_be_brought_to_any_host(fleet: InProcessFleet) -> None:
    """The queen's, what two hosts hold, the journal's, what the operator vouches for; never what one hive calls so."""
    ann = looked(fleet, history=History((EARLIER.fingerprint(KEY),)))
    crew = ann.runner
    common = {fleet.token.fingerprint(KEY), EARLIER.fingerprint(KEY), None}
    assert crew.common_tokens() == common, "none is chosen yet"
    assert crew.vouch(LEAKED) == LEAKED.fingerprint(KEY)
    want = crew.choose_token(ann.token)
    assert crew.common_tokens() == (common - {None}) | {LEAKED.fingerprint(KEY), want}


def test_whoever_failed_stands_no_more(fleet: InProcessFleet) -> None:
    ann = looked(fleet)
    assert {controller.host.name for controller in ann.runner.standing()} == {
        name for name, host in ann.run.hosts.items() if host.cause is None
    }
    assert "hive4" not in {controller.host.name for controller in ann.runner.standing()}


def test_a_host_can_be_asked_with_a_token_that_it_has_or_was_told(fleet: InProcessFleet) -> None:
    ann = looked(fleet)
    hive1, hive2 = ann.runner.of(["hive1", "hive2"])
    assert ann.runner.is_known(hive1, LONE.fingerprint(KEY))
    assert not ann.runner.is_known(hive2, LONE.fingerprint(KEY))
    ann.runner.vouch(LONE)
    ann.runner.introduce()
    assert ann.runner.is_known(hive2, LONE.fingerprint(KEY))


# -- where a host is, of which nothing was heard


@pytest.mark.parametrize(("stops_in", "state"), [(Phase.STAGE, State.UNREACHABLE), (Phase.QUEEN, State.UNKNOWN)])
def test_after_an_interruption_a_host_that_is_away_is_unknown_once_it_was_told_to_change(
    tmp_path: Path, stops_in: Phase, state: State
) -> None:
    fleet = InProcessFleet(tmp_path, hives=1)
    ann = Operator(fleet, stops_in=stops_in)
    assert ann.rotate() is ExitCode.INTERRUPTED
    fleet.hosts["hive1"].fault = "link-down"
    again = Operator(fleet, past=fold(ann.events))
    (controller,) = again.runner.of(["hive1"])
    assert controller.look_again(ann.run.want).state is state
    again.runner.close()


@pytest.mark.parametrize("turned", [True, False])
def test_a_look_at_a_host_after_an_interruption_claims_no_more_than_it_shows(tmp_path: Path, turned: bool) -> None:
    """Whoever shows the new token without having been proven is unknown; whoever shows the old one is as before."""
    fleet = InProcessFleet(tmp_path, hives=1)
    ann = Operator(fleet, stops_in=Phase.QUEEN)
    assert ann.rotate() is ExitCode.INTERRUPTED
    if turned:
        fleet.hosts["hive1"].write(ann.token)
    again = Operator(fleet, past=fold(ann.events))
    (controller,) = again.runner.of(["hive1"])
    outcome = controller.look_again(ann.run.want)
    assert outcome.state is (State.UNKNOWN if turned else State.UNCHANGED)
    assert controller.look_again(None).state is State.UNCHANGED
    again.runner.close()


# -- how it ends


def test_a_run_of_which_nobody_answers_stays_open(tmp_path: Path) -> None:
    ann = Operator(InProcessFleet(tmp_path, hives=1))
    assert ann.look()
    assert ann.runner.wait() is ExitCode.INCOMPLETE
    assert isinstance(ann.events[-1], Paused) and ann.events[-1].code is ExitCode.INCOMPLETE
    assert ann.run.code is None


def test_the_end_that_is_given_is_the_end(tmp_path: Path) -> None:
    ann = Operator(InProcessFleet(tmp_path, hives=1))
    assert ann.look()
    ann.runner.interrupt()
    assert ann.runner.end(ExitCode.USAGE) is ExitCode.USAGE
    assert isinstance(ann.events[-1], RunEnded)


def test_a_phase_has_its_hosts_and_a_title_or_else_its_own_name(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=2)
    fleet.at("hive1", "restart", breaks("start-fails"))
    ann = Operator(fleet)
    ann.rotate()
    told = {(event.title, event.hosts) for event in ann.events if isinstance(event, PhaseStarted)}
    assert {("look", ("queen", "hive1", "hive2")), ("canary", ("hive1",)), ("rollback, queen", ("queen",))} <= told


def test_a_token_of_the_operators_own_is_written_down_as_given(tmp_path: Path) -> None:
    ann = Operator(InProcessFleet(tmp_path, hives=1))
    assert ann.look()
    ann.runner.choose_token(Token("b" * 64), given=True)
    assert ann.run.given
    ann.runner.close()
