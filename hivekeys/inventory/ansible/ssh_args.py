"""The words of `ansible_ssh_common_args` and its like: the jump host and the key in them; the rest is named.

Pure. Ansible hands these words to `ssh`. hivekeys finds its way through OpenSSH's configuration, so of the words
only those count that say which way to go; those that say how (multiplexing, keepalive, log level) change nothing
here. Host keys are always checked, whatever the words say.
"""

import re
import shlex
from dataclasses import dataclass, field

# Options that change neither where a connection goes nor who logs in. ssh_config(5).
CHANGES_NOTHING = frozenset(
    re.findall(
        r"\w+",
        """
        addkeystoagent batchmode canonicalizehostname checkhostip clearallforwardings compression
        connectionattempts connecttimeout controlmaster controlpath controlpersist escapechar forwardagent
        forwardx11 forwardx11trusted gssapiauthentication gssapidelegatecredentials hashknownhosts
        identitiesonly ipqos kbdinteractiveauthentication loglevel numberofpasswordprompts
        passwordauthentication preferredauthentications pubkeyauthentication requesttty sendenv
        serveralivecountmax serveraliveinterval setenv stricthostkeychecking tcpkeepalive updatehostkeys
        verifyhostkeydns visualhostkey
        """,
    )
)
_VALUED = "BbcDEeFIiJLlmOopQRSWw"  # options that a word follows; ssh(1)
_FLAGS = frozenset("ACKTakqtvXx")  # words of a letter, several may stand together
_TOOK_ELSEWHERE = {"p": "ansible_port", "l": "ansible_user"}
_NULL = "/dev/null"
_NOT_UNDERSTOOD = "is not understood here, only ProxyJump, ProxyCommand and IdentityFile"


@dataclass
class Direction:
    """What the words say about the way; `wrong` has what they say that is not understood."""

    jump: str | None = None
    key: str | None = None
    wrong: list[str] = field(default_factory=list)


def route(text: str) -> Direction:
    """The way in the words of an ssh command line. As for ssh, what is said first wins."""
    found = Direction()
    try:
        words = shlex.split(text)
    except ValueError as error:
        found.wrong.append(f"the words can't be told apart: {error}")
        return found
    while words:
        word = words.pop(0)
        match = re.fullmatch("-([A-Za-z])(.*)", word, re.DOTALL)
        if match is None:
            found.wrong.append(f"found {_short(word)}, expected an option of ssh")
        elif match[1] in _VALUED:
            value = match[2] or (words.pop(0) if words else "")
            _option(match[1], value, found)
        elif not set(match[1] + match[2]) <= _FLAGS:
            found.wrong.append(f"-{match[1]} {_NOT_UNDERSTOOD}")
    return found


def _option(letter: str, value: str, found: Direction) -> None:
    if letter == "J":
        found.jump = found.jump or value
    elif letter == "i":
        found.key = found.key or value
    elif letter in _TOOK_ELSEWHERE:
        found.wrong.append(f"-{letter} is not understood here: write it as {_TOOK_ELSEWHERE[letter]}")
    elif letter != "o":
        found.wrong.append(f"-{letter} {_NOT_UNDERSTOOD}")
    else:
        setting_of(*_split(value), found)


def setting_of(name: str, value: str, found: Direction) -> None:
    """One setting of ssh_config(5), by name, into the way."""
    match name.lower():
        case "proxyjump":
            found.jump = found.jump or value
        case "identityfile":
            found.key = found.key or value
        case "proxycommand":
            jump = "none" if value == "none" else jump_of(value)
            if jump is None:
                found.wrong.append("ProxyCommand is only understood as ssh -W %h:%p [USER@]HOST: write it as ProxyJump")
            found.jump = found.jump or jump
        case "userknownhostsfile" | "globalknownhostsfile" if value == _NULL:
            pass  # "trust any key": never done here
        case "userknownhostsfile" | "globalknownhostsfile":
            found.wrong.append(f"{name} is not understood here: name the file in known_hosts of [ssh]")
        case known if known not in CHANGES_NOTHING:
            found.wrong.append(f"{_short(name)} is not understood here: write it in ssh_config, or name that in [ssh]")


def jump_of(command: str) -> str | None:
    """`ssh -q -W %h:%p ops@bastion` → ops@bastion: the jump host that a ProxyCommand goes through, or None."""
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return None
    said: dict[str, str] = {}
    hosts: list[str] = []
    known = program in ("ssh", "/usr/bin/ssh")
    while words:
        word = words.pop(0)
        letter = word[1:2]
        if not word.startswith("-"):
            hosts.append(word)
        elif letter and letter in "Wplo":
            value = word[2:] or (words.pop(0) if words else "")
            said.setdefault(letter, value)
            known = known and (letter != "o" or _changes_nothing(value))
        else:
            known = known and set(word[1:]) <= _FLAGS
    if not known or len(hosts) != 1 or said.get("W") not in ("%h:%p", "[%h]:%p"):
        return None
    user = f"{said['l']}@" if "l" in said and "@" not in hosts[0] else ""
    return f"{user}{hosts[0]}{':' + said['p'] if 'p' in said else ''}"


def _changes_nothing(option: str) -> bool:
    name, value = _split(option)
    return name.lower() in CHANGES_NOTHING or (name.lower() == "userknownhostsfile" and value == _NULL)


def _split(option: str) -> tuple[str, str]:
    """`Name=value` or `Name value`."""
    name, _, value = re.sub(r"\s*=\s*|\s+", "=", option.strip(), count=1).partition("=")
    return name, value.strip('"')


def _short(word: str) -> str:
    """An option's name; anything else might be a secret, and is not shown."""
    return word if re.fullmatch("[A-Za-z0-9]{1,40}", word) else "a word"
