"""Polygon's format: milliseconds, days of New York, quotes that are no volume, linked pages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.polygon import PolygonProvider, parse
from ffe_lakehouse_tests.providers.answers import candles, fetch, make_settings, query, utc

ALL = ("open", "high", "low", "close", "volume", "trade_count", "vwap")
JAN_2 = 1_704_153_600_000


def bar(at: int) -> dict[str, object]:
    return {"t": at, "o": 1, "h": 2, "l": 1, "c": 2, "v": 3.5, "n": 4, "vw": 1.5}


def answer(ticker: str, *rows: object, **more: object) -> dict[str, object]:
    return {"ticker": ticker, "adjusted": False, "status": "OK", "results": list(rows), **more}


@pytest.mark.parametrize("start", ["2005-04-01", "2005-04-02"])
def test_days_of_new_york_are_stamped_with_their_date(shared_data: Path, start: str) -> None:
    """One begins at 05:00Z, the other at 04:00Z: summer time began between them."""
    folder = shared_data / "wire/polygon/mocks/v2/aggs/ticker/AAPL/range/1/day"
    body = (folder / start / "2005-04-04.json").read_bytes()
    found = parse(body, "AAPL", sessions=True, raw=False)
    assert candles(found.candles, *ALL) == [
        ("2005-04-01T00:00:00", 1.5032, 1.5064, 1.4489, 1.4604, 642646396.0, 82132.0, 1.469),
        ("2005-04-04T00:00:00", 1.4639, 1.4754, 1.4343, 1.4675, 578172308.0, 65543.0, 1.4589),
    ]
    with pytest.raises(ProviderError, match="adjusted for splits"):
        parse(body, "AAPL", sessions=True)


def test_the_bar_of_the_day_before(shared_data: Path) -> None:
    """``prev`` and ``grouped`` name the ticker in every row and are stamped with the close."""
    body = (shared_data / "wire/polygon/mocks/v2/aggs/ticker/AAPL/prev.json").read_bytes()
    found = parse(body, "AAPL", sessions=True, raw=False)
    assert candles(found.candles) == [
        ("2022-04-26T00:00:00", 162.25, 162.34, 156.72, 156.8, 95595226.0)
    ]
    grouped = shared_data / "wire/polygon/mocks/v2/aggs/grouped/locale/us/market/stocks"
    (file,) = grouped.iterdir()
    with pytest.raises(ProviderError, match="no str 'ticker'"):
        parse(file.read_bytes(), "GIK")


def test_the_pages_of_the_specification(shared_data: Path) -> None:
    paths = orjson.loads((shared_data / "wire/polygon/openapi_excerpt.json").read_bytes())
    examples = [
        path["200_example"] for path in paths.values() if "results" in str(path.get("200_example"))
    ]
    stocks = next(e for e in examples if e.get("ticker") == "AAPL")
    found = parse(orjson.dumps(stocks), "AAPL", sessions=True, raw=False)
    assert candles(found.candles)[0] == (
        *("2020-01-02T00:00:00", 74.06, 75.15, 73.7975, 75.0875, 135647456.0),
    )
    assert found.more is not None
    assert found.more.startswith("https://api.massive.com/v2/aggs/ticker/AAPL/range/1/day/")


def test_crypto_trades_have_a_volume_and_forex_quotes_have_none() -> None:
    crypto = parse(orjson.dumps(answer("X:BTCUSD", bar(JAN_2))), "X:BTCUSD")
    forex = parse(orjson.dumps(answer("C:EURUSD", bar(JAN_2))), "C:EURUSD")
    measures = ("volume", "trade_count", "vwap")
    assert candles(crypto.candles, *measures) == [("2024-01-02T00:00:00", 3.5, 4.0, 1.5)]
    assert candles(forex.candles, *measures) == [("2024-01-02T00:00:00", None, 3.5, None)]


def test_an_unknown_ticker_has_no_results() -> None:
    body = b'{"ticker":"C:NOPE","queryCount":0,"resultsCount":0,"adjusted":true,"status":"OK"}'
    assert parse(body, "C:NOPE").candles.num_rows == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (answer("AAPL", bar(JAN_2)), "AAPL when asked for MSFT"),
        ({"status": "OK", "results": []}, "no str 'ticker'"),
        ({"ticker": "MSFT", "results": {"t": 1}}, "no list 'results'"),
        ([], "no str 'ticker'"),
    ],
)
def test_the_answer_to_another_question_is_refused(body: object, said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        parse(orjson.dumps(body), "MSFT")
    assert caught.value.kind == "bad_response"


@pytest.mark.parametrize(
    "link", ["https://api.massive.com", "https://evil.example", "https://proxy.example/polygon"]
)
def test_the_next_page_is_asked_of_the_host_of_the_setting(link: str) -> None:
    tail = "/v2/aggs/ticker/X:BTCUSD/range/1/minute/1704153660000/1704239999999"

    def pages(path: str, params: Mapping[str, Any]) -> dict[str, object]:
        if "cursor" in params:
            return answer("X:BTCUSD", bar(JAN_2 + 60_000))
        return answer("X:BTCUSD", bar(JAN_2), next_url=f"{link}{tail}?cursor=abc%3D")

    provider = PolygonProvider(make_settings(polygon_base_url="https://proxy.example/polygon/"))
    asked = query("BTCUSD", "1m", "2024-01-02", "2024-01-03")
    found, script = fetch(provider, asked, pages)
    assert script.asked == [
        (
            "/v2/aggs/ticker/X:BTCUSD/range/1/minute/1704153600000/1704239999999",
            {"adjusted": "false", "sort": "asc", "limit": "50000"},
        ),
        (tail, {"cursor": "abc="}),
    ]
    assert [page.covered_until for page in found] == [utc("2024-01-02T00:01"), asked.end]


def test_a_stray_bar_of_the_future_does_not_end_the_answer() -> None:
    def pages(path: str, params: Mapping[str, Any]) -> dict[str, object]:
        if "cursor" in params:
            return answer("X:BTCUSD", bar(JAN_2 + 60_000))
        stray = bar(JAN_2 + 2 * 86_400_000)
        return answer("X:BTCUSD", bar(JAN_2), stray, next_url="https://api.polygon.io/n?cursor=x")

    asked = query("BTCUSD", "1m", "2024-01-02", "2024-01-03")
    found, _ = fetch(PolygonProvider(make_settings()), asked, pages)
    assert [page.candles.num_rows for page in found] == [1, 1]


@pytest.mark.parametrize(
    ("symbol", "timeframe", "ticker", "code"),
    [
        ("BTCUSD", "4h", "X:BTCUSD", "4/hour"),
        ("EURUSD", "1d", "C:EURUSD", "1/day"),
        ("BRK.B", "4h", "BRK.B", "1/hour"),
        ("BRK.B", "15m", "BRK.B", "15/minute"),
    ],
)
def test_tickers_and_timeframes(symbol: str, timeframe: str, ticker: str, code: str) -> None:
    asked = query(symbol, timeframe, "2024-01-02", "2024-01-03")
    _, script = fetch(PolygonProvider(make_settings()), asked, lambda *_: answer(ticker))
    assert script.asked[0][0].startswith(f"/v2/aggs/ticker/{ticker}/range/{code}/")


def test_either_name_of_the_key_will_do() -> None:
    PolygonProvider(make_settings(polygon_api_key=None, massive_api_key="a key"))
    with pytest.raises(ProviderError, match="set FFE_POLYGON_API_KEY or FFE_MASSIVE_API_KEY"):
        PolygonProvider(make_settings(polygon_api_key=None))
