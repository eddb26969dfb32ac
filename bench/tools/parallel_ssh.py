"""parallel-ssh: one connection, one exec, one script on stdin."""

from job import command, given, script, waves
from pssh.clients import ParallelSSHClient


def main() -> None:
    """Turn the fleet."""
    fleet, token = given()
    for wave in waves(fleet):
        client = ParallelSSHClient([host["address"] for host in wave], user="deploy", pkey=fleet["key"], pool_size=50)
        outputs = client.run_command(command(wave[0]))
        for output in outputs:
            output.stdin.write(script(token))
            output.stdin.flush()
        client.join(outputs)
        failed = [output.host for output in outputs if output.exit_code]
        if failed:
            raise SystemExit(f"failed: {failed}")


main()
