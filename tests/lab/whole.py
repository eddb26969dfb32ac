"""A lab as it was, between two tests that share it: what a run has left behind goes, without hivekeys."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hivekeys.lab import Lab
from hivekeys.lab.files import SECRETS

from .asking import eventually, put_token, restart, status
from .rotating import WHOLE, mended, truth_of


def whole_at_once(lab: Lab) -> None:
    """The queen's token everywhere and nothing else, and no host remembers a run; a service that has it goes on."""
    mended(lab)
    token = truth_of(lab, "queen").token
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_whole, lab, token), lab.hosts))


def _whole(lab: Lab, token: str, name: str) -> None:
    host = truth_of(lab, name)
    lab.sh(name, f"rm -rf /var/lib/hivekeys; find {SECRETS} -type f ! -name api-token -delete")
    if (host.token, host.files.get("api-token"), host.serves) != (token, WHOLE["api-token"], 200):
        put_token(lab, name, token)
        restart(lab, name)
        assert eventually(lambda: status(lab.hosts[name], token) == 200)
