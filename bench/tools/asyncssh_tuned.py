"""asyncssh, tuned by hand: one connection, one exec, one script on stdin, all hosts of a wave at once."""

import asyncio
from typing import Any

import asyncssh
from job import command, given, script, waves


async def turn(fleet: dict[str, Any], key: asyncssh.SSHKey, text: str, host: dict[str, Any]) -> None:
    """Turn one host."""
    async with asyncssh.connect(
        host["address"],
        username="deploy",
        client_keys=[key],
        known_hosts=fleet["known_hosts"],
        config=None,
        agent_path=None,
    ) as line:
        await line.run(command(host), input=text, check=True)


async def main() -> None:
    """Turn the fleet."""
    fleet, token = given()
    key = asyncssh.read_private_key(fleet["key"])
    for wave in waves(fleet):
        await asyncio.gather(*(turn(fleet, key, script(token), host) for host in wave))


asyncio.run(main())
