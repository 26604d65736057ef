"""Oanda v20: prices as text, days from 17:00 New York unless told otherwise, the running bar."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfoNotFoundError

import numpy as np

from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse_tests.doubles.market import Bars, micros
from ffe_lakehouse_tests.doubles.sessions import on_local_grid
from ffe_lakehouse_tests.doubles.vendor import (
    Edits,
    Refused,
    Request,
    Response,
    Vendor,
    decimals,
    json_response,
    no_such_path,
    parse_moment,
)

LONGEST = 5000
_GRANULARITIES = {"M1": "1m", "M5": "5m", "M15": "15m", "H1": "1h", "H4": "4h", "D": "1d"}
_ALIGNED = {"H4", "D"}
_FOREVER = np.iinfo(np.int64).max


class OandaDouble(Vendor):
    """``/v3/instruments/{instrument}/candles``."""

    name = "oanda"
    keys: ClassVar = {"oanda_token": "oanda-token-of-the-double"}

    digits: ClassVar = {"JPY": 3, "USD": 5}
    """Decimals by quote currency; 5 for the others."""

    def spell(self, symbol: Symbol) -> str | None:
        """``EUR_USD``, ``BTC_USD``; no equities."""
        return f"{symbol.base}_{symbol.quote}" if symbol.asset_class != "equity" else None

    def too_many_requests(self) -> Response:
        """Oanda documents the status; no wording of it is recorded."""
        return json_response({"errorMessage": "Rate limit violation"}, 429)

    def answer(self, request: Request, edits: Edits) -> Response:
        """Candles of one instrument, oldest first."""
        found = re.fullmatch(r"/v3/instruments/([^/]+)/candles", request.path)
        if found is None:
            raise no_such_path(request)
        if request.headers.get("authorization") != f"Bearer {self.keys['oanda_token']}":
            raise Refused(401, {"errorMessage": "Insufficient authorization to perform request."})
        symbol = self.find(found[1])
        if symbol is None:
            raise _invalid("instrument")
        params = request.params
        granularity = params.get("granularity", "S5")
        code = _GRANULARITIES.get(granularity)
        if code is None:
            raise _invalid("granularity")
        bars = self._selected(symbol, code, params)
        if granularity in _ALIGNED:
            zone = params.get("alignmentTimezone", "America/New_York")
            try:
                bars = on_local_grid(bars, zone, int(params.get("dailyAlignment", "17")))
            except (ZoneInfoNotFoundError, ValueError):
                raise _invalid("alignmentTimezone") from None
        instrument = edits.symbol(found[1])
        body = {
            "instrument": instrument,
            "granularity": granularity,
            "candles": self._rows(edits.bars(bars), params.get("price", "M")),
        }
        return json_response(body)

    def _selected(self, symbol: Symbol, code: str, params: Mapping[str, str]) -> Bars:
        """The window: ``from`` and ``to``, or ``count`` bars from one of them."""
        now = self.clock()
        start, end = (self._moment(params, name) for name in ("from", "to"))
        if end is not None and end > now:
            raise Refused(
                400, {"errorMessage": "Invalid value specified for 'to'. Time is in the future"}
            )
        if start is not None and start > now:
            raise Refused(
                400, {"errorMessage": "Invalid value specified for 'from'. Time is in the future"}
            )
        if "count" in params and start is not None and end is not None:
            raise Refused(
                400,
                {"errorMessage": "'count' cannot be specified when 'to' and 'from' are provided"},
            )
        count = int(params.get("count", "500"))
        whole = self.market.bars(symbol, code, -_FOREVER, micros(now))
        if not 0 < count <= LONGEST:
            raise Refused(400, {"errorMessage": "Maximum value for 'count' exceeded"})
        first, last = 0, len(whole)
        if start is not None:
            # The bar that `from` lies in is covered by it.
            covering = micros(whole.timeframe.floor(start))
            first = int(np.searchsorted(whole.times, covering))
            exact = first < len(whole) and whole.times[first] <= micros(start)
            if exact and params.get("includeFirst", "true").lower() == "false":
                first += 1
        if end is not None:
            last = int(np.searchsorted(whole.times, micros(end)))
        if start is not None and end is not None:
            if (end - start) / whole.timeframe.duration > LONGEST:
                raise Refused(400, {"errorMessage": "Maximum value for 'count' exceeded"})
        elif start is not None:
            last = first + count
        else:
            first = max(0, last - count)
        return whole.take(slice(first, last))

    def _moment(self, params: Mapping[str, str], name: str) -> datetime | None:
        text = params.get(name)
        try:
            return None if text is None else parse_moment(text)
        except ValueError:
            raise _invalid(name) from None

    def _rows(self, bars: Bars, price: str) -> list[dict[str, object]]:
        digits = self.digits.get(bars.symbol.quote, 5)
        closed = bars.times + bars.timeframe.duration // _MICROSECOND <= micros(self.clock())
        stamps = np.datetime_as_string(bars.times.astype("datetime64[us]"), "s").tolist()
        rows = []
        for stamp, complete, volume, prices in zip(
            stamps, closed.tolist(), bars.of("volume"), bars.prices(), strict=True
        ):
            first, high, low, close = (decimals(value, digits) for value in prices)
            row: dict[str, object] = {
                "complete": complete,
                # Ticks; the simulated forex market has none, and Oanda always has some.
                "volume": int(volume) if volume == volume else 1,
                "time": f"{stamp}.000000000Z",
            }
            for letter, name in (("B", "bid"), ("M", "mid"), ("A", "ask")):
                if letter in price:
                    row[name] = {"o": first, "h": high, "l": low, "c": close}
            rows.append(row)
        return rows


_MICROSECOND = timedelta(microseconds=1)


def _invalid(name: str) -> Refused:
    return Refused(400, {"errorMessage": f"Invalid value specified for '{name}'"})
