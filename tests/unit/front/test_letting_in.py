"""`admit`: a real nginx lets in other tokens than before, under load: no request breaks, and a revoked one is cut."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.token import generate
from tests.builders.fronted import KEY, LIST, Clients, FrontedHost, Stream


def test_a_fleet_goes_from_one_token_to_the_next_and_no_request_breaks(fronted: FrontedHost) -> None:
    """Both are let in, then clients change over, then the old one is refused; a long answer is read all the while."""
    old, new = fronted.token, generate()
    stream = Stream(fronted.port, old, 200)
    with Clients(fronted.port, old) as clients:
        assert fronted.admit(new, old)["changed"]
        clients.token = new
        assert fronted.admit(new)["changed"]
    assert (set(clients.statuses), clients.broken) == ({200}, [])
    assert clients.statuses[200] > 2000
    assert fronted.status(LIST, old) == 401
    assert stream.is_whole(), "it was let in with the old token, before"
    slots = [line["slot"] for line in fronted.log()]
    assert {"new", "old"} <= set(slots)


def test_a_revoked_token_is_refused_at_once_and_what_it_was_let_in_to_is_cut(fronted: FrontedHost) -> None:
    stolen, new = fronted.token, generate()
    streams = [Stream(fronted.port, stolen, 600) for _ in range(3)]
    result = fronted.admit(new, at_once=True)
    assert (result["ok"], result["facts"]) == (True, {"cut": 3})
    assert result["seconds"] < 1.0
    assert (fronted.status(LIST, stolen), fronted.status(LIST, new)) == (401, 200)
    assert not any(stream.is_whole() for stream in streams)


def test_told_the_same_twice_nothing_is_done(fronted: FrontedHost) -> None:
    workers = fronted.system.members(f"/{fronted.service.unit}")
    assert not fronted.admit(fronted.token)["changed"]
    assert fronted.system.members(f"/{fronted.service.unit}") == workers


def test_a_map_that_was_written_and_not_read_is_read(fronted: FrontedHost) -> None:
    """An agent was killed between the two."""
    new = generate()
    fronted.greet(new)
    nginx_map = fronted.folder / "accepted.conf"
    before = nginx_map.read_text()
    fronted.admit(new, at_once=True)
    text = nginx_map.read_text()
    fronted.admit(fronted.token, at_once=True)
    assert nginx_map.read_text() == before
    nginx_map.write_text(text)
    assert fronted.admit(new, at_once=True)["changed"]
    assert fronted.status(LIST, new) == 200


def test_where_nginx_refuses_its_configuration_the_map_of_before_is_in_force(fronted: FrontedHost) -> None:
    """Somebody else's line in it. nginx quotes the map when it complains: its words are not told."""
    configuration = fronted.folder / "nginx.conf"
    configuration.write_text(configuration.read_text() + "no_such_directive;\n")
    before, new = (fronted.folder / "accepted.conf").read_text(), generate()
    result = fronted.admit(new, at_once=True)
    assert (result["ok"], result["trouble"]) == (False, "front-refused")
    assert result["detail"] == "/etc/hivekeys-front/rbee-hive: `nginx -t` does not take it"
    assert (fronted.folder / "accepted.conf").read_text() == before
    assert (fronted.status(LIST, fronted.token), fronted.status(LIST, new)) == (200, 401)


def test_an_nginx_that_does_not_take_the_new_map_goes_on_with_the_one_before(fronted: FrontedHost) -> None:
    """`nginx -t` is content, and the running nginx is not: what it is to write to was exchanged for a folder."""
    master = fronted.system.pids[fronted.service.unit]
    os.kill(master, 19)  # SIGSTOP: it hears nothing
    try:
        before = (fronted.folder / "accepted.conf").read_text()
        result = fronted.admit(generate(), at_once=True)
        assert (result["ok"], result["trouble"]) == (False, "front-refused")
        assert (fronted.folder / "accepted.conf").read_text() == before
    finally:
        os.kill(master, 18)


@pytest.fixture
def small_disk(host: FrontedHost) -> Iterator[Path]:
    """The folder of the front's configuration has a file system of its own, which is then filled."""
    place = host.root / "etc/hivekeys-front"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_on_a_full_disk_the_map_of_before_stays_whole(small_disk: Path, host: FrontedHost) -> None:
    host.set_up()
    before = host.folder.joinpath("accepted.conf").read_text()
    with pytest.raises(OSError, match="No space left"), (small_disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)
    result = host.admit(generate(), host.token)
    assert (result["ok"], result["trouble"]) == (False, "write-failed")
    assert host.folder.joinpath("accepted.conf").read_text() == before
    assert host.status(LIST, host.token) == 200
    assert [path.name for path in host.folder.iterdir() if "hivekeys" in path.name or "before" in path.name] == []
    assert not (host.root / "run/hivekeys-front-rbee-hive/closing").exists()


def test_a_token_that_leaked_is_not_let_in_again(fronted: FrontedHost) -> None:
    stolen = generate()
    keyed = stolen.fingerprint(KEY).keyed
    fronted.greet(stolen)
    assert fronted.do("revoke", tokens=[keyed])["ok"]
    result = fronted.do("admit", tokens=[keyed], at_once=True)
    assert (result["ok"], result["trouble"]) == (False, "revoked")
    assert fronted.status(LIST, stolen) == 401


def test_a_restart_of_the_front_makes_the_active_token_the_only_one(fronted: FrontedHost) -> None:
    """As a rotation that takes one token at a time has it."""
    new = generate()
    fronted.greet()
    want = new.fingerprint(KEY).keyed
    for verb, fields in (("stage", {"token": new.reveal()}), ("swap", {"want": want}), ("restart", {})):
        assert fronted.do(verb, **fields)["ok"]
    result = fronted.do("prove", want=want, refuse=[fronted.token.fingerprint(KEY).keyed], health_seconds=5.0)
    assert (result["ok"], result["facts"]["proven"]) == (True, True), result
    assert (fronted.status(LIST, new), fronted.status(LIST, fronted.token)) == (200, 401)


def test_a_front_that_stands_still_has_the_new_map_when_it_starts(fronted: FrontedHost) -> None:
    fronted.system.stop(fronted.service.unit)
    new = generate()
    assert fronted.admit(new)["changed"]
    assert fronted.system.start(fronted.service.unit) == (0, "")
    assert fronted.status(LIST, new) == 200
