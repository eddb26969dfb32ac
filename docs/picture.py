"""Draws a recorded terminal as docs/rotation.svg, the picture in the README.

Run `fab rotate` in tmux, then: `tmux capture-pane -p -e -S - | python -m docs.picture`. The file needs no network.
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).with_name("rotation.svg")
MARGIN = 2


def picture(shown: str) -> str:
    """The screen as SVG, as wide as what is on it."""
    text = Text.from_ansi(shown.rstrip())
    width = max(len(line.plain.rstrip()) for line in text.split()) + MARGIN
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, soft_wrap=True)
    # rich names fonts on the network; the reader's own monospaced font will do.
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="hivekeys"), flags=re.DOTALL)


if __name__ == "__main__":
    PICTURE.write_text(picture(sys.stdin.read()))
