"""Faults of the service: a drop-in for its unit, in force from the next start."""

import http.client

from hivekeys.errors import UserError
from hivekeys.lab.files import PROTECTED, command, token_file
from hivekeys.lab.model import Host, Lab, Units
from hivekeys.lab.standin import SPAWN

OLD_TOKEN = "/run/hivekeys-lab/old-token"  # noqa: S105  a path, not a token

_DROP_INS = {
    "start-fails": """\
[Service]
ExecStartPre=/bin/false
""",
    "start-slow": """\
[Service]
ExecStart=
ExecStart=/bin/sh -c 'sleep {seconds}; exec {command}'
""",
    "keeps-old-token": """\
[Service]
{old_source}={old_token}
""",
    "no-token": """\
[Service]
UnsetEnvironment=LLORCH_API_TOKEN_FILE LLORCH_API_TOKEN
""",
    "accepts-any-token": """\
[Service]
Environment=STANDIN_ACCEPTS_ANY_TOKEN=1
""",
    "calls-peers": """\
[Service]
Environment="STANDIN_CALLS={peers}"
""",
    # What is set so, to keep workers alive over a restart of their hive, keeps their token as well.
    "worker-survives": """\
[Service]
KillMode=process
""",
    # Not RuntimeMaxSec: after a daemon-reload that would end the service that is running now.
    "crash-loops": """\
[Unit]
StartLimitIntervalSec=0
[Service]
Restart=on-failure
ExecStart=
ExecStart=/usr/bin/timeout --signal=KILL 2 {command}
""",
}

# What the service runs on is systemd's copy of the token; without credentials there is only the file.
_KEEP_ASIDE = """\
from=/run/credentials/{unit}.service/api-token
[ -e "$from" ] || from={token_file}
mkdir -p /run/hivekeys-lab
install -m 0600 -o llama-orch -g llama-orch "$from" {old_token}
"""


def drop_in(lab: Lab, host: Host, fault: str, seconds: float) -> str:
    """The text of the drop-in that makes a host's service faulty."""
    is_environment = lab.shape.units is Units.ENVIRONMENT_FILE
    peers = [other for other in lab.hosts.values() if other.role != host.role]
    return _DROP_INS[fault].format(
        seconds=seconds,
        command=command(lab, host),
        old_source="EnvironmentFile" if is_environment else "Environment=LLORCH_API_TOKEN_FILE",
        old_token=OLD_TOKEN,
        peers=" ".join(f"http://{peer.address}:{peer.port}{PROTECTED[peer.role]}" for peer in peers),
    )


def arm(lab: Lab, host: Host, fault: str, seconds: float) -> None:
    """Make the next start of the service faulty."""
    if fault == "keeps-old-token":
        aside = _KEEP_ASIDE.format(unit=host.unit, token_file=token_file(lab), old_token=OLD_TOKEN)
        lab.sh(host.name, aside)
    lab.sh(host.name, f"mkdir -p {_folder(host)}")
    lab.write(host.name, f"{_folder(host)}/lab-{fault}.conf", drop_in(lab, host, fault, seconds))
    lab.sh(host.name, "systemctl daemon-reload")
    if fault == "worker-survives":
        _start_worker(lab, host)


def _start_worker(lab: Lab, host: Host) -> None:
    """Let the hive start a worker, which has its token from now on."""
    token = lab.read(host.name, token_file(lab)).rpartition("LLORCH_API_TOKEN=")[2].split()[0]
    line = http.client.HTTPConnection(host.address, host.port, timeout=10)
    try:
        line.request("POST", SPAWN, headers={"Authorization": f"Bearer {token}"})
        status = line.getresponse().status
    except OSError as error:
        raise UserError(f"{host.name}: the service does not answer: {error}") from error
    finally:
        line.close()
    if status != 200:
        raise UserError(
            f"{host.name}: {host.unit} starts no worker: it answers {status}", hint="a hive with a healthy service does"
        )


def disarm(lab: Lab, host: Host) -> None:
    """Take every such fault away and start the service afresh."""
    lab.sh(host.name, f"rm -rf {_folder(host)} {OLD_TOKEN}; systemctl daemon-reload; systemctl stop {host.unit}")
    revive(lab, host)


def revive(lab: Lab, host: Host) -> None:
    """Start a service that does not run, also one that systemd has given up on."""
    unit = host.unit
    # reset-failed fails where there is nothing to reset.
    lab.sh(
        host.name,
        f"systemctl is-active --quiet {unit} || {{ systemctl reset-failed {unit} || true; systemctl start {unit}; }}",
    )


def _folder(host: Host) -> str:
    return f"/run/systemd/system/{host.unit}.service.d"
