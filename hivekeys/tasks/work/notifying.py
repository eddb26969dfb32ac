"""Tells of a run, or of other work on hosts, whom the inventory names; at its end it starts the operator's command."""

import contextlib
from collections.abc import Iterator

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet
from hivekeys.journal.run import Run
from hivekeys.protocol.hints import for_fleet
from hivekeys.report.words import failures
from hivekeys.tasks.notifications import command
from hivekeys.tasks.notifications.notification import at_end, not_begun
from hivekeys.tasks.notifications.notifier import PATIENCE, Notifier
from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.work.request import Request
from hivekeys.text.names import fold_names


@contextlib.contextmanager
def notified(fleet: Fleet, run: str, request: Request, show: Show) -> Iterator[None]:
    """Tells whom the inventory names, and starts the operator's command at the end: also when it never began."""
    notifier = Notifier(fleet.notify if request.records else (), show.warn)
    show.listeners.append(notifier.on_event)
    text, code = "hivekeys ended without a result\n", ExitCode.BUG
    try:
        yield
        text, code = show.summary or _upkeep_summary(show.run) or (text, code)
    except UserError as error:
        text, code = f"{error.message}\nhint: {for_fleet(error.hint, fleet.typed)}\n", error.code
        raise
    except KeyboardInterrupt:
        text, code = "interrupted\n", ExitCode.INTERRUPTED
        raise
    finally:
        is_begun = bool(show.run.id)
        told = at_end(show.run, text, code) if is_begun else not_begun(fleet.name, request.task, run, text, code)
        notifier.end(told, code)
        if request.on_finish:
            facts = {"HIVEKEYS_EXIT_CODE": str(int(code)), "HIVEKEYS_RUN": run, "HIVEKEYS_FLEET": fleet.name}
            if wrong := command.start(request.on_finish, text, facts, PATIENCE):
                show.warn(f"--on-finish: {wrong}")


def _upkeep_summary(run: Run) -> tuple[str, ExitCode] | None:
    """The hosts of upkeep that are not fine, and its exit code; None of a run that brings a token, or is not over."""
    if run.brings_token or run.code is None:
        return None
    return "".join(f"{fold_names(names)}: {cause}\n" for cause, names in failures(run)), run.code
