"""Fabric as its documentation leads one to write it: ThreadingGroup, put, sudo."""

import io

from fabric import ThreadingGroup
from job import given, waves

SECRETS = "/etc/llama-orch/secrets"


def main() -> None:
    """Turn the fleet."""
    fleet, token = given()
    for wave in waves(fleet):
        unit, health = wave[0]["unit"], wave[0]["health"]
        group = ThreadingGroup(
            *(host["address"] for host in wave), user="deploy", connect_kwargs={"key_filename": fleet["key"]}
        )
        group.run("umask 077; touch .bench-token; chmod 600 .bench-token", hide=True)
        for line in group:  # `ThreadingGroup.put` shares one file object between its threads
            line.put(io.BytesIO(f"{token}\n".encode()), ".bench-token")
        group.sudo(f"mv .bench-token {SECRETS}/api-token.new", hide=True)
        group.sudo(f"chown llama-orch:llama-orch {SECRETS}/api-token.new", hide=True)
        group.sudo(f"chmod 600 {SECRETS}/api-token.new", hide=True)
        group.sudo(f"mv {SECRETS}/api-token.new {SECRETS}/api-token", hide=True)
        group.sudo(f"stat -c %a:%U:%G {SECRETS}/api-token", hide=True)
        group.sudo(f"systemctl restart {unit}", hide=True)
        group.run(
            f"for i in $(seq 300); do curl -fs -o /dev/null localhost:{health} && exit 0; sleep 0.05; done; exit 1",
            hide=True,
        )
        group.close()


main()
