"""A record that is read again is the candle that the vendor's own parser made of it."""

import json
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.dead_letters.records import UNREADABLE, check_mapping, read_records
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers import (
    alpaca,
    alpha_vantage,
    ccxt_exchange,
    coinbase,
    oanda,
    polygon,
    yahoo,
)
from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.providers.parsing import Answer, numbers, pick, table, times
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse_tests.dead_letters.letters import at, letter, letters

AT = int(at(2, 10).timestamp())
ISO = "2024-01-02T10:00:00Z"
_LETTERS = {"t": ISO, "o": 1.5, "h": 2.5, "l": 1.0, "c": 2.0, "v": 7.25, "n": 3, "vw": 1.75}
_NUMBERED = {"1. open": "1.5", "2. high": "2.5", "3. low": "1.0", "4. close": "2.0"}


def alpha(rows: dict[str, Any], kind: str, **meta: str) -> bytes:
    said = {f"{n}. {k.replace('_', ' ')}": v for n, (k, v) in enumerate(meta.items(), 2)}
    return orjson.dumps({"Meta Data": said, f"Time Series {kind}": rows})


def of_ccxt(row: list[float]) -> Answer:
    columns = {n: numbers(pick([row], k)) for n, k in ccxt_exchange._COLUMNS.items()}
    return Answer(table(times([row[0]]), **columns), lambda _: orjson.dumps(row).decode())


