"""The double refuses as the vendors do, word for word where a refusal is recorded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ffe_lakehouse_tests.doubles.client import ALPACA, BEARER, KEYS, POLYGON, get, little_double
from ffe_lakehouse_tests.doubles.server import VendorDouble

HOUR = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-01T01:00:00Z"}
QUERY = "/alpha_vantage/query"
IBM = {"function": "TIME_SERIES_DAILY", "apikey": KEYS["alpha_vantage_api_key"]}
EURUSD = "/oanda/v3/instruments/EUR_USD/candles"
CHART = "/yahoo/v8/finance/chart/AAPL"
REFUSALS = [
    ("coinbase_exchange", "/coinbase/products/BTC-USD/candles", {}, HOUR | {"granularity": 14400}),
    ("coinbase_exchange", "/coinbase/products/NOPE-USD/candles", {}, HOUR | {"granularity": 60}),
    (
        "coinbase_exchange",
        "/coinbase/products/BTC-USD/candles",
        {},
        {"granularity": 60, "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T05:01:00Z"},
    ),
    (
        "coinbase_advanced",
        "/coinbase/api/v3/brokerage/market/products/BTC-USD/candles",
        {},
        {"granularity": "ONE_MINUTE", "start": 1712188800, "end": 1712188800 + 350 * 60},
    ),
    (
        "coinbase_advanced",
        "/coinbase/api/v3/brokerage/market/products/NOPE-USD/candles",
        {},
        {"granularity": "ONE_MINUTE", "start": 1712188800, "end": 1712188860},
    ),
    ("oanda_v20", EURUSD, {"Authorization": "Bearer of bad news"}, {"granularity": "M1"}),
    ("oanda_v20", EURUSD, BEARER, {"granularity": "M1", "count": 5001}),
    ("oanda_v20", EURUSD, BEARER, {"granularity": "M1", "to": "2999-01-01T00:00:00Z"}),
    ("oanda_v20", EURUSD.replace("EUR", "XXX"), BEARER, {"granularity": "M1"}),
    (
        "oanda_v20",
        EURUSD,
        BEARER,
        {"granularity": "M1", "from": "2020-01-01T00:00:00Z", "to": "2020-01-05T00:00:00Z"},
    ),
    ("alpha_vantage", QUERY, {}, IBM | {"outputsize": "full"}),
    ("alpha_vantage", QUERY, {}, IBM | {"symbol": "NOPE"}),
    (
        "alpaca_data",
        "/alpaca/v2/stocks/bars",
        ALPACA,
        {"symbols": "AAPL", "timeframe": "1Min", "feed": "sip"},
    ),
    (
        "alpaca_data",
        "/alpaca/v2/stocks/bars",
        ALPACA,
        {"symbols": "NOPE", "timeframe": "1Min", "end": "2021-08-30T00:00:00Z", "start": "2021"},
    ),
    ("polygon_massive", "/polygon/v2/aggs/ticker/AAPL/range/1/day/1/2", {}, {"apiKey": "wrong"}),
    (
        "polygon_massive",
        "/polygon/v2/aggs/ticker/C:GCUYGCYUFGDCUTYFCYUF/range/1/day/2021-01-01/2021-01-02",
        POLYGON,
        {},
    ),
    ("yahoo", CHART, {"User-Agent": "python-httpx/0.28"}, {}),
]


@pytest.fixture(scope="module")
def little() -> Iterator[VendorDouble]:
    with little_double() as double:
        yield double


@pytest.fixture(scope="module")
def errors(shared_data: Path) -> dict[str, list[dict[str, Any]]]:
    return json.loads((shared_data / "wire" / "errors" / "errors.json").read_text())


@pytest.mark.parametrize(("vendor", "path", "headers", "params"), REFUSALS)
def test_refusals_are_the_recorded_ones(
    errors: dict[str, list[dict[str, Any]]],
    little: VendorDouble,
    vendor: str,
    path: str,
    headers: dict[str, str],
    params: dict[str, object],
) -> None:
    recorded = [
        (error["http"], error.get("body", error.get("body_text"))) for error in errors[vendor]
    ]
    status, body = get(little.url + path, headers, **params)
    found = body.decode() if body[:1] not in b"{[" else json.loads(body)
    if isinstance(found, dict) and "request_id" in found:
        recorded = [
            (code, text | {"request_id": found["request_id"]} if isinstance(text, dict) else text)
            for code, text in recorded
        ]
    if vendor == "polygon_massive":
        found.pop("count", None)  # the recorded one is of 2022
    assert (status, found) in recorded
