"""Stores the numbers of the last `fab verify` of a whole fleet."""

from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.files import write_whole
from hivekeys.verify import tally
from hivekeys.verify.tally import Tally

TALLY = "verify.json"


def store_tally(folder: Path, numbers: Tally) -> None:
    """Stores the numbers of this `fab verify` of the whole fleet, for `fab status --metrics`."""
    write_whole(folder / TALLY, tally.written(numbers), mode=0o600)


def stored_tally(folder: Path) -> Tally | None:
    """The stored numbers; None when no `fab verify` has stored any."""
    path = folder / TALLY
    try:
        return tally.read(path.read_text())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="`fab verify` writes it anew") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}", hint="`fab verify` writes it anew") from error
