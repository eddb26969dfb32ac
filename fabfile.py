"""The tasks that `fab` offers in a checkout: the verbs of hivekeys/tasks. No logic here."""

from hivekeys.tasks.namespace import namespace
from hivekeys.tasks.terminal import commandline

__all__ = ["namespace"]

commandline.begin(namespace)
