"""Commands that stand in a host's way of starting the agent: a login's script, a program in its PATH, a relay."""

from pathlib import Path

from .bastion import Bastion


def shell(ssh: Bastion, script: str) -> str:
    """An sshd option: every login runs this script, as a login shell with its start-up files would."""
    path = ssh.folder / f"shell{len(ssh.sshds)}"
    path.write_text(script + "\n")
    return f"ForceCommand /bin/sh {path}"


def command_in_path(ssh: Bastion, name: str, script: str) -> Path:
    """A command of this name in the bastion's folder, for a host that has that folder in its PATH."""
    path = ssh.folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def relay(ssh: Bastion) -> Path:
    """What `nc HOST PORT` is, without nc."""
    path = ssh.folder / "relay"
    path.write_text(
        "#!/usr/bin/env python3\n"
        "import os, socket, sys, threading\n"
        "plug = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): plug.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := plug.recv(65536): os.write(1, data)\n"
    )
    path.chmod(0o755)
    return path
