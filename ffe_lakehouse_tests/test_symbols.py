"""Pairs: spellings that mean the same, and text that must never become a path or a key."""

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.symbols import Symbol, parse_symbol

texts = st.one_of(
    st.text(max_size=25),
    st.text("ABEUSDTCG19.-_/|", max_size=22),
    st.from_regex(r"[A-Za-z0-9]{1,12}[-_/.]?(usd|USDT|eur|BTC|B|krw)?", fullmatch=True),
)


@pytest.mark.parametrize("text", ["BTCUSD", "btcusd", "btc-usd", "BTC_USD", "Btc/Usd", " BTCUSD\n"])
def test_every_spelling_of_a_crypto_pair_is_the_same_symbol(text: str) -> None:
    assert parse_symbol(text) == Symbol("BTCUSD", "crypto", "BTC", "USD")


@pytest.mark.parametrize("text", ["EURUSD", "eur_usd", "EUR/USD", "eur-usd"])
def test_every_spelling_of_a_forex_pair_is_the_same_symbol(text: str) -> None:
    assert parse_symbol(text) == Symbol("EURUSD", "forex", "EUR", "USD")


@pytest.mark.parametrize(
    ("text", "name", "asset_class"),
    [
        ("AAPL", "AAPL", "equity"),
        ("brk.b", "BRK.B", "equity"),
        ("BRK-B", "BRK.B", "equity"),
        ("F", "F", "equity"),
        ("GOOGL", "GOOGL", "equity"),
        ("XAU_USD", "XAUUSD", "forex"),
        ("USDKRW", "USDKRW", "forex"),
        ("ETHBTC", "ETHBTC", "crypto"),
        ("BTCUSDT", "BTCUSDT", "crypto"),
        ("1INCH-USDT", "1INCHUSDT", "crypto"),
        ("BTC/KRW", "BTCKRW", "crypto"),
    ],
)
def test_the_asset_class_follows_from_the_spelling(text: str, name: str, asset_class: str) -> None:
    symbol = parse_symbol(text)
    assert (symbol.name, symbol.asset_class, str(symbol)) == (name, asset_class, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "BTC|USD",
        "../x",
        "..",
        ".",
        "/etc",
        "A/../B",
        "BTC\x00USD",
        "BTC\nUSD",
        "BTC USD",
        "BTC%2FUSD",
        "BTC'USD",
        "A" * 300,
        "B" * 18 + "USD",
        "USDUSD",
        "BTC_BTC",
        "ВТСUSD",  # noqa: RUF001 - Cyrillic
        "ＢＴＣＵＳＤ",  # noqa: RUF001 - full width
        "BTC\u2215USD",
        "BTC\u202eUSD",
        "1234",
        "ABCDEFG",
    ],
)
def test_text_that_names_no_pair_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(InputError, match="unknown pair") as refusal:
        parse_symbol(text)
    assert "ticker" in str(refusal.value)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("text", ["ßUSD", "bıtusd", "ſolusd", "ﬁlusd"])  # noqa: RUF001
def test_letters_that_only_become_ascii_in_capitals_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="unknown pair"):
        parse_symbol(text)


@given(texts)
@example("AB_USD")
@example("EUR_USDT")
@example("A.B")
@settings(deadline=None)
def test_a_name_is_refused_or_safe_as_a_path_and_as_half_of_a_key(text: str) -> None:
    try:
        symbol = parse_symbol(text)
    except InputError:
        return
    assert re.fullmatch(r"[A-Z0-9.]{1,20}", symbol.name)
    assert PurePosixPath("lake", symbol.name).parent == PurePosixPath("lake")
    assert symbol.name not in (".", "..")
    assert parse_symbol(symbol.name) == symbol
