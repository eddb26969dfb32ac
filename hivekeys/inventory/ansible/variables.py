"""What a host's Ansible variables mean to hivekeys: an entry as `[hosts.NAME]` has it, or what must be refused.

Pure. Refused is what would lead elsewhere, or to another account, than Ansible goes: another kind of connection,
a password, another way to root, a value that is templated or encrypted. A variable about anything else is none of
our business, whatever it holds. `ignore` of `[ansible]` names variables that need not be understood. The value of
a variable that may be a secret is never shown.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hivekeys.fleet import Become
from hivekeys.inventory.ansible.ssh_args import route
from hivekeys.inventory.mistakes import Mistake, Place, at, value_text

OURS = "hivekeys_"
FLEET = "hivekeys_fleet"
SERVICE_KEYS = (
    *("unit", "token", "format", "owner", "group", "mode", "directory_mode"),
    *("port", "address", "scheme", "ca", "verify", "health", "protected"),
)
BESIDE = "hivekeys_beside"
SERVICE = {f"{OURS}{key}": key for key in SERVICE_KEYS}

# Which variables say it: Ansible takes the last that is set, by the plugin that connects. Here they must not differ.
LOGIN = {
    "address": ("ansible_host", "ansible_ssh_host", "ansible_paramiko_host"),
    "port": ("ansible_port", "ansible_ssh_port", "ansible_paramiko_port"),
    "user": ("ansible_user", "ansible_ssh_user", "ansible_paramiko_user"),
    "key": ("ansible_private_key_file", "ansible_ssh_private_key_file", "ansible_paramiko_private_key_file"),
    "become": ("ansible_become",),
}
PASSWORDS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")  # that there is one is all we read
ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")

# What may be said of these; anything else leads to another place than Ansible goes.
ONLY = {
    "ansible_connection": ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh"),
    "ansible_become_method": ("sudo", "ansible.builtin.sudo"),
    "ansible_become_user": ("root",),
    "ansible_sudo_user": ("root",),
    "ansible_become_exe": ("sudo", "/usr/bin/sudo"),
    "ansible_sudo_exe": ("sudo", "/usr/bin/sudo"),
    "ansible_become_flags": ("-H -S -n", "-H -S", "-H", "-n", "-S", "-H -n", "-n -H", ""),
    "ansible_ssh_executable": ("ssh", "/usr/bin/ssh"),
}
REFUSED = {
    **dict.fromkeys(
        (
            *("ansible_password", "ansible_ssh_pass", "ansible_ssh_password"),
            *("ansible_paramiko_pass", "ansible_paramiko_password"),
        ),
        "hivekeys logs in with a key, never with a password",
    ),
    **dict.fromkeys(
        (
            *("ansible_private_key", "ansible_private_key_passphrase"),
            *("ansible_ssh_private_key", "ansible_ssh_private_key_passphrase"),
        ),
        "hivekeys takes no key from a file's text: name its file, or let ssh-agent hold it",
    ),
    **dict.fromkeys(
        ("ansible_paramiko_proxy_command", "ansible_ssh_proxy_command"),
        "not understood here: write it as ProxyJump in ansible_ssh_common_args",
    ),
    "ansible_ssh_pkcs11_provider": "not understood here: let ssh-agent hold the key",
}
PYTHON = "ansible_python_interpreter"
OWN_PYTHON = re.compile(r"(?!/usr/bin/python3\Z)(/[A-Za-z0-9_.+-]+)*/python3[0-9.]*")
READ = frozenset(
    [PYTHON, *(name for names in LOGIN.values() for name in names), *ARGUMENTS, *PASSWORDS, *ONLY, *REFUSED]
)
_HARMLESS = re.compile(
    "ansible_(.*_interpreter|.*timeout|.*pipelining|.*host_key_checking|.*remote_tmp|.*retries|.*control_path.*|sftp_.*"
    "|scp_.*|shell_.*|ssh_transfer_method|ssh_use_tty|ssh_verbosity|sudo_chdir|group_priority|facts?_.*)"
)
_YES, _NO = ("true", "yes", "on", "y", "t", "1"), ("false", "no", "off", "n", "f", "0")
_MODES = {0o600: "0600", 0o400: "0400", 0o700: "0700", 0o500: "0500"}  # YAML reads 0600 as a number, in octal


class Entry:
    """One host's entry: its table, which variable says each key of it, and what was wrong."""

    def __init__(self, name: str, variables: Mapping[str, Any], file: str, ignored: frozenset[str]) -> None:
        self.table: dict[str, Any] = {}
        self.places: dict[tuple[str, ...], Place] = {(): Place(file, (name,))}
        self.mistakes: list[Mistake] = []
        self._name, self._file = name, file
        self._variables = {key: value for key, value in variables.items() if key not in ignored}
        for key, names in LOGIN.items():
            self._login(key, names)
        self._become()
        self._interpreter()
        self._arguments()
        if not str(self.table.get("key", "/")).startswith(("/", "~")):
            says = "found a relative path, expected one from / or ~ on: Ansible begins where it is started"
            self.mistakes.append(at(self.places[("key",)], says))
        self._service()
        self._refuse()

    def _login(self, key: str, names: tuple[str, ...]) -> None:
        there = [name for name in names if name in self._variables]
        if not there:
            return
        name, value = there[-1], self._variables[there[-1]]
        if any(str(self._variables[other]) != str(value) for other in there):
            self._wrong(name, f"found another value than {there[0]} has, expected one of the two")
        elif self._is_plain(name):
            self._put((key,), _as_ours(key, value), name)
            if key == "become" and str(value).lower() not in (*_YES, *_NO):
                self._wrong(name, f"found {value_text(value)}, expected true or false")

    def _become(self) -> None:
        """A host without `ansible_become` is one like all others: plays say it there. One with a password needs it."""
        passwords = [name for name in PASSWORDS if name in self._variables]
        if self.table.get("become") == Become.SUDO.value:
            del self.table["become"]
        if passwords and "become" not in self.table:
            self._put(("become",), Become.SUDO_PASSWORD.value, passwords[-1])

    def _interpreter(self) -> None:
        """A python3 in a place of its own. Others (`auto`, a name, a Python 2) are looked for by the host itself."""
        value = self._variables.get(PYTHON)
        if isinstance(value, str) and OWN_PYTHON.fullmatch(value):
            self._put(("python",), value, PYTHON)

    def _arguments(self) -> None:
        for name in ARGUMENTS:
            if name not in self._variables or not self._is_plain(name):
                continue
            value = self._variables[name]
            if not isinstance(value, str):
                self._wrong(name, f"found {value_text(value)}, expected words as for ssh")
                continue
            found = route(value)
            for says in found.wrong:
                self._wrong(name, says)
            for key, word in (("jump", found.jump), ("key", found.key)):
                if word is not None and key not in self.table:
                    self._put((key,), word, name)

    def _service(self) -> None:
        for name, value in self._variables.items():
            if name in SERVICE and self._is_plain(name):
                key = SERVICE[name]
                self._put(("service", key), _as_ours(key, value), name)
            elif name == BESIDE and self._is_plain(name):
                self._put(("beside",), value, name)
            elif name.startswith(OURS) and name not in (*SERVICE, FLEET, BESIDE):
                self._wrong(name, "unknown variable" + _near(name, (*SERVICE, FLEET, BESIDE)))

    def _refuse(self) -> None:
        for name, value in self._variables.items():
            if name in REFUSED:
                self._wrong(name, REFUSED[name])
            elif name in ONLY and self._is_plain(name) and value not in ONLY[name]:
                self._wrong(name, f"found {value_text(value)}, expected {_any_of(ONLY[name])}")
            elif name.startswith("ansible_") and name not in READ and not _HARMLESS.fullmatch(name):
                near = _near(name, READ)
                if near:
                    self._wrong(name, f"unknown variable{near}")

    def _is_plain(self, name: str) -> bool:
        problem = not_plain(self._variables[name])
        if problem:
            self._wrong(name, problem)
        return not problem

    def _put(self, key: tuple[str, ...], value: Any, variable: str) -> None:
        table = self.table
        for part in key[:-1]:
            table = table.setdefault(part, {})
        table[key[-1]] = value
        self.places[key] = self._place(variable)

    def _place(self, variable: str) -> Place:
        return Place(self._file, (self._name, variable))

    def _wrong(self, variable: str, says: str) -> None:
        self.mistakes.append(at(self._place(variable), says))


