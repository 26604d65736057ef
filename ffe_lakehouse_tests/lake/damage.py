"""A small table, and what power cuts, bad disks and careless hands do to its files."""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deltalake import DeltaTable

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.health import Damage, examine
from ffe_lakehouse.lake.log_files import LakeFiles, Lost
from ffe_lakehouse.partitions import day_start
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars, box, day, facts

TABLE = raw_candles(TIMEFRAMES["1h"])
DAYS = 6

Harm = Callable[[Path], object]


def empty(path: Path) -> None:
    """The file is there, its content never came: a power cut."""
    path.write_bytes(b"")


def tear(path: Path) -> None:
    """Half of it is there."""
    os.truncate(path, path.stat().st_size // 2)


def blank(path: Path) -> None:
    """Its length came to the disk, its content did not."""
    path.write_bytes(bytes(path.stat().st_size))


def cut_a_line(path: Path) -> None:
    """Whole lines are missing: what is left can be read."""
    path.write_bytes(path.read_bytes().partition(b"\n")[0])


def scramble(path: Path) -> None:
    """Sixty bytes of its first pages are others."""
    content = bytearray(path.read_bytes())
    at = 30
    content[at : at + 60] = bytes(byte ^ 0xFF for byte in content[at : at + 60])
    path.write_bytes(content)


def scramble_texts(path: Path) -> None:
    """Bytes of a text are no longer UTF-8; all else can be decoded."""
    content = path.read_bytes()
    assert content.count(b"numRecords") > 1
    path.write_bytes(content.replace(b"numRecords", b"num\xff\xfe\xfdords", 1))


def flip(path: Path, bit: int) -> None:
    """One bit is another."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def age(path: Path) -> None:
    """It was written two days ago."""
    then = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(path, (then, then))


class Patient:
    """A lake with one table of 24 bars a day of one pair: version n holds days 0 to n - 1."""

    def __init__(self, root: Path, days: int = DAYS) -> None:
        """Make the table, or, of no days, take the one that is there."""
        self.root = root
        for number in range(days):
            self.load(number)

    @property
    def lake(self) -> DeltaLakeManager:
        """Opened anew: a process that starts after the damage."""
        return DeltaLakeManager(self.root)

    @property
    def files(self) -> LakeFiles:
        """Its files."""
        return LakeFiles(str(self.root))

    @property
    def folder(self) -> Path:
        """Of the table."""
        return self.root / TABLE.name

    @property
    def log(self) -> Path:
        """Of its log."""
        return self.folder / "_delta_log"

    def commit(self, version: int) -> Path:
        """The commit of a version."""
        return self.log / f"{version:020}.json"

    def checkpoint(self, version: int | None = None) -> Path:
        """Write a checkpoint of the newest or an older version."""
        table = DeltaTable(str(self.folder), version=version)
        table.create_checkpoint()
        return self.log / f"{table.version():020}.checkpoint.parquet"

    def data(self, number: int = 0) -> Path:
        """The data file of a day."""
        lived = DeltaTable(str(self.folder)).get_add_actions(flatten=True)
        at = lived["min.partition_date"].to_pylist().index(day(number).date())
        return self.folder / lived["path"][at].as_py()

    def load(self, number: int) -> None:
        """What a run does for a day: load it, if it is not there."""
        commit = {"dagster/partitions": f"BTCUSD|{number}"}
        rows = bars("BTCUSD", day(number), 24, price=100.0 + number)
        self.lake.append_if_changed(TABLE, rows, box("BTCUSD", number, number), commit)

    def load_again(self, lost: Iterable[Lost]) -> None:
        """Load the days that were lost; others have nobody who would."""
        for each in lost:
            assert each.pair == "BTCUSD"
            first = (day_start(each.first) - START).days if each.first else 0
            last = (day_start(each.last) - START).days if each.last else DAYS - 1
            for number in range(first, last + 1):
                self.load(number)

    def facts(self) -> list[tuple[str, datetime, float]]:
        """All bars that are read."""
        return facts(self.lake.read(TABLE.name))

    def examine(self, *, deep: bool = False) -> list[Damage]:
        """What is wrong."""
        return examine(self.files, TABLE.name, datetime.now(UTC), deep=deep)

    def content(self) -> dict[str, bytes]:
        """Every file of the lake."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file()
        }
