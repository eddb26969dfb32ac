"""The files of one host: laid over the shared image before it boots.

Pure but for `lay` at the end. The units are the guide's ("Example Service File"), with the audit trail
switched on and `Restart=on-failure`, as a service of a fleet has it; where v0.1.0 runs, also with what it needs to
start at all (llama-orch.md): the token in its environment, and a folder for its database.
"""

import os
import shlex
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from hivekeys.lab.image import DEPLOY, LLAMA_ORCH
from hivekeys.lab.model import RELEASES, Accepts, Host, Lab, Units

SECRETS = "/etc/llama-orch/secrets"
ENVIRONMENT = "/etc/rbee/secrets.env"  # root's, and its folder too
AUDIT = "/var/log/llama-orch/audit"
HOME = "/var/lib/llama-orch"  # where v0.1.0 keeps its database
SHIM = "/usr/local/bin/with-token"
STANDIN = Path(__file__).with_name("standin.py")
VERSIONS = "/usr/local/lib/llama-orch"
PROTECTED = {"queen": "/v2/workers/list", "hive": "/v1/workers/list"}
ARGUMENTS = {"queen": "--port {port} --database {database}", "hive": "daemon --addr 0.0.0.0:{port}"}
_CREDENTIALS_SINCE = 250  # systemd's LoadCredential came with 247, but `%d` only with 250
_SHIM = """\
#!/bin/sh
# Reads the token's file into the environment and becomes the service, which reads no file.
if [ -n "$LLORCH_API_TOKEN_FILE" ]; then
    LLORCH_API_TOKEN=$(cat "$LLORCH_API_TOKEN_FILE") || exit 1
    export LLORCH_API_TOKEN
fi
exec "$@"
"""


@dataclass(frozen=True)
class Entry:
    """A file, a folder (no text), a symbolic link, or a copy of a file of this machine (`source`)."""

    path: str
    text: str | None = None
    mode: int = 0o644
    owner: int = 0
    link: str = ""
    source: str = ""


def token_file(lab: Lab) -> str:
    """The file that the fleet's token lies in."""
    return ENVIRONMENT if lab.shape.units is Units.ENVIRONMENT_FILE else f"{SECRETS}/api-token"


def unit(lab: Lab, host: Host) -> str:
    """The service's unit file."""
    writable = AUDIT if lab.shape.units is Units.FILE else f"{AUDIT} {HOME}"
    return f"""\
[Unit]
Description={host.unit} of the rehearsal fleet
After=network.target

[Service]
Type=simple
User=llama-orch
Group=llama-orch
ExecStart={command(lab, host)}
Restart=on-failure
{_token_lines(lab, host)}
Environment=LLORCH_AUDIT_MODE=local
Environment=LLORCH_AUDIT_DIR={AUDIT}
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=strict
ProtectHome=true
ReadWritePaths={writable}

[Install]
WantedBy=multi-user.target
"""


def _token_lines(lab: Lab, host: Host) -> str:
    """How the token comes to the service, and where v0.1.0 has its home; as credential where systemd has those."""
    home = "" if lab.shape.units is Units.FILE else f"Environment=HOME={HOME}\n"
    if lab.shape.units is Units.ENVIRONMENT_FILE:
        return f"{home}EnvironmentFile={ENVIRONMENT}"
    if lab.shape.accepts.by_service:
        return _of_two(lab, host)
    if RELEASES[host.release] < _CREDENTIALS_SINCE:
        return f"{home}Environment=LLORCH_API_TOKEN_FILE={SECRETS}/api-token"
    return f"{home}LoadCredential=api-token:{SECRETS}/api-token\nEnvironment=LLORCH_API_TOKEN_FILE=%d/api-token"


def _of_two(lab: Lab, host: Host) -> str:
    """The lines of a unit whose service takes two tokens, from plain files that it reads again when it is told."""
    listed = lab.shape.accepts is Accepts.LINES
    second = "LLORCH_API_TOKENS_FILE={}s" if listed else "LLORCH_API_TOKEN_PREVIOUS_FILE={}.previous"
    lines = [f"Environment=LLORCH_API_TOKEN_FILE={SECRETS}/api-token {second.format(f'{SECRETS}/api-token')}"]
    lines += ["Environment=STANDIN_WATCHES=1"] if lab.shape.apply(host.role) == "watch" else []
    return "\n".join([*lines, "ExecReload=/bin/kill -HUP $MAINPID"])


