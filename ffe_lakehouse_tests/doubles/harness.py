"""A provider at the end of a real socket whose other end is a double; and what it must deliver.

What several suites need to ask a vendor's provider something and to judge the answer. The double
and the providers share one stopped clock, so that no window ever becomes too old for a vendor.
"""

import inspect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.providers.base import RAW_CANDLES, CandleQuery, Page, Provider
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.validation import judge
from ffe_lakehouse_tests.doubles.market import Key, Market
from ffe_lakehouse_tests.doubles.server import VendorDouble
from ffe_lakehouse_tests.doubles.vendor import Clock

START = datetime(2024, 2, 5, tzinfo=UTC)
NOW = datetime(2024, 3, 15, 15, 7, 30, tzinfo=UTC)
"""A Friday afternoon, five days after New York's clocks went forward."""

CLASSES = {
    "coinbase": "CoinbaseProvider",
    "oanda": "OandaProvider",
    "alpha_vantage": "AlphaVantageProvider",
    "alpaca": "AlpacaProvider",
    "polygon": "PolygonProvider",
    "yahoo": "YahooProvider",
}
PAIRS = {
    "coinbase": ("BTCUSD",),
    "oanda": ("EURUSD", "BTCUSD"),
    "alpha_vantage": ("AAPL", "EURUSD", "BTCUSD"),
    "alpaca": ("AAPL", "BTCUSD"),
    "polygon": ("AAPL", "EURUSD", "BTCUSD"),
    "yahoo": ("AAPL", "EURUSD", "BTCUSD"),
}
"""What each vendor is asked for; the first one stands for all where one is enough."""


def stopped_clock() -> datetime:
    """``NOW``."""
    return NOW


def simulated_market() -> Market:
    """Three pairs in all timeframes until ``NOW``, the running bars included."""
    keys = [(pair, code) for pair in ("BTCUSD", "EURUSD", "AAPL") for code in TIMEFRAMES]
    return Market.simulated(keys, START, NOW)


def quick(double: VendorDouble, state: Path, **changed: Any) -> Settings:
    """Settings that lead to the double, without waits and without limits."""
    plans = {f"{name}_plan": "unlimited" for name in CLASSES}
    waits = {"retry_waits": (0.001, 0.001, 0.001), "retry_max_wait_seconds": 2.0}
    bounds = {"http_timeout_seconds": 5.0, "http_state_dir": state, "breaker_failures": 1_000_000}
    return double.settings(**plans | waits | bounds | changed)


def make(name: str, settings: Settings, clock: Clock = stopped_clock) -> Provider:
    """The vendor's provider, under the stopped clock unless another one is given."""
    cls = getattr(import_module(f"ffe_lakehouse.providers.{name}"), CLASSES[name])
    takes_clock = "clock" in inspect.signature(cls).parameters
    provider = cls(settings, clock=clock) if takes_clock else cls(settings)
    assert isinstance(provider, Provider)
    return provider


def impatient(provider: Provider) -> Provider:
    """The same provider, which does not wait before it tries again."""
    provider.source._sleep = lambda _: None  # type: ignore[attr-defined]
    return provider


def ask(provider: Provider, key: Key, start: datetime, end: datetime) -> list[Page]:
    """All pages of a window; their order and cover are checked."""
    query = CandleQuery(parse_symbol(key[0]), TIMEFRAMES[key[1]], start, end)
    pages = list(provider.fetch(query))
    covered = start
    for page in pages:
        assert page.candles.schema == RAW_CANDLES
        opens = page.candles["timestamp"].drop_null()
        assert pc.all(pc.greater_equal(opens, covered), min_count=0).as_py()
        assert pc.all(pc.less(opens, page.covered_until), min_count=0).as_py()
        covered = page.covered_until
    assert covered == end
    return pages


def rows(pages: Sequence[Page]) -> pa.Table:
    """All rows, by time."""
    return pa.concat_tables([page.candles for page in pages]).sort_by("timestamp")


def good(pages: Sequence[Page], key: Key, start: datetime, end: datetime) -> pa.Table:
    """The bars that would be stored: what validation lets pass of all that was delivered."""
    candles = pa.concat_tables([page.candles for page in pages])
    verdict = judge(candles, TIMEFRAMES[key[1]], start, end, NOW)
    return candles.take(pa.array(verdict.good))


def told(name: str, key: Key, truth: pa.Table) -> pa.Table:
    """The truth without what this vendor does not tell, or tells in other units.

    Oanda, and Polygon for forex, count quotes or ticks where others have a volume, which is why it
    is our trade count there. Yahoo counts the volume of crypto in dollars.
    """
    kind = parse_symbol(key[0]).asset_class
    nothing = pa.nulls(truth.num_rows, pa.float64())
    columns: Mapping[str, pa.Array | pa.ChunkedArray] = {}
    if name == "oanda":
        ticks = pc.fill_null(truth["volume"], 1.0)
        ticks = pc.cast(pc.trunc(ticks), pa.float64())
        columns = {"volume": nothing, "trade_count": ticks, "vwap": nothing}
    elif name in ("coinbase", "alpha_vantage", "yahoo"):
        columns = {"trade_count": nothing, "vwap": nothing}
    elif (name, kind) == ("polygon", "forex"):
        quotes = pa.array([1.0] * truth.num_rows, pa.float64())
        columns = {"trade_count": quotes, "vwap": nothing}
    if kind == "forex" or (name, kind) == ("yahoo", "crypto"):
        columns = {**columns, "volume": nothing}
    for column, values in columns.items():
        at = truth.schema.get_field_index(column)
        truth = truth.set_column(at, RAW_CANDLES.field(column), values)
    return truth


def differences(found: pa.Table, expected: pa.Table) -> list[str]:
    """Columns that differ; sums may differ in the last digits, for the order of addition does."""
    if found.num_rows != expected.num_rows:
        return [f"{found.num_rows} rows, not {expected.num_rows}"]
    wrong = []
    for name in RAW_CANDLES.names:
        a, b = (table[name].combine_chunks() for table in (found, expected))
        if name in ("volume", "vwap"):
            same = a.is_null().equals(b.is_null()) and np.allclose(
                a.to_numpy(zero_copy_only=False),
                b.to_numpy(zero_copy_only=False),
                rtol=1e-12,
                equal_nan=True,
            )
        else:
            same = a.equals(b)
        if not same:
            wrong.append(name)
    return wrong


def closed(code: str) -> datetime:
    """When the running bar opened: the latest ``end`` that may be asked for."""
    return TIMEFRAMES[code].floor(NOW)


def days(number: float) -> timedelta:
    """A shorter word."""
    return timedelta(days=number)
