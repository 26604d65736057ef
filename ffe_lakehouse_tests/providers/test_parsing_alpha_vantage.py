"""Alpha Vantage's formats: numbered keys, New York's clock, months, histories that fall short."""

import gzip
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from ffe_lakehouse.providers.alpha_vantage import AlphaVantageProvider, parse
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.symbols import Symbol, parse_symbol
from ffe_lakehouse_tests.providers.answers import candles, fetch, make_settings, query, utc

IBM, EURUSD, BTCUSD = map(parse_symbol, ("IBM", "EURUSD", "BTCUSD"))


def series(
    name: str, rows: Mapping[str, Any], zone: str = "UTC", **meta: str
) -> dict[str, Mapping[str, Any]]:
    numbered = {**{key.replace("_", " "): value for key, value in meta.items()}, "Time Zone": zone}
    return {
        "Meta Data": {f"{i}. {key}": value for i, (key, value) in enumerate(numbered.items(), 2)},
        name: rows,
    }


def values(volume: str | None = "9") -> dict[str, str]:
    row = {"1. open": "1.5", "2. high": "2.5", "3. low": "1.0", "4. close": "2.0"}
    return row if volume is None else {**row, "5. volume": volume}


def test_recorded_minutes_of_new_york_in_winter(shared_data: Path) -> None:
    body = (shared_data / "wire/alpha_vantage/romeltorres_mock_time_series").read_bytes()
    found = parse(body, parse_symbol("MSFT"))
    rows = candles(found.candles)
    assert len(rows) == 100
    assert rows[0] == ("2017-12-18T19:56:00", 86.49, 86.5, 86.475, 86.5, 10494.0)
    assert json.loads(found.record(0)) == {
        "2017-12-18 14:56:00": {
            "1. open": "86.4900",
            "2. high": "86.5000",
            "3. low": "86.4750",
            "4. close": "86.5000",
            "5. volume": "10494",
        }
    }


RECORDED = {
    "time_series/TIME_SERIES_INTRADAY_3dbdcdc7.csv": (
        IBM,
        ("2026-05-15T23:55:00", 219.03, 219.03, 219.0, 219.0, 158.0),  # 19:55 in summer
        ("2026-05-15T15:40:00", 217.98, 218.42, 217.96, 218.14, 62832.0),
    ),
    "time_series/TIME_SERIES_DAILY_42a08190.csv": (
        IBM,
        ("2026-05-15T00:00:00", 218.2, 220.91, 217.615, 219.3, 6154450.0),
        ("2025-12-22T00:00:00", 301.03, 303.18, 298.32, 302.79, 2612100.0),
    ),
    "time_series/TIME_SERIES_DAILY_ADJUSTED_572d0539.csv": (  # whose close is as traded
        IBM,
        ("2026-05-15T00:00:00", 218.2, 220.91, 217.615, 219.3, 6154450.0),
        ("2025-12-22T00:00:00", 301.03, 303.18, 298.32, 302.79, 2612100.0),
    ),
    "forex/FX_INTRADAY_f0be5c32.csv": (
        EURUSD,
        ("2026-05-15T21:05:00", 1.1625, 1.1625, 1.1625, 1.1625, None),
        ("2026-05-15T12:50:00", 1.1619, 1.1624, 1.1618, 1.1624, None),
    ),
    "forex/FX_DAILY_b7946c44.csv": (
        EURUSD,
        ("2026-05-15T00:00:00", 1.167, 1.1673, 1.1616, 1.1625, None),
        ("2025-12-29T00:00:00", 1.1764, 1.1788, 1.1748, 1.1772, None),
    ),
    "crypto/CRYPTO_INTRADAY_38f15660.csv": (
        parse_symbol("ETHUSD"),
        ("2026-05-17T17:10:00", 2182.04, 2182.04, 2179.67, 2180.17, 16.0),
        ("2026-05-17T08:55:00", 2184.92, 2185.52, 2184.56, 2185.17, 12.0),
    ),
    "crypto/DIGITAL_CURRENCY_DAILY_ffab6e21.csv": (
        parse_symbol("BTCEUR"),
        ("2026-05-17T00:00:00", 67260.37, 67339.19, 67250.26, 67310.48, 0.49400276),
        ("2025-06-02T00:00:00", 93151.66, 93151.66, 90726.84, 92494.38, 221.00517807),
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_tables(shared_data: Path, name: str) -> None:
    symbol, first, last = RECORDED[name]
    body = (shared_data / "wire/alpha_vantage_recorded" / name).read_bytes()
    found = parse(body, symbol)
    rows = candles(found.candles)
    assert (rows[0], rows[-1]) == (first, last)
    assert len(rows) == body.count(b"\n") - 1
    assert next(iter(json.loads(found.record(0)))) == "timestamp"


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("time_series/TIME_SERIES_WEEKLY_74eb54d6", ("2026-05-15T00:00:00", 228.66, 230.23)),
        ("time_series/TIME_SERIES_WEEKLY_ADJUSTED_9cd0a0b1", ("2026-05-15T00:00:00", 228.66)),
        ("time_series/TIME_SERIES_MONTHLY_3ced87e9", ("2026-05-15T00:00:00", 234.55, 235.95)),
        ("time_series/TIME_SERIES_MONTHLY_ADJUSTED_62a3844d", ("2026-05-15T00:00:00", 234.55)),
        ("forex/FX_WEEKLY_e2a3f5ad", ("2026-05-15T00:00:00", 1.1777, 1.179, 1.1616, 1.1625)),
        ("forex/FX_MONTHLY_63bfd9fd", ("2026-05-15T00:00:00", 1.1731, 1.1796, 1.1616, 1.1625)),
        ("crypto/DIGITAL_CURRENCY_WEEKLY_b80e3492", ("2026-05-17T00:00:00", 69873.04)),
        ("crypto/DIGITAL_CURRENCY_MONTHLY_708fbbc6", ("2026-05-17T00:00:00", 65108.5)),
    ],
)
def test_weeks_and_months_are_read_though_never_asked_for(
    shared_data: Path, kind: str, first: tuple[object, ...]
) -> None:
    body = (shared_data / f"wire/alpha_vantage_recorded/{kind}.csv").read_bytes()
    symbol = {"time_series": IBM, "forex": EURUSD, "crypto": BTCUSD}[kind.partition("/")[0]]
    assert candles(parse(body, symbol).candles)[0][: len(first)] == first


