"""Names the program that the operator typed in the commands that are printed. Pure.

Our texts say `fab VERB`, as in a checkout; whoever typed `hivekeys` reads `hivekeys VERB`. What is written on hosts and
into journals says `fab` always: a file is recognised by its first line, whichever program put it there.
"""

import re
import sys

INSTALLED = "hivekeys"
_COMMAND = re.compile(r"\bfab (?=[a-z-])")


def program() -> str:
    """`hivekeys` or `fab`."""
    typed = sys.argv[0].rpartition("/")[2] if sys.argv else ""
    return INSTALLED if typed == INSTALLED else "fab"


def as_typed(text: str) -> str:
    """A text of ours, with its commands as the operator types them."""
    return _COMMAND.sub(f"{program()} ", text)
