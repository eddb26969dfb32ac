"""Names and machines on real hosts: two names of one machine, and two services that share one."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hivekeys import inventory
from hivekeys.errors import ExitCode
from hivekeys.journal.events import Phase
from hivekeys.lab import Host, Lab
from hivekeys.lab.files import SECRETS, STANDIN, VERSIONS, unit

from .asking import eventually, status
from .rotating import Answer, before, fab, rotate, short, start_fab, truth_of

pytestmark = pytest.mark.lab
PACE = '[rollout]\nstable_seconds = 0.3\nhealth_deadline = 15\nbatch = "100%"\nrevocation_recheck = 0.2\n'


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def doubled(lab: Lab, folder: Path) -> Path:
    """An inventory in which the SSH configuration leads hive3's name to hive4."""
    addresses = {name: host.address for name, host in lab.hosts.items()} | {"hive3": lab.hosts["hive4"].address}
    config = folder / "ssh_config"
    config.write_text("".join(f"Host {name}.example\n    HostName {where}\n" for name, where in addresses.items()))
    hosts = "".join(
        f'[hosts.{name}]\nrole = "{host.role}"\naddress = "{name}.example"\n' for name, host in lab.hosts.items()
    )
    path = folder / "doubled.toml"
    ssh = f'[ssh]\nuser = "deploy"\nkey = "{lab.key}"\nknown_hosts = "{lab.known_hosts}"\nconfig = "{config}"\n'
    path.write_text(f'fleet = "{lab.name}"\n{ssh}{PACE}{hosts}')
    return path


def causes(answer: Answer) -> dict[str, str]:
    return {name: host["cause"]["trouble"] for name, host in answer.hosts.items() if host["cause"]}


SAME = {"hive3": "same-machine", "hive4": "same-machine"}


def test_a_rotation_of_two_names_of_one_machine_is_refused_and_turns_nobody(
    lab: Lab, state: Path, tmp_path: Path
) -> None:
    """What it said before: five hosts are proven; the sixth, which no name led to, had never been touched."""
    was = {name: truth_of(lab, name) for name in lab.hosts}
    fleet = ("--fleet", str(doubled(lab, tmp_path)))
    planned = fab("plan", *fleet, "--json", state=state)
    assert (planned.code, causes(planned)) == (4, SAME), planned.err
    answer = fab("rotate", *fleet, "--yes", "--json", state=state)
    assert (answer.code, causes(answer)) == (3, SAME), answer.err
    assert causes(fab("status", *fleet, "--json", state=state)) == SAME
    assert {name: truth_of(lab, name) for name in lab.hosts} == was


def test_a_checklist_names_two_names_of_one_machine(lab: Lab, state: Path, tmp_path: Path) -> None:
    answer = fab("verify", "--fleet", str(doubled(lab, tmp_path)), "--json", "--checks", "machine", state=state)
    failed = {one["host"]: one["detail"] for one in answer.document["findings"] if one["verdict"] == "fail"}
    assert failed == {"hive3": "the name hive4 leads here too", "hive4": "the name hive3 leads here too"}
    assert answer.code == 6


def test_a_revocation_of_two_names_of_one_machine_turns_all_that_it_reaches_and_names_both(
    lab: Lab, state: Path, tmp_path: Path
) -> None:
    was = {name: truth_of(lab, name) for name in lab.hosts}
    fleet = ("--fleet", str(doubled(lab, tmp_path)))
    answer = fab("revoke", *fleet, "--reason", "it was in a chat", "--yes", "--json", state=state)
    assert (answer.code, causes(answer)) == (4, SAME), answer.err
    assert [name for name in lab.hosts if truth_of(lab, name) == was[name]] == ["hive3"]
    refusing = [name for name in lab.hosts if status(lab.hosts[name], was[name].token) == 401]
    assert refusing == ["queen", "hive1", "hive2", "hive4", "hive5"]
    again = fab("reconcile", "--fleet", lab.name, "--json", state=state)
    assert again.code == 0, again.err
    assert status(lab.hosts["hive3"], was["hive3"].token) == 401
    assert json.loads(again.out)["exit_code"] == 0


