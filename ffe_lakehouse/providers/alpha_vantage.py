"""Candles of Alpha Vantage: equities as traded, forex and crypto; 25 requests a day are free.

Every value is text under numbered keys that differ by function. Equity times are New York's wall
clock, those of forex and crypto UTC; all are the open of the bar. There is no cursor: intraday
equities come by the month, all else newest first, whole. A refusal is HTTP 200 with a sentence.
Equity bars include the extended hours, as those of Alpaca and Polygon do.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.providers.base import CandleQuery, FailureKind, Page, ProviderError
from ffe_lakehouse.providers.capabilities import Capability, spell
from ffe_lakehouse.providers.http import HttpSource, Response
from ffe_lakehouse.providers.limits import vendor_policy
from ffe_lakehouse.providers.parsing import (
    Answer,
    Verbatim,
    decode,
    member,
    moments,
    numbers,
    pick,
    table,
    times,
    to_utc,
    unexpected,
)
from ffe_lakehouse.providers.vendor import Clock, VendorProvider, now, required
from ffe_lakehouse.schemas import PRICES
from ffe_lakehouse.settings import AssetClass, Settings
from ffe_lakehouse.symbols import Symbol

COMPACT = 100
"""Rows that the cheap answer has, the newest ones."""

_NEW_YORK = ZoneInfo("America/New_York")
_ZONES = {"US/Eastern": "America/New_York", "UTC": "UTC"}
_DAILY: Mapping[AssetClass, str] = {
    "equity": "TIME_SERIES_DAILY",
    "forex": "FX_DAILY",
    "crypto": "DIGITAL_CURRENCY_DAILY",
}
_INTRADAY: Mapping[AssetClass, str] = {
    "equity": "TIME_SERIES_INTRADAY",
    "forex": "FX_INTRADAY",
    "crypto": "CRYPTO_INTRADAY",
}
_COMPLETE = ("TIME_SERIES_DAILY", "FX_DAILY")  # "full" is all there ever was
_ASKED_BY: Mapping[AssetClass, tuple[str, ...]] = {
    "equity": ("symbol",),
    "forex": ("from_symbol", "to_symbol"),
    "crypto": ("symbol", "market"),
}
_NAMES: Mapping[AssetClass, tuple[str, ...]] = {
    "equity": ("Symbol",),
    "forex": ("From Symbol", "To Symbol"),
    "crypto": ("Digital Currency Code", "Market Code"),
}
_VALUE_KEY = re.compile(r"(?:\d+[ab]?\. )?(open|high|low|close|volume)(?: \((\w+)\))?")
_DAY_SECONDS = 86_400.0
# The order counts: the sentence about bursts also names the daily quota and premium endpoints.
_REFUSALS: Sequence[tuple[str, FailureKind, str, float | None]] = (
    ("artificial", "authentication", "it sent made-up rows, for this needs a premium plan", None),
    ("spreading out", "rate_limited", "one request a second is the limit of this plan", 1.0),
    ("call frequency", "rate_limited", "the requests of this minute are spent", 60.0),
    ("requests per day", "rate_limited", "the requests of this day are spent", _DAY_SECONDS),
    ("premium", "authentication", "this needs a premium plan", None),
    ("demo", "authentication", "the demo key opens only the demo: set your own", None),
    ("apikey", "authentication", "it does not know this key", None),
    ("invalid api call", "invalid_symbol", "it knows no such symbol (or no such call)", None),
    ('"error message"', "bad_response", "it refused for a reason unknown to us", None),
    ('"information"', "bad_response", "it refused for a reason unknown to us", None),
    ('"note"', "bad_response", "it refused for a reason unknown to us", None),
)


class AlphaVantageProvider(VendorProvider):
    """Alpha Vantage: equities, forex and crypto."""

    name = "alpha_vantage"

    def __init__(self, settings: Settings, clock: Clock = now) -> None:
        """Nothing is asked before the first question.

        Raises:
            ProviderError: ``configuration``: there is no key.
        """
        key = required(
            self.name,
            settings.alpha_vantage_api_key,
            "FFE_ALPHA_VANTAGE_API_KEY",
            "alphavantage.co/support",
        )
        self._clock = clock
        self.source = HttpSource(
            settings.alpha_vantage_base_url,
            vendor_policy(self.name, settings),
            params={"apikey": key},
            refusal=refusal,
        )

    def pages(self, query: CandleQuery, how: Capability) -> Iterator[Page]:
        """One page; of intraday equities one a month of New York.

        Raises:
            ProviderError: ``no_data``, too, if the vendor's history does not reach back to the
                window: its first day would look as if nothing had been traded on it.
        """
        # It cannot have more rows since then than the clock has bars.
        recent = self._clock() - query.start <= COMPACT * query.timeframe.duration
        ask = _parameters(query, how) | {"outputsize": "compact" if recent else "full"}
        if how.code != "daily" and query.symbol.asset_class == "equity" and not recent:
            for month, start, end in _months(query.start, query.end):
                yield self._get(ask | {"month": month}, query).page(start, end)
            return
        answer = self._get(ask, query)
        if recent or ask["function"] not in _COMPLETE:
            _check_reach(answer, query)
        yield answer.page(query.start, query.end)

    def _get(self, ask: Mapping[str, str], query: CandleQuery) -> Answer:
        return parse(self.source.get("/query", ask).body, query.symbol)


def _parameters(query: CandleQuery, how: Capability) -> dict[str, str]:
    asset_class, names = query.symbol.asset_class, _names(query.symbol)
    ask = dict(zip(_ASKED_BY[asset_class], names, strict=True))
    if how.code == "daily":
        return ask | {"function": _DAILY[asset_class]}
    ask |= {"function": _INTRADAY[asset_class], "interval": how.code}
    if asset_class == "equity":
        ask |= {"adjusted": "false", "extended_hours": "true"}
    return ask


def _check_reach(answer: Answer, query: CandleQuery) -> None:
    """Refuse an answer that begins more than a day's bars after the window does."""
    first = min(moments(answer.candles), default=query.start)
    missing = expected_bars(query.symbol, query.timeframe, query.start, min(first, query.end))
    if missing.size > query.timeframe.bars_per_day:
        raise ProviderError(
            "no_data",
            f"alpha_vantage has {query.timeframe} of {query.symbol} from"
            f" {first:%Y-%m-%d %H:%M} UTC on, not from {query.start:%Y-%m-%d}",
        )


