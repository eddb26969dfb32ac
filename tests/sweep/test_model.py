"""Random sequences of commands, kills, faults and other operators; the promises are checked after every step.

200 sequences in the normal run, always the same ones; `HIVEKEYS_SEQUENCES=10000` walks other ones (`make soak`).
"""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount
from hivekeys.journal.events import State
from hivekeys.journal.hostrun import is_superseded
from hivekeys.service import Accepts, Apply
from tests.inprocess import SimulatedHost
from tests.sweep.bastion import Bastion, Folder, watch
from tests.sweep.promises import POLICY, WatchedFleet, breaches, not_alone

SEQUENCES = int(os.environ.get("HIVEKEYS_SEQUENCES", "200"))
HOSTS = ("queen", "hive1", "hive2")
FAULTS = (
    "link-down",
    "disk-full",
    "read-only",
    "var-full",
    "keeps-old-token",
    "accepts-any-token",
    "start-fails",
    "sudo-refused",
)
WAYS: dict[str, dict[str, Any]] = {
    "one": {},
    "lines": {"accepts": Accepts.LINES, "apply": Apply.RELOAD},
    "pair": {"accepts": Accepts.PAIR},
    "clients": {"accepts": Accepts.LINES, "apply": Apply.RELOAD},
    "wide": {},
}
WIDE = replace(POLICY, canary=0, batch=Amount(2), width=1)  # a wave is turned, and then watched
CLIENTS = {"ci": {"unit": "runner.service"}, "gateway": {}}
VERBS = ("request", "stage", "accept", "swap", "restart", "prove", "revert", "retire", "observe")
SERVICE = ("keeps-old-token", "accepts-any-token", "start-fails")


