"""Finds where a running process has its token from, by asking systemd and reading the unit's files.

Runs ON a host, in one text with agent.py. That the unit names the token file is not enough where something else wins:
what systemd puts over it, or into its place, is named as well (systemd.exec(5): "Environment", "Credentials").
"""

import fnmatch
import os
import re

from hivekeys.host.environment import FILE_LIMIT, IN_MANAGER, environment_files, tokens_set
from hivekeys.host.paths import place, read_controlled

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any

    from hivekeys.host.agent import Agent

# Where systemd looks for a credential without a path: what it was given itself, then these (exec_credential.c).
STORES = ("run/credentials/@system", *("%s/credstore" % lib for lib in ("etc", "run", "usr/local/lib", "usr/lib")))
# The later ones are not known to older versions: LoadCredential 247, …Encrypted 250, ImportCredential 254.
BRINGS = ("LoadCredential", "SetCredential", "LoadCredentialEncrypted", "SetCredentialEncrypted", "ImportCredential")
ENCRYPTED_OR_SET = BRINGS[1:]
STARTED = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")
PATHS_IN = re.compile(r"/[\w.@%+:,/-]+")


class Origin:
    """The token file that a unit names, what else its token comes from, and why the file cannot be told."""

    def __init__(self, agent: "Agent", unit: "dict[str, Any]") -> None:
        self.agent = agent
        self.file, self.why = "", ""
        self.others = []  # type: list[str]
        if agent.secrets.in_line:
            self.by_environment_file()
        elif unit["credential"]:
            self.by_credential(unit["credential"])
        elif unit["reads"]:
            self.file = unit["reads"]
        else:
            self.by_command()
        if self.is_token_file(self.file):
            self.file = agent.service["token"]
        self.file, self.why = agent.without_tokens(self.file), agent.without_tokens(self.why)
        if not agent.secrets.in_line:
            self.by_value(unit)
        self.others = [agent.without_tokens(name) for name in dict.fromkeys(self.others)]

    def is_token_file(self, path: str) -> bool:
        """True for the inventory's token file, or its list, by whatever links of root's either of the two is named."""
        root, real = self.agent.root, place(self.agent.root, path) if path.startswith("/") else ""
        ours = [token for token in map(self.agent.service.get, ("token", "tokens")) if token]
        return path in ours or bool(real and real in [place(root, token) for token in ours])

    def by_environment_file(self) -> None:
        """The token is a line of the unit's EnvironmentFile=; of several files that set it the last one wins."""
        shown, token = self.agent.unit.properties, self.agent.service["token"]
        if "LLORCH_API_TOKEN" in shown.get("UnsetEnvironment", "").split():
            self.why = "UnsetEnvironment= takes LLORCH_API_TOKEN away from it"
            return
        paths = [path for path, _ in environment_files(shown)]
        ours = [number for number, path in enumerate(paths) if self.is_token_file(path)]
        settings, unread = self.agent.unit.settings
        if not ours:
            self.file = next((path for path, _ in reversed(settings) if path in paths), "")
            self.why = "no EnvironmentFile= of it is %s" % token
            return
        self.file = token
        behind = paths[ours[-1] + 1 :]
        self.others += [path for path, _ in settings if path in behind]
        self.others += ["%s, which cannot be read" % path for path in unread if path in behind]

    def by_credential(self, name: str) -> None:
        """The file that systemd copies into this credential. The first of systemd's own ways that has it wins."""
        brought = self.agent.unit.credentials()
        if brought is None:
            self.why = "systemd does not say where its credential %s comes from" % name
            return
        loads = brought["LoadCredential"]
        folders = [each for each, path in loads.items() if name.startswith(each + "_") and path.startswith("/")]
        for each in [name] if name in loads else folders:
            self.file = self.file or self.loaded_from(loads[each], name[len(each) + 1 :])
        if self.file:
            return
        ways = [way for way in ENCRYPTED_OR_SET if any(fnmatch.fnmatchcase(name, each) for each in brought[way])]
        said = "its credential %s, which no LoadCredential= brings from a file" % name
        said = "its credential %s, which %s= brings" % (name, ways[0]) if ways else said
        self.why = "%s: no token file" % said
        self.others.append(said)

    def loaded_from(self, path: str, rest: str) -> str:
        """The file behind a LoadCredential=: without a path one of a store; of a folder each file is a credential."""
        root, token = self.agent.root, self.agent.service["token"]
        if not path.startswith("/"):
            stores = ("/%s/%s" % (store, path) for store in STORES)
            return next((file for file in stores if os.path.lexists(root.rstrip("/") + file)), "")
        if not rest:
            return path
        folder, real = place(root, path), place(root, token)
        inside = real[len(folder) + 1 :] if folder and real.startswith(folder + "/") else ""
        return token if inside and inside.replace("/", "_") == rest else "%s/%s" % (path, rest)

    def by_command(self) -> None:
        """A token file that the unit's command names, or the script that it starts."""
        commands = " ".join(STARTED.findall(self.agent.unit.properties.get("ExecStart", "")))
        texts = [commands]
        for path in PATHS_IN.findall(commands):
            try:
                texts.append((read_controlled(self.agent.root, path, FILE_LIMIT) or b"").decode("latin-1"))
            except OSError:
                continue
        token = self.agent.service["token"]
        named = {path for text in texts for path in PATHS_IN.findall(text)}
        names = {os.path.basename(path) for path in (token, self.agent.service.get("tokens", token))}
        if any(os.path.basename(path) in names and self.is_token_file(path) for path in named):
            self.file = token
        else:
            self.why = "no setting, credential, command or script of it names %s" % token

    def by_value(self, unit: "dict[str, Any]") -> None:
        """Whatever sets LLORCH_API_TOKEN itself to what the running service has: a new file would change nothing.

        By value: a wrapper that reads the file into the environment has the same variable, and whatever else sets
        it is overruled there. Where no process runs, all that would be set counts.
        """
        agent = self.agent
        code, output = agent.command(["systemctl", "show-environment"], 10.0)
        found = agent.unit.settings[0] + [(IN_MANAGER, value) for value in (tokens_set(output) if code == 0 else ())]
        process = agent.system.process(unit["pid"]) if unit["pid"] else None
        self.others[:0] = [where for where, value in found if process is None or value == process["token"]]
