"""A token that would be known anywhere passes through a whole run, and is found nowhere but in its own file.

Looked at: what was printed, the bastion's state and temporary folders, every process's arguments and environment
while the run goes on (the hosts' processes are this machine's too), each host's whole disk, /run and journal.
sshd logs at its loudest meanwhile.
"""

import base64
import json
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hivekeys.lab import Lab
from hivekeys.lab.faults import inject
from hivekeys.lab.files import AUDIT, SECRETS
from tests.builders.project import PROJECT

from .asking import log_of, put_token
from .rotating import Answer, fab, made_whole, mended, serves, truth, write_policy
from .searching import Secret, Watch, traces

pytestmark = pytest.mark.lab
LOUD = "/etc/ssh/sshd_config.d/lab-loud.conf"
DEBUG = {"HIVEKEYS_DEBUG": "1", "INVOKE_DEBUG": "1", "FABRIC_DEBUG": "1"}


@pytest.fixture(scope="module")
def loud(five_hives: Lab) -> Iterator[Lab]:
    """The fleet, with sshds that log all they can."""
    for name in five_hives.hosts:
        five_hives.sh(name, f"echo LogLevel DEBUG3 >{LOUD}; systemctl restart ssh")
    yield five_hives
    for name in five_hives.hosts:
        five_hives.sh(name, f"rm {LOUD}; systemctl restart ssh")
    made_whole(five_hives)


def own_files(lab: Lab, name: str) -> set[str]:
    """Where the token of a host belongs: its file, and the copy that systemd gave the service."""
    return {f"{SECRETS}/api-token", f"/run/credentials/{lab.hosts[name].unit}.service/api-token"}


