"""An agent that is killed while it sets a front up or takes it away: the next one ends what it began."""

import socket
from pathlib import Path

import pytest

from hivekeys.host.agent import Agent
from tests.builders.fronted import LIST, FrontedHost, Systemd

MOMENTS = 40  # commands of the agent; an undisturbed set-up has fewer


class Killed(BaseException):
    """The process is gone: nothing of it is done any more."""


class Killer(Systemd):
    """Kills the agent before one of its commands."""

    left = -1

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().run(argv, timeout)


def again(host: FrontedHost) -> None:
    """Another agent, which knows nothing of the first."""
    host.agent.state.release()
    host.system.left = -1  # type: ignore[attr-defined]
    host.agent = Agent(str(host.root), host.system)
    host.greet()


def cut_off(host: FrontedHost, moment: int, *options: str) -> bool:
    """Whether the agent was killed; it may have been through before that moment."""
    host.system.left = moment  # type: ignore[attr-defined]
    try:
        host.do("front", apply=True, options=list(options))
    except Killed:
        return True
    finally:
        host.system.left = -1  # type: ignore[attr-defined]
    return False


@pytest.fixture
def killer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FrontedHost:
    monkeypatch.setattr("tests.builders.fronted.Systemd", Killer)
    return FrontedHost(tmp_path)


def test_wherever_a_set_up_was_cut_off_the_next_one_ends_it(killer: FrontedHost) -> None:
    host, before = killer, killer.files()
    try:
        for moment in range(MOMENTS):
            was_killed = cut_off(host, moment)
            again(host)
            result = host.do("front", apply=True)
            assert result["ok"], (moment, result["trouble"], result["detail"])
            assert (host.status(LIST, host.token), host.status(LIST, host.own)) == (200, 401), moment
            assert host.own != host.token
            slots = sorted(path.name for path in (host.root / "etc/llama/secrets").iterdir())
            assert slots == ["api-token"], moment
            again(host)
            assert not host.do("front", apply=True)["changed"], moment
            again(host)
            assert host.do("front", apply=True, options=["remove"])["ok"], moment
            assert host.files() == before, moment
            again(host)
            if not was_killed:
                return
        pytest.fail("a set-up has more commands than were tried")
    finally:
        host.close()


@pytest.mark.parametrize("moment", [2, 5])
def test_where_the_next_one_fails_what_the_first_did_is_undone_as_well(killer: FrontedHost, moment: int) -> None:
    host, before = killer, killer.files()
    try:
        assert cut_off(host, moment)
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            host.service.front.__dict__["listen"] = f"127.0.0.1:{other.getsockname()[1]}"
            again(host)
            result = host.do("front", apply=True)
        assert (result["ok"], result["trouble"]) == (False, "front-refused"), result
        assert host.files() == before
        assert host.status(LIST, host.token) == 200
        assert "what was done is undone" in result["detail"]
    finally:
        host.close()


def test_wherever_a_removal_was_cut_off_the_next_one_ends_it(killer: FrontedHost) -> None:
    host, before = killer, killer.files()
    try:
        for moment in range(MOMENTS):
            again(host)
            assert host.do("front", apply=True)["ok"], moment
            again(host)
            was_killed = cut_off(host, moment, "remove")
            again(host)
            result = host.do("front", apply=True, options=["remove"])
            assert result["ok"], (moment, result["trouble"], result["detail"])
            assert host.status(LIST, host.token) == 200, moment
            assert host.files() == before, moment
            if not was_killed:
                return
        pytest.fail("a removal has more commands than were tried")
    finally:
        host.close()
