"""Which file a unit's token comes from: as systemd has it, or refused in a look; never guessed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import hivekeys.host.verbs.inspect  # noqa: F401  hosts know its verb, too
from hivekeys.fleet import HIVE_SERVICE
from hivekeys.protocol.causes import Cause
from tests.builders.operator import Operator
from tests.inprocess import InProcessFleet, InProcessLine, Machine, Session, SimulatedHost, hello

UNIT = HIVE_SERVICE.unit
TOKEN = HIVE_SERVICE.token
FOLDER = str(Path(TOKEN).parent)
BY_CREDENTIAL = f"LLORCH_API_TOKEN_FILE=/run/credentials/{UNIT}/"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders of root's")


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=1, credentials=True)


@pytest.fixture
def host(fleet: InProcessFleet) -> SimulatedHost:
    return fleet.hosts["hive1"]


def unit_of(
    host: SimulatedHost, *, token: str = TOKEN, system: type[Machine] = Machine, **shown: str
) -> dict[str, Any]:
    """What a look says of the host's unit, whose settings are these, where the inventory has `token`."""
    host.unit_settings = shown
    line = InProcessLine(host)
    line.agent.system = system(host)
    greeting = hello(host, write=False)
    service = greeting["service"]
    assert isinstance(service, dict)
    service["token"] = token
    reply = line.ask({"steps": [greeting, {"verb": "observe"}], "deadline": 100.0}, 110.0)
    assert not isinstance(reply, Cause)
    results = reply["results"]
    assert isinstance(results, list)
    assert results[-1]["ok"], results
    unit: dict[str, Any] = results[-1]["facts"]["unit"]
    return unit


def credential(host: SimulatedHost, name: str, *brought: str, token: str = TOKEN) -> dict[str, Any]:
    """The same for a unit whose credentials systemd is told so, in the words of busctl."""
    host.credentials_shown = "\n".join(brought)
    return unit_of(host, token=token, Environment=BY_CREDENTIAL + name)


def put(host: SimulatedHost, path: str, text: str = "x\n") -> None:
    file = host.root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_unit_that_is_asked_for_by_an_alias_has_its_credentials_and_its_log_under_its_own_name(
    host: SimulatedHost,
) -> None:
    asked: list[list[str]] = []

    class Asked(Machine):
        def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
            asked.append(argv)
            return super().run(argv, timeout)

    own = "gpu-agent.service"
    environment = f"LLORCH_API_TOKEN_FILE=/run/credentials/{own}/api-token"
    unit = unit_of(host, system=Asked, Id=own, Environment=environment)
    assert (unit["credential"], unit["reads"]) == ("api-token", TOKEN)
    (busctl,) = (argv for argv in asked if argv[0] == "busctl")
    assert "/org/freedesktop/systemd1/unit/gpu_2dagent_2eservice" in busctl


@pytest.mark.parametrize(
    ("stores", "reads"),
    [
        (["/etc/credstore"], "/etc/credstore/api-token"),
        (["/usr/lib/credstore", "/run/credstore"], "/run/credstore/api-token"),
        (["/etc/credstore", "/run/credentials/@system"], "/run/credentials/@system/api-token"),
    ],
)
def test_a_credential_without_a_path_is_that_of_the_first_store(
    host: SimulatedHost, stores: list[str], reads: str
) -> None:
    for store in stores:
        put(host, f"{store}/api-token")
    assert credential(host, "api-token", 'a(ss) 1 "api-token" "api-token"')["reads"] == reads


def test_a_credential_without_a_path_that_no_store_has_comes_from_no_file(host: SimulatedHost) -> None:
    unit = credential(host, "api-token", 'a(ss) 1 "api-token" "api-token"', 'a(say) 1 "api-token" 2 97 98')
    assert (unit["reads"], unit["sources"]) == ("", ["its credential api-token, which SetCredential= brings"])


def test_of_a_folder_each_file_is_a_credential(host: SimulatedHost) -> None:
    unit = credential(host, "secrets_api-token", f'a(ss) 2 "other" "/x" "secrets" "{FOLDER}"')
    assert (unit["reads"], unit["sources"]) == (TOKEN, [])


