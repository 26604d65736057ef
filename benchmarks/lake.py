"""Figures of the lake: what layout, compaction and order are worth, and how it grows.

    python benchmarks/lake.py [--timeframes 1h,1m]   a year of ten pairs, by a commit a day
    python benchmarks/lake.py --scale 1,10,100       tables of so many million 1m bars

Every reading is the median of several, after one that warms up; a table stays open between them, as
it does in a run. The bars walk at random in cents, as real ones do, with volumes of eight digits.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from deltalake import DeltaTable, WriterProperties, write_deltalake

from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.statistics import out_of_order, table_statistics
from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.schemas import TIMESTAMP, raw_candles
from ffe_lakehouse.timeframes import Timeframe, parse_timeframe
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows

PAIRS = [
    *("ADAUSD", "AVAXUSD", "BTCUSD", "DOGEUSD", "DOTUSD"),
    *("ETHUSD", "LINKUSD", "LTCUSD", "SOLUSD", "XRPUSD"),
]
YEAR = datetime(2023, 1, 1, tzinfo=UTC)
DAYS = 365
KNOWN = datetime(2024, 2, 1, tzinfo=UTC)
WEEK = Where(("LTCUSD",), YEAR + timedelta(160), YEAR + timedelta(167))
BAR = Where(("LTCUSD",), YEAR + timedelta(163, hours=5), YEAR + timedelta(163, hours=5, minutes=1))
READINGS: Mapping[str, Where] = {"full scan": Where(), "pair and week": WEEK, "one bar": BAR}

ROUNDS, PATIENCE = 51, 15.0
"""A reading is repeated so often, or for so many seconds if that is less."""

Row = tuple[str, str, str]
"""What was measured, the figure, and what was to be reached."""
Read = Callable[[Where], pa.Table]


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--timeframes", default="1h,1m", help="of the year, with commas")
    parser.add_argument("--scale", help="millions of 1m bars, with commas, in place of the year")
    given = parser.parse_args()
    codes = [parse_timeframe(code) for code in given.timeframes.split(",")]
    sizes = [float(size) for size in given.scale.split(",")] if given.scale else []
    jobs = [lambda folder, size=size: grown(folder, size) for size in sizes]
    if not jobs:
        jobs = [lambda folder, of=of: a_year(folder, of) for of in codes]
        jobs += [lambda folder: sizes_on_disk(folder, codes[-1])]
        jobs += [lambda folder: increments(folder)]
    sys.stdout.write("| what | measured | reach |\n|---|--:|--:|\n")
    for job in jobs:
        with tempfile.TemporaryDirectory() as folder:
            for what, figure, reach in job(Path(folder)):
                sys.stdout.write(f"| {what} | {figure} | {reach} |\n")
                sys.stdout.flush()


def a_year(folder: Path, of: Timeframe) -> Iterator[Row]:
    """A year of ten pairs: by daily increments, then compacted, then in order, and otherwise."""
    schema = raw_candles(of)
    rows = pa.concat_tables([candles(pair, of, YEAR, DAYS) for pair in PAIRS])
    what = f"{of} x {len(PAIRS)} pairs x 1 year ({rows.num_rows:,} rows)"
    lake = DeltaLakeManager(folder / "lake", durable=False)
    for number in range(DAYS):
        lake.append(schema, of_days(rows, number, 1))
    unoptimized = files(lake, schema.name)
    read: Read = partial(lake.read, schema.name)
    times = readings({"a commit a day": read})
    yield from shown(what, f"a commit a day, {unoptimized:,} files", times["a commit a day"])
    lake.optimize_table(schema.name)
    times |= readings({"compacted": read})
    yield from shown(what, f"compacted, {files(lake, schema.name)} files", times["compacted"])
    lake.optimize_table(schema.name, ["timestamp"])
    parquet = sorted_parquet(folder / "sorted.parquet", rows)
    times |= readings({"in order": read, "Parquet": parquet})
    yield from shown(what, "and in order by time", times["in order"])
    yield from shown(what, "one sorted Parquet file, by DuckDB", times["Parquet"])
    times |= readings({"day x pair": day_by_pair(folder / "day-by-pair", rows)})
    yield from shown(what, "Delta partitions by day and pair", times["day x pair"])
    whole = times["a commit a day"]["full scan"]
    for state, reach in (("a commit a day", ""), ("compacted", "22"), ("in order", "56")):
        faster = whole / times[state]["pair and week"]
        ending = "times" if reach else ""
        text = f"{of}: pruned by pair and week, {state}, against the full scan of a commit a day"
        yield text, f"{faster:.0f} times faster", f"{reach} {ending}".strip()
    for name in READINGS:
        share = times["in order"][name] / times["Parquet"][name]
        yield f"{of}: {name}, in order, against sorted Parquet", f"{share:.2f}", "1.3"


def shown(what: str, how: str, seconds: Mapping[str, float]) -> Iterator[Row]:
    """The readings of one layout, in one line."""
    figures = ", ".join(f"{name} {1000 * each:.1f} ms" for name, each in seconds.items())
    yield f"{what}: {how}", figures, ""


def readings(reads: Mapping[str, Read]) -> dict[str, dict[str, float]]:
    """Median seconds of every reading of some layouts, in turn: what disturbs one disturbs all."""
    found: dict[str, dict[str, float]] = {layout: {} for layout in reads}
    for name, where in READINGS.items():
        calls = [partial(read, where) for read in reads.values()]
        for call in calls:
            call()
        begun, seconds = time.perf_counter(), []
        while len(seconds) < ROUNDS and time.perf_counter() - begun < PATIENCE:
            seconds.append([timed(call) for call in calls])
        for layout, median in zip(reads, np.median(seconds, axis=0), strict=True):
            found[layout][name] = float(median)
    return found


def sorted_parquet(path: Path, rows: pa.Table) -> Read:
    """Readings of one plain file, sorted by pair and time."""
    ordered = rows.sort_by([("asset_pair", "ascending"), ("timestamp", "ascending")])
    pq.write_table(ordered, path, compression="zstd")
    connection = duckdb.connect()

    def read(where: Where) -> pa.Table:
        query = f"SELECT * FROM '{path}'"  # noqa: S608 - our own path
        if where.pairs:
            query += " WHERE asset_pair = ? AND timestamp >= ? AND timestamp < ?"
        values = [*(where.pairs or ()), *filter(None, (where.start, where.end))]
        return connection.execute(query, values).to_arrow_table()

    return read


def day_by_pair(path: Path, rows: pa.Table) -> Read:
    """Readings of a Delta table with a partition for each day and pair."""
    layout = ["partition_date", "partition_asset_pair"]
    properties = WriterProperties(compression="ZSTD")
    write_deltalake(path, rows, partition_by=layout, writer_properties=properties)
    table = DeltaTable(path)

    def read(where: Where) -> pa.Table:
        predicate = None
        if where.pairs and where.start and where.end:
            schema = raw_candles(parse_timeframe("1d"))
            days = f"partition_date >= DATE '{where.start:%Y-%m-%d}'"
            days += f" AND partition_date <= DATE '{where.end:%Y-%m-%d}'"
            bounds = Where(where.pairs, where.start, where.end).sql(schema) or ""
            bounds = " AND ".join(p for p in bounds.split(" AND ") if "storage_period" not in p)
            predicate = f"{days} AND {bounds}"
        table.update_incremental()
        return pa.RecordBatchReader.from_stream(table.scan(predicate=predicate)).read_all()

    return read


def increments(folder: Path) -> Iterator[Row]:
    """Files after a year of daily increments of three timeframes, before and after."""
    lake = DeltaLakeManager(folder / "lake", durable=False)
    counts = [0, 0]
    for code in ("15m", "1h", "1d"):
        of = parse_timeframe(code)
        rows = pa.concat_tables([candles(pair, of, YEAR, DAYS) for pair in PAIRS])
        for number in range(DAYS):
            lake.append(raw_candles(of), of_days(rows, number, 1))
        counts[0] += files(lake, raw_candles(of).name)
        lake.optimize_table(raw_candles(of).name)
        counts[1] += files(lake, raw_candles(of).name)
    what = "files after a year of daily increments, 10 pairs x 15m, 1h, 1d, compacted"
    yield what, f"{counts[0]:,} -> {counts[1]:,}", "10,000 -> 500"


def sizes_on_disk(folder: Path, of: Timeframe) -> Iterator[Row]:
    """Bytes a row by codec, and as CSV."""
    schema = raw_candles(of)
    rows = pa.concat_tables([candles(pair, of, YEAR, 90) for pair in PAIRS])
    found = {}
    for codec in ("zstd", "snappy"):
        lake = DeltaLakeManager(folder / codec, compression=codec, durable=False)
        lake.append(schema, rows)
        sizes = pa.table(lake.table(schema.name).get_add_actions())["size_bytes"]
        found[codec] = sum(sizes.to_pylist()) / rows.num_rows
    pa_csv.write_csv(rows, folder / "rows.csv")
    found["CSV"] = (folder / "rows.csv").stat().st_size / rows.num_rows
    figures = ", ".join(f"{name} {size:.1f}" for name, size in found.items())
    yield f"bytes a row of {of}, all 16 columns", figures, ""


def grown(folder: Path, millions: float) -> Iterator[Row]:
    """A table of so many million 1m bars of 20 pairs, written as it is by default: durably.

    All but the last 30 days are written month by month, these day by day.
    """
    of = parse_timeframe("1m")
    schema = raw_candles(of)
    pairs = [*PAIRS, *(f"{pair[:-3]}EUR" for pair in PAIRS)]
    days = max(31, round(millions * 1e6 / len(pairs) / 1440))
    lake = DeltaLakeManager(folder / "lake")
    begin, rows, seconds = YEAR, 0, 0.0
    spans = [30] * ((days - 30) // 30) + [(days - 30) % 30]
    for span in filter(None, spans):
        batch = pa.concat_tables([candles(pair, of, begin, span) for pair in pairs])
        seconds += timed(lambda batch=batch: lake.append(schema, batch))
        rows, begin = rows + batch.num_rows, begin + timedelta(span)
    what = f"{millions:g} M bars"
    yield f"{what}: written by months", f"{rows / seconds:,.0f} rows/s", ""
    daily = []
    for number in range(30):
        day = begin + timedelta(number)
        batch = pa.concat_tables([candles(pair, of, day, 1) for pair in pairs])
        daily.append(timed(lambda batch=batch: lake.append(schema, batch)))
        rows += batch.num_rows
    yield f"{what}: a day of 20 pairs more", f"{1000 * float(np.median(daily)):.0f} ms", ""
    before = files(lake, schema.name)
    whole = timed(lambda: lake.optimize_table(schema.name))
    # A batch of 30 days ends in the middle of a month.
    yield f"{what}: compacted, every month has several files", f"{whole:.1f} s", ""
    after = files(lake, schema.name)
    yield f"{what}: files before and after", f"{before:,} -> {after:,}", ""
    batch = pa.concat_tables([candles(pair, of, begin + timedelta(30), 1) for pair in pairs])
    lake.append(schema, batch)
    rows += batch.num_rows
    night = timed(lambda: lake.optimize_table(schema.name))
    yield f"{what}: compacted after a day more", f"{night:.1f} s", ""
    sizes = pa.table(lake.table(schema.name).get_add_actions())["size_bytes"].to_pylist()
    yield f"{what}: on disk", f"{sum(sizes) / 1e9:.2f} GB of {rows:,} rows", ""
    anew = median_seconds(lambda: DeltaLakeManager(folder / "lake").table(schema.name))
    yield f"{what}: the table opened anew", f"{1000 * anew:.0f} ms", ""
    week = Where(("LTCUSD",), begin + timedelta(3), begin + timedelta(10))
    pruned = median_seconds(lambda: lake.read(schema.name, week))
    yield f"{what}: one pair and week of it read", f"{1000 * pruned:.0f} ms", ""
    uri = lake.table_uri(schema.name)
    column = median_seconds(lambda: lake.engine.read(uri, ["close"], None, None), 3)
    yield f"{what}: one column of all of it read", f"{column:.2f} s", ""
    again = timed(lambda: lake.optimize_table(schema.name))
    yield f"{what}: compacted again, nothing to do", f"{1000 * again:.0f} ms", ""
    looked = timed(lambda: out_of_order(lake.table(schema.name), "timestamp"))
    yield f"{what}: looked through for rows that are out of order", f"{looked:.1f} s", ""
    counted = timed(lambda: table_statistics(uri, {}))
    yield f"{what}: counted, oldest readable version included", f"{counted:.1f} s", ""


def candles(pair: str, of: Timeframe, start: datetime, days: int) -> pa.Table:
    """Bronze rows of a pair: a walk in cents around 30,000."""
    count = int(timedelta(days) / of.duration)
    random = np.random.default_rng([count, *pair.encode(), int(start.timestamp())])
    steps = random.normal(0, 8, (count, 4))
    close = np.round(30_000 + steps[:, 0].cumsum(), 2).clip(1_000)
    opened = np.append(close[:1], close[:-1])
    high = np.round(np.maximum(opened, close) + np.abs(steps[:, 1]), 2)
    low = np.round(np.minimum(opened, close) - np.abs(steps[:, 2]), 2)
    begin = np.datetime64(start.replace(tzinfo=None), "us")
    times = pa.array(begin + np.arange(count) * of.step, pa.timestamp("us"))
    values = {
        "timestamp": times.cast(TIMESTAMP),
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.round(np.exp(steps[:, 3] / 8 + 2), 8),
        "trade_count": pa.nulls(count, pa.float64()),
        "vwap": pa.nulls(count, pa.float64()),
    }
    raw = pa.table({name: values[name] for name in RAW_CANDLES.names})
    return bronze_rows(raw, pa.array(["coinbase"] * count), Provenance(False, pair, of, KNOWN))


def of_days(rows: pa.Table, first: int, days: int) -> pa.Table:
    """The rows of so many days since the year began."""
    begin = YEAR.date() + timedelta(first)
    of = pa.compute.field("partition_date")
    return rows.filter((of >= begin) & (of < begin + timedelta(days)))


def files(lake: DeltaLakeManager, name: str) -> int:
    """Data files of the newest version."""
    return len(lake.table(name).file_uris())


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def median_seconds(action: Callable[[], object], times: int = 7) -> float:
    """Median over several calls, after one that does not count."""
    action()
    return float(np.median([timed(action) for _ in range(times)]))


if __name__ == "__main__":
    main()
