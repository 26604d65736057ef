"""The double speaks as the vendors do: fed with recorded candles, it repeats recorded bodies."""

import csv
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ffe_lakehouse_tests.doubles.client import (
    AGENT,
    ALPACA,
    BEARER,
    KEYS,
    NOON,
    POLYGON,
    get,
    little_double,
)
from ffe_lakehouse_tests.doubles.faults import Status, TooManyRequests
from ffe_lakehouse_tests.doubles.market import Market
from ffe_lakehouse_tests.doubles.server import VendorDouble

NAMES = ("open", "high", "low", "close", "volume", "trade_count", "vwap")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def market(pair: str, code: str, rows: list[tuple[Any, ...]]) -> Market:
    """Rows of a time and the measures in the order of ``NAMES``, as many as there are."""
    columns = dict(zip(("timestamp", *NAMES), zip(*rows, strict=True), strict=False))
    times = columns.pop("timestamp")
    table = {"timestamp": pa.array(times, pa.timestamp("us", "UTC"))}
    table |= {
        name: pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
        for name, cells in columns.items()
    }
    return Market({(pair, code): pa.table(table)})


def ask(truth: Market, path: str, headers: dict[str, str] | None = None, **params: object) -> Any:
    """The JSON of a good answer to one request."""
    with VendorDouble(truth, lambda: NOON) as double:
        status, body = get(double.url + path, headers, **params)
    assert status == 200, body
    return json.loads(body)


def same(found: object, recorded: object) -> bool:
    """Equal in values, types and order of keys, to the last digit."""
    return json.dumps(found) == json.dumps(recorded)


@pytest.fixture(scope="module")
def wire(shared_data: Path) -> Callable[[str], Any]:
    return lambda name: json.loads((shared_data / "wire" / name).read_text())


Wire = Callable[[str], Any]


# --- candles


def test_coinbase_exchange_repeats_the_recorded_body(wire: Wire) -> None:
    recorded = wire("coinbase/exchange_candles_BTC-USD_60s_2018-02-01.json")
    truth = market(
        "BTCUSD",
        "1m",
        [
            (datetime.fromtimestamp(time, UTC), first, high, low, close, volume)
            for time, low, high, first, close, volume in recorded
        ],
    )
    window = {"start": "2018-02-01T00:00:00Z", "end": "2018-02-01T00:09:00Z"}
    path = "/coinbase/products/BTC-USD/candles"
    assert same(ask(truth, path, granularity=60, **window), recorded)


def test_coinbase_advanced_repeats_the_recorded_body(wire: Wire) -> None:
    recorded = wire("coinbase/advanced_candles_BTC-USD_ONE_HOUR_2024-04-04.json")
    rows = [
        (datetime.fromtimestamp(int(row["start"]), UTC), *(row[name] for name in NAMES[:5]))
        for row in recorded["candles"]
    ]
    with VendorDouble(market("BTCUSD", "1h", rows)) as double:
        path = "/coinbase/api/v3/brokerage/market/products/BTC-USD/candles"
        asked = {"granularity": "ONE_HOUR", "start": 1712188800, "end": 1712192400}
        assert same(json.loads(get(double.url + path, **asked)[1]), recorded)


def oanda_rows(recorded: Any) -> list[tuple[Any, ...]]:
    """The truth behind Oanda days: those of New York's 17:00 are named by the next date."""
    rows = []
    for candle in recorded["candles"]:
        day = utc(candle["time"][:10]) + timedelta(days=1)
        rows.append((day, *(candle["mid"][letter] for letter in "ohlc"), candle["volume"]))
    return rows


