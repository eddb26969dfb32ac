"""The checks of the security checklist, one small function each. Pure.

A check says pass, fail, warn or can't tell, with the reason; never pass for what was not seen. To add one, write its
function in the module of its subject: the reference, `--checks` and the tests find it in CHECKS. `section` is the
guide's (guide.md).
"""

from hivekeys.verify.checks import files, tokens, service, front, trail, host  # noqa: I001  the order of the checklist
from hivekeys.verify.findings import CHECKS

__all__ = ["CHECKS", "files", "front", "host", "service", "tokens", "trail"]
