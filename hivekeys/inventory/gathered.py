"""What a foreign inventory says of a fleet's hosts, before it is checked like our own. Pure."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from hivekeys.inventory.mistakes import Mistake, Place


@dataclass
class Gathered:
    """Hosts as tables of `[hosts]`; `places` says where the file has the key of such a table, by its whole path.

    `fleet` is the name that the file gives the fleet, "" for none; `untouched` are settings that it has and that
    were not read. `hides_values`: a vault may have made them, so none is shown.
    """

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[tuple[str, ...], Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    fleet: str = ""
    untouched: list[str] = field(default_factory=list)
    hides_values: bool = False

    def placed(self, mistake: Mistake) -> Mistake:
        """The mistake of an entry, told where the file has it: its own key, or the nearest above that there is."""
        for length in range(len(mistake.key), 0, -1):
            place = self.places.get(mistake.key[:length])
            if place:
                return self._without_value(Mistake(place.key, mistake.text, place.file, place.line))
        return mistake

    def texts(self) -> list[Mistake]:
        """What is wrong with the file itself."""
        return [self._without_value(mistake) for mistake in self.mistakes]

    def _without_value(self, mistake: Mistake) -> Mistake:
        if not self.hides_values:
            return mistake
        return replace(mistake, text=re.sub("found .*, expected", "found another value, expected", mistake.text))
