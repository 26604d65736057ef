"""Alpaca market data: pages that count rows over all symbols, New York's midnights."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

import numpy as np

from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse_tests.doubles.market import Bars, micros
from ffe_lakehouse_tests.doubles.sessions import (
    DAY,
    NEW_YORK,
    at_new_york_midnight,
    on_local_grid,
    stamped_within,
)
from ffe_lakehouse_tests.doubles.vendor import (
    Edits,
    Refused,
    Request,
    Response,
    Vendor,
    json_response,
    no_such_path,
    parse_moment,
    whole,
)

LONGEST = 10_000
_TIMEFRAMES = {
    "1Min": "1m",
    "5Min": "5m",
    "15Min": "15m",
    "1Hour": "1h",
    "60Min": "1h",
    "4Hour": "4h",
    "1Day": "1d",
}
_FEEDS = {"sip", "iex", "otc", "delayed_sip", "boats", "overnight"}


class AlpacaDouble(Vendor):
    """``/v2/stocks/bars`` and ``/v1beta3/crypto/us/bars``."""

    name = "alpaca"
    keys: ClassVar = {
        "alpaca_api_key": "alpaca-key-of-the-double",
        "alpaca_api_secret": "alpaca-secret-of-the-double",
    }
    free_plan = True
    """Whether the newest 15 minutes of SIP are refused."""

    def spell(self, symbol: Symbol) -> str | None:
        """``AAPL``, ``BRK.B``, ``BTC/USD``; no forex."""
        if symbol.asset_class == "crypto":
            return f"{symbol.base}/{symbol.quote}"
        return symbol.name if symbol.asset_class == "equity" else None

    def too_many_requests(self) -> Response:
        """By the wording of the official Go SDK's test."""
        return Refused(429, "too many requests").response

    def answer(self, request: Request, edits: Edits) -> Response:
        """Bars of several symbols, by symbol and then by time."""
        if request.path not in ("/v2/stocks/bars", "/v1beta3/crypto/us/bars"):
            raise no_such_path(request)
        stocks = request.path.startswith("/v2")
        sent = [request.headers.get(f"apca-api-{name}") for name in ("key-id", "secret-key")]
        if sent != [*self.keys.values()] and (stocks or any(sent)):
            raise Refused(403, {"message": "forbidden."})
        params = request.params
        code = _TIMEFRAMES.get(params.get("timeframe", ""))
        if code is None:
            raise Refused(400, {"message": f"invalid timeframe: {params.get('timeframe', '')}"})
        limit = int(params.get("limit", "1000"))
        if not 1 <= limit <= LONGEST:
            raise Refused(400, {"message": "invalid limit: must be between 1 and 10000"})
        first, last = self._window(params, stocks)
        newest_first = params.get("sort") == "desc"
        name, after = _read_token(params.get("page_token", ""))
        waiting = []
        for spelled in sorted({*params.get("symbols", "").split(",")}):
            symbol = self.find(spelled)
            if symbol is None or spelled < name:
                continue
            bars = self._bars(symbol, code, first, last)
            if params.get("adjustment", "raw") != "raw":
                bars = bars.adjusted(self.market.splits.get(symbol.name, ()))
            if spelled == name:
                later = bars.times < after if newest_first else bars.times > after
                bars = bars.take(np.flatnonzero(later))
            if len(bars):
                waiting.append((spelled, bars.newest_first() if newest_first else bars))
        page, token = _cut(waiting, limit, code)
        rows = {edits.symbol(spelled): _rows(edits.bars(bars)) for spelled, bars in page}
        return json_response({"bars": rows, "next_page_token": token})

    def _window(self, params: Mapping[str, str], stocks: bool) -> tuple[int, int]:
        """First and last moment, both included, in microseconds."""
        now = self.clock()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            start = parse_moment(params["start"]) if params.get("start") else midnight
            end = parse_moment(params["end"]) if params.get("end") else now
        except ValueError as error:
            raise Refused(400, {"message": f"invalid time: {error}"}) from None
        if end < start:
            raise Refused(400, {"message": "end should not be before start"})
        feed = params.get("feed", "sip").lower()
        if stocks and feed not in _FEEDS:
            raise Refused(400, {"message": f"invalid feed: {feed}"})
        if stocks and self.free_plan and feed == "sip" and end > now - timedelta(minutes=15):
            raise Refused(403, {"message": "subscription does not permit querying recent SIP data"})
        return micros(start), min(micros(end), micros(now))

    def _bars(self, symbol: Symbol, code: str, first: int, last: int) -> Bars:
        """The bars whose stamps, as the vendor writes them, lie in ``[first, last]``."""
        if code not in ("4h", "1d"):
            return self.market.bars(symbol, code, first, last)
        near = self.market.bars(symbol, code, first - DAY, last + DAY)
        stamped = at_new_york_midnight(near) if code == "1d" else on_local_grid(near, NEW_YORK)
        return stamped_within(stamped, first, last)


def _cut(
    waiting: list[tuple[str, Bars]], limit: int, code: str
) -> tuple[list[tuple[str, Bars]], str | None]:
    """The first ``limit`` rows, and the token of the page after them."""
    page: list[tuple[str, Bars]] = []
    room = limit
    for number, (spelled, bars) in enumerate(waiting):
        page.append((spelled, bars.take(slice(0, room))))
        if len(bars) > room or (len(bars) == room and number + 1 < len(waiting)):
            return page, _token(spelled, code, int(page[-1][1].times[-1]))
        room -= len(bars)
    return page, None


def _token(spelled: str, code: str, after: int) -> str:
    letter = {"m": "M", "h": "H", "d": "D"}[code[-1]]
    return base64.b64encode(f"{spelled}|{letter}|{after * 1000}".encode()).decode()


def _read_token(token: str) -> tuple[str, int]:
    if not token:
        return "", 0
    try:
        spelled, _, nanos = base64.b64decode(token, validate=True).decode().split("|")
        return spelled, int(nanos) // 1000
    except ValueError:
        raise Refused(400, {"message": "invalid page_token"}) from None


def _rows(bars: Bars) -> list[dict[str, object]]:
    stamps = np.datetime_as_string(bars.times.astype("datetime64[us]"), "s").tolist()
    others = zip(*(bars.of(name) for name in ("volume", "trade_count", "vwap")), strict=True)
    return [
        {
            "t": f"{stamp}Z",
            "o": whole(first),
            "h": whole(high),
            "l": whole(low),
            "c": whole(close),
            "v": whole(volume),
            "n": whole(trades),
            "vw": whole(vwap),
        }
        for stamp, (first, high, low, close), (volume, trades, vwap) in zip(
            stamps, bars.prices(), others, strict=True
        )
    ]