def run_in_the_open(
    secret: Secret, *words: str, state: Path, stdin: str = "", debug: bool = False, env: dict[str, str] | None = None
) -> Answer:
    """`fab` at work on the secret, everything about it searched but for the hosts."""
    with Watch(secret.token) as watch:
        flags = ("--debug",) if debug else ()
        answer = fab(*flags, *words, state=state, stdin=stdin, env={**(DEBUG if debug else {}), **(env or {})})
    assert watch.leaks == set()
    agents = [line for line in watch.seen if b"python3" in line and b"sys.stdin.buffer" in line]
    assert agents  # the watch was quick enough to see what it is for
    for trace in traces(secret.token):
        assert trace not in answer.out
        assert trace not in answer.err
    temporary = {Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/dev/shm"), Path("/var/log")}  # noqa: S108
    assert secret.below(state, PROJECT, *temporary) == set()
    return answer


@pytest.mark.parametrize(
    ("how", "words", "debug"), [("file", (), True), ("file", ("--json",), False), ("stdin", ("--json",), True)]
)
def test_a_token_that_went_everywhere_is_only_in_its_own_file(
    loud: Lab, tmp_path: Path, how: str, words: tuple[str, ...], debug: bool
) -> None:
    write_policy(loud)
    secret = Secret(tmp_path)
    source = "-" if how == "stdin" else str(secret.file)
    stdin = f"{secret.token}\n" if how == "stdin" else ""
    rotate = ("rotate", "--fleet", loud.name, "--yes", "--token-file", source, *words)
    answer = run_in_the_open(secret, *rotate, state=tmp_path / "state", stdin=stdin, debug=debug)
    assert answer.code == 0, answer.err
    assert serves(loud, secret.token)
    assert found_on(loud, secret) == {name: own_files(loud, name) for name in loud.hosts}
    log = log_of(loud, "hive1")
    assert "COMMAND=" in log  # sudo's own log was searched, and sshd's loudest
    assert "debug3" in log


def brought(loud: Lab, folder: Path) -> Secret:
    """A recognisable token that the whole fleet has."""
    write_policy(loud)
    secret = Secret(folder)
    turned = fab("rotate", "--fleet", loud.name, "--yes", "--token-file", str(secret.file), state=folder / "state")
    assert turned.code == 0, turned.err
    return secret


def found_on(lab: Lab, secret: Secret) -> dict[str, set[str]]:
    """Where the hosts have it."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(lab.hosts, pool.map(lambda name: secret.on_host(lab, name), lab.hosts), strict=True))


@pytest.fixture
def guarded(loud: Lab, tmp_path: Path) -> Iterator[Secret]:
    """A password for `deploy` on every host, without which its sudo opens nothing; hive3 is told another one."""
    secret = Secret(tmp_path)
    rules = "/etc/sudoers.d/deploy"
    was = loud.read("hive1", rules)
    for name in loud.hosts:
        loud.run(name, ["chpasswd"], text=f"deploy:{secret.token}\n", check=True)
        loud.write(name, rules, was.replace("NOPASSWD:", ""), mode=0o440)
    write_policy(loud)
    loud.inventory.write_text(loud.inventory.read_text().replace('become = "sudo"', 'become = "sudo-password"'))
    yield secret
    write_policy(loud)
    for name in loud.hosts:
        loud.write(name, rules, was, mode=0o440)
        loud.sh(name, "usermod --password '*' deploy")


def test_a_sudo_password_is_told_to_sudo_alone(loud: Lab, tmp_path: Path, guarded: Secret) -> None:
    """Through a whole rotation and a verify, with all there is of debugging; then it is changed on one host."""
    state = tmp_path / "state"
    env = {"HIVEKEYS_SUDO_PASSWORD_FILE": str(guarded.file)}
    rotate = ("rotate", "--fleet", loud.name, "--yes")
    answer = run_in_the_open(guarded, *rotate, state=state, debug=True, env=env)
    assert answer.code == 0, answer.err
    loud.run("hive3", ["chpasswd"], text=f"deploy:{secrets.token_hex(32)}\n", check=True)
    answer = run_in_the_open(guarded, *rotate, "--json", state=state, debug=True, env=env)
    assert answer.code == 3, answer.err
    assert answer.hosts["hive3"]["cause"]["trouble"] == "sudo-password-refused"
    assert found_on(loud, guarded) == {name: set() for name in loud.hosts}


def test_a_token_that_leaked_is_on_no_host_any_more_and_its_tombstones_do_not_show_it(
    loud: Lab, tmp_path: Path
) -> None:
    """Nor is it in what is handed to others: report and evidence. One host fails, is fenced, and taken up again."""
    secret = brought(loud, tmp_path)
    write_policy(loud, revocation_recheck=0)
    state, fleet = tmp_path / "state", ("--fleet", loud.name)
    inject(loud, "hive4", "keeps-old-token")
    words = ("revoke", *fleet, "--yes", "--reason", "it leaked", "--attempts", "2", "--fence", "--json")
    answer = run_in_the_open(secret, *words, state=state, debug=True)
    mended(loud)
    assert (answer.code, answer.hosts["hive4"]["state"]) == (4, "fenced"), answer.err
    assert "it leaked" in answer.out
    answer = run_in_the_open(secret, "reconcile", *fleet, state=state, debug=True)
    assert answer.code == 0, answer.err
    assert found_on(loud, secret) == {name: set() for name in loud.hosts}
    for form in ("table", "json", "markdown", "html"):
        assert fab("report", *fleet, "--format", form, "--output", str(tmp_path / form), state=state).code == 0
    assert fab("evidence", *fleet, "--output", str(tmp_path / "e.tar"), state=state).code == 0
    assert b"it leaked" in (tmp_path / "e.tar").read_bytes(), "it is searched as it is: nothing in it is packed"
    assert secret.below(tmp_path) == set()


def test_verify_brings_no_token_out_of_its_file(loud: Lab, tmp_path: Path) -> None:
    """Nor into the agent's arguments, a command's on the host, or what verify prints in any format."""
    secret = brought(loud, tmp_path)
    loud.sh("hive1", f"cp -p {SECRETS}/api-token {SECRETS}/worker-key; touch {SECRETS}/api-token.old")
    try:
        for form in ("table", "json", "junit", "sarif", "markdown"):
            words = ("verify", "--fleet", loud.name, "--verbose", "--format", form)
            answer = run_in_the_open(secret, *words, state=tmp_path / "state", debug=form == "table")
            assert answer.code == 6, answer.err
    finally:
        loud.sh("hive1", f"rm {SECRETS}/worker-key {SECRETS}/api-token.old")
    assert found_on(loud, secret) == {name: own_files(loud, name) for name in loud.hosts}


def test_audit_quotes_no_token_that_a_caller_put_where_none_belongs(loud: Lab, tmp_path: Path) -> None:
    """Whoever calls a service chooses what its trail says of the path; of the two halves, too."""
    secret = brought(loud, tmp_path)
    event = {"event_type": "auth_failure", "path": f"/list?key={secret.token}", "ip": secret.token[:32]}
    record = {"timestamp": "2001-01-02T00:00:00Z", "service_id": secret.token[32:], "event": event}
    file = f"{AUDIT}/2001-01-02.audit"
    loud.run("hive1", ["sh", "-c", f"cat >{file}"], text=f"{json.dumps(record)}\n{secret.token}\n", check=True)
    audit = ("audit", "--fleet", loud.name, "--until", "2001-01-03")
    try:
        shown = run_in_the_open(secret, *audit, state=tmp_path / "state", debug=True)
        told = run_in_the_open(secret, *audit, "--failed", "--json", state=tmp_path / "state")
    finally:
        loud.sh("hive1", f"rm {file}")
    assert (shown.code, told.code) == (0, 0), shown.err + told.err
    assert "1 calls in" in shown.out
    assert [row["path"] for row in told.document["rows"]] == ["/list?key=[token]"]
    assert found_on(loud, secret) == {name: own_files(loud, name) for name in loud.hosts}


def test_fix_quotes_no_copy_of_a_token_and_leaves_none(loud: Lab, tmp_path: Path) -> None:
    """Not even one that is named after the token."""
    secret = brought(loud, tmp_path)
    copies = f"{SECRETS}/api-token.old {SECRETS}/api-token.{secret.token} /tmp/api-token"
    loud.sh("hive1", f"for copy in {copies}; do cp -p {SECRETS}/api-token $copy; done; chmod 644 {SECRETS}/api-token")
    fix = ("fix", "--fleet", loud.name)
    for words in (fix, (*fix, "--json"), (*fix, "--apply", "--strays")):
        answer = run_in_the_open(secret, *words, state=tmp_path / "state", debug="--json" not in words)
        assert answer.code == (0 if "--apply" in words else 6), answer.err
    assert found_on(loud, secret) == {name: own_files(loud, name) for name in loud.hosts}


def test_a_hive_that_joins_and_leaves_again_gets_and_loses_the_token_unseen(loud: Lab, tmp_path: Path) -> None:
    """It goes from a host that proves it through the bastion's memory, and is nowhere afterwards."""
    secret = brought(loud, tmp_path)
    loud.sh("hive1", f"systemctl stop rbee-hive; rm {SECRETS}/api-token")
    hive = ("--fleet", loud.name, "--limit", "hive1")
    joined = run_in_the_open(secret, "install", *hive, state=tmp_path / "state", debug=True)
    assert joined.code == 0, joined.err
    assert found_on(loud, secret) == {name: own_files(loud, name) for name in loud.hosts}
    left = run_in_the_open(secret, "uninstall", *hive, "--yes", "--json", state=tmp_path / "state")
    assert [change["part"] for change in left.hosts["hive1"]["changes"] if not change["refused"]][:1], left.out
    assert secret.on_host(loud, "hive1") == set()
    put_token(loud, "hive1", secret.token)
    made_whole(loud)


def test_a_backup_and_its_restore_show_the_token_to_nobody(loud: Lab, tmp_path: Path) -> None:
    """Nor the key that opens it; on this machine the token is in sealed files alone, on the hosts in its own.

    One backup is taken by the rotation itself, one by hand.
    """
    write_policy(loud)
    secret = Secret(tmp_path)
    state, fleet = tmp_path / "state", ("--fleet", loud.name)
    subprocess.run(["age-keygen", "-o", tmp_path / "key"], capture_output=True, check=True)
    public = subprocess.run(["age-keygen", "-y", tmp_path / "key"], capture_output=True, text=True, check=True).stdout
    with loud.inventory.open("a") as inventory:
        inventory.write(f'\n[backup]\nto = "{public.strip()}"\n')
    rotate = ("rotate", *fleet, "--yes", "--token-file", str(secret.file))
    turned = run_in_the_open(secret, *rotate, state=state, debug=True)
    assert turned.code == 0, turned.err
    (file,) = (state / loud.name / "backups").iterdir()
    kept = run_in_the_open(secret, "backup", *fleet, "--output", str(tmp_path / "sealed"), state=state, debug=True)
    assert kept.code == 0, kept.err
    assert secret.below(tmp_path) == set()
    assert fab("rotate", *fleet, "--yes", state=state).code == 0
    restore = ("restore", str(file), "--identity", str(tmp_path / "key"), *fleet, "--yes")
    answer = run_in_the_open(secret, *restore, state=state, debug=True)
    assert answer.code == 0, answer.err
    key = (tmp_path / "key").read_text().split()[-1]
    assert key[20:40] not in "".join(said.out + said.err for said in (turned, kept, answer))
    assert found_on(loud, secret) == {name: own_files(loud, name) for name in loud.hosts}


def test_a_token_whose_run_failed_is_nowhere(loud: Lab, tmp_path: Path) -> None:
    write_policy(loud)
    old = truth(loud)["queen"].token
    secret = Secret(tmp_path)
    inject(loud, "hive4", "start-fails")
    rotate = ("rotate", "--fleet", loud.name, "--yes", "--token-file", str(secret.file))
    answer = run_in_the_open(secret, *rotate, state=tmp_path / "state", debug=True)
    made_whole(loud)
    assert answer.code == 4, answer.err
    assert "hive4" in answer.out
    assert serves(loud, old)
    assert found_on(loud, secret) == {name: set() for name in loud.hosts}


def test_the_search_finds_what_it_searches(loud: Lab, tmp_path: Path) -> None:
    secret = Secret(tmp_path)
    (tmp_path / "leak").write_text(f"Authorization: {base64.b64encode(secret.token.encode()).decode()}\n")
    loud.sh("hive1", "cat >/dev/null")
    loud.run("hive1", ["systemd-cat", "cat"], text=f"token={secret.token[:40]}\n")
    loud.run("hive1", ["tee", "/dev/shm/leak"], text=secret.token.encode().hex())  # noqa: S108
    with Watch(secret.token) as watch:
        subprocess.run(["sh", "-c", "sleep 0.3", secret.token], env={"X": secret.token[:32]}, check=True)
    assert {leak.split()[1] for leak in watch.leaks} == {"cmdline", "environ"}
    assert secret.below(tmp_path) == {str(tmp_path / "leak")}
    assert {"journal", "/dev/shm/leak"} <= secret.on_host(loud, "hive1")  # noqa: S108
    loud.sh("hive1", "rm /dev/shm/leak")
