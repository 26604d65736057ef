"""Coinbase's two formats: column order, text, windows, and what lies outside of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.coinbase import CoinbaseProvider, parse_advanced, parse_exchange
from ffe_lakehouse.providers.timestamps import to_micros
from ffe_lakehouse_tests.providers.answers import candles, fetch, make_settings, query, utc


def test_exchange_rows_are_low_high_open_close(shared_data: Path) -> None:
    body = (shared_data / "wire/coinbase/exchange_candles_BTC-USD_60s_2018-02-01.json").read_bytes()
    rows = candles(parse_exchange(body).candles)
    assert len(rows) == 10
    assert rows[0] == ("2018-02-01T00:09:00", 10106.01, 10120.21, 10106.0, 10120.21, 2.85107455)
    assert rows[-1] == ("2018-02-01T00:00:00", 10099.99, 10099.99, 10099.98, 10099.98, 1.87868123)


def test_one_recorded_hour_of_usdt(shared_data: Path) -> None:
    name = "wire/coinbase/exchange_candles_BTC-USDT_3600_2024-03-13.json"
    assert candles(parse_exchange((shared_data / name).read_bytes()).candles) == [
        ("2024-03-13T11:00:00", 73243.33, 73402.47, 73241.5, 73370.65, 1.56794406)
    ]


def test_advanced_rows_are_text(shared_data: Path) -> None:
    name = "wire/coinbase/advanced_candles_BTC-USD_ONE_HOUR_2024-04-04.json"
    answer = parse_advanced((shared_data / name).read_bytes())
    assert candles(answer.candles) == [
        ("2024-04-04T01:00:00", 66312.4, 66331.99, 66055.14, 66181.6, 355.82896243),
        ("2024-04-04T00:00:00", 65984.18, 66387.77, 65857.35, 66314.59, 358.74851052),
    ]
    assert json.loads(answer.record(1))["start"] == "1712188800"


def test_the_record_keeps_every_digit_of_the_vendor() -> None:
    body = b"[[1517443740, 1.10, 1e400, NaN, 4.000, 123456789012345678901234567890]]"
    answer = parse_exchange(body)
    assert answer.record(0) == '[1517443740,1.10,1e400,"NaN",4.000,123456789012345678901234567890]'
    assert str(candles(answer.candles, "low", "high", "open", "close")) == (
        "[('2018-02-01T00:09:00', 1.1, inf, nan, 4.0)]"
    )


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        ("null", None),
        ('"10106.5"', 10106.5),
        ('"ten"', "nan"),
        ("true", "nan"),
        ("[1]", "nan"),
        ("Infinity", "inf"),
        ('""', None),
    ],
)
def test_one_bad_cell_spoils_nothing_beside_it(cell: str, read: object) -> None:
    body = f"[[1517443740, 1, 2, {cell}, 2, 3], [1517443680, 1, 2, 1.5, 2, 3]]".encode()
    opens = parse_exchange(body).candles["open"].to_pylist()
    assert str(opens) == f"[{read}, 1.5]"


def test_a_row_that_is_none_is_a_row_without_anything() -> None:
    answer = parse_exchange(b'[[1517443740, 1, 2, 1, 2, 3], null, [1517443680, 1], {"a": 1}, 7]')
    assert candles(answer.candles) == [
        ("2018-02-01T00:09:00", 1.0, 2.0, 1.0, 2.0, 3.0),
        (None, None, None, None, None, None),
        ("2018-02-01T00:08:00", None, None, 1.0, None, None),
        (None, None, None, None, None, None),
        (None, None, None, None, None, None),
    ]
    assert [answer.record(i) for i in (1, 3, 4)] == ["null", '{"a":1}', "7"]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"<html>", b"[[1,2", b"7", b'{"candles": 1}', b"\xff"]
)
@pytest.mark.parametrize("parse", [parse_exchange, parse_advanced])
def test_anything_else_is_a_bad_response(body: bytes, parse: Any) -> None:
    with pytest.raises(ProviderError, match="coinbase answered with") as caught:
        parse(body)
    assert caught.value.kind == "bad_response"


def exchange_minutes(path: str, params: Mapping[str, Any]) -> list[list[float]]:
    """A minute for each of the window, newest first, and what nobody asked for around them."""
    start, end = (to_micros(utc(params[name][:-1])) // 1_000_000 for name in ("start", "end"))
    return [[at, 1, 2, 1, 2, 3] for at in range(end + 60, start - 180, -60)]


def test_pages_are_windows_of_300_bars_whose_last_bar_is_included() -> None:
    asked = query("BTCUSD", "1m", "2024-01-01", "2024-01-01T10:01")
    pages, script = fetch(CoinbaseProvider(make_settings()), asked, exchange_minutes)
    assert [path for path, _ in script.asked] == ["/products/BTC-USD/candles"] * 3
    assert [(params["start"], params["end"]) for _, params in script.asked] == [
        ("2024-01-01T00:00:00Z", "2024-01-01T04:59:00Z"),
        ("2024-01-01T05:00:00Z", "2024-01-01T09:59:00Z"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
    ]
    assert [page.candles.num_rows for page in pages] == [300, 300, 1]
    assert [page.covered_until for page in pages] == [
        utc("2024-01-01T05:00"),
        utc("2024-01-01T10:00"),
        utc("2024-01-01T10:01"),
    ]
    # The bar before the window was left out, and the records moved with the rows.
    assert json.loads(pages[1].record(0))[0] == to_micros(utc("2024-01-01T09:59")) // 1_000_000


def test_four_hours_are_rolled_up_from_hours() -> None:
    def hours(path: str, params: Mapping[str, Any]) -> list[list[float]]:
        assert params["granularity"] == "3600"
        start, end = (to_micros(utc(params[name][:-1])) // 1_000_000 for name in ("start", "end"))
        return [[at, 1, 9 + at % 5, 1, 2, 3] for at in range(end, start - 1, -3600)]

    # 300 hours end in the middle of no bar, 301 hours would.
    pages, script = fetch(
        CoinbaseProvider(make_settings()), query("BTCUSD", "4h", "2024-01-01", "2024-01-15"), hours
    )
    assert len(script.asked) == 2
    assert sum(page.candles.num_rows for page in pages) == 14 * 6
    assert pages[0].candles["volume"].to_pylist()[:2] == [12.0, 12.0]
    assert len(json.loads(pages[0].record(0))) == 4


def test_advanced_trade_is_asked_in_unix_seconds_for_349_bars() -> None:
    provider = CoinbaseProvider(make_settings(coinbase_api="advanced"))
    asked = query("BTCUSD", "1m", "2024-01-01", "2024-01-01T05:50")
    pages, script = fetch(provider, asked, lambda *_: {"candles": []})
    assert script.asked == [
        (
            "/api/v3/brokerage/market/products/BTC-USD/candles",
            {"granularity": "ONE_MINUTE", "start": str(start), "end": str(end)},
        )
        for start, end in [(1704067200, 1704088139), (1704088140, 1704088199)]
    ]
    assert [page.candles.num_rows for page in pages] == [0, 0]


def test_forex_is_no_business_of_coinbase() -> None:
    with pytest.raises(
        ProviderError, match="coinbase has no 1h of EURUSD, which is forex"
    ) as caught:
        fetch(
            CoinbaseProvider(make_settings()),
            query("EURUSD", "1h", "2024-01-01", "2024-01-02"),
            exchange_minutes,
        )
    assert caught.value.kind == "invalid_symbol"
