"""What can be wrong with a simulated host, by the names of the lab's faults, and what a dialer sees of it."""

from hivekeys.protocol.causes import Cause, Trouble

FAULTS = {
    "start-fails": "the service does not start",
    "start-slow": "the service is healthy only `slow_seconds` after its start",
    "keeps-old-token": "a restarted service goes on with the token it had",
    "accepts-any-token": "the service lets anybody in",
    "crash-loops": "the service dies 2 s after each start from now on",
    "disk-full": "nothing can be written in the token directory",
    "read-only": "nothing can be changed in the token directory",
    "var-full": "nothing can be written in /var/lib/hivekeys",
    "link-down": "the host cannot be reached; open lines are silent",
    "link-slow": "every request takes 0.2 s longer",
    "sshd-frozen": "sshd takes connections and says nothing; open lines are silent",
    "frozen": "every process stands still; the kernel takes connections",
    "sudo-refused": "new lines end at sudo",
    "host-key-changed": "new lines are refused: the host shows another key",
}
ON_DIAL = {
    "link-down": Cause(Trouble.NO_CONNECTION, "connect: timed out"),
    "sshd-frozen": Cause(Trouble.NO_BANNER, "no SSH banner"),
    "frozen": Cause(Trouble.NO_BANNER, "no SSH banner"),
    "sudo-refused": Cause(Trouble.SUDO_REFUSED, "sudo: a password is required"),
    "host-key-changed": Cause(Trouble.HOST_KEY_CHANGED, "known_hosts has another key"),
}
SILENCING = ("link-down", "sshd-frozen", "frozen")