def test_of_a_folder_a_file_further_below_has_its_whole_way_in_the_name(host: SimulatedHost) -> None:
    unit = credential(host, "all_secrets_api-token", f'a(ss) 1 "all" "{Path(FOLDER).parent}"')
    assert unit["reads"] == TOKEN


def test_a_folder_elsewhere_is_another_file(host: SimulatedHost) -> None:
    """A copy of the token may lie there: to have been proven with it today says nothing of tomorrow."""
    put(host, "/etc/copies/api-token", host.fleet.token.reveal())
    unit = credential(host, "secrets_api-token", 'a(ss) 1 "secrets" "/etc/copies"')
    assert unit["reads"] == "/etc/copies/api-token"


@pytest.mark.parametrize(
    ("brought", "source"),
    [
        (["a(ss) 0", 'a(say) 1 "api-token" 2 97 98'], "its credential api-token, which SetCredential= brings"),
        (
            ["a(ss) 0", "a(say) 0", 'a(ss) 1 "api-token" "/etc/api-token.cred"'],
            "its credential api-token, which LoadCredentialEncrypted= brings",
        ),
        (
            ["a(ss) 0", "a(say) 0", "a(ss) 0", 'a(say) 1 "api-token" 1 97'],
            "its credential api-token, which SetCredentialEncrypted= brings",
        ),
        (
            ["a(ss) 0", "a(say) 0", "a(ss) 0", "a(say) 0", 'as 2 "x" "api-*"'],
            "its credential api-token, which ImportCredential= brings",
        ),
        (["a(ss) 0", "a(say) 0"], "its credential api-token, which no LoadCredential= brings from a file"),
    ],
)
def test_a_credential_that_no_file_brings_stops_a_rotation_before_anything_is_staged(
    fleet: InProcessFleet, host: SimulatedHost, brought: list[str], source: str
) -> None:
    host.credentials_shown = "\n".join(brought)
    ann = Operator(fleet)
    ann.look()
    cause = ann.run.hosts["hive1"].cause
    assert str(cause) == f"token-in-environment: {UNIT} gets it from {source}"
    assert {"probe_write", "stage", "restart"}.isdisjoint(fleet.verbs("hive1"))


class Older(Machine):
    """A systemd that does not know the later properties; busctl says what it knows and ends there."""

    ending = "Failed to get property ImportCredential on interface org.freedesktop.systemd1.Service: Unknown property"

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        code, output = super().run(argv, timeout)
        return (1, f"{output}\n{self.ending}") if argv[0] == "busctl" else (code, output)


class Silent(Older):
    ending = "Connection timed out"


def test_an_older_systemd_is_believed_in_what_it_knows(host: SimulatedHost) -> None:
    host.credentials_shown = f'a(ss) 1 "api-token" "{TOKEN}"\na(say) 0'
    assert unit_of(host, system=Older, Environment=BY_CREDENTIAL + "api-token")["reads"] == TOKEN


def test_what_systemd_does_not_say_is_no_fit(host: SimulatedHost) -> None:
    unit = unit_of(host, system=Silent, Environment=BY_CREDENTIAL + "api-token")
    assert unit["reads"] == ""
    assert unit["unnamed"] == "systemd does not say where its credential api-token comes from"


@needs_root
@pytest.mark.parametrize(
    ("token", "named"),
    [(TOKEN, "/etc/link/secrets/api-token"), ("/etc/link/secrets/api-token", TOKEN)],
    ids=["the unit", "the inventory"],
)
def test_a_link_of_roots_is_followed_on_either_side(host: SimulatedHost, token: str, named: str) -> None:
    (host.root / "etc/link").symlink_to("llama-orch")
    unit = unit_of(host, token=token, Environment=f"LLORCH_API_TOKEN_FILE={named}")
    assert unit["reads"] == token


@needs_root
def test_behind_a_link_of_roots_a_token_is_staged_and_turned(host: SimulatedHost) -> None:
    (host.root / "etc/link").symlink_to("llama-orch")
    session = Session(host)
    session.line.agent.secrets.folder = "/etc/link/secrets"
    new = "n" * 64
    assert session.do("stage", token=new)["ok"]
    assert host.slots()["staged"] == new