def _months(start: datetime, end: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    """The months of New York that ``[start, end)`` touches, as named, and its part in each."""
    while start < end:
        local = start.astimezone(_NEW_YORK)
        year, month = divmod(local.year * 12 + local.month, 12)
        until = min(datetime(year, month + 1, 1, tzinfo=_NEW_YORK).astimezone(UTC), end)
        yield f"{local:%Y-%m}", start, until
        start = until


def parse(body: bytes, symbol: Symbol, bar: timedelta = timedelta()) -> Answer:
    """Candles of a body.

    Args:
        body: JSON, or the same as CSV, which does not say whose it is nor in what zone.
        symbol: What was asked for.
        bar: Length of the bars: only the retired extended history, a CSV whose first column is
            ``time``, needs it, because it stamped the end of the bar.

    Raises:
        ProviderError: ``bad_response``: it holds something else, or another symbol.
    """
    is_json = body.lstrip()[:1] in (b"{", b"[", b"<", b"")
    stamps, rows, zone, record = (_read_json if is_json else _read_csv)(body, symbol)
    keys = _value_keys(rows[0] if rows and isinstance(rows[0], dict) else {}, symbol.quote)
    if rows and not keys.keys() >= set(PRICES):
        raise unexpected("alpha_vantage", "rows without open, high, low and close")
    if zone not in _ZONES:
        raise unexpected("alpha_vantage", f"times of an unknown zone {zone!r}")
    opens = times(stamps)
    if any(len(str(stamp)) > len("2024-01-02") for stamp in stamps[:1]):
        opens = to_utc(opens, _ZONES[zone])
    if not is_json and "time" in rows[0]:
        opens = pc.subtract(opens, pa.scalar(bar, pa.duration("us")))
    measures = {measure: numbers(pick(rows, key)) for measure, key in keys.items()}
    return Answer(table(opens, **measures), record)


_Read = tuple[list[Any], list[Any], str, Callable[[int], str]]


def _read_json(body: bytes, symbol: Symbol) -> _Read:
    """Stamps, rows, zone and record of ``{"Meta Data": {...}, "Time Series (5min)": {...}}``."""
    found = decode(body, "alpha_vantage")
    name = next((key for key in found if str(key).startswith("Time Series")), "")
    series = member(found, name, dict, "alpha_vantage")
    meta = {
        key.partition(". ")[2]: str(value)
        for key, value in member(found, "Meta Data", dict, "alpha_vantage").items()
    }
    said = [meta.get(key, "").upper().replace(".", "-") for key in _NAMES[symbol.asset_class]]
    if said != _names(symbol):
        raise unexpected("alpha_vantage", f"{' '.join(said)!r} when asked for {symbol}")
    record = Verbatim(body, lambda decoded: [{at: row} for at, row in decoded[name].items()])
    return list(series), list(series.values()), meta.get("Time Zone", ""), record


def _read_csv(body: bytes, symbol: Symbol) -> _Read:
    """The same of a table whose first column is the time."""
    rows = list(csv.DictReader(body.decode(errors="replace").splitlines()))
    if not rows or not rows[0].keys() & {"timestamp", "time"}:
        raise unexpected("alpha_vantage", "neither JSON nor a table of candles")
    stamps = pick(rows, next(iter(rows[0])))
    zone = "US/Eastern" if symbol.asset_class == "equity" else "UTC"
    return stamps, rows, zone, lambda i: json.dumps(rows[i])


def _value_keys(row: Mapping[str, Any], quote: str) -> dict[str, str]:
    """The keys of a row by measure: ``1. open``, or of old ``1a. open (USD)`` beside another."""
    named = {key: _VALUE_KEY.fullmatch(key) for key in row}
    return {name[1]: key for key, name in named.items() if name and name[2] in (None, quote)}


def _names(symbol: Symbol) -> list[str]:
    if symbol.asset_class == "equity":
        return [spell("alpha_vantage", symbol)]
    return [symbol.base, symbol.quote]


def refusal(response: Response) -> ProviderError | None:
    """The class of a refusal, which is HTTP 200 with a sentence; None if the answer is none.

    The sentence itself is not shown: some name the key.
    """
    head = response.body[:4096].decode(errors="replace").lower()
    if '"meta data"' in head:
        return None
    for phrase, kind, meaning, wait in _REFUSALS:
        if phrase in head:
            return ProviderError(kind, f"alpha_vantage: {meaning}", retry_after=wait)
    return None
