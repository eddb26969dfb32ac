"""What else on a host could take a token that leaked: asked, named, ended; and never told to another account."""

import grp
import os
import pwd
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.journal.events import Phase, PhaseStarted, State
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.report import document, place_lines, summary
from hivekeys.report.incident import checklist
from hivekeys.report.page import page
from hivekeys.report.writing import html, markdown
from hivekeys.token import Token, generate
from tests.builders.documents import valid
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessFleet, SimulatedHost
from tests.inprocess.processes import Other

DONE, OPEN = ExitCode.DONE, ExitCode.INCOMPLETE
STRANGER = 4711  # an account that is neither the service's nor root


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """A queen and three hives with one token, which has leaked; their services have an account that is not root's."""
    nobody = pwd.getpwnam("nobody")
    account = None if os.geteuid() else (nobody.pw_name, grp.getgrgid(nobody.pw_gid).gr_name)
    return InProcessFleet(tmp_path, policy=Policy(revocation_recheck=0.0), account=account)


@pytest.fixture
def hive(fleet: InProcessFleet) -> SimulatedHost:
    return fleet.hosts["hive1"]


def responder(fleet: InProcessFleet, **settings: Any) -> Operator:
    return Operator(fleet, task=REVOKE, **settings)


def with_service(fleet: InProcessFleet, **keys: Any) -> None:
    """The inventory says this of every service."""
    hosts = tuple(replace(host, service=replace(host.service, **keys)) for host in fleet.inventory.hosts)
    fleet.inventory = replace(fleet.inventory, hosts=hosts)


def detail(operator: Operator, host: str) -> str:
    cause = operator.runner.run.hosts[host].cause
    return cause.detail if cause else ""


def leaked(fleet: InProcessFleet) -> str:
    return fleet.token.reveal()


# -- a process that outlived the restart


