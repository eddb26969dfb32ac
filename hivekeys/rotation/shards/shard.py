"""Some hosts of a run, and who does their parts: this process, or a worker."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from hivekeys.fleet import Fleet, Host
from hivekeys.journal.recorder import Recorder
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.controller import Controller
from hivekeys.rotation.host import HostController
from hivekeys.ssh.line import Dialer
from hivekeys.ssh.session import Session


class Shard(Protocol):
    """Does what a run decides, on its hosts; it decides nothing."""

    @property
    def hosts(self) -> Sequence[Host]:
        """Its hosts."""

    def begin(self, recorder: Recorder, is_over: Callable[[], bool], *, meters: bool) -> Sequence[Controller]:
        """A controller for each host. `is_over`: nothing more may be begun. `meters`: what is refused is counted."""

    def interrupt(self) -> None:
        """The operator ended the run: no work is waited for. From any thread; the run itself begins nothing more."""

    def close(self) -> None:
        """Lets all its hosts go. Never raises."""


class OwnShard:
    """Hosts whose lines this process holds."""

    def __init__(self, fleet: Fleet, hosts: Sequence[Host], dialer: Dialer) -> None:
        self.hosts = hosts
        self._fleet = fleet
        self._dialer = dialer
        self._controllers: Sequence[HostController] = ()

    def begin(self, recorder: Recorder, is_over: Callable[[], bool], *, meters: bool) -> Sequence[Controller]:
        """A controller for each host, with a session that dials when it is first asked."""
        policy, limit = self._fleet.policy, self._fleet.timeouts.request
        nobody = Greeting(self._fleet.name, b"", "", "")  # each is introduced before it is asked
        sessions = (Session(host, self._dialer, policy, nobody, limit) for host in self.hosts)
        made = [HostController(session.host, session, recorder, is_over, meters=meters) for session in sessions]
        self._controllers = made
        return made

    def interrupt(self) -> None:
        """Has every host wait for no work to end any more."""
        for controller in self._controllers:
            if controller.host.service.drain:
                controller.session.call_off()

    def close(self) -> None:
        """Ends all lines, and what they share."""
        with ThreadPoolExecutor(self._fleet.policy.width) as pool:
            list(pool.map(HostController.close, self._controllers))
        self._dialer.close()
