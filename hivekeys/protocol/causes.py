"""Why a host failed: a closed list of troubles, each with the next step for the operator. Pure.

What stands in braces in a next step is filled in where it is shown (`hints`). The runbook has one heading per trouble.
Details are single lines without control characters: what a host says is shown, never interpreted.
"""

from dataclasses import dataclass
from enum import Enum

from hivekeys.text.clean import one_line


class Trouble(Enum):
    """A kind of failure. The value is what JSON, the journal and the runbook call it."""

    # getting there
    NAME_UNKNOWN = "name-unknown"
    NO_CONNECTION = "no-connection"
    NO_BANNER = "no-banner"
    HOST_KEY_UNKNOWN = "host-key-unknown"
    HOST_KEY_CHANGED = "host-key-changed"
    HOST_KEY_REVOKED = "host-key-revoked"
    HOST_CERTIFICATE_REFUSED = "host-certificate-refused"
    NO_COMMON_ALGORITHM = "no-common-algorithm"
    LOGIN_REFUSED = "login-refused"
    JUMP_FAILED = "jump-failed"
    SSH_CONFIG = "ssh-config"
    LOCAL_FILE = "local-file"
    # starting the agent
    SUDO_REFUSED = "sudo-refused"
    SUDO_PASSWORD_REFUSED = "sudo-password-refused"
    PYTHON_MISSING = "python-missing"
    PYTHON_REFUSED = "python-refused"
    MODULE_MISSING = "module-missing"
    SUDO_RECORDS = "sudo-records"
    AGENT_MISSING = "agent-missing"
    AGENT_DIFFERS = "agent-differs"
    REQUEST_REFUSED = "request-refused"
    SUDOERS_REFUSED = "sudoers-refused"
    RUBBISH = "rubbish"
    # talking to it
    LINE_BROKEN = "line-broken"
    SILENT = "silent"
    AGENT_CRASHED = "agent-crashed"
    HOST_BUSY = "host-busy"
    SUPERSEDED = "superseded"
    NOT_BEGUN = "not-begun"
    EXCLUDED = "excluded"
    # what the host showed
    WRONG_FLEET = "wrong-fleet"
    SAME_MACHINE = "same-machine"
    RECORD_UNSOUND = "record-unsound"
    ACCOUNT_MISSING = "account-missing"
    UNIT_MISSING = "unit-missing"
    TOKEN_MISSING = "token-missing"
    TOKEN_UNSAFE = "token-unsafe"
    TOKEN_IN_ENVIRONMENT = "token-in-environment"
    UNIT_READS_ANOTHER_FILE = "unit-reads-another-file"
    UNIT_NAMES_NO_FILE = "unit-names-no-file"
    WRITE_FAILED = "write-failed"
    IMMUTABLE = "immutable"
    MOUNT_POINT = "mount-point"
    NO_HARD_LINKS = "no-hard-links"
    SLOT_CHANGED = "slot-changed"
    REVOKED = "revoked"
    SYSTEMCTL_FAILED = "systemctl-failed"
    AUDITD_MISSING = "auditd-missing"
    AUDITD_UNUSABLE = "auditd-unusable"
    # freeing the service of work
    STILL_BUSY = "still-busy"
    HOOK_FAILED = "hook-failed"
    CORDONED = "cordoned"
    # what the service showed
    RESTART_REFUSED = "restart-refused"
    NOTIFY_REFUSED = "notify-refused"
    STOP_TOO_SLOW = "stop-too-slow"
    START_FAILED = "start-failed"
    UNHEALTHY = "unhealthy"
    UNSTABLE = "unstable"
    RESTARTED_BY_ANOTHER = "restarted-by-another"
    NEW_REFUSED = "new-refused"
    OLD_ACCEPTED = "old-accepted"
    TAKES_ONE = "takes-one"
    SURVIVOR = "survivor"
    PLACE_UNASKED = "place-unasked"
    FAIL_OPEN = "fail-open"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate-limited"
    PATH_UNKNOWN = "path-unknown"
    WRONG_ADDRESS = "wrong-address"
    WRONG_SCHEME = "wrong-scheme"
    CERTIFICATE_REFUSED = "certificate-refused"
    STALE_PROCESS = "stale-process"
    NGINX_MISSING = "nginx-missing"
    FRONT_REFUSED = "front-refused"
    FRONT_BYPASSED = "front-bypassed"
    DEADLINE = "deadline"


