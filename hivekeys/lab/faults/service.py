"""Faults of the service: a drop-in for its unit, which counts from the next start on and works for any program."""

from hivekeys.lab.files import SECRETS, command
from hivekeys.lab.model import Host, Lab

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
Environment=LLORCH_API_TOKEN_FILE={old_token}
""",
    "accepts-any-token": """\
[Service]
UnsetEnvironment=LLORCH_API_TOKEN_FILE
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
[ -e "$from" ] || from={secrets}/api-token
mkdir -p /run/hivekeys-lab
install -m 0600 -o llama-orch -g llama-orch "$from" {old_token}
"""


def drop_in(host: Host, fault: str, seconds: float) -> str:
    """The text of the drop-in that makes a host's service faulty."""
    return _DROP_INS[fault].format(seconds=seconds, command=command(host), old_token=OLD_TOKEN)


def arm(lab: Lab, host: Host, fault: str, seconds: float) -> None:
    """Make the next start of the service faulty."""
    if fault == "keeps-old-token":
        lab.sh(host.name, _KEEP_ASIDE.format(unit=host.unit, secrets=SECRETS, old_token=OLD_TOKEN))
    lab.sh(host.name, f"mkdir -p {_folder(host)}")
    lab.write(host.name, f"{_folder(host)}/lab-{fault}.conf", drop_in(host, fault, seconds))
    lab.sh(host.name, "systemctl daemon-reload")


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
