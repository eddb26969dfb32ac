"""Lines to agents over SSH. This package alone names fabric and paramiko; what they raise becomes a Cause.

`ssh -G` and known_hosts are OpenSSH's to read: `openssh`, `hostkeys.known_hosts`.
"""
