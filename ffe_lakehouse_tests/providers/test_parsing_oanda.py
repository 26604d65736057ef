"""Oanda's format: text prices, tick counts, incomplete bars, pages by count over closed hours."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.oanda import OandaProvider, parse
from ffe_lakehouse_tests.providers.answers import Script, candles, fetch, make_settings, query, utc

MEASURES = ("open", "high", "low", "close", "volume", "trade_count")


def candle(at: datetime, **more: object) -> dict[str, object]:
    mid = {"o": "1.10", "h": "1.20", "l": "1.00", "c": "1.15"}
    time = f"{at:%Y-%m-%dT%H:%M:%S}.000000000Z"
    return {"complete": True, "volume": 7, "time": time, "mid": mid, **more}


def answer(*rows: object, instrument: str = "EUR_USD", granularity: str = "M1") -> dict[str, Any]:
    return {"instrument": instrument, "granularity": granularity, "candles": list(rows)}


def test_volume_counts_prices_and_is_the_trade_count(shared_data: Path) -> None:
    body = (shared_data / "wire/oanda/candles_DE30EUR_M5_mid_2016-10-17.json").read_bytes()
    found, incomplete = parse(body, "DE30_EUR", "M5")
    rows = candles(found.candles, *MEASURES)
    assert rows[0] == ("2016-10-17T19:35:00", 10503.8, 10508.0, 10503.8, 10506.0, None, 132.0)
    assert rows[-1] == ("2016-10-17T19:55:00", 10509.0, 10509.8, 10503.2, 10507.8, None, 172.0)
    assert (len(rows), incomplete) == (5, [])


def test_days_by_default_begin_at_17_new_york(shared_data: Path) -> None:
    name = "wire/oanda/candles_EURUSD_D_mid_2022-05-11_issue192.json"
    found, _ = parse((shared_data / name).read_bytes(), "EUR_USD", "D")
    assert candles(found.candles, *MEASURES) == [
        ("2022-05-11T21:00:00", 1.05166, 1.05294, 1.03538, 1.0381, None, 191082.0),
        ("2022-05-12T21:00:00", 1.03781, 1.04198, 1.03492, 1.04072, None, 157178.0),
    ]


def test_the_mid_is_taken_and_an_incomplete_bar_is_not(shared_data: Path) -> None:
    name = "wire/oanda/candles_USDCAD_D_BMA_incomplete_2021-08-29.json"
    found, incomplete = parse((shared_data / name).read_bytes(), "USD_CAD", "D")
    assert candles(found.candles, *MEASURES) == [
        ("2021-08-29T21:00:00", 1.26255, 1.26342, 1.25738, 1.2606, None, 21318.0)
    ]
    assert incomplete == [utc("2021-08-30T21:00")]
    assert json.loads(found.record(0))["bid"]["o"] == "1.26205"


def test_the_last_minutes_before_a_weekend(shared_data: Path) -> None:
    name = "wire/oanda/latestCandles_EURUSD_M1_BA__EURCHF_M5_M_2020-02-21_fri_close.json"
    eur_usd, eur_chf = orjson.loads((shared_data / name).read_bytes())["latestCandles"]
    found, _ = parse(orjson.dumps(eur_chf), "EUR_CHF", "M5")
    assert candles(found.candles, *MEASURES) == [
        ("2020-02-21T21:50:00", 1.06126, 1.0613, 1.06121, 1.06124, None, 26.0),
        ("2020-02-21T21:55:00", 1.06126, 1.06155, 1.06126, 1.06128, None, 62.0),
    ]
    found, _ = parse(orjson.dumps(eur_usd), "EUR_USD", "M1")
    assert candles(found.candles, "open", "trade_count") == [  # bid and ask, but no mid
        ("2020-02-21T21:58:00", None, 15.0),
        ("2020-02-21T21:59:00", None, 13.0),
    ]


def test_records_skip_the_incomplete_bars() -> None:
    first, second = utc("2024-01-02"), utc("2024-01-02T00:01")
    body = orjson.dumps(answer(candle(first, complete=False), candle(second)))
    found, incomplete = parse(body, "EUR_USD", "M1")
    assert incomplete == [first]
    assert json.loads(found.record(0))["time"] == "2024-01-02T00:01:00.000000000Z"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"instrument": "GBP_USD"}, "GBP_USD M1 when asked for EUR_USD M1"),
        ({"granularity": "M5"}, "EUR_USD M5 when asked for EUR_USD M1"),
    ],
)
def test_the_answer_to_another_question_is_refused(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        parse(orjson.dumps(answer(**wrong)), "EUR_USD", "M1")
    assert caught.value.kind == "bad_response"


class Market:
    """Minutes of a market that is closed for a while, as Oanda pages through them."""

    def __init__(self, *opens: datetime) -> None:
        """The minutes that have a bar."""
        self._opens = opens

    def __call__(self, _path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """A page of them."""
        opens = [at for at in self._opens if at >= utc(params["from"][:-1])]
        return answer(*map(candle, opens[: params["count"]]))


def minutes(start: str, count: int) -> list[datetime]:
    return [utc(start) + timedelta(minutes=i) for i in range(count)]


def test_pages_count_bars_so_that_closed_hours_cost_no_request() -> None:
    opens = minutes("2024-01-05T12:00", 4_000) + minutes("2024-01-20", 6_000)
    asked = query("EURUSD", "1m", "2024-01-05T12:00", "2024-01-24T04:00")
    pages, script = fetch(OandaProvider(make_settings()), asked, Market(*opens))
    assert [page.candles.num_rows for page in pages] == [5_000, 5_000]
    assert [page.covered_until for page in pages] == [utc("2024-01-20T16:40"), asked.end]
    assert script.asked[1] == (
        "/v3/instruments/EUR_USD/candles",
        {
            "granularity": "M1",
            "price": "M",
            "from": "2024-01-20T16:40:00Z",
            "count": 5_000,
            "smooth": "false",
            "alignmentTimezone": "UTC",
            "dailyAlignment": 0,
        },
    )


def test_bars_behind_the_window_end_the_answer_and_are_left_out() -> None:
    asked = query("EURUSD", "1m", "2024-01-06", "2024-01-06T01:00")
    pages, script = fetch(
        OandaProvider(make_settings()), asked, Market(*minutes("2024-01-06T00:30", 5_000))
    )
    assert [page.candles.num_rows for page in pages] == [30]
    assert pages[0].covered_until == asked.end
    assert [params["count"] for _, params in script.asked] == [60]


def test_an_empty_weekend_is_one_empty_page() -> None:
    asked = query("EURUSD", "1m", "2024-01-06", "2024-01-07")
    pages, script = fetch(OandaProvider(make_settings()), asked, Market())
    assert [(page.candles.num_rows, page.covered_until) for page in pages] == [(0, asked.end)]
    assert len(script.asked) == 1


def test_a_full_page_with_an_unreadable_time_is_still_a_full_page() -> None:
    opens = minutes("2024-01-02", 5_010)

    def spoiled(path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        found = Market(*opens)(path, params)
        found["candles"][3]["time"] = "soon"
        return found

    asked = query("EURUSD", "1m", "2024-01-02", "2024-01-05T11:30")
    pages, _ = fetch(OandaProvider(make_settings()), asked, spoiled)
    assert [page.candles.num_rows for page in pages] == [5_000, 10]
    assert pages[0].candles["timestamp"].null_count == 1


def test_a_vendor_that_does_not_move_on_is_not_asked_for_ever() -> None:
    same = answer(*map(candle, minutes("2024-01-01", 60)))
    with pytest.raises(ProviderError, match="bars before 2024-01-02") as caught:
        fetch(
            OandaProvider(make_settings()),
            query("EURUSD", "1m", "2024-01-02", "2024-01-02T01:00"),
            lambda *_: same,
        )
    assert caught.value.kind == "bad_response"


def test_a_bar_that_has_just_closed_may_be_incomplete() -> None:
    asked = query("EURUSD", "1m", "2024-01-02", "2024-01-02T00:02")
    first, second = minutes("2024-01-02", 2)
    body = answer(candle(first), candle(second, complete=False))
    provider = OandaProvider(make_settings(), clock=lambda: utc("2024-01-02T00:03"))
    (page,), _ = fetch(provider, asked, lambda *_: body)
    assert (page.candles.num_rows, page.covered_until) == (1, asked.end)


def test_a_bar_that_stays_incomplete_ends_the_answer_before_it() -> None:
    asked = query("EURUSD", "1m", "2024-01-02", "2024-01-02T00:03")
    first, second, third = minutes("2024-01-02", 3)
    body = answer(candle(first), candle(second, complete=False), candle(third))
    provider = OandaProvider(make_settings(), clock=lambda: utc("2024-01-03"))
    provider.source = Script(lambda *_: body)  # type: ignore[assignment]
    pages = provider.fetch(asked)
    page = next(pages)
    assert (page.candles.num_rows, page.covered_until) == (1, second)
    with pytest.raises(ProviderError, match="incomplete") as caught:
        next(pages)
    assert caught.value.kind == "bad_response"


def test_a_missing_token_is_named_in_one_line() -> None:
    with pytest.raises(ProviderError) as caught:
        OandaProvider(make_settings(oanda_token=None))
    assert caught.value.kind == "configuration"
    assert str(caught.value).startswith("oanda needs a key: set FFE_OANDA_TOKEN (get one at ")
    assert "\n" not in str(caught.value)
