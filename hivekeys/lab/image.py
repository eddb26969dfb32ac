"""Builds the Debian image that hosts of one release share, once, with mmdebstrap.

A host sees the image as the lower layer of an overlay and can't change it. Nothing secret is in it: host
keys, tokens and login keys are each host's own. The recipe is text; change it and the next `up` builds a
new image.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from hivekeys.errors import ExitCode, UserError
from hivekeys.lab import cgroup
from hivekeys.lab.lock import lock
from hivekeys.lab.programs import KEYRING, call, environment

CACHE = Path("/var/cache/hivekeys-lab")
# A release moves from the first to the second when its support ends.
MIRRORS = ("http://deb.debian.org/debian", "http://archive.debian.org/debian")
# A host may be made a bastion, where nothing can be fetched: so python3-venv.
PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,sudo,python3,python3-venv,curl,iproute2,procps,nginx-light,nftables"
)
MORE = {"trixie": ",sudo-rs"}  # beside the sudo that is used; other releases have none
JOIN = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
LLAMA_ORCH = 990
DEPLOY = 2000

# What a machine does on its own account, and a rehearsal doesn't need: it costs a second of CPU a host, times sixty.
# D-Bus stays, and starts when somebody first asks it something.
IDLE = (
    "apt-daily.timer apt-daily-upgrade.timer console-getty.service dpkg-db-backup.timer e2scrub_all.timer "
    "e2scrub_reap.service fstrim.timer getty.target ldconfig.service nginx.service systemd-firstboot.service "
    "systemd-journal-catalog-update.service systemd-logind.service systemd-pstore.service systemd-repart.service "
    "systemd-update-done.service systemd-update-utmp.service systemd-update-utmp-runlevel.service"
)

CUSTOMIZE = f"""\
set -eu
cd "$1"
chroot . useradd --system --uid {LLAMA_ORCH} --user-group --no-create-home --home-dir /nonexistent \\
    --shell /usr/sbin/nologin llama-orch
chroot . useradd --uid {DEPLOY} --user-group --create-home --shell /bin/bash deploy
echo 'deploy ALL=(ALL:ALL) NOPASSWD: ALL' >etc/sudoers.d/deploy
chmod 0440 etc/sudoers.d/deploy
for unit in {IDLE}; do ln -sf /dev/null "etc/systemd/system/$unit"; done
mkdir -p etc/systemd/journald.conf.d etc/ssh/sshd_config.d
printf '[Journal]\\nStorage=volatile\\nRuntimeMaxUse=32M\\n' >etc/systemd/journald.conf.d/lab.conf
printf 'PasswordAuthentication no\\nPermitRootLogin no\\nUseDNS no\\n' >etc/ssh/sshd_config.d/lab.conf
rm -f etc/ssh/ssh_host_* etc/machine-id var/lib/dbus/machine-id etc/hostname etc/resolv.conf
: >etc/resolv.conf
rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/journal usr/share/doc/* usr/share/man/* usr/share/locale/*
"""


def path(release: str) -> Path:
    """Where the image of a release lies, or will."""
    recipe = "\n".join([release, PACKAGES + MORE.get(release, ""), CUSTOMIZE])
    return CACHE / f"{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure(release: str, say: Callable[[str], None]) -> Path:
    """The image of a release, built now if there is none. Two labs that want it at once build it once."""
    image = path(release)
    with lock(f"image {release}", patience=900):
        if not image.exists():
            say(f"building the {release} image (once, about half a minute)")
            build(release, image)
    return image


def builders(release: str) -> str:
    """The name of the control group in which an image is built; a lab has no such name."""
    return f"image-{release}"


def remove_all() -> None:
    """Remove every cached image."""
    remove(CACHE)


def build(release: str, image: Path) -> None:
    """Build beside the place and move there when whole: an image that exists is complete.

    For who holds the image's lock: what others have left beside it is nobody's now. Interrupted, it leaves nothing.
    """
    cgroup.kill(builders(release))  # a build that was killed may have left processes
    for stale in image.parent.glob(f"{release}-*.partial*"):
        remove(stale)
    draft = image.with_suffix(f".partial{os.getpid()}")
    failures = []
    try:
        for mirror in MIRRORS:
            remove(draft)
            draft.mkdir(parents=True)
            done = _run(release, draft, mirror)
            if done.returncode == 0:
                draft.replace(image)
                return
            words = (line for line in done.stderr.splitlines() if line.startswith("E: "))
            failures.append(f"{mirror}: {next(words, done.stderr[-200:])}")
    finally:
        remove(draft)
    raise UserError(
        f"the {release} image could not be built: {'; '.join(failures)}",
        hint="mmdebstrap must reach one of the mirrors, and have 1 GiB free in /var/cache",
        code=ExitCode.INCOMPLETE,
    )


def remove(folder: Path) -> None:
    """Remove a folder if there is one, and nothing that is mounted below it: that may be this machine's own /dev.

    Raises UserError where something stays mounted.
    """
    for point in reversed(_mounted(folder)):
        call(["umount", "--lazy", point])
    call(["rm", "--recursive", "--force", "--one-file-system", str(folder)])


def _mounted(folder: Path) -> list[str]:
    """What is mounted at or below a folder, in the order in which it was."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1].encode().decode("unicode_escape") for line in lines]  # a blank is written \040
    return [point for point in points if Path(point).is_relative_to(folder.resolve())]


def _run(release: str, draft: Path, mirror: str) -> subprocess.CompletedProcess[str]:
    """Let mmdebstrap build. However this ends, no process of it is left; what it mounted goes with the last of them."""
    group = cgroup.create(builders(release), "")
    try:
        return subprocess.run(
            ["sh", "-euc", JOIN, "sh", str(group), *_command(release, draft, mirror)],
            check=False,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us: we end it whole
        )
    finally:
        cgroup.kill(builders(release))
        cgroup.remove(builders(release))


def _command(release: str, draft: Path, mirror: str) -> list[str]:
    source = f"deb [signed-by={KEYRING}] {mirror} {release} main"
    return [
        *("setpriv", "--pdeathsig", "KILL"),  # it must not go on building for nobody
        *("unshare", "--mount"),  # what it mounts in the image, of this machine's /dev too, it alone sees
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={PACKAGES}{MORE.get(release, '')}"),
        # An archived release's signature has expired by date, not by content.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        f"--customize-hook={CUSTOMIZE}",
        *(release, str(draft), source),
    ]
