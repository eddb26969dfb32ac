"""`front` on one host: nginx comes before the service, and goes again; when that does not work, all is as before."""

import http.client
import socket
import ssl
import time
from datetime import datetime
from pathlib import Path

import pytest

from hivekeys.token import Token, generate
from tests.builders.certificate import certificate
from tests.builders.fronted import KEY, LIST, FrontedHost, Stream

FRONT = "hivekeys-front-rbee-hive.service"


def test_clients_go_on_with_the_fleets_token_and_the_service_has_one_of_its_own(fronted: FrontedHost) -> None:
    assert fronted.own != fronted.token
    assert fronted.status(LIST, fronted.token) == 200
    assert fronted.status(LIST, fronted.own) == 401, "the service's own token is no client's"
    assert fronted.status(LIST, None) == 401
    assert fronted.status(LIST, fronted.token, fronted.inner) == 401, "the service does not know the fleet's token"
    assert fronted.status(LIST, fronted.own, fronted.inner) == 200


def test_only_the_whole_token_and_its_own_spelling_is_let_in(fronted: FrontedHost) -> None:
    text = fronted.token.reveal()
    others = [text[:-1], text + "0", "0" + text, text.swapcase(), "." * len(text), text + " x"]
    heads = [f"Bearer {other}" for other in others] + [f"bearer {text}", text, f"Basic {text}", "Bearer"]
    for head in heads:
        line = http.client.HTTPConnection("127.0.0.1", fronted.port, timeout=5)
        line.request("GET", LIST, headers={"Authorization": head})
        answer = line.getresponse()
        assert (answer.status, answer.getheader("WWW-Authenticate")) == (401, "Bearer"), head
        line.close()
    with socket.create_connection(("127.0.0.1", fronted.port)) as raw:
        twice = f"Authorization: Bearer {text}\r\n" * 2
        raw.sendall(f"GET {LIST} HTTP/1.1\r\nHost: x\r\n{twice}\r\n".encode())
        assert raw.recv(1024).startswith(b"HTTP/1.1 400")


def test_health_needs_no_token_and_a_large_body_passes_whole(fronted: FrontedHost) -> None:
    assert fronted.status("/v1/health", None) == 200
    body = b"x" * (8 << 20)
    line = http.client.HTTPConnection("127.0.0.1", fronted.port, timeout=20)
    line.request("POST", "/v1/infer", body, {"Authorization": f"Bearer {fronted.token.reveal()}"})
    assert line.getresponse().read() == str(len(body)).encode()
    line.close()


def test_a_stream_passes_word_by_word(fronted: FrontedHost) -> None:
    stream = Stream(fronted.port, fronted.token, 10)
    assert stream.heard.count(b"data: ") < 5, "the first words are there before the last are said"
    assert stream.is_whole()


def test_the_log_names_slot_and_client_and_never_a_token(fronted: FrontedHost) -> None:
    fronted.status(f"{LIST}?key=in-the-query", fronted.token)
    stranger = generate()
    fronted.status(LIST, stranger)
    let_in, refused = fronted.logged(LIST, "200"), fronted.logged(LIST, "401")
    assert (let_in["slot"], let_in["event"]["ip"]) == ("new", "127.0.0.1")
    assert let_in["event"]["event_type"] == "auth_success"
    assert abs(datetime.fromisoformat(let_in["timestamp"]).timestamp() - time.time()) < 5
    assert len(let_in["timestamp"]) == len("2026-11-29T15:25:46.123+00:00"), "to the millisecond"
    assert let_in["event"]["attempted_user"] == "token:" + fronted.token.fingerprint(KEY).fp6
    assert (refused["slot"], refused["event"]["event_type"]) == ("none", "auth_failure")
    logs = b"".join(path.read_bytes() for path in (fronted.root / "var/log").rglob("*") if path.is_file())
    for secret in (fronted.token.reveal(), fronted.own.reveal(), stranger.reveal(), "in-the-query"):
        assert secret.encode() not in logs


def test_what_holds_tokens_is_roots_alone(fronted: FrontedHost) -> None:
    assert fronted.folder.stat().st_mode & 0o777 == 0o700
    for path in fronted.folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path.name
    assert (fronted.root / "var/log/hivekeys-front-rbee-hive").stat().st_mode & 0o777 == 0o700


def test_the_second_time_nothing_is_to_be_done(fronted: FrontedHost) -> None:
    before, pids = fronted.files(), dict(fronted.system.pids)
    fronted.greet()
    result = fronted.do("front", apply=True)
    assert (result["ok"], result["changed"], result["facts"]["changes"]) == (True, False, [])
    assert (fronted.files(), fronted.system.pids) == (before, pids)


def test_a_dry_run_names_what_would_be_done_and_does_nothing(host: FrontedHost) -> None:
    before = host.files()
    result = host.do("front", apply=False)
    assert result["ok"]
    assert host.files() == before
    shown = [(change["part"], change["path"], change["after"]) for change in result["facts"]["changes"]]
    assert shown == [
        ("directory", "/etc/hivekeys-front", "0755 root:root"),
        ("directory", "/etc/hivekeys-front/rbee-hive", "0700 root:root"),
        ("directory", "/var/log/hivekeys-front-rbee-hive", "0700 root:root"),
        ("unit", "/etc/hivekeys-front/rbee-hive/nginx.conf", "asks for the token"),
        ("unit", f"/etc/systemd/system/{FRONT}", "nginx before rbee-hive.service"),
        ("token", "/etc/hivekeys-front/rbee-hive/api-token", "the fleet's token"),
        ("token", "/etc/llama/secrets/api-token", "one of its own, made on the host"),
        ("unit", "/etc/systemd/system/rbee-hive.service.d/60-hivekeys-front.conf", "starts as the inventory says"),
        ("enabled", FRONT, "starts at boot"),
    ]


