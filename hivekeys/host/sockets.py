"""Reads the kernel's sockets: which process listens where, and which holds the other end of a connection.

Runs ON a host, in one text with agent.py. sock_diag(7) is asked, and /proc/net is read where a kernel has none.
"""

import os
import re
import socket
import struct

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Sequence

SOCK_DIAG, ASK, ONE, DUMP, ERROR, DONE = 4, 20, 1, 0x301, 2, 3  # linux/netlink.h, linux/sock_diag.h
LISTENS = 10  # TCP_LISTEN
ACCEPTS = 1 << 16  # __SO_ACCEPTCON, linux/net.h
TAKEN = (1, 3)  # TCP_ESTABLISHED; TCP_SYN_RECV, in which a service that defers accept leaves a call
MAPPED = b"\0" * 10 + b"\xff\xff"
LOOPBACK = [before + b"\x7f\0\0\1" for before in (b"", MAPPED)]


def forms_of(address: str) -> "list[bytes]":
    """An address as sockets have it: one of IPv4 also as those of IPv6 do."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address.partition("%")[0])
    return [packed] if family == socket.AF_INET6 else [packed, MAPPED + packed]


def asked_of_kernel(family: int, ends: bytes, flags: int = DUMP) -> "list[tuple[int, bytes, int, int, int]]":
    """(state, address, port, uid, inode) of TCP sockets; OSError where there is none, or no sock_diag(7) in the kernel.

    `ends` (struct inet_diag_sockid) names ONE socket, or the port of all that listen (0: any). /proc/net/tcp says the
    same, but a read of it walks through the table of all connections: 8 ms on a machine with 24 GB of memory, and a
    proof asks three times who listens. An inode of 0: no process has the socket, since none has accepted it yet.
    """
    ask = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << LISTENS) + ends
    found = []  # type: list[tuple[int, bytes, int, int, int]]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as line:
        line.settimeout(1.0)
        line.send(struct.pack("=IHHII", 16 + len(ask), ASK, flags, 0, 0) + ask)
        while True:
            data = line.recv(1 << 16)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind in (ERROR, DONE):
                    code = struct.unpack_from("=i", data, 16)[0]
                    if code < 0:
                        raise OSError(-code, os.strerror(-code))
                    return found
                address = data[24 : 28 if data[16] == socket.AF_INET else 40]
                (port,) = struct.unpack_from("!H", data, 20)
                found.append((data[17], address, port, *struct.unpack_from("=II", data, 80)))
                if flags == ONE:
                    return found
                data = data[(size + 3) & ~3 :]


def read_in_proc(
    port: int, caller: int = 0, ends: "Sequence[bytes]" = LOOPBACK
) -> "list[tuple[int, bytes, int, int, int]]":
    """The same from /proc/net, of those that listen on a port (0: any), or of a call's end there, from another port.

    An address is words of 32 bits there, in this machine's byte order.
    """
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue  # a kernel without IPv6
        for row in rows:
            (near, here), (far, there) = (address_in_proc(text) for text in row[1:3])
            of_call = near in ends and far in ends if caller else row[3] == "%02X" % LISTENS
            if there == caller and here == (port or here) and of_call:
                found.append((int(row[3], 16), near, here, int(row[7]), int(row[9])))
    return found


def address_in_proc(text: str) -> "tuple[bytes, int]":
    words, _, port = text.partition(":")
    parts = [int(words[at : at + 8], 16) for at in range(0, len(words), 8)]
    return struct.pack("=%dI" % len(parts), *parts), int(port, 16)


def sockets_of(pid: int) -> "set[int]":
    """The inodes of the sockets that a process holds."""
    folder = "/proc/%d/fd" % pid
    found = set()
    try:
        for name in os.listdir(folder):
            link = os.readlink(folder + "/" + name)
            if link.startswith("socket:["):
                found.add(int(link[8:-1]))
    except OSError:
        pass  # it has just ended, or closed that one
    return found


def unix_listening() -> "list[tuple[int, str]]":
    """(inode, path) of every Unix socket that listens at a path."""
    found = []  # type: list[tuple[int, str]]
    try:
        with open("/proc/net/unix", errors="replace") as lines:
            rows = list(lines)
    except OSError:
        return found
    for row in rows:  # Num RefCount Protocol Flags Type St Inode Path; a path may hold anything, an end of line too
        numbers = re.match(r"\w+: \w{8} \w{8} ([0-9A-F]{8}) 0001 01 +(\d+) (/.*)", row)
        if numbers and int(numbers.group(1), 16) & ACCEPTS:
            found.append((int(numbers.group(2)), numbers.group(3)))
    return found


def is_own_address(address: str) -> bool:
    """True for an address of this machine: a call to it comes from itself.

    No packet is sent; to bind it would not tell, where net.ipv4.ip_nonlocal_bind is set.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as line:
            line.connect((address, 9))
            near = line.getsockname()[0]
    except OSError:
        return False
    is_loopback = family == socket.AF_INET and address.startswith("127.")  # whose calls all come from 127.0.0.1
    return is_loopback or forms_of(near) == forms_of(address)


def where_to_ask(packed: bytes) -> str:
    """The address at which a socket that listens on `packed` is reached from this machine."""
    if not any(packed):
        return "127.0.0.1" if len(packed) == 4 else "::1"
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    address = socket.inet_ntop(socket.AF_INET6, packed)
    return address.rpartition(":")[2] if address.startswith("::ffff:") else address + zone_of(packed)


def zone_of(packed: bytes) -> str:
    """The interface of a link-local address as "%2"; "" for any other."""
    if packed[0] != 0xFE or packed[1] & 0xC0 != 0x80:
        return ""
    try:
        with open("/proc/net/if_inet6") as lines:
            rows = [line.split() for line in lines]
    except OSError:
        return ""
    return next(("%%%d" % int(row[1], 16) for row in rows if bytes.fromhex(row[0]) == packed), "")
