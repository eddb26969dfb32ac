"""How a real host is made to fail each of verify's checks, and no other."""

from hivekeys.lab.files import AUDIT, SECRETS

from .asking import ACTIVE

HIVE_DROP_IN = "/run/systemd/system/rbee-hive.service.d/zz-test.conf"
# acl(5) as the kernel keeps it: user 33 may read, and the mask takes it away again, so that the mode stays.
GIVE_ACL = """python3 -c "
import os, struct
nobody = 2**32 - 1
entries = (1, %(mine)d, nobody), (2, 4, 33), (4, 0, nobody), (16, 0, nobody), (32, 0, nobody)
text = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)
os.setxattr('%(path)s', 'system.posix_acl_access', text)
"
"""
RECORDING = "echo 'Defaults log_input' >/etc/sudoers.d/zz-records; chmod 440 /etc/sudoers.d/zz-records"
CALLS = """python3 -c "
import http.client
for _ in range(3):
    line = http.client.HTTPConnection('127.0.0.1', 8081)
    line.request('GET', '/v1/workers/list')
    line.getresponse()
"
"""
RECORDS = f"{CALLS}until [ $(cat {AUDIT}/*.audit | wc -l) -gt 2 ]; do sleep 0.1; done"
RESTART = "systemctl reset-failed rbee-hive; systemctl restart rbee-hive"


def drop_in(*lines: str, place: str = HIVE_DROP_IN) -> str:
    """A shell line that gives a unit more lines, read by systemd but not by the running process."""
    text = "\\n".join(("[Service]", *lines))
    return f"mkdir -p $(dirname {place}); printf '{text}\\n' >{place}; systemctl daemon-reload"


MENDED = "mended"  # by `fab fix --apply --strays`; else why it stays, or "" where fix has nothing to do with it
GONE_ON = f"; rm {HIVE_DROP_IN}; systemctl daemon-reload"
# The check that a host fails, what makes it wrong in that way and no other, what fix makes of it.
WAYS = (
    ("directory-mode", f"chmod 750 {SECRETS}", MENDED),
    ("directory-mode", f"chgrp root {SECRETS}", MENDED),
    ("directory-mode", f"chown root {SECRETS}", "its owner, or who can write above it, may have put it there"),
    ("file-mode", f"chmod 640 {ACTIVE}", MENDED),
    ("file-mode", f"chgrp root {ACTIVE}", MENDED),
    ("file-mode", f"chown root {ACTIVE}", MENDED),
    ("token-file", f"rm {ACTIVE}", " brings one"),
    ("acl", GIVE_ACL % {"mine": 6, "path": ACTIVE}, MENDED),
    ("acl", GIVE_ACL % {"mine": 7, "path": SECRETS}, MENDED),
    ("hard-links", f"ln {ACTIVE} /etc/llama-orch/elsewhere", "find the others with `find / -xdev -samefile`"),
    ("parents", "chmod 777 /etc/llama-orch", MENDED),
    ("parents", "chown deploy /etc/llama-orch", "it belongs to deploy"),
    ("strays", f"touch {SECRETS}/api-token.old '{SECRETS}/#api-token#'", MENDED),
    ("strays", f"touch {SECRETS}/.api-token.swp", MENDED),
    ("strays", "touch '/tmp/api-token\nnew'", MENDED),
    ("strays", f"touch '{SECRETS}/api-token\n\x1b[31m'", "has no name that copies have"),
    ("strays", f"cp {ACTIVE} /var/tmp/api-token", MENDED),
    ("slots", f"cp -p {ACTIVE} {ACTIVE}.backup", MENDED),
    ("slots", f"cp -p {ACTIVE} {ACTIVE}.new", MENDED),
    ("reused", f"cp -p {ACTIVE} {SECRETS}/worker-key", ""),
    ("token-age", f"touch -d '91 days ago' {ACTIVE}", ""),
    ("environment", drop_in("Environment=LLORCH_API_TOKEN=x"), ""),
    ("environment", f"echo ' LLORCH_API_TOKEN = x' >/tmp/llama.env; {drop_in('EnvironmentFile=/tmp/llama.env')}", ""),
    ("environment", f"{drop_in('Environment=LLORCH_API_TOKEN=x')}; {RESTART}{GONE_ON}", ""),
    ("loads-from-file", drop_in("LoadCredential=", "LoadCredential=api-token:/etc/llama-orch/elsewhere"), ""),
    ("loaded", f"{drop_in('ExecStartPost=/bin/echo dev mode')}; {RESTART}; journalctl --sync", ""),
    ("credential", f"{drop_in('LoadCredential=', f'Environment=LLORCH_API_TOKEN_FILE={ACTIVE}')}; {RESTART}", ""),
    ("hardening", drop_in("NoNewPrivileges=no", "PrivateTmp=no", "ProtectSystem=full", "ProtectHome=no"), ""),
    ("kill-mode", drop_in("KillMode=process"), ""),
    ("sudo-log", RECORDING, ""),
    ("enabled", "systemctl disable -q rbee-hive", ""),
    (
        "audit-chain",
        f"{RECORDS}; cd {AUDIT}; f=$(ls | head -1); sed '2s/auth_/open_/' $f >/run/changed; cat /run/changed >$f",
        "",
    ),
    ("audit-chain", f"{RECORDS}; cd {AUDIT}; f=$(ls | head -1); sed 2d $f >/run/changed; cat /run/changed >$f", ""),
    ("audit", f"chmod 755 {AUDIT}", MENDED),
    ("audit", f"chown deploy {AUDIT}", ""),
    ("audit", drop_in("Environment=LLORCH_AUDIT_MODE=off"), ""),
    ("audit", drop_in("Environment=LLORCH_AUDIT_DIR=/var/log/elsewhere"), ""),
)
