"""Paramiko, tuned by hand: a thread per host, one connection, one exec, one script on stdin, no delayed packets."""

import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import paramiko
from job import command, given, script, waves


def turn(key: paramiko.PKey, known: paramiko.HostKeys, text: str, host: dict[str, Any]) -> None:
    """Turn one host."""
    sock = socket.create_connection((host["address"], 22), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock)
    try:
        keys = known.lookup(host["address"])
        transport.get_security_options().key_types = ["ssh-ed25519"]
        transport.start_client(timeout=20)
        if transport.get_remote_server_key() != keys["ssh-ed25519"]:
            raise SystemExit(f"{host['name']}: another host key")
        transport.auth_publickey("deploy", key)
        channel = transport.open_session(timeout=20)
        channel.exec_command(command(host))
        channel.sendall(text.encode())
        channel.shutdown_write()
        code = channel.recv_exit_status()
        if code:
            raise SystemExit(f"{host['name']}: exit {code}")
    finally:
        transport.close()


def main() -> None:
    """Turn the fleet."""
    fleet, token = given()
    key = paramiko.Ed25519Key.from_private_key_file(fleet["key"])
    known = paramiko.HostKeys(fleet["known_hosts"])
    with ThreadPoolExecutor(50) as pool:
        for wave in waves(fleet):
            list(pool.map(partial(turn, key, known, script(token)), wave))


main()