# -- a queen and a hive on one machine

OWN = "/etc/llama-orch/hive"
BROKEN = "/run/systemd/system/rbee-hive.service.d/broken.conf"
SET_UP = f"""\
install -d -m 700 -o llama-orch -g llama-orch {OWN}
install -m 600 -o llama-orch -g llama-orch {SECRETS}/api-token {OWN}/api-token
ln -sf {VERSIONS}/next/rbee-hive /usr/local/bin/rbee-hive
systemctl daemon-reload
systemctl reset-failed rbee-hive || true
systemctl enable -q rbee-hive
systemctl restart rbee-hive
"""
TAKE_AWAY = f"""\
systemctl disable -q --now rbee-hive || true
rm -rf {OWN} /etc/systemd/system/rbee-hive.service /run/systemd/system/rbee-hive.service.d /var/lib/hivekeys/beside
systemctl daemon-reload
"""


@dataclass(frozen=True)
class Shared:
    """A lab whose queen has a hive beside her, called hive9 in the inventory at `path`."""

    lab: Lab
    path: Path

    @property
    def fleet(self) -> tuple[str, str]:
        return "--fleet", str(self.path)

    @property
    def hive9(self) -> Host:
        return replace(self.lab.hosts["hive1"], name="hive9", address=self.lab.hosts["queen"].address)

    def accepted(self, token: str) -> set[str]:
        """The hosts that let this token in."""
        return {host.name for host in (*self.lab.hosts.values(), self.hive9) if status(host, token) == 200}

    @property
    def everybody(self) -> set[str]:
        return {*self.lab.hosts, "hive9"}

    def token(self) -> str:
        return self.lab.read("queen", f"{SECRETS}/api-token").strip()

    def holds_alone(self, token: str) -> bool:
        """Both services of the machine hold this token, and neither directory anything else."""
        found = self.lab.sh("queen", f"cd {SECRETS}; cat *; cd {OWN}; cat *; ls -A {SECRETS} {OWN}")
        return found.split() == [token, token, f"{OWN}:", "api-token", f"{SECRETS}:", "api-token"]


@pytest.fixture
def shared(lab: Lab, tmp_path: Path) -> Iterator[Shared]:
    path = tmp_path / "shared.toml"
    entry = f'[hosts.hive9]\nrole = "hive"\nbeside = "queen"\nservice = {{ token = "{OWN}/api-token" }}\n'
    path.write_text((lab.folder / "inventory.toml").read_text() + PACE + entry)
    shared = Shared(lab, path)
    lab.write("queen", f"{VERSIONS}/next/rbee-hive", STANDIN.read_text(), mode=0o755)
    text = unit(lab, replace(shared.hive9, release=lab.hosts["queen"].release)).replace(SECRETS, OWN)
    lab.write("queen", "/etc/systemd/system/rbee-hive.service", text)
    lab.sh("queen", SET_UP)
    assert eventually(lambda: shared.accepted(shared.token()) == shared.everybody)
    yield shared
    lab.sh("queen", TAKE_AWAY)


def test_a_rotation_turns_a_queen_and_a_hive_on_one_machine(shared: Shared, state: Path) -> None:
    was = shared.token()
    answer = fab("rotate", *shared.fleet, "--yes", "--json", state=state)
    assert answer.code == 0, answer.err
    now = shared.token()
    assert (shared.accepted(now), shared.accepted(was)) == (shared.everybody, set())
    assert shared.holds_alone(now)
    assert set(shared.lab.sh("queen", "ls /var/lib/hivekeys/beside/rbee-hive.service").split()) >= {"lock", "run"}


def test_a_revocation_turns_a_queen_and_a_hive_on_one_machine(shared: Shared, state: Path) -> None:
    was = shared.token()
    answer = fab("revoke", *shared.fleet, "--reason", "it was in a chat", "--yes", "--json", state=state)
    assert answer.code == 0, answer.err
    assert (shared.accepted(shared.token()), shared.accepted(was)) == (shared.everybody, set())
    assert shared.holds_alone(shared.token())
    leaked = state / "leaked"
    leaked.write_text(was)
    leaked.chmod(0o600)
    fresh = fab("rotate", *shared.fleet, "--yes", "--token-file", str(leaked), state=state / "another-bastion")
    assert "revoked" in fresh.err
    assert shared.accepted(was) == set()