class Fleet(RuleBasedStateMachine):
    """Two operators, three hosts, sometimes two clients of theirs, and whatever can happen to them."""

    @initialize(way=st.sampled_from(tuple(WAYS)))
    def whole(self, way: str = "one") -> None:
        shm = Path("/dev/shm")  # noqa: S108  nothing is left there
        self.folder = Path(tempfile.mkdtemp(prefix="hivekeys-model-", dir=shm if shm.is_dir() else None))
        clients, policy = CLIENTS if way == "clients" else {}, WIDE if way == "wide" else POLICY
        self.fleet = WatchedFleet(self.folder, policy=policy, service=WAYS[way], clients=clients)
        self.fleet.keeps_clients = False  # with these faults nobody can
        for host in self.fleet.hosts.values():
            host.outlives_sigterm = way not in ("one", "wide")  # it has handlers for signals
        self.operators = [Bastion(self.fleet, who="ann@one"), Bastion(self.fleet, who="bob@two")]
        watch(*self.operators)
        self.runs = 0
        self.told: list[str] = []
        self.backups: dict[int, Folder] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # -- what operators do; `dies` says when the bastion is killed, if it gets that far

    @rule(who=st.integers(0, 1), dies=st.none() | st.integers(1, 60), away=st.sampled_from(("", *HOSTS[1:])))
    def rotate(self, who: int, dies: int | None, away: str) -> None:
        operator = self.operators[who]
        if operator.last and operator.past().is_open:
            return  # `fab rotate` refuses, and names the resume
        self.runs += 1
        self.command(operator, "rotate", dies, away)

    @rule(who=st.integers(0, 1), dies=st.none() | st.integers(1, 60))
    def revoke(self, who: int, dies: int | None) -> None:
        operator = self.operators[who]
        if operator.last and operator.past().is_open and operator.past().is_revocation:
            return  # `fab revoke` refuses, and names the resume
        self.runs += 1
        self.command(operator, "revoke", dies)

    @rule(who=st.integers(0, 1), dies=st.none() | st.integers(1, 60))
    def resume(self, who: int, dies: int | None) -> None:
        operator = self.operators[who]
        if operator.last and operator.past().is_open:
            self.command(operator, "resume", dies)

    @rule(who=st.integers(0, 1), dies=st.none() | st.integers(1, 40))
    def roll_back(self, who: int, dies: int | None) -> None:
        operator = self.operators[who]
        past = operator.past() if operator.last else None
        if past and past.is_revocation:
            return  # `fab rollback` refuses
        if past and past.want and not past.retiring and (past.is_open or not past.rolled_back):
            self.command(operator, "roll_back", dies)

    @rule(who=st.integers(0, 1), dies=st.none() | st.integers(1, 60))
    def reconcile(self, who: int, dies: int | None) -> None:
        operator = self.operators[who]
        past = operator.past() if operator.last else None
        if past and past.want and not past.is_open and not past.rolled_back:
            self.command(operator, "reconcile", dies)

    def command(self, operator: Bastion, words: str, dies: int | None, away: str = "") -> None:
        """Types it, and compares what the run then says with the hosts."""
        operator.dies_after = dies
        if words == "rotate":
            code = operator.rotate(f"run-{self.runs}", may_be_missing=[away] if away else [])
        elif words == "revoke":
            code = operator.revoke(f"run-{self.runs}")
        else:
            code = getattr(operator, words)()
        operator.dies_after = None
        past = operator.past()
        if code is None:
            self.told += self.fleet.broken
            return
        self.told += breaches(self.fleet, past, operator.events())
        if code is ExitCode.DONE and past.want and words != "roll_back":
            self.told += [f"exit 0, but {part.name}" for part in past.hosts.values() if part.state is not State.PROVEN]

    # -- what happens to hosts

    @rule(name=st.sampled_from(HOSTS), fault=st.sampled_from(FAULTS))
    def breaks(self, name: str, fault: str) -> None:
        self.fleet.hosts[name].fault = fault

    @rule(name=st.sampled_from(HOSTS))
    def is_mended(self, name: str) -> None:
        host = self.fleet.hosts[name]
        was, host.fault = host.fault, None
        if was in SERVICE:
            host.start()

    @rule(name=st.sampled_from(HOSTS), verb=st.sampled_from(VERBS), after=st.booleans(), silent=st.booleans())
    def line_will_break(self, name: str, verb: str, after: bool, silent: bool) -> None:
        self.fleet.cut(name, verb, when="after" if after else "before", silent=silent)

    @rule()
    def time_passes(self) -> None:
        self.fleet.advance(1000)

    @rule(who=st.integers(0, 1), seconds=st.sampled_from((-86_400.0, 86_400.0)))
    def a_bastions_clock_jumps(self, who: int, seconds: float) -> None:
        self.operators[who].clock.ahead += seconds

    @rule(who=st.integers(0, 1), name=st.sampled_from(HOSTS[1:]), verb=st.sampled_from(("swap", "restart")))
    def an_agent_will_be_killed_alone_and_another_operator_comes(self, who: int, name: str, verb: str) -> None:
        """At a hive's verb the queen's agents are gone, and another bastion rotates: it gets her alone, or nobody."""
        rival = self.operators[1 - who]

        def meanwhile(_: SimulatedHost) -> None:
            mine = self.operators[who]
            if not mine.lines or rival.lines:  # only beside that operator's run
                return
            for line in [line for line in self.fleet.hosts["queen"].lines if line in mine.lines]:
                line.drop()
            if not (rival.last and rival.past().is_open):
                self.runs += 1
                rival.rotate(f"run-{self.runs}")

        self.fleet.at(name, verb, meanwhile)

    @rule(who=st.integers(0, 1))
    def a_state_folder_is_backed_up(self, who: int) -> None:
        self.backups[who] = self.operators[who].folder()

    @rule(who=st.integers(0, 1))
    def a_state_folder_is_put_back(self, who: int) -> None:
        """Its journal knows nothing of what came after: a run that has gone on since is another's, for all it knows."""
        if who in self.backups:
            self.operators[who].put_back(self.backups[who])

    @precondition(lambda self: self.runs > 0)
    @rule(name=st.sampled_from(HOSTS[1:]))
    def is_reimaged_or_joins(self, name: str) -> None:
        self.fleet.hosts[name].reimage()

    # -- what must be true

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "told"):
            assert not self.told, "\n".join(self.told)
            assert not self.fleet.broken, "\n".join(self.fleet.broken)

    @rule(who=st.integers(0, 1))
    def what_the_last_line_says_heals_a_mended_fleet(self, who: int) -> None:
        """Unless somebody else was there since, or a host was re-imaged: a way back has nothing to bring it then."""
        operator = self.operators[who]
        if not operator.last or not report.next_step(operator.past(), self.fleet.inventory):
            return
        self.mend()
        if any(host.active_token() is None for host in self.fleet.hosts.values()):
            return
        code = operator.does_as_the_last_line_says()
        past = operator.past()
        self.told += breaches(self.fleet, past, operator.events())
        assert code in (ExitCode.DONE, ExitCode.ROLLED_BACK, ExitCode.LOCKED), past
        assert code in (ExitCode.LOCKED, ExitCode.ROLLED_BACK) or not report.next_step(past, self.fleet.inventory)

    def mend(self) -> None:
        """No fault any more, services up, and whatever was left behind on a host is gone."""
        self.fleet._traps.clear()
        for host in self.fleet.hosts.values():
            host.fault = None
            if host.host.service.unit:
                host.start()
        self.fleet.advance(1000)

    @rule()
    def the_fleet_can_be_made_whole_as_the_runbook_says(self) -> None:
        """With all faults mended and a token on every host, one command after the other leads to one token."""
        for host in self.fleet.hosts.values():
            if host.active_token() is None:
                host.write(self.fleet.token)
        self.mend()
        bob = self.operators[1]
        if bob.last and bob.past().is_open:
            self.command(bob, "resume", None)
        for _ in range(3):
            if bob.last and bob.past().is_open:
                continue
            self.runs += 1
            self.command(bob, "rotate", None)
            if bob.past().code is ExitCode.DONE:
                break
        why = {name: str(host.cause) for name, host in bob.past().hosts.items()}
        assert bob.past().code is ExitCode.DONE, (why, bob.past())
        assert not not_alone(self.fleet, *self.fleet.made[bob.last])


