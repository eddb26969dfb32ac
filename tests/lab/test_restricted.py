"""Restricted mode on real hosts: what the login may still do, what a thief may not; how it comes and goes."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys import inventory
from hivekeys.lab import Lab, down, up
from hivekeys.lab.faults import inject, mend
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.program import program_of
from hivekeys.protocol.restriction import INSTALLED, Restriction
from hivekeys.protocol.verbs import Greeting, Restrict, Step
from hivekeys.protocol.wire import PROTOCOL
from hivekeys.ssh.dialer import SshDialer
from hivekeys.ssh.session import Session

from .asking import ADMIN, RULES, log_of, ssh, status
from .rotating import INVENTORY, Answer, fab, truth_of, write_policy

pytestmark = pytest.mark.lab
SETTINGS = "/var/lib/hivekeys/restricted"
PARTS = ["agent", "agent", "agent", "sudoers"]  # directory, program, settings, rule
ALLOWED = "deploy ALL=(ALL:ALL) NOPASSWD: ALL\n"
EVERYTHING = (
    "find /etc /usr/local /home /var/lib/hivekeys -xdev -printf '%p %m %u:%g %l\\n' | sort;"
    "find /etc /usr/local /home /var/lib/hivekeys -xdev -type f ! -name lock -exec sha256sum {} + | sort"
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A host of each release, with an administrator."""
    name = f"lab-tight{os.getpid()}"
    try:
        lab = up(name, hives=2, releases=("bookworm", "bullseye", "trixie"), inventory_dir=INVENTORY)
        for host in lab.hosts:
            lab.sh(host, ADMIN)
        yield lab
    finally:
        down(name, inventory_dir=INVENTORY)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, str]:
    """What was on the hosts before anybody restricted them."""
    return {name: lab.sh(name, EVERYTHING) for name in lab.hosts}


@pytest.fixture(scope="module")
def installed(lab: Lab, state: Path, before: dict[str, str]) -> dict[str, Answer]:
    """The hosts restricted as an operator does it; what `fab` said on the way."""
    assert before
    said = {"with a rule of its own": install(lab, state)}
    for name in lab.hosts:
        lab.sh(name, f"rm {RULES}/deploy")
    said["without"] = install(lab, state)
    write_policy(lab, revocation_recheck=0.2)
    lab.inventory.write_text(lab.inventory.read_text().replace('become = "sudo"', 'become = "restricted"'))
    return said


@pytest.fixture
def tight(lab: Lab, installed: dict[str, Answer]) -> Lab:
    """The lab in restricted mode."""
    assert installed
    return lab


def install(lab: Lab, state: Path, *words: str) -> Answer:
    return fab("install", "--restricted", "--login", "admin", "--fleet", lab.name, "--json", *words, state=state)


def parts(answer: Answer, host: str, *, refused: bool = False) -> list[str]:
    changes = answer.hosts[host]["changes"]
    return [change["part"] for change in changes if bool(change["refused"]) == refused]


# -- how it comes


def test_agent_settings_and_rule_are_put_there_and_a_rule_of_others_is_named_and_stays(
    lab: Lab, installed: dict[str, Answer]
) -> None:
    first = installed["with a rule of its own"]
    assert first.code == 6, first.err
    for name in lab.hosts:
        assert parts(first, name) == PARTS
        others = [change["before"] for change in first.hosts[name]["changes"] if change["part"] == "sudo-rules"]
        assert others == ["(ALL : ALL) NOPASSWD: ALL"]


def test_a_second_time_changes_nothing(lab: Lab, installed: dict[str, Answer]) -> None:
    again = installed["without"]
    assert again.code == 0, again.out + again.err
    assert {name: parts(again, name) for name in lab.hosts} == {name: [] for name in lab.hosts}


