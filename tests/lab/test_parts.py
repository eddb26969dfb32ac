"""The lab's pure parts: names, addresses, the files of a host, and what SSH clients are told."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.lab import Lab, Shape, Units, access, files, image, memory, network, programs
from hivekeys.lab.faults import FAULTS, inject
from hivekeys.lab.faults.service import drop_in
from hivekeys.lab.lock import lock


def lab_of(
    *releases: str, hives: int = 2, name: str = "lab", units: Units = Units.FILE, queen_command: str = ""
) -> Lab:
    shape = Shape(hives, releases or ("bookworm",), units, queen_command)
    return Lab(name, shape, "10.213.7.0/24", Path("/nowhere/lab.toml"))


@pytest.mark.parametrize("name", ["lab", "lab-a", "lab-rotate-2"])
def test_a_lab_is_called_lab_or_begins_with_it(name: str) -> None:
    assert memory.check_name(name) == name


@pytest.mark.parametrize("name", ["production", "label", "lab-", "lab--x", "lab-A", "lab/../x", "", "lab-" + "x" * 40])
def test_no_other_name_is_taken(name: str) -> None:
    with pytest.raises(UserError):
        memory.check_name(name)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(0),
        Shape(245),
        Shape(1, ()),
        Shape(1, ("sid",)),
        Shape(1, queen_command="/no/such/program"),
        Shape(1, queen_command="/bin/true --port {prot}"),
        Shape(1, hive_command="/bin/true --port {port"),
        Shape(1, hive_command="/bin/true '"),
    ],
)
def test_a_shape_that_no_lab_can_have_is_refused(shape: Shape) -> None:
    with pytest.raises(UserError):
        memory.check_shape(shape)


def test_the_queen_comes_first_and_the_releases_take_turns() -> None:
    hosts = lab_of("bookworm", "trixie", hives=3).hosts.values()
    assert [(host.name, host.role, host.address, host.release) for host in hosts] == [
        ("queen", "queen", "10.213.7.10", "bookworm"),
        ("hive1", "hive", "10.213.7.11", "trixie"),
        ("hive2", "hive", "10.213.7.12", "bookworm"),
        ("hive3", "hive", "10.213.7.13", "trixie"),
    ]


def test_an_unknown_host_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError) as caught:
        lab_of().host("hive9")
    assert "hive9" in caught.value.message
    assert "queen, hive1, hive2" in caught.value.hint


@pytest.mark.parametrize("name", ["lab", "lab-of-a-very-long-name"])
def test_names_of_links_fit_the_kernel(name: str) -> None:
    assert len(network.bridge(name)) <= 15
    assert len(network.port("10.213.255.254") + "-out") <= 15


def test_the_unit_is_the_guides_with_credentials_where_systemd_has_them() -> None:
    lab = lab_of("bookworm", "bullseye")
    queen, hive = files.unit(lab, lab.hosts["queen"]), files.unit(lab, lab.hosts["hive1"])
    assert "ExecStart=/usr/local/bin/queen-rbee --port 8080\n" in queen
    assert "LoadCredential=api-token:/etc/llama-orch/secrets/api-token\n" in queen
    assert "Environment=LLORCH_API_TOKEN_FILE=%d/api-token\n" in queen
    assert "Environment=LLORCH_API_TOKEN_FILE=/etc/llama-orch/secrets/api-token\n" in hive
    assert "LoadCredential" not in hive


def test_a_shim_is_given_the_file_and_starts_the_service_as_v0_1_0_is_started() -> None:
    lab = lab_of(units=Units.SHIM)
    queen, hive = files.unit(lab, lab.hosts["queen"]), files.unit(lab, lab.hosts["hive1"])
    shim = "ExecStart=/usr/local/bin/with-token /usr/local/bin"
    assert f"{shim}/queen-rbee --port 8080 --database /var/lib/llama-orch/queen-rbee.db\n" in queen
    assert f"{shim}/rbee-hive daemon --addr 0.0.0.0:8081\n" in hive
    for text in (queen, hive):
        assert "Environment=LLORCH_API_TOKEN_FILE=%d/api-token\n" in text
        assert "ReadWritePaths=/var/log/llama-orch/audit /var/lib/llama-orch\n" in text


def test_an_environment_file_is_roots_and_holds_the_token_in_one_of_its_lines() -> None:
    lab = lab_of(units=Units.ENVIRONMENT_FILE)
    assert "EnvironmentFile=/etc/rbee/secrets.env\n" in files.unit(lab, lab.hosts["hive1"])
    assert "LLORCH_API_TOKEN_FILE" not in files.unit(lab, lab.hosts["hive1"])
    entries = {entry.path: entry for entry in files.entries(lab, lab.hosts["hive1"], token="t\n", login_key="k")}
    found = entries["/etc/rbee/secrets.env"]
    assert (found.mode, found.owner, "LLORCH_API_TOKEN=t\n" in (found.text or "")) == (0o600, 0, True)
    assert f"{files.SECRETS}/api-token" not in entries
    assert tomllib.loads(access.inventory(lab))["services"]["hive"]["format"] == "environment"


@pytest.mark.parametrize(("units", "version"), [(Units.FILE, "next"), (Units.SHIM, "v0.1.0")])
def test_the_stand_in_lies_in_the_folder_of_its_version(units: Units, version: str) -> None:
    lab = lab_of(units=units)
    entries = {entry.path: entry for entry in files.entries(lab, lab.hosts["hive1"], token="t\n", login_key="k")}
    assert entries["/usr/local/bin/rbee-hive"].link == f"/usr/local/lib/llama-orch/{version}/rbee-hive"


def test_a_command_is_copied_and_told_its_port_and_its_database(tmp_path: Path) -> None:
    program = tmp_path / "real queen"
    program.write_text("#!/bin/sh\n")
    command = f"'{program}' --port {{port}} --database {{database}} --verbose"
    lab = lab_of(units=Units.SHIM, queen_command=command)
    memory.check_shape(lab.shape)
    entries = {entry.path: entry for entry in files.entries(lab, lab.hosts["queen"], token="t\n", login_key="k")}
    assert entries["/usr/local/bin/queen-rbee"].source == str(program)
    told = "/usr/local/bin/queen-rbee --port 8080 --database /var/lib/llama-orch/queen-rbee.db --verbose\n"
    assert f"ExecStart=/usr/local/bin/with-token {told}" in files.unit(lab, lab.hosts["queen"])


def test_the_token_is_the_services_alone_from_the_first_moment() -> None:
    lab = lab_of()
    entries = {entry.path: entry for entry in files.entries(lab, lab.hosts["hive1"], token="t\n", login_key="k")}
    assert (entries[files.SECRETS].mode, entries[files.SECRETS].owner) == (0o700, image.LLAMA_ORCH)
    token = entries[f"{files.SECRETS}/api-token"]
    assert (token.text, token.mode, token.owner) == ("t\n", 0o600, image.LLAMA_ORCH)
    assert [entry.path for entry in entries.values() if entry.text == "t\n"] == [token.path]


def test_every_folder_stands_before_what_is_in_it() -> None:
    lab = lab_of()
    seen = {"/"}
    for entry in files.entries(lab, lab.hosts["queen"], token="t", login_key="k"):
        assert str(Path(entry.path).parent) in seen
        seen.add(entry.path)


def test_the_inventory_names_its_fleet_and_has_absolute_paths() -> None:
    fleet = tomllib.loads(access.inventory(lab_of(name="lab-x")))
    assert fleet["fleet"] == "lab-x"
    assert fleet["ssh"] == {
        "user": "deploy",
        "key": "/var/lib/hivekeys-lab/lab-x/id_ed25519",
        "known_hosts": "/var/lib/hivekeys-lab/lab-x/known_hosts",
        "become": "sudo",
    }
    assert fleet["hosts"]["hive2"] == {"role": "hive", "address": "10.213.7.12"}


def test_the_ssh_config_is_strict() -> None:
    text = access.ssh_config(lab_of())
    assert "StrictHostKeyChecking yes" in text
    assert "\nHost hive1\n    HostName 10.213.7.11\n" in text


def test_an_inventory_that_no_lab_wrote_is_not_written_over(tmp_path: Path) -> None:
    theirs = tmp_path / "lab.toml"
    theirs.write_text('fleet = "lab"\n')
    with pytest.raises(UserError):
        access.check_inventory(theirs)


def test_what_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    absent = programs.missing(str(tmp_path))
    assert absent["systemd-nspawn"] == "systemd-container"
    assert absent["mmdebstrap"] == "mmdebstrap"


def test_what_a_killed_holder_had_begun_keeps_its_lock_until_that_has_ended(tmp_path: Path) -> None:
    begun, go_on, what = tmp_path / "begun", tmp_path / "go-on", f"lab lab-lock{os.getpid()}"
    for pipe in (begun, go_on):
        os.mkfifo(pipe)
    work = f"with lock({what!r}): call(['sh', '-c', 'echo >{begun}; read _ <{go_on}; echo >{begun}'])"
    holder = f"from hivekeys.lab.lock import lock\nfrom hivekeys.lab.programs import call\n{work}"
    with subprocess.Popen([sys.executable, "-c", holder]) as process:
        begun.read_text()
        process.kill()
    with pytest.raises(UserError, match="another process is at work"), lock(what, patience=0):
        pass
    go_on.write_text("\n")
    begun.read_text()
    with lock(what, patience=10):
        pass


def test_every_fault_says_what_it_does_in_one_line() -> None:
    assert len(FAULTS) == 16
    for fault in FAULTS.values():
        assert re.fullmatch(r"[^\n]{10,90}", fault.help)


def test_an_unknown_fault_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError) as caught:
        inject(lab_of(), "hive1", "gremlins")
    assert "start-fails" in caught.value.hint


def test_a_slow_start_takes_the_seconds_asked_for() -> None:
    lab = lab_of()
    assert "sleep 7; exec /usr/local/bin/rbee-hive --port 8081" in drop_in(lab, lab.hosts["hive1"], "start-slow", 7)
