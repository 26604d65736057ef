"""Candles of Yahoo's chart endpoint, which is unofficial, needs no key, and adjusts for splits.

Columns are parallel and may hold nulls; prices are float32; days are stamped with the opening of
the session. Equity prices and volumes come adjusted for every split until today: they are turned
back into those that were traded, because no other vendor's are adjusted. Crypto volume is in
dollars and forex volume is 0, so both are null. Extended hours are left out: they have no volume.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.providers.base import CandleQuery, Page, ProviderError
from ffe_lakehouse.providers.capabilities import Capability, spell
from ffe_lakehouse.providers.http import HttpSource, Response
from ffe_lakehouse.providers.limits import vendor_policy
from ffe_lakehouse.providers.parsing import (
    Answer,
    Verbatim,
    decode,
    member,
    numbers,
    session_days,
    table,
    times,
    unexpected,
)
from ffe_lakehouse.providers.timestamps import to_micros
from ffe_lakehouse.providers.vendor import Clock, Phrases, VendorProvider, now, refused, windows
from ffe_lakehouse.schemas import PRICES
from ffe_lakehouse.settings import Settings

Floats = NDArray[np.float64]

Splits = Mapping[int, float]
"""New shares for an old one by the Unix second from which on they trade."""

_NO_SPLITS: Splits = MappingProxyType({})
_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36"
_ONE_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
# Longest window of one request; without an entry all of it may be asked for at once.
_WINDOWS = {"1m": timedelta(days=7)}
_INTERVALS = {"60m": "1h"}  # the same by another name
_COLUMNS = (*PRICES, "volume")
_FLOAT32_DIGITS = 7
_REFUSALS: Phrases = (
    ("too many requests", "rate_limited"),
    ("data not available", "no_data"),
    ("days worth of", "no_data"),
    ("data doesn't exist", "no_data"),
    ('"not found"', "invalid_symbol"),
    ("no data found", "invalid_symbol"),
)


class YahooProvider(VendorProvider):
    """Yahoo Finance, unofficial: equities, forex and crypto; no key, short intraday history."""

    name = "yahoo"

    def __init__(self, settings: Settings, clock: Clock = now) -> None:
        """Nothing is asked before the first question."""
        self._clock = clock
        self.source = HttpSource(
            settings.yahoo_base_url,
            vendor_policy(self.name, settings),
            headers={"User-Agent": _USER_AGENT},
            refusal=refusal,
        )

    def pages(self, query: CandleQuery, how: Capability) -> Iterator[Page]:
        """One page; of minutes one a week. Intraday equities cost one request more: the splits."""
        ticker = spell(self.name, query.symbol)
        equity = query.symbol.asset_class == "equity"
        if equity and how.code == "1d":
            # To this day, because only so all splits are told. Sessions may open the day before.
            body = self._ask(ticker, "1d", query.start - _ONE_DAY, self._clock())
            yield parse(body, ticker, "1d", sessions=True).page(query.start, query.end)
            return
        splits: Splits = {}
        if equity:
            splits = read_splits(self._ask(ticker, "1d", query.start, self._clock()), ticker)
        longest = _WINDOWS.get(how.code, query.end - query.start)
        for start, end in windows(query.start, query.end, longest):
            body = self._ask(ticker, how.code, start, end - _SECOND)
            found = parse(body, ticker, how.code, splits=splits, with_volume=equity)
            yield found.page(start, end)

    def _ask(self, ticker: str, interval: str, start: datetime, end: datetime) -> bytes:
        params: dict[str, str | int] = {
            "interval": interval,
            "includePrePost": "false",
            "events": "split",
            "period1": to_micros(start) // 1_000_000,
            "period2": to_micros(end) // 1_000_000,
        }
        return self.source.get(f"/v8/finance/chart/{ticker}", params).body


def parse(
    body: bytes,
    ticker: str,
    interval: str | None = None,
    *,
    sessions: bool = False,
    splits: Splits = _NO_SPLITS,
    with_volume: bool = True,
) -> Answer:
    """Candles of a body, prices as they were traded as far as the splits are known.

    A row without any price says that nothing was traded; it is no bar and is left out.

    Args:
        body: As it came. The splits that it tells are taken back as well.
        ticker: Whose bars were asked for, as Yahoo spells it.
        interval: What was asked for: Yahoo gives another where it has no such bars.
        sessions: The bars are days of an exchange, and are stamped with their date.
        splits: Other splits, in or after the window.
        with_volume: What stands for it is one, in base units.

    Raises:
        ProviderError: ``bad_response``: it holds something else, or another symbol or interval.
    """
    result = _result(body, ticker)
    said = result["meta"].get("dataGranularity")
    if interval and said and _INTERVALS.get(said, said) != interval:
        raise unexpected("yahoo", f"bars of {said} when asked for {interval}")
    stamps, quote = _columns(result)
    opens = times(stamps)
    if sessions:
        opens = _session_days(opens, result)
    columns = {name: numbers(quote[name]) for name in _COLUMNS}
    if not with_volume:
        del columns["volume"]
    columns |= {name: _shortest(columns[name]) for name in PRICES}
    splits = {**_splits(result), **splits}
    if splits:
        columns = _as_traded(columns, numbers(stamps), splits)
    candles = table(opens, **columns)
    empty = np.logical_and.reduce([candles[name].is_null().to_numpy() for name in PRICES])
    kept = np.flatnonzero(~empty)

    def records(decoded: Any) -> list[dict[str, Any]]:
        stamps, quote = _columns(decoded["chart"]["result"][0])
        return [
            {"timestamp": stamps[i], **{name: quote[name][i] for name in _COLUMNS}} for i in kept
        ]

    return Answer(candles.filter(pa.array(~empty)), Verbatim(body, records))


def read_splits(body: bytes, ticker: str) -> Splits:
    """The splits that a body tells.

    Raises:
        ProviderError: ``bad_response``: it holds something else, or another symbol.
    """
    return _splits(_result(body, ticker))


def _result(body: bytes, ticker: str) -> dict[str, Any]:
    chart = member(decode(body, "yahoo"), "chart", dict, "yahoo")
    match member(chart, "result", list, "yahoo", nullable=True):
        case [dict() as result]:
            said = member(result, "meta", dict, "yahoo").get("symbol")
        case _:
            raise unexpected("yahoo", "no result")
    if said != ticker:
        raise unexpected("yahoo", f"{said} when asked for {ticker}")
    return result


def _columns(result: dict[str, Any]) -> tuple[list[Any], dict[str, list[Any]]]:
    """Times and columns; a window without a bar has neither."""
    stamps = member({"timestamp": None, **result}, "timestamp", list, "yahoo", nullable=True)
    match result.get("indicators"):
        case {"quote": [dict() as quote]}:
            columns = {name: quote.get(name, [None] * len(stamps)) for name in _COLUMNS}
        case _:
            raise unexpected("yahoo", "no quote")
    if any(not isinstance(c, list) or len(c) != len(stamps) for c in columns.values()):
        raise unexpected("yahoo", "columns of different lengths")
    return stamps, columns


def _session_days(stamps: pa.Array, result: dict[str, Any]) -> pa.Array:
    """Midnight UTC of each stamp's date; ``gmtoffset`` is that of today, not of the bar's day."""
    zone = member(result["meta"], "exchangeTimezoneName", str, "yahoo")
    try:
        return session_days(stamps, zone)
    except pa.ArrowInvalid:
        raise unexpected("yahoo", f"the unknown time zone {zone!r}") from None


def _splits(result: dict[str, Any]) -> Splits:
    events = member({"events": None, **result}, "events", dict, "yahoo", nullable=True)
    told = member({"splits": None, **events}, "splits", dict, "yahoo", nullable=True)
    try:
        return {
            int(split["date"]): split["numerator"] / split["denominator"] for split in told.values()
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise unexpected("yahoo", "a split that cannot be read") from None


def _shortest(column: pa.Array) -> pa.Array:
    """Each float32 as the shortest decimal that is the same float32: 129.04 for 129.0399932861.

    A number that is no float32 is left alone.
    """
    narrow = column.cast(pa.float32(), safe=False)
    exact = pc.equal(narrow.cast(pa.float64()), column)
    return pc.if_else(exact, narrow.cast(pa.string()).cast(pa.float64()), column)


def _as_traded(
    columns: dict[str, pa.Array], seconds: pa.Array, splits: Splits
) -> dict[str, pa.Array]:
    """Take back the splits: prices times, volume by the shares that one share has become since."""
    dates = np.array(sorted(splits))
    ratios = np.array([splits[date] for date in dates.tolist()])
    since = np.append(np.cumprod(ratios[::-1])[::-1], 1.0)
    factor = since[np.searchsorted(dates, seconds.to_numpy(zero_copy_only=False), side="right")]
    traded = {}
    for name, column in columns.items():
        values = column.to_numpy(zero_copy_only=False)
        if name == "volume":
            values = values / factor
        else:
            values = np.where(factor == 1, values, _rounded(values * factor))
        traded[name] = pc.if_else(column.is_null(), None, pa.array(values))
    return traded


def _rounded(values: Floats) -> Floats:
    """To the digits that a float32 has: the rest is noise, blown up by the ratio of a split."""
    with np.errstate(divide="ignore", invalid="ignore"):
        places = _FLOAT32_DIGITS - 1 - np.floor(np.log10(np.abs(values)))
        scale = 10.0 ** np.nan_to_num(np.clip(places, -300, 300))
        rounded: Floats = np.rint(values * scale) / scale
    return rounded


def refusal(response: Response) -> ProviderError | None:
    """The failure that the vendor tells in words; None if there is none."""
    return refused("yahoo", response, _REFUSALS)
