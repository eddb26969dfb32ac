"""nginx before the services of real hosts: `fab install --front`, a rotation and a revocation through it, and back."""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hivekeys.lab import Lab, down, up
from hivekeys.lab.faults import inject, mend
from hivekeys.lab.files import PROTECTED, SECRETS
from hivekeys.token import generate

from .asking import ACTIVE, ask, eventually, status
from .clients import Clients, moving
from .desk import FRONTS as TABLES
from .rotating import INVENTORY, Answer, end_fab, fab, start_fab, write_policy
from .searching import Secret, Watch

pytestmark = pytest.mark.lab
UNITS = {"queen": "queen-rbee", "hive1": "rbee-hive", "hive2": "rbee-hive"}
FRONTS = {name: f"/etc/hivekeys-front/{unit}" for name, unit in UNITS.items()}
INNER = {"queen": 18080, "hive1": 18081, "hive2": 18081}
LISTING = "find /etc /home /usr/local -xdev -type f | sort | xargs -d '\\n' sha256sum"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A queen and two hives, of which the second has an older Debian."""
    name = f"lab-front{os.getpid()}"
    try:
        yield up(name, hives=2, releases=("bookworm",), inventory_dir=INVENTORY)
    finally:
        down(name, inventory_dir=INVENTORY)


@pytest.fixture(autouse=True)
def inventory(lab: Lab) -> None:
    write_policy(lab)
    with lab.inventory.open("a") as file:
        file.write(TABLES)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def typed(verb: str, lab: Lab, state: Path, *words: str) -> Answer:
    answer = fab(verb, "--fleet", lab.name, "--json", *words, state=state)
    assert answer.out, answer.err
    return answer


def wrong_with(lab: Lab, state: Path) -> dict[str, str]:
    """What `fab verify` finds at fronts and behind them."""
    found = typed("verify", lab, state, "--checks", "front,behind,proof").document["findings"]
    return {one["host"]: one["detail"] for one in found if one["verdict"] != "pass"}


def test_what_is_wrong_with_a_front_and_behind_it_is_found(lab: Lab, state: Path) -> None:
    assert typed("install", lab, state, "--front", "--limit", "hive1").code == 0
    folder = "/etc/systemd/system/rbee-hive.service.d"
    command = f"/usr/local/bin/rbee-hive daemon --addr 0.0.0.0:{INNER['hive1']}"
    lab.sh("hive1", f"printf '[Service]\\nExecStart=\\nExecStart={command}\\n' >{folder}/70-by-hand.conf")
    lab.sh("hive1", "systemctl daemon-reload; systemctl restart rbee-hive")
    try:
        eventually(lambda: ask(lab.host("hive1"), None, port=INNER["hive1"])[0] == 401)
        assert wrong_with(lab, state)["hive1"] == f"port {INNER['hive1']} can be reached from the bastion"
        lab.sh("hive1", f"rm {folder}/70-by-hand.conf; systemctl daemon-reload; systemctl restart rbee-hive")
        lab.sh("hive1", f"chmod 0644 {FRONTS['hive1']}/accepted.conf")
        assert wrong_with(lab, state)["hive1"] == f"{FRONTS['hive1']}/accepted.conf 0644 root"
    finally:
        lab.sh("hive1", f"rm -f {folder}/70-by-hand.conf; systemctl daemon-reload")
        assert typed("uninstall", lab, state, "--front", "--limit", "hive1").code == 0


def token_of(lab: Lab, name: str, folder: str = "") -> str:
    return lab.read(name, f"{folder or FRONTS[name]}/api-token").strip()


@contextmanager
def clients_of(lab: Lab, token: str) -> Iterator[Clients]:
    clients = Clients(lab, token, pause=0.01)
    try:
        yield clients
    finally:
        clients.leave()


def stream(lab: Lab, name: str, token: str) -> socket.socket:
    """A request that a host's service is at work on: it waits for the rest of what it was promised."""
    host = lab.host(name)
    line = socket.create_connection((host.address, host.port), timeout=20)
    line.sendall(
        f"POST {PROTECTED['hive']} HTTP/1.1\r\nHost: hive\r\nAuthorization: Bearer {token}\r\n"
        "Content-Length: 100\r\n\r\nthe first words".encode()
    )
    return line


def retry_after(lab: Lab, name: str, token: str) -> str | None:
    """When a client is to come again that is let in only then."""
    line = http.client.HTTPConnection(lab.host(name).address, lab.host(name).port, timeout=5)
    line.request("GET", PROTECTED["hive"], headers={"Authorization": f"Bearer {token}"})
    told = line.getresponse().getheader("Retry-After")
    line.close()
    return told


