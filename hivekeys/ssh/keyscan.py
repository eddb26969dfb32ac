"""Reads a host's public keys with one key exchange for each type, without a login.

What ssh-keyscan does, but through jump hosts and ProxyCommands as well: those are logged in to, the host is not.
"""

import contextlib
import time

import paramiko

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_keys import KnownKeys
from hivekeys.ssh.jumps import Route
from hivekeys.ssh.login import cause_of
from hivekeys.ssh.routes import Routes
from hivekeys.ssh.transport import certified, kind, transport

KINDS = ("ssh-ed25519", "ecdsa-sha2", "ssh-rsa")  # as the names of types of keys begin, the best first
CERTIFICATES = "certificates"


def presented(routes: Routes, route: Route, who: str, known: KnownKeys) -> tuple[HostKey, ...] | Cause:
    """A key of each type that the last hop of `route` has; () if its certificate is good, which is enough."""
    keys = []
    for wanted in (CERTIFICATES, *KINDS) if known.authorities else KINDS:
        shown = _exchange(routes, route, who, wanted)
        if isinstance(shown, Cause):
            return shown
        if shown and wanted is not CERTIFICATES:
            keys.append(shown[0])
        elif shown and known.verdict(*shown, time.time()) is None:
            return ()
    if not keys:
        return Cause(Trouble.NO_COMMON_ALGORITHM, f"{route[-1]}: it has no host key of a type that is taken here")
    return tuple(keys)


def _exchange(routes: Routes, route: Route, who: str, wanted: str) -> tuple[HostKey, bytes] | Cause | None:
    """The key of that type and its certificate, if it has one; None if the host has no key of the type."""

    def choose(algorithms: list[str]) -> list[str]:
        if wanted is CERTIFICATES:
            return certified(algorithms)
        return [algorithm for algorithm in algorithms if kind(algorithm).startswith(wanted)]

    with routes.wire(route, who) as wire:
        if isinstance(wire, Cause):
            return wire
        made = None
        try:
            made = transport(wire.socket, routes.timeouts, choose)
            made.start_client(timeout=routes.timeouts.banner + routes.timeouts.connect)
            key = made.get_remote_server_key()
        except paramiko.ssh_exception.IncompatiblePeer as error:
            return None if "host key" in str(error) else cause_of(error, made, route[-1], wire)
        except Exception as error:  # a host that talks nonsense makes paramiko raise anything at all
            return cause_of(error, made, route[-1], wire)
        finally:
            wire.close()  # first: it wakes paramiko's thread
            with contextlib.suppress(Exception):  # whatever is left to go wrong, the connection is gone
                if made:
                    made.close()
        certificate = key.public_blob.key_blob if key.public_blob else b""
        return HostKey(key.get_name(), key.asbytes()), certificate