def test_all_of_it_is_roots_alone(tight: Lab) -> None:
    for name in tight.hosts:
        look = f"stat -c '%a %U:%G' {INSTALLED} {os.path.dirname(INSTALLED)} {RULES}/hivekeys {SETTINGS}"  # noqa: PTH120
        assert tight.sh(name, look).split("\n")[:4] == [
            "755 root:root",
            "755 root:root",
            "440 root:root",
            "600 root:root",
        ]
        assert tight.sh(name, f"head -n1 {INSTALLED}").strip() == "#!/usr/bin/python3 -IS"


def test_a_rule_that_visudo_does_not_take_is_never_in_place(tight: Lab) -> None:
    before = tight.sh("hive1", f"ls -A {RULES}; cat {RULES}/hivekeys")
    program = tight.sh("hive1", f"cat {INSTALLED}")
    reply = as_admin(tight, Restrict(apply=True, restriction=Restriction("deploy", program, "deploy ALL=(\n")))
    assert reply.cause
    assert reply.cause.trouble is Trouble.SUDOERS_REFUSED
    assert tight.sh("hive1", f"ls -A {RULES}; cat {RULES}/hivekeys") == before


def as_admin(lab: Lab, step: Step) -> Reply:
    """One step on hive1 with all of sudo."""
    text = lab.inventory.read_text().replace('"restricted"', '"sudo"').replace('"deploy"', '"admin"')
    path = lab.folder / "admin.toml"
    path.write_text(text)
    fleet = inventory.load(path)
    (host,) = (host for host in fleet.hosts if host.name == "hive1")
    program = program_of("restrict")
    dialer = SshDialer(fleet, program)
    greeting = Greeting(fleet.name, b"k" * 32, "by-hand", "ann@bastion", write=True, claim=False)
    session = Session(host, dialer, fleet.policy, greeting)
    try:
        assert session.open() is None
        reply = session.ask((step,))
        assert isinstance(reply, Reply), reply
        return reply
    finally:
        session.close()
        dialer.close()


# -- what the login may still do


def test_every_verb_that_the_mode_allows_works_and_then_every_check_holds(
    tight: Lab, state: Path, tmp_path: Path
) -> None:
    def did(*words: str, code: int = 0) -> Answer:
        answer = fab(words[0], "--fleet", tight.name, *words[1:], "--json", state=state)
        assert answer.code == code, (words, answer.out, answer.err)
        return answer

    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    old = truth_of(tight, "queen").token
    file = did("backup", "--to", f"{key}.pub").document["file"]
    did("rotate", "--yes")
    new = truth_of(tight, "queen").token
    did("restore", file, "--identity", str(key), "--yes")
    assert truth_of(tight, "hive1").token == old
    inject(tight, "hive2", "start-fails")
    revocation = did("revoke", "--yes", "--reason", "leaked", "--attempts", "1", "--fence", code=4)
    states = {name: host["state"] for name, host in revocation.hosts.items()}
    assert states == {"queen": "proven", "hive1": "proven", "hive2": "fenced"}
    mend(tight, "hive2")
    did("reconcile")
    newest = truth_of(tight, "hive2").token
    assert len({old, new, newest}) == 3
    assert [status(tight.hosts[name], token) for name in tight.hosts for token in (newest, old)] == [200, 401] * 3
    did("status")
    assert fab("audit", "--fleet", tight.name, "--json", "--since", "1h", state=state).code in (0, 6)
    findings = did("verify", "--skip", "audit-watch").document["findings"]  # auditd is in no container
    assert {one["verdict"] for one in findings} == {"pass"}
    assert len({one["check"] for one in findings}) > 30


