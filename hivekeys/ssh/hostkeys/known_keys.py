"""Accepts or refuses the key that a host presents, by the keys that are known of it. Unknown is refused. Pure."""

from dataclasses import dataclass

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.hostkeys.certificates import read
from hivekeys.ssh.hostkeys.key import HostKey


@dataclass(frozen=True)
class KnownKeys:
    """What the known_hosts files say of one host."""

    name: str
    files: tuple[str, ...]
    keys: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()
    authorities: tuple[HostKey, ...] = ()  # whose certificates are good for it

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types of the known keys, in the order of the files."""
        return tuple(dict.fromkeys(key.kind for key in self.keys))

    def verdict(self, presented: HostKey, certificate: bytes = b"", now: float = 0.0) -> Cause | None:
        """None if the presented key is known, or certified by a known authority, and not revoked; else why not.

        As in OpenSSH, a certificate that proves nothing takes nothing away: a key that is listed itself is good.
        `now`: seconds since 1970.
        """
        if presented in self.revoked:
            return Cause(Trouble.HOST_KEY_REVOKED, f"{self.name} presents {presented}")
        doubt = self._doubt(presented, certificate, now) if certificate else None
        if doubt and doubt.trouble is Trouble.HOST_KEY_REVOKED:
            return doubt
        if presented in self.keys or (certificate and doubt is None):
            return None
        return doubt or self._stranger(presented)

    def _doubt(self, presented: HostKey, certificate: bytes, now: float) -> Cause | None:
        """Why the certificate is no proof that `presented` is this host's; None if it is one."""
        shown = read(certificate)
        if isinstance(shown, str):
            why = shown
        elif shown.authority in self.revoked:
            words = f"{self.name} presents a certificate of {shown.authority}, which is revoked"
            return Cause(Trouble.HOST_KEY_REVOKED, words)
        elif shown.authority not in self.authorities:
            listed = ", ".join(map(str, self.authorities)) or "none"
            why = f"it is signed by {shown.authority}, known_hosts has {listed}"
        elif shown.key != presented.blob:
            why = "it is for another key"
        else:
            why = shown.problem(bare(self.name), now)
        return Cause(Trouble.HOST_CERTIFICATE_REFUSED, f"{self.name} presents a certificate: {why}") if why else None

    def _stranger(self, presented: HostKey) -> Cause:
        """Why a key that no known_hosts file vouches for is refused."""
        if self.keys:
            same = [key for key in self.keys if key.kind == presented.kind]
            listed = ", ".join(map(str, same or self.keys))
            return Cause(Trouble.HOST_KEY_CHANGED, f"{self.name} presents {presented}, known_hosts has {listed}")
        where = ", ".join(self.files)
        if self.authorities:
            why = f"{where} knows it by a @cert-authority only, and it presents no certificate"
        else:
            why = f"not in {where}"
        return Cause(Trouble.HOST_KEY_UNKNOWN, f"{self.name} presents {presented}; {why}")


def bare(name: str) -> str:
    """The host's name without its port: certificates have none."""
    return name[1:].partition("]")[0] if name.startswith("[") else name
