"""The token's files on a simulated host: real ones, in its temporary directory."""

import grp
import os
import pwd
from pathlib import Path

from hivekeys.fleet import Host
from hivekeys.service import Format
from hivekeys.token import Token


class TokenFiles:
    """Where the token lies on a host, and what is there. `root`: the host's directory."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host = host
        self.root = root
        self.uid = pwd.getpwnam(host.service.owner).pw_uid
        self.gid = grp.getgrnam(host.service.group).gr_gid

    def make_secrets(self) -> None:
        """The token directory; an environment file lies in one of root's."""
        self.secrets.mkdir(parents=True, mode=0o700)
        if self.in_line:
            self.secrets.chmod(0o755)
        else:
            os.chown(self.secrets, self.uid, self.gid)

    @property
    def in_line(self) -> bool:
        """The token is a line of its unit's environment file."""
        return self.host.service.format is Format.ENVIRONMENT

    @property
    def active(self) -> Path:
        """The path of the active slot."""
        return self.root / self.host.service.token.lstrip("/")

    @property
    def secrets(self) -> Path:
        """The token directory."""
        return self.active.parent

    def slots(self) -> dict[str, str | None]:
        """What is in the slots: active, staged, previous."""
        suffixes = {"active": "", "staged": ".new", "previous": ".backup"}
        there = {path.name for path in self.secrets.iterdir()}  # most hosts have one of the three
        names = {slot: self.active.name + suffix for slot, suffix in suffixes.items()}
        return {slot: self._text(self.secrets / name) if name in there else None for slot, name in names.items()}

    def _text(self, path: Path) -> str | None:
        try:
            text = path.read_text().strip()
        except FileNotFoundError:
            return None
        if not self.in_line:
            return text
        lines = [line for line in text.split("\n") if line.startswith("LLORCH_API_TOKEN=")]
        return lines[-1].partition("=")[2].strip("'\"") if lines else None

    def listed(self) -> list[str]:
        """The tokens in the service's list, or in its second file."""
        path = self.root / self.host.service.accepted.lstrip("/")
        return path.read_text().split() if path.is_file() else []

    def active_token(self) -> str | None:
        return self._text(self.active)

    def write(self, token: Token, slot: str = "") -> None:
        """Put a token into a slot by hand: "" (active), ".new" or ".backup"."""
        path = self.active.with_name(self.active.name + slot)
        path.touch(mode=0o600)
        if self.in_line:
            path.write_text(f"# of the service\nRUST_LOG=info\nLLORCH_API_TOKEN={token.reveal()}\nLLORCH_PORT='8081'\n")
            return
        os.chown(path, self.uid, self.gid)
        path.write_text(token.reveal() + "\n")
