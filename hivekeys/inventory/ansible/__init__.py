"""Ansible's inventories, as they are: INI, YAML, JSON, folders of them, and programs that answer `--list`.

    sources    which files a path means, and which form each has
    ini, tree, listing    one form each → groups
    beside     group_vars and host_vars
    groups     who is in which group, and which variable wins: as Ansible says
    variables  what a host's variables mean to us, and what must be refused
    fleet      the queen's group and the hives' → entries as `[hosts.NAME]` has them

Ansible itself is not needed, and never imported: what it would do is held by tests that ask the real
`ansible-inventory`. Nothing is templated and nothing decrypted: a value that we need and that is Jinja2 or a
vault's is refused.
"""

from hivekeys.inventory.ansible.fleet import HIVES, QUEEN, gathered

__all__ = ["HIVES", "QUEEN", "gathered"]