def test_oanda_days_are_stamped_at_17_00_new_york_unless_they_are_aligned(wire: Wire) -> None:
    recorded = wire("oanda/candles_EURUSD_D_mid_2022-05-11_issue192.json")
    with VendorDouble(market("EURUSD", "1d", oanda_rows(recorded))) as double:
        path = f"{double.url}/oanda/v3/instruments/EUR_USD/candles"
        asked = {"granularity": "D", "from": "2022-05-12T00:00:00Z", "count": 2}
        found = json.loads(get(path, BEARER, **asked)[1])
        aligned = {"alignmentTimezone": "UTC", "dailyAlignment": 0}
        by_utc = json.loads(get(path, BEARER, **asked, **aligned)[1])
    assert found == recorded
    assert [candle["time"][:16] for candle in by_utc["candles"]] == [
        "2022-05-12T00:00",
        "2022-05-13T00:00",
    ]


def test_the_running_oanda_bar_is_there_and_not_complete(wire: Wire) -> None:
    recorded = wire("oanda/candles_USDCAD_D_BMA_incomplete_2021-08-29.json")
    truth = market("USDCAD", "1d", oanda_rows(recorded))
    asked = {"granularity": "D", "from": "2021-08-30T00:00:00Z", "count": 5, "price": "BMA"}
    found = ask(truth, "/oanda/v3/instruments/USD_CAD/candles", BEARER, **asked)
    for candle in (*found["candles"], *recorded["candles"]):
        del candle["bid"], candle["ask"]  # the double has one price
    assert same(found, recorded)


@pytest.mark.parametrize(
    ("name", "path", "symbol", "timeframe", "code"),
    [
        ("go_TestGetBars_1", "/v2/stocks/bars", "AMZN", "15Min", "15m"),
        ("go_TestGetMultiBars_1", "/v2/stocks/bars", "AAPL", "1Day", "1d"),
        ("go_TestGetCryptoBars_1", "/v1beta3/crypto/us/bars", "BCH/USD", "1Min", "1m"),
    ],
)
def test_alpaca_repeats_the_recorded_body(
    wire: Wire, name: str, path: str, symbol: str, timeframe: str, code: str
) -> None:
    recorded = wire(f"alpaca/{name}.json")
    bars = recorded["bars"][symbol]
    recorded["bars"] = {symbol: bars}
    rows = [
        (utc(bar["t"][: 10 if code == "1d" else 19]), *(bar[key] for key in "ohlcvn"), bar["vw"])
        for bar in bars
    ]
    with VendorDouble(market(symbol.replace("/", ""), code, rows)) as double:
        asked = {"symbols": symbol, "timeframe": timeframe, "start": bars[0]["t"]}
        found = get(f"{double.url}/alpaca{path}", ALPACA, **asked, end=bars[-1]["t"])
    assert same(json.loads(found[1]), recorded)


