"""Chromium without a window, spoken to over a pipe in the DevTools protocol: no port, no library.

https://chromedevtools.github.io/devtools-protocol/ (messages are JSON, each ended by a zero byte).
"""

import base64
import itertools
import json
import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DEADLINE = 60.0  # seconds for any one answer: a machine under load starts it slowly
# The protocol's pipes are descriptors 3 and 4; a shell puts them there.
LAUNCH = 'exec chromium "$@" 3<&"$IN" 4>&"$OUT"'
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root, on a machine of their own
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
)


class Chromium:
    """One browser with one page."""

    def __init__(self, folder: Path) -> None:
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        environ = {**os.environ, "IN": str(to_read), "OUT": str(to_write), "HOME": str(folder)}
        argv = ["bash", "-c", LAUNCH, "chromium", *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            argv, env=environ, pass_fds=(to_read, to_write), stdin=quiet, stdout=quiet, stderr=quiet
        )
        os.close(to_read)
        os.close(to_write)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._session = ""
        self.call("Browser.close")
        self._process.wait(DEADLINE)
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command's result. What happens meanwhile is kept in `events`."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + DEADLINE
        while (answer := self._next(end)).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            more = os.read(self._in, 1 << 16)
            assert more, "Chromium has left: is Debian's package chromium installed?"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def happened(self, *methods: str) -> list[dict[str, Any]]:
        """What was reported of these kinds so far."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def open(self, page: Path, width: int = 1200, height: int = 900) -> None:
        """Loads a file and waits until it is there."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=page.as_uri())
        end = time.monotonic() + DEADLINE
        while not self.happened("Page.loadEventFired"):
            self.events.append(self._next(end))

    def look(self, scheme: str = "light", media: str = "screen") -> None:
        """Colour scheme and medium, as the reader's settings would choose them."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def screenshot(self) -> bytes:
        """The whole page as PNG, as far as it scrolls."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=self._whole())
        return base64.b64decode(shot["data"])

    def _whole(self) -> dict[str, float]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])

    def accessibility(self) -> list[tuple[str, str]]:
        """Role and name of everything that assistive technology is told of."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (str(node["role"]["value"]), str(node.get("name", {}).get("value", "")))
            for node in nodes
            if not node.get("ignored")
        ]
