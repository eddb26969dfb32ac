"""`admit`: a real nginx lets in other tokens than before, under load: no request breaks, and a revoked one is cut."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.token import Token, generate
from tests.builders.fronted import KEY, LIST, Clients, FrontedHost, Stream, until


def test_a_fleet_goes_from_one_token_to_the_next_and_no_request_breaks(fronted: FrontedHost) -> None:
    """Both are let in, then clients change over, then the old one is refused; a long answer is read all the while."""
    old, new = fronted.token, generate()
    stream = Stream(fronted.port, old, 200)
    with Clients(fronted.port, old) as clients:
        assert fronted.admit(new, old)["changed"]
        clients.token = new
        assert fronted.admit(new)["changed"]
    assert (set(clients.statuses), clients.broken) == ({200}, [])
    assert clients.statuses[200] > 200
    assert fronted.status(LIST, old) == 401
    assert stream.is_whole(), "it was let in with the old token, before"
    until(lambda: {"new", "old"} <= {line["slot"] for line in fronted.log()})


def test_a_revoked_token_is_refused_at_once_and_what_it_was_let_in_to_is_cut(fronted: FrontedHost) -> None:
    stolen, new = fronted.token, generate()
    streams = [Stream(fronted.port, stolen, 600) for _ in range(3)]
    result = fronted.admit(new, at_once=True)
    assert (result["ok"], result["facts"]) == (True, {"cut": 3})
    assert result["seconds"] < 30.0, "nothing waits for the streams, which are a minute long"
    assert (fronted.status(LIST, stolen), fronted.status(LIST, new)) == (401, 200)
    assert not any(stream.is_whole() for stream in streams)


def keyed(token: Token) -> str:
    return token.fingerprint(KEY).keyed


def test_the_steps_of_the_passes_let_in_both_and_then_the_new_one_alone(fronted: FrontedHost) -> None:
    """As a run tells a host: accept, use, drop. Told of nothing new, nginx reads nothing."""
    old, new = fronted.token, generate()
    fronted.greet()
    assert fronted.do("stage", token=new.reveal())["ok"]
    with Clients(fronted.port, old) as clients:
        assert fronted.do("accept", tokens=[keyed(old), keyed(new)])["ok"]
        assert fronted.do("notify")["changed"]
        both = fronted.do("prove", want=keyed(old), also=keyed(new), health_seconds=5.0)
        assert (both["ok"], both["facts"]["calls"]["also"]) == (True, 200), both
        assert fronted.do("accept", tokens=[keyed(new), keyed(old)])["ok"]
        assert fronted.do("swap", want=keyed(new))["ok"]
        assert not fronted.do("notify")["changed"], "they are the same two"
        clients.token = new
        assert fronted.do("accept", tokens=[keyed(new)])["ok"]
        assert fronted.do("notify")["changed"]
    assert (set(clients.statuses), clients.broken) == ({200}, [])
    alone = fronted.do("prove", want=keyed(new), refuse=[keyed(old)], health_seconds=5.0)
    assert (alone["ok"], alone["facts"]["proven"]) == (True, True), alone
    wanted = {("token:" + token.fingerprint(KEY).fp6, slot) for token, slot in ((old, "old"), (new, "new"))}
    until(lambda: wanted <= {(line["event"]["attempted_user"], line["slot"]) for line in fronted.log()})


def test_one_token_at_a_time_the_map_is_exchanged_now_and_what_was_let_in_goes_on(fronted: FrontedHost) -> None:
    old, new = fronted.token, generate()
    stream = Stream(fronted.port, old, 50)
    fronted.greet()
    for verb, fields in (("stage", {"token": new.reveal()}), ("swap", {"want": keyed(new)})):
        assert fronted.do(verb, **fields)["ok"]
    told = fronted.do("notify")
    assert (told["changed"], stream.goes_on) == (True, True), "it was not waited for"
    assert (fronted.status(LIST, new), fronted.status(LIST, old)) == (200, 401)
    assert stream.is_whole()


def test_told_of_a_token_that_leaked_nginx_cuts_what_it_was_let_in_to(fronted: FrontedHost) -> None:
    """Also where a pass had let in both: the run that revokes comes after it."""
    stolen, new = fronted.token, generate()
    fronted.greet()
    assert fronted.do("stage", token=new.reveal())["ok"]
    fronted.admit(stolen, new, at_once=True)
    stream = Stream(fronted.port, stolen, 600)
    fronted.greet()
    assert fronted.do("revoke", tokens=[keyed(stolen)])["ok"]
    assert fronted.do("swap", want=keyed(new))["ok"]
    told = fronted.do("notify")
    assert (told["changed"], told["facts"], told["seconds"] < 30.0) == (True, {"cut": 1}, True)
    assert (fronted.status(LIST, new), fronted.status(LIST, stolen)) == (200, 401)
    assert not stream.is_whole()


def test_a_list_that_is_not_what_it_should_be_lets_in_nobody_new(fronted: FrontedHost) -> None:
    fronted.greet()
    (fronted.folder / "api-tokens").write_text("no token at all\n")
    told = fronted.do("notify")
    assert (told["ok"], told["trouble"]) == (False, "token-unsafe")
    assert fronted.status(LIST, fronted.token) == 200


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