def test_the_retired_history_stamped_the_end_of_the_bar(shared_data: Path) -> None:
    name = "wire/alpha_vantage/romeltorres_mock_time_series_extended.gz"
    body = gzip.decompress((shared_data / name).read_bytes())
    rows = candles(parse(body, IBM, timedelta(minutes=1)).candles)
    # 20:00:00 in New York's winter is the end of the last minute of the extended hours.
    assert rows[0] == ("2020-12-19T00:59:00", 218.79, 218.79, 218.75, 218.75, 1102.0)
    assert rows[-1] == ("2020-11-23T09:00:00", 211.5, 211.5, 211.5, 211.5, 162.0)


def test_old_crypto_prices_without_a_bar_are_refused(shared_data: Path) -> None:
    body = (shared_data / "wire/alpha_vantage/romeltorres_mock_crypto_currencies").read_bytes()
    with pytest.raises(ProviderError, match="without open, high, low and close") as caught:
        parse(body, Symbol("BTCCNY", "crypto", "BTC", "CNY"))
    assert caught.value.kind == "bad_response"


def test_of_old_price_pairs_the_one_in_the_quote_currency_is_taken() -> None:
    row = {
        f"{i}{letter}. {name} ({currency})": str(price * factor)
        for i, (name, price) in enumerate(
            {"open": 2, "high": 4, "low": 1, "close": 3}.items(), start=1
        )
        for letter, currency, factor in (("a", "EUR", 10), ("b", "USD", 1))
    }
    names = {"Digital_Currency_Code": "BTC", "Market_Code": "USD"}
    body = series(
        "Time Series (Digital Currency Daily)",
        {"2020-01-01": row | {"5. volume": "7", "6. market cap (USD)": "1"}},
        **names,
    )
    (found,) = candles(parse(orjson.dumps(body), BTCUSD).candles)
    assert found == ("2020-01-01T00:00:00", 2.0, 4.0, 1.0, 3.0, 7.0)


def test_an_hour_that_the_clock_shows_twice_cannot_be_read() -> None:
    rows = {at: values() for at in ("2023-11-05 01:30:00", "2023-11-05 02:30:00", "soon")}
    body = series("Time Series (5min)", rows, "US/Eastern", Symbol="IBM")
    found = parse(orjson.dumps(body), IBM)
    assert [row[0] for row in candles(found.candles)] == [None, "2023-11-05T07:30:00", None]


def test_no_rows_are_no_bars() -> None:
    body = series("Time Series (5min)", {}, "US/Eastern", Symbol="IBM")
    assert parse(orjson.dumps(body), IBM).candles.num_rows == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (series("Time Series (5min)", {}, "US/Eastern", Symbol="MSFT"), "'MSFT' when asked for"),
        (series("Time Series (5min)", {}, "Mars", Symbol="IBM"), "unknown zone 'Mars'"),
        ({"Meta Data": {}}, "no dict ''"),
        ({"Time Series (5min)": {}}, "no dict 'Meta Data'"),
    ],
)
def test_the_answer_to_another_question_is_refused(body: object, said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        parse(orjson.dumps(body), IBM)
    assert caught.value.kind == "bad_response"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"a,b\n1,2\n", b"timestamp,open\n1,2\n"])
