"""Ansible's inventories, as `ansible-inventory --list` reads them: every form, plugin and rule of Ansible's own.

    beneath    the files that Ansible would read: each checked before it is asked
    question   asks `ansible-inventory`, with an environment and settings of our own
    program    runs a program with limits to its time, output and memory
    complaint  what it says of an inventory that it can't read, without the values that stand there
    listing    its answer → groups, hosts, variables
    variables  what a host's variables mean to us, and what must be refused
    fleet      the queen's group and the hives' → entries as `[hosts.NAME]` has them

An answer that was saved in a file needs no Ansible. Nothing is templated and no value decrypted: one that we need
and that is Jinja2 or a vault's is refused.
"""

from hivekeys.inventory.ansible.fleet import HIVES, QUEEN, gathered

__all__ = ["HIVES", "QUEEN", "gathered"]
