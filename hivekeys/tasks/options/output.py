"""Options that say what is printed, and which command is run at the end."""

from dataclasses import dataclass

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import option


@dataclass(frozen=True, kw_only=True)
class JsonOption:
    """For people, or for a program."""

    json: bool = option("print one JSON document on stdout and nothing else there", default=False)


@dataclass(frozen=True, kw_only=True)
class OutputOptions(JsonOption):
    """How much of a run is told while it goes on, and to whom. Raises UserError for what excludes each other."""

    quiet: bool = option("say nothing but what fails, and the result", default=False)
    events: bool = option(
        "stream every event of the run to stdout as it happens, a JSON line each, and nothing else there", default=False
    )

    def __post_init__(self) -> None:
        if self.json and self.events:
            raise UserError(
                "--events and --json both want standard output",
                hint="--events ends with a `result` line; "
                "`fab status --run last --json` prints the document afterwards",
            )


TO_PEOPLE = OutputOptions()


@dataclass(frozen=True, kw_only=True)
class NotifyOptions:
    """Who else is told of a run. Raises UserError for a command that cannot be started, and for a log that is none."""

    log: str = option("write the run into this machine's log as well: journald (with fields), syslog")

    on_finish: str = option(
        "a command to start when the run is over, however it ended: the summary is on its stdin, "
        "HIVEKEYS_EXIT_CODE, HIVEKEYS_RUN and HIVEKEYS_FLEET in its environment; no shell"
    )

    def __post_init__(self) -> None:
        from hivekeys.tasks.notifications.log import refuse_missing

        _ = self.command
        if self.log:
            refuse_missing(self.log)

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command; none where there is none."""
        from hivekeys.tasks.notifications.command import command

        return command(self.on_finish) if self.on_finish else ()


@dataclass(frozen=True, kw_only=True)
class FileOption:
    """Where a document goes."""

    output: str = option("write to this file instead of stdout")