def test_a_front_is_turned_and_revoked_in_restricted_mode(tight: Lab, state: Path) -> None:
    """It comes and goes by an administrator's login; the host is restricted anew to what is there then."""
    admin = ("--fleet", tight.name, "--front", "--login", "admin", "--limit", "hive1")
    before = tight.inventory.read_text()
    front = 'front = { listen = "0.0.0.0:8081", start = "/usr/local/bin/rbee-hive daemon --addr 127.0.0.1:18081" }'
    entry = f'[hosts.hive1]\nservice = {{ accepts = "front", port = 18081, {front} }}\n'
    tight.inventory.write_text(before.replace("[hosts.hive1]\n", entry))
    try:
        assert fab("install", *admin, state=state).code == 0
        refused = fab("rotate", "--fleet", tight.name, "--yes", state=state)
        assert (refused.code, "hive1: request-refused" in refused.out + refused.err) == (3, True), refused.err
        assert install(tight, state).code == 0
        old = truth_of(tight, "queen").token
        assert fab("rotate", "--fleet", tight.name, "--yes", state=state).code == 0
        new = truth_of(tight, "queen").token
        assert [status(tight.hosts["hive1"], token) for token in (new, old)] == [200, 401]
        assert fab("revoke", "--fleet", tight.name, "--yes", "--reason", "leaked", state=state).code == 0
        newest = truth_of(tight, "queen").token
        assert [status(tight.hosts["hive1"], token) for token in (newest, new)] == [200, 401]
        answer = fab("verify", "--fleet", tight.name, "--checks", "front,behind,mode,proof", state=state)
        assert answer.code == 0, answer.out
    finally:
        gone = fab("uninstall", *admin, state=state)
        tight.inventory.write_text(before)
        again = install(tight, state)
    assert (gone.code, again.code) == (0, 0), gone.err + again.err
    assert status(tight.hosts["hive1"], newest) == 200


def test_verify_says_which_mode_each_host_is_in(tight: Lab, state: Path) -> None:
    answer = fab("verify", "--fleet", tight.name, "--checks", "mode", state=state)
    assert "mode: restricted on queen, hive1, hive2\n" in answer.out
    tight.write("hive2", f"{RULES}/deploy", ALLOWED, mode=0o440)
    try:
        findings = fab("verify", "--fleet", tight.name, "--checks", "mode", "--json", state=state)
    finally:
        tight.sh("hive2", f"rm {RULES}/deploy")
    assert findings.code == 6
    verdicts = {one["host"]: one["verdict"] for one in findings.document["findings"]}
    assert verdicts == {"queen": "pass", "hive1": "pass", "hive2": "fail"}


@pytest.mark.parametrize(
    "command",
    [
        "true",
        "-s",
        "-u llama-orch /usr/local/lib/hivekeys/agent",
        "/usr/local/lib/hivekeys/agent -c 'import os'",
        "/usr/bin/python3 -IS /usr/local/lib/hivekeys/agent",
        "PYTHONPATH=/tmp /usr/local/lib/hivekeys/agent",
        "-e /etc/sudoers.d/hivekeys",
        "/bin/sh -c id",
    ],
)
def test_sudo_lets_it_run_nothing_else(tight: Lab, command: str) -> None:
    for name in tight.hosts:
        done = ssh(tight, name, f"sudo -n {command} </dev/null")
        assert done.returncode != 0, (name, done.stdout)
        assert "uid=0" not in done.stdout
        assert "hivekeys:ready" not in done.stdout


def test_sudo_rs_reads_the_rule_the_same_way(tight: Lab, state: Path) -> None:
    (name,) = (name for name, host in tight.hosts.items() if host.release == "trixie")
    tight.sh(name, "ln -s $(command -v sudo-rs) /usr/local/bin/sudo")
    try:
        assert "sudo-rs" in ssh(tight, name, "sudo --version 2>&1").stdout
        assert "hivekeys:ready" in ssh(tight, name, f"sudo -n {INSTALLED} </dev/null").stdout
        assert ssh(tight, name, f"sudo -n {INSTALLED} -x </dev/null").returncode != 0
        assert ssh(tight, name, "sudo -n true").returncode != 0
        assert fab("plan", "--fleet", tight.name, "--limit", f"queen,{name}", state=state).code == 0
    finally:
        tight.sh(name, "rm /usr/local/bin/sudo")


