"""The agent's verb `front`: nginx before the host's service, set up, proven and taken away.

Runs ON the host, as root, in one text with agent.py, when it is asked for. The front takes over the token that the
service has; the service gets one of its own, which is made here and never leaves the host, and is started again where
only this host reaches it. Each change notes how it is undone: when the proof fails, the host is as it was.
"""

import functools
import os

from hivekeys.host.agent import Agent, verb
from hivekeys.host.behind import agent_behind
from hivekeys.host.dropin import UNITS, remove_file
from hivekeys.host.freeing import Freeing
from hivekeys.host.fronted import (
    Undo,
    again_behind,
    forget_front,
    forget_previous,
    forget_slots,
    give_back,
    healthy,
    is_behind,
    note_front,
    put_active,
    put_file_back,
    refuse_reachable,
    turn_own,
    turn_own_back,
)
from hivekeys.host.nginx import (
    ACCEPTED,
    CONFIGURATION,
    LOADED,
    NFT_PROGRAM,
    NFT_RULES,
    NGINX,
    OWN,
    Nginx,
    digest_of,
)
from hivekeys.host.proof import Proof
from hivekeys.host.restarting import restarted
from hivekeys.host.root_files import read_file, write_file
from hivekeys.host.setup import Setup, done, make_directory, missing_from, remove_directory
from hivekeys.host.state import POLL_SECONDS
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Iterable

LOGROTATE = "/etc/logrotate.d"
BEHIND_FRONT = "60-hivekeys-front.conf"  # the drop-in of the service behind: how it listens on loopback


@verb("moves", "changes")
def front(
    agent: "Agent",
    *,
    apply: bool,
    options: "Iterable[str]" = (),
    host: str = "",
    want: str = "",
    health_seconds: float = 60.0,
) -> "tuple[bool, dict[str, Any]]":
    """Sets the front up and proves it; with the option "remove" it is taken away, and the service is as before.

    `want`: the fleet's token, for the front of a service that asks for none.
    """
    work = Fronting(agent, apply, health_seconds, host, want)
    try:
        if "remove" in options:
            work.take_away()
        else:
            work.set_up()
    except Refusal as refusal:
        refusal.facts = work.setup.result()[1]
        raise
    return work.setup.result()