def test_a_run_that_was_killed_between_the_two_is_resumed(shared: Shared, state: Path) -> None:
    was = shared.token()
    run = start_fab("rotate", *shared.fleet, "--yes", "--events", "--quiet", "--pause", "600", state=state)
    with run:
        assert run.stdout
        events = map(json.loads, run.stdout)
        assert any((event["type"], event.get("phase")) == ("host-answered", "queen") for event in events)
        run.send_signal(signal.SIGKILL)
        list(events)
    assert shared.accepted(was) == shared.everybody - {"queen"}
    answer = fab("resume", *shared.fleet, "--json", state=state)
    assert answer.code == 0, answer.err
    assert (shared.accepted(shared.token()), shared.accepted(was)) == (shared.everybody, set())
    assert shared.holds_alone(shared.token())


def test_a_rotation_goes_back_on_both_when_the_second_service_does_not_start(shared: Shared) -> None:
    was = shared.token()
    text = "[Service]\\nExecStart=\\nExecStart=/bin/false\\n"
    breaks = f"mkdir -p {Path(BROKEN).parent}; printf '{text}' >{BROKEN}; systemctl daemon-reload"
    mends = f"rm {BROKEN}; systemctl daemon-reload"
    fleet = short(inventory.load(shared.path))
    rotation = rotate(
        fleet,
        before(Phase.WAVE, lambda: shared.lab.sh("queen", breaks), "hive9"),
        before(Phase.ROLLBACK, lambda: shared.lab.sh("queen", mends)),
    )
    assert rotation.code is ExitCode.ROLLED_BACK, rotation.troubles
    assert shared.accepted(was) == shared.everybody
    assert shared.holds_alone(was)


def test_a_hive_that_read_the_queens_own_file_is_given_one_of_its_own(shared: Shared, state: Path) -> None:
    """As the guide has it: one path for both."""
    unit_file = "/etc/systemd/system/rbee-hive.service"
    shared.lab.sh("queen", f"rm -r {OWN}; sed -i 's|{OWN}|{SECRETS}|g' {unit_file}; systemctl daemon-reload")
    shared.lab.sh("queen", "systemctl restart rbee-hive")
    token = shared.token()
    answer = fab("install", *shared.fleet, "--limit", "hive9", "--json", state=state)
    assert answer.code == 0, answer.err
    assert shared.holds_alone(token)
    turned = fab("rotate", *shared.fleet, "--yes", "--json", state=state)
    assert turned.code == 0, turned.err
    assert (shared.accepted(shared.token()), shared.accepted(token)) == (shared.everybody, set())
    gone = fab("uninstall", *shared.fleet, "--limit", "hive9", "--yes", "--json", state=state)
    assert gone.code == 0, gone.err
    assert shared.accepted(shared.token()) == set(shared.lab.hosts)


def test_what_is_shown_and_mended_of_the_two_is_each_ones_own(shared: Shared, state: Path) -> None:
    shown = fab("status", *shared.fleet, "--json", state=state)
    assert (shown.code, causes(shown)) == (0, {}), shown.err
    checked = fab("verify", *shared.fleet, "--json", "--limit", "queen,hive9", state=state)
    assert [one for one in checked.document["findings"] if one["verdict"] == "fail"] == []
    shared.lab.sh("queen", f"chmod 640 {OWN}/api-token; touch {OWN}/api-token.old")
    mended = fab("fix", *shared.fleet, "--apply", "--strays", "--json", state=state)
    changed = {name: [change["part"] for change in host["changes"]] for name, host in mended.hosts.items()}
    assert (mended.code, changed["queen"], changed["hive9"]) == (0, [], ["file-mode", "strays"]), mended.err
    assert shared.holds_alone(shared.token())
