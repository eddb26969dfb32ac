"""A paramiko transport that speaks no weak algorithm, and asks for just those host keys that it is told to ask for."""

from collections.abc import Callable
from typing import Any

import paramiko

from hivekeys.fleet import Timeouts
from hivekeys.hostkeys.certificates import SUFFIX

_QUICK = "gcm"  # first: for all others paramiko compares the digest of each packet byte by byte, in Python
_WEAK = ("cbc", "3des", "md5", "sha1", "dss", "arcfour")  # in the name of an algorithm


class Transport(paramiko.Transport):  # type: ignore[misc]  # the library has no types
    """paramiko's, with host key algorithms in exactly the order that it was given."""

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """paramiko itself adds certificates behind all others, so that no host with a plain key shows one."""
        return tuple(self._preferred_keys)


def transport(sock: Any, timeouts: Timeouts, choose: Callable[[list[str]], list[str]], **options: Any) -> Transport:
    """A transport over `sock`; `choose` picks and orders the host key algorithms out of those that are not weak."""
    made = Transport(sock, **options)
    made.handshake_timeout = timeouts.banner
    made.banner_timeout = timeouts.banner
    security = made.get_security_options()
    for name in ("ciphers", "digests", "kex"):
        strong = [algorithm for algorithm in getattr(security, name) if not _is_weak(algorithm)]
        setattr(security, name, sorted(strong, key=lambda algorithm: _QUICK not in algorithm))
    security.key_types = choose([algorithm for algorithm in security.key_types if not _is_weak(algorithm)])
    return made


def certified(algorithms: list[str]) -> list[str]:
    """The same algorithms with certificates."""
    return [f"{algorithm}{SUFFIX}" for algorithm in algorithms]


def kind(algorithm: str) -> str:
    """The type of key behind a signature algorithm: an ssh-rsa key signs as rsa-sha2-256 or -512."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _is_weak(algorithm: str) -> bool:
    return any(word in algorithm for word in _WEAK)
