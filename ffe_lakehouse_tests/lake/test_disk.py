"""A disk that is full, out of inodes, or read-only: an error that says so, a table that is well.

A file system in memory stands for the disk, which takes the right to mount one.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse_tests.lake import writers
from ffe_lakehouse_tests.lake.writers import KEYS, OWN_TABLE, SCHEMA, SHARED

SPACE, INODES = 300_000, 60
Write = Callable[[DeltaLakeManager], object]


def run(*command: str) -> int:
    """The exit code of a command of the system."""
    return subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB and 60 inodes."""
    options = f"size={SPACE},nr_inodes={INODES}"
    if run("mount", "-t", "tmpfs", "-o", options, "none", str(tmp_path)):
        pytest.skip("no right to mount a file system")
    yield tmp_path
    assert run("umount", str(tmp_path)) == 0


def closes(batch: int, rows: int | None = None) -> pa.Table:
    return writers.candles(SCHEMA, SHARED, batch).select([*KEYS, "close"]).slice(0, rows)


@pytest.fixture
def lake(disk: Path) -> DeltaLakeManager:
    """Two days in two tables."""
    made = DeltaLakeManager(disk)
    for batch in range(2):
        made.append(SCHEMA, writers.candles(SCHEMA, SHARED, batch))
        made.create_or_update_table(closes(batch), OWN_TABLE, ["asset_pair"])
    return made


WRITES: dict[str, Write] = {
    "append": lambda lake: lake.append(SCHEMA, writers.candles(SCHEMA, SHARED, 5)),
    "append a frame": lambda lake: lake.create_or_update_table(closes(5), OWN_TABLE),
    "merge": lambda lake: lake.merge_upsert(closes(1), OWN_TABLE, KEYS),
    "overwrite": lambda lake: lake.create_or_update_table(
        closes(5), OWN_TABLE, mode="overwrite", whole_table=True
    ),
    "compact": lambda lake: lake.optimize_table(OWN_TABLE),
    "sort": lambda lake: lake.optimize_table(SCHEMA.name, ["timestamp"]),
    "create": lambda lake: lake.create_or_update_table(closes(5), "own/other"),
}


def fill_space(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"0" * 4096)
        except OSError:
            return filler


def fill_inodes(disk: Path) -> Path:
    filler = disk / "filler"
    filler.mkdir()
    try:
        for number in range(INODES):
            (filler / str(number)).touch()
    except OSError:
        pass
    return filler


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("fill", [fill_space, fill_inodes])
def test_a_full_disk_is_said_and_nothing_is_lost(
    lake: DeltaLakeManager, disk: Path, fill: Callable[[Path], Path], write: Write
) -> None:
    before = [lake.read(SCHEMA.name), lake.read_table(OWN_TABLE, to="arrow")]
    filler = fill(disk)
    with pytest.raises((OSError, DeltaError), match=r"(?i)no space"):
        write(lake)
    assert [lake.read(SCHEMA.name), lake.read_table(OWN_TABLE, to="arrow")] == before
    if filler.is_dir():
        for file in filler.iterdir():
            file.unlink()
        filler.rmdir()
    else:
        filler.unlink()
    write(DeltaLakeManager(disk))
    assert writers.facts(lake.read(SCHEMA.name)) >= writers.facts(before[0])


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_disk_that_is_read_only_is_said_and_can_be_read(
    lake: DeltaLakeManager, disk: Path, write: Write
) -> None:
    before = [lake.read(SCHEMA.name), lake.read_table(OWN_TABLE, to="arrow")]
    assert run("mount", "-o", "remount,ro", str(disk)) == 0
    with pytest.raises((OSError, DeltaError), match=r"(?i)read-only"):
        write(lake)
    other = DeltaLakeManager(disk)
    assert [other.read(SCHEMA.name), other.read_table(OWN_TABLE, to="arrow")] == before
