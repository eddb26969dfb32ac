"""Persons who approve: each with an SSH key of their own, and the real `ssh-keygen` to sign with."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from hivekeys.fleet import Approver


@dataclass(frozen=True)
class Person:
    """Whose key is in a file, and its public half beside it."""

    name: str
    file: Path

    @property
    def public(self) -> str:
        """The line that an inventory has."""
        return self.file.with_name(f"{self.file.name}.pub").read_text().strip()

    @property
    def approver(self) -> Approver:
        kind, body, name = self.public.split()
        return Approver(name, f"{kind} {body}")

    def signature(self, message: bytes, namespace: str) -> bytes:
        """What `ssh-keygen -Y sign` writes."""
        argv = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(self.file), "-n", namespace]
        return subprocess.run(argv, input=message, capture_output=True, check=True, timeout=30).stdout

    def sign(self, file: Path, namespace: str = "hivekeys-plan@v1") -> None:
        """Adds a signature to those beside a file."""
        with file.with_name(f"{file.name}.sig").open("ab") as signatures:
            signatures.write(self.signature(file.read_bytes(), namespace))


def person(folder: Path, name: str = "bob@example", kind: str = "ed25519") -> Person:
    """A person with a new key."""
    file = folder / f"{name.partition('@')[0]}-{kind}"
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(file)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return Person(name, file)