def test_a_worker_that_outlived_the_restart_and_takes_the_old_token_is_named(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    worker = hive.runs(takes=leaked(fleet), port=9000)
    hive.start()  # younger than the worker
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert ann.troubles == {"hive1": Trouble.SURVIVOR}
    assert detail(ann, "hive1") == f"worker (pid {worker.pid}, 60 s old, port 9000) accepts the old token"
    assert ann.runner.run.hosts["hive1"].refused is None, "the exposure clock runs on"
    assert "every host refuses" not in summary(ann.runner.run, OPEN)


def test_while_it_lives_the_copy_to_ask_it_with_stays(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    hive.runs(takes=leaked(fleet), port=9000)
    responder(fleet).revoke()
    assert slots_used(fleet) == ["hive1"]


def test_the_services_are_not_called_restarted_while_it_lives(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    hive.runs(takes=leaked(fleet), port=9000)
    ann = responder(fleet)
    ann.revoke()
    (box,) = [item for item in checklist(ann.runner.run, ann.events) if item.text == "Restart all services"]
    assert (box.done, box.note) == (False, "3 of 4 restarted on it; not seen on hive1")


def test_a_worker_without_a_port_may_open_one_later(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    hive.runs()
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert "is not shown to refuse the old token" in detail(ann, "hive1")


def test_a_worker_that_refuses_the_old_token_may_live(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    hive.runs(takes=generate().reveal(), port=9000)
    ann = responder(fleet)
    assert ann.revoke() is DONE
    assert ann.runner.run.hosts["hive1"].proof is not None


def test_of_the_account_only_who_has_the_old_token_counts(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    """An operator's shell under the service's account is none of ours, unless it has the token in its environment."""
    shell = hive.runs(in_unit=False, comm="bash")
    ann = responder(fleet)
    assert ann.revoke() is DONE
    shell.held = ann.token.reveal()
    bob = responder(fleet, run="run-2")
    assert bob.revoke() is OPEN
    assert bob.troubles == {"hive1": Trouble.SURVIVOR}


def test_once_it_has_ended_a_reconcile_is_done(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    worker = hive.runs(takes=leaked(fleet), port=9000)
    ann = responder(fleet)
    ann.revoke()
    del hive.others[worker.pid]
    late = responder(fleet, past=fold(ann.events), token=ann.token)
    assert late.revoke() is DONE
    assert slots_used(fleet) == []
    assert late.runner.run.hosts["hive1"].refused is not None


# -- a service that listens elsewhere


def test_a_service_that_speaks_tls_on_an_address_of_its_own_is_asked_so_in_a_revocation_too(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    for host in fleet.hosts.values():
        host.speaks_tls, host.listens_on = True, ("10.0.0.11", host.host.service.port)
        host.addresses.add("10.0.0.11")
    with_service(fleet, address="10.0.0.11", scheme="https", verify=False)
    for host in fleet.hosts.values():
        host.host = next(one for one in fleet.inventory.hosts if one.name == host.name)
    ann = responder(fleet)
    assert ann.revoke() is DONE
    proof = ann.runner.run.hosts[hive.name].proof
    assert [(str(place), place.answer) for place in proof.places or ()] == [  # type: ignore[union-attr]
        (f"10.0.0.11:8081 (service, pid {hive.process.pid})", "refuses")  # type: ignore[union-attr]
    ]


# -- ended where that was asked for


def test_it_is_ended_where_that_was_asked_for_and_then_asked_again(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    worker = hive.runs(takes=leaked(fleet), port=9000)
    ann = responder(fleet)
    assert ann.revoke(ends_survivors=True) is DONE
    assert hive.signals == [(worker.pid, signal.SIGTERM)]
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_one_that_does_not_listen_to_sigterm_is_killed(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    worker = hive.runs(takes=leaked(fleet), port=9000, stubborn=True)
    assert responder(fleet).revoke(ends_survivors=True) is DONE
    assert hive.signals == [(worker.pid, signal.SIGTERM), (worker.pid, signal.SIGKILL)]


def test_nobody_else_is_ended(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    """Not who refuses, not who is of another account, not the service itself, not the account's other processes."""
    hive.runs(takes=generate().reveal(), port=9000)
    hive.runs(in_unit=False, comm="bash")
    hive.runs(in_unit=False, uid=STRANGER, takes=leaked(fleet), port=9001, held=leaked(fleet))
    responder(fleet).revoke(ends_survivors=True)
    assert hive.signals == []


def test_the_main_process_of_another_service_is_named_and_left_to_systemd(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    """A queen on the same machine, under the same account, that could not be turned."""
    hive.runs(takes=leaked(fleet), port=8080, in_unit=False, comm="queen-rbee", unit="queen-rbee.service")
    ann = responder(fleet)
    assert ann.revoke(ends_survivors=True) is OPEN
    assert ann.troubles == {"hive1": Trouble.SURVIVOR}
    assert detail(ann, "hive1").startswith("queen-rbee (pid ")
    assert hive.signals == []


def test_unless_it_was_asked_for_nobody_is_ended(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    hive.runs(takes=leaked(fleet), port=9000)
    responder(fleet).revoke()
    assert hive.signals == []


# -- every other place


def test_a_second_hive_outside_systemd_that_takes_the_old_token_is_named(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    """Begun after the restart, as the queen starts one over SSH."""
    ann = responder(fleet, on_event=at_settle(lambda: hive.runs(takes=leaked(fleet), port=8090, in_unit=False)))
    assert ann.revoke() is OPEN
    assert ann.troubles == {"hive1": Trouble.OLD_ACCEPTED}
    assert detail(ann, "hive1").startswith("127.0.0.1:8090 (worker, pid ")


def at_settle(do: Any) -> Any:
    """Something happens once all services have turned."""

    def hear(event: object) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.SETTLE:
            do()

    return hear


def test_a_port_that_asks_nobody_for_a_token_is_named_and_stops_nothing(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    metrics = hive.runs(port=9100, in_unit=False, comm="metrics")
    ann = responder(fleet)
    assert ann.revoke() is DONE
    assert f"needs no token: hive1 127.0.0.1:9100 (metrics, pid {metrics.pid})" in place_lines(ann.runner.run)


def test_a_place_that_cannot_be_asked_is_named_and_the_run_is_not_done(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    hive.runs(port=50051, in_unit=False, comm="grpc", speaks_http=False)
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert ann.troubles == {"hive1": Trouble.PLACE_UNASKED}
    assert ann.states["hive1"] is State.HEALTHY
    assert "the answer is not HTTP" in detail(ann, "hive1")
    assert slots_used(fleet) == ["hive1"], "somebody may still have to ask"


def test_it_is_not_fenced_for_that(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    hive.runs(port=50051, in_unit=False, speaks_http=False)
    ann = responder(fleet, fence=True)
    ann.revoke()
    assert ann.states["hive1"] is State.HEALTHY
    assert hive.accepts(ann.token)


def test_a_port_of_which_the_inventory_says_that_it_takes_no_token_is_named_and_stops_nothing(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    with_service(fleet, tokenless=(50051,))
    hive.runs(port=50051, in_unit=False, speaks_http=False)
    ann = responder(fleet)
    assert ann.revoke() is DONE
    assert any("could not be asked: hive1 127.0.0.1:50051" in line for line in place_lines(ann.runner.run))


def test_once_the_inventory_says_so_a_reconcile_is_done_and_the_old_copy_goes(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    hive.runs(port=50051, in_unit=False, speaks_http=False)
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    with_service(fleet, tokenless=(50051,))
    late = responder(fleet, past=fold(ann.events), token=ann.token)
    assert late.revoke() is DONE
    assert slots_used(fleet) == []


def test_a_service_that_has_its_token_from_elsewhere_is_not_touched(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    """A new file would change nothing there; the others are turned."""
    etc = hive.root / "etc/llama.env"
    etc.write_text(f"LLORCH_API_TOKEN={leaked(fleet)}\n")
    hive.environment_file = "/etc/llama.env"
    hive.start()
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert ann.troubles == {"hive1": Trouble.TOKEN_IN_ENVIRONMENT}
    assert detail(ann, "hive1") == "rbee-hive.service gets it from /etc/llama.env"
    assert {"stage", "swap", "restart"}.isdisjoint(fleet.verbs("hive1"))
    bob = Operator(fleet, run="run-2")
    assert bob.rotate() is ExitCode.ROLLED_BACK
    assert bob.troubles["hive1"] is Trouble.TOKEN_IN_ENVIRONMENT


def test_a_fence_ends_what_the_unit_leaves_behind(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    hive.runs(takes=leaked(fleet), port=9000)
    ann = responder(fleet, fence=True)
    assert ann.revoke() is OPEN
    assert ann.states["hive1"] is State.FENCED
    assert hive.others == {}


def test_a_host_is_not_called_fenced_while_another_process_takes_the_old_token(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    hive.runs(takes=leaked(fleet), port=8090, in_unit=False)
    ann = responder(fleet, fence=True)
    assert ann.revoke() is OPEN
    assert ann.states["hive1"] is State.FAILED
    assert hive.unit_state == "inactive"


# -- who hears the token


def test_a_socket_of_another_account_is_told_no_token(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    stranger = hive.runs(uid=STRANGER, in_unit=False, takes=leaked(fleet), port=9000)
    with_service(fleet, places=("9000",))
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert ann.troubles["hive1"] is Trouble.PLACE_UNASKED
    assert f"another account (uid {STRANGER})" in detail(ann, "hive1")
    assert leaked(fleet) not in hive.others_heard.get(stranger.pid, [])


class HandsOver(Other):
    """A worker whose port is a stranger's as soon as it was asked anything."""

    def status(self, token: str | None) -> int:
        self.uid = STRANGER
        return super().status(token)


def test_a_socket_that_another_account_takes_between_two_calls_is_told_no_token(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    worker = HandsOver(takes=leaked(fleet), port=9000)
    hive.others[worker.pid] = worker
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert leaked(fleet) not in hive.others_heard[worker.pid]


def test_who_has_the_old_token_in_its_environment_and_listens_is_named_whoever_it_is(
    fleet: InProcessFleet, hive: SimulatedHost
) -> None:
    """A second hive that the queen started over SSH, as the account that she logs in with."""
    stranger = hive.runs(uid=STRANGER, in_unit=False, takes=leaked(fleet), held=leaked(fleet), port=8090)
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert ann.troubles == {"hive1": Trouble.PLACE_UNASKED}
    assert leaked(fleet) not in hive.others_heard.get(stranger.pid, [])


def test_other_accounts_are_none_of_ours(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    hive.runs(uid=STRANGER, in_unit=False, takes=leaked(fleet), port=9000)
    ann = responder(fleet)
    assert ann.revoke() is DONE
    assert hive.others_heard == {}


# -- how many


def test_more_places_than_are_asked_are_no_reason_to_say_less(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    for number in range(70):
        hive.runs(takes=generate().reveal(), port=20000 + number, in_unit=False)
    ann = responder(fleet)
    assert ann.revoke() is OPEN
    assert ann.troubles == {"hive1": Trouble.PLACE_UNASKED}
    assert "7 more places are not asked" in detail(ann, "hive1")


# -- a rotation


def test_a_rotation_names_who_outlived_its_restarts(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    """Nobody asks it: the old token was replaced, and did not leak."""
    worker = hive.runs(takes=leaked(fleet), port=9000)
    ann = Operator(fleet)
    assert ann.rotate() is DONE
    (line,) = place_lines(ann.runner.run)
    assert (
        line == f"still runs after the restart, and may have the old token: hive1 worker (pid {worker.pid}, 60 s old)"
    )


def test_no_record_of_a_sweep_holds_a_token(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    old: Token = fleet.token
    hive.runs(takes=old.reveal(), held=old.reveal(), comm=old.reveal()[:15], port=9000)
    ann = responder(fleet)
    ann.revoke()
    assert old.reveal() not in repr(ann.events)


def test_the_report_says_where_the_old_token_was_asked(fleet: InProcessFleet, hive: SimulatedHost) -> None:
    """In JSON, in Markdown, in HTML."""
    hive.runs(port=9100, in_unit=False, comm="metrics")
    ann = responder(fleet)
    ann.revoke()
    told = valid(document(ann.runner.run, fleet.inventory))
    (row,) = [host for host in told["hosts"] if host["host"] == "hive1"]
    assert [(place["port"], place["answer"]) for place in row["places"]] == [(8081, "refuses"), (9100, "open")]
    assert row["survivors"] == []
    whole = page(ann.runner.run, ann.events, fleet.inventory)
    for text in (html(whole), markdown(whole)):
        assert "Where the old token was asked" in text
        assert "metrics, pid " in text
