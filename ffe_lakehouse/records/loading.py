"""The way of a record: from its file to the dead letters and to Bronze, without Dagster.

First every refused record is stored, then the others, one commit a table. Killed at any moment and
done again, it ends the same: what is stored is known by then, and everything is told once more.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.versions import EXTRACTED, Changes
from ffe_lakehouse.records.files import NEWS, LandedFile, read_file
from ffe_lakehouse.records.news import read_news
from ffe_lakehouse.records.rows import (
    Judged,
    bronze_rows,
    hold_to_rules,
    letter_rows,
    read_record,
)
from ffe_lakehouse.records.versions import Fate, Told, known_versions, settle
from ffe_lakehouse.schemas.records import (
    RAW_NEWS_SENTIMENT,
    RAW_TRADE_EXECUTIONS,
    record_letters,
)
from ffe_lakehouse.schemas.table import TableSchema
from ffe_lakehouse.symbols import Symbol

Write = Callable[[TableSchema, pa.Table, Where], Changes]
"""Append-if-changed, as ``DeltaLakeManager.append_if_changed`` does it."""

Place: TypeAlias = tuple[str | None, date]
"""A partition: pair (``None`` in a table without pairs) and UTC day."""
Thing: TypeAlias = tuple[str | None, str]
"""What versions on several days are of: pair and the thing's name, such as a trade's."""

_MOST_BYTES = 256 * 2**20
"""Files that are read together; in memory they take some ten times as much."""
_PAIR, _DAY = "partition_asset_pair", "partition_date"
_MOVES = {RAW_TRADE_EXECUTIONS.name: "trade_id", RAW_NEWS_SENTIMENT.name: "article_id"}
"""Tables where versions of one thing lie on several days, and what tells that it is one."""


@dataclass
class Day:
    """What became of one partition.

    Attributes:
        counts: How often each fate befell one of its records.
        files: Which files told of it.
        first: Earliest time of these records (UTC); ``None`` if they are none.
        last: Latest one.
        rows: Versions that the table now holds of it.
        elsewhere: Versions of the same trades or articles on other days.
    """

    counts: Counter[Fate] = field(default_factory=Counter)
    files: set[str] = field(default_factory=set)
    first: datetime | None = None
    last: datetime | None = None
    rows: int = 0
    elsewhere: int = 0

    def add(self, fate: Fate, file: str, moment: datetime) -> None:
        """Count a record."""
        self.counts[fate] += 1
        self.files.add(file)
        self.first = min(self.first or moment, moment)
        self.last = max(self.last or moment, moment)


@dataclass
class Loaded:
    """What became of the records of one table.

    Attributes:
        schema: The table.
        files: Whose records they are.
        fetched: How many they are: written, unchanged, duplicate and rejected ones.
        rejected: Those that are in the dead letters, new there or not.
        unrelated: Of news, articles beside that mention no pair of the universe.
        new_letters: Of these, how many were not there before; equal ones are one letter.
        letters: Dead letters that the table now holds.
        reasons: How often each reason was given; a record may have several.
        days: Every partition that a record lies in, and those that hold other versions of it.
        things: What the records are versions of, where such versions lie on several days.
    """

    schema: TableSchema
    files: list[str] = field(default_factory=list)
    fetched: int = 0
    rejected: int = 0
    unrelated: int = 0
    new_letters: int = 0
    letters: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    days: defaultdict[Place, Day] = field(default_factory=lambda: defaultdict(Day))
    things: set[Thing] = field(default_factory=set)

    def count(self, fate: Fate) -> int:
        """How many records it befell."""
        return sum(day.counts[fate] for day in self.days.values())


@dataclass(frozen=True)
class Loader:
    """Where records are stored, and by which clock.

    Attributes:
        lake: The tables.
        write: Append-if-changed.
        run_id: Dagster run, for the dead letters.
        start: First day of the lake (UTC).
        now: The present moment (UTC).
        symbols: The pairs whose news are wanted.
    """

    lake: DeltaLakeManager
    write: Write
    run_id: str
    start: date
    now: datetime
    symbols: Sequence[Symbol] = ()

    def load(self, files: Sequence[LandedFile]) -> tuple[list[Loaded], dict[str, str]]:
        """Store all records of these files.

        Returns:
            What became of them, by table; and why some of the files could not be read.
        """
        loaded: dict[str, Loaded] = {}
        unread: dict[str, str] = {}
        for some in _together(sorted(files, key=lambda file: (file.changed, file.name))):
            self._load(some, loaded, unread)
        for each in loaded.values():
            self._look(each)
        return list(loaded.values()), unread

    def _load(
        self, files: Iterable[LandedFile], loaded: dict[str, Loaded], unread: dict[str, str]
    ) -> None:
        judged: dict[str, list[Judged]] = {}
        for file in files:
            table = RAW_NEWS_SENTIMENT if file.kind == NEWS else file.contract.table
            try:
                records, beside = self._read(file)
            except OSError as error:
                unread[file.name] = str(error)
                continue
            of_table = loaded.setdefault(table.name, Loaded(table))
            of_table.files.append(file.name)
            of_table.unrelated += beside
            judged.setdefault(table.name, []).extend(records)
        for name, verdicts in judged.items():
            hold_to_rules(verdicts, loaded[name].schema, self.start, self.now)
        for name, verdicts in judged.items():
            self._refuse(loaded[name], [each for each in verdicts if each.faults.codes])
        for name, verdicts in judged.items():
            self._store(loaded[name], [each for each in verdicts if not each.faults.codes])

    def _read(self, file: LandedFile) -> tuple[list[Judged], int]:
        if file.kind == NEWS:
            return read_news(file, self.symbols)
        return [read_record(said) for said in read_file(file)], 0

    def _refuse(self, loaded: Loaded, refused: list[Judged]) -> None:
        letters = letter_rows(refused, loaded.schema, self.now, self.run_id)
        # Of every day: a letter without a time of its own is of the day it was first refused.
        changes = self.write(record_letters(loaded.schema), letters, Where())
        loaded.fetched += len(refused)
        loaded.rejected += len(refused)
        loaded.reasons.update(code for each in refused for code in each.reasons)
        loaded.new_letters += int(changes.written.sum())
        loaded.letters = changes.known_days.size + int(changes.written.sum())

    def _store(self, loaded: Loaded, lawful: list[Judged]) -> None:
        loaded.fetched += len(lawful)
        if not lawful:
            return
        schema = loaded.schema
        rows = bronze_rows(lawful, schema, self.now)
        keys = list(zip(*(rows[name].to_pylist() for name in schema.key), strict=True))
        told = [
            Told(key, each.said.text, each.said.file.changed_at)
            for key, each in zip(keys, lawful, strict=True)
        ]
        where = _around(rows)
        if "timestamp" not in schema.key:  # A version may tell of another time.
            where = Where(where.pairs)
        fates, rounds = settle(told, known_versions(self._stored(schema, where, set(keys))))
        for turn, numbers in enumerate(rounds):
            some = rows.take(pa.array(numbers, pa.int64()))
            changes = self.write(schema, _stamped(some, self.now, turn), where)
            for number in np.array(numbers)[~changes.written].tolist():
                fates[number] = Fate.UNCHANGED  # another run was faster
        thing = _MOVES.get(schema.name)
        for each, fate in zip(lawful, fates, strict=True):
            moment, pair = each.row["timestamp"], each.row.get("asset_pair")
            loaded.days[pair, moment.date()].add(fate, each.said.file.name, moment)
            if thing is not None:
                loaded.things.add((pair, each.row[thing]))

    def _stored(
        self, schema: TableSchema, where: Where, keys: set[tuple[object, ...]]
    ) -> Iterator[tuple[tuple[object, ...], str, datetime]]:
        """Versions that are stored of these facts: key, record, when it became known."""
        if not self.lake.table_exists(schema.name):
            return
        names = [*schema.key, "record", EXTRACTED]
        rows = self.lake.read(schema.name, where, names)
        for *key, text, since in zip(*(rows[name].to_pylist() for name in names), strict=True):
            if tuple(key) in keys:
                yield tuple(key), text, since

    def _look(self, loaded: Loaded) -> None:
        """Count what the table holds of every day, and find the days of other versions."""
        if not loaded.days:
            return
        name, has_pairs = loaded.schema.name, _PAIR in loaded.schema.arrow.names
        thing = _MOVES.get(name)
        columns = [_DAY, *([_PAIR] if has_pairs else []), *([thing] if thing else [])]
        pairs = sorted({pair for pair, _ in loaded.days if pair is not None})
        where = Where(tuple(pairs) if has_pairs else None)
        if thing is None:
            where = _whole_days(where.pairs, [day for _, day in loaded.days])
        rows = self.lake.read(name, where, columns)
        pair_of_row = rows[_PAIR].to_pylist() if has_pairs else [None] * rows.num_rows
        places: list[Place] = list(zip(pair_of_row, rows[_DAY].to_pylist(), strict=True))
        if thing is not None:
            _find_others(loaded, zip(places, rows[thing].to_pylist(), strict=True))
        held = Counter(places)
        for place, day in loaded.days.items():
            day.rows = held[place]


def _find_others(loaded: Loaded, stored: Iterable[tuple[Place, str]]) -> None:
    """Days that hold other versions of what was loaded: they are told of, too."""
    days_of: defaultdict[Thing, Counter[Place]] = defaultdict(Counter)
    for place, name in stored:
        days_of[place[0], name][place] += 1
    told = set(loaded.days).union(*(days_of[thing] for thing in loaded.things))
    for of_thing in days_of.values():
        for place in told & of_thing.keys():
            loaded.days[place].elsewhere += of_thing.total() - of_thing[place]


def _together(files: Iterable[LandedFile]) -> Iterator[list[LandedFile]]:
    """Files in their order, in as few lots as memory allows."""
    lot: list[LandedFile] = []
    size = 0
    for file in files:
        if lot and size + file.size > _MOST_BYTES:
            yield lot
            lot, size = [], 0
        lot.append(file)
        size += file.size
    if lot:
        yield lot


def _around(rows: pa.Table) -> Where:
    """The pairs and whole days that hold ``rows``, of which there is at least one."""
    pairs = tuple(rows[_PAIR].unique().to_pylist()) if _PAIR in rows.column_names else None
    return _whole_days(pairs, pc.min_max(rows[_DAY]).as_py().values())


def _whole_days(pairs: tuple[str, ...] | None, days: Iterable[date]) -> Where:
    days = sorted(days)
    end = datetime.combine(days[-1], time(0), UTC) + timedelta(days=1)
    return Where(pairs, datetime.combine(days[0], time(0), UTC), end)


def _stamped(rows: pa.Table, now: datetime, turn: int) -> pa.Table:
    """Rows that became known ``turn`` microseconds after ``now``: after the versions before."""
    index = rows.schema.get_field_index(EXTRACTED)
    stamp = pa.scalar(now + timedelta(microseconds=turn), rows.schema.field(index).type)
    return rows.set_column(index, rows.schema.field(index), pa.repeat(stamp, rows.num_rows))