def test_a_thief_who_asks_for_another_file_is_refused_and_noted(tight: Lab) -> None:
    service = json.loads(tight.sh("hive1", f"cat {SETTINGS}"))["service"]
    hello = {
        "verb": "hello",
        "fleet": tight.name,
        "key": "00" * 32,
        "service": service,
        "run": "stolen",
        "who": "eve@bastion",
        "write": True,
        "claim": True,
        "beside": False,
        "epoch": 10**9,
        "sitting": [1, "ab12cd34"],
        "seen": None,
        "take_over": False,
        "tokens": ["secret" * 12],
        "revoked": {},
    }
    before = tight.sh("hive1", EVERYTHING)
    earlier = len(log_of(tight, "hive1", "-t hivekeys-agent").splitlines())
    wrong = {
        "another file": {**hello, "service": {**service, "token": "/etc/shadow"}},
        "another unit": {**hello, "service": {**service, "unit": "ssh.service"}},
        "another owner": {**hello, "service": {**service, "owner": "deploy"}},
        "another fleet": {**hello, "fleet": "mine"},
        "a program": {"verb": "install", "apply": True, "options": []},
    }
    for step in wrong.values():
        said = json.dumps({"protocol": PROTOCOL, "deadline": 10, "steps": [step]}) + "\n"
        assert talk(tight, said) == "request-refused"
    older = json.dumps({"protocol": PROTOCOL + 1, "deadline": 10, "steps": [hello]}) + "\n"
    assert talk(tight, older) == "agent-differs"
    assert tight.sh("hive1", EVERYTHING) == before
    noted = log_of(tight, "hive1", "-t hivekeys-agent").splitlines()[earlier:]
    assert noted.count("deploy: refused: another service than this host was installed for") == 3
    assert "secretsecret" not in "".join(noted)
    assert "/etc/shadow" not in "".join(noted)


