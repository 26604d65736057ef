"""Figures of Bronze: how long loading and reading take, and how much memory.

    python benchmarks/ingest.py [--shared ../shared] [--only NAME ...]

Whole commands are timed from process start, in a new home each. Everything else runs here, on real
bars where ``--shared`` has them. The results of one machine stand in ``docs/performance.md``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import WriterProperties, write_deltalake

from ffe_lakehouse.ingestion import Ingestion
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import PairDays, day_start
from ffe_lakehouse.providers.base import Provider
from ffe_lakehouse.providers.files import FilesProvider
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.schemas import TIMESTAMP, raw_candles
from ffe_lakehouse.settings import SimulatedFaults
from ffe_lakehouse.timeframes import TIMEFRAMES

TEN_PAIRS = "BTCUSD,ETHUSD,SOLUSD,ADAUSD,XRPUSD,LTCUSD,DOGEUSD,LINKUSD,DOTUSD,AVAXUSD"
MINUTE = TIMEFRAMES["1m"]

Row = tuple[str, str, str]
"""What was measured, the figure, and what was to be reached."""


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    shared = Path(os.environ.get("FFE_SHARED", "../shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder of the real candles")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=list(BENCHMARKS))
    arguments = parser.parse_args()
    write = sys.stdout.write
    write("| what | measured | reach |\n|---|--:|--:|\n")
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            for what, figure, reach in BENCHMARKS[name](Path(folder), arguments.shared.resolve()):
                write(f"| {what} | {figure} | {reach} |\n")
                sys.stdout.flush()


def commands(folder: Path, shared: Path) -> Iterator[Row]:
    """Whole commands, from process start to exit."""
    seconds, _ = backfill(folder / "small", "--assets", "BTCUSD,ETHUSD", *last_days(7))
    yield "2 pairs x 6 timeframes x 7 days, simulated, whole command", f"{seconds:.1f} s", "8 s"
    seconds, megabytes = backfill(folder / "large", "--assets", TEN_PAIRS, *last_days(90))
    yield "10 x 6 x 90 days (1,669,500 rows), whole command", f"{seconds:.1f} s", "30 s"
    yield "peak memory of the same", f"{megabytes:,.0f} MB", "1,500 MB"
    real = shared / "data" / "candles" / "coinbase"
    if real.is_dir():
        span = ["--start", "2020-01-01", "--end", "2023-12-31"]
        what = ["--provider", "files", "--source", str(real), "--timeframes", "1h"]
        seconds, _ = backfill(folder / "real", "--assets", "BTCUSD", *what, *span)
        yield (
            "four real years of BTCUSD 1h (35,058 rows), whole command",
            f"{seconds:.1f} s",
            "10 s",
        )


def scaling(folder: Path, _: Path) -> Iterator[Row]:
    """Ten times the days."""
    few, _ = backfill(folder / "few", "--assets", "BTCUSD,ETHUSD", *last_days(30))
    many, _ = backfill(folder / "many", "--assets", "BTCUSD,ETHUSD", *last_days(300))
    figure = f"{many / few:.1f} times ({few:.1f} s, {many:.1f} s)"
    yield "ten times the days (2 pairs x 6 timeframes, 30 and 300 days)", figure, "11 times"


def without_dagster(folder: Path, shared: Path) -> Iterator[Row]:
    """From file to commit, and the same rows by a bare ``write_deltalake``."""
    days = 700
    window = PairDays("BTCUSD", date(2020, 1, 1), date(2020, 1, 1) + timedelta(days - 1))
    write_real_bars(shared, folder / "BTCUSD_1m.parquet", days * 1440)
    lake = DeltaLakeManager(folder / "lake")
    begun = time.perf_counter()
    rows = ingest(FilesProvider(folder), lake, window, batch_days=30)
    ours = rows / (time.perf_counter() - begun)
    yield f"fetch to commit without Dagster, {rows:,} real bars", f"{ours:,.0f} rows/s", "500,000"
    table = lake.read(raw_candles(MINUTE).name)
    begun = time.perf_counter()
    write_deltalake(
        folder / "bare",
        table,
        partition_by=list(raw_candles(MINUTE).partition_by),
        writer_properties=WriterProperties(compression="ZSTD"),
    )
    bare = rows / (time.perf_counter() - begun)
    yield "bare write_deltalake of the finished table", f"{bare:,.0f} rows/s", ""
    yield "fetch to commit, as a share of it", f"{ours / bare:.2f}", "0.20"


def reading(folder: Path, _: Path) -> Iterator[Row]:
    """One day of one pair out of ten pairs and a year of minutes."""
    lake = DeltaLakeManager(folder)
    provider = SimulatedProvider(0, SimulatedFaults())
    first = date(2024, 1, 1)
    rows = sum(
        ingest(provider, lake, PairDays(pair, first, first + timedelta(364)), batch_days=30)
        for pair in TEN_PAIRS.split(",")
    )
    schema = raw_candles(MINUTE)
    day = day_start(date(2024, 6, 15))
    where = Where(("LTCUSD",), day, day + timedelta(days=1))

    def open_and_read() -> None:
        DeltaLakeManager(folder).read(schema.name, where)

    figure = f"{median_seconds(open_and_read) * 1000:.0f} ms"
    yield f"one (pair, day) of {rows:,} rows, table opened anew", figure, "50 ms"


def backfill(home: Path, *arguments: str) -> tuple[float, float]:
    """Run ``ffe backfill`` in a new home; returns its seconds and its peak memory in MB."""
    environment = {**os.environ, "FFE_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-m", "ffe_lakehouse.cli", "backfill", *arguments]
    begun = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, env=environment, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir()
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def last_days(days: int) -> list[str]:
    """The last so many days that are over."""
    end = datetime.now(UTC).date() - timedelta(days=2)
    return ["--start", str(end - timedelta(days - 1)), "--end", str(end)]


def ingest(provider: Provider, lake: DeltaLakeManager, window: PairDays, *, batch_days: int) -> int:
    """Load minutes without Dagster; returns the rows written."""
    ingestion = Ingestion(
        provider=provider,
        timeframe=MINUTE,
        batch_days=batch_days,
        max_reject_ratio=0.05,
        run_id="benchmark",
        write=lake.append_if_changed,
        clock=lambda: datetime.now(UTC),
    )
    return sum(report.written for batch in ingestion.days(window) for report in batch)


def write_real_bars(shared: Path, path: Path, rows: int) -> None:
    """Real hourly prices as a file of minutes, repeated until there are enough."""
    source = shared / "data" / "candles" / "coinbase" / "BTCUSD_1h.parquet"
    prices = ["open", "high", "low", "close", "volume"]
    bars = pq.read_table(source, columns=prices)
    bars = bars.take(pa.array(np.arange(rows) % bars.num_rows))
    times = np.datetime64("2020-01-01", "us") + np.arange(rows) * MINUTE.step
    pq.write_table(bars.add_column(0, "timestamp", pa.array(times, TIMESTAMP)), path)


def median_seconds(action: Callable[[], None], times: int = 21) -> float:
    """Median over several calls."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


BENCHMARKS: dict[str, Callable[[Path, Path], Iterator[Row]]] = {
    "commands": commands,
    "scaling": scaling,
    "without_dagster": without_dagster,
    "reading": reading,
}

if __name__ == "__main__":
    main()
