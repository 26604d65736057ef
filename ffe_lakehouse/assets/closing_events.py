"""What Dagster is told when dead letters are closed: of the closings, the letters, the bars.

A day that Dagster counts as loaded stays as final as it was, and from the same vendors: it only has
more rows. Of a day that was never loaded, or whose last run failed, nothing is said: bars of it are
in the table, but it is still to be loaded.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.assets.events import data_version_tags
from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.dead_letters import against_their_day
from ffe_lakehouse.lake import DeltaLakeManager, Where, newest_versions
from ffe_lakehouse.partitions import ONE_DAY, day_start, partition_key, table_key
from ffe_lakehouse.schemas import CLOSINGS, PRICES, TableSchema, dead_letters, raw_candles
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.candlestick import candlesticks
from ffe_lakehouse.transforms.quality import quality_score
from ffe_lakehouse.watermarks import asked_until, latest_materializations, metadata_of, survey

COUNTS = ("letters_taken", "letters_closed", "bars_written", "bars_there")
"""Metadata of a day of closings. Letters that were taken and not closed are still open."""
WHY_OPEN = "why_open"
"""Metadata of a day of closings: how many letters stay open, by reason; one may have several."""
OPEN_LETTERS = "open_letters"
"""Metadata of a day of dead letters: how many of them are open."""
_ROWS = "dagster/partition_row_count"


@dataclass
class Tally:
    """What became of the letters of one day.

    Attributes:
        taken: Letters that were looked at.
        closed: Of these, were closed.
        written: Of these, became a bar.
        there: Of these, had their bar in the lake already.
        why_open: Reasons of those that stay open.
    """

    taken: int = 0
    closed: int = 0
    written: int = 0
    there: int = 0
    why_open: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Tally") -> "Tally":
        """Count another timeframe of the day, too."""
        for name in ("taken", "closed", "written", "there", "why_open"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def closings_told(
    pair: str, tallies: Mapping[date, Tally], about: Mapping[str, str]
) -> Iterator[dg.AssetMaterialization]:
    """What became of the letters of each day; ``about`` says who closed them, and why."""
    for day, tally in sorted(tallies.items()):
        counts = (tally.taken, tally.closed, tally.written, tally.there)
        metadata: dict[str, Any] = {**dict(zip(COUNTS, counts, strict=True)), **about}
        if tally.why_open:
            metadata[WHY_OPEN] = dict(tally.why_open.most_common())
        yield dg.AssetMaterialization(
            table_key(CLOSINGS), partition=partition_key(pair, day), metadata=metadata
        )


def letters_told(
    instance: dg.DagsterInstance,
    timeframe: Timeframe,
    pair: str,
    days: Iterable[date],
    still_open: pa.Table,
    now: datetime,
) -> Iterator[dg.AssetMaterialization]:
    """How many letters of each day are open, where Dagster was told another number last."""
    counts = Counter(still_open["partition_date"].to_pylist())
    for told in _loaded(instance, dead_letters(timeframe), pair, days, now):
        if told.said(OPEN_LETTERS) != counts[told.day]:
            yield told.but(told.version, {OPEN_LETTERS: counts[told.day]})


def bars_told(
    instance: dg.DagsterInstance,
    lake: DeltaLakeManager,
    timeframe: Timeframe,
    pair: str,
    tallies: Mapping[date, Tally],
    still_open: pa.Table,
    now: datetime,
) -> Iterator[dg.AssetMaterialization]:
    """The days of which the table has more bars than Dagster was told last.

    The letters that were taken count as fetched, and each is in one place: a bar that was written,
    one that was there, or a letter still.
    """
    loaded = _loaded(instance, raw_candles(timeframe), pair, tallies, now)
    if not loaded:
        return
    letters = _loaded(instance, dead_letters(timeframe), pair, tallies, now)
    fetched = {told.day: told.said("rows_fetched") or 0 for told in letters}
    against = Counter(against_their_day(still_open)["partition_date"].to_pylist())
    columns = ["timestamp", *PRICES, "source_provider", "_extracted_at", "partition_date"]
    where = Where((pair,), day_start(loaded[0].day), day_start(loaded[-1].day + ONE_DAY))
    bars = lake.read(raw_candles(timeframe).name, where, columns)
    for told in loaded:
        of_day = bars.filter(pc.field("partition_date") == told.day)
        if told.said(_ROWS) == of_day.num_rows:
            continue
        tally, day = tallies[told.day], told.day
        rest = tally.taken - tally.written - tally.there
        counts = (tally.taken, tally.written, tally.there, 0, rest)
        metadata: dict[str, Any] = dict(zip(METADATA_ROWS, counts, strict=True))
        metadata |= {"rows_revised": 0, _ROWS: of_day.num_rows}
        metadata |= _look(newest_versions(of_day, ("timestamp",)))
        until = min(asked_until(told.record), day_start(day + ONE_DAY))
        expected = expected_bars(parse_symbol(pair), timeframe, day_start(day), until)
        missing = int((~np.isin(expected, of_day["timestamp"].to_numpy())).sum())
        metadata["bars_missing"] = missing
        # The letters that are still open are what of the day's records is still rejected.
        metadata["quality_score"] = quality_score(
            expected=expected.size,
            missing=missing,
            judged=max(fetched.get(day, 0), against[day]),
            rejected=against[day],
        )
        yield told.but(_grown(told.version, of_day.num_rows), metadata)


def _look(bars: pa.Table) -> dict[str, Any]:
    """How a day of bars looks in the UI: one bar a moment, ascending, at least one."""
    first, last = (bars["timestamp"][place].as_py().timestamp() for place in (0, -1))
    prices = np.column_stack([bars[name].to_numpy() for name in PRICES])
    return {
        "first_timestamp": dg.MetadataValue.timestamp(first),
        "last_timestamp": dg.MetadataValue.timestamp(last),
        "candles": dg.MetadataValue.md(candlesticks(prices)),
    }


@dataclass(frozen=True)
class _Told:
    """What Dagster was told last of a day that it counts as loaded.

    Attributes:
        table: Asset.
        day: UTC day.
        record: The materialization.
        version: Its data version; empty if it has none.
    """

    table: dg.AssetKey
    day: date
    record: dg.EventLogRecord
    version: str

    def said(self, name: str) -> Any:
        """A value of the metadata; ``None`` if there is none: somebody reported it by hand."""
        found = metadata_of(self.record).get(name)
        return None if found is None else found.value

    def but(self, version: str, metadata: Mapping[str, Any]) -> dg.AssetMaterialization:
        """The same once more, with another version, and these values in place of those it had."""
        return dg.AssetMaterialization(
            self.table,
            partition=self.record.partition_key,
            metadata={**metadata_of(self.record), **metadata},
            tags=data_version_tags(version) if version else {},
        )


def _loaded(
    instance: dg.DagsterInstance,
    schema: TableSchema,
    pair: str,
    days: Iterable[date],
    now: datetime,
) -> list[_Told]:
    """Those of ``days`` that Dagster counts as loaded, in order."""
    keys = {str(partition_key(pair, day)): day for day in sorted(days)}
    table = table_key(schema)
    known = survey(instance, table, list(keys), now)
    loaded = [key for key in keys if known[key].state.is_loaded]
    records = latest_materializations(instance, table, loaded)
    return [_Told(table, keys[key], records[key], known[key].version) for key in loaded]


def _grown(version: str, rows: int) -> str:
    """A data version by ``watermarks.data_version`` with more rows; another one as it is."""
    finality, before, vendors = (*version.split(":", 2), "", "")[:3]
    return f"{finality}:{rows}:{vendors}" if before.isdigit() else version