class Fronting:
    """The work on one host. `inner` is the agent's view of the service behind."""

    def __init__(self, agent: "Agent", apply: bool, health_seconds: float, host: str = "", want: str = "") -> None:
        self.agent, self.inner = agent, agent_behind(agent)
        self.setup = Setup(agent, apply)
        self.nginx = Nginx(agent)
        self.health_seconds, self.want = health_seconds, want
        self.undo = Undo(agent, self.inner)
        self.drop_in = "%s/%s.d/%s" % (UNITS, self.inner.service["unit"], BEHIND_FRONT)
        self.unit_path = "%s/%s" % (UNITS, agent.service["unit"])
        self.is_moved = False  # the service behind must be started again
        self.is_new = False  # nginx must read something new
        self.had_front = False  # it ran before
        self.draining = Freeing(agent, host)
        self.is_begun = False  # it has the fleet's token: what lies beside the service's own is ours

    def in_folder(self, name: str) -> str:
        return "%s/%s" % (self.nginx.folder, name)

    # -- setting up

    def set_up(self) -> None:
        """All parts in order; what is right already stays untouched."""
        self.refuse_unfit()
        token = self.token()
        try:
            self.files(token)
            self.own_token()
            self.start_of_service()
            if self.setup.apply:
                self.turn(token)
            self.enabled()
        except (Refusal, OSError) as error:
            found = error if isinstance(error, Refusal) else Refusal("write-failed", str(error.strerror))
            raise (self.undone(found, token) if self.undo.acts or self.undo.ends else found) from None

    def refuse_unfit(self) -> None:
        """Raises where nothing can be set up at all, before anything is touched."""
        if not os.access(NGINX, os.X_OK):
            raise Refusal("nginx-missing", "there is no %s" % NGINX)
        if self.nginx.front["firewall"] and not os.access(NFT_PROGRAM, os.X_OK):
            raise Refusal("front-refused", "there is no %s: install nftables" % NFT_PROGRAM)
        unit, slots = self.inner.unit.look(), self.inner.slots()
        if unit["load"] != "loaded":
            raise Refusal("unit-missing", "%s is %s" % (self.inner.service["unit"], unit["load"] or "unknown"))
        self.is_begun = self.agent.slots()["active"] is not None
        if (slots["staged"] or slots["previous"]) and not self.is_begun:
            raise Refusal("slot-changed", "a run has not ended here: there is more than one token")

    def token(self) -> str:
        """The fleet's token: the front's, or the one that it takes over from the service, or is brought."""
        agent, inner = self.agent, self.inner
        taken = agent.slots()["active"]
        held = taken or inner.slots()["active"] or {"fault": "is not there"}
        if held.get("fingerprint"):
            token = agent.known[held["fingerprint"]["keyed"]]
        elif taken is None and not self.nginx.has_own and (self.want in agent.known or not self.setup.apply):
            token = agent.known.get(self.want, "")  # a mere look need not know it
        else:
            path = (agent if taken or not self.nginx.has_own else inner).service["token"]
            raise Refusal("token-missing", "%s %s" % (path, held["fault"]))
        agent.secrets.refuse_revoked(token)
        return token

    def files(self, token: str) -> None:
        """Folders, configuration, unit and the fleet's token, tried by nginx before any service is touched."""
        agent, nginx = self.agent, self.nginx
        for path in [*missing_from(agent.root, nginx.folder), *missing_from(agent.root, nginx.log_folder)]:
            self.directory(path, 0o700 if path in (nginx.folder, nginx.log_folder) else 0o755)
        self.is_new |= self.file(self.in_folder(CONFIGURATION), nginx.configuration(), 0o600, "asks for the token")
        self.is_new |= self.file(self.unit_path, nginx.unit_text(), 0o644, "nginx before " + nginx.behind)
        if not nginx.has_own:
            self.is_new |= self.file(self.in_folder(OWN), nginx.own(""), 0o600, "the service asks for no token")
        if not missing_from(agent.root, LOGROTATE):
            self.file("%s/%s" % (LOGROTATE, nginx.name), nginx.rotated(), 0o644, "turns the logs over")
        if agent.slots()["active"] is None:

            def put() -> None:
                self.undo.note(lambda: forget_slots(agent))
                put_active(agent, token)

            self.setup.note("token", agent.service["token"], "not there", "the fleet's token", put)
        if self.setup.apply:
            self.tried(token)

    def tried(self, token: str) -> None:
        """nginx takes the configuration, at first without a token in it: then its words can be told."""
        nginx = self.nginx
        missing = [name for name in (ACCEPTED, OWN) if nginx.read(self.in_folder(name)) is None]
        for name in missing:
            self.undo.note(functools.partial(nginx.unlink, self.in_folder(name)))
            nginx.write(self.in_folder(name), nginx.accepted([]) if name == ACCEPTED else nginx.own("none"))
        nginx.refuse_broken(shown=ACCEPTED in missing and (OWN in missing or not nginx.has_own))
        if not nginx.lets_in(nginx.read(self.in_folder(ACCEPTED)) or "", token):  # or an earlier set-up was cut off
            self.is_new = True
            nginx.write(self.in_folder(ACCEPTED), nginx.accepted([token]))

    def directory(self, path: str, mode: int) -> None:
        def make() -> None:
            note_front(self.agent, self.nginx.folder)
            self.undo.note(lambda: remove_directory(self.agent, path))
            make_directory(self.agent, path, mode)

        self.setup.note("directory", path, "not there", "%04o root:root" % mode, make)

    def file(self, path: str, text: str, mode: int, after: str) -> bool:
        """A file of root's has this text; undone, it has that of before, or is gone. Whether it had another."""
        before = read_file(self.agent.root, path)
        if before == text:
            return False

        def write() -> None:
            for place in missing_from(self.agent.root, os.path.dirname(path)):
                make_directory(self.agent, place, 0o755)
            self.undo.note(lambda: put_file_back(self.agent, path, before, mode))
            write_file(self.agent, path, text, mode)

        self.setup.note("unit", path, "not there" if before is None else "another version", after, write)
        return True

    def own_token(self) -> None:
        """The service's own token, which nginx presents; a new one takes effect in `turn`."""
        inner, nginx, path = self.inner, self.nginx, self.in_folder(OWN)
        if not nginx.has_own:
            return
        active = inner.slots()["active"]
        held = inner.known[active["fingerprint"]["keyed"]] if active and active["fingerprint"] else ""
        before = nginx.read(path)
        if held.isalnum() and before == nginx.own(held):
            return

        def turned() -> None:
            own = os.urandom(32).hex()
            if before is not None:
                self.undo.note(lambda: nginx.write(path, before))
            self.undo.note(lambda: turn_own_back(inner))
            turn_own(inner, own)
            nginx.write(path, nginx.own(own))

        self.is_moved = self.is_new = True
        self.setup.note("token", inner.service["token"], "the fleet's", "one of its own, made on the host", turned)

    def start_of_service(self) -> None:
        """Where the inventory says how: the service listens where only its own host reaches it."""
        nginx, text = self.nginx, self.nginx.start_of_behind()
        if nginx.front["firewall"] and self.file(
            self.in_folder(NFT_RULES), nginx.rules(), 0o600, "its port is its host's"
        ):
            self.is_moved = True
            if self.setup.apply:
                self.undo.note(self.open_port)
        if text:
            self.is_moved |= self.file(self.drop_in, text, 0o644, "starts as the inventory says")

    def open_port(self) -> None:
        """The rule of the firewall is gone, if it was there."""
        if self.nginx.front["firewall"]:
            self.agent.command([NFT_PROGRAM, "delete", "table", "inet", self.nginx.table], 10.0)

    # -- from the old way to the new one

    def turn(self, token: str) -> None:
        """The service is started again behind the front, the front before it; and both hold."""
        agent, inner = self.agent, self.inner
        self.had_front = is_active = agent.unit.look()["state"] == "active"
        self.is_moved = self.is_moved or not is_behind(inner, self.nginx)
        if self.is_new or self.is_moved or not is_active:
            done(agent, ["systemctl", "daemon-reload"])
            self.nginx.refuse_broken(shown=False)
            self.undo.note(lambda: agent.command(["systemctl", "daemon-reload"], 60.0), at_end=True)
        if self.is_moved:
            self.draining.begin(is_active)
            self.undo.note(lambda: again_behind(inner), at_end=True)
            self.undo.note(self.draining.over, at_end=True)
            restarted(inner, inner.unit.recent())
        if self.is_new or not is_active:
            self.start_front(is_active)
        inner.unit.forget(settings=True)
        agent.unit.forget(settings=True)
        healthy(inner, "", [], self.health_seconds)
        refuse_reachable(inner, self.nginx)
        self.draining.over()
        self.prove(token)
        if self.nginx.has_own:
            forget_previous(inner)

    def start_front(self, is_active: bool) -> None:
        """A fresh nginx; undone, the one of before runs again, or none."""
        agent, name = self.agent, self.agent.service["unit"]
        start = ["systemctl", "--no-ask-password", "restart", "--", name]
        stop = ["systemctl", "--no-ask-password", "stop", "--", name]
        self.undo.note(lambda: agent.command(start if is_active else stop, 60.0), at_end=is_active)
        agent.command(["systemctl", "reset-failed", "--", name], 10.0)
        if agent.command(start, 60.0)[0] != 0:
            why = "systemd could not start %s: does another program listen on %s?" % (name, self.nginx.front["listen"])
            raise Refusal("front-refused", why)
        text = self.nginx.read(self.in_folder(ACCEPTED)) or ""
        self.nginx.write("%s/%s" % (self.nginx.run_folder, LOADED), digest_of(text))

    def prove(self, token: str) -> None:
        """The four calls through the front; the service's own token is none of the fleet's, and is refused there."""
        own = (self.inner.slots()["active"] or {}).get("fingerprint")
        refuse = [own["keyed"]] if own else []
        want = self.agent.secrets.fingerprint(token)["keyed"]
        proof, unit = healthy(self.agent, want, refuse, self.health_seconds)
        proof.judge(unit)

    def enabled(self) -> None:
        name = self.agent.service["unit"]
        if self.agent.command(["systemctl", "is-enabled", "--quiet", "--", name], 10.0)[0] != 0:
            command = ["systemctl", "--no-ask-password", "enable", "--quiet", "--", name]
            self.setup.note("enabled", name, "not at boot", "starts at boot", lambda: done(self.agent, command))

    def undone(self, refusal: Refusal, token: str) -> Refusal:
        """The same refusal, which also says whether the host is as it was."""
        was_turned = bool(self.undo.ends)
        if self.is_begun and not self.had_front:  # by a set-up that was cut off: that is undone as well
            self.undo.note(Fronting(self.agent, True, self.health_seconds).take_away, at_end=True)
        elif self.is_moved and was_turned:
            self.undo.note(lambda: self.prove(token) if self.had_front else self.as_before(token), at_end=True)
        left = self.undo.all()
        for change in self.setup.changes:
            change["refused"] = change["refused"] or ("may still be there" if left else "undone")
        if not left:
            forget_front(self.agent, self.nginx.folder)
        said = "what was done is NOT undone: %s" % "; ".join(left) if left else "what was done is undone"
        works = ", it works as before" if was_turned and not left else ""
        return Refusal(refusal.trouble, "%s; %s%s" % (refusal.detail, said, works))

    def as_before(self, token: str) -> None:
        """Raises unless the service, without its front, takes the fleet's token where it listens now, if it asks."""
        inner, behind = self.inner, self.inner.service
        address, port = self.place_now()
        inner.service = dict(behind, address=address, port=port)
        try:
            if self.nginx.has_own:
                Proof(inner, inner.secrets.fingerprint(token)["keyed"], ()).of_service(self.health_seconds, 0.0)
            else:
                healthy(inner, "", [], self.health_seconds)
        finally:
            inner.service = behind

    def place_now(self) -> "tuple[str, int]":
        """Where the service listens: which of several is for clients, the inventory no longer says."""
        system, pid = self.agent.system, self.inner.unit.look()["pid"]
        end = system.monotonic() + self.health_seconds
        while system.monotonic() < end:
            places = system.places([pid])
            if places:
                return min(places, key=lambda place: place[1] != self.agent.service["port"])
            self.agent.deadline.pause(POLL_SECONDS)
        raise Refusal("unhealthy", "%s listens nowhere" % self.inner.service["unit"])

    # -- taking away

    def take_away(self) -> None:
        """The service has the fleet's token and its place again; then the front goes. Its logs stay."""
        agent, nginx, name = self.agent, self.nginx, self.agent.service["unit"]
        slots = agent.slots()
        if slots["staged"] or slots["previous"]:
            raise Refusal("slot-changed", "a run has not ended here: the front has more than one token")
        if slots["active"] is None and read_file(agent.root, self.unit_path) is None:
            return
        if slots["active"] is not None:
            try:
                self.bring_back()
            except (Refusal, OSError) as error:
                found = error if isinstance(error, Refusal) else Refusal("write-failed", str(error.strerror))
                raise self.draining.taken_back(found) from None
        stop = ["systemctl", "--no-ask-password", "disable", "--now", "--quiet", "--", name]
        self.setup.note("enabled", name, "starts at boot", "does not", lambda: agent.command(stop, 60.0))
        self.setup.note("unit", self.unit_path, "there", "removed", lambda: nginx.unlink(self.unit_path))
        self.setup.note("directory", nginx.folder, "there", "removed", self.remove_folder)
        if self.setup.apply:
            done(agent, ["systemctl", "daemon-reload"])
            forget_front(agent, nginx.folder)

    def bring_back(self) -> None:
        """The fleet's token and the command of before are the service's again, and it works so."""
        agent, inner, note = self.agent, self.inner, self.setup.note
        token = self.token()
        if self.setup.apply:
            self.draining.begin(agent.unit.look()["state"] == "active")
        after = "clients reach it itself"
        if self.nginx.has_own:
            path = inner.service["token"]
            note("token", path, "one of its own", "the fleet's token", lambda: give_back(inner, token))
        else:
            after += ", without a token"
        if read_file(agent.root, self.drop_in) is not None:
            note("unit", self.drop_in, "there", "removed", lambda: remove_file(agent, self.drop_in))

        def again() -> None:
            agent.command(["systemctl", "--no-ask-password", "stop", "--", agent.service["unit"]], 60.0)
            again_behind(inner)
            self.as_before(token)
            self.draining.over()

        note("service", inner.service["unit"], "behind the front", after, again)

    def remove_folder(self) -> None:
        """What we put there and nothing else: a folder with other files in it stays."""
        forget_slots(self.agent)
        self.open_port()
        self.nginx.unlink("%s/%s" % (LOGROTATE, self.nginx.name))
        for name in (CONFIGURATION, ACCEPTED, OWN, NFT_RULES):
            self.nginx.unlink(self.in_folder(name))
        for path in (self.nginx.folder, os.path.dirname(self.nginx.folder)):
            remove_directory(self.agent, path)
