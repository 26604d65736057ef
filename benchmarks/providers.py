"""Figures of the providers: bodies to candles, and loads through real sockets from a double.

    python benchmarks/providers.py [--only NAME ...] [--symbols 500] [--latency 2]

``parse``: what a vendor's module does with full pages once their bytes are there, on one core.
``ingest``: four years of hours into an empty lake, from Coinbase's double and from files; the
double runs in another process and has rendered its answers before, so that it is not what is
measured.
``in_flight``: many symbols of a slow vendor, one and sixteen in flight.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count, islice, product
from multiprocessing.connection import Connection
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pyarrow.parquet as pq

from ffe_lakehouse.in_flight import interleave
from ffe_lakehouse.ingestion import Ingestion
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import PairDays
from ffe_lakehouse.providers.base import CandleQuery, Provider
from ffe_lakehouse.providers.files import FilesProvider
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.doubles.harness import NOW, START, make, quick, stopped_clock
from ffe_lakehouse_tests.doubles.market import Key, Market
from ffe_lakehouse_tests.doubles.server import VendorDouble

DAY = timedelta(days=1)
HOUR = TIMEFRAMES["1h"]
YEARS = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
SERIAL_SAMPLE = 10
"""Symbols that are loaded one at a time: all 500 would take a quarter of an hour, each the same."""


Row = tuple[str, str, str]
"""What was measured, the figure, and what was to be reached."""


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--symbols", type=int, default=500, help="of in_flight")
    parser.add_argument("--latency", type=float, default=2.0, help="seconds, of in_flight")
    parser.add_argument("--repeat", type=int, default=5, help="the best of so many counts")
    options = parser.parse_args()
    write = sys.stdout.write
    write("| what | measured | reach |\n|---|--:|--:|\n")
    for name in options.only:
        for what, figure, reach in BENCHMARKS[name](options):
            write(f"| {what} | {figure} | {reach} |\n")
            sys.stdout.flush()


def best(repeat: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    seconds = []
    for _ in range(repeat):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


# --- parse


class Recorded:
    """In place of a vendor's source: what it once answered, without a socket."""

    def __init__(self, source: Any) -> None:
        """Ask ``source`` until ``rewind``, then repeat its answers."""
        self._get = source.get
        self._answers: list[Any] = []
        self._next: Iterator[int] | None = None

    def rewind(self) -> None:
        """Begin with the first answer."""
        self._next = count()

    def get(self, *args: Any, **named: Any) -> Any:
        """The next answer."""
        if self._next is not None:
            return self._answers[next(self._next)]
        self._answers.append(self._get(*args, **named))
        return self._answers[-1]


@dataclass(frozen=True)
class Case:
    """Full pages of one format."""

    name: str
    key: Key
    start: datetime
    end: datetime
    api: str = "exchange"


FIRST = START + DAY
CASES = [
    Case("coinbase", ("BTCUSD", "1m"), FIRST, FIRST + timedelta(minutes=300 * 40)),
    Case("coinbase", ("BTCUSD", "1m"), FIRST, FIRST + timedelta(minutes=349 * 40), "advanced"),
    Case("oanda", ("BTCUSD", "1m"), FIRST, FIRST + timedelta(minutes=5_000 * 5)),
    Case("alpha_vantage", ("AAPL", "1m"), datetime(2024, 2, 6, tzinfo=UTC), NOW - DAY),
    Case("alpaca", ("BTCUSD", "1m"), FIRST, FIRST + timedelta(minutes=10_000 * 4)),
    Case("polygon", ("BTCUSD", "1m"), FIRST, FIRST + timedelta(minutes=50_000)),
    Case("yahoo", ("BTCUSD", "1m"), NOW - 28 * DAY, NOW - DAY),
]


def parse(options: argparse.Namespace) -> Iterator[Row]:
    """Response bodies to candle tables."""
    market = Market.simulated([("BTCUSD", "1m"), ("AAPL", "1m")], START, NOW)
    with VendorDouble(market, stopped_clock) as double, tempfile.TemporaryDirectory() as state:
        for case in CASES:
            double.reset()
            settings = quick(double, Path(state), coinbase_api=case.api)
            provider: Any = make(case.name, settings)
            provider.source = source = Recorded(provider.source)
            start, end = (moment.replace(second=0) for moment in (case.start, case.end))
            query = CandleQuery(parse_symbol(case.key[0]), TIMEFRAMES[case.key[1]], start, end)
            bars = sum(page.candles.num_rows for page in provider.fetch(query))
            answers = len(double.requests)

            def again(
                provider: Provider = provider, source: Recorded = source, query: CandleQuery = query
            ) -> None:
                source.rewind()
                for _ in provider.fetch(query):
                    continue

            seconds = best(options.repeat, again)
            what = f"{case.name} {case.api}" if case.name == "coinbase" else case.name
            what += f", {bars:,} bars in {answers} full answers to candles"
            yield what, f"{bars / seconds:,.0f} bars/s", "500,000"


