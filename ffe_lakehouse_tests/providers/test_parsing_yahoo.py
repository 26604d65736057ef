"""Yahoo's format: parallel columns, nulls, float32, sessions by their date, splits taken back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.yahoo import YahooProvider, parse, read_splits
from ffe_lakehouse_tests.providers.answers import candles, fetch, make_settings, query, utc


def recorded(shared_data: Path, name: str) -> bytes:
    (file,) = (shared_data / "wire/yahoo/fixtures").glob(f"{name}*")
    return orjson.dumps(orjson.loads(file.read_bytes())["response"]["bodyJson"])


def chart(
    symbol: str,
    stamps: list[Any] | None,
    events: object = None,
    zone: str = "America/New_York",
    **columns: list[Any],
) -> dict[str, Any]:
    quote = {name: [1.5] * len(stamps or []) for name in ("open", "high", "low", "close")}
    result = {
        "meta": {"symbol": symbol, "exchangeTimezoneName": zone},
        "indicators": {"quote": [{**quote, "volume": [10] * len(stamps or []), **columns}]},
    }
    result |= {"timestamp": stamps} if stamps is not None else {}
    result |= {"events": events} if events is not None else {}
    return {"chart": {"result": [result], "error": None}}


def test_sessions_have_their_date_in_summer_and_in_winter(shared_data: Path) -> None:
    found = parse(recorded(shared_data, "chart-AAPL-2020-08-31"), "AAPL", sessions=True)
    rows = candles(found.candles)
    assert len(rows) == 49
    # Stamped 13:30Z, then 14:30Z. float32 129.0399932861328 is 129.04.
    assert rows[0] == ("2020-08-31T00:00:00", 127.58, 131.0, 126.0, 129.04, 225702700.0)
    assert rows[-1] == ("2020-11-06T00:00:00", 118.32, 119.2, 116.13, 118.69, 114457900.0)
    assert json.loads(found.record(0)) == {
        "timestamp": 1598880600,
        "open": 127.58000183105469,
        "high": 131,
        "low": 126,
        "close": 129.0399932861328,
        "volume": 225702700,
    }


def test_crypto_days_are_utc_and_its_volume_in_dollars_is_none(shared_data: Path) -> None:
    body = recorded(shared_data, "chart-BTC-USD")
    assert candles(parse(body, "BTC-USD", with_volume=False).candles) == [
        ("2020-01-01T00:00:00", 7194.892, 7254.3306, 7174.9443, 7200.1743, None),
        ("2020-01-02T00:00:00", 7202.5513, 7212.1553, 6935.27, 6985.47, None),
        ("2020-01-03T00:00:00", 6984.4287, 7413.7153, 6914.996, 7344.8843, None),
    ]


def test_forex_has_no_volume(shared_data: Path) -> None:
    body = recorded(shared_data, "chart-EURUSD=X")
    assert candles(parse(body, "EURUSD=X", with_volume=False).candles)[0] == (
        *("2020-01-01T00:00:00", 1.1220826, 1.1228385, 1.1159469, 1.1220826, None),
    )


@pytest.mark.parametrize(
    ("name", "ticker", "first"),
    [
        (
            "chart-BABA",
            "BABA",
            ("2020-01-02T00:00:00", 216.6, 219.98, 216.54, 219.77, 15873500.0),
        ),
        ("chart-QQQ", "QQQ", ("2020-01-02T00:00:00", 214.4, 216.16, 213.98, 216.16, 30969400.0)),
        ("chart-GC=F", "GC=F", ("2020-01-02T00:00:00", 1518.1, 1528.7, 1518.0, 1524.5, 214.0)),
        ("chart-OCDO.L", "OCDO.L", ("2020-01-02T00:00:00", 1279.5, 1286.57, 1258.0, 1259.5)),
        ("chart-0P000071W8.TO", "0P000071W8.TO", ("2020-01-02T00:00:00", 73.72, 73.72)),
        ("chart-WSU.DE", "WSU.DE", ("2023-08-04T00:00:00", 34.25, 34.55, 34.1, 34.45, 1251.0)),
        (
            "historical-via-chart-MSFT",
            "MSFT",
            ("2021-02-01T00:00:00", 235.06, 242.5, 232.43, 239.65, 33314200.0),
        ),
    ],
)
def test_other_recorded_days(
    shared_data: Path, name: str, ticker: str, first: tuple[object, ...]
) -> None:
    rows = candles(parse(recorded(shared_data, name), ticker, sessions=True).candles)
    assert rows[0][: len(first)] == first


def test_a_split_is_taken_back(shared_data: Path) -> None:
    """NVDA split 4:1 on 2021-07-20; its 10:1 of 2024 is not told in this window."""
    body = recorded(shared_data, "historical-via-chart-NVDA")
    assert read_splits(body, "NVDA") == {1626787800: 4.0}
    rows = {row[0]: row for row in candles(parse(body, "NVDA", sessions=True).candles)}
    assert len(rows) == 252
    # 13.053250312805176 and 217204000 in the body.
    assert rows["2021-02-01T00:00:00"] == (
        *("2021-02-01T00:00:00", 52.213, 53.083, 51.611, 52.948, 54301000.0),
    )
    before, after = rows["2021-07-19T00:00:00"], rows["2021-07-20T00:00:00"]
    assert before[4] == pytest.approx(4 * after[4], rel=0.02)  # type: ignore[operator]
    later = parse(body, "NVDA", sessions=True, splits={1717992000: 10.0})
    assert candles(later.candles)[0][1:] == (522.13, 530.83, 516.11, 529.48, 5430100.0)


def test_a_weekend_has_no_bars(shared_data: Path) -> None:
    found = parse(recorded(shared_data, "chart-AAPL-2025-02-01"), "AAPL")
    assert found.candles.num_rows == 0


def test_rows_without_any_price_are_no_bars_and_others_are_kept() -> None:
    stamps = [1704205800, 1704205860, 1704205920]
    nulls = {"open": [1.5, None, None], "high": [1.5, None, 2], "low": [1.5, None, 2]}
    body = chart("AAPL", stamps, **nulls, close=[1.5, None, 2], volume=[None, None, 7])
    found = parse(orjson.dumps(body), "AAPL")
    assert candles(found.candles) == [
        ("2024-01-02T14:30:00", 1.5, 1.5, 1.5, 1.5, None),
        ("2024-01-02T14:32:00", None, 2.0, 2.0, 2.0, 7.0),
    ]
    assert json.loads(found.record(1))["timestamp"] == 1704205920


def test_numbers_that_are_no_float32_are_left_alone() -> None:
    body = chart("AAPL", [1704205800], open=[123456.789012], high=[1e39], close=[1234567.5])
    (row,) = candles(parse(orjson.dumps(body), "AAPL").candles)
    assert row[1:5] == (123456.789012, 1e39, 1.5, 1234567.5)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (chart("MSFT", []), "MSFT when asked for AAPL"),
        (chart("AAPL", [1, 2], open=[1.0]), "columns of different lengths"),
        (chart("AAPL", [1], {"splits": {"1": {"date": 1}}}), "a split that cannot be read"),
        (chart("AAPL", [1704205800], zone="Mars/Olympus"), "unknown time zone 'Mars/Olympus'"),
        ({"chart": {"result": None, "error": {"code": "Oops"}}}, "no result"),
        ({"chart": {"result": []}}, "no result"),
        ({"finance": {}}, "no dict 'chart'"),
    ],
)
def test_the_answer_to_another_question_is_refused(body: object, said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        parse(orjson.dumps(body), "AAPL", sessions=True)
    assert caught.value.kind == "bad_response"


def test_bars_of_another_interval_are_refused(shared_data: Path) -> None:
    body = recorded(shared_data, "chart-BTC-USD")
    assert parse(body, "BTC-USD", "1d").candles.num_rows == 3
    with pytest.raises(ProviderError, match="bars of 1d when asked for 1h"):
        parse(body, "BTC-USD", "1h")


def provider() -> YahooProvider:
    return YahooProvider(make_settings(), clock=lambda: utc("2024-03-01T12:00"))


def test_equity_days_are_asked_for_until_today_to_learn_all_splits() -> None:
    stamps = [1704205800, 1704292200, 1709303400]  # 2 and 3 January, 1 March 2024
    splits = {"splits": {"1": {"date": 1709303400, "numerator": 2, "denominator": 1}}}
    asked = query("BRK.B", "1d", "2024-01-02", "2024-01-04")
    (page,), script = fetch(provider(), asked, lambda *_: chart("BRK-B", stamps, splits))
    assert script.asked == [
        (
            "/v8/finance/chart/BRK-B",
            {
                "interval": "1d",
                "includePrePost": "false",
                "events": "split",
                "period1": 1704067200,
                "period2": 1709294400,
            },
        )
    ]
    assert candles(page.candles, "close", "volume") == [
        ("2024-01-02T00:00:00", 3.0, 5.0),
        ("2024-01-03T00:00:00", 3.0, 5.0),
    ]


def test_equity_minutes_come_by_the_week_and_learn_the_splits_first() -> None:
    def answer(path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if params["interval"] == "1d":
            split = {"date": 1709303400, "numerator": 2, "denominator": 1}
            return chart("AAPL", [], {"splits": {"1": split}})
        return chart("AAPL", [params["period1"]])

    asked = query("AAPL", "1m", "2024-02-12", "2024-02-22")
    pages, script = fetch(provider(), asked, answer)
    assert [params["interval"] for _, params in script.asked] == ["1d", "1m", "1m"]
    assert [params["period2"] - params["period1"] for _, params in script.asked[1:]] == [
        7 * 86_400 - 1,
        3 * 86_400 - 1,
    ]
    assert [candles(page.candles, "close") for page in pages] == [
        [("2024-02-12T00:00:00", 3.0)],
        [("2024-02-19T00:00:00", 3.0)],
    ]


@pytest.mark.parametrize(
    ("symbol", "timeframe", "ticker", "interval"),
    [
        ("BTCUSD", "4h", "BTC-USD", "1h"),
        ("BTCUSD", "1d", "BTC-USD", "1d"),
        ("EURUSD", "1d", "EURUSD=X", "1h"),
        ("EURUSD", "5m", "EURUSD=X", "5m"),
    ],
)
def test_tickers_and_intervals(symbol: str, timeframe: str, ticker: str, interval: str) -> None:
    asked = query(symbol, timeframe, "2024-01-02", "2024-01-03")
    _, script = fetch(provider(), asked, lambda *_: chart(ticker, None))
    assert [path for path, _ in script.asked] == [f"/v8/finance/chart/{ticker}"]
    assert script.asked[0][1]["interval"] == interval


def test_equity_hours_are_rolled_up_because_those_of_yahoo_begin_at_half_past() -> None:
    quarters = [1704205800 + 900 * i for i in range(4)]  # 14:30Z to 15:15Z

    def answer(path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return chart("AAPL", quarters if params["interval"] == "15m" else [])

    asked = query("AAPL", "1h", "2024-01-02", "2024-01-03")
    (page,), _ = fetch(provider(), asked, answer)
    assert candles(page.candles, "volume") == [
        ("2024-01-02T14:00:00", 20.0),
        ("2024-01-02T15:00:00", 20.0),
    ]


def test_the_bar_of_the_running_day_is_left_out() -> None:
    """It comes twice: as a row of its own, and live with the time of the last trade."""
    stamps = [1709217000, 1709303400, 1709307000]  # 29 February, 1 March twice
    asked = query("AAPL", "1d", "2024-02-28", "2024-03-01")
    (page,), _ = fetch(provider(), asked, lambda *_: chart("AAPL", stamps))
    assert candles(page.candles, "close") == [("2024-02-29T00:00:00", 1.5)]
