"""Polygon, now Massive: aggregates, and a limit that counts the minutes or days in them."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar

import orjson

from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse_tests.doubles.market import Bars, micros
from ffe_lakehouse_tests.doubles.sessions import (
    DAY,
    NEW_YORK,
    at_new_york_midnight,
    local_day,
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
    whole,
)

LONGEST = 50_000
_SPANS = {
    ("1", "minute"): "1m",
    ("5", "minute"): "5m",
    ("15", "minute"): "15m",
    ("60", "minute"): "1h",
    ("1", "hour"): "1h",
    ("4", "hour"): "4h",
    ("1", "day"): "1d",
}
_PATH = r"/v2/aggs/ticker/([^/]+)/range/(\d+)/(\w+)/([^/]+)/([^/]+)"


class PolygonDouble(Vendor):
    """``/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}``."""

    name = "polygon"
    keys: ClassVar = {"polygon_api_key": "polygon-key-of-the-double"}

    history: timedelta | None = None
    """How far back the plan reaches; everything, if ``None``."""

    links_to: str | None = None
    """The host in ``next_url``; the one that was asked, if ``None``."""

    def spell(self, symbol: Symbol) -> str | None:
        """``AAPL``, ``X:BTCUSD``, ``C:EURUSD``."""
        return {"equity": "", "crypto": "X:", "forex": "C:"}[symbol.asset_class] + symbol.name

    def too_many_requests(self) -> Response:
        """By the wording of several clients' tests; the real one may have no body at all."""
        return _refused(
            429,
            error="You've exceeded the maximum requests per minute, please wait or upgrade your"
            " subscription to continue.",
        ).response

    def answer(self, request: Request, edits: Edits) -> Response:
        """One page of aggregates; ``next_url`` leads to the next one, without the key."""
        found = re.fullmatch(_PATH, request.path)
        if found is None:
            raise no_such_path(request)
        self._check_key(request)
        ticker, multiplier, span, start, end = found.groups()
        code = _SPANS.get((multiplier, span))
        if code is None:
            raise _refused(400, error=f"the double has no range of {multiplier} {span}")
        params = request.params
        if "cursor" in params:
            params = {**params} | orjson.loads(base64.urlsafe_b64decode(params["cursor"]))
        limit = int(params.get("limit", "5000"))
        if not 0 < limit <= LONGEST:
            raise _refused(400, error="'limit' must be between 1 and 50000")
        symbol = self.find(ticker)
        first = _moment(start, symbol, last=False)
        last = _moment(end, symbol, last=True)
        if self.history and first < micros(self.clock() - self.history):
            raise _refused(
                403,
                status="NOT_AUTHORIZED",
                message="Your plan doesn't include this data timeframe.",
            )
        bars = self._bars(symbol, code, first, last) if symbol else None
        body: dict[str, object] = {"ticker": edits.symbol(ticker)}
        if bars and symbol and params.get("adjusted", "true") == "true":
            bars = bars.adjusted(self.market.splits.get(symbol.name, ()))
        if not bars:
            return json_response(body | _counts(0, 0, params))
        if params.get("sort", "asc") == "desc":
            bars = bars.newest_first()
        base = 1 if span == "day" else bars.timeframe.duration // timedelta(minutes=1)
        rows = max(1, limit // base)
        page, rest = edits.bars(bars.take(slice(0, rows))), bars.take(slice(rows, None))
        body |= _counts(min(limit, len(bars) * base), len(page), params)
        body["results"] = _rows(page)
        if len(rest):
            cursor = {"limit": str(limit), "sort": params.get("sort", "asc")}
            cursor["adjusted"] = params.get("adjusted", "true")
            sealed = base64.urlsafe_b64encode(orjson.dumps(cursor)).decode()
            edges = (rest.times[0] // 1000, last // 1000)
            edges = edges if cursor["sort"] == "asc" else (first // 1000, edges[0])
            body["next_url"] = (
                f"{self.links_to or request.base_url}/v2/aggs/ticker/{ticker}/range"
                f"/{multiplier}/{span}/{edges[0]}/{edges[1]}?cursor={sealed}"
            )
        return json_response(body)

    def _check_key(self, request: Request) -> None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = request.params.get("apiKey") or bearer
        if not key:
            raise _refused(401, error="API Key was not provided")
        if key != self.keys["polygon_api_key"]:
            raise _refused(401, error="Unknown API Key")

    def _bars(self, symbol: Symbol, code: str, first: int, last: int) -> Bars:
        """The bars whose stamps, as the vendor writes them, lie in ``[first, last]``."""
        last = min(last, micros(self.clock()))
        if code not in ("4h", "1d") or symbol.asset_class != "equity":
            return self.market.bars(symbol, code, first, last)
        near = self.market.bars(symbol, code, first - DAY, last + DAY)
        stamped = at_new_york_midnight(near) if code == "1d" else on_local_grid(near, NEW_YORK)
        return stamped_within(stamped, first, last)


def _moment(text: str, symbol: Symbol | None, *, last: bool) -> int:
    """Microseconds of a day (its last moment, for the end of a range) or of milliseconds."""
    if re.fullmatch(r"-?\d{5,}", text):
        return int(text) * 1000
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise _refused(
            400, error=f"Could not parse the time parameter: {text!r}. Use YYYY-MM-DD or ms"
        ) from None
    edge = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=last)
    if symbol is not None and symbol.asset_class == "equity":
        edge = local_day(edge)
    return micros(edge) - last


def _counts(queried: int, rows: int, params: Mapping[str, str]) -> dict[str, object]:
    return {
        "queryCount": queried,
        "resultsCount": rows,
        "adjusted": params.get("adjusted", "true") == "true",
        "status": "OK",
        "request_id": "3309e7ce57d9b7c2c60e277e45ecca6e",
        "count": rows,
    }


def _rows(bars: Bars) -> list[dict[str, object]]:
    others = zip(*(bars.of(name) for name in ("volume", "trade_count", "vwap")), strict=True)
    rows = []
    for time, (first, high, low, close), (volume, trades, vwap) in zip(
        (bars.times // 1000).tolist(), bars.prices(), others, strict=True
    ):
        row: dict[str, object] = {}
        # Forex bars count quotes: the truth has none, the vendor always some.
        row["v"] = 1.0 if bars.symbol.asset_class == "forex" else volume
        if vwap == vwap:
            row["vw"] = whole(vwap)
        row |= {"o": whole(first), "c": whole(close), "h": whole(high), "l": whole(low), "t": time}
        if trades == trades:
            row["n"] = whole(trades)
        rows.append(row)
    return rows


def _refused(code: int, *, status: str = "ERROR", **text: str) -> Refused:
    body = {"status": status, "request_id": "3314f3bc552d76453891b3a8ada5e8d0"}
    return Refused(code, body | text)
