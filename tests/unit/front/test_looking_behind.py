"""`look_behind`: what `fab verify` is told of a front and of the service behind it, from files and sockets."""

import sys
from typing import Any

from hivekeys.token import generate
from tests.builders.fronted import LIST, UPSTREAM, FrontedHost, until


def looked(host: FrontedHost) -> dict[str, Any]:
    result = host.do("look_behind")
    assert result["ok"], result
    facts: dict[str, Any] = result["facts"]
    return facts


def test_of_a_front_as_it_was_set_up_there_is_nothing_to_say(fronted: FrontedHost) -> None:
    found = looked(fronted)
    assert (found["unit"], found["state"]) == ("rbee-hive.service", "active")
    assert [found[name] for name in ("reached_at", "open_files", "map", "leaks")] == [[], [], "", []]


def test_a_service_that_was_started_for_all_is_named_with_its_addresses(fronted: FrontedHost) -> None:
    drop_in = fronted.root / "etc/systemd/system/rbee-hive.service.d/70-by-hand.conf"
    drop_in.write_text(f"[Service]\nExecStart={sys.executable} -IS {UPSTREAM} --addr 0.0.0.0:{fronted.inner}\n")
    fronted.system.run(["systemctl", "restart", "rbee-hive.service"], 5.0)
    until(lambda: fronted.status(LIST, fronted.own, fronted.inner) == 200)
    assert looked(fronted)["reached_at"] == ["all addresses"]


def test_files_that_others_may_read_are_named(fronted: FrontedHost) -> None:
    (fronted.folder / "accepted.conf").chmod(0o644)
    fronted.folder.chmod(0o755)
    assert looked(fronted)["open_files"] == [
        "/etc/hivekeys-front/rbee-hive 0755 root",
        "/etc/hivekeys-front/rbee-hive/accepted.conf 0644 root",
    ]


def test_a_map_with_a_token_of_somebodys_own_is_named(fronted: FrontedHost) -> None:
    path = fronted.folder / "accepted.conf"
    before = path.read_text()
    path.write_text(
        before.replace("    default none;", f'    default none;\n    "~^Bearer {generate().reveal()}\\z" new;')
    )
    assert looked(fronted)["map"] == "does not let in the token in the slots alone"
    path.write_text(before)
    assert looked(fronted)["map"] == ""


def test_a_map_that_nginx_has_not_read_is_named(fronted: FrontedHost) -> None:
    loaded = fronted.root / "run/hivekeys-front-rbee-hive/loaded"
    loaded.write_text("another")
    assert looked(fronted)["map"] == "was changed since nginx read it"


def test_between_two_tokens_both_of_its_slots_may_be_let_in(fronted: FrontedHost) -> None:
    new = generate()
    fronted.greet()
    assert fronted.do("stage", token=new.reveal())["ok"]
    fronted.admit(new, fronted.token, at_once=True)
    assert looked(fronted)["map"] == ""


def test_a_token_in_a_log_is_told_by_the_logs_name(fronted: FrontedHost) -> None:
    folder = fronted.root / "var/log/hivekeys-front-rbee-hive"
    with (folder / "error.log").open("a") as file:
        file.write(f'[emerg] unknown "~^Bearer {fronted.token.reveal()}"\n')
    with (folder / "access.ndjson").open("a") as file:
        file.write(f"{fronted.own.reveal()}\n")
    assert looked(fronted)["leaks"] == ["error.log", "access.ndjson"]
