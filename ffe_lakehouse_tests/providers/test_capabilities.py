"""What each vendor has, and how it spells a pair."""

from datetime import timedelta

import pytest

from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.capabilities import (
    MATRIX,
    capability,
    earliest,
    rows,
    spell,
    supports,
)
from ffe_lakehouse.providers.registry import provider_names
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, parse_timeframe
from ffe_lakehouse_tests.providers.answers import utc


@pytest.mark.parametrize(
    ("vendor", "spelled"),
    [
        ("coinbase", ["BTC-USD", None, None, None]),
        ("oanda", ["BTC_USD", "EUR_USD", None, None]),
        ("alpha_vantage", ["BTCUSD", "EURUSD", "AAPL", "BRK-B"]),
        ("alpaca", ["BTC/USD", None, "AAPL", "BRK.B"]),
        ("polygon", ["X:BTCUSD", "C:EURUSD", "AAPL", "BRK.B"]),
        ("yahoo", ["BTC-USD", "EURUSD=X", "AAPL", "BRK-B"]),
    ],
)
@pytest.mark.parametrize(
    "texts", [("btc-usd", "eur_usd", "aapl", "brk.b"), ("BTC/USD", "EUR/USD", "AAPL", "BRK-B")]
)
def test_a_pair_however_written_is_spelled_for_the_vendor(
    vendor: str, spelled: list[str | None], texts: tuple[str, ...]
) -> None:
    symbols = [parse_symbol(text) for text in texts]
    hour = TIMEFRAMES["1h"]
    assert [
        spell(vendor, symbol) if supports(vendor, symbol, hour) else None for symbol in symbols
    ] == spelled


@pytest.mark.parametrize(
    ("vendor", "pair", "timeframe", "asked"),
    [
        ("coinbase", "BTCUSD", "4h", "1h"),
        ("coinbase", "BTCUSD", "1d", "1d"),
        ("oanda", "EURUSD", "4h", "4h"),
        ("alpha_vantage", "IBM", "4h", "1h"),
        ("alpaca", "AAPL", "4h", "1h"),
        ("alpaca", "BTCUSD", "1d", "1h"),
        ("polygon", "AAPL", "4h", "1h"),
        ("polygon", "BTCUSD", "4h", "4h"),
        ("yahoo", "AAPL", "1h", "15m"),
        ("yahoo", "AAPL", "1d", "1d"),
        ("yahoo", "EURUSD", "1d", "1h"),
    ],
)
def test_what_is_not_on_the_utc_grid_is_rolled_up_from_the_coarsest_that_is(
    vendor: str, pair: str, timeframe: str, asked: str
) -> None:
    found = capability(vendor, parse_symbol(pair), parse_timeframe(timeframe))
    assert found.asked.code == asked


def test_a_class_that_the_vendor_lacks_names_those_it_has() -> None:
    with pytest.raises(ProviderError) as caught:
        capability("alpaca", parse_symbol("EURUSD"), TIMEFRAMES["1h"])
    assert caught.value.kind == "invalid_symbol"
    assert str(caught.value) == (
        "alpaca has no 1h of EURUSD, which is forex: it has equity, crypto"
    )


def test_a_vendor_that_is_not_in_the_table_may_have_anything() -> None:
    assert supports("acme", parse_symbol("EURUSD"), TIMEFRAMES["1h"])
    assert earliest("acme", parse_symbol("EURUSD"), TIMEFRAMES["1h"], utc("2024-01-01")) is None


def test_history_is_that_of_the_timeframe_that_is_asked_for() -> None:
    now, aapl = utc("2024-03-01"), parse_symbol("AAPL")
    days = {
        code: (now - first).days if (first := earliest("yahoo", aapl, timeframe, now)) else None
        for code, timeframe in TIMEFRAMES.items()
    }
    assert days == {"1m": 29, "5m": 59, "15m": 59, "1h": 59, "4h": 59, "1d": None}
    assert earliest("coinbase", parse_symbol("BTCUSD"), TIMEFRAMES["1m"], now) is None


def test_every_class_of_every_vendor_has_all_six_timeframes() -> None:
    found = list(rows())
    assert len(found) == 6 * sum(len(classes) for classes in MATRIX.values())
    for _, _, timeframe, how in found:
        assert how.asked <= timeframe
        assert timeframe.duration % how.asked.duration == timedelta()


def test_every_vendor_of_the_table_is_a_provider_with_a_place_for_its_host() -> None:
    assert set(MATRIX) <= set(provider_names())
    assert {f"{vendor}_base_url" for vendor in MATRIX} <= set(Settings.model_fields)
    assert {f"{vendor}_plan" for vendor in MATRIX} <= set(Settings.model_fields)
