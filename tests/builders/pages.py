"""What README and docs tell to type: the lines of every block marked `sh`, by the heading that they stand under.

Each is typed by tests/lab/test_pages.py where it stands first, but for the few of NOT_TYPED and ELSEWHERE.
"""

import re
from dataclasses import dataclass

from tests.builders.project import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PIECE = re.compile(r"^```(?P<language>\S*)\n(?P<block>.*?)^```|^#+ (?P<heading>[^\n]+)$", re.MULTILINE | re.DOTALL)
NOT_TYPED = {
    "make test": "it is what types all the others",
    "make demo": "the guide's first step: the same verbs, and those are typed",
    "make install": "make test begins with it",
    "apt-get install prometheus-node-exporter": "another project's package, from the network",
}
# Typed by a test of their own, with what they need.
ELSEWHERE = {
    f"ansible-playbook -i bastions.yml docs/ansible/{play}": "tests/lab/test_ansible.py"
    for play in ("bastion.yml --check", "bastion.yml", "check.yml")
}


@dataclass(frozen=True)
class Section:
    """What stands to be typed under one heading of a page, in its order."""

    page: str
    heading: str
    commands: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {self.heading}"


def sections() -> list[Section]:
    """All of them, README first, then page by page. A command that stands in several places is in the first alone."""
    found: dict[tuple[str, str], list[str]] = {}
    seen: set[str] = set()
    for page in PAGES:
        heading = ""
        for piece in PIECE.finditer(page.read_text()):
            heading = piece["heading"] or heading
            if piece["language"] == "sh":
                for line in lines(piece["block"]):
                    if (same := re.sub(r"\.venv/bin/|\bsudo ", "", line).replace("production", "NAME")) not in seen:
                        seen.add(same)
                        found.setdefault((page.name, heading), []).append(line)
    return [Section(page, heading, tuple(commands)) for (page, heading), commands in found.items()]


def lines(block: str) -> list[str]:
    """The commands of a block, without what is only said about them."""
    bare = (re.sub(r"\s+# .*", "", line) for line in block.splitlines())
    return [line for line in bare if line]
