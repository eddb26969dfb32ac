"""Reads the service's audit trail as a stream of lines, and checks the hash chain through its files.

Runs ON the host, as root, in one text with agent.py, when records are asked for. Nothing is held in memory
but one line and the ends of chains, and nobody's file can keep root busy: bytes, seconds and line lengths are limited.

How the services chain (llama-orch.md, "Audit record"): a record's `hash` is the hex SHA-256 of audit_id, timestamp,
service_id, the event's JSON and prev_hash put together; `prev_hash` is 64 zeros after each start of the service. A new
file goes on with the chain of the one before; a service that starts again goes back to the day's first file. A chain
shows what was changed or taken out between two records, not that a whole run of the service was cut off its end.
"""

import hashlib
import json
import os
import re
import stat
import zlib

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Iterator, Optional

GENESIS = "0" * 64
BLOCK = 1 << 20  # bytes that are read at once
LINE_LIMIT = 1 << 20  # bytes of one record
CHAIN_BYTES = 64 << 20  # bytes that are read for a chain, unpacked
CHAIN_SECONDS = 8.0
ENDS = 20000  # ends of chains that are kept
BREAKS = 20  # breaks that are named
AUDIT = "/var/log/llama-orch/audit"  # where the guide looks for the audit trail
AUDIT_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:-(\d{1,6}))?\.(audit|ndjson)(\.gz)?")
FRONT_LOG = "access.ndjson"  # nginx.py: the log of a front, which has one file
RECORD = ("audit_id", "timestamp", "service_id", "prev_hash", "hash")
EVENT = re.compile(r'"event":\s*')


class Spent(Exception):  # noqa: N818  an answer, not an error
    """A limit was reached: which."""


class Budget:
    """So many bytes and seconds for reading."""

    def __init__(self, size: int, seconds: float, clock: "Callable[[], float]") -> None:
        self.size = size
        self.clock = clock
        self.end = clock() + seconds

    def spend(self, count: int) -> None:
        self.size -= count
        if self.size < 0:
            raise Spent("there is more than is read at once")
        if self.clock() > self.end:
            raise Spent("the time was up")


def audit_folder(environment: "dict[str, str]") -> str:
    return environment.get("LLORCH_AUDIT_DIR", AUDIT)


def audit_files(names: "list[str]", kinds: "tuple[str, ...]" = ("audit", "ndjson")) -> "list[str]":
    """The trail's files, newest first, by the names that the services give them."""
    dated = []
    for name in names:
        found = AUDIT_FILE.fullmatch(name)
        if found and found.group(3) in kinds:
            dated.append((found.group(1), int(found.group(2) or 0), name))
        elif name == FRONT_LOG and "ndjson" in kinds:
            dated.append(("today", 0, name))
    return [name for _, _, name in sorted(dated, reverse=True)]


def day_of(name: str) -> str:
    """The day of a file of the trail, "" for another file."""
    found = AUDIT_FILE.fullmatch(name)
    return found.group(1) if found else ""


def lines_of(folder: int, name: str, budget: "Budget") -> "Iterator[tuple[int, bytes]]":
    """(number, line) of a file below the folder's descriptor, with the line's end; gzip is unpacked on the way.

    Raises Spent at a limit, OSError or ValueError for what cannot be read. Follows no link, waits for no pipe.
    """
    with open_file(folder, name) as file:
        stream = unpacked(file) if name.endswith(".gz") else file
        number = 0
        while True:
            try:
                line = stream.readline(LINE_LIMIT + 1)
            except (EOFError, zlib.error):
                raise ValueError("cannot be unpacked") from None
            if not line:
                return
            number += 1
            budget.spend(len(line))
            if len(line) > LINE_LIMIT:
                raise ValueError("has a line of more than %d bytes" % LINE_LIMIT)
            yield number, line


def open_file(folder: int, name: str) -> "BinaryIO":
    """A regular file below the folder's descriptor; follows no link, waits for no pipe."""
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ValueError("is no regular file")
    return os.fdopen(fd, "rb")


def unpacked(file: "BinaryIO") -> "Any":
    import gzip  # noqa: PLC0415  5 ms, and most hosts pack nothing

    return gzip.GzipFile(fileobj=file)


def backwards(file: "BinaryIO", size: int) -> "Iterator[tuple[int, Optional[list[bytes]], int]]":
    """(offset, whole lines, bytes read) of each block, the last first; None for a line longer than any record."""
    end, rest, endless = size, b"", False
    while end > 0:
        begin = max(end - BLOCK, 0)
        file.seek(begin)
        block = file.read(end - begin)
        if len(block) < end - begin:
            raise ValueError("became shorter while it was read")
        read, end = len(block), begin
        if endless:
            block = block[: block.rfind(b"\n") + 1]
            endless = not block
        lines = (block + rest).split(b"\n")
        rest = lines.pop(0) if begin else b""
        yield begin + len(rest) + bool(begin), lines, read
        if len(rest) > LINE_LIMIT:
            yield begin, None, 0
            rest, endless = b"", True


