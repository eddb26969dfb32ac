"""What came out, for people and for programs: a table, a JSON document, and bars in an SVG."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from bench.measure import Run

COLUMNS = {
    "wall": "wall s",
    "cpu": "bastion CPU s",
    "host_cpu": "CPU ms a host",
    "memory": "peak MiB",
    "connections": "connections a host",
    "execs": "execs a host",
    "sudos": "sudo a host",
}


def write(folder: Path, hosts: int, runs: Mapping[str, Sequence[Run]], wrong: Mapping[str, str]) -> None:
    """Print the table, and write results-HOSTS.json and results-HOSTS.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    middle = {name: {key: median(getattr(run, key) for run in some) for key in COLUMNS} for name, some in runs.items()}
    document = {
        "hosts": hosts,
        "machine": machine(),
        "medians": middle,
        "runs": {name: [asdict(run) for run in some] for name, some in runs.items()},
        "failed": dict(wrong),
    }
    (folder / f"results-{hosts}.json").write_text(json.dumps(document, indent=2) + "\n")
    (folder / f"results-{hosts}.svg").write_text(picture(middle, f"{hosts} hosts: seconds from start to end"))
    _table(hosts, middle, runs, wrong)


def machine() -> dict[str, object]:
    """What it ran on, and how busy that was when it ended."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": [round(one, 1) for one in os.getloadavg()],
    }


def picture(middle: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Bars for the wall time, the shortest first; drawn to scale."""
    rows = sorted(middle.items(), key=lambda item: item[1]["wall"])
    most = max((row["wall"] for _, row in rows), default=1)
    bars = "".join(
        f'<text x="200" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="210" y="{y}" width="{max(1, 400 * row["wall"] / most):.1f}" height="20" fill="{_colour(name)}"/>'
        f'<text x="{218 + 400 * row["wall"] / most:.1f}" y="{y + 15}">{row["wall"]:.1f}</text>\n'
        for y, (name, row) in zip(range(40, 10_000, 28), rows, strict=False)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {48 + 28 * len(rows)}" '
        'font-family="sans-serif" font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="210" y="24" font-weight="bold">{escape(title)}</text>\n{bars}</svg>\n'
    )


def _colour(name: str) -> str:
    return "#d97706" if name.startswith("hivekeys") else "#64748b"


def _table(
    hosts: int, middle: Mapping[str, Mapping[str, float]], runs: Mapping[str, Sequence[Run]], wrong: Mapping[str, str]
) -> None:
    from rich.console import Console  # noqa: PLC0415  after the runs, so that it costs none of them
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"{hosts} hosts, medians")
    table.add_column("tool")
    for words in COLUMNS.values():
        table.add_column(words, justify="right")
    table.add_column("runs", justify="right")
    for name, row in sorted(middle.items(), key=lambda item: item[1]["wall"]):
        table.add_row(name, *(f"{row[key]:.2f}" for key in COLUMNS), str(len(runs[name])))
    console = Console()
    console.print(table)
    for name, why in wrong.items():
        console.print(f"{name}: not counted: {why}", markup=False)