HINTS: dict[Trouble, str] = {
    Trouble.NAME_UNKNOWN: "check `address` of {host} in the inventory, or the name in DNS",
    Trouble.NO_CONNECTION: "check that the host is up and that its SSH port is open from here: `ssh -v {there} true`",
    Trouble.NO_BANNER: "the port answers but sshd does not: log in on the console, look at sshd and the load",
    Trouble.HOST_KEY_UNKNOWN: "compare the key on the host's console, then add it to known_hosts: "
    "`fab trust --fleet {fleet} --limit {hosts}`",
    Trouble.HOST_KEY_CHANGED: "do NOT accept it blindly: find out whether the host was re-installed, "
    "then `fab trust --fleet {fleet} --replace {host}`",
    Trouble.HOST_KEY_REVOKED: "known_hosts marks this key @revoked: give the host a new key",
    Trouble.HOST_CERTIFICATE_REFUSED: "let the authority sign the host's key anew; `ssh-keygen -L` shows it",
    Trouble.NO_COMMON_ALGORITHM: "let the host's sshd also offer an algorithm that is named above as ours "
    "(KexAlgorithms, Ciphers, MACs, HostKeyAlgorithms in its sshd_config); hivekeys uses no weak ones",
    Trouble.LOGIN_REFUSED: "check user and key: `ssh -v {there} true`; the key's public half must be in "
    "authorized_keys",
    Trouble.JUMP_FAILED: "log in to the jump host by hand, and from there to the host: `ssh -v {there} true`",
    Trouble.SSH_CONFIG: "try `ssh -G {there}`: it must succeed before hivekeys can use the same settings",
    Trouble.LOCAL_FILE: "repair the named file on this machine (`chmod go-w` where others can change it), "
    "or name another in [ssh]",
    Trouble.SUDO_REFUSED: "try `ssh {there} sudo -n true`; if sudo asks for a password there, set "
    '`become = "sudo-password"` in the inventory',
    Trouble.SUDO_PASSWORD_REFUSED: "type it again; no other host is tried with a password that a host has refused",
    Trouble.PYTHON_MISSING: "install python3 on the host (3.6 or newer), or name it in the inventory: `python`",
    Trouble.PYTHON_REFUSED: "the host does not let python3 run: look for `noexec` in sudoers, at SELinux, at fapolicyd",
    Trouble.SUDO_RECORDS: "let sudo record less for this login (`Defaults:LOGIN !log_input`); or `sudo_log = "
    '"accepted"` in the inventory, which leaves the tokens in its log',
    Trouble.MODULE_MISSING: "install the whole python3 package, not python3-minimal",
    Trouble.AGENT_MISSING: "install agent and sudo rule there: "
    "`fab install --fleet {fleet} --restricted --limit {hosts} --login ADMIN`, where ADMIN is an account whose sudo "
    "allows everything",
    Trouble.AGENT_DIFFERS: "install this bastion's agent there: "
    "`fab install --fleet {fleet} --restricted --limit {hosts} --login ADMIN`, where ADMIN is an account whose sudo "
    "allows everything",
    Trouble.REQUEST_REFUSED: "has the inventory changed? "
    "`fab install --fleet {fleet} --restricted --limit {hosts} --login ADMIN` updates the host; else find out who "
    "sent the request: "
    "`ssh {root} journalctl -t hivekeys-agent`",
    Trouble.SUDOERS_REFUSED: "nothing was put in place: look at sudo on the host: `ssh {root} visudo -c`; "
    "`fab install --fleet {fleet} --print-sudoers` shows the rule",
    Trouble.RUBBISH: "the login shell prints to stdout or exits: look at its start-up files and forced commands; "
    "`ssh {there} true` must print nothing",
    Trouble.LINE_BROKEN: "run the same command again: it looks at the host first and goes on from there",
    Trouble.SILENT: "the host accepted the connection and then sent nothing: look at its load, disk and network: "
    "`ssh {there} uptime`",
    Trouble.AGENT_CRASHED: "this is a bug in hivekeys: please report it with the detail above",
    Trouble.HOST_BUSY: "another run works on this host: wait for it, or look at its bastion: "
    "`fab status --fleet {fleet}`; if you do not know whose it is, this ends it: "
    '`fab revoke --fleet {fleet} --take-over --reason "an unknown run holds {host}"`',
    Trouble.SUPERSEDED: "a newer run has worked on this host, so this run changes nothing more on it: "
    "`fab plan --fleet {fleet}` shows how the hosts are now",
    Trouble.EXCLUDED: "you excluded this host from the fleet, so hivekeys does not contact it: rebuild it, then "
    "`fab install --fleet {fleet} --limit {hosts} --readmit`; or remove it from the inventory",
    Trouble.NOT_BEGUN: "nothing was done on this host: repair the hosts that failed, then run the same command again",
    Trouble.WRONG_FLEET: "this host belongs to another fleet: check `fleet` and the address in the inventory",
    Trouble.SAME_MACHINE: "correct `address` in the inventory, or HostName in the ssh configuration; if two services "
    "do share a machine: `beside` in the entry of one names the other",
    Trouble.RECORD_UNSOUND: "look at /var/lib/hivekeys on the host: who wrote there? "
    "`fab fix --fleet {fleet} --record --limit {hosts} --apply` begins the record of runs anew",
    Trouble.ACCOUNT_MISSING: "create the service's account: "
    "`fab install --fleet {fleet} --limit {hosts} --create-account`; or correct `owner` and `group` in the inventory",
    Trouble.UNIT_MISSING: "install the service on the host, or correct `unit` in the inventory: "
    "`ssh {root} systemctl status {unit}`",
    Trouble.TOKEN_MISSING: "the host has no token yet: `fab install --fleet {fleet} --limit {hosts}` brings it "
    "the fleet's",
    Trouble.TOKEN_UNSAFE: "repair the named file or directory by hand, then run again: nothing was written",
    Trouble.TOKEN_IN_ENVIRONMENT: "the service would ignore a new token file: remove the token there, or name that "
    "file in `token`",
    Trouble.UNIT_NAMES_NO_FILE: "name the token file in the unit: LLORCH_API_TOKEN_FILE or LoadCredential",
    Trouble.UNIT_READS_ANOTHER_FILE: "correct `token` in the inventory, or the path in the unit",
    Trouble.WRITE_FAILED: "free the disk (space and inodes: `ssh {there} df -h`, `df -i`) or make it writable; the old "
    "token file is unchanged",
    Trouble.IMMUTABLE: "find out who set the flag, remove it on the host with the named command, then run again",
    Trouble.MOUNT_POINT: "unmount it on the host with the named command, and mount a directory "
    "instead of one file; then run again",
    Trouble.NO_HARD_LINKS: "move the token's directory to a file system with hard links (ext4, xfs), and put its new "
    "path into unit and inventory",
    Trouble.SLOT_CHANGED: "something other than this run changed the token files: look at them, then run again",
    Trouble.REVOKED: "this token leaked and is never written again: `fab reconcile --fleet {fleet}` brings the "
    "host the newest one",
    Trouble.SYSTEMCTL_FAILED: "look at what systemd says: `ssh {root} systemctl status {unit}`",
    Trouble.AUDITD_MISSING: "install auditd on the host (Debian, Ubuntu: auditd; RHEL: audit)",
    Trouble.AUDITD_UNUSABLE: "look at `ssh {root} auditctl -s`; in a container the kernel does not let auditd watch "
    "files",
    Trouble.STILL_BUSY: "wait until that work has ended and run again; or in `drain` of the service raise `deadline`, "
    'or let the restart end the work: on_deadline = "restart"',
    Trouble.HOOK_FAILED: "repair the command that is named, or its name in `drain` in the inventory; it is run as root "
    "without a shell: `ssh {root} COMMAND`; then run again, which asks it anew",
    Trouble.CORDONED: "where its front keeps new requests off: `fab install --fleet {fleet} --front --limit {hosts}`; "
    "else the inventory has no `drain` for it any more: put it back, so that its `after` can be run; or give the "
    "service work by hand and remove /var/lib/hivekeys/cordoned on the host",
    Trouble.RESTART_REFUSED: "systemd does not restart the service, which runs as before: correct its unit as named "
    "(`ssh {root} systemctl cat {unit}`), then `ssh {root} systemctl daemon-reload`",
    Trouble.NOTIFY_REFUSED: "correct the unit as named (`ssh {root} systemctl cat {unit}`), or set `apply = "
    '"restart"` for the service in the inventory',
    Trouble.STOP_TOO_SLOW: "raise `request` in [timeouts] above TimeoutStopSec, or lower that in the unit",
    Trouble.START_FAILED: "look at the service's log: `ssh {root} journalctl -u {unit} -n 50`",
    Trouble.UNHEALTHY: "look at the service's log: `ssh {root} journalctl -u {unit} -n 50`; if it is "
    "only slow, wait until it is up, and raise `health_deadline` above the time that a start takes",
    Trouble.UNSTABLE: "the service did not stay up: look at its log: `ssh {root} journalctl -u {unit} -n 50`",
    Trouble.RESTARTED_BY_ANOTHER: "during a run, stop what restarts the service: a path unit or a timer "
    "(`ssh {root} systemctl list-units --type=path,timer`), a configuration manager, an operator",
    Trouble.NEW_REFUSED: "the service did not load the new file: look at what the unit reads (LoadCredential, "
    "LLORCH_API_TOKEN_FILE): `ssh {root} systemctl cat {unit}`",
    Trouble.OLD_ACCEPTED: "the service still accepts the other token: look for a cache or a second token source",
    Trouble.TAKES_ONE: "the service does not accept two tokens as the inventory says: look at which file it reads "
    '(`ssh {root} systemctl cat {unit}`), or set `accepts = "one"` for it',
    Trouble.SURVIVOR: "end that process on the host, then `fab reconcile --fleet {fleet}`; or both in one: "
    "`fab reconcile --fleet {fleet} --end-survivors`; KillMode=control-group in the unit leaves none behind",
    Trouble.PLACE_UNASKED: "find out what listens there: add a path of it that needs the token to `places`, or its "
    "port to `tokenless` if it takes no token; then `fab reconcile --fleet {fleet}`",
    Trouble.FAIL_OPEN: "no token is needed there: check that `protected` names a path that needs one, that this "
    "version of the service checks tokens, and which process has the port",
    Trouble.FORBIDDEN: "403 does not tell whether the token is right: does a proxy or firewall refuse the host's own "
    "calls? else name a path in `protected` that answers 401",
    Trouble.RATE_LIMITED: "a rate limit answers before the token is looked at: wait and run again, or let the calls of "
    "the host itself through",
    Trouble.PATH_UNKNOWN: "name the paths that this service has in `health` and `protected` in the inventory",
    Trouble.WRONG_ADDRESS: "correct `address` and `port` in the service's table of the inventory: they say where it "
    "listens on its host",
    Trouble.WRONG_SCHEME: 'correct `scheme` in the service\'s table of the inventory: "http", or "https" (with `ca`)',
    Trouble.CERTIFICATE_REFUSED: "set `ca` to the authority's file on the host, which only root may write; "
    "`verify = false` leaves the certificate unchecked",
    Trouble.STALE_PROCESS: "the process is older than its token file: look for a wrapper that survives the restart",
    Trouble.NGINX_MISSING: "install nginx on the host (Debian, Ubuntu: `apt-get install --no-install-recommends "
    "nginx-light`; RHEL: `dnf install nginx`), and let its own service stay off: `systemctl disable --now nginx`",
    Trouble.FRONT_REFUSED: "look at the front on the host: `ssh {root} systemctl status {unit}`, and as root at its "
    "error.log in /var/log, which may quote a token: do not pass it on",
    Trouble.FRONT_BYPASSED: "let the service behind the front listen on loopback alone: `start` in `front` of the "
    "inventory says with which command",
    Trouble.DEADLINE: "the host did not finish in time: look at its load, then run again: `ssh {there} uptime`",
}


@dataclass(frozen=True)
class Cause:
    """Why a host failed: the kind, and one line of detail."""

    trouble: Trouble
    detail: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", one_line(self.detail))

    def __str__(self) -> str:
        return f"{self.trouble.value}: {self.detail}" if self.detail else self.trouble.value
