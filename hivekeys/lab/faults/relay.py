"""Delays the packets of a link, for a kernel without netem.

    relay.py HOST_LINK BRIDGE_LINK SECONDS

Frames from the bridge to the host wait SECONDS, the others pass at once, so a round trip grows by SECONDS.
Standard library only. It goes into the background once it carries, and runs until it is killed.
"""

import collections
import contextlib
import os
import select
import socket
import sys
import time

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_VNET_HDR = 15  # carry checksum and segmentation offload along, or TCP would break
PACKET_IGNORE_OUTGOING = 23  # what we send we need not see
LARGEST = 1 << 17


def attach(link: str) -> socket.socket:
    """A socket that sees every frame that comes in over `link`."""
    line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    line.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    line.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    line.bind((link, 0))
    return line


def main(host_link: str, bridge_link: str, delay: float) -> None:
    """Carry frames for ever. What a link that is down does not take is lost, as on a cable."""
    host, bridge = attach(host_link), attach(bridge_link)
    if os.fork():
        os._exit(0)  # whoever started us may go on
    os.setsid()
    waiting: collections.deque[tuple[float, bytes]] = collections.deque()
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([host, bridge], [], [], pause)
        with contextlib.suppress(OSError):
            if host in ready:
                bridge.send(host.recv(LARGEST))
        with contextlib.suppress(OSError):
            if bridge in ready:
                waiting.append((time.monotonic() + delay, bridge.recv(LARGEST)))
        while waiting and waiting[0][0] <= time.monotonic():
            with contextlib.suppress(OSError):
                host.send(waiting.popleft()[1])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
