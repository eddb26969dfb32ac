"""What each tool's program is given: the fleet as JSON and the token's file; standard library only.

python TOOL.py FLEET.json TOKEN-FILE
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def given() -> tuple[dict[str, Any], str]:
    """The fleet and the token, from the files that argv names."""
    return json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]).read_text().strip()


def script(token: str) -> str:
    """The text for a root shell's stdin on the host."""
    return (HERE.parent / "turn.sh").read_text().replace("@TOKEN@", token)


def command(host: dict[str, Any]) -> str:
    """The one command that reads it."""
    return f"sudo -n sh -eu -s {host['unit']} {host['health']}"


def waves(fleet: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The queen first, then all hives at once."""
    hosts = fleet["hosts"]
    return [[host for host in hosts if host["role"] == role] for role in ("queen", "hive")]