ANSWERS: dict[str, tuple[str, str, Callable[[], Answer]]] = {
    "coinbase exchange": (
        "coinbase",
        "BTCUSD",
        lambda: coinbase.parse_exchange(orjson.dumps([[AT, 1.0, 2.5, 1.5, 2.0, 7.25]])),
    ),
    "coinbase advanced": (
        "coinbase",
        "BTCUSD",
        lambda: coinbase.parse_advanced(
            b'{"candles":[{"start":"%d","low":"1.0","high":"2.5","open":"1.5","close":"2.0",'
            b'"volume":"7.25"}]}' % AT
        ),
    ),
    "ccxt": ("ccxt:kraken", "BTCUSD", lambda: of_ccxt([AT * 1000, 1.5, 2.5, 1.0, 2.0, 7.25])),
    "oanda": (
        "oanda",
        "EURUSD",
        lambda: oanda.parse(
            orjson.dumps(
                {
                    "instrument": "EUR_USD",
                    "granularity": "H1",
                    "candles": [
                        {
                            "complete": True,
                            "volume": 7,
                            "time": ISO,
                            "mid": {"o": "1.5", "h": "2.5", "l": "1.0", "c": "2.0"},
                        }
                    ],
                }
            ),
            "EUR_USD",
            "H1",
        )[0],
    ),
    "alpaca": (
        "alpaca",
        "AAPL",
        lambda: alpaca.parse(orjson.dumps({"bars": {"AAPL": [_LETTERS]}}), "AAPL"),
    ),
    "alpaca, a day of New York": (
        "alpaca",
        "AAPL",
        lambda: alpaca.parse(
            orjson.dumps({"bars": {"AAPL": [{**_LETTERS, "t": "2024-01-02T05:00:00Z"}]}}),
            "AAPL",
            sessions=True,
        ),
    ),
    "polygon, trades": (
        "polygon",
        "BTCUSD",
        lambda: polygon.parse(
            orjson.dumps({"ticker": "X:BTCUSD", "results": [{**_LETTERS, "t": AT * 1000}]}),
            "X:BTCUSD",
        ),
    ),
    "polygon, quotes": (
        "polygon",
        "EURUSD",
        lambda: polygon.parse(
            orjson.dumps({"ticker": "C:EURUSD", "results": [{**_LETTERS, "t": AT * 1000}]}),
            "C:EURUSD",
        ),
    ),
    "alpha_vantage, New York's clock": (
        "alpha_vantage",
        "IBM",
        lambda: alpha_vantage.parse(
            alpha(
                {"2024-01-02 05:00:00": {**_NUMBERED, "5. volume": "7"}},
                "(60min)",
                Symbol="IBM",
                Time_Zone="US/Eastern",
            ),
            parse_symbol("IBM"),
        ),
    ),
    "alpha_vantage, forex": (
        "alpha_vantage",
        "EURUSD",
        lambda: alpha_vantage.parse(
            alpha(
                {"2024-01-02 10:00:00": _NUMBERED},
                "FX (60min)",
                From_Symbol="EUR",
                To_Symbol="USD",
                Time_Zone="UTC",
            ),
            parse_symbol("EURUSD"),
        ),
    ),
    "alpha_vantage, CSV": (
        "alpha_vantage",
        "IBM",
        lambda: alpha_vantage.parse(
            b"timestamp,open,high,low,close,volume\n2024-01-02 05:00:00,1.5,2.5,1.0,2.0,7\n",
            parse_symbol("IBM"),
        ),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_record_of_each_vendor_is_read_as_its_own_parser_reads_it(name: str) -> None:
    vendor, pair, parse = ANSWERS[name]
    answer = parse()
    (opens,) = answer.candles["timestamp"].to_pylist()
    stored = letters(
        letter(opens, asset_pair=pair, source_provider=vendor, record=answer.record(0))
    )
    reading = read_records(stored, parse_symbol(pair), {})
    assert reading.failed == {}
    assert reading.candles.to_pylist() == answer.candles.to_pylist()
    assert reading.candles["open"].to_pylist() == [1.5]


def read(text: str, mapping: dict[str, str] | None = None, **columns: Any) -> dict[str, Any]:
    """The candle of one record, and why it has none."""
    stored = letters(letter(at(2, 10), record=text, **columns))
    reading = read_records(stored, parse_symbol("BTCUSD"), mapping or {})
    (candle,) = reading.candles.to_pylist()
    assert reading.candles.schema == RAW_CANDLES
    return {**candle, "failed": reading.failed.get(0)}


def test_columns_are_found_by_our_names_in_any_case() -> None:
    candle = read('{"Open": 1, " HIGH": "3", "low": 0.5, "Close": 2, "Volume": null, "memo": "x"}')
    assert [candle[name] for name in ("open", "high", "low", "close", "volume")] == [
        1.0,
        3.0,
        0.5,
        2.0,
        None,
    ]


def test_a_mapping_goes_before_and_leaves_the_other_columns_alone() -> None:
    text = '{"open": 1, "high": 0.5, "low": 3, "close": 2, "volume": -1, "q": {"last": 2.5}}'
    swapped = read(text, {"high": "low", "low": "high"})
    assert (swapped["high"], swapped["low"], swapped["open"]) == (3.0, 0.5, 1.0)
    assert read(text, {"close": "q/last"})["close"] == 2.5
    assert read(text, {"volume": ""})["volume"] is None
    assert read("[1, 2, 3, 4]", {"open": "0", "close": "3"})["close"] == 4.0


def test_a_field_that_a_record_has_not_is_named_and_nothing_of_it_is_read() -> None:
    candle = read('{"open": 1, "high": 3, "low": 0.5, "close": 2}', {"close": "klose"})
    assert candle["failed"] == ("no field 'klose'",)
    assert candle["open"] is None


def test_a_bar_opens_when_the_letter_says_unless_that_is_unknown_or_mapped() -> None:
    text = '{"timestamp": "2024-01-02T15:00:00Z", "sent": 1704193200}'
    assert read(text)["timestamp"] == at(2, 10)
    assert read(text, timestamp=None)["timestamp"] == at(2, 15)
    assert read(text, {"timestamp": "sent"})["timestamp"] == at(2, 11)
    # Its own zone is told by the answer alone: 10:00 in New York is no 10:00 UTC.
    vague = '{"timestamp": "2024-01-02 10:00:00", "open": "1"}'
    assert read(vague, timestamp=None, source_provider="alpha_vantage")["timestamp"] is None


@pytest.mark.parametrize(
    "text",
    [
        "not } JSON",
        "",
        "null",
        "5",
        '"text"',
        "{}",
        "[]",
        "[[1, 2, 3, 4, 5, 6], [2, 2, 3, 4, 5, 6]]",
        '[{"open": 1}, {"open": 2}]',
    ],
)
def test_what_is_no_single_candle_is_not_guessed_at(text: str) -> None:
    assert read(text, {"open": "0"})["failed"] == (UNREADABLE,)


def test_yahoo_is_not_read_without_the_splits_that_its_answer_told() -> None:
    body = {
        "meta": {"symbol": "BTC-USD"},
        "timestamp": [AT],
        "indicators": {
            "quote": [{"open": [1.5], "high": [2.5], "low": [1], "close": [2], "volume": [7]}]
        },
    }
    answer = yahoo.parse(orjson.dumps({"chart": {"result": [body]}}), "BTC-USD")
    assert read(answer.record(0), source_provider="yahoo")["failed"] == (UNREADABLE,)


def test_an_unknown_column_of_a_mapping_is_refused() -> None:
    check_mapping({"high": "x", "timestamp": "y", "vwap": ""})
    with pytest.raises(InputError, match=r"unknown column 'hig' in the mapping: use one of time.*"):
        check_mapping({"hig": "x"})


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*RAW_CANDLES.names, "x", "mid"]), inner, max_size=4)
    ),
    max_leaves=12,
)
VENDORS = ["tests", "coinbase", "ccxt:kraken", "oanda", "alpha_vantage", "polygon", "yahoo"]


@given(
    st.lists(st.tuples(ANY_JSON.map(json.dumps) | st.text(), st.sampled_from(VENDORS)), max_size=5),
    st.dictionaries(st.sampled_from(RAW_CANDLES.names), st.sampled_from(["", "open", "0", "x/y"])),
)
def test_any_record_is_a_candle_or_is_said_to_be_none(
    found: list[tuple[str, str]], mapping: dict[str, str]
) -> None:
    encodable = [(t.encode(errors="replace").decode(), vendor) for t, vendor in found]
    stored = letters(*(letter(at(2), record=t, source_provider=v) for t, v in encodable))
    reading = read_records(stored, parse_symbol("BTCUSD"), mapping)
    assert reading.candles.num_rows == len(found)
    assert isinstance(reading.candles, pa.Table)
    assert set(reading.failed) <= set(range(len(found)))
