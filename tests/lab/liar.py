"""A host of the lab whose agent lies, as one would that somebody has broken into.

In the place of its python3, where sudo looks first, stands a program that runs the real one with the real agent and
rewrites the answers' lines. So the host may do honestly what it is told; what the bastion hears is the lie.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from hivekeys.lab import Lab

PYTHON, LIE, TOLD = "/usr/local/sbin/python3", "/etc/lie.json", "/run/lie-told"
RUBBISH = '{"results": [{"verb": "swap", "ok": tru\x1b]0;pwned'
TOO_MUCH = "5 MB"
SILENCE = "nothing"
_PROGRAM = f"""\
#!/usr/bin/python3 -IS
import json, os, subprocess, sys

lie = json.load(open("{LIE}"))
real = subprocess.Popen(["/usr/bin/python3", *sys.argv[1:]], stdout=subprocess.PIPE)
silent = False

def told(line):
    global silent
    answer = json.loads(line)
    for at, result in enumerate(answer["results"]):
        if result["verb"] != lie["verb"] and not os.path.exists("{TOLD}"):
            continue
        silent = lie["line"] == "{SILENCE}"
        if lie["line"] and not silent:
            open("{TOLD}", "w").close()
            return b"x" * 5_000_000 + b"\\n" if lie["line"] == "{TOO_MUCH}" else lie["line"].encode() + b"\\n"
        result["facts"].update(lie["facts"])
        if lie["trouble"]:
            result.update(ok=False, facts={{}}, trouble=lie["trouble"], detail="run x-1 of somebody@elsewhere")
            del answer["results"][at + 1 :]
            break
    return json.dumps(answer).encode() + b"\\n"

for line in real.stdout:
    line = told(line) if line.startswith(b"{{") else line
    if not silent:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
sys.exit(real.wait())
"""


@dataclass(frozen=True)
class Lie:
    """What a host makes of its answer to a verb: a refusal with this trouble, other facts, or another line.

    Another line it says to whatever it is asked from then on; to be silent it is asked for that verb each time.
    """

    verb: str
    trouble: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    line: str = ""


def tells(lab: Lab, name: str, lie: Lie) -> None:
    """The host lies so from its next agent on."""
    lab.write(name, LIE, json.dumps(asdict(lie)))
    lab.write(name, PYTHON, _PROGRAM, mode=0o755)


def is_honest(lab: Lab, name: str) -> None:
    """The host's python3 is its own again."""
    lab.sh(name, f"rm -f {PYTHON} {LIE} {TOLD}")
