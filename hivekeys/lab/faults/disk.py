"""Faults of the token directory: another file system is mounted over it.

Mounting is one step for everybody on the host, so nobody ever finds the directory empty.
"""

from pathlib import PurePosixPath

from hivekeys.lab.files import token_file
from hivekeys.lab.model import Host, Lab

# A tmpfs as large as what is in it: full, with no file that isn't the service's.
_FILL = """\
full=/run/hivekeys-lab/full
mkdir -p "$full"
mount -t tmpfs -o size=1m,mode="$(stat -c %a $secrets)" tmpfs "$full"
cp -a $secrets/. "$full"
used=$(df -k --output=used "$full" | tail -n 1)
mount -o remount,size="$((used))k" "$full"
mount --bind "$full" $secrets
umount "$full"
rmdir "$full"
"""

_PROTECT = """\
mount --bind $secrets $secrets
mount -o remount,bind,ro $secrets
"""

# A bind that is not recursive shows what lies under the mount; the files of now go there first, one by one.
_UNMOUNT = """\
below=/run/hivekeys-lab/below
mkdir -p "$below"
while mountpoint -q $secrets; do
    if [ "$(stat -f -c %T $secrets)" = tmpfs ]; then
        mount --bind "${secrets%/*}" "$below"
        cd $secrets
        find . -type f | while read -r file; do
            cp -a "$file" "$below/${secrets##*/}/.lab"
            mv -f "$below/${secrets##*/}/.lab" "$below/${secrets##*/}/$file"
        done
        cd "$below/${secrets##*/}"
        find . -type f | while read -r file; do
            [ -e "$secrets/$file" ] || rm -f "$file"
        done
        chown --reference=$secrets .
        chmod --reference=$secrets .
        cd /
        umount "$below"
    fi
    umount --lazy $secrets
done
rmdir "$below"
"""


def fill(lab: Lab, host: Host) -> None:
    """Let no byte fit into the directory any more."""
    _run(lab, host, _FILL)


def protect(lab: Lab, host: Host) -> None:
    """Make the directory read-only."""
    _run(lab, host, _PROTECT)


def unmount(lab: Lab, host: Host) -> None:
    """Give the directory its own disk back, with the files that it has now."""
    _run(lab, host, _UNMOUNT)


def _run(lab: Lab, host: Host, script: str) -> None:
    lab.sh(host.name, f"secrets={PurePosixPath(token_file(lab)).parent}\n{script}")
