"""Units that have their token in other ways than the guide's, on real hosts: turned as systemd reads it, or let be."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.journal.events import State
from hivekeys.lab import Lab
from hivekeys.lab.files import SECRETS
from hivekeys.protocol.causes import Trouble

from .asking import ACTIVE, status
from .rotating import fleet_of, made_whole, rotate

pytestmark = pytest.mark.lab

UNITS = "/run/systemd/system"
DROP_IN = f"{UNITS}/rbee-hive.service.d/token.conf"
ALIAS = "gpu-agent.service"
RIGHT = f"rm -rf {UNITS}/rbee-hive.service.d {UNITS}/{ALIAS} /etc/credstore /etc/linked; systemctl daemon-reload"


def drop_in(*lines: str) -> str:
    """A shell line that gives a unit more lines, and restarts it with them."""
    text = "\n".join(("[Service]", "LoadCredential=", *lines))
    written = f"mkdir -p {UNITS}/rbee-hive.service.d; printf '%s\\n' '{text}' >{DROP_IN}"
    return f"{written}; systemctl daemon-reload; systemctl restart rbee-hive"


@pytest.fixture
def units(lab: Lab) -> Iterator[Lab]:
    """The five hives, whose units a test may give other lines."""
    yield lab
    for name in lab.hosts:
        lab.sh(name, RIGHT)
    for name in ("hive1", "hive2", "hive3", "hive4", "hive5"):
        lab.sh(name, "systemctl restart rbee-hive")
    made_whole(lab)


def inventory_with(lab: Lab, services: dict[str, dict[str, Any]]) -> Fleet:
    """The lab's fleet, of which some hosts' services are otherwise in the inventory."""
    fleet = fleet_of(lab)
    hosts = (replace(host, service=replace(host.service, **services.get(host.name, {}))) for host in fleet.hosts)
    return replace(fleet, hosts=tuple(hosts))


def test_a_unit_may_have_an_alias_a_store_a_folder_and_links(units: Lab) -> None:
    """One way on each hive: all of them hold the new token, and refuse the old one."""
    store = f"install -d -m 700 /etc/credstore; install -m 600 {ACTIVE} /etc/credstore/api-token"
    link = "ln -s llama-orch /etc/linked"
    units.sh("hive1", f"ln -s /etc/systemd/system/rbee-hive.service {UNITS}/{ALIAS}; systemctl daemon-reload")
    units.sh("hive2", f"{store}; {drop_in('LoadCredential=api-token')}")
    folder = (f"LoadCredential=secrets:{SECRETS}", "Environment=LLORCH_API_TOKEN_FILE=%d/secrets_api-token")
    units.sh("hive3", drop_in(*folder))
    units.sh("hive4", f"{link}; {drop_in('LoadCredential=api-token:/etc/linked/secrets/api-token')}")
    units.sh("hive5", link)
    services: dict[str, dict[str, Any]] = {
        "hive1": {"unit": ALIAS},
        "hive2": {"token": "/etc/credstore/api-token", "owner": "root", "group": "root"},
        "hive5": {"token": "/etc/linked/secrets/api-token"},
    }
    rotation = rotate(inventory_with(units, services))
    assert rotation.code is ExitCode.DONE, rotation.troubles
    assert set(rotation.states.values()) == {State.PROVEN}
    assert {status(host, rotation.token.reveal()) for host in units.hosts.values()} == {200}


def test_a_credential_that_no_file_brings_is_found_before_anything_is_restarted(units: Lab) -> None:
    secret = f"cat {ACTIVE} | tr -d '\\n'"
    cred = f"systemd-creds encrypt --name=api-token {ACTIVE} /etc/llama-orch/token.cred"
    units.sh(
        "hive1", f"T=$({secret}); {drop_in('SetCredential=api-token:')}; sed -i s/api-token:/api-token:$T/ {DROP_IN}"
    )
    units.sh("hive1", "systemctl daemon-reload; systemctl restart rbee-hive")
    units.sh("hive2", f"{cred}; {drop_in('LoadCredentialEncrypted=api-token:/etc/llama-orch/token.cred')}")
    processes = "systemctl show --property=InvocationID rbee-hive queen-rbee"
    before = {name: units.sh(name, processes) for name in units.hosts}
    rotation = rotate(fleet_of(units))
    assert rotation.troubles == dict.fromkeys(("hive1", "hive2"), Trouble.TOKEN_IN_ENVIRONMENT)
    assert {name: units.sh(name, processes) for name in units.hosts} == before
    units.sh("hive2", "rm /etc/llama-orch/token.cred /var/lib/systemd/credential.secret")
