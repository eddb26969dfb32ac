"""A webhook on this machine: a real server that speaks TLS, and keeps what it is told."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.builders.certificate import certificate


@dataclass
class Webhook:
    """`answer`: the status, and what a redirect names; `certificate` is what a client must trust."""

    certificate: Path
    address: str
    answer: tuple[int, str] = (200, "")
    posted: list[tuple[dict[str, str], Any]] = field(default_factory=list)  # headers and JSON

    @property
    def told(self) -> list[str]:
        """The text of each notification."""
        return [said["text"] for _, said in self.posted]


@contextmanager
def webhook(folder: Path) -> Iterator[Webhook]:
    """Listens while the block runs."""
    pem = certificate(folder, "webhook", address="127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.posted.append((dict(self.headers), json.loads(body)))
            status, place = found.answer
            self.send_response(status)
            if place:
                self.send_header("Location", place)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            found.posted.append((dict(self.headers), {"text": "followed"}))
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Webhook(pem, f"https://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