def is_cut(line: socket.socket) -> bool:
    """Whether the other side has ended it, without an answer."""
    with line:
        try:
            return line.recv(1) == b""
        except ConnectionResetError:
            return True


def invocations(lab: Lab) -> dict[str, str]:
    """Which process of each service runs, by its unit."""
    return {name: lab.sh(name, f"systemctl show -p InvocationID {unit}") for name, unit in UNITS.items()}


def test_a_fleet_gets_its_fronts_is_turned_and_revoked_through_them_and_loses_them(lab: Lab, state: Path) -> None:
    """The queen listens on all addresses whatever she is told, as the real one does: the firewall closes her port."""
    first = token_of(lab, "hive1", SECRETS)
    before = {name: lab.sh(name, LISTING) for name in UNITS}
    dry = typed("install", lab, state, "--front", "--dry-run")
    assert dry.code == 6, dry.err
    assert {name: lab.sh(name, LISTING) for name in UNITS} == before

    answer = typed("install", lab, state, "--front")
    assert (answer.code, [host["proven"] for host in answer.hosts.values()]) == (0, [True] * 3), answer.out
    owns = {token_of(lab, name, SECRETS) for name in UNITS}
    assert len({*owns, first}) == 4, "one of its own for each"
    for name in UNITS:
        host = lab.host(name)
        assert [ask(host, token)[0] for token in (first, None, next(iter(owns)))] == [200, 401, 401]
        assert ask(host, first, port=INNER[name])[0] == 0, "from elsewhere the service itself can't be reached"
    assert wrong_with(lab, state) == {}
    assert all(not host["changes"] for host in typed("install", lab, state, "--front").hosts.values())

    started = invocations(lab)
    with clients_of(lab, first) as clients:
        run = start_fab("rotate", "--fleet", lab.name, "--yes", "--events", "--quiet", "--retire-anyway", state=state)
        assert moving(run, lambda: clients.move(token_of(lab, "queen"))).code == 0
        assert clients.requests > 1000
        assert clients.refused == []
    second = token_of(lab, "hive1")
    assert second not in (first, *owns)
    for name in UNITS:
        assert (status(lab.host(name), second), status(lab.host(name), first)) == (200, 401)

    streams = [stream(lab, name, second) for name in ("hive1", "hive1", "hive2", "hive2", "hive2")]
    revoked = typed("revoke", lab, state, "--reason", "it leaked", "--yes")
    assert revoked.code == 0, revoked.out + revoked.err
    assert all(is_cut(line) for line in streams)
    assert revoked.document["streams_cut"] == 5
    assert (revoked.hosts["hive1"]["streams_cut"], revoked.hosts["hive2"]["streams_cut"]) == (2, 3)
    shown = fab("status", "--fleet", lab.name, "--run", "last", state=state)
    assert "5 streams that were let in with the leaked token were cut: 3 on hive2, 2 on hive1" in shown.out
    third = token_of(lab, "hive2")
    for name in UNITS:
        assert (status(lab.host(name), third), status(lab.host(name), second)) == (200, 401)
    assert invocations(lab) == started, "no service was restarted"
    for name, unit in UNITS.items():
        logs = lab.sh(name, f"cat /var/log/hivekeys-front-{unit}/*; journalctl -o cat")
        assert not any(token in logs for token in (first, second, third, *owns))

    gone = typed("uninstall", lab, state, "--front")
    assert gone.code == 0, gone.out
    for name, unit in UNITS.items():
        assert (status(lab.host(name), third), status(lab.host(name), second)) == (200, 401)
        assert token_of(lab, name, SECRETS) == third
        there = lab.sh(
            name, f"ls -d /etc/hivekeys-front /etc/systemd/system/hivekeys-front-{unit}.service 2>/dev/null || true"
        )
        assert (there, lab.sh(name, "nft list tables")) == ("", "")


def places(lab: Lab, folder: Path, token: str) -> set[str]:
    """The files of the first hive that hold this token, however old they are; "journal" for its journal."""
    folder.mkdir()
    return Secret(folder, token, since=lab.key).on_host(lab, "hive1")


