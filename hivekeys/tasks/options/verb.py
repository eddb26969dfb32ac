"""`@verb`: makes a task of a function whose parameters are groups of options; errors become a message and a code."""

import contextlib
import functools
import inspect
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import Task, task

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.declared import HELP, filled, options_of, signature_of, takes_several
from hivekeys.tasks.terminal import document
from hivekeys.tasks.terminal.stopping import endable

DRY_RUN = "every verb that changes something has --dry-run: it shows the plan and changes nothing"


def verb(body: Callable[..., None]) -> "Task[Any]":
    """The task that `fab` offers for `body`: invoke sees the options of its groups, and `body` gets these filled in.

    Named as the function is. Whatever goes wrong is said politely.
    """
    groups = {name: parameter.annotation for name, parameter in inspect.signature(body).parameters.items()}
    options = options_of(groups.values())
    signature = signature_of(groups.values())

    @functools.wraps(body)
    def polite(*args: Any, **given: Any) -> None:
        context = signature.bind(*args, **given).arguments["context"]
        _prepare_process()
        document.promise(given)
        try:
            refuse_dry(context)
            with endable():
                _done(functools.partial(body, **{name: filled(group, given) for name, group in groups.items()}))
        except UserError as error:
            fail(error, given.get("fleet", ""))
        except KeyboardInterrupt:
            document.refuse(UserError("interrupted", code=ExitCode.INTERRUPTED), "")
            raise Exit("interrupted", ExitCode.INTERRUPTED) from None
        except Exit:
            raise
        except Exception as error:
            bug(error, given.get("fleet", ""))

    polite.__signature__ = signature  # type: ignore[attr-defined]  # what inspect, and so invoke, goes by
    made: Task[Any] = task(
        name=body.__name__.rstrip("_").replace("_", "-"),
        help={option.name: option.metadata[HELP] for option in options},
        iterable=[option.name for option in options if takes_several(option)],
        auto_shortflags=False,
    )(polite)
    return made


class BeginAgain(Exception):  # noqa: N818  no error: the verb has waited, and what it knows is old
    """A verb is to begin from its beginning, with nothing that it read before."""


def _done(body: Callable[[], None]) -> None:
    """Does what a verb does, as often as it has to begin again."""
    while True:
        with contextlib.suppress(BeginAgain):
            return body()


def _prepare_process() -> None:
    from hivekeys.ssh import limits

    limits.forbid_core_dumps()  # whichever verb it is: a token, a password or a key may be in its memory
    if sys.stdin is None:  # closed by who called us; an empty one also keeps sockets off its number
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115  as long as the process


def refuse_dry(context: Any) -> None:
    """Fabric's `run.dry`, in a configuration file or the environment, promises what it does not keep."""
    if context.config.run.dry:
        raise UserError(
            "run.dry is set, in a configuration file of Fabric's or the environment: no verb honours it", hint=DRY_RUN
        )


def fail(error: UserError, fleet: str = "") -> None:
    """Says what is wrong, then the hint for the fleet that was named, and leaves with the error's code.

    Programs that were promised a document get one.
    """
    from hivekeys.protocol.hints import for_fleet

    hint = for_fleet(error.hint, shlex.quote(fleet) if fleet else "")
    document.refuse(error, hint)
    raise Exit(f"hivekeys: {error.message}" + (f"\n  hint: {hint}" if hint else ""), int(error.code)) from None


def bug(error: Exception, fleet: str = "") -> None:
    """An unexpected exception: one line that can be reported. The traceback only when it is asked for."""
    if os.environ.get("HIVEKEYS_DEBUG"):
        traceback.print_exc()
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
    hint = "please report it; HIVEKEYS_DEBUG=1 prints the traceback. `fab plan` shows how the hosts are now"
    fail(UserError(f"a bug in hivekeys: {place}", hint=hint, code=ExitCode.BUG), fleet)


def leave(code: ExitCode) -> None:
    """Leaves with the code, silently; 0 returns."""
    if code is not ExitCode.DONE:
        raise Exit(code=int(code))