def not_plain(value: object) -> str:
    """Why a value can't be used as it stands, or ""."""
    is_text = isinstance(value, str) and value.startswith("$ANSIBLE_VAULT")
    if is_text or (isinstance(value, Mapping) and "__ansible_vault" in value):
        return "found a value that ansible-vault encrypted, expected one that can be read"
    if isinstance(value, list):
        return next(filter(None, map(not_plain, value)), "")
    if isinstance(value, str) and re.search(r"\{[{%#]", value):
        return "found a Jinja2 template, expected the value itself: nothing is templated here"
    return ""


def left_alone(names: Iterable[str]) -> list[str]:
    """Of these variables, Ansible's own that are neither read nor known to change nothing."""
    return sorted({n for n in names if n.startswith("ansible_") and n not in READ and not _HARMLESS.fullmatch(n)})


def _as_ours(key: str, value: Any) -> Any:
    """The value as the TOML form has it, where Ansible is freer about types; what is wrong stays as it is."""
    word = str(value).lower()
    if key == "become" and (word in _YES or word in _NO):
        return Become.SUDO.value if word in _YES else Become.NONE.value
    if key == "port" and isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value):
        return int(value)
    if key in ("mode", "directory_mode") and isinstance(value, int):
        return _MODES.get(value, value)
    if key in ("address", "user", "unit", "owner", "group") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.85)
    return f", did you mean {near[0]}?" if near else ""


def _any_of(words: tuple[str, ...]) -> str:
    return " or ".join(dict.fromkeys(value_text(word) for word in words if word))
