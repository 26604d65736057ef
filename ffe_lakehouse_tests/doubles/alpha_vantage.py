"""Alpha Vantage: newest first, everything as text, every refusal with HTTP 200."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

import numpy as np

from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse_tests.doubles.market import Bars, micros
from ffe_lakehouse_tests.doubles.sessions import local_times
from ffe_lakehouse_tests.doubles.vendor import (
    Edits,
    Refused,
    Request,
    Response,
    Vendor,
    decimals,
    json_response,
    no_such_path,
)

COMPACT = 100
"""Rows of a compact answer."""

_THANKS = "Thank you for using Alpha Vantage! "
BURST = {
    "Information": _THANKS + "Please consider spreading out your free API requests more sparingly"
    " (1 request per second). You may subscribe to any of the premium plans at"
    " https://www.alphavantage.co/premium/ to lift the free key rate limit (25 requests per day),"
    " raise the per-second burst limit, and instantly unlock all premium endpoints"
}
DAILY_QUOTA = {
    "Information": _THANKS + "Our standard API rate limit is 25 requests per day. Please subscribe"
    " to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove all"
    " daily rate limits."
}
PREMIUM = {
    "Information": _THANKS + "This is a premium endpoint. You may subscribe to any of the premium"
    " plans at https://www.alphavantage.co/premium/ to instantly unlock all premium endpoints"
}
NO_KEY = {
    "Error Message": "the parameter apikey is invalid or missing. Please claim your free API key on"
    " (https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
}

_INTERVALS = {"1min": "1m", "5min": "5m", "15min": "15m", "60min": "1h"}
_EASTERN = "US/Eastern"
_FREE = {"TIME_SERIES_DAILY", "FX_DAILY", "DIGITAL_CURRENCY_DAILY"}


@dataclass(frozen=True)
class _Function:
    """How one function names things.

    Attributes:
        asset_class: Whose candles it has.
        intraday: Whether there is an ``interval``.
        series: Key of the rows; ``{}`` is the interval.
        digits: Decimals of a price.
        volume: How a volume is written; ``None`` if there is none.
        meta: Lines of ``Meta Data``; the numbers in front of them are added.
    """

    asset_class: str
    intraday: bool
    series: str
    digits: int
    volume: Callable[[float], object] | None
    meta: Callable[[Mapping[str, str]], dict[str, str]]


def _units(value: float) -> str:
    return decimals(0.0 if value != value else value, 0)


def _stock(params: Mapping[str, str]) -> dict[str, str]:
    what = f"Intraday ({params['interval']}) open, high, low, close prices and volume"
    lines = {"Information": what, "Symbol": params["symbol"], "Last Refreshed": ""}
    return lines | {"Interval": params["interval"], "Output Size": "", "Time Zone": _EASTERN}


def _stock_daily(params: Mapping[str, str]) -> dict[str, str]:
    what = "Daily Prices (open, high, low, close) and Volumes"
    lines = {"Information": what, "Symbol": params["symbol"], "Last Refreshed": ""}
    return lines | {"Output Size": "", "Time Zone": _EASTERN}


def _forex(params: Mapping[str, str]) -> dict[str, str]:
    lines = {"Information": f"FX Intraday ({params['interval']}) Time Series"}
    lines |= {"From Symbol": params["from_symbol"], "To Symbol": params["to_symbol"]}
    lines |= {"Last Refreshed": "", "Interval": params["interval"]}
    return lines | {"Output Size": "", "Time Zone": "UTC"}


def _forex_daily(params: Mapping[str, str]) -> dict[str, str]:
    lines = {"Information": "Forex Daily Prices (open, high, low, close)"}
    lines |= {"From Symbol": params["from_symbol"], "To Symbol": params["to_symbol"]}
    return lines | {"Output Size": "", "Last Refreshed": "", "Time Zone": "UTC"}


def _coin(params: Mapping[str, str]) -> dict[str, str]:
    return {
        "Digital Currency Code": params["symbol"],
        "Digital Currency Name": params["symbol"],
        "Market Code": params["market"],
        "Market Name": params["market"],
        "Last Refreshed": "",
    }


def _crypto(params: Mapping[str, str]) -> dict[str, str]:
    lines = {"Information": f"Crypto Intraday ({params['interval']}) Time Series"}
    lines |= _coin(params) | {"Interval": params["interval"]}
    return lines | {"Output Size": "", "Time Zone": "UTC"}


def _crypto_daily(params: Mapping[str, str]) -> dict[str, str]:
    lines = {"Information": "Daily Prices and Volumes for Digital Currency"}
    return lines | _coin(params) | {"Time Zone": "UTC"}


def _coins(value: float) -> str:
    return decimals(value, 8)


def _bare(value: float) -> float | int:
    return int(value) if value == int(value) else value


_FUNCTIONS = {
    "TIME_SERIES_INTRADAY": _Function("equity", True, "Time Series ({})", 4, _units, _stock),
    "TIME_SERIES_DAILY": _Function("equity", False, "Time Series (Daily)", 4, _units, _stock_daily),
    "FX_INTRADAY": _Function("forex", True, "Time Series FX ({})", 5, None, _forex),
    "FX_DAILY": _Function("forex", False, "Time Series FX (Daily)", 5, None, _forex_daily),
    "CRYPTO_INTRADAY": _Function("crypto", True, "Time Series Crypto ({})", 5, _bare, _crypto),
    "DIGITAL_CURRENCY_DAILY": _Function(
        "crypto", False, "Time Series (Digital Currency Daily)", 8, _coins, _crypto_daily
    ),
}


class AlphaVantageDouble(Vendor):
    """``/query?function=...``."""

    name = "alpha_vantage"
    keys: ClassVar = {"alpha_vantage_api_key": "alpha-vantage-key-of-the-double"}

    premium = True
    """Whether the key may use intraday functions and ``outputsize=full``."""

    def spell(self, symbol: Symbol) -> str | None:
        """``IBM``, ``BRK-B``; pairs come in two parameters, joined here by a slash."""
        if symbol.asset_class == "equity":
            return symbol.name.replace(".", "-")
        return f"{symbol.base}/{symbol.quote}"

    def too_many_requests(self) -> Response:
        """More than one request a second; HTTP 200."""
        return json_response(BURST)

    def answer(self, request: Request, edits: Edits) -> Response:
        """One series, as JSON or as CSV; a refusal is JSON in either case."""
        if request.path != "/query":
            raise no_such_path(request)
        params = request.params
        if params.get("apikey") != self.keys["alpha_vantage_api_key"]:
            raise Refused(200, NO_KEY)
        called = params.get("function", "")
        function = _FUNCTIONS.get(called)
        if function is None:
            raise _bad_call(called)
        full = params.get("outputsize", "compact") == "full"
        if not self.premium and (called not in _FREE or full):
            raise Refused(200, PREMIUM)
        code = _INTERVALS.get(params.get("interval", "")) if function.intraday else "1d"
        symbol = self.find(_spelled(function, params))
        if code is None or symbol is None or symbol.asset_class != function.asset_class:
            raise _bad_call(called)
        bars = self._bars(symbol, code, params, full, called).newest_first()
        bars = edits.bars(bars)
        stamps = _stamps(bars, function)
        if params.get("datatype") == "csv":
            return _csv(function, stamps, bars)
        names = [name for name in ("symbol", "from_symbol") if name in params]
        meta = function.meta({**params, **{name: edits.symbol(params[name]) for name in names}})
        if "Last Refreshed" in meta:
            meta["Last Refreshed"] = stamps[0] if stamps else ""
        if "Output Size" in meta:
            meta["Output Size"] = "Full size" if full else "Compact"
        return _json(function, meta, params.get("interval", ""), stamps, bars)

    def _bars(
        self, symbol: Symbol, code: str, params: Mapping[str, str], full: bool, called: str
    ) -> Bars:
        now = self.clock()
        start, end = datetime(1999, 11, 1, tzinfo=UTC), now
        if code != "1d" and full:
            start = now - timedelta(days=30)
        if called == "TIME_SERIES_INTRADAY" and "month" in params:
            start, end = _month(params["month"], called)
        bars = self.market.bars(symbol, code, micros(start), min(micros(end) - 1, micros(now)))
        if code != "1d" and params.get("adjusted", "true") == "true":
            bars = bars.adjusted(self.market.splits.get(symbol.name, ()))
        if full or called == "DIGITAL_CURRENCY_DAILY":
            return bars
        return bars.take(slice(max(0, len(bars) - COMPACT), None))


def _spelled(function: _Function, params: Mapping[str, str]) -> str:
    if function.asset_class == "equity":
        return params.get("symbol", "")
    if function.asset_class == "crypto":
        return f"{params.get('symbol')}/{params.get('market')}"
    return f"{params.get('from_symbol')}/{params.get('to_symbol')}"


def _month(text: str, called: str) -> tuple[datetime, datetime]:
    """A month of New York's clock."""
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=ZoneInfo(_EASTERN))
    except ValueError:
        raise _bad_call(called) from None
    return first, (first + timedelta(days=32)).replace(day=1)


