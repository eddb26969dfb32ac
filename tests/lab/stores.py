"""Stores of secrets as an operator has them, on this machine: pass, a key for sops, OpenBao on a loopback address."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.fronted import free_port

from .asking import eventually

OWNER = "operator@example.com"


def call(env: dict[str, str], *argv: str) -> str:
    """What a program prints that has to succeed."""
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=120).stdout


@contextmanager
def at_work(env: dict[str, str], key: Path) -> Iterator[None]:
    """All three, for who has this environment; sops opens with the age key in that file, made if there is none."""
    made = not key.exists()
    if made:
        call(env, "age-keygen", "-o", str(key))
    listens = f"127.0.0.1:{free_port()}"
    env |= {"SOPS_AGE_KEY_FILE": str(key), "BAO_ADDR": f"http://{listens}"}
    call(env, "gpg", "--batch", "--passphrase", "", "--quick-generate-key", OWNER, "default", "default", "never")
    call(env, "pass", "init", OWNER)
    try:
        with openbao(env, listens):
            yield
    finally:
        call(env, "gpgconf", "--kill", "all")
        if made:
            key.unlink()


@contextmanager
def openbao(env: dict[str, str], listens: str) -> Iterator[None]:
    """A server that has everything in memory, and has logged this account in."""
    words = ["bao", "server", "-dev", f"-dev-listen-address={listens}"]
    with subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            login = Path(env["HOME"], ".vault-token")
            assert eventually(lambda: login.exists() and answers(env))
            yield
        finally:
            server.terminate()


def answers(env: dict[str, str]) -> bool:
    """Whether the server has its store of keys and values."""
    asked = subprocess.run(["bao", "secrets", "list"], env=env, capture_output=True, text=True, check=False, timeout=60)
    return "secret/" in asked.stdout
