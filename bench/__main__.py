"""Boot a rehearsal fleet, let every tool do the job in turn, and write what it cost: table, JSON, picture.

make bench HOSTS=10 RUNS=5 TOOLS="paramiko,Ansible"
"""

import argparse
import secrets
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench import given, measure, results
from bench.contenders import CONTENDERS, Contender
from hivekeys.lab import Lab, down, up
from hivekeys.lab.files import SECRETS

NAME = "lab-bench"


def main() -> int:
    """Parse, boot, run, write; 1 when a tool did not do the job."""
    asked = _asked()
    chosen = [c for c in CONTENDERS if not asked.tools or any(word in c.name for word in asked.tools.split(","))]
    if not chosen:
        print(f"error: no tool is called {asked.tools!r}\nhint: there are: {', '.join(c.name for c in CONTENDERS)}")
        return 2
    for contender in chosen:
        contender.prepare()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            lab = up(NAME, hives=asked.hosts - 1, inventory_dir=folder, say=_say)
            measure.prepare(lab)
            runs: dict[str, list[measure.Run]] = defaultdict(list)
            wrong: dict[str, str] = {}
            try:
                _all(lab, given.write(lab, folder), chosen, asked.runs, runs, wrong)
            except KeyboardInterrupt:
                _say("interrupted: what was counted so far is written")
        finally:
            down(NAME, inventory_dir=folder)
    results.write(Path(asked.output), asked.hosts, runs, wrong)
    return 1 if wrong else 0


def _all(
    lab: Lab,
    g: given.Given,
    chosen: list[Contender],
    counted: int,
    runs: dict[str, list[measure.Run]],
    wrong: dict[str, str],
) -> None:
    """Fill `runs` in rounds of one run of every tool; the first is a warm-up. A tool that fails is out: see `wrong`."""
    for turn in range(counted + 1):
        for contender in chosen:
            if contender.name in wrong:
                continue
            try:
                run = _one(lab, g, contender)
            except measure.WrongError as error:
                wrong[contender.name] = str(error)
                _say(f"{contender.name}: {error}")
                _put_right(lab)
                continue
            _say(f"{turn or 'warm-up'}: {contender.name}: {run.wall:.2f} s")
            if turn:
                runs[contender.name].append(run)


def _one(lab: Lab, g: given.Given, contender: Contender) -> measure.Run:
    old, token = lab.read("queen", f"{SECRETS}/api-token").strip(), secrets.token_hex(32)
    g.give_token(token)
    log = Path(tempfile.gettempdir()) / f"{NAME}.log"
    run = measure.run(lab, contender.commands(g), contender.variables(g), log)
    if contender.makes_token:
        token = lab.read("queen", f"{SECRETS}/api-token").strip()
        if token == old:
            raise measure.WrongError("queen: the token is the old one")
    measure.check(lab, token, old)
    return run


def _put_right(lab: Lab) -> None:
    """One token everywhere again, by hand, after a tool that failed."""
    token = secrets.token_hex(32)
    for name, host in lab.hosts.items():
        lab.sh(name, f"find {SECRETS} -type f -delete")
        lab.write(name, f"{SECRETS}/api-token", f"{token}\n", mode=0o600, owner="llama-orch:llama-orch")
        lab.sh(name, f"systemctl restart {host.unit}")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--hosts", type=int, default=10, help="queen and hives together (default: 10)")
    parser.add_argument("--runs", type=int, default=5, help="counted runs a tool, after one warm-up (default: 5)")
    parser.add_argument("--tools", default="", help="parts of their names, comma separated (default: all)")
    parser.add_argument("--output", default="bench-results", help="folder for the JSON and the SVG")
    return parser.parse_args()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