def _stamps(bars: Bars, function: _Function) -> list[str]:
    """When the bars open: naive, in New York's time for equities."""
    if not function.intraday:
        return np.datetime_as_string(bars.times.astype("datetime64[us]"), "D").tolist()
    local = bars.times.astype("datetime64[us]")
    if function.asset_class == "equity":
        local = local_times(bars.times, _EASTERN)
    return [text.replace("T", " ") for text in np.datetime_as_string(local, "s").tolist()]


def _cells(function: _Function, bars: Bars) -> Iterable[list[object]]:
    for prices, volume in zip(bars.prices(), bars.of("volume"), strict=True):
        cells: list[object] = [decimals(price, function.digits) for price in prices]
        if function.volume is not None:
            cells.append(function.volume(volume))
        yield cells


def _json(
    function: _Function, meta: Mapping[str, str], interval: str, stamps: list[str], bars: Bars
) -> Response:
    names = ("1. open", "2. high", "3. low", "4. close", "5. volume")
    body = {
        "Meta Data": {f"{i}. {name}": text for i, (name, text) in enumerate(meta.items(), 1)},
        function.series.format(interval): {
            stamp: dict(zip(names, cells, strict=False))
            for stamp, cells in zip(stamps, _cells(function, bars), strict=True)
        },
    }
    return json_response(body)


def _csv(function: _Function, stamps: list[str], bars: Bars) -> Response:
    header = "timestamp,open,high,low,close" + (",volume" if function.volume else "")
    lines = [
        ",".join([stamp, *map(str, cells)])
        for stamp, cells in zip(stamps, _cells(function, bars), strict=True)
    ]
    text = "".join(f"{line}\r\n" for line in [header, *lines])
    return Response(200, text.encode(), {"Content-Type": "application/x-download"})


def _bad_call(called: str) -> Refused:
    message = "Invalid API call. Please retry or visit the documentation"
    return Refused(
        200,
        {"Error Message": f"{message} (https://www.alphavantage.co/documentation/) for {called}."},
    )
