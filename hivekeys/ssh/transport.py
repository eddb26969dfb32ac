"""A paramiko transport without weak algorithms, which asks only for the given types of host keys.

Where host and we have no algorithm in common, it says what either side has.
"""

from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.kex_curve25519 import KexCurve25519

from hivekeys.fleet import Timeouts
from hivekeys.ssh.hostkeys.certificates import SUFFIX
from hivekeys.text.clean import cut

_QUICK = "gcm"  # first: for all others paramiko compares the digest of each packet byte by byte, in Python
_MOST_SHOWN = 120  # characters of a host's list
_WEAK = ("cbc", "3des", "md5", "sha1", "dss", "arcfour")  # in the name of an algorithm


_OLD_NAME = "curve25519-sha256@libssh.org"  # the name it had before RFC 8731; paramiko has no other
_CURVE = "curve25519-sha256"
# What is agreed on, and the lists of a host's offer; RFC 4253, 7.1.
_AGREED = (
    ("key exchange", "preferred_kex", ("kex_algo_list",)),
    ("host key", "preferred_keys", ("server_key_algo_list",)),
    ("cipher", "preferred_ciphers", ("client_encrypt_algo_list", "server_encrypt_algo_list")),
    ("MAC", "preferred_macs", ("client_mac_algo_list", "server_mac_algo_list")),
)


class Transport(paramiko.Transport):  # type: ignore[misc]  # the library has no types
    """paramiko's, with host key algorithms in exactly the order that it was given."""

    _kex_info = {**paramiko.Transport._kex_info, _CURVE: KexCurve25519}  # noqa: RUF012  paramiko has it so
    _preferred_kex = tuple(
        name
        for known in paramiko.Transport._preferred_kex
        for name in ((_CURVE, known) if known == _OLD_NAME else (known,))
    )

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """paramiko itself adds certificates behind all others, so that no host with a plain key shows one."""
        return tuple(self._preferred_keys)

    def _really_parse_kex_init(self, m: Any, ignore_first_byte: bool = False) -> dict[str, Any]:
        """A host's offer, or our own, which begins with its type. A MAC that is never used need not be agreed on."""
        offer: dict[str, Any] = super()._really_parse_kex_init(m, ignore_first_byte)
        if ignore_first_byte:
            return offer
        lacking = _lacking(self, offer)
        sealed = [name for name in self.preferred_ciphers if name in offer["client_encrypt_algo_list"]][:1]
        if lacking.startswith("no MAC ") and sealed and _QUICK in sealed[0]:
            offer["client_mac_algo_list"] = offer["server_mac_algo_list"] = list(self.preferred_macs)
        elif lacking:
            raise paramiko.ssh_exception.IncompatiblePeer(lacking)
        return offer


def _lacking(ours: Transport, offer: dict[str, Any]) -> str:
    """The first of those that must be agreed on and cannot be, with both sides' lists; "" where there is none."""
    for what, preferred, lists in _AGREED:
        have = getattr(ours, preferred)
        for theirs in (offer[name] for name in lists):
            if not set(have) & set(theirs):
                return (
                    f"no {what} in common: it offers {cut(', '.join(theirs), _MOST_SHOWN)}; we have {', '.join(have)}"
                )
    return ""


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
