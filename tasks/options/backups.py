"""What `fab backup` and `fab restore` share."""

from typing import TYPE_CHECKING

from tasks.options import secrets_given

if TYPE_CHECKING:
    pass


def ask_secret(question: str) -> str:
    """A passphrase, typed on the terminal and shown nowhere."""
    return secrets_given.typed(question, "or use a key that has no passphrase").decode()