def test_anything_else_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(ProviderError, match="alpha_vantage answered with") as caught:
        parse(body, IBM)
    assert caught.value.kind == "bad_response"


def provider(now: str = "2024-06-01") -> AlphaVantageProvider:
    return AlphaVantageProvider(make_settings(), clock=lambda: utc(now))


def test_equity_minutes_come_by_the_month_of_new_york_as_traded() -> None:
    def answer(path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        rows = {f"{params['month']}-15 10:00:00": values(), f"{params['month']}-31 19:59:00": {}}
        return series("Time Series (1min)", rows, "US/Eastern", Symbol="BRK-B")

    asked = query("BRK.B", "1m", "2024-01-01", "2024-02-01")
    pages, script = fetch(provider(), asked, answer)
    # The first five hours of January in UTC are December in New York.
    assert [params["month"] for _, params in script.asked] == ["2023-12", "2024-01"]
    assert script.asked[1] == (
        "/query",
        {
            "symbol": "BRK-B",
            "function": "TIME_SERIES_INTRADAY",
            "interval": "1min",
            "adjusted": "false",
            "extended_hours": "true",
            "outputsize": "full",
            "month": "2024-01",
        },
    )
    assert [page.covered_until for page in pages] == [utc("2024-01-01T05:00"), asked.end]
    assert [candles(page.candles)[0][0] for page in pages] == [
        "2024-01-01T00:59:00",
        "2024-01-15T15:00:00",
    ]
    assert [page.candles.num_rows for page in pages] == [1, 1]


@pytest.mark.parametrize(
    ("symbol", "timeframe", "start", "expected"),
    [
        ("IBM", "1d", "2024-05-01", {"function": "TIME_SERIES_DAILY", "outputsize": "compact"}),
        ("IBM", "1d", "2020-05-01", {"function": "TIME_SERIES_DAILY", "outputsize": "full"}),
        ("EURUSD", "1d", "2020-05-01", {"function": "FX_DAILY", "from_symbol": "EUR"}),
        ("EURUSD", "4h", "2024-05-30", {"function": "FX_INTRADAY", "interval": "60min"}),
        ("BTCUSD", "5m", "2024-05-30", {"function": "CRYPTO_INTRADAY", "market": "USD"}),
        ("BTCUSD", "1d", "2024-05-01", {"function": "DIGITAL_CURRENCY_DAILY", "symbol": "BTC"}),
    ],
)
def test_functions(symbol: str, timeframe: str, start: str, expected: dict[str, str]) -> None:
    found = parse_symbol(symbol)
    names = {
        "equity": {"Symbol": symbol},
        "forex": {"From_Symbol": found.base, "To_Symbol": found.quote},
        "crypto": {"Digital_Currency_Code": found.base, "Market_Code": found.quote},
    }[found.asset_class]
    asked = query(symbol, timeframe, start, "2024-05-31")
    pages, script = fetch(provider(), asked, lambda *_: series("Time Series X", {}, **names))
    assert len(script.asked) == 1
    assert script.asked[0][1].items() >= expected.items()
    assert pages[-1].covered_until == asked.end


def test_a_history_that_begins_days_after_the_window_is_no_answer() -> None:
    rows = {"2024-05-20 00:00:00": values(None), "2024-05-29 00:00:00": values(None)}
    body = series("Time Series FX (60min)", rows, From_Symbol="EUR", To_Symbol="USD")
    with pytest.raises(
        ProviderError, match=r"has 1h of EURUSD from 2024-05-20 00:00 UTC"
    ) as caught:
        fetch(provider(), query("EURUSD", "1h", "2024-05-01", "2024-05-30"), lambda *_: body)
    assert caught.value.kind == "no_data"
    # A window that begins on the closed day before is in it.
    asked = query("EURUSD", "1h", "2024-05-18", "2024-05-30")
    (page,), _ = fetch(provider(), asked, lambda *_: body)
    assert page.candles.num_rows == 2


def test_days_before_a_listing_are_no_gap_in_the_history() -> None:
    body = series("Time Series (Daily)", {"2020-09-16": values()}, "US/Eastern", Symbol="SNOW")
    asked = query("SNOW", "1d", "2020-01-01", "2021-01-01")
    (page,), _ = fetch(provider(), asked, lambda *_: body)
    assert candles(page.candles, "close") == [("2020-09-16T00:00:00", 2.0)]


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ProviderError, match="set FFE_ALPHA_VANTAGE_API_KEY ") as caught:
        AlphaVantageProvider(make_settings(alpha_vantage_api_key=None))
    assert caught.value.kind == "configuration"
