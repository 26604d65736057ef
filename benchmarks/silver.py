"""Figures of Silver: indicators, Bronze to Silver, and a day's increment with years behind it.

    python benchmarks/silver.py [--only NAME ...] [--years 10]

Commands are timed from process start to exit. The years behind an increment are sixty days of the
simulated market, moved back again and again: rows, files and Dagster's events are as many as those
of ten years (67 million bars in three tables, a million events; 20 GB of disk).
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.assets.derived import Batch, Compute, store_batches
from ffe_lakehouse.assets.silver import ENRICH, UNIFY, enrich_days, unify_days
from ffe_lakehouse.derivation import Derived, data_version
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import ONE_DAY, day_start, days_between, partition_key
from ffe_lakehouse.providers.base import CandleQuery
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.schemas import TIMESTAMP, TableSchema, all_tables, raw_candles, storage_periods
from ffe_lakehouse.schemas.silver import MARKET_DATA_UNIFIED
from ffe_lakehouse.settings import SimulatedFaults
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import CARRIED, enrich
from ffe_lakehouse.transforms.indicators import (
    on_balance_volume,
    price_indicators,
    session_vwap,
)
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows

PAIRS = [
    "BTCUSD",
    "ETHUSD",
    "SOLUSD",
    "ADAUSD",
    "XRPUSD",
    "LTCUSD",
    "DOGEUSD",
    "LINKUSD",
    "DOTUSD",
    "AVAXUSD",
]
MINUTE = TIMEFRAMES["1m"]
FFE = Path(sys.executable).with_name("ffe")
SPAN = 60
"""Days that are loaded by real runs; the years before are copies of them."""
LAST = date(2024, 12, 31)
FIRST = LAST - timedelta(SPAN - 1)

Row = tuple[str, str, str]
"""What was measured, the figure, and what was to be reached."""


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--years", type=int, default=10, help="behind the second increment")
    arguments = parser.parse_args()
    write = sys.stdout.write
    write("| what | measured | reach |\n|---|--:|--:|\n")
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            for what, figure, reach in BENCHMARKS[name](Path(folder), arguments.years):
                write(f"| {what} | {figure} | {reach} |\n")
                sys.stdout.flush()


def transforms(folder: Path, _: int) -> Iterator[Row]:
    """Minutes of a quarter of ten pairs: the indicators alone, and from Bronze to Silver."""
    lake = DeltaLakeManager(folder / "lake")
    batch = Batch(tuple(sorted(PAIRS)), date(2024, 1, 1), date(2024, 3, 31))
    for pair in PAIRS:
        bars = simulated(pair, batch)
        lake.append(raw_candles(MINUTE), bars)
    rows = bars.num_rows * len(PAIRS)

    def derive(step: Derived, compute: Compute) -> None:
        days = (batch.first, batch.last)
        for stored in store_batches(step, compute, lake, batch.pairs, days, "benchmark"):
            if stored.error:
                raise stored.error

    seconds = timed(lambda: derive(UNIFY, unify_days)) + timed(lambda: derive(ENRICH, enrich_days))
    fused = lake.read(MARKET_DATA_UNIFIED.name, columns=CARRIED)
    of_pair = [fused.slice(start, bars.num_rows) for start in range(0, rows, bars.num_rows)]
    alone = min(timed(lambda: [indicators(each) for each in of_pair]) for _ in range(3))
    whole = min(
        timed(lambda: [enrich(each, MINUTE, batch.start, batch.end) for each in of_pair])
        for _ in range(3)
    )
    yield f"indicators alone, {rows:,} 1m bars of 10 pairs", speed(rows, alone), "2,000,000 rows/s"
    yield "the same bars enriched, Arrow to Arrow", speed(rows, whole), ""
    yield "from Bronze to committed Silver, the same bars", speed(rows, seconds), "400,000 rows/s"


def increments(folder: Path, years: int) -> Iterator[Row]:
    """One day of ten pairs in six timeframes, after two months and after years."""
    os.environ |= {"FFE_HOME": str(folder), "DAGSTER_HOME": str(folder / "dagster")}
    before = LAST - timedelta(4)
    ffe("backfill", *days(FIRST, before), "--layers", "bronze,silver")
    few = min(increment(before + timedelta(n)) for n in (1, 2))
    yield f"a day of 10 pairs x 6 timeframes, whole command, {SPAN} days behind", f"{few:.1f} s", ""
    go_back(folder, days_between(FIRST, before), 365 * years)
    many = min(increment(before + timedelta(n)) for n in (3, 4))
    yield f"the same, {years} years behind", f"{many:.1f} s", "6 s"
    yield "the second as a multiple of the first", f"{many / few:.2f}", "1.3"


BENCHMARKS: dict[str, Callable[[Path, int], Iterator[Row]]] = {
    "transforms": transforms,
    "increments": increments,
}


def indicators(bars: pa.Table) -> None:
    """Every number of the enriched bars, in memory."""
    high, low, close, volume = (bars[n].to_numpy() for n in ("high", "low", "close", "volume"))
    price_indicators(high, low, close)
    on_balance_volume(close, volume)
    session_vwap(bars["timestamp"].cast(pa.int64()).to_numpy(), high, low, close, volume)


def simulated(pair: str, batch: Batch) -> pa.Table:
    """Bronze minutes of a pair."""
    query = CandleQuery(parse_symbol(pair), MINUTE, batch.start, batch.end)
    pages = SimulatedProvider(0, SimulatedFaults()).fetch(query)
    candles = pa.concat_tables([page.candles for page in pages])
    source = Provenance(True, pair, MINUTE, batch.end)
    return bronze_rows(candles, pa.array(["simulated"] * candles.num_rows), source)


def increment(day: date) -> float:
    """Seconds of the command that derives a day, whose Bronze has just come."""
    ffe("backfill", *days(day, day))
    return timed(lambda: ffe("backfill", *days(day, day), "--layers", "silver"))


def days(first: date, last: date) -> list[str]:
    """Options of a command over all pairs."""
    return ["--assets", ",".join(PAIRS), "--start", str(first), "--end", str(last)]


def ffe(*arguments: str) -> None:
    """Run a command to its end.

    Raises:
        CalledProcessError: It failed.
    """
    subprocess.run([FFE, *arguments], check=True, stdout=sys.stderr)  # noqa: S603 - our own


def go_back(folder: Path, span: list[date], most: int) -> None:
    """Put copies of what is there before it: rows and events, up to ``most`` days."""
    lake = DeltaLakeManager(folder / "lake")
    tables = {name: all_tables()[name] for name in all_tables() if lake.table_exists(name)}
    shifts = range(len(span), most, len(span))
    where = Where(None, day_start(span[0]), day_start(span[-1] + ONE_DAY))
    for name, schema in tables.items():
        if schema.time_column == "timestamp":
            rows = lake.read(name, where)
            for shift in shifts:
                lake.append(schema, moved(schema, rows, shift))
    remember(folder, span, shifts)


def moved(schema: TableSchema, rows: pa.Table, shift: int) -> pa.Table:
    """Rows, so many days earlier."""
    back = np.timedelta64(shift, "D")
    for field in schema.arrow:
        if pa.types.is_timestamp(field.type) and not field.name.startswith("_"):
            values = pc.subtract(rows[field.name], pa.scalar(back.astype("timedelta64[us]")))
            rows = put(rows, field.name, values.cast(TIMESTAMP))
    dates = rows["partition_date"].to_numpy() - back
    rows = put(rows, "partition_date", pa.array(dates))
    codes = rows["timeframe"].to_numpy() if "timeframe" in rows.column_names else None
    fine = np.isin(codes, ["1m", "5m", "15m"]) if codes is not None else schema.name[-1] == "m"
    month, year = (storage_periods(dates, TIMEFRAMES[code]) for code in ("1m", "1d"))
    periods = (
        pc.if_else(pa.array(fine), month, year) if codes is not None else (month if fine else year)
    )
    return put(rows, "storage_period", periods)


def put(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The same rows with other values in a column."""
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)


