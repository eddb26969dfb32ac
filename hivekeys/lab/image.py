"""The Debian root that hosts of one release share: built once by mmdebstrap, kept under the hash of its recipe.

A host sees the image as the lower layer of an overlay and can't change it. Nothing secret is in it: host
keys, tokens and login keys are each host's own. The recipe is text; change it and the next `up` builds a
new image.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from hivekeys.errors import ExitCode, UserError
from hivekeys.lab.lock import lock
from hivekeys.lab.programs import KEYRING, environment

CACHE = Path("/var/cache/hivekeys-lab")
# A release moves from the first to the second when its support ends.
MIRRORS = ("http://deb.debian.org/debian", "http://archive.debian.org/debian")
PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,sudo,python3,curl,iproute2,procps"
LLAMA_ORCH = 990
DEPLOY = 2000

# What a machine does on its own account, and a rehearsal doesn't need: it costs a second of CPU a host, times sixty.
# D-Bus stays, and starts when somebody first asks it something.
IDLE = (
    "apt-daily.timer apt-daily-upgrade.timer console-getty.service dpkg-db-backup.timer e2scrub_all.timer "
    "e2scrub_reap.service fstrim.timer getty.target ldconfig.service systemd-firstboot.service "
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
    recipe = "\n".join([release, PACKAGES, CUSTOMIZE])
    return CACHE / f"{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure(release: str, say: Callable[[str], None]) -> Path:
    """The image of a release, built now if there is none. Two labs that want it at once build it once."""
    image = path(release)
    with lock(f"image {release}", patience=900):
        if not image.exists():
            say(f"building the {release} image (once, about half a minute)")
            _build(release, image)
    return image


def remove_all() -> None:
    """Remove every cached image."""
    shutil.rmtree(CACHE, ignore_errors=True)


def _build(release: str, image: Path) -> None:
    """Build beside the place and move there when whole: an image that exists is complete."""
    for stale in CACHE.glob(f"{release}-*.partial*"):
        shutil.rmtree(stale, ignore_errors=True)
    draft = image.with_suffix(f".partial{os.getpid()}")
    failures = []
    for mirror in MIRRORS:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        done = subprocess.run(
            _command(release, draft, mirror),
            check=False,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode == 0:
            draft.replace(image)
            return
        failures.append(
            f"{mirror}: " + next((w for w in done.stderr.splitlines() if w.startswith("E: ")), done.stderr[-200:])
        )
    shutil.rmtree(draft, ignore_errors=True)
    raise UserError(
        f"the {release} image could not be built: {'; '.join(failures)}",
        hint="mmdebstrap must reach one of the mirrors, and have 1 GiB free in /var/cache",
        code=ExitCode.INCOMPLETE,
    )


def _command(release: str, draft: Path, mirror: str) -> list[str]:
    source = f"deb [signed-by={KEYRING}] {mirror} {release} main"
    return [
        *("setpriv", "--pdeathsig", "KILL"),  # it must not go on building for nobody
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={PACKAGES}"),
        # An archived release's signature has expired by date, not by content.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        f"--customize-hook={CUSTOMIZE}",
        *(release, str(draft), source),
    ]
