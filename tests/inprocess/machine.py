"""systemd, the processes and the clock of a simulated host, as its agent sees them."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from hivekeys.fleet import SERVICES
from hivekeys.host.slots import CREDENTIALS
from hivekeys.host.sockets import LISTENS, forms_of
from hivekeys.host.system import System, place_of, refuse_strangers
from hivekeys.host.tls import Tls
from hivekeys.host.verbs.sweep import Neighbours
from hivekeys.token import Token

from .host import SimulatedHost
from .processes import numbers


class Machine(System):
    """systemd, the service and the clock of a simulated host, for one agent."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.own_pid = next(numbers)

    def now(self) -> float:
        return time.time() + self.host.ahead

    def monotonic(self) -> float:
        return self.host.clock

    def sleep(self, seconds: float) -> None:
        self.host.clock += seconds

    def pid(self) -> int:
        return self.own_pid

    def born(self, pid: int) -> int | None:
        self.host.tick()
        alive = [
            self.own_pid,
            *self.host.others,
            *self.host.left_behind,
            *(line.agent.system.pid() for line in self.host.lines),
        ]
        if self.host.process:
            alive.append(self.host.process.pid)
        return pid if pid in alive else None

    def machine(self) -> bytes:
        return self.host.identity

    def space(self, fd: int) -> os.statvfs_result:
        """One of the disks that `HostSecrets` and `HostState` write to."""
        is_var = "/var/lib" in str(Path(f"/proc/self/fd/{fd}").readlink())
        found = list(os.fstatvfs(fd))
        if self.host.fault == ("var-full" if is_var else "disk-full"):
            found[3] = 0  # f_bfree
        if self.host.fault == "read-only" and not is_var:
            found[8] |= os.ST_RDONLY  # f_flag
        return os.statvfs_result(found)

    def terminate(self, pid: int) -> None:
        self.host.terminated.append(pid)
        if pid in self.host.deaf:
            return
        self.kill(pid)

    def kill(self, pid: int) -> None:
        if pid in self.host.left_behind:
            self.host.left_behind.pop(pid)[0].state.release()
        for line in [line for line in self.host.lines if line.agent.system.pid() == pid]:
            line.drop()
        if pid in self.host.others:
            self.host.signals.append((pid, signal.SIGKILL))
            del self.host.others[pid]

    def process(self, pid: int) -> dict[str, Any] | None:
        self.host.tick()
        process, other = self.host.process, self.host.others.get(pid)
        if other:
            uid = self.host.uid if other.uid is None else other.uid
            none = {"started": 0.0, "reads": "", "env_token": bool(other.held)}
            return {**self.shown(pid), **none, "uid": uid, "token": other.held}
        if process is None or process.pid != pid:
            return None
        files = self.host.version()
        changed = max([moment for _, moment in files], default=time.time_ns()) / 1e9
        # Files have the kernel's clock, not ours: "younger" must not depend on how fast a test runs.
        by_environment = self.host.environment_file or self.host.environment_token
        held = (process.token or "") if by_environment else ""
        is_read = not files or files == process.version
        return {
            **self.shown(pid),
            "started": changed if is_read else changed - 1.0,
            "uid": self.host.uid,
            "reads": "" if self.host.credentials or self.host.in_line else self.host.host.service.token,
            "env_token": bool(held),
            "token": held,
        }

    def shown(self, pid: int) -> dict[str, Any]:
        """As System.stat. A pid is as good as a birth: both grow."""
        comm = self.host.others[pid].comm if pid in self.host.others else "service"
        return {"comm": comm, "parent": 1, "born": pid, "age": 60.0}

    def is_relayed(self) -> bool:
        return self.host.sudo_relays

    def stat(self, pid: int) -> dict[str, Any] | None:
        return self.shown(pid) if self.born(pid) is not None else None

    def is_own(self, address: str) -> bool:
        return address in self.host.addresses

    def sockets(self, pid: int) -> set[int]:
        return {pid}

    def unix_listening(self) -> list[tuple[int, str]]:
        return []

    def outlives(self, pid: int, number: int) -> bool:
        return self.host.outlives_sigterm

    def members(self, cgroup: str, root: str = "/") -> list[int]:
        main = [self.host.process.pid] if self.host.process else []
        return [*main, *(pid for pid, other in self.host.others.items() if other.in_unit)]

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        self.host.tick()
        words = [word for word in argv if not word.startswith("-")]
        self.host.started.append(" ".join(words[:2]) if words[0] == "systemctl" else words[0])
        if timeout <= 0 or (self.host.systemctl_hangs and words[0] == "systemctl"):
            self.host.clock += timeout
            return 124, f"{words[0]} did not answer within {timeout:.0f} s"
        if words in (["systemctl", "daemon-reload"], ["systemd-analyze", "verify", self.host.host.service.unit]):
            return 0, ""
        if words == ["systemctl"]:
            return 0, "systemd 252 (252.39-1)" if self.host.credentials else "systemd 247 (247.3-7)"  # --version
        if words == ["systemctl", "show-environment"]:
            return 0, "LANG=C.UTF-8\n"
        if words[0] == "systemctl" and len(words) > 2:
            return self.systemctl(words[1], *words[2:])
        if words[0] == "journalctl":
            unit, about_it = self.host.host.service.unit, f"UNIT={self.host.host.service.unit}" in words
            failed = [f"{unit}: Failed with result 'exit-code'."] if self.host.unit_state == "failed" else []
            return 0, "\n".join(failed if about_it else self.host.log)
        said = {
            "busctl": self.host.credentials_shown or f'a(ss) 1 "api-token" "{self.host.host.service.token}"',
            "sudo": self.host.sudo_rules,
        }
        if said.get(words[0]):
            return 0, said[words[0]]
        return 127, f"{words[0]}: No such file or directory"

    def systemctl(self, verb: str, unit: str, *others: str) -> tuple[int, str]:
        host = self.host
        assert unit, "systemd is asked of no unit"
        if verb == "show":
            return 0, "\n".join(self.show(name) for name in (unit, *others))
        if verb == "restart" and (why := self.refuses_restart()):
            return 5, f"Failed to restart {unit}: {why}\nSee system logs and 'systemctl status {unit}' for details."
        if unit != host.host.service.unit:
            return 5, f"Failed to {verb} {unit}: Unit {unit} not found."
        if verb == "reset-failed":
            host.restarts = 0
            host.start_limit_hit = False
            host.unit_state = "inactive" if host.unit_state == "failed" else host.unit_state
        if verb in ("reload", "kill") and host.process:
            host.reads_again()
        if verb == "stop":
            host.stop()
        if verb in ("start", "restart") and (host.start_limit_hit or not host.start()):
            return 1, f"Job for {unit} failed because the control process exited with error code."
        return 0, ""

    def show(self, unit: str) -> str:
        host = self.host
        if unit != host.host.service.unit:
            load = host.units.get(unit, "not-found")
            return f"LoadState={load}\nActiveState=inactive\nSubState=dead\nMainPID=0\n"
        path, drop_ins = host.host.service.token, f"etc/systemd/system/{unit}.d/*.conf"
        if host.credentials:
            path = f"/{CREDENTIALS}/{unit}/api-token"
        shown = {
            "LoadState": "loaded",
            "ActiveState": host.unit_state,
            "SubState": "running" if host.process else "failed" if host.unit_state == "failed" else "dead",
            "Result": host.result,
            "MainPID": host.process.pid if host.process else 0,
            "NRestarts": host.restarts,
            "InvocationID": host.invocation,
            "ControlGroup": f"/system.slice/{unit}",
            "KillMode": host.kill_mode,
            "DropInPaths": " ".join(f"/{path.relative_to(host.root)}" for path in sorted(host.root.glob(drop_ins))),
            "Environment": f"LLORCH_API_TOKEN_FILE={path}" + " LLORCH_AUDIT_MODE=local" * host.is_audited,
        }
        if host.environment_file:
            shown["EnvironmentFiles"] = f"{host.environment_file} (ignore_errors=no)"
        if host.in_line:
            shown["Environment"] = ""
        shown.update(host.unit_settings)
        return "".join(f"{name}={value}\n" for name, value in shown.items())

    def refuses_restart(self) -> str:
        """What systemctl says, as systemd 252 does, where nothing is restarted."""
        unit, settings = self.host.host.service.unit, self.host.unit_settings
        if "yes" in (settings.get("RefuseManualStop"), settings.get("RefuseManualStart")):
            return f"Operation refused, unit {unit} may be requested by dependency only."
        for needed in settings.get("Requires", "").split():
            if needed not in ("sysinit.target", "system.slice") and self.host.units.get(needed) != "loaded":
                return f"Unit {needed} not found."
        return ""

    def get(
        self,
        port: int,
        path: str,
        token: str | None,
        timeout: float,
        trusted: frozenset[int] | None = None,
        address: str = "127.0.0.1",
        tls: Tls | None = None,
    ) -> tuple[int, str]:
        assert not self.host.host.service.is_client, "a client is called"
        if trusted is not None:
            refuse_strangers(place_of(address, port), self.listeners(port, address), trusted)
        if (address, port) != self.host.listens_on:
            return self.get_of_others(port, token)
        if bool(tls) != self.host.speaks_tls and self.host.process:
            return 0, "Connection reset by peer"
        if self.host.port_held_by is not None:
            self.host.heard.extend([token] if token else [])
            return (200 if token is None and path != self.host.protected else 401), ""
        status = self.host.status(path, token)
        if self.host.records_calls and status and path != SERVICES[self.host.host.role].health[0]:
            who, is_in, nowhere = Token(token) if token else None, status not in (401, 403), "0.0.0.0"  # noqa: S104
            self.host.writes(who, ok=is_in, path=path, address=nowhere, after=self.host.ahead)
        if token and status in (200, 401):
            said = "authenticated" if status == 200 else "auth failed: invalid token"
            fp6 = Token(token).fingerprint(b"").fp6
            self.host.log.append(f"{said} \x1b[3midentity\x1b[0m\x1b[2m=\x1b[0mtoken:{fp6}")
        return status, "" if status else "Connection refused"

    def fetch(
        self,
        request: str,
        port: int,
        token: str | None,
        timeout: float,
        trusted: frozenset[int] | None,
        address: str,
        tls: Tls | None,
        most: int,
        until: bytes | None = None,
    ) -> tuple[bytes, str]:
        method, path, _ = request.split()
        status, why = self.get(port, path, token, timeout, trusted, address, tls)
        work, body = self.host.work, ""
        if method != "GET":
            self.host.requests.append(f"{method} {path}")
        elif work:
            body = work.pop(0) if len(work) > 1 else work[0]
        return (f"HTTP/1.1 {status} -\r\n\r\n{body}".encode(), "") if status else (b"", why)

    def get_of_others(self, port: int, token: str | None) -> tuple[int, str]:
        other = next((other for other in self.host.others.values() if other.port == port), None)
        if other is None:
            return 0, "Connection refused"
        self.host.others_heard.setdefault(other.pid, []).extend([token] if token else [])
        return other.status(token), "" if other.speaks_http else "the answer is not HTTP"

    def listeners(self, port: int, address: str = "127.0.0.1") -> set[int]:
        return {uid for _, _, _, uid, _ in self.listening(port)}

    def listening(self, port: int = 0) -> list[tuple[int, bytes, int, int, int]]:
        """Everybody on loopback; a process's one socket has its pid for an inode."""
        host = self.host
        address, own = host.listens_on
        service = [(host.port_held_by, 1)] if host.port_held_by is not None else []
        service = service or ([(host.uid, host.process.pid)] if host.process else [])
        rows = [(LISTENS, forms_of(address)[0], own, uid, inode) for uid, inode in service]
        for pid, other in host.others.items():
            if other.port:
                uid = host.uid if other.uid is None else other.uid
                rows.append((LISTENS, b"\x7f\0\0\1", other.port, uid, pid))
        return [row for row in rows if port in (0, row[2])]

    @property
    def neighbours(self) -> "HostNeighbours":
        return HostNeighbours(self)


class HostNeighbours(Neighbours):
    """The processes of a simulated host."""

    system: Machine

    def processes(self) -> dict[int, dict[str, Any]]:
        host = self.system.host
        pids = [*([host.process.pid] if host.process else []), *host.others]
        return {pid: shown for pid in pids if (shown := self.system.process(pid))}

    def is_apart(self, pid: int) -> bool:
        return False

    def unit_of(self, pid: int) -> str:
        return self.system.host.others[pid].unit

    def signal(self, pid: int, number: int) -> None:
        host = self.system.host
        host.signals.append((pid, number))
        if number == signal.SIGKILL or not host.others[pid].stubborn:
            del host.others[pid]
