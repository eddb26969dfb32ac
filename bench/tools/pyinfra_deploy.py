"""pyinfra's deploy: its own operations. Ran once for the queen and once for the hives."""

import io
import os
from pathlib import Path

from pyinfra import host
from pyinfra.operations import files, server, systemd

PATH = "/etc/llama-orch/secrets/api-token"

files.put(
    name="Install the token",
    src=io.StringIO(Path(os.environ["BENCH_TOKEN_FILE"]).read_text()),
    dest=PATH,
    user="llama-orch",
    group="llama-orch",
    mode="600",
    _sudo=True,
)
server.shell(
    name="Verify owner and mode",
    commands=[f'[ "$(stat -c %a:%U:%G {PATH})" = 600:llama-orch:llama-orch ]'],
    _sudo=True,
)
systemd.service(name="Restart", service=host.data.unit, restarted=True, running=True, _sudo=True)
server.shell(
    name="Wait for health",
    commands=[
        f"for i in $(seq 300); do curl -fs -o /dev/null localhost:{host.data.health} && exit 0; "
        "sleep 0.05; done; exit 1"
    ],
)