@needs_root
def test_a_link_of_another_accounts_is_not_followed(host: SimulatedHost) -> None:
    (host.root / "srv").mkdir()
    os.chown(host.root / "srv", 54321, 54321)
    (host.root / "srv/link").symlink_to("../etc/llama-orch")
    unit = unit_of(host, Environment="LLORCH_API_TOKEN_FILE=/srv/link/secrets/api-token")
    assert unit["reads"] == "/srv/link/secrets/api-token"


def test_an_environment_file_may_name_the_token_file_and_goes_before_the_unit(host: SimulatedHost) -> None:
    put(host, "/etc/default/hive", f"RUST_LOG=info\nLLORCH_API_TOKEN_FILE='{TOKEN}'\n")
    environment, files = "LLORCH_API_TOKEN_FILE=/etc/elsewhere", "/etc/default/hive (ignore_errors=no)"
    assert unit_of(host, Environment=environment, EnvironmentFiles=files)["reads"] == TOKEN
    assert unit_of(host, Environment=environment)["reads"] == "/etc/elsewhere"


STARTS: Mapping[str, tuple[str, str]] = {
    "an option": ("/usr/bin/rbee-hive daemon --token-file={}", ""),
    "a script": ("/usr/local/bin/shim daemon", '#!/bin/sh\nLLORCH_API_TOKEN=$(cat "{}") exec rbee-hive "$@"\n'),
}


@pytest.mark.parametrize("way", STARTS)
def test_a_command_or_a_script_may_name_the_file(host: SimulatedHost, way: str) -> None:
    host.credentials = False
    command, script = (text.replace("{}", TOKEN) for text in STARTS[way])
    put(host, "/usr/local/bin/shim", script)
    started = f"{{ path=/x ; argv[]={command} ; ignore_errors=no ; start_time=[n/a] }}"
    assert unit_of(host, system=Bare, Environment="", ExecStart=started)["reads"] == TOKEN


@pytest.mark.parametrize("way", STARTS)
def test_a_command_that_names_another_file_is_no_fit(host: SimulatedHost, way: str) -> None:
    command, script = (text.replace("{}", TOKEN + "-of-mine") for text in STARTS[way])
    put(host, "/usr/local/bin/shim", script)
    started = f"{{ path=/x ; argv[]={command} ; ignore_errors=no ; start_time=[n/a] }}"
    unit = unit_of(host, system=Bare, Environment="", ExecStart=started)
    assert unit["reads"] == ""
    assert unit["unnamed"] == f"no setting, credential, command or script of it names {TOKEN}"


class Bare(Machine):
    """A process whose environment says nothing of the token file."""

    def process(self, pid: int) -> dict[str, Any] | None:
        shown = super().process(pid)
        return dict(shown, reads="") if shown else None


class Shim(Machine):
    """A wrapper has read the token file into the environment, and executed the service."""

    def process(self, pid: int) -> dict[str, Any] | None:
        shown, process = super().process(pid), self.host.process
        return dict(shown, token=(process and process.token) or "", env_token=True) if shown else None


@pytest.mark.parametrize("turned", [False, True], ids=["its token", "an older one"])
def test_a_shim_is_known_by_what_its_process_has(host: SimulatedHost, turned: bool) -> None:
    """Its unit names the file, and its environment is equal to that: advice for later, and no failure."""
    host.credentials = False
    session = Session(host)
    session.line.agent.system = Shim(host)
    host.unit_settings = {"Environment": f"LLORCH_API_TOKEN_FILE={TOKEN}"}
    if turned:
        host.active.write_text("n" * 64 + "\n")
    seen, inspected = session.ask({"verb": "observe"}, {"verb": "inspect"})
    assert seen["facts"]["unit"]["sources"] == []
    assert seen["facts"]["loaded"]["evidence"] == ("older" if turned else "environment")
    found = inspected["facts"]["environment"]
    assert (found["places"], found["is_of_file"]) == (["the running process"], not turned)


@needs_root
def test_an_environment_file_that_is_the_token_file_is_of_the_file(tmp_path: Path) -> None:
    path = "/etc/rbee/secrets.env"
    host = InProcessFleet(tmp_path, hives=1, environment=path).hosts["hive1"]
    (inspected,) = Session(host).ask({"verb": "inspect"})
    found = inspected["facts"]["environment"]
    assert found == {"places": [path, "the running process"], "unread": [], "is_of_file": True}