def remember(folder: Path, span: list[date], shifts: range) -> None:
    """Repeat the events of ``span`` for the days before it."""
    with closing(sqlite3.connect(folder / "dagster" / "history" / "runs" / "index.db")) as index:
        index.execute("PRAGMA synchronous=OFF")
        seeds = index.execute(
            "SELECT event_logs.*, value FROM event_logs"
            " LEFT JOIN asset_event_tags ON event_id = event_logs.id AND key LIKE '%version'"
            " WHERE partition LIKE ? ORDER BY event_logs.id",
            (f"%{span[0]}",),
        ).fetchall()
        (number,) = index.execute("SELECT max(id) FROM event_logs").fetchone()
        first = str(span[0])
        for day in days_between(span[0] - timedelta(shifts[-1]), span[0] - timedelta(1)):
            for _, run_id, event, kind, at, step, asset, key, version in seeds:
                number += 1
                pair = key.partition("|")[0]
                text = str(partition_key(pair, day))
                index.execute(
                    "INSERT INTO event_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (number, run_id, event.replace(first, str(day)), kind, at, step, asset, text),
                )
                if version is not None:
                    seen = data_version(10**15) if version.startswith("seen") else version
                    index.execute(
                        "INSERT INTO asset_event_tags"
                        " (event_id, asset_key, key, value, event_timestamp)"
                        " VALUES (?, ?, 'dagster/data_version', ?, ?)",
                        (number, asset, seen, at),
                    )
        # Newer numbers than those of the days behind them: they would else look stale.
        index.execute(
            "UPDATE asset_event_tags SET value = ? WHERE value LIKE 'seen:%'",
            (data_version(10**15),),
        )
        index.commit()


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def speed(rows: int, seconds: float) -> str:
    """``1,234,000 rows/s``."""
    return f"{round(rows / seconds, -3):,.0f} rows/s"


if __name__ == "__main__":
    main()
