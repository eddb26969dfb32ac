"""Hosts that only present the token, on a fleet whose services accept two: none of their calls is refused.

`ci` has a unit that reads its token as it starts; `gateway` has a program that reads the file for each call, and in the
inventory no unit. Both call the queen without a pause, and write down what she answers.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.journal.events import Phase, PhaseStarted, State
from hivekeys.lab import Accepts, Lab, down, up
from hivekeys.lab.files import PROTECTED
from hivekeys.protocol.program import program_of
from tests.lab import rotating

from .asking import ACTIVE, eventually, status
from .rotating import INVENTORY, fab, fleet_of, rotate, start_fab, write_policy

pytestmark = pytest.mark.lab
MACHINES = {"ci": "hive3", "gateway": "hive4"}  # of the lab
SERVICES = ("queen", "hive1", "hive2")
SECRETS, TOKEN = "/etc/runner/secrets", "/etc/runner/secrets/api-token"
PROGRAM = """\
import http.client, time
def token():
    with open({token!r}) as file:
        return file.read().strip()
has = token()
while True:
    has = token() if {rereads} else has
    line = http.client.HTTPConnection({address!r}, {port}, timeout=5)
    try:
        line.request("GET", {path!r}, headers={{"Authorization": "Bearer " + has}})
        print(line.getresponse().status, flush=True)
    except OSError as error:
        print(error, flush=True)
    line.close()
    time.sleep(0.02)
"""
UNIT = """\
[Service]
User=runner
ExecStart=/usr/bin/python3 /usr/local/bin/runner
StandardOutput=append:/var/log/runner.log
[Install]
WantedBy=multi-user.target
"""
OWN = f'token = "{TOKEN}", owner = "runner", group = "runner"'
ENTRIES = {"ci": f'service = {{ unit = "runner.service", {OWN} }}', "gateway": f"service = {{ {OWN} }}"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A queen and two hives that accept two tokens, and two clients."""
    name = f"lab-clients{os.getpid()}"
    try:
        made = up(name, hives=4, accepts=Accepts.LINES, inventory_dir=INVENTORY)
        write_policy(made, stable_seconds=0.5)
        for path in (made.inventory, made.folder / "inventory.toml"):
            path.write_text(with_clients(path.read_text()))
        for client in MACHINES:
            make_client(made, client)
        yield made
    finally:
        down(name, inventory_dir=INVENTORY)


@pytest.fixture(autouse=True)
def with_all_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `rotate` sends to hosts that accept two tokens."""
    monkeypatch.setattr(rotating, "AGENT", program_of("notify", "accept"))


def with_clients(text: str) -> str:
    for client, machine in MACHINES.items():
        old = f'[hosts.{machine}]\nrole = "hive"\n'
        assert old in text
        text = text.replace(old, f'[hosts.{client}]\nrole = "client"\n{ENTRIES[client]}\n')
    return text


def make_client(lab: Lab, client: str) -> None:
    """A machine of the lab with a program that calls the queen, with the token in its file, and no service."""
    machine, queen = MACHINES[client], lab.hosts["queen"]
    values = {"token": TOKEN, "address": queen.address, "port": queen.port, "path": PROTECTED["queen"]}
    lab.write(machine, "/usr/local/bin/runner", PROGRAM.format(**values, rereads=client == "gateway"))
    lab.write(machine, "/etc/systemd/system/runner.service", UNIT)
    token = lab.read(machine, ACTIVE)
    lab.sh(
        machine,
        f"systemctl disable --now -q {lab.hosts[machine].unit}; useradd --system runner; "
        f"install -d -m 0700 -o runner -g runner {SECRETS}; rm -rf /etc/llama-orch/secrets",
    )
    lab.write(machine, TOKEN, token, mode=0o600, owner="runner:runner")
    lab.sh(machine, "systemctl daemon-reload; systemctl enable --now -q runner")


def answers(lab: Lab, client: str) -> list[str]:
    """What the queen answered to the client so far."""
    return lab.read(MACHINES[client], "/var/log/runner.log").split("\n")[:-1]


def calls_go_on(lab: Lab) -> None:
    """Both clients call again, with what they have now."""
    for client in MACHINES:
        before = len(answers(lab, client))
        assert eventually(lambda client=client, before=before: len(answers(lab, client)) > before + 10)  # type: ignore[misc]


def token_of(lab: Lab, name: str) -> str:
    return lab.read(MACHINES.get(name, name), TOKEN if name in MACHINES else ACTIVE).strip()


def all_have(lab: Lab, token: str, refused: str) -> None:
    """The token alone is in each file, with the owner's rights, and services refuse the other."""
    assert {name: token_of(lab, name) for name in (*SERVICES, *MACHINES)} == dict.fromkeys(
        (*SERVICES, *MACHINES), token
    )
    for name in SERVICES:
        assert (status(lab.hosts[name], token), status(lab.hosts[name], refused)) == (200, 401), name
    for machine in MACHINES.values():
        assert lab.sh(machine, f"cd {SECRETS}; stat -c '%n %a %U:%G' *") == "api-token 600 runner:runner\n"


