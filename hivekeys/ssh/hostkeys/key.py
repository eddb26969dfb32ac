"""A host's public key as a value. Pure."""

import base64
import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HostKey:
    """A public key as known_hosts and the wire spell it."""

    kind: str  # "ssh-ed25519", "ssh-rsa", …
    blob: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"