def command(lab: Lab, host: Host) -> str:
    """How the unit starts its service. The guide's services are told a port and nothing more."""
    shape = lab.shape
    usual = "--port {port}" if shape.units is Units.FILE else ARGUMENTS[host.role]
    arguments = shlex.split(shape.command(host.role))[1:] or usual.split()
    told = [word.format(port=host.port, database=f"{HOME}/{host.unit}.db") for word in arguments]
    shim = [SHIM] if shape.units is Units.SHIM else []
    return shlex.join([*shim, f"/usr/local/bin/{host.unit}", *told])


def entries(lab: Lab, host: Host, *, token: str, login_key: str) -> list[Entry]:
    """Everything that makes the image this host, folders before what is in them."""
    by_address = "".join(f"{other.address} {other.name}\n" for other in lab.hosts.values())
    return [
        Entry("/etc", mode=0o755),
        Entry("/etc/hostname", f"{host.name}\n"),
        # Without its own name here a host's sudo waits for a DNS server that isn't there.
        Entry("/etc/hosts", f"127.0.0.1 localhost\n{by_address}"),
        Entry("/etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444),
        Entry("/etc/systemd", mode=0o755),
        Entry("/etc/systemd/system", mode=0o755),
        Entry(f"/etc/systemd/system/{host.unit}.service", unit(lab, host)),
        Entry("/etc/systemd/system/multi-user.target.wants", mode=0o755),
        Entry(
            f"/etc/systemd/system/multi-user.target.wants/{host.unit}.service",
            link=f"/etc/systemd/system/{host.unit}.service",
        ),
        Entry("/etc/ssh", mode=0o755),
        Entry("/home", mode=0o755),
        Entry("/home/deploy", mode=0o755, owner=DEPLOY),
        Entry("/home/deploy/.ssh", mode=0o700, owner=DEPLOY),
        Entry("/home/deploy/.ssh/authorized_keys", login_key, 0o600, DEPLOY),
        Entry("/etc/llama-orch", mode=0o755, owner=LLAMA_ORCH),
        Entry(SECRETS, mode=0o700, owner=LLAMA_ORCH),
        *_token(lab, token),
        Entry("/var", mode=0o755),
        Entry("/var/lib", mode=0o755),
        Entry(HOME, mode=0o750, owner=LLAMA_ORCH),
        Entry("/var/log", mode=0o755),
        Entry("/var/log/llama-orch", mode=0o755, owner=LLAMA_ORCH),
        Entry(AUDIT, mode=0o750, owner=LLAMA_ORCH),
        Entry("/usr", mode=0o755),
        Entry("/usr/local", mode=0o755),
        Entry("/usr/local/bin", mode=0o755),
        *_program(lab, host),
    ]


def _token(lab: Lab, token: str) -> list[Entry]:
    if lab.shape.units is not Units.ENVIRONMENT_FILE:
        return [Entry(token_file(lab), token, 0o600, LLAMA_ORCH)]
    text = f"# What the services are told.\nLLORCH_API_TOKEN={token}RUST_LOG=info\n"
    return [Entry("/etc/rbee", mode=0o700), Entry(ENVIRONMENT, text, 0o600)]


def _program(lab: Lab, host: Host) -> list[Entry]:
    """The service's program and what starts it; a stand-in lies in the folder of its version."""
    shim = [Entry(SHIM, _SHIM, 0o755)] if lab.shape.units is Units.SHIM else []
    place = f"/usr/local/bin/{host.unit}"
    given = shlex.split(lab.shape.command(host.role))
    if given:
        return [*shim, Entry(place, "", 0o755, source=given[0])]
    folder = f"{VERSIONS}/{'next' if lab.shape.units is Units.FILE else 'v0.1.0'}"
    programs = [host.unit] if host.role == "queen" else [host.unit, "llm-worker-rbee"]
    return [
        *shim,
        Entry("/usr/local/lib", mode=0o755),
        Entry(VERSIONS, mode=0o755),
        Entry(folder, mode=0o755),
        *(Entry(f"{folder}/{name}", STANDIN.read_text(), 0o755) for name in programs),
        Entry(place, link=f"{folder}/{host.unit}"),
    ]


def lay(upper: Path, host_entries: list[Entry]) -> None:
    """Write the entries below `upper`."""
    for entry in host_entries:
        place = upper / entry.path.lstrip("/")
        if entry.link:
            place.symlink_to(entry.link)
            continue
        if entry.text is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.touch(0o600)
            place.write_text(entry.text)
        if entry.source:
            shutil.copyfile(entry.source, place)
        os.chown(place, entry.owner, entry.owner)
        place.chmod(entry.mode)