def test_through_a_whole_rotation_no_call_of_a_client_is_refused(lab: Lab) -> None:
    old, began = token_of(lab, "ci"), lab.sh(MACHINES["ci"], "systemctl show -p MainPID --value runner")
    calls_go_on(lab)
    turned = rotate(fleet_of(lab))
    assert turned.code == 0, turned.troubles
    assert set(turned.states.values()) == {State.PROVEN}
    titles = [event.title for event in turned.events if isinstance(event, PhaseStarted)]
    assert titles.index("accept, settled") < titles.index("use, clients") < titles.index("drop, queen")
    calls_go_on(lab)
    for client in MACHINES:
        assert set(answers(lab, client)) == {"200"}, client
    assert lab.sh(MACHINES["ci"], "systemctl show -p MainPID --value runner") != began
    all_have(lab, turned.token.reveal(), old)


def test_a_run_that_was_killed_with_the_clients_turned_is_taken_back_and_refuses_none(lab: Lab, tmp_path: Path) -> None:
    old = token_of(lab, "ci")
    with start_fab("rotate", "--fleet", lab.name, "--yes", "--events", "--quiet", state=tmp_path) as run:
        assert run.stdout
        for line in run.stdout:
            event = json.loads(line)
            if (event["type"], event.get("phase"), event.get("host")) == ("host-answered", Phase.USE.value, "ci"):
                break
        run.kill()
    new = token_of(lab, "ci")
    assert new != old
    calls_go_on(lab)
    answer = fab("rollback", "--fleet", lab.name, "--yes", state=tmp_path)
    assert answer.code == 0, answer.err
    calls_go_on(lab)
    for client in MACHINES:
        assert set(answers(lab, client)) == {"200"}, client
    all_have(lab, old, new)


def test_verify_status_and_plan_say_of_a_client_what_can_be_said(lab: Lab, tmp_path: Path) -> None:
    words = ("--fleet", lab.name, "--limit", "ci,gateway", "--json")
    checked = fab("verify", *words, state=tmp_path).document["findings"]
    wrong = {(one["host"], one["check"]) for one in checked if one["verdict"] == "fail"}
    assert wrong == set()
    assert {"same-token", "file-mode", "token-file"} <= {one["check"] for one in checked}
    assert {one["host"] for one in checked if one["check"] in ("active", "current")} == {"ci"}
    assert not {one["check"] for one in checked} & {"proof", "audit", "enabled"}
    shown = fab("status", "--fleet", lab.name, "--json", state=tmp_path)
    assert shown.code == 0
    assert shown.hosts["gateway"]["service"] is None
    assert shown.hosts["gateway"]["loaded"] == "file alone"
    planned = fab("plan", "--fleet", lab.name, state=tmp_path)
    assert planned.code == 0, planned.err
    assert "clients: ci, gateway" in planned.out + planned.err
    assert "clients write no records" in fab("audit", "--fleet", lab.name, "--limit", "ci", state=tmp_path).err
    assert fab("audit", "--fleet", lab.name, "--json", state=tmp_path).code in (0, 4)


def test_fix_closes_a_clients_file_to_others(lab: Lab, tmp_path: Path) -> None:
    for machine in MACHINES.values():
        lab.sh(machine, f"chmod 0644 {TOKEN}")
    answer = fab("fix", "--fleet", lab.name, "--limit", "ci,gateway", "--apply", state=tmp_path)
    assert answer.code == 0, answer.err + answer.out
    for machine in MACHINES.values():
        assert lab.sh(machine, f"stat -c %a {TOKEN}") == "600\n"


def test_a_client_that_joins_gets_the_fleets_token(lab: Lab, tmp_path: Path) -> None:
    token = token_of(lab, "ci")
    lab.sh(MACHINES["gateway"], f"systemctl stop runner; rm -r {SECRETS} /var/lib/hivekeys")
    answer = fab("install", "--fleet", lab.name, "--limit", "gateway", "--yes", state=tmp_path)
    assert answer.code == 0, answer.err + answer.out
    assert token_of(lab, "gateway") == token
    assert not lab.sh(MACHINES["gateway"], "ls /etc/systemd/system/ | grep -c hivekeys || true").strip("0\n")
    lab.sh(MACHINES["gateway"], "systemctl start runner")
    calls_go_on(lab)


def test_a_revocation_reaches_the_clients(lab: Lab, tmp_path: Path) -> None:
    old = token_of(lab, "ci")
    answer = fab("revoke", "--fleet", lab.name, "--yes", "--reason", "it leaked", state=tmp_path)
    assert answer.code == 0, answer.err + answer.out
    new = token_of(lab, "ci")
    assert new != old
    all_have(lab, new, old)
    calls_go_on(lab)
    assert answers(lab, "ci")[-1] == answers(lab, "gateway")[-1] == "200"