def test_polygon_repeats_the_recorded_body(wire: Wire) -> None:
    folder = "polygon/mocks/v2/aggs/ticker/AAPL/range/1/day/2005-04-01"
    recorded = wire(f"{folder}/2005-04-04.json")
    rows = [
        (
            datetime.fromtimestamp(row["t"] // 1000, UTC).replace(hour=0),
            *(row[name] for name in ("o", "h", "l", "c", "v", "n", "vw")),
        )
        for row in recorded["results"]
    ]
    path = "/polygon/v2/aggs/ticker/AAPL/range/1/day/2005-04-01/2005-04-04"
    found = ask(market("AAPL", "1d", rows), path, POLYGON)
    assert same(found["results"], recorded["results"])
    found["request_id"] = recorded["request_id"]
    assert found == recorded


@pytest.mark.parametrize(
    ("name", "symbol", "pair"),
    [
        ("chart-BTC-USD-2020-01-01-to-2020-01-03", "BTC-USD", "BTCUSD"),
        ("chart-EURUSD=X-2020-01-01-to-2020-01-03", "EURUSD=X", "EURUSD"),
        ("chart-AAPL-2020-08-31-to-2020-11-07", "AAPL", "AAPL"),
    ],
)
def test_yahoo_repeats_the_recorded_columns(wire: Wire, name: str, symbol: str, pair: str) -> None:
    [recorded] = wire(f"yahoo/fixtures/{name}.json")["response"]["bodyJson"]["chart"]["result"]
    [quote] = recorded["indicators"]["quote"]
    rows = [
        (datetime.fromtimestamp(time, UTC).replace(hour=0, minute=0), *measures)
        for time, *measures in zip(
            recorded["timestamp"], *(quote[name] for name in NAMES[:5]), strict=True
        )
    ]
    times = recorded["timestamp"]
    asked = {"interval": "1d", "period1": times[0], "period2": times[-1]}
    path = f"/yahoo/v8/finance/chart/{symbol}"
    [found] = ask(market(pair, "1d", rows), path, AGENT, **asked)["chart"]["result"]
    assert found["timestamp"] == times
    assert found["indicators"]["quote"] == [quote]
    assert found["meta"].items() <= recorded["meta"].items()


def test_a_yahoo_window_without_bars_has_no_timestamps(wire: Wire) -> None:
    name = "chart-AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m"
    [recorded] = wire(f"yahoo/fixtures/{name}.json")["response"]["bodyJson"]["chart"]["result"]
    truth = market("AAPL", "1m", [(NOON - timedelta(days=9), 1, 1, 1, 1, 1)])
    seconds = int(NOON.timestamp())
    asked = {"interval": "1m", "period1": seconds - 86_400, "period2": seconds}
    [found] = ask(truth, "/yahoo/v8/finance/chart/AAPL", AGENT, **asked)["chart"]["result"]
    assert list(found) == list(recorded)
    assert found["indicators"] == recorded["indicators"]


@pytest.mark.parametrize(
    ("name", "pair", "code", "asked"),
    [
        ("time_series/TIME_SERIES_DAILY_42a08190", "IBM", "1d", {"symbol": "IBM"}),
        ("time_series/TIME_SERIES_INTRADAY_3dbdcdc7", "IBM", "5m", {"symbol": "IBM"}),
        ("forex/FX_DAILY_b7946c44", "EURUSD", "1d", {"from_symbol": "EUR", "to_symbol": "USD"}),
        ("forex/FX_INTRADAY_f0be5c32", "EURUSD", "5m", {"from_symbol": "EUR", "to_symbol": "USD"}),
        ("crypto/DIGITAL_CURRENCY_DAILY_ffab6e21", "BTCEUR", "1d", {"symbol": "BTC"}),
        ("crypto/CRYPTO_INTRADAY_38f15660", "ETHUSD", "5m", {"symbol": "ETH", "market": "USD"}),
    ],
)
def test_alpha_vantage_repeats_the_recorded_csv(
    shared_data: Path, name: str, pair: str, code: str, asked: dict[str, str]
) -> None:
    folder = shared_data / "wire" / "alpha_vantage_recorded"
    recorded = (folder / f"{name}.csv").read_text().splitlines()
    asked = {"market": "EUR", "interval": "5min", "datatype": "csv"} | asked
    # New York is four hours behind UTC in May.
    behind = timedelta(hours=4 if name.startswith("time_series") and code != "1d" else 0)
    rows = [
        (utc(row.pop("timestamp")) + behind, *(row.get(name) for name in NAMES[:5]))
        for row in csv.DictReader(recorded)
    ]
    function = name.partition("/")[2].rpartition("_")[0]
    with VendorDouble(market(pair, code, rows), lambda: utc("2026-05-18")) as double:
        key = KEYS["alpha_vantage_api_key"]
        body = get(f"{double.url}/alpha_vantage/query", function=function, apikey=key, **asked)[1]
    assert body.decode().splitlines() == recorded


def test_alpha_vantage_repeats_the_recorded_json(shared_data: Path) -> None:
    text = (shared_data / "wire/alpha_vantage/romeltorres_mock_time_series").read_text()
    recorded = json.loads(text)
    series = recorded["Time Series (1min)"]
    # New York is five hours behind UTC in December.
    rows = [
        (utc(stamp) + timedelta(hours=5), *list(cells.values())) for stamp, cells in series.items()
    ]
    found = ask(
        market("MSFT", "1m", rows),
        "/alpha_vantage/query",
        function="TIME_SERIES_INTRADAY",
        symbol="MSFT",
        interval="1min",
        apikey=KEYS["alpha_vantage_api_key"],
    )
    assert same(found["Time Series (1min)"], series)
    assert list(found["Meta Data"]) == list(recorded["Meta Data"])
    del found["Meta Data"]["1. Information"], recorded["Meta Data"]["1. Information"]  # reworded
    assert found["Meta Data"] == recorded["Meta Data"]


# --- limits and the server


@pytest.fixture(scope="module")
def little() -> Iterator[VendorDouble]:
    with little_double() as double:
        yield double


def test_coinbase_gives_301_rows_for_300_intervals() -> None:
    minutes = [(NOON + timedelta(minutes=n), 1, 1, 1, 1, 1) for n in range(-500, 500)]
    window = {"start": "2021-08-31T05:00:00Z", "end": "2021-08-31T10:00:00Z"}
    path = "/coinbase/products/BTC-USD/candles"
    truth = market("BTCUSD", "1m", minutes)
    assert len(ask(truth, path, granularity=60, **window)) == 301
    assert len(ask(truth, path, granularity=60)) == 350


def test_an_alpaca_page_ends_inside_a_symbol_and_the_token_goes_on_there() -> None:
    bar = pa.table({"timestamp": pa.array([], pa.timestamp("us", "UTC"))})
    minutes = [(NOON - timedelta(minutes=30 - n), 1, 1, 1, 1, 1) for n in range(3)]
    truth = Market(
        {
            ("AAPL", "1m"): market("AAPL", "1m", minutes).tables["AAPL", "1m"],
            ("IBM", "1m"): bar,
            ("MSFT", "1m"): market("MSFT", "1m", minutes).tables["MSFT", "1m"],
        }
    )
    asked = {"symbols": "MSFT,AAPL,IBM", "timeframe": "1Min", "start": "2021-08-31T00:00:00Z"}
    asked |= {"limit": "2", "feed": "iex"}
    pages, token = [], ""
    with VendorDouble(truth, lambda: NOON) as double:
        while token is not None:
            body = get(f"{double.url}/alpaca/v2/stocks/bars", ALPACA, **asked, page_token=token)[1]
            answer = json.loads(body)
            pages.append({name: len(bars) for name, bars in answer["bars"].items()})
            token = answer["next_page_token"]
    assert pages == [{"AAPL": 2}, {"AAPL": 1, "MSFT": 1}, {"MSFT": 2}]


def test_requests_are_recorded_and_faults_played_once(little: VendorDouble) -> None:
    little.reset()
    url = f"{little.url}/coinbase/products/BTC-USD/candles"
    little.play(Status(502))
    little.play(TooManyRequests("7"), when=lambda request: request.params["granularity"] == "300")
    assert get(url, granularity=60)[0] == 502
    assert get(url, granularity=60)[0] == 200
    assert get(url, granularity=300) == (429, b'{"message":"Public rate limit exceeded"}')
    seen = little.requests_to("coinbase")
    assert [request.params["granularity"] for request in seen] == ["60", "60", "300"]
    assert seen[0].path == "/products/BTC-USD/candles"
    assert seen[0].at < seen[1].at < seen[2].at
    assert little.peak == 1


def test_connections_are_refused_while_it_is_down(little: VendorDouble) -> None:
    url = f"{little.url}/coinbase/products/BTC-USD/candles"
    with little.down(), pytest.raises(OSError, match="refused"):
        get(url)
    assert get(url)[0] == 200


def test_nothing_of_it_stays_behind() -> None:
    before = set(threading.enumerate())
    with VendorDouble(Market({})) as double:
        get(double.url)
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before
