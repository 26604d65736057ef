"""What every vendor's provider must do, through real sockets, whatever the vendor's format."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ffe_lakehouse.ingestion import Ingestion
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import PairDays
from ffe_lakehouse.providers.base import Provider
from ffe_lakehouse.providers.files import FilesProvider
from ffe_lakehouse.schemas import TableSchema, dead_letters, raw_candles
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.doubles.harness import (
    CLASSES,
    NOW,
    PAIRS,
    START,
    ask,
    closed,
    days,
    differences,
    make,
    quick,
    rows,
    simulated_market,
    stopped_clock,
    told,
)
from ffe_lakehouse_tests.doubles.market import Market, micros
from ffe_lakehouse_tests.doubles.server import VendorDouble

WINDOWS = {
    "1m": (datetime(2024, 3, 11, tzinfo=UTC), datetime(2024, 3, 12, 6, tzinfo=UTC)),
    "5m": (datetime(2024, 3, 8, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC)),
    "15m": (datetime(2024, 3, 4, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC)),
    "1h": (datetime(2024, 2, 20, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC)),
    "4h": (datetime(2024, 2, 20, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC)),
    "1d": (datetime(2024, 2, 20, tzinfo=UTC), datetime(2024, 3, 15, tzinfo=UTC)),
}
ROLLED_UP = {
    ("coinbase", "crypto"): {"4h": "1h"},
    ("alpha_vantage", "equity"): {"4h": "1h"},
    ("alpha_vantage", "forex"): {"4h": "1h"},
    ("alpha_vantage", "crypto"): {"4h": "1h"},
    ("alpaca", "equity"): {"4h": "1h"},
    ("alpaca", "crypto"): {"4h": "1h", "1d": "1h"},
    ("polygon", "equity"): {"4h": "1h"},
    ("yahoo", "equity"): {"4h": "15m", "1h": "15m"},
    ("yahoo", "forex"): {"4h": "1h", "1d": "1h"},
    ("yahoo", "crypto"): {"4h": "1h"},
}
"""What a vendor lacks, or cuts by another clock than UTC, and what it is asked for instead."""

CASES = [(name, pair, code) for name in CLASSES for pair in PAIRS[name] for code in TIMEFRAMES]


@pytest.fixture(scope="module")
def listening() -> Iterator[VendorDouble]:
    with VendorDouble(simulated_market(), stopped_clock) as double:
        yield double


@pytest.fixture
def double(listening: VendorDouble) -> VendorDouble:
    listening.reset()
    return listening


def fewest(
    double: VendorDouble, name: str, pair: str, code: str, window: tuple[datetime, datetime]
) -> int:
    """How many requests the vendor's page size demands."""
    kind = parse_symbol(pair).asset_class
    asked = ROLLED_UP.get((name, kind), {}).get(code, code)
    start, end = window
    bars = double.vendors[name].market.table((pair, asked), start, end).num_rows
    match name:
        case "coinbase":
            return math.ceil((end - start) / TIMEFRAMES[asked].duration / 300)
        case "oanda":
            return math.ceil(bars / 5_000)
        case "alpaca":
            return math.ceil(bars / 10_000)
        case "polygon":
            minutes = 1 if asked == "1d" else TIMEFRAMES[asked].duration // timedelta(minutes=1)
            return math.ceil(bars / (50_000 // minutes))
        case "alpha_vantage" if kind == "equity" and asked != "1d":
            if NOW - start <= 100 * TIMEFRAMES[asked].duration:
                return 1
            return (end.year - start.year) * 12 + end.month - start.month + 1
        case "yahoo":
            minutes = math.ceil((end - start) / days(7)) if asked == "1m" else 1
            # Intraday equities: one more, for the splits that they are adjusted for.
            return minutes + (kind == "equity" and asked != "1d")
    return 1


@pytest.mark.parametrize(("name", "pair", "code"), CASES)
def test_a_window_is_delivered_whole_exact_and_with_the_fewest_requests(
    double: VendorDouble, tmp_path: Path, name: str, pair: str, code: str
) -> None:
    window = WINDOWS[code]
    found = rows(ask(make(name, quick(double, tmp_path)), (pair, code), *window))
    expected = told(name, (pair, code), double.vendors[name].market.table((pair, code), *window))
    assert expected.num_rows > 10
    assert differences(found, expected) == []
    assert len(double.requests) == fewest(double, name, pair, code, window)


@pytest.mark.parametrize(
    ("name", "pair", "start", "end", "requests"),
    [
        ("coinbase", "BTCUSD", datetime(2024, 3, 1, 5, tzinfo=UTC), days(2), 10),
        ("oanda", "EURUSD", datetime(2024, 3, 4, tzinfo=UTC), days(4.5), 2),
        ("alpha_vantage", "AAPL", datetime(2024, 2, 28, tzinfo=UTC), days(6), 2),
        ("alpaca", "BTCUSD", datetime(2024, 3, 1, tzinfo=UTC), days(8), 2),
        ("polygon", "BTCUSD", START, days(35), 2),
        ("yahoo", "BTCUSD", datetime(2024, 3, 1, tzinfo=UTC), days(10), 2),
    ],
)
def test_an_answer_of_several_pages_is_followed_to_its_end(
    double: VendorDouble,
    tmp_path: Path,
    name: str,
    pair: str,
    start: datetime,
    end: timedelta,
    requests: int,
) -> None:
    window = (start, start + end)
    pages = ask(make(name, quick(double, tmp_path)), (pair, "1m"), *window)
    expected = told(name, (pair, "1m"), double.vendors[name].market.table((pair, "1m"), *window))
    assert differences(rows(pages), expected) == []
    assert (len(double.requests), len(pages)) == (requests, requests)


def test_a_link_of_polygon_to_its_other_host_is_followed_where_it_was_asked(
    double: VendorDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    polygon = double.vendors["polygon"]
    monkeypatch.setattr(polygon, "links_to", "https://api.massive.com")
    window = (START, START + days(35))
    found = rows(ask(make("polygon", quick(double, tmp_path)), ("BTCUSD", "1m"), *window))
    assert differences(found, polygon.market.table(("BTCUSD", "1m"), *window)) == []


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("code", ["1m", "1h", "4h", "1d"])
def test_the_start_is_included_and_the_end_is_not(
    double: VendorDouble, tmp_path: Path, name: str, code: str
) -> None:
    pair = PAIRS[name][0]
    market = double.vendors[name].market
    window = (datetime(2024, 3, 12, tzinfo=UTC), datetime(2024, 3, 14, tzinfo=UTC))
    opens = market.table((pair, code), *window)["timestamp"].to_pylist()
    first, last = opens[0], opens[min(3, len(opens) - 1)]
    found = rows(ask(make(name, quick(double, tmp_path)), (pair, code), first, last))
    assert found["timestamp"].to_pylist() == opens[: opens.index(last)]


@pytest.mark.parametrize(("name", "pair", "code"), CASES)
def test_the_running_bar_is_never_delivered(
    double: VendorDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    pair: str,
    code: str,
) -> None:
    window = (closed(code) - days(1 if code in ("1m", "5m") else 4), closed(code))
    market = double.vendors[name].market
    if name == "alpaca":
        monkeypatch.setattr(double.vendors[name], "free_plan", False)
    found = rows(ask(make(name, quick(double, tmp_path)), (pair, code), *window))
    expected = told(name, (pair, code), market.table((pair, code), *window))
    assert differences(found, expected) == []
    assert all(at + TIMEFRAMES[code].duration <= NOW for at in found["timestamp"].to_pylist())


SATURDAY = datetime(2024, 3, 9, tzinfo=UTC)
EMPTY = [
    # Crypto never closes: before it was listed. Alpha Vantage refuses that, Yahoo's minutes do not
    # reach back so far.
    (name, pair, code, SATURDAY if pair != "BTCUSD" else START - days(2))
    for name, pair, code in CASES
    if (name, pair) != ("alpha_vantage", "BTCUSD")
    and (name, pair, code) not in [("yahoo", "BTCUSD", code) for code in ("1m", "5m", "15m")]
]


@pytest.mark.parametrize(("name", "pair", "code", "start"), EMPTY)
def test_a_window_in_which_nothing_was_traded_is_one_page_without_rows(
    double: VendorDouble, tmp_path: Path, name: str, pair: str, code: str, start: datetime
) -> None:
    end = start + timedelta(hours=4 if code in ("1m", "5m") else 24)
    pages = ask(make(name, quick(double, tmp_path)), (pair, code), start, end)
    assert [page.candles.num_rows for page in pages] == [0]
    assert len(double.requests) == max(1, fewest(double, name, pair, code, (start, end)))


@pytest.mark.parametrize("name", [name for name in CLASSES if "AAPL" in PAIRS[name]])
@pytest.mark.parametrize("code", ["5m", "1h", "1d"])
@pytest.mark.parametrize("day", [7, 12, 14])
def test_prices_are_those_that_were_traded_whatever_was_split_since(
    double: VendorDouble, tmp_path: Path, name: str, code: str, day: int
) -> None:
    opening = datetime(2024, 3, day, 13 if day > 10 else 14, 30, tzinfo=UTC)
    market = double.vendors[name].market
    market.splits["AAPL"] = [(micros(opening), 4.0)]
    window = (datetime(2024, 3, 11, tzinfo=UTC), datetime(2024, 3, 13, tzinfo=UTC))
    try:
        found = rows(ask(make(name, quick(double, tmp_path)), ("AAPL", code), *window))
    finally:
        market.splits.clear()
    expected = told(name, ("AAPL", code), market.table(("AAPL", code), *window))
    assert differences(found, expected) == []


@pytest.mark.parametrize("name", [name for name in CLASSES if "EURUSD" in PAIRS[name]])
def test_forex_has_no_volume(double: VendorDouble, tmp_path: Path, name: str) -> None:
    found = rows(ask(make(name, quick(double, tmp_path)), ("EURUSD", "1h"), *WINDOWS["1h"]))
    assert found["volume"].null_count == found.num_rows > 0


# --- the real sets

REAL = [
    # The requests are those of each run of days, which is asked for as one window.
    ("coinbase", "BTCUSD", "1d", [("2014-12-01", "2018-08-13")], 5),
    ("coinbase", "BTCUSD", "1h", [("2020-01-01", "2023-12-31")], 117),
    ("coinbase", "BTCEUR", "1m", [("2018-04-04", "2018-04-06")], 15),
    (
        "coinbase",
        "BTCUSD",
        "1m",
        [
            ("2016-10-07", "2016-10-09"),
            ("2017-09-03", "2017-09-04"),
            ("2017-12-17", "2017-12-17"),
            ("2018-04-04", "2018-04-06"),
        ],
        15 + 10 + 5 + 15,
    ),
    ("oanda", "BTCUSD", "1m", [("2026-02-10", "2026-02-13")], 1),
    # 5,000 bars fill a page: only the next one can tell that there are no more.
    ("oanda", "BTCUSD", "5m", [("2026-01-21", "2026-02-13")], 2),
    ("oanda", "EURUSD", "1h", [("2020-01-01", "2023-12-31")], 5),
    ("oanda", "EURUSD", "15m", [("2020-01-01", "2023-12-31")], 20),
]
LATER = datetime(2026, 3, 1, tzinfo=UTC)
HOW_KNOWN = ["source_provider", "_ingestion_id"]


class Desk:
    """A lake, and the ingestion into it."""

    def __init__(self, folder: Path) -> None:
        """An empty lake."""
        self.lake = DeltaLakeManager(folder)

    def load(self, provider: Provider, code: str, window: PairDays) -> None:
        """All days of a window."""
        ingestion = Ingestion(
            provider, TIMEFRAMES[code], 400, 1.0, "run", self.lake.append_if_changed, lambda: LATER
        )
        for _ in ingestion.days(window):
            continue

    def table(self, schema: TableSchema, *without: str) -> pa.Table:
        """All rows by time, without some columns."""
        found = self.lake.read(schema.name).sort_by("timestamp")
        return found.drop_columns([*HOW_KNOWN, *without])


@pytest.mark.parametrize(("name", "pair", "code", "runs", "requests"), REAL)
def test_real_candles_reach_bronze_as_they_do_from_files(
    shared_data: Path,
    tmp_path: Path,
    name: str,
    pair: str,
    code: str,
    runs: list[tuple[str, str]],
    requests: int,
) -> None:
    folder = shared_data / "candles" / name
    vendors, files = Desk(tmp_path / "vendors"), Desk(tmp_path / "files")
    with VendorDouble(Market.of_files(folder), lambda: LATER) as double:
        provider = make(name, quick(double, tmp_path), lambda: LATER)
        for first, last in runs:
            days = PairDays(pair, date.fromisoformat(first), date.fromisoformat(last))
            vendors.load(provider, code, days)
            files.load(FilesProvider(folder), code, days)
        assert len(double.requests) == requests
    bronze, letters = raw_candles(TIMEFRAMES[code]), dead_letters(TIMEFRAMES[code])
    if name == "oanda":  # its volume counts ticks: our trade count
        counted = files.table(bronze, "trade_count").rename_columns({"volume": "trade_count"})
        expected = counted.select(vendors.table(bronze, "volume").column_names)
        assert vendors.table(bronze, "volume").equals(expected)
    else:
        assert vendors.table(bronze).equals(files.table(bronze))
    refused = ["letter_id", "record"]  # each in its own words
    assert vendors.table(letters, *refused).equals(files.table(letters, *refused))
    known = files.table(bronze).num_rows + files.table(letters).num_rows
    assert known == pq.read_metadata(folder / f"{pair}_{code}.parquet").num_rows
