"""Options that say what is read beside the journal, for `fab report` and `fab evidence`."""

from dataclasses import dataclass

from hivekeys.tasks.options.declared import HELP, option
from hivekeys.tasks.options.fleet import FleetOptions


@dataclass(frozen=True, kw_only=True)
class RecordedOptions(FleetOptions):
    """A fleet, and the files that are given beside a run over it."""

    findings: str = option("a file that `fab verify --format json` wrote: its findings become a section")
    audit: str = option("a file that `fab audit --json` wrote: its figures go into the incident checklist")

    @property
    def files(self) -> dict[str, str]:
        """The files that were given, by the option's name."""
        return {name: file for name, file in (("findings", self.findings), ("audit", self.audit)) if file}


def source_of(option: str) -> str:
    """What the file of an option is, in the words of its help."""
    return str(RecordedOptions.__dataclass_fields__[option].metadata[HELP])