def talk(lab: Lab, said: str) -> str:
    """The trouble that hive1's installed agent answers; its input ends when it has answered."""
    argv = ["ssh", "-F", str(lab.ssh_config), "-o", "BatchMode=yes", "hive1", f"exec sudo -n {INSTALLED}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as thief:
        assert thief.stdin
        assert thief.stdout
        for line in thief.stdout:
            if line.startswith("hivekeys:ready"):
                break
        thief.stdin.write(said)
        thief.stdin.flush()
        answer = thief.stdout.readline()
        thief.stdin.close()
    return str(json.loads(answer)["results"][0]["trouble"])


def test_a_flood_without_an_end_does_not_fill_the_hosts_memory(tight: Lab) -> None:
    flood = f"head -c 300000000 /dev/zero | tr '\\0' y | sudo -n {INSTALLED}"
    done = ssh(tight, "hive1", f"ulimit -v 400000; {flood} >/dev/null; echo $?")
    assert done.stdout.strip() == "0", done.stderr
    assert "a line of more than 1048576 bytes" in log_of(tight, "hive1", "-t hivekeys-agent")


# -- one that is not the bastion's


def test_an_agent_that_is_not_this_bastions_is_not_talked_to_until_it_is_brought_anew(tight: Lab, state: Path) -> None:
    for task, change in (("plan", "echo '# tampered' >>"), ("rotate", "sed -i 's/^PROTOCOL = 1/PROTOCOL = 0/'")):
        tight.sh("hive1", f"{change} {INSTALLED}")
        answer = fab(task, "--fleet", tight.name, *(["--yes"] if task == "rotate" else []), state=state)
        assert answer.code == (3 if task == "rotate" else 4)
        assert "hive1: agent-differs: the host has agent" in answer.out + answer.err
        brings = f"fab install --fleet {tight.name} --restricted --limit hive1 --login ADMIN"
        assert brings in answer.out + answer.err
        mended = install(tight, state, "--limit", "hive1")
        assert (mended.code, parts(mended, "hive1")) == (0, ["agent"]), mended.err
    assert fab("plan", "--fleet", tight.name, state=state).code == 0


def test_a_host_without_the_rule_says_how_to_bring_it(tight: Lab, state: Path) -> None:
    tight.sh("hive2", f"mv {RULES}/hivekeys /root/rule")
    try:
        plan = fab("plan", "--fleet", tight.name, state=state)
    finally:
        tight.sh("hive2", f"mv /root/rule {RULES}/hivekeys")
    assert plan.code == 4
    assert "hive2: agent-missing: sudo ended with status 1" in plan.err + plan.out


def test_an_inventory_that_changed_is_refused_by_the_host(tight: Lab, state: Path) -> None:
    was = tight.inventory.read_text()
    tight.inventory.write_text(was + "\n[services.hive]\nprotected = []\n")
    try:
        plan = fab("plan", "--fleet", tight.name, state=state)
    finally:
        tight.inventory.write_text(was)
    assert plan.code == 4
    assert "hive1: failed: request-refused: another service than this host was installed for" in plan.err


def test_what_the_mode_does_not_allow_asks_for_another_login(tight: Lab, state: Path) -> None:
    for task in ("fix", "install", "uninstall", "watch"):
        answer = fab(task, "--fleet", tight.name, state=state)
        assert (answer.code, answer.out) == (2, "")
        assert "--login ACCOUNT" in answer.err
    assert fab("fix", "--fleet", tight.name, "--login", "admin", state=state).code in (0, 6)


# -- a key of its own


def test_a_key_that_is_for_the_agent_alone_opens_nothing_else(tight: Lab, state: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    answer = install(tight, state, "--restrict-key", f"{key}.pub")
    assert answer.code == 0, answer.out + answer.err
    assert {name: parts(answer, name) for name in tight.hosts} == {name: ["login-key"] for name in tight.hosts}
    was = tight.inventory.read_text()
    tight.inventory.write_text(was.replace(f'key = "{tight.key}"', f'key = "{key}"'))
    try:
        assert fab("plan", "--fleet", tight.name, state=state).code == 0
    finally:
        tight.inventory.write_text(was)
    own = ["-F", "/dev/null", "-o", f"UserKnownHostsFile={tight.known_hosts}", "-o", "BatchMode=yes", "-i", str(key)]
    for options, command in ((["-tt"], "id"), ([], "cat /etc/passwd"), (["-L", "127.0.0.1:1:127.0.0.1:22"], "id")):
        argv = ["ssh", *own, "-o", "IdentitiesOnly=yes", *options, f"deploy@{tight.hosts['hive1'].address}", command]
        done = subprocess.run(argv, input="", capture_output=True, text=True, timeout=120, check=False)
        assert "uid=" not in done.stdout
        assert "root:" not in done.stdout
        assert ("hivekeys:ready" in done.stdout) is (options != ["-tt"])  # no terminal is given to it, and so nothing
    again = install(tight, state, "--restrict-key", f"{key}.pub")
    assert (again.code, parts(again, "hive1")) == (0, [])


# -- and how it goes


def test_it_goes_again_and_leaves_the_host_as_it_was(tight: Lab, state: Path, before: dict[str, str]) -> None:
    words = ("uninstall", "--restricted", "--login", "admin", "--fleet", tight.name, "--json")
    answer = fab(*words, state=state)
    assert answer.code == 0, answer.out
    assert set(parts(answer, "hive1")) >= {"agent", "sudoers"}
    for name in tight.hosts:
        left = tight.sh(name, EVERYTHING)
        changed = set(before[name].splitlines()) ^ set(left.splitlines())
        assert not [
            line for line in changed if not re.search("/deploy|/secrets/|/var/lib/hivekeys|/[.]sudo_as_admin", line)
        ]
        assert SETTINGS not in left
        assert tight.sh(name, "cat ~deploy/.ssh/authorized_keys").count("command=") == 0
    assert fab(*words, state=state).code == 0
