"""The keys to log in with: the files that `ssh -G` lists, then those of the SSH agent.

Never a password, never a prompt, never a key that is not listed. A key file is read once a run.
"""

import base64
import binascii
import contextlib
import copy
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko.agent
from cryptography.exceptions import UnsupportedAlgorithm

from hivekeys.files import stranger
from hivekeys.ssh.settings import Settings

AGENT_TIMEOUT = 3.0  # seconds; an agent on this machine answers at once or is stale
_DEFAULT_FILES = frozenset(
    f"id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "xmss", "dsa")
)

Key = Any  # paramiko.PKey; the library has no types


class Keyring:
    """Private keys by file, and which agents are stale. Safe for many threads."""

    def __init__(self) -> None:
        self._files: dict[str, Key | str] = {}
        self._stale: set[str] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def keys(self, settings: Settings) -> Iterator[tuple[Iterator[tuple[str, Key]], list[str]]]:
        """The (name, key) pairs to try, in order and read only when reached, and the problems met on the way.

        Keys of the agent work only inside the `with` block.
        """
        problems: list[str] = []
        with contextlib.ExitStack() as agent:
            yield self._candidates(settings, problems, agent), problems

    def _candidates(
        self, settings: Settings, problems: list[str], agent: contextlib.ExitStack
    ) -> Iterator[tuple[str, Key]]:
        for path in settings.identity_files:
            key = self._read(path)
            if not isinstance(key, str):
                yield path, key
                if key.public_blob:  # a certificate lies beside the key; a host that refuses it may take the bare key
                    bare = copy.copy(key)
                    bare.public_blob = None
                    yield path, bare
            elif key:
                problems.append(f"{path} {key}")
        listed = {_public_half(path) for path in settings.identity_files}
        held = self._in_agent(settings.identity_agent, problems, agent)
        for key in sorted(held, key=lambda key: key.blob not in listed):
            if key.blob in listed or not settings.identities_only:
                yield f"{key.comment or 'a key'} (agent)", key

    def _read(self, path: str) -> Key | str:
        """The key in a file, or why there is none ("": a default file that need not exist)."""
        with self._lock:
            if path not in self._files:
                self._files[path] = _load(Path(path))
            return self._files[path]

    def _in_agent(self, path: str | None, problems: list[str], stack: contextlib.ExitStack) -> tuple[Key, ...]:
        """The keys of the agent behind a socket; one that once did not answer is left alone from then on."""
        if path is None or path in self._stale:
            return ()
        plug = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        plug.settimeout(AGENT_TIMEOUT)
        agent = paramiko.agent.AgentSSH()
        try:
            plug.connect(path)
            agent._connect(plug)  # paramiko.Agent() would take the socket from the environment and wait for ever
        except Exception as error:  # whatever listens there may say anything
            problems.append(f"the agent at {path} does not answer ({type(error).__name__})")
            self._stale.add(path)
            return ()
        keys: tuple[Key, ...] = agent.get_keys()
        return keys


def _load(path: Path) -> Key | str:
    if found := stranger(path):
        return f"is not used: {found}; {found.hint}"
    try:
        return paramiko.PKey.from_path(path)
    except FileNotFoundError:
        return "" if path.name in _DEFAULT_FILES and path.parent == Path.home() / ".ssh" else "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (TypeError, paramiko.PasswordRequiredException):  # TypeError is how cryptography says it
        return "has a passphrase, and the agent does not hold it"
    except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType, UnsupportedAlgorithm):
        return "is not a private key that can be used here"


def _public_half(path: str) -> bytes:
    """The public key beside a private one, or b""."""
    try:
        return base64.b64decode(Path(path.removesuffix(".pub") + ".pub").read_bytes().split()[1])
    except (OSError, IndexError, binascii.Error):
        return b""
