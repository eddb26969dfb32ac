"""What every document begins with, and the kinds of texts that stand in documents. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from hivekeys import __version__
from hivekeys.text.commands import first_command


@dataclass(frozen=True)
class Kind:
    """Says of a text what kind it is; docs/forms.py knows the words or the pattern of each."""

    name: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The schema of the text, with the kind's name for docs/forms.py to replace."""
        return {**handler(schema), "kind": self.name}


Fp6 = Annotated[str, Kind("fp6")]
Time = Annotated[str, Kind("time")]
StateWord = Annotated[str, Kind("state")]
PhaseWord = Annotated[str, Kind("phase")]
TroubleWord = Annotated[str, Kind("trouble")]
VerbWord = Annotated[str, Kind("verb")]
RoleWord = Annotated[str, Kind("role")]
Code = Annotated[int, Kind("exit code")]


class Head(TypedDict):
    """What every document begins with."""

    version: Literal[1]
    """the version of the form: keys may be added within one, and none is changed or taken away"""
    hivekeys: str
    """the version of hivekeys that wrote it"""
    verdict: str
    """what it came to, in the sentence that people read"""
    next: str | None
    """what to type next, in the words of the last line on the screen: commands, each behind what it is for"""
    command: str | None
    """the first command in `next` that can be typed as it stands"""


class Cause(TypedDict):
    """Why a host failed."""

    trouble: TroubleWord
    """its name in the runbook"""
    detail: str
    """what was seen"""
    hint: str
    """what to do, for this host"""


def head(verdict: str, next_line: str) -> Head:
    """The head of a document; `next_line` is "" where there is nothing to type."""
    return {
        "version": 1,
        "hivekeys": __version__,
        "verdict": verdict,
        "next": next_line or None,
        "command": first_command(next_line) or None,
    }
