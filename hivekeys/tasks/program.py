"""The command `hivekeys`: the verbs that `fab` offers in a checkout, without a fabfile.

Invoke's program, and not Fabric's: no verb honours the options that Fabric adds, and its import takes a quarter of a
second. No configuration of Invoke's is read: the inventory has all settings.
"""

from typing import Any

from invoke.config import Config
from invoke.parser.argument import Argument
from invoke.program import Program

import hivekeys
from hivekeys.errors import UserError
from hivekeys.tasks.namespace import namespace
from hivekeys.tasks.options.verb import fail
from hivekeys.tasks.terminal import commandline, document, output
from hivekeys.text.commands import INSTALLED, as_typed

# Options of Invoke's own; its others say how commands run, and no verb honours them.
HONOURED = {
    *("complete", "debug", "help", "list", "list-depth", "list-format", "print-completion-script", "version"),
    "write-pyc",
}


class Hivekeys(Program):
    """Our verbs, checked as they are for `fab`."""

    def core_args(self) -> list[Argument]:
        """The options that stand before a verb."""
        return [option for option in super().core_args() if set(option.names) & HONOURED]

    def create_config(self) -> None:
        """Invoke's defaults; its files are not looked for."""
        self.config = Config(lazy=True)

    def update_config(self, merge: bool = True) -> None:
        """Nothing: the options that would change it are not offered."""

    def parse_collection(self) -> None:
        """The verbs; what was mistyped is refused here, as it is when `fab` loads the fabfile."""
        super().parse_collection()
        output.take_over()
        try:
            commandline.refuse_mistakes(self, namespace)
        except UserError as error:
            document.promise_typed(self.core.unparsed)
            fail(error)

    def print_columns(self, tuples: Any) -> None:
        """Lists and helps name this program."""
        super().print_columns([(name, as_typed(words or "")) for name, words in tuples])


def main() -> None:
    """What the console script calls; ends the process."""
    Hivekeys(hivekeys.__version__, namespace, INSTALLED, INSTALLED).run()
