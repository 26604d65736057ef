"""Figures of Gold: five marts over ten pairs and three years, from nothing and a day later.

    python benchmarks/gold.py [--years 3]

Commands are timed from process start to exit. What they read comes from the simulated market and
the engine that it plays, by the real commands: hourly bars, decisions, 20,000 trades, snapshots.
That takes ten times as long as what is measured.
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

from ffe_lakehouse.lake import DeltaLakeManager

PAIRS = "BTCUSD,ETHUSD,SOLUSD,ADAUSD,XRPUSD,LTCUSD,DOGEUSD,LINKUSD,DOTUSD,AVAXUSD"
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
    prepare(first, LAST)
    lake = DeltaLakeManager(home / "lake")
    trades = lake.read_table("silver/trade_lifecycle", columns=["trade_id"]).num_rows
    whole = f"{len(PAIRS.split(','))} pairs x {years} years, {trades:,} trades"
    # The first use of Gold in a new home also has dbt read its project.
    ffe("backfill", *days(first, first), "--layers", "gold")
    seconds = timed("backfill", *days(first, LAST), "--layers", "gold")
    yield f"full build of five marts, {whole}", f"{seconds:.1f} s", "20 s"
    again = timed("backfill", *days(first, LAST), "--layers", "gold", "--force")
    yield "the same again, all of it unchanged", f"{again:.1f} s", ""
    idle = timed("backfill", *days(LAST, LAST), "--layers", "gold")
    yield "the command with nothing to do", f"{idle:.1f} s", ""
    found = []
    for day in (LAST + timedelta(1), LAST + timedelta(2), LAST + timedelta(3)):
        prepare(day, day)
        found.append(timed("backfill", *days(day, day), "--layers", "gold"))
    yield "one day more, best of three", f"{min(found):.1f} s", "8 s"


def prepare(first: date, last: date) -> None:
    """Bronze and Silver of these days."""
    ffe("backfill", *days(first, last), "--timeframes", "1h", "--layers", "bronze,engine,silver")


def days(first: date, last: date) -> list[str]:
    """Options of a command over all pairs."""
    return ["--assets", PAIRS, "--start", str(first), "--end", str(last)]


def timed(*arguments: str) -> float:
    """Seconds of a command."""
    begun = time.perf_counter()
    ffe(*arguments)
    return time.perf_counter() - begun


def ffe(*arguments: str) -> None:
    """Run a command to its end.

    Raises:
        CalledProcessError: It failed.
    """
    subprocess.run([FFE, *arguments], check=True, stdout=sys.stderr)  # noqa: S603 - our own


if __name__ == "__main__":
    main()
