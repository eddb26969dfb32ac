"""`install` on one host: no account is made unless that was asked for, and what systemd says is the reason."""

import json
from pathlib import Path
from typing import Any

import pytest

import hivekeys.host.verbs.install  # noqa: F401  hosts know its verb, too
from hivekeys.host.verbs.install import has_account, has_group
from tests.builders.agent_process import state
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost
from tests.inprocess.machine import Machine


@pytest.fixture(params=[False, True], ids=["file", "credential"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> SimulatedHost:
    """A host whose systemd is older than 250, and one with a newer one, whose unit reads systemd's copy."""
    return InProcessFleet(tmp_path, hives=1, credentials=request.param).hosts["hive1"]


class Refuses(Machine):
    """systemd that enables nothing."""

    def systemctl(self, verb: str, unit: str, *others: str) -> tuple[int, str]:
        return (1, "Failed to enable unit: denied\n") if verb == "enable" else super().systemctl(verb, unit, *others)


def installed(host: SimulatedHost, machine: Machine | None = None, *options: str, **service: str) -> dict[str, Any]:
    session = Session(host)
    session.line.agent.service.update(service)
    session.line.agent.system = machine or session.line.agent.system
    want = host.fleet.token.fingerprint(KEY).keyed
    return session.do("install", apply=True, options=list(options), want=want)


def text_of(host: SimulatedHost) -> str:
    return (host.root / f"etc/systemd/system/{host.host.service.unit}.d/50-hivekeys.conf").read_text()


def test_an_account_that_is_not_there_is_made_by_nobody_unless_that_was_asked_for(host: SimulatedHost) -> None:
    host.reimage()
    host.stop()
    result = installed(host, None, group="no-such-group")
    assert (result["trouble"], result["detail"]) == ("account-missing", "there is no group no-such-group")
    result = installed(host, None, owner="no-such-account")
    assert (result["trouble"], result["detail"]) == ("account-missing", "there is no account no-such-account")
    assert not {"groupadd", "useradd"} & set(host.started)


def test_accounts_and_groups_are_known_by_the_hosts_own_files() -> None:
    assert (has_account("root"), has_group("root")) == (True, True)
    assert (has_account("no-such-account"), has_group("no-such-group")) == (False, False)


def test_when_systemd_refuses_its_words_are_the_reason(host: SimulatedHost) -> None:
    result = installed(host, Refuses(host))
    assert (result["trouble"], result["detail"]) == ("systemctl-failed", "systemctl: Failed to enable unit: denied")


def test_the_unit_is_told_where_its_token_is_and_that_it_writes_a_trail(host: SimulatedHost) -> None:
    result = installed(host)
    assert result["ok"], result
    lines = text_of(host).splitlines()
    token = host.host.service.token
    read = (
        ["LoadCredential=api-token:" + token, 'Environment="LLORCH_API_TOKEN_FILE=%d/api-token"']
        if host.credentials
        else [f'Environment="LLORCH_API_TOKEN_FILE={token}"']
    )
    assert lines[1:] == [
        "[Service]",
        "UnsetEnvironment=LLORCH_API_TOKEN",
        *read,
        "Environment=LLORCH_AUDIT_MODE=local",
        'Environment="LLORCH_AUDIT_DIR=/var/log/llama-orch/audit"',
        "ReadWritePaths=-/var/log/llama-orch/audit",
    ]
    assert text_of(host).endswith("\n")


def test_what_is_put_there_is_noted_for_uninstall(host: SimulatedHost) -> None:
    installed(host)
    noted = json.loads((state(host) / "installed").read_text())
    assert ["drop-in", f"/etc/systemd/system/{host.host.service.unit}.d/50-hivekeys.conf"] in noted
    assert ["enabled", host.host.service.unit] in noted
    assert [kind for kind, _ in noted if kind in ("token", "account", "group")] == [], "they were there"
