"""Compares presented host keys with known_hosts: which are new or changed, and which may be written. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from hivekeys.protocol.causes import Cause
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_keys import KnownKeys


class Standing(Enum):
    """How a host's keys stand to known_hosts."""

    KNOWN = "known"
    CERTIFIED = "certified"
    NEW = "new"
    MORE = "more"  # a known key, and others of types that were not known
    CHANGED = "CHANGED"
    REVOKED = "REVOKED"
    OUT_OF_REACH = "out of reach"


SETTLED = (Standing.KNOWN, Standing.CERTIFIED)
TRUSTED = (*SETTLED, Standing.MORE)
WRITABLE = (Standing.NEW, Standing.MORE)


@dataclass(frozen=True)
class ServerKeys:
    """What one SSH server showed; `presented` is empty when its certificate is enough, or when there is a cause."""

    name: str  # of the host in the inventory, or of the jump host
    file: str | None  # the known_hosts file that its keys go into
    known: KnownKeys
    presented: tuple[HostKey, ...] = ()
    cause: Cause | None = None
    also: tuple[str, ...] = ()  # what else it is called: addresses

    @property
    def standing(self) -> Standing:
        """One word for it; the worst that is true."""
        known = self.known
        if self.cause:
            return Standing.OUT_OF_REACH
        if not self.presented:
            return Standing.CERTIFIED
        if set(self.presented) & set(known.revoked):
            return Standing.REVOKED
        if not known.keys:
            return Standing.NEW
        if any(key.kind in known.kinds and key not in known.keys for key in self.presented):
            return Standing.CHANGED
        if not set(self.presented) & set(known.keys):
            return Standing.CHANGED
        return Standing.KNOWN if set(self.presented) <= set(known.keys) else Standing.MORE

    @property
    def unknown(self) -> tuple[HostKey, ...]:
        """The keys that would have to be written."""
        return tuple(key for key in self.presented if key not in self.known.keys)


@dataclass(frozen=True)
class Trusted:
    """Fingerprints that were got in another way, by the names that they were listed under."""

    by_name: Mapping[str, frozenset[str]]

    def names(self, shown: ServerKeys) -> bool:
        """Whether anything is listed for it."""
        return bool(self._listed(shown))

    def agreed(self, shown: ServerKeys) -> ServerKeys | str:
        """`shown` with the keys that are listed for it, or why the list speaks against it.

        A host may have keys of more types than are listed; they are left out. But when a listed key is not shown and
        another is, it may be the wrong host.
        """
        listed = self._listed(shown)
        there = {key.fingerprint for key in shown.presented}
        if not listed:
            return f"{shown.name}: not in the list (looked for {', '.join(sorted({shown.name, *shown.also}))})"
        if not there & listed or (there - listed and listed - there):
            has = ", ".join(map(str, shown.presented))
            return f"{shown.name}: shows {has}; the list has {', '.join(sorted(listed))}"
        kept = tuple(key for key in shown.presented if key.fingerprint in listed)
        return ServerKeys(shown.name, shown.file, shown.known, kept, None, shown.also)

    def _listed(self, shown: ServerKeys) -> set[str]:
        return {print_ for name in (shown.name, *shown.also) for print_ in self.by_name.get(name.lower(), ())}


def parse_list(text: str) -> Trusted | list[str]:
    """A list of fingerprints, or every line of it that can't be used.

    Two kinds of lines: `HOST SHA256:…`, and what `ssh-keygen -lf` prints, whose comment names the host
    (`256 SHA256:… root@hive1 (ED25519)`). Empty lines and those that begin with # are skipped.
    """
    found: dict[str, set[str]] = {}
    mistakes = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        match words:
            case [name, print_] if _is_fingerprint(print_):
                pass
            case [bits, print_, *comment, kind] if bits.isdigit() and _is_fingerprint(print_) and kind.startswith("("):
                name = comment[0].rpartition("@")[2] if len(comment) == 1 else ""
            case _:
                name = ""
        if name:
            for each in name.lower().split(","):
                found.setdefault(each, set()).add(words[1])
        else:
            mistakes.append(f"line {number}: expected `HOST SHA256:…`, or a line of `ssh-keygen -lf` that names a host")
    return mistakes or Trusted({name: frozenset(prints) for name, prints in found.items()})


def _is_fingerprint(word: str) -> bool:
    return word.startswith("SHA256:") and len(word) == len("SHA256:") + 43


def writable(shown: Iterable[ServerKeys], replace: Iterable[str]) -> tuple[list[ServerKeys], list[ServerKeys]]:
    """The hosts whose new keys may be written, and those whose changed keys may: only what `replace` names."""
    named = set(replace)
    every = list(shown)
    return (
        [each for each in every if each.standing in WRITABLE],
        [each for each in every if each.standing is Standing.CHANGED and each.name in named],
    )
