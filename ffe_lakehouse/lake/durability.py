"""Commits that survive a power cut: delta-rs leaves it to the operating system when to write.

Without this, the newest commit may be an empty file after a power cut, or the data of a commit that
is there. Once ``make_durable`` has returned, all of it is on the disk. A cut before that can leave
a torn commit: of rows that nobody was told are stored, and ``ffe doctor --repair`` removes it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import orjson
from deltalake import DeltaTable

from ffe_lakehouse.lake import checksums


def make_durable(table: DeltaTable, before: int) -> None:
    """Force to the disk what was committed after version ``before``: data, log, directories.

    Args:
        table: A table on local disk, of the newest version.
        before: Version that is durable already, -1 for none.
    """
    root = Path(unquote(urlsplit(table.table_uri).path))
    log = root / "_delta_log"
    commits = [log / f"{version:020}.json" for version in range(before + 1, table.version() + 1)]
    data = [root / name for commit in commits for name in _added(commit)]
    # Data before the log: a commit that is on the disk has its rows there.
    for path in data:
        force(path)
    folders = {parent for path in data for parent in _parents(path, root)}
    for path in (*sorted(folders), *commits, log, root, root.parent):
        force(path)
    checksums.note(root, data)


def _added(commit: Path) -> Iterator[str]:
    """Data files of a commit; none if another process has cleaned it up meanwhile."""
    try:
        lines = commit.read_bytes().splitlines()  # Of text, it would also split at U+0085.
    except FileNotFoundError:
        return
    for line in lines:
        added = orjson.loads(line).get("add")
        if added is not None:
            yield unquote(added["path"])


def _parents(path: Path, root: Path) -> Iterator[Path]:
    """Folders between a data file and its table."""
    folder = path.parent
    while folder != root:
        yield folder
        folder = folder.parent


def force(path: Path) -> None:
    """Have the operating system write a file or folder now; nothing if it is gone."""
    try:
        number = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # Compacted and vacuumed meanwhile.
    try:
        os.fsync(number)
    finally:
        os.close(number)
