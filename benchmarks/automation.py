"""How long the automation takes to see what is due: prints figures beside what was asked for.

    python benchmarks/automation.py [--years 10] [--home FOLDER]

The memory of a lakehouse that has loaded years of 50 pairs in six timeframes is made by repeating
the rows that one real day left in Dagster's event log: ten years are 2.2 million events, 4 GB.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.automation.derive import due_works
from ffe_lakehouse.automation.due import due_loads
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.partitions import ASSET_PAIR, daily_by_pair, days_between, partition_key
from ffe_lakehouse.partitions import table_key as key_of
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.universe import enrol
from ffe_lakehouse.watermarks import partition_states

PAIRS = [f"{chr(65 + n // 26)}{chr(65 + n % 26)}AUSD" for n in range(50)]
NOW = datetime(2025, 1, 1, 12, 0, 30, tzinfo=UTC)
LAST = date(2024, 12, 31)
SEED = "SEEDUSD"
FFE = Path(sys.executable).with_name("ffe")


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--home", type=Path, help="a home that an earlier call has made, or makes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder)
        os.environ |= {"FFE_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
        if not (home / "dagster").exists():
            remember(home, LAST - timedelta(365 * arguments.years), LAST)
        measure(arguments.years)


def measure(years: int) -> None:
    """Time what the sensor does, over a week of a memory of so many years."""
    write = sys.stdout.write
    write(f"50 pairs x 6 timeframes, {years} years loaded, a look-back of 7 days\n\n")
    write("| what | measured | reach |\n|---|--:|--:|\n")
    with open_instance(get_settings()) as instance:
        tick = timed(lambda: due_loads(instance, NOW))
        write(f"| a tick of the incremental sensor: what is due, as runs | {tick:.2f} s | 2 s |\n")
        enrol(instance, PAIRS, start=LAST - timedelta(365 * years), provider=None)
        tick = timed(lambda: due_loads(instance, NOW))
        write(f"| the same, with histories to look after | {tick:.2f} s | 2 s |\n")
        steps = [each.derived for each in derivations()]
        tick = timed(lambda: due_works(instance, steps, NOW))
        write(f"| a tick of the derivation sensor, nothing derived yet | {tick:.2f} s | |\n")
        states = timed(lambda: look(instance))
        write(f"| states by partition, all timeframes | {states:.2f} s | |\n")
        stock = timed(lambda: look_as_dagster_does(instance))
        write(f"| the same by Dagster's get_status_by_partition | {stock:.2f} s | |\n")


def look(instance: dg.DagsterInstance) -> None:
    """Ask for every state of the look-back."""
    for timeframe in TIMEFRAMES.values():
        key = key_of(raw_candles(timeframe))
        partition_states(instance, key, PAIRS, LAST - timedelta(6), NOW.date(), NOW)


def look_as_dagster_does(instance: dg.DagsterInstance) -> None:
    """Ask Dagster's cache of whole assets for the same partitions."""
    days = days_between(LAST - timedelta(6), NOW.date())
    keys = [partition_key(pair, day) for pair in PAIRS for day in days]
    for timeframe in TIMEFRAMES.values():
        key = key_of(raw_candles(timeframe))
        instance.get_status_by_partition(key, keys, daily_by_pair())


def timed(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of the second-best of several calls, the first of which warms the caches."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return sorted(found)[1]


def remember(home: Path, first: date, last: date) -> None:
    """Make a home in which every day from ``first`` to ``last`` of every pair is complete."""
    days = ("--start", str(first), "--end", str(first))
    command = [FFE, "backfill", "--assets", SEED, *days]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own script
    with open_instance(get_settings()) as instance:
        instance.delete_dynamic_partition(ASSET_PAIR, SEED)
        instance.add_dynamic_partitions(ASSET_PAIR, PAIRS)
    with closing(sqlite3.connect(home / "dagster" / "history" / "runs" / "index.db")) as index:
        index.execute("PRAGMA synchronous=OFF")
        seeds = index.execute(
            "SELECT event_logs.*, value FROM event_logs"
            " LEFT JOIN asset_event_tags ON event_id = event_logs.id AND key LIKE '%version'"
            " WHERE partition IS NOT NULL AND event_logs.asset_key LIKE '%bronze%'"
            " ORDER BY event_logs.id"
        ).fetchall()
        (number,) = index.execute("SELECT max(id) FROM event_logs").fetchone()
        seed_key = str(partition_key(SEED, first))
        for pair in PAIRS:
            for day in days_between(first, last):
                key = str(partition_key(pair, day))
                for _, run_id, event, kind, at, step, asset, _, version in seeds:
                    number += 1
                    index.execute(
                        "INSERT INTO event_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (number, run_id, event.replace(seed_key, key), kind, at, step, asset, key),
                    )
                    if version is not None:
                        index.execute(
                            "INSERT INTO asset_event_tags"
                            " (event_id, asset_key, key, value, event_timestamp)"
                            " VALUES (?, ?, 'dagster/data_version', ?, ?)",
                            (number, asset, version, at),
                        )
        index.commit()


if __name__ == "__main__":
    main()
