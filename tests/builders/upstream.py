"""A service behind a front, as a program: it asks for the token in its file, and streams words for as long as asked.

With `--open` it asks for none, and answers every path with what it was told of a token.
"""

# It is started as `python -IS upstream.py [--open] --addr IP:PORT`, with LLORCH_API_TOKEN_FILE; standard library only.
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """`/v1/health` for all; the list and the stream for who has the token; 404 for who asks for anything else."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    token = ""
    is_open = False

    def do_GET(self) -> None:
        path, _, words = self.path.partition("?")
        if path == "/v1/health":
            self.answer(200, b'{"status":"ok"}')
        elif self.is_open and path != "/v1/stream":
            self.answer(200, str(self.headers.get("Authorization")).encode())
        elif not self.is_open and self.headers.get("Authorization") != f"Bearer {self.token}":
            self.answer(401, b"{}")
        elif path == "/v1/stream":
            self.stream(int(words))
        else:
            self.answer(200 if path == "/v1/workers/list" else 404, b'{"workers":[]}')

    def do_POST(self) -> None:
        given = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        right = self.headers.get("Authorization") == f"Bearer {self.token}"
        self.answer(200 if right else 401, b"%d" % len(given))

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, words: int) -> None:
        """So many events, ten a second."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(words):
            self.wfile.write(b"data: %d\n\n" % number)
            self.wfile.flush()
            time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


class Server(ThreadingHTTPServer):
    """Many clients come at once."""

    request_queue_size = 256
    daemon_threads = True


def main() -> None:
    address, _, port = sys.argv[-1].rpartition(":")
    Handler.is_open = "--open" in sys.argv
    Handler.token = "" if Handler.is_open else Path(os.environ["LLORCH_API_TOKEN_FILE"]).read_text().strip()
    Server((address, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
