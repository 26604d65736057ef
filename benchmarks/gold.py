"""Figures of Gold: five marts over ten pairs and three years, from nothing and a day later.

    python benchmarks/gold.py [--years 3]

Commands are timed from process start to exit. What they read is of the simulated market and the
engine that it plays: hourly bars, decisions, trades, snapshots. Of the years it is put into the
lake and reported to Dagster without runs; of the days after them, by the real commands.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.assets.derived import store_batches
from ffe_lakehouse.assets.silver import ENRICH, UNIFY
from ffe_lakehouse.assets.silver_records import DECIDE, TRADE
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import ASSET_PAIR, day_start, days_between, partition_key, table_key
from ffe_lakehouse.providers.base import CandleQuery
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.providers.simulated_engine import SimulatedEngine
from ffe_lakehouse.records import Loader, simulated_file
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.schemas.gold import dbt_project
from ffe_lakehouse.schemas.records import RAW_PORTFOLIO_SNAPSHOTS
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.schemas.silver_records import DECISION_HISTORY, TRADE_LIFECYCLE
from ffe_lakehouse.settings import SimulatedFaults, get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows

PAIRS = [
    *("ADAUSD", "AVAXUSD", "BTCUSD", "DOGEUSD", "DOTUSD"),
    *("ETHUSD", "LINKUSD", "LTCUSD", "SOLUSD", "XRPUSD"),
]
HOUR = TIMEFRAMES["1h"]
FFE = Path(sys.executable).with_name("ffe")
LAST = date(2024, 12, 31)
"""Of the full build; the increments are the days after it."""

Row = tuple[str, str, str]
"""What was measured, the figure, and what was to be reached."""


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--years", type=int, default=3)
    years = parser.parse_args().years
    sys.stdout.write("| what | measured | reach |\n|---|--:|--:|\n")
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"FFE_HOME": folder, "FFE_START_DATE": "2020-01-01"}
        for what, figure, reach in measured(Path(folder), years):
            sys.stdout.write(f"| {what} | {figure} | {reach} |\n")
            sys.stdout.flush()


def measured(home: Path, years: int) -> Iterator[Row]:
    """A full build, then increments."""
    first = LAST - timedelta(365 * years)
    lake = DeltaLakeManager(home / "lake")
    store(lake, first, LAST)
    report(first, LAST)
    trades = lake.read(TRADE_LIFECYCLE.name, columns=["trade_id"]).num_rows
    whole = f"{len(PAIRS)} pairs x {years} years, {trades:,} trades"
    # The first use of Gold in a new home also has dbt read its project.
    ffe("backfill", *days(first, first), "--layers", "gold")
    seconds = timed("backfill", *days(first, LAST), "--layers", "gold")
    yield f"full build of five marts, {whole}", f"{seconds:.1f} s", "20 s"
    seconds = dbt_build(home)
    yield "the same by `dbt build`, without Dagster's events", f"{seconds:.1f} s", ""
    idle = timed("backfill", *days(LAST, LAST), "--layers", "gold")
    yield "the command with nothing to do", f"{idle:.1f} s", ""
    found = []
    for day in (LAST + timedelta(1), LAST + timedelta(2), LAST + timedelta(3)):
        layers = ("--timeframes", "1h", "--layers", "bronze,engine,silver")
        ffe("backfill", *days(day, day), *layers)
        found.append(timed("backfill", *days(day, day), "--layers", "gold"))
    yield "one day more, best of three", f"{min(found):.1f} s", "8 s"


def store(lake: DeltaLakeManager, first: date, last: date) -> None:
    """Bronze and Silver of these days, without Dagster."""
    start, end = day_start(first), day_start(last + timedelta(1))
    market = SimulatedProvider(0, SimulatedFaults())
    loader = Loader(lake, lake.append_if_changed, "benchmark", first, end)
    files = []
    for symbol in map(parse_symbol, PAIRS):
        pages = market.fetch(CandleQuery(symbol, HOUR, start, end))
        candles = pa.concat_tables([page.candles for page in pages])
        source = Provenance(True, symbol.name, HOUR, end)
        vendors = pa.array(["simulated"] * candles.num_rows)
        lake.append(raw_candles(HOUR), bronze_rows(candles, vendors, source))
        records = SimulatedEngine(0, symbol).records(first, last, end)
        files += [simulated_file(kind, symbol.name, of_it, end) for kind, of_it in records.items()]
    loader.load(files)
    computes = {each.derived: each.compute for each in derivations()}
    for step in (UNIFY, ENRICH, DECIDE, TRADE):
        for stored in store_batches(step, computes[step], lake, PAIRS, (first, last), "benchmark"):
            if stored.error:
                raise stored.error


def report(first: date, last: date) -> None:
    """Tell Dagster of what the marts read."""
    with open_instance(get_settings()) as instance:
        instance.add_dynamic_partitions(ASSET_PAIR, PAIRS)
        for day in days_between(first, last):
            keys = [partition_key(pair, day) for pair in PAIRS]
            for table in (TRADE_LIFECYCLE, DECISION_HISTORY, MARKET_DATA_ENRICHED):
                for key in keys:
                    materialize(instance, table_key(table), key)
            materialize(instance, table_key(RAW_PORTFOLIO_SNAPSHOTS), day.isoformat())


def materialize(instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str) -> None:
    """Report a partition as it would be if somebody had loaded it by hand."""
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


def days(first: date, last: date) -> list[str]:
    """Options of a command over all pairs."""
    return ["--assets", ",".join(PAIRS), "--start", str(first), "--end", str(last)]


def timed(*arguments: str) -> float:
    """Seconds of a command."""
    begun = time.perf_counter()
    ffe(*arguments)
    return time.perf_counter() - begun


def dbt_build(home: Path) -> float:
    """Seconds in which dbt alone computes all marts, tests them, and finds that they are stored."""
    begun = time.perf_counter()
    subprocess.run(  # noqa: S603 - our own
        [FFE.with_name("dbt"), "build", "--quiet", "--target-path", home / "dbt-target"],
        check=True,
        cwd=dbt_project(),
        stdout=sys.stderr,
        env={**os.environ, "DBT_LOG_PATH": str(home / "dbt-log")},
    )
    return time.perf_counter() - begun


def ffe(*arguments: str) -> None:
    """Run a command to its end.

    Raises:
        CalledProcessError: It failed.
    """
    subprocess.run([FFE, *arguments], check=True, stdout=sys.stderr)  # noqa: S603 - our own


if __name__ == "__main__":
    main()
