"""Faults of the token directory: another file system is mounted over it, with the same files in it.

Mounting is one step for everybody on the host, so nobody ever finds the directory empty.
"""

from hivekeys.lab.files import SECRETS
from hivekeys.lab.model import Host, Lab

# A tmpfs as large as what is in it: full, with no file that isn't the service's.
_FILL = f"""\
full=/run/hivekeys-lab/full
mkdir -p "$full"
mount -t tmpfs -o size=1m,mode="$(stat -c %a {SECRETS})" tmpfs "$full"
cp -a {SECRETS}/. "$full"
used=$(df -k --output=used "$full" | tail -n 1)
mount -o remount,size="$((used))k" "$full"
mount --bind "$full" {SECRETS}
umount "$full"
rmdir "$full"
"""

_PROTECT = f"""\
mount --bind {SECRETS} {SECRETS}
mount -o remount,bind,ro {SECRETS}
"""

# A bind that is not recursive shows what lies under the mount; the files of now go there first, one by one.
_UNMOUNT = f"""\
below=/run/hivekeys-lab/below
mkdir -p "$below"
while mountpoint -q {SECRETS}; do
    if [ "$(stat -f -c %T {SECRETS})" = tmpfs ]; then
        mount --bind /etc/llama-orch "$below"
        cd {SECRETS}
        find . -type f | while read -r file; do
            cp -a "$file" "$below/secrets/.lab"
            mv -f "$below/secrets/.lab" "$below/secrets/$file"
        done
        cd "$below/secrets"
        find . -type f | while read -r file; do
            [ -e "{SECRETS}/$file" ] || rm -f "$file"
        done
        chown --reference={SECRETS} .
        chmod --reference={SECRETS} .
        cd /
        umount "$below"
    fi
    umount --lazy {SECRETS}
done
rmdir "$below"
"""


def fill(lab: Lab, host: Host) -> None:
    """Let no byte fit into the directory any more."""
    lab.sh(host.name, _FILL)


def protect(lab: Lab, host: Host) -> None:
    """Make the directory read-only."""
    lab.sh(host.name, _PROTECT)


def unmount(lab: Lab, host: Host) -> None:
    """Give the directory its own disk back, with the files that it has now."""
    lab.sh(host.name, _UNMOUNT)
