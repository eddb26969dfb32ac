"""A small fleet to break a run on, the bastion's death at an exact moment, and what no death may leave behind.

`python -m tests.lab.surviving VERB FLEET STATE EVENT` is `fab rotate` (or revoke) that kills itself (SIGKILL) as soon
as that many events are in the journal. All checks ask the hosts, through their namespaces and over HTTP, never the
program.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from hivekeys import inventory
from hivekeys.journal import state_folder
from hivekeys.journal.events import Event
from hivekeys.journal.run import REVOKE, ROTATE
from hivekeys.journal.store import Journal
from hivekeys.lab import Lab, down, up
from hivekeys.lab.files import SECRETS
from hivekeys.protocol.program import program_of
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import Drive, paced
from hivekeys.rotation.moves import REVOCATION, ROTATION
from hivekeys.rotation.shards.shard import OwnShard
from hivekeys.ssh.dialer import SshDialer
from tests.builders.project import PROJECT

from .asking import eventually
from .rotating import INVENTORY, Answer, end_fab, fab, made_whole, mended, write_policy

HEX = frozenset("0123456789abcdef")
QUICK = {"connect": 1, "banner": 2, "auth": 8, "channel": 4, "request": 6}  # seconds; nobody is far away in a lab


@contextlib.contextmanager
def small_fleet(purpose: str) -> Iterator[Lab]:
    """A queen and three hives, gone afterwards however it ends; `fab` finds their inventory."""
    name = f"lab-test-survive-{purpose}{os.getpid()}"
    try:
        yield up(name, hives=3, inventory_dir=INVENTORY)
    finally:
        down(name, inventory_dir=INVENTORY)


def write_inventory(lab: Lab, **policy: object) -> None:
    """The lab's inventory with these [rollout] keys, and with little patience for hosts that are silent."""
    write_policy(lab, **policy)
    lines = [f"{key} = {value}\n" for key, value in QUICK.items()]
    lab.inventory.write_text(lab.inventory.read_text() + "\n[timeouts]\n" + "".join(lines))


class Bastion:
    """An operator's account on a bastion: its own journal, key and lock."""

    def __init__(self, lab: Lab, home: Path) -> None:
        self.lab = lab
        self.home = home
        self._works: list[Work] = []

    def fab(self, verb: str, *words: str) -> Answer:
        """Runs a verb over the fleet to its end."""
        return fab(verb, "--fleet", self.lab.name, *words, state=self.home)

    def start(self, verb: str, *words: str) -> "Work":
        """A verb at work."""
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("fab")), verb, "--fleet", self.lab.name, *words],
            cwd=PROJECT,
            env={**os.environ, "HIVEKEYS_STATE_DIR": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._works.append(Work(process))
        return self._works[-1]

    def leave(self) -> None:
        """Ends what a test that failed left at work."""
        for work in self._works:
            with work.process as process:
                process.kill()

    def dies_after(self, event: int, verb: str = ROTATE) -> int:
        """Rotates (or revokes) until this many events are written down; the exit status."""
        words = [sys.executable, "-m", "tests.lab.surviving", verb, self.lab.name, str(self.home), str(event)]
        return subprocess.run(words, cwd=PROJECT, capture_output=True, timeout=120, check=False).returncode


class Work:
    """`fab` at work. What it says on stderr is heard line by line, so that a test can act at that moment."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.heard: list[str] = []

    def until(self, words: str) -> None:
        """Waits for a line with these words; to end without saying them is a failure."""
        assert self.process.stderr
        rescue = threading.Timer(60, self.process.kill)
        rescue.start()
        try:
            for line in self.process.stderr:
                self.heard.append(line)
                if words in line:
                    return
        finally:
            rescue.cancel()
        raise AssertionError(f"{words!r} was never said: {''.join(self.heard)}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Answer:
        """The whole answer, once it is through."""
        answer = end_fab(self.process)
        return Answer(answer.code, answer.out, "".join(self.heard) + answer.err)


def slots(lab: Lab) -> dict[str, dict[str, str]]:
    """Every file in every token directory, with its text."""
    script = f'cd {SECRETS}; for file in .[!.]* *; do [ ! -f "$file" ] || echo "$file $(cat "$file")"; done'

    def of(name: str) -> dict[str, str]:
        pairs = (line.partition(" ") for line in lab.sh(name, script).splitlines())
        return {file: text for file, _, text in pairs}

    with ThreadPoolExecutor() as pool:
        return dict(zip(lab.hosts, pool.map(of, lab.hosts), strict=True))


def new_token(lab: Lab, old: str) -> str:
    """The one other token that hosts hold, "" while there is none. Promises 1 and 2, wherever a run was cut off."""
    found = slots(lab)
    for name, files in found.items():
        whole = {text for file, text in files.items() if file.startswith("api-token")}
        assert all(len(text) == 64 and HEX.issuperset(text) for text in whole), name
        assert "api-token" in files, name
    others = {text for files in found.values() for file, text in files.items() if file.startswith("api-token")} - {old}
    assert len(others) <= 1, "a second new token"
    return next(iter(others), "")


def lines_cut(lab: Lab) -> None:
    """Every SSH session on every host ends, as when a firewall forgets its connections."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(lab.run, argv=["pkill", "-KILL", "-u", "deploy"]), lab.hosts))
    agents_left(lab)


def agents_left(lab: Lab) -> None:
    """Waits until no agent is on any host."""
    agents = ["pgrep", "-u", "root", "-f", "sys.stdin.buffer"]
    assert eventually(lambda: not any(lab.run(name, agents).stdout for name in lab.hosts))


@contextlib.contextmanager
def tiny_disk(place: Path) -> Iterator[Callable[[], Path]]:
    """A disk of 2 MB at `place`; the function fills it to the last byte and returns the file that does."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(place)], check=True)

    def fill() -> Path:
        path = place / "filler"
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        return path

    try:
        yield fill
    finally:
        subprocess.run(["umount", str(place)], check=True)


def whole_again(lab: Lab) -> None:
    """However a test ended: no fault, nobody at work on a host, one token."""
    mended(lab)
    lines_cut(lab)
    made_whole(lab)


def _turn_and_die(verb: str, fleet_name: str, home: str, last: int) -> None:
    fleet = inventory.load(INVENTORY / f"{fleet_name}.toml")
    fleet = paced(fleet) if verb == REVOKE else fleet
    folder = state_folder.folder_for(fleet.name, home)
    run = f"{fleet.name}-{secrets.token_hex(4)}"
    greeting = Greeting(fleet.name, state_folder.fingerprint_key(folder), run, state_folder.operator())
    journal = Journal(folder)
    written: list[Event] = []

    def record(events: Sequence[Event]) -> None:
        for event in events:
            journal.append(run, event)
            written.append(event)
            if len(written) == last:
                os.kill(os.getpid(), signal.SIGKILL)

    with state_folder.hold_lock(folder, fleet.name, run, ""):
        runner = Crew(
            fleet, [OwnShard(fleet, fleet.hosts, SshDialer(fleet, program_of("sweep")))], greeting, record, task=verb
        )
        drive = Drive(runner, REVOCATION if verb == REVOKE else ROTATION)
        if verb == REVOKE or drive.look():
            drive.go()


if __name__ == "__main__":
    _turn_and_die(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