# --- ingest


@contextmanager
def elsewhere(start: datetime, end: datetime, pairs: list[str], latency: float) -> Iterator[Any]:
    """A double in another process, as ``FFE_*`` settings."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, start, end, pairs, latency))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("stop")
        process.join()


def _serve(
    pipe: Connection, start: datetime, end: datetime, pairs: list[str], latency: float
) -> None:
    """Every pair has the bars of the first one."""
    first = Market.simulated([(pairs[0], HOUR.code)], start, end)
    table = first.tables[pairs[0], HOUR.code]
    with VendorDouble(Market({(pair, HOUR.code): table for pair in pairs})) as double:
        double.remember, double.latency = True, latency
        pipe.send(double.environment)
        pipe.recv()


def settings_of(environment: dict[str, str], state: str) -> Settings:
    """Settings without limits that lead to a double elsewhere."""
    mine = {name.removeprefix("FFE_").lower(): value for name, value in environment.items()}
    given: dict[str, Any] = {**mine, "coinbase_plan": "unlimited", "http_state_dir": state}
    return Settings(_env_file=None, **given)  # type: ignore[call-arg] # not a field


def load(provider: Provider, window: PairDays) -> None:
    """All days of a window into an empty lake."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in _ingestion(provider, folder).days(window):
            continue


def _ingestion(provider: Provider, folder: str) -> Ingestion:
    write = DeltaLakeManager(folder).append_if_changed
    return Ingestion(provider, HOUR, 30, 0.05, "benchmark", write, lambda: datetime.now(UTC))


def ingest(options: argparse.Namespace) -> Iterator[Row]:
    """A backfill through the double at zero latency, against one from files."""
    window = PairDays("BTCUSD", YEARS[0].date(), YEARS[1].date() - DAY)
    table = Market.simulated([("BTCUSD", HOUR.code)], *YEARS).tables["BTCUSD", HOUR.code]
    bars = table.num_rows
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder) / "BTCUSD_1h.parquet")
        files = best(options.repeat, lambda: load(FilesProvider(Path(folder)), window))
        yield f"files to Bronze, {bars:,} bars of 1h", f"{bars / files:,.0f} bars/s", ""
        with elsewhere(*YEARS, ["BTCUSD"], 0.0) as environment:
            provider = make("coinbase", settings_of(environment, folder))
            load(provider, window)  # the double renders its answers
            vendor = best(options.repeat, lambda: load(provider, window))
        yield "the same from Coinbase's double, no latency", f"{bars / vendor:,.0f} bars/s", ""
        yield "the double, as a share of files", f"{files / vendor:.2f}", "0.50"


def in_flight(options: argparse.Namespace) -> Iterator[Row]:
    """Many symbols of a slow vendor, as the Bronze assets load them."""
    letters = map("".join, product(ascii_uppercase, repeat=3))
    pairs = [f"Q{name}USD" for name in islice(letters, options.symbols)]
    end = datetime(2024, 1, 4, tzinfo=UTC)
    took = {}
    with (
        elsewhere(end - 3 * DAY, end, pairs, options.latency) as environment,
        tempfile.TemporaryDirectory() as folder,
    ):
        provider = make("coinbase", settings_of(environment, folder))
        for most in (1, 16):
            some = pairs[: SERIAL_SAMPLE if most == 1 else None]
            windows = [PairDays(pair, date(2024, 1, 1), date(2024, 1, 3)) for pair in some]
            ingestion = _ingestion(provider, f"{folder}/{most}")
            begun = time.perf_counter()
            for _, found in interleave(windows, ingestion.days, most):
                if isinstance(found, Exception):
                    raise found
            seconds = time.perf_counter() - begun
            took[most] = seconds / len(some)
            what = f"{len(some)} symbols, {options.latency:g} s latency, {most} in flight"
            yield what, f"{seconds:.1f} s ({took[most]:.3f} s a symbol)", ""
    yield "16 in flight against 1, a symbol", f"{took[1] / took[16]:.1f} times", "12 times"


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "parse": parse,
    "ingest": ingest,
    "in_flight": in_flight,
}

if __name__ == "__main__":
    main()
