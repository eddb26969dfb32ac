"""Collects host keys round by round, since a host behind a jump host can be asked only once that is trusted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.ask_all import ask_all
from hivekeys.ssh.dialer import Routes
from hivekeys.ssh.hostkeys.known_hosts_file import Entry, write
from hivekeys.ssh.hostkeys.known_keys import KnownKeys
from hivekeys.ssh.hostkeys.trust import TRUSTED, ServerKeys, Standing
from hivekeys.ssh.keyscan import presented
from hivekeys.ssh.settings import Settings

_Place = tuple[str, tuple[str, ...]]  # what known_hosts calls it, and which files: one place, one key


@dataclass(frozen=True)
class _End:
    """An SSH server that has to be trusted: a host, or a jump host on the way to one."""

    route: tuple[Settings, ...]
    name: str
    also: tuple[str, ...]

    @property
    def place(self) -> _Place:
        return _place(self.route[-1])


class Trusting:
    """One for a command. Nothing is written but by `write`."""

    def __init__(self, fleet: Fleet, hosts: Sequence[Host]) -> None:
        self._routes = Routes(fleet)
        self._timeout = fleet.timeouts.connect
        self._width = fleet.policy.width
        self._answers: dict[_Place, ServerKeys] = {}
        self._astray: list[ServerKeys] = []  # hosts to which OpenSSH knows no way
        self._ends: dict[_Place, _End] = {}
        for host in hosts:
            self._add(host)
        for host in hosts:
            self._add_jumps(host)

    @property
    def names(self) -> tuple[str, ...]:
        """All that has to be trusted: hosts, and the jump hosts on the way to them."""
        return tuple(end.name for end in self._ends.values())

    @property
    def server_keys(self) -> tuple[ServerKeys, ...]:
        """What each server showed so far; in the end all are in it, also those behind an untrusted jump host."""
        behind = (end for place, end in self._ends.items() if place not in self._answers)
        lost = (self._failed(end, self._closed(end)) for end in behind)
        return (*self._astray, *self._answers.values(), *lost)

    def look(self) -> tuple[ServerKeys, ...]:
        """What the servers show that can be asked now and were not yet; empty when none is left."""
        found: list[ServerKeys] = []
        while frontier := list(self._frontier()):
            answers = ask_all(self._ask, frontier, self._width)
            self._answers |= {end.place: answer for end, answer in zip(frontier, answers, strict=True)}
            found += answers
        return tuple(found)

    def write(self, shown: Sequence[ServerKeys], hashed: bool) -> tuple[str, ...]:
        """Write the keys of these hosts to known_hosts, instead of the old ones where they have changed; the backups.

        Raises UserError. They are trusted from then on, and the next `look` goes through them.
        """
        homeless = [each.name for each in shown if each.file is None]
        if homeless:
            words = f"there is no known_hosts file to write for {', '.join(homeless)}"
            raise UserError(words, hint="set `known_hosts` in [ssh]; UserKnownHostsFile is none")
        for each in shown:
            self._refuse_elsewhere(each)
        backups = []
        for file in dict.fromkeys(str(each.file) for each in shown):
            entries = [_entry(each) for each in shown if each.file == file]
            backup = write(file, entries, hashed, self._timeout)
            backups += [str(backup)] if backup else []
        self._routes.reload_known_hosts()
        for place, end in self._ends.items():
            if any(each.known.name == place[0] and each.name == end.name for each in shown):
                self._answers[place] = self._checked(end, self._answers[place])
        return tuple(backups)

    def close(self) -> None:
        """End the connections to jump hosts."""
        self._routes.close()

    def _add(self, host: Host) -> None:
        route = self._routes.route(host)
        if isinstance(route, Cause):
            self._astray.append(ServerKeys(host.name, None, KnownKeys(host.name, ()), cause=route))
            return
        settings = route[-1]
        end = _End(route, host.name, (host.address, settings.hostname, settings.known_as))
        self._ends.setdefault(end.place, end)

    def _add_jumps(self, host: Host) -> None:
        route = self._routes.route(host)
        if isinstance(route, Cause):
            return
        for number, hop in enumerate(route[:-1], 1):
            also = (hop.hostname, hop.known_as)
            self._ends.setdefault(_place(hop), _End(route[:number], hop.alias, also))

    def _frontier(self) -> Iterator[_End]:
        """The servers that were not asked yet and can be: every jump host on the way is trusted."""
        for place, end in self._ends.items():
            if place not in self._answers and all(map(self._is_trusted, end.route[:-1])):
                yield end

    def _is_trusted(self, hop: Settings) -> bool:
        answer = self._answers.get(_place(hop))
        return answer is not None and answer.standing in TRUSTED

    def _ask(self, end: _End) -> ServerKeys:
        known = self._routes.known(end.route[-1])
        if isinstance(known, Cause):
            return self._failed(end, known)
        keys = presented(self._routes, end.route, end.name, known)
        if isinstance(keys, Cause):
            return self._failed(end, keys)
        return ServerKeys(end.name, end.route[-1].own_known_hosts, known, keys, None, end.also)

    def _failed(self, end: _End, cause: Cause) -> ServerKeys:
        return ServerKeys(end.name, None, KnownKeys(end.route[-1].known_as, ()), cause=cause, also=end.also)

    def _closed(self, end: _End) -> Cause:
        """Why this server could not be reached."""
        hop = next(hop for hop in end.route[:-1] if not self._is_trusted(hop))
        return Cause(Trouble.JUMP_FAILED, f"jump host {hop.alias}: it has to be trusted first")

    def _checked(self, end: _End, before: ServerKeys) -> ServerKeys:
        """The host as known_hosts has it now."""
        known = self._routes.known(end.route[-1])
        kept = tuple(key for key in before.presented if isinstance(known, Cause) or key in known.keys)
        if isinstance(known, Cause) or not kept:
            raise UserError(f"{before.file}: OpenSSH does not find what was written for {before.name}")
        return ServerKeys(before.name, before.file, known, kept, None, before.also)

    def _refuse_elsewhere(self, shown: ServerKeys) -> None:
        """An old key in a file that is not ours to write would stay good."""
        if shown.standing is not Standing.CHANGED:
            return
        for file in shown.known.files:
            if file != shown.file and (there := self._routes.known_in(shown.known.name, file)):
                words = f"{file} has an old key of {shown.name} as well: {', '.join(map(str, there))}"
                raise UserError(words, hint="remove it there by hand; no key was written")


def _place(settings: Settings) -> _Place:
    return settings.known_as, settings.known_hosts


def _entry(shown: ServerKeys) -> Entry:
    """Changed keys come instead of the old ones, others beside them."""
    if shown.standing is Standing.CHANGED:
        return Entry(shown.known.name, shown.presented, alone=True)
    return Entry(shown.known.name, shown.unknown)