def test_the_tokens_of_a_front_and_of_the_service_behind_it_are_in_their_own_files_alone(
    lab: Lab, state: Path, tmp_path: Path
) -> None:
    """The front comes to one hive, drains it, is turned, revoked, and goes: no process and no log shows any of them."""
    text = lab.inventory.read_text().replace(TABLES, "")
    start = f"/usr/local/bin/rbee-hive daemon --addr 127.0.0.1:{INNER['hive1']}"
    front = f'port = {INNER["hive1"]}, front = {{ listen = "0.0.0.0:8081", start = "{start}" }}'
    drain = 'drain = { before = "front", until = { get = "/metrics", none = "x [1-9]" } }'
    lab.inventory.write_text(
        text.replace("[hosts.hive1]\n", f'[hosts.hive1]\nservice = {{ accepts = "front", {front}, {drain} }}\n')
    )
    secret, first = Secret(tmp_path, generate().reveal()), token_of(lab, "hive1", SECRETS)
    with Watch(first, secret.token) as watch:
        assert typed("install", lab, state, "--front", "--limit", "hive1").code == 0
        own = token_of(lab, "hive1", SECRETS)
        words = ("--yes", "--retire-anyway", "--meter", "--token-file", str(secret.file))
        assert typed("rotate", lab, state, *words).code == 0
    assert watch.leaks == set()
    names = ("accepted.conf", "api-token", "api-tokens")
    assert places(lab, tmp_path / "new", secret.token) == {f"{FRONTS['hive1']}/{name}" for name in names}
    assert places(lab, tmp_path / "old", first) == set()
    with Watch(secret.token, own) as watch:
        assert typed("revoke", lab, state, "--reason", "it leaked", "--yes").code == 0
        assert places(lab, tmp_path / "revoked", secret.token) == set()
        credential = "/run/credentials/rbee-hive.service/api-token"
        assert places(lab, tmp_path / "own", own) == {f"{FRONTS['hive1']}/own.conf", f"{SECRETS}/api-token", credential}
        assert typed("verify", lab, state).code in (0, 6)
        assert typed("uninstall", lab, state, "--front", "--limit", "hive1").code == 0
    assert watch.leaks == set()
    assert places(lab, tmp_path / "gone", own) == set()
    assert secret.below(state) == set()


def test_a_front_keeps_new_requests_off_until_the_work_behind_it_has_ended(lab: Lab, state: Path) -> None:
    """It is taken away, which restarts the service behind it: what it is at work on ends before."""
    with lab.inventory.open("a") as file:
        file.write('[services.hive.drain]\nbefore = "front"\ndeadline = "60s"\n')
    assert typed("install", lab, state, "--front", "--limit", "hive1").code == 0
    token, started = token_of(lab, "hive1"), invocations(lab)["hive1"]
    with stream(lab, "hive1", token) as line:
        run = start_fab("uninstall", "--fleet", lab.name, "--json", "--front", "--limit", "hive1", state=state)
        assert eventually(lambda: status(lab.host("hive1"), token) == 503)
        assert retry_after(lab, "hive1", token) == "5"
        assert "drained" in fab("status", "--fleet", lab.name, state=state).out
        assert invocations(lab)["hive1"] == started
        line.sendall(b"x" * 85)
        assert line.recv(12) == b"HTTP/1.1 404", "the whole of it came, and nothing is there that takes it"
    answer = end_fab(run)
    assert answer.code == 0, answer.err
    assert invocations(lab)["hive1"] != started
    assert status(lab.host("hive1"), token) == 200
    assert lab.sh("hive1", "ls /var/lib/hivekeys/cordoned 2>/dev/null || true") == ""


def test_what_a_killed_agent_left_of_a_drain_is_named_and_ended_by_the_next_set_up(lab: Lab, state: Path) -> None:
    with lab.inventory.open("a") as file:
        file.write('[services.hive.drain]\nbefore = "front"\ndeadline = "60s"\n')
    assert typed("install", lab, state, "--front", "--limit", "hive1").code == 0
    token = token_of(lab, "hive1")
    try:
        with stream(lab, "hive1", token):
            run = start_fab("uninstall", "--fleet", lab.name, "--json", "--front", "--limit", "hive1", state=state)
            assert eventually(lambda: status(lab.host("hive1"), token) == 503)
            lab.sh(
                "hive1",
                'kill -9 $(python3 -c \'import json; print(json.load(open("/var/lib/hivekeys/lock"))["pid"])\')',
            )
            assert end_fab(run).code == 4
        assert status(lab.host("hive1"), token) == 503
        refused = typed("rotate", lab, state, "--yes")
        cause = refused.hosts["hive1"]["cause"]
        assert cause["trouble"] == "cordoned"
        assert f"fab install --fleet {lab.name} --front --limit hive1" in cause["hint"]
        assert typed("install", lab, state, "--front", "--limit", "hive1").code == 0
        assert status(lab.host("hive1"), token) == 200
        assert lab.sh("hive1", "ls /var/lib/hivekeys/cordoned 2>/dev/null || true") == ""
    finally:
        assert typed("uninstall", lab, state, "--front", "--limit", "hive1").code == 0


