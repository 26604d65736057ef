"""Alpaca's format: days of New York, pages that a token links, feeds, prices as traded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from ffe_lakehouse.providers.alpaca import AlpacaProvider, parse
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse_tests.providers.answers import candles, fetch, make_settings, query, utc

ALL = ("open", "high", "low", "close", "volume", "trade_count", "vwap")


@pytest.fixture
def wire(shared_data: Path) -> Path:
    return shared_data / "wire/alpaca"


def test_minutes_are_stamped_with_their_start_in_utc(wire: Path) -> None:
    answer = parse((wire / "go_TestGetBars_1.json").read_bytes(), "AMZN")
    rows = candles(answer.candles, *ALL)
    assert rows[0] == (
        *("2021-10-15T16:00:00", 3378.14, 3380.815, 3376.3001, 3379.72),
        *(211689.0, 5435.0, 3379.041755),
    )
    assert (len(rows), rows[-1][0], answer.more) == (5, "2021-10-15T17:00:00", None)


def test_days_of_new_york_are_stamped_with_their_date(wire: Path) -> None:
    answer = parse((wire / "go_TestGetBars_Adjustment_1.json").read_bytes(), "GE", sessions=True)
    assert candles(answer.candles) == [
        ("2024-04-01T00:00:00", 138.48, 138.82, 136.48, 138.29, 5905509.0),
        ("2024-04-02T00:00:00", 138.96, 142.9, 132.49, 134.94, 20490401.0),
    ]
    assert answer.more == "R0V8RHwxNzEyMTE2ODAwMDAwMDAwMDAw"


@pytest.mark.parametrize(
    ("name", "ticker", "dates"),
    [
        ("go_TestGetBars_Asof_1", "META", ["2022-06-08", "2022-06-09"]),
        ("go_TestGetBars_Asof_2", "META", ["2022-06-10", "2022-06-13"]),
        ("py_test_get_bars_desc_1", "TSLA", ["2023-09-27", "2023-09-26", "2023-09-25"]),
    ],
)
def test_days_keep_the_order_of_the_vendor(
    wire: Path, name: str, ticker: str, dates: list[str]
) -> None:
    answer = parse((wire / f"{name}.json").read_bytes(), ticker, sessions=True)
    assert [f"{at:%Y-%m-%d}" for at in answer.candles["timestamp"].to_pylist()] == dates
    assert {at.hour for at in answer.candles["timestamp"].to_pylist()} == {0}


@pytest.mark.parametrize(
    ("name", "ticker", "count", "first"),
    [
        (
            "go_TestGetCryptoBars_1",
            "BCH/USD",
            11,
            ("2021-11-11T11:11:00", 679.75, 679.76, 679.26, 679.26, 3.67960285),
        ),
        (
            "go_TestGetOptionBars_1",
            "AAPL240308C00172500",
            7,
            ("2024-03-05T14:00:00", 1.23, 1.26, 1.1, 1.1, 82.0),
        ),
        (
            "py_test_get_bars_1",
            "SPY240426C00555000",
            2,
            ("2024-03-12T13:00:00", 0.24, 0.24, 0.21, 0.21, 21.0),
        ),
    ],
)
def test_other_recorded_bars_of_one_symbol(
    wire: Path, name: str, ticker: str, count: int, first: tuple[object, ...]
) -> None:
    rows = candles(parse((wire / f"{name}.json").read_bytes(), ticker).candles)
    assert (len(rows), rows[0]) == (count, first)


@pytest.mark.parametrize(
    ("name", "ticker", "first"),
    [
        ("go_TestGetMultiBars_1", "NIO", ("2021-10-13T04:00:00", 35.75, 36.68, 35.47, 36.24)),
        ("go_TestGetCryptoMultiBars_1", "BTC/USD", ("2021-11-20T20:00:00", 59488.87, 59700.0)),
        ("py_test_get_crypto_bars_1", "ETH/USD", ("2022-03-09T05:00:00", 839.0, 860.56, 832.01)),
        (
            "py_test_multisymbol_get_bars_1",
            "SPY240426C00555000",
            ("2024-03-12T13:00:00", 0.24, 0.24, 0.21, 0.21),
        ),
    ],
)
def test_bars_of_another_symbol_are_refused_and_not_mixed_in(
    wire: Path, name: str, ticker: str, first: tuple[object, ...]
) -> None:
    body = (wire / f"{name}.json").read_bytes()
    with pytest.raises(ProviderError, match=f"when asked for {ticker}") as caught:
        parse(body, ticker)
    assert caught.value.kind == "bad_response"
    alone = {"bars": {ticker: orjson.loads(body)["bars"][ticker]}, "next_page_token": None}
    rows = candles(parse(orjson.dumps(alone), ticker).candles)
    assert rows[0][: len(first)] == first


@pytest.mark.parametrize(
    "name",
    [
        "go_TestDefaultDo_1",
        "go_TestDefaultDo_Retry_1",
        "go_TestDefaultDo_Timeout_1",
        "go_TestLatestBars_1",
        "go_TestLatestCryptoBars_1",
    ],
)
def test_the_latest_bar_is_another_endpoint_and_no_page(wire: Path, name: str) -> None:
    """It is the bar that is running: one object in place of a list."""
    body = orjson.loads((wire / f"{name}.json").read_bytes())
    ticker, bar = next(iter(body["bars"].items()))
    with pytest.raises(ProviderError, match="has no list"):
        parse(orjson.dumps({"bars": {ticker: bar}}), ticker)
    rows = candles(parse(orjson.dumps({"bars": {ticker: [bar]}}), ticker).candles)
    assert rows[0][1:] == tuple(float(bar[key]) for key in "ohlcv")


@pytest.mark.parametrize("kind", ["multi", "single"])
def test_an_unknown_symbol_is_an_empty_answer(wire: Path, kind: str) -> None:
    answer = parse((wire / f"py_test_get_bars_{kind}_empty_response_1.json").read_bytes(), "NOPE")
    assert (answer.candles.num_rows, answer.more) == (0, None)
    assert parse(b'{"bars": null}', "NOPE").candles.num_rows == 0


def bar(at: str) -> dict[str, object]:
    return {"t": at, "o": 1, "h": 2, "l": 1, "c": 2, "v": 3, "n": 4, "vw": 1.5}


def test_pages_follow_the_token_and_cover_what_they_hold() -> None:
    def answer(path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if params.get("page_token") is None:
            rows = [bar("2024-01-02T14:30:00Z"), bar("2024-01-02T14:32:00Z")]
            return {"bars": {"BRK.B": rows}, "next_page_token": "onwards"}
        assert params["page_token"] == "onwards"  # noqa: S105 - of the vendor's paging
        return {"bars": {"BRK.B": [bar("2024-01-02T14:40:00Z")]}, "next_page_token": None}

    asked = query("BRK.B", "1m", "2024-01-02", "2024-01-03")
    pages, script = fetch(AlpacaProvider(make_settings()), asked, answer)
    assert [page.covered_until for page in pages] == [utc("2024-01-02T14:33"), asked.end]
    assert [page.candles.num_rows for page in pages] == [2, 1]
    assert script.asked[0] == (
        "/v2/stocks/bars",
        {
            "symbols": "BRK.B",
            "timeframe": "1Min",
            "limit": 10_000,
            "sort": "asc",
            "start": "2024-01-02T00:00:00Z",
            "end": "2024-01-02T23:59:59Z",
            "adjustment": "raw",
        },
    )


@pytest.mark.parametrize("rows", [[], [bar("2024-01-02T14:30:00Z")]])
def test_pages_that_go_round_end_the_answer(rows: list[object]) -> None:
    same = {"bars": {"AAPL": rows}, "next_page_token": "round"}
    with pytest.raises(ProviderError, match="alpaca answered with") as caught:
        fetch(
            AlpacaProvider(make_settings()),
            query("AAPL", "1m", "2024-01-02", "2024-01-03"),
            lambda *_: same,
        )
    assert caught.value.kind == "bad_response"


def test_four_hours_are_rolled_up_for_alpaca_counts_them_from_new_york() -> None:
    def answer(path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        assert params["timeframe"] == "1Hour"
        times = [f"2024-01-02T{hour}:00:00Z" for hour in (14, 15, 16)]
        return {"bars": {"AAPL": [bar(at) for at in times]}, "next_page_token": None}

    asked = query("AAPL", "4h", "2024-01-02", "2024-01-03")
    (page,), _ = fetch(AlpacaProvider(make_settings()), asked, answer)
    assert candles(page.candles, "volume", "trade_count") == [
        ("2024-01-02T12:00:00", 6.0, 8.0),
        ("2024-01-02T16:00:00", 3.0, 4.0),
    ]
    assert [row["t"] for row in json.loads(page.record(0))] == [
        "2024-01-02T14:00:00Z",
        "2024-01-02T15:00:00Z",
    ]


@pytest.mark.parametrize(
    ("argument", "setting", "sent"),
    [("otc", "IEX", "otc"), (None, "DELAYED_SIP", "delayed_sip"), (None, None, None)],
)
def test_the_feed_is_the_argument_else_the_setting_else_the_account_decides(
    argument: Any, setting: str | None, sent: str | None
) -> None:
    provider = AlpacaProvider(make_settings(alpaca_feed=setting), feed=argument)
    _, script = fetch(
        provider, query("AAPL", "1d", "2024-01-02", "2024-01-03"), lambda *_: {"bars": {}}
    )
    assert script.asked[0][1].get("feed") == sent


def test_crypto_has_another_path_and_neither_feed_nor_adjustment() -> None:
    provider = AlpacaProvider(make_settings(alpaca_feed="sip"))
    _, script = fetch(
        provider, query("BTCUSD", "1d", "2024-01-02", "2024-01-03"), lambda *_: {"bars": {}}
    )
    path, params = script.asked[0]
    assert (path, params["symbols"]) == ("/v1beta3/crypto/us/bars", "BTC/USD")
    assert params["timeframe"] == "1Hour"  # its days begin at midnight in the United States
    assert not params.keys() & {"feed", "adjustment"}


@pytest.mark.parametrize("key", ["FFE_ALPACA_API_KEY", "FFE_ALPACA_API_SECRET"])
def test_a_missing_key_is_named(key: str) -> None:
    field = key.removeprefix("FFE_").lower()
    with pytest.raises(ProviderError, match=f"alpaca needs a key: set {key} ") as caught:
        AlpacaProvider(make_settings(**{field: None}))
    assert caught.value.kind == "configuration"
