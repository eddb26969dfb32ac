"""What the bastion's own limits let a run hold open: asked before any host is touched.

A line to a host is one file descriptor for the whole run. Too few of them would end a run in its middle, with an error
that names no cause; so the soft limit is raised as far as the hard one lets us, and a fleet that needs more is refused.
"""

import resource

from hivekeys.errors import UserError

BESIDE = 128  # descriptors that are no line: journal, screen, libraries
A_LOGIN = 4  # and while one logs in: pipes to ssh -G, to a ProxyCommand, to an SSH agent


def raised(hosts: int, width: int, soft: int, hard: int) -> int:
    """The soft limit under which so many hosts can be held, `width` of them logging in at once.

    Raises UserError, naming the limit, when the hard limit is lower than that.
    """
    needed = hosts + width * A_LOGIN + BESIDE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return soft
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"{hosts} hosts need {needed} open files at once, and this machine's hard limit for you is {hard}",
            hint=f"raise it (ulimit -Hn {needed} as root, or `nofile` in /etc/security/limits.conf), or use --limit",
        )
    return needed


def raise_open_files(hosts: int, width: int) -> None:
    """Raise this process's limit of open files to what a run needs; a UserError when that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = raised(hosts, width, soft, hard)
    if wanted != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
