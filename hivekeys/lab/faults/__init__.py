"""Breaks hosts on purpose: `inject` a fault, `mend` the host.

A fault lies in wait. It disturbs nothing that runs, so it can be injected in the middle of a rotation, and
what comes next meets it: the next restart, write or login. Only `frozen` stops whatever runs. `mend` takes every
fault off a host and leaves it with a healthy service on the token file that it has then. Both are safe from any
thread and to repeat.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.lab import boot
from hivekeys.lab.faults import disk, link, login, machine, service
from hivekeys.lab.lock import lock
from hivekeys.lab.model import Host, Lab

SLOW_START = 20.0


@dataclass(frozen=True)
class Fault:
    """One way for a host to be wrong: what to call it, what it does, how to do it and how to undo it."""

    name: str
    help: str
    inject: Callable[[Lab, Host], None]
    mend: Callable[[Lab, Host], None]


def _service(name: str, words: str) -> Fault:
    return Fault(name, words, lambda lab, host: service.arm(lab, host, name, SLOW_START), service.disarm)


FAULTS = {
    fault.name: fault
    for fault in (
        _service("start-fails", "the service does not start"),
        _service("start-slow", f"the service is up at once but listens only {SLOW_START:.0f} s later"),
        _service("keeps-old-token", "the service goes on with the token of now, healthy, whatever the file says"),
        _service("no-token", "the service finds no token, and refuses every call, healthy"),
        _service("accepts-any-token", "the service accepts every call, healthy"),
        _service("calls-peers", "the service calls the queen, or she each hive, every second with its token"),
        _service("worker-survives", "a hive's worker outlives each restart, with the token of now"),
        _service("crash-loops", "the service dies 2 s after each start, and systemd brings it back"),
        Fault("disk-full", "no byte can be added in the token directory", disk.fill, disk.unmount),
        Fault("read-only", "the token directory is on a read-only mount", disk.protect, disk.unmount),
        Fault("link-down", "the host's cable is out", link.cut, link.plug),
        Fault("link-slow", "every packet to the host takes 200 ms longer", link.slow, link.speed),
        Fault("sshd-frozen", "sshd accepts connections and says nothing, on open ones too", login.freeze, login.thaw),
        Fault(
            "frozen",
            "every process of the host stands still; its kernel takes connections",
            machine.freeze,
            machine.thaw,
        ),
        Fault("sudo-refused", "sudo turns the account deploy away", login.refuse_sudo, login.allow_sudo),
        Fault("host-key-changed", "sshd shows other host keys", login.change_keys, login.restore_keys),
    )
}


def inject(lab: Lab, name: str, fault: str, *, seconds: float = SLOW_START) -> None:
    """Break host `name`. A fault that is in force already stays as it is. `seconds` is for start-slow."""
    if fault not in FAULTS:
        raise UserError(f"there is no fault {fault!r}", hint=f"there are: {', '.join(FAULTS)}")
    host = lab.host(name)
    with lock(f"faults {lab.name} {name}"):
        if fault in in_force(lab, name):
            return
        with _note(lab, name).open("a") as note:  # first: what is half injected must be mended too
            note.write(f"{fault}\n")
        if fault == "start-slow":
            service.arm(lab, host, fault, seconds)
        else:
            FAULTS[fault].inject(lab, host)


def mend(lab: Lab, name: str) -> tuple[str, ...]:
    """Take every fault off host `name`, the last one first; returns what was in force."""
    host = lab.host(name)
    with lock(f"faults {lab.name} {name}"):
        faults = in_force(lab, name)
        for fault in dict.fromkeys(FAULTS[fault].mend for fault in reversed(faults)):
            fault(lab, host)
        if faults:
            service.revive(lab, host)
            boot.wait(lab, timeout=20, service=not lab.shape.real, only=[name])
        _note(lab, name).unlink(missing_ok=True)
    return faults


def in_force(lab: Lab, name: str) -> tuple[str, ...]:
    """The faults of a host, in the order in which they were injected."""
    try:
        return tuple(_note(lab, lab.host(name).name).read_text().split())
    except FileNotFoundError:
        return ()


def _note(lab: Lab, name: str) -> Path:
    return boot.folder(lab, name) / "faults"
