"""Checksums of data files: delta-rs writes none, and most flipped bits decode to another number.

They stand in ``_checksums``, beside the log of a table on local disk: a line a file, appended when
its commit is made durable. Readers and vacuum pass over a name that begins so. A line that is lost
or torn only means that its file cannot be compared.
"""

import contextlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

NAME = "_checksums"
_CHUNK = 2**20


def note(root: Path, paths: Iterable[Path]) -> None:
    """Append the checksums of data files of the table at ``root``; what is gone is left out.

    A disk that is full is no reason to fail a write that is committed.
    """
    lines = []
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as file:
            lines.append(_sealed(f"{_crc(file):08x} {path.relative_to(root)}"))
    if lines:
        with contextlib.suppress(OSError), (root / NAME).open("ab", buffering=0) as file:
            # At once: what other processes append does not come between.
            os.write(file.fileno(), "".join(lines).encode())


def parse(content: bytes) -> dict[str, int]:
    """Checksums by path, relative to the table; lines that are not whole are left out."""
    found = {}
    for line in content.split(b"\n"):
        text = line.decode(errors="replace")
        body, _, seal = text.rpartition(" ")
        value, _, path = body.partition(" ")
        if path and f"{text}\n" == _sealed(body) and seal:
            found[path] = int(value, 16)
    return found


def _crc(file: BinaryIO) -> int:
    value = 0
    while chunk := file.read(_CHUNK):
        value = zlib.crc32(chunk, value)
    return value


def _sealed(body: str) -> str:
    """A line with a checksum of its own: a bit that flips in it must condemn no file."""
    return f"{body} {zlib.crc32(body.encode()):08x}\n"
