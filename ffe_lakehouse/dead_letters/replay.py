"""Replay: records that were refused are judged anew, and those that pass become bars.

A replay fills holes and changes nothing that is there: a bar that the lake has of the vendor stays
as the vendor gave it, and the letter is settled. Closing the letters is left to the caller, who
does it last: until then, a replay that was killed is simply done again.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from ffe_lakehouse.dead_letters.records import Fields, read_records
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.versions import Changes, newest_versions
from ffe_lakehouse.lake.where import around
from ffe_lakehouse.partitions import ONE_DAY, day_start
from ffe_lakehouse.schemas import BAD_RESPONSE, TableSchema, raw_candles
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows
from ffe_lakehouse.transforms.validation import judge

Write = Callable[[TableSchema, pa.Table, Where], Changes]
"""Append-if-changed, as ``DeltaLakeManager.append_if_changed`` does it."""

_CONFLICT = "conflicting_duplicate"
_BAR = ("timestamp", "source_provider")
_LASTING = frozenset({_CONFLICT, BAD_RESPONSE})
"""Reasons that speak of an answer: a record alone cannot do away with them."""


@dataclass(frozen=True)
class Replayed:
    """What became of letters, in their order: each is settled, or stays open.

    Attributes:
        written: Its bar is new (boolean, shape (n,)).
        there: Its bar was there already, of the same vendor (boolean, shape (n,)).
        why_open: Why each of the others stays open; empty for those that are settled.
    """

    written: np.ndarray
    there: np.ndarray
    why_open: list[tuple[str, ...]]

    @property
    def settled(self) -> np.ndarray:
        """Which letters can be closed (boolean, shape (n,))."""
        settled: np.ndarray = self.written | self.there
        return settled


def replay(
    lake: DeltaLakeManager,
    timeframe: Timeframe,
    letters: pa.Table,
    mapping: Fields,
    now: datetime,
    write: Write,
) -> Replayed:
    """Write those of ``letters`` as bars that obey today's rules.

    A record says what its vendor knew when it was fetched. So a bar that had not closed by then
    stays refused for ever, however long ago that was; a bar that passes is known from ``now`` on.
    Of several letters of one bar, the one that was fetched last counts.

    Args:
        lake: Where the bars are.
        timeframe: Of the letters.
        letters: Rows by ``schemas.dead_letters``, of one pair; at least one.
        mapping: Where to find columns in the records, if not where the vendor writes them.
        now: When the bars become known (UTC).
        write: Append-if-changed.
    """
    reading = read_records(letters, parse_symbol(letters["asset_pair"][0].as_py()), mapping)
    why_open = _judge(letters, reading.candles, timeframe)
    for row, reasons in enumerate(letters["reasons"].to_pylist()):
        lasting = tuple(code for code in reasons if code in _LASTING)
        why_open[row] = lasting or reading.failed.get(row) or why_open[row]

    bars = letters.select(["source_provider", "_extracted_at"])
    bars = bars.append_column("timestamp", reading.candles["timestamp"])
    bars = bars.append_column("row", pa.array(np.arange(letters.num_rows)))
    passing = bars.filter(pa.array([not why for why in why_open], pa.bool_()))
    chosen = newest_versions(passing, _BAR)["row"].combine_chunks()
    rows = bronze_rows(
        reading.candles.take(chosen),
        letters["source_provider"].take(chosen).combine_chunks(),
        Provenance(False, letters["asset_pair"][0].as_py(), timeframe, now),
    )
    place = rows.schema.get_field_index("is_mock")
    rows = rows.set_column(place, rows.schema.field(place), letters["is_mock"].take(chosen))

    schema, days = raw_candles(timeframe), around(letters)
    written = np.zeros(letters.num_rows, dtype=bool)
    # Without values to compare, nothing that is known is revised.
    written[chosen.to_numpy()] = write(replace(schema, values=()), rows, days).written
    stored = lake.read(schema.name, days, _BAR)
    there = np.zeros(letters.num_rows, dtype=bool)
    there[bars.join(stored, _BAR, join_type="left semi")["row"].to_numpy()] = True
    there &= ~written
    settled = written | there
    return Replayed(written, there, [() if settled[i] else why for i, why in enumerate(why_open)])


def _judge(letters: pa.Table, candles: pa.Table, timeframe: Timeframe) -> list[tuple[str, ...]]:
    """Why each candle is no bar of its letter's day; empty for those that are."""
    answers: defaultdict[tuple[date, str, datetime], list[int]] = defaultdict(list)
    named = (letters[n].to_pylist() for n in ("partition_date", "source_provider", "_extracted_at"))
    for row, answer in enumerate(zip(*named, strict=True)):
        answers[answer].append(row)
    found: list[tuple[str, ...]] = [()] * letters.num_rows
    for (day, _, fetched_at), rows in answers.items():
        some = candles.take(pa.array(rows))
        verdict = judge(some, timeframe, day_start(day), day_start(day + ONE_DAY), fetched_at)
        for row, reasons in zip(verdict.rejected.tolist(), verdict.reasons, strict=True):
            found[rows[row]] = reasons
        # Letters are not in the order of the answer: which of two came last, nobody knows any more.
        opens = some["timestamp"].to_pylist()
        contested = {opens[row] for row in verdict.rejected if found[rows[row]] == (_CONFLICT,)}
        for row in verdict.good.tolist():
            if opens[row] in contested:
                found[rows[row]] = (_CONFLICT,)
    return found