def test_services_that_ask_for_no_token_have_one_by_their_fronts(lab: Lab, state: Path) -> None:
    """There is no token yet. The fleet is turned and revoked; a service that others reach is named; and all go."""
    text = lab.inventory.read_text()
    lab.inventory.write_text(text.replace("front = {", "front = { own_token = false,"))
    for name in UNITS:
        inject(lab, name, "accepts-any-token")
    own = {name: lab.read(name, ACTIVE) for name in UNITS}
    try:
        assert typed("install", lab, state, "--front", "--dry-run").code == 6
        answer = typed("install", lab, state, "--front")
        assert (answer.code, [host["proven"] for host in answer.hosts.values()]) == (0, [True] * 3), answer.out
        first = token_of(lab, "queen")
        for name in UNITS:
            host = lab.host(name)
            assert [ask(host, token)[0] for token in (first, None, own[name].strip())] == [200, 401, 401]
            assert ask(host, None, port=INNER[name])[0] == 0, "from elsewhere the service itself can't be reached"
        assert wrong_with(lab, state) == {}
        assert all(not host["changes"] for host in typed("install", lab, state, "--front").hosts.values())

        assert typed("rotate", lab, state, "--yes").code == 0
        second = token_of(lab, "hive1")
        assert typed("uninstall", lab, state, "--front", "--yes", "--limit", "hive2").code == 0
        assert status(lab.host("hive2"), None) == 200, "it is open without its front"
        assert typed("install", lab, state, "--front", "--limit", "hive2").code == 0
        assert token_of(lab, "hive2") == second, "the fleet's, which the others prove"
        revoked = typed("revoke", lab, state, "--reason", "it leaked", "--yes")
        assert revoked.code == 0, revoked.out + revoked.err
        third = token_of(lab, "hive2")
        for name in UNITS:
            assert [status(lab.host(name), token) for token in (third, second, first)] == [200, 401, 401]
        lab.sh("queen", "nft delete table inet hivekeys_front_queen_rbee")
        reached = f"port {INNER['queen']}, which asks for no token, can be reached from the bastion"
        assert wrong_with(lab, state) == {"queen": reached}
        assert {name: lab.read(name, ACTIVE) for name in UNITS} == own, "what lies there is not the front's"
    finally:
        gone = typed("uninstall", lab, state, "--front", "--yes")
        for name in UNITS:
            mend(lab, name)
    assert gone.code == 0, gone.out


def test_where_there_is_no_nginx_nothing_is_touched_and_the_command_is_named(lab: Lab, state: Path) -> None:
    lab.sh("hive2", "mv /usr/sbin/nginx /usr/sbin/nginx.away")
    before = lab.sh("hive2", LISTING)
    try:
        answer = typed("install", lab, state, "--front", "--limit", "hive2")
    finally:
        lab.sh("hive2", "mv /usr/sbin/nginx.away /usr/sbin/nginx")
    assert answer.code == 4
    cause = answer.hosts["hive2"]["cause"]
    assert cause["trouble"] == "nginx-missing"
    assert "apt-get install --no-install-recommends nginx-light" in cause["hint"]
    assert lab.sh("hive2", LISTING) == before


def test_a_front_that_cannot_be_proven_is_undone_by_itself(lab: Lab, state: Path) -> None:
    """Another program has the public port as soon as the service leaves it."""
    token = lab.read("hive1", ACTIVE).strip()
    before = lab.sh("hive1", LISTING)
    text = lab.inventory.read_text().replace("0.0.0.0:8081", "0.0.0.0:22")
    lab.inventory.write_text(text)
    answer = typed("install", lab, state, "--front", "--limit", "hive1")
    assert answer.code == 4
    assert answer.hosts["hive1"]["cause"]["trouble"] == "front-refused"
    assert answer.hosts["hive1"]["cause"]["detail"].endswith("what was done is undone, it works as before")
    assert lab.sh("hive1", LISTING) == before
    assert ask(lab.host("hive1"), token, PROTECTED["hive"])[0] == 200
    assert json.loads(answer.out)["exit_code"] == 4