def forwards(stream: "Any") -> "Iterator[tuple[int, Optional[list[bytes]], int]]":
    """As `backwards`, first block first: for what is unpacked on the way."""
    offset, rest, endless = 0, b"", False
    while True:
        try:
            block = stream.read(BLOCK)
        except (EOFError, zlib.error):
            raise ValueError("cannot be unpacked") from None
        if not block:
            break
        read = len(block)
        if endless:
            found = block.find(b"\n") + 1
            offset += found or read
            block, endless = block[found or read :], not found
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield offset, lines, read
        offset += sum(map(len, lines)) + len(lines)
        if len(rest) > LINE_LIMIT:
            yield offset, None, 0
            offset, rest, endless = offset + len(rest), b"", True
    yield offset, [rest], 0


def record_of(line: bytes) -> "Optional[tuple[dict[str, Any], str]]":
    """A chained record and its event's JSON as it stands there, or None when the line is none."""
    try:
        text = line.decode("utf-8")
        record = json.loads(text)
        found = EVENT.search(text)
        if not found or not isinstance(record, dict):
            return None
        event, end = json.JSONDecoder().raw_decode(text, found.end())
    except (ValueError, RecursionError):
        return None
    if event != record.get("event") or not all(isinstance(record.get(name), str) for name in RECORD):
        return None
    return record, text[found.end() : end]


def is_own_hash(record: "dict[str, Any]", event: str) -> bool:
    """True when the record's hash is that of its content.

    The services write the time with a Z and hash it with +00:00 (chrono's `Serialize` and `to_rfc3339`).
    """
    times = [record["timestamp"], re.sub("Z$", "+00:00", record["timestamp"])]
    return any(
        hashlib.sha256(
            (record["audit_id"] + time + record["service_id"] + event + record["prev_hash"]).encode("utf-8", "replace")
        ).hexdigest()
        == record["hash"]
        for time in times
    )


class Chain:
    """What was seen of the chains so far. Files come newest first, so what a beginning goes on from comes later."""

    def __init__(self) -> None:
        self.records = 0
        self.ends = {}  # type: dict[str, str]  # last hash of a stretch of records -> its file
        self.begins = []  # type: list[tuple[str, str, int, bool]]  # prev_hash, file, line, first of its file

    def follow(self, name: str, lines: "Iterator[tuple[int, bytes]]", growing: bool) -> "Iterator[str]":
        """One file; yields the breaks in it. `growing`: its last line may be in the making.

        Of the last day each file may grow: a service that starts again goes back to the day's first.
        """
        last = {}  # type: dict[str, str]  # service -> its last hash
        for number, line in lines:
            if growing and not line.endswith(b"\n"):
                break
            found = record_of(line)
            if found is None:
                yield "%s, line %d: no audit record" % (name, number)
                continue
            record, event = found
            if not is_own_hash(record, event):
                yield "%s, line %d: its hash is not that of its content" % (name, number)
            before = last.get(record["service_id"])
            if record["prev_hash"] != before:
                if before is not None:
                    self.ends[before] = name
                if record["prev_hash"] != GENESIS:
                    self.begins.append((record["prev_hash"], name, number, before is None))
                if len(self.ends) + len(self.begins) > ENDS:
                    raise Spent("the service has started too often")
            last[record["service_id"]] = record["hash"]
            self.records += 1
        for digest in last.values():
            self.ends[digest] = name

    def gaps(self, oldest: str, cut: bool) -> "Iterator[str]":
        """The beginnings that go on from a record which is nowhere.

        What the oldest file goes on from may have been taken away in time, or was not read any more.
        """
        for before, name, number, first in self.begins:
            if self.ends.get(before, name) != name:
                continue
            if not first or not (cut or name == oldest):
                yield "%s, line %d: the record before it is missing" % (name, number)


def chain_of(folder: int, names: "list[str]", budget: "Budget") -> "dict[str, Any]":
    """How far the chain could be followed, and the first break."""
    chain = Chain()
    broken, cut, read = breaks_of(chain, folder, audit_files(names, ("audit",)), budget, 1)
    return {"files": read, "records": chain.records, "broken": broken[0] if broken else "", "cut": cut}


def chain_breaks(folder: int, names: "list[str]", budget: "Budget") -> "tuple[list[str], int, str]":
    """(the first BREAKS of the breaks, records that were followed, why not all)."""
    chain = Chain()
    broken, cut, _ = breaks_of(chain, folder, audit_files(names, ("audit",)), budget, BREAKS)
    return broken, chain.records, cut


def breaks_of(
    chain: Chain, folder: int, names: "list[str]", budget: "Budget", most: int
) -> "tuple[list[str], str, int]":
    """(breaks, the limit that was reached, files that were read to their end); ends with the break number `most`."""
    broken, cut, read = [], "", 0  # type: list[str], str, int
    for name in names:
        try:
            for found in chain.follow(name, lines_of(folder, name, budget), day_of(name) == day_of(names[0])):
                broken.append(found)
                if len(broken) == most:
                    return broken, cut, read
        except Spent as limit:
            cut = str(limit)
        except ValueError as error:
            broken.append("%s: %s" % (name, error))
        except OSError as error:
            cut = "%s: %s" % (name, error.strerror or "cannot be unpacked")
        if cut or len(broken) >= most:
            break
        read += 1
    if len(broken) < most:
        broken.extend(chain.gaps(names[-1] if names else "", bool(cut)))
    return broken[:most], cut, read
