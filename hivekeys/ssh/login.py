"""Logs in over an open socket: algorithms, host key, user keys, and what each failure means.

Fabric's Connection gives the connection its shape. What Fabric would do by itself is switched off before it
opens: it reads no configuration (that is `ssh -G`'s), it adds no host key (AutoAddPolicy is replaced by the
verdict over known_hosts), it forwards no agent.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fabric
import paramiko

from hivekeys.fleet import Timeouts
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_keys import KnownKeys
from hivekeys.ssh.keyring import Keyring
from hivekeys.ssh.reach import Wire
from hivekeys.ssh.settings import Settings
from hivekeys.ssh.transport import certified, kind, transport

_IDLE_TICK = 60.0  # seconds between two looks of an idle transport at itself; paramiko's own 0.1 costs a core for 1,000

# Paramiko logs tracebacks of what becomes a Cause here; without any handler Python would print them.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_OVERRIDES = {"load_ssh_configs": False, "forward_agent": False}


class RefusedError(Exception):
    """Carries a Cause out of paramiko's callbacks. Never leaves this module."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class Login:
    """A connection that is logged in; `transport` is paramiko's."""

    wire: Wire
    transport: Any
    settings: Settings

    @property
    def alive(self) -> bool:
        return bool(self.transport.is_active())

    def close(self) -> None:
        """Break the connection at once. Never raises; may be repeated, and from any thread."""
        self.wire.close()  # first: it wakes paramiko's thread, which would otherwise sleep out its tick
        with contextlib.suppress(Exception):  # whatever is left to go wrong, the connection is gone
            self.transport.close()


def log_in(wire: Wire, settings: Settings, known: KnownKeys, keyring: Keyring, timeouts: Timeouts) -> Login | Cause:
    """Log in over `wire`, which is closed if that fails."""
    connection = fabric.Connection(
        settings.hostname,
        user=settings.user,
        port=settings.port,
        # Its own: a Connection writes into its configuration, which is empty for others while that is merged again.
        config=fabric.Config(lazy=True, overrides=_OVERRIDES),
        forward_agent=False,
        connect_kwargs={
            "sock": wire.socket,
            "timeout": timeouts.banner + timeouts.connect,  # of the key exchange, banner included
            "banner_timeout": timeouts.banner,
            "auth_timeout": timeouts.auth,
            "channel_timeout": timeouts.channel,
            "transport_factory": _transport_for(known, timeouts),
            "auth_strategy": _KeyLogin(settings, keyring, timeouts.auth),
        },
    )
    connection.client.set_missing_host_key_policy(_HostKeyCheck(known, settings.known_hosts_command))
    try:
        connection.open()
        connection.transport.sock.settimeout(_IDLE_TICK)
    except Exception as error:  # a host that talks nonsense makes paramiko raise anything at all
        cause = cause_of(error, connection.client.get_transport(), settings, wire)
        wire.close()
        connection.client.close()
        return cause
    return Login(wire, connection.transport, settings)


class _HostKeyCheck:
    """Stands in for a MissingHostKeyPolicy: paramiko knows no host key itself, so it asks about each."""

    def __init__(self, known: KnownKeys, command: str | None) -> None:
        self._known = known
        self._command = command

    def missing_host_key(self, _client: object, _name: str, key: Any) -> None:
        certificate = key.public_blob.key_blob if key.public_blob else b""
        cause = self._known.verdict(HostKey(key.get_name(), key.asbytes()), certificate, time.time())
        if cause is not None:
            if self._command and cause.trouble is Trouble.HOST_KEY_UNKNOWN:
                cause = Cause(cause.trouble, f"{cause.detail}; KnownHostsCommand is not run here: {self._command}")
            raise RefusedError(cause)


class _KeyLogin:
    """Stands in for an AuthStrategy: one key after the other, within one deadline for all."""

    def __init__(self, settings: Settings, keyring: Keyring, timeout: float) -> None:
        self._settings = settings
        self._keyring = keyring
        self._timeout = timeout

    def authenticate(self, transport: Any) -> None:
        until = time.monotonic() + self._timeout
        refused = []
        with self._keyring.keys(self._settings) as (candidates, problems):
            for name, key in candidates:
                transport.auth_timeout = max(0.1, until - time.monotonic())
                problem = _try(transport, self._settings.user, key)
                if problem is None:
                    return
                if time.monotonic() >= until:
                    words = f"{self._settings}: no answer to the login within {self._timeout:g} s"
                    raise RefusedError(Cause(Trouble.SILENT, words))
                refused.append(f"{name} {problem}")
                if not transport.is_active():
                    break
            reasons = refused + problems or ["no key to try: neither a key file nor an agent"]
            raise RefusedError(Cause(Trouble.LOGIN_REFUSED, f"{self._settings}: {'; '.join(reasons)}"))


def _try(transport: Any, user: str, key: Any) -> str | None:
    """None if the host takes the key, else what it said to it."""
    try:
        wants_more = transport.auth_publickey(user, key)
    except paramiko.BadAuthenticationType as error:
        return f"refused: the host takes {', '.join(error.allowed_types)} only"
    except paramiko.AuthenticationException as error:
        words = str(error)
        return "refused" if words == "Authentication failed." else f"refused: {words}"
    return f"is not enough: the host also wants {' or '.join(wants_more)}" if wants_more else None


def _transport_for(known: KnownKeys, timeouts: Timeouts) -> Callable[..., Any]:
    """Makes transports which ask for a type of host key that is known.

    The other types follow, as OpenSSH has it: a host that has none of the known ones then shows the key it
    has, and the verdict can name it. Nothing but a known key is ever accepted. Certificates come first where an
    authority is known for the host, and are not asked for where none is.
    """

    def choose(algorithms: list[str]) -> list[str]:
        ordered = sorted(algorithms, key=lambda name: kind(name) not in known.kinds)
        return certified(ordered) + ordered if known.authorities else ordered

    return lambda sock, **options: transport(sock, timeouts, choose, **options)


def error_text(error: Exception) -> str:
    """What an exception says; what it is, where it says nothing (EOFError)."""
    return str(error) or type(error).__name__


def cause_of(error: Exception, transport: Any, settings: Settings, wire: Wire) -> Cause:
    """What a failed connection means, by how far it came."""
    if isinstance(error, RefusedError):
        return error.cause
    words = wire.complaint() or error_text(error)
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return Cause(Trouble.NO_COMMON_ALGORITHM, f"{settings}: {words}")
    if transport is None or not transport.remote_version:
        return Cause(Trouble.NO_BANNER, f"{settings}: {words}")
    if not transport.initial_kex_done:
        return Cause(Trouble.NO_BANNER, f"{settings}: the key exchange did not finish: {words}")
    return Cause(Trouble.LOGIN_REFUSED, f"{settings}: {words}")