TestModel = Fleet.TestCase
TestModel.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=12,
    deadline=None,
    database=None,
    derandomize=SEQUENCES == 200,
    suppress_health_check=list(HealthCheck),
)


def test_a_way_back_keeps_the_token_that_a_host_in_debt_uses() -> None:
    """Found by the sequences above: hive1 owes run 2's token; run 3 dies while it stages, and is taken back."""
    fleet = Fleet()
    fleet.whole()
    try:
        fleet.rotate(away="", dies=None, who=0)
        fleet.line_will_break(after=False, name="hive1", silent=False, verb="request")
        fleet.rotate(away="hive1", dies=None, who=0)
        fleet.rotate(away="", dies=25, who=0)
        fleet.roll_back(dies=None, who=0)
        fleet.promises_hold()
    finally:
        fleet.teardown()


def cut_off_in_a_revocation() -> Fleet:
    """The second operator has revoked, and was cut off when the queen had turned; hive1 is out of reach."""
    fleet = Fleet()
    fleet.whole()
    fleet.breaks(fault="link-down", name="hive1")
    fleet.revoke(dies=31, who=1)
    return fleet


def test_what_one_hive_alone_has_heard_of_a_leak_stops_no_revocation() -> None:
    """Found by the sequences above: two operators revoke, and only hive2 got so far as to hear that the other's leaked.

    The cut-off revocation goes on without it, and says so: exit 4. The next rotation brings all of them one token.
    """
    fleet = cut_off_in_a_revocation()
    try:
        ann, bob = fleet.operators
        fleet.breaks(fault="disk-full", name="queen")
        fleet.revoke(dies=None, who=0)
        assert ann.past().hosts["hive2"].state is State.PROVEN
        fleet.mend()
        fleet.resume(dies=None, who=1)
        assert bob.past().code is ExitCode.INCOMPLETE
        assert {name for name, host in bob.past().hosts.items() if is_superseded(host.cause)} == {"hive2"}
        fleet.the_fleet_can_be_made_whole_as_the_runbook_says()
        fleet.promises_hold()
    finally:
        fleet.teardown()


def test_a_revocation_whose_token_another_has_revoked_at_the_queen_changes_nothing_more() -> None:
    """Two operators revoke: the second one's tombstones are at the queen, whose disk is read-only before she turns."""
    fleet = cut_off_in_a_revocation()
    try:
        ann, bob = fleet.operators
        bobs = fleet.fleet.hosts["queen"].active_token()
        fleet.fleet.at("queen", "swap", lambda host: setattr(host, "fault", "read-only"))
        fleet.revoke(dies=None, who=0)
        assert fleet.fleet.hosts["queen"].active_token() == bobs
        fleet.mend()
        fleet.resume(dies=None, who=1)
        assert bob.past().code is ExitCode.LOCKED
        assert f"run {ann.last}" in bob.past().overtaken_by
        assert fleet.fleet.hosts["hive1"].active_token() != bobs
        fleet.promises_hold()
    finally:
        fleet.teardown()