def test_taken_away_the_host_is_as_it_was(host: FrontedHost) -> None:
    before = host.files()
    host.set_up()
    host.greet()
    result = host.do("front", apply=True, options=["remove"])
    assert result["ok"], result
    assert host.files() == before
    assert host.status(LIST, host.token) == 200
    assert host.system.enabled == set()
    host.greet()
    again = host.do("front", apply=True, options=["remove"])
    assert (again["ok"], again["changed"]) == (True, False)


def refused(host: FrontedHost, trouble: str) -> str:
    """Sets the front up, which must fail for this reason and leave the host as it was; the detail."""
    before = host.files()
    result = host.do("front", apply=True)
    assert (result["ok"], result["trouble"]) == (False, trouble), result
    assert host.files() == before
    assert host.status(LIST, host.token) == 200
    assert host.token.reveal() not in str(result)
    return str(result["detail"])


def test_where_nginx_cannot_start_all_is_undone(host: FrontedHost) -> None:
    """Another program has the address already; the service moved away, and comes back."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        host.service.front.__dict__["listen"] = f"127.0.0.1:{other.getsockname()[1]}"
        host.greet()
        detail = refused(host, "front-refused")
    assert detail.startswith("systemd could not start hivekeys-front-rbee-hive.service: does another program listen")
    assert detail.endswith("what was done is undone, it works as before")


def test_where_the_configuration_is_refused_no_service_is_touched(tmp_path: Path) -> None:
    host = FrontedHost(tmp_path, certificate="/nowhere/hive.crt")
    try:
        pids = dict(host.system.pids)
        detail = refused(host, "front-refused")
        assert "/nowhere/hive.crt" in detail, "no token stands in it yet: nginx's words are told"
        assert host.system.pids == pids
    finally:
        host.close()


def test_with_a_certificate_clients_reach_the_front_over_tls_alone(tmp_path: Path) -> None:
    both = certificate(tmp_path, "hive")
    for suffix in (".crt", ".key"):
        both.with_suffix(suffix).write_bytes(both.read_bytes())
    (tmp_path / "host").mkdir()
    host = FrontedHost(tmp_path / "host", certificate=str(both.with_suffix(".crt")))
    try:
        host.set_up()
        context = ssl._create_unverified_context()  # noqa: S323  it has signed itself
        line = http.client.HTTPSConnection("127.0.0.1", host.port, timeout=5, context=context)
        line.request("GET", LIST, headers={"Authorization": f"Bearer {host.token.reveal()}"})
        assert line.getresponse().status == 200
        line.close()
        assert host.status(LIST, host.token) == 400, "plain HTTP"
        assert host.do("prove", health_seconds=5.0)["facts"]["proven"]
    finally:
        host.close()


def test_where_the_host_turns_logs_over_the_fronts_are_among_them(host: FrontedHost) -> None:
    folder = host.root / "etc/logrotate.d"
    folder.mkdir()
    before = host.files()
    host.set_up()
    text = (folder / "hivekeys-front-rbee-hive").read_text()
    assert f"{host.root}/var/log/hivekeys-front-rbee-hive/access.ndjson" in text
    host.greet()
    assert host.do("front", apply=True, options=["remove"])["ok"]
    assert host.files() == before


def test_a_service_that_others_can_reach_gets_no_front(tmp_path: Path) -> None:
    host = FrontedHost(tmp_path, listens="0.0.0.0")  # noqa: S104
    try:
        detail = refused(host, "front-bypassed")
        assert f"it must listen on 127.0.0.1:{host.inner} alone" in detail
    finally:
        host.close()


def test_a_service_that_does_not_come_up_behind_its_front_has_its_old_place_again(tmp_path: Path) -> None:
    host = FrontedHost(tmp_path, start=False)  # it still listens where the front is to
    try:
        refused(host, "start-failed")
    finally:
        host.close()


def test_while_a_run_has_left_two_tokens_nothing_is_set_up(host: FrontedHost) -> None:
    staged = host.root / "etc/llama/secrets/api-token.new"
    staged.write_text(generate().reveal())
    staged.chmod(0o600)
    assert refused(host, "slot-changed") == "a run has not ended here: there is more than one token"


@pytest.mark.parametrize("lost", ["own.conf", "nginx.conf", "api-token"])
def test_what_was_lost_of_it_is_there_again(fronted: FrontedHost, lost: str) -> None:
    """`api-token`: without the fleet's token in its folder, the front has none that it could take over."""
    (fronted.folder / lost).unlink()
    fronted.greet(fronted.token)
    result = fronted.do("front", apply=True)
    if lost == "api-token":
        assert Token((fronted.folder / lost).read_text().strip()) == fronted.own if result["ok"] else True
        return
    assert result["ok"], result
    assert fronted.status(LIST, fronted.token) == 200
