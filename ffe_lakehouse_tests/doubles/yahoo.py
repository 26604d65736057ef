"""Yahoo's chart: parallel columns, float32 noise, live bars, and no welcome for scripts."""

import re
from datetime import timedelta

import numpy as np

from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse_tests.doubles.market import MICROS, Bars, joined, micros
from ffe_lakehouse_tests.doubles.sessions import DAY, at_local_time, stamped_within
from ffe_lakehouse_tests.doubles.vendor import (
    Edits,
    Refused,
    Request,
    Response,
    Vendor,
    json_response,
    no_such_path,
)

_INTERVALS = {"1m": "1m", "5m": "5m", "15m": "15m", "1h": "1h", "60m": "1h", "1d": "1d"}
_LOOK_BACK = {"1m": 30, "5m": 60, "15m": 60, "1h": 730}
_HALF_AN_HOUR = 1800 * MICROS
_MINUTES_A_CALL = timedelta(days=8)
_ZONES = {"equity": "America/New_York", "crypto": "UTC", "forex": "Europe/London"}
_BELL = {"equity": 9 * 60 + 30, "crypto": 0, "forex": 0}
_KINDS = {"equity": "EQUITY", "crypto": "CRYPTOCURRENCY", "forex": "CURRENCY"}
_SCRIPTS = re.compile(r"^$|python|httpx|requests|urllib|curl|wget", re.IGNORECASE)


class YahooDouble(Vendor):
    """``/v8/finance/chart/{symbol}``."""

    name = "yahoo"

    def spell(self, symbol: Symbol) -> str | None:
        """``AAPL``, ``BRK-B``, ``BTC-USD``, ``EURUSD=X``."""
        if symbol.asset_class == "crypto":
            return f"{symbol.base}-{symbol.quote}"
        if symbol.asset_class == "forex":
            return f"{symbol.name}=X"
        return symbol.name.replace(".", "-")

    def too_many_requests(self) -> Response:
        """A plain text."""
        return Refused(429, "Too Many Requests").response

    def answer(self, request: Request, edits: Edits) -> Response:
        """The chart of one symbol; ``period2`` is included."""
        found = re.fullmatch(r"/v8/finance/chart/([^/]+)", request.path)
        if found is None:
            raise no_such_path(request)
        if _SCRIPTS.search(request.headers.get("user-agent", "")):
            raise Refused(429, "Too Many Requests")
        interval = request.params.get("interval", "1d")
        code = _INTERVALS.get(interval)
        if code is None:
            raise _error(422, "Unprocessable Entity", f"Invalid input - interval={interval}")
        symbol = self.find(found[1])
        if symbol is None:
            raise _error(404, "Not Found", "No data found, symbol may be delisted")
        try:
            first, last = (int(request.params[name]) for name in ("period1", "period2"))
        except (KeyError, ValueError):
            raise _error(400, "Bad Request", "period1 and period2 must be seconds") from None
        self._check_look_back(code, first, last)
        bars = self._bars(symbol, code, first * MICROS, last * MICROS)
        chart = _chart(edits.bars(bars), edits.symbol(found[1]), interval)
        told = self._splits(symbol, first * MICROS, last * MICROS)
        if "split" in request.params.get("events", "") and told:
            chart["events"] = {"splits": told}
        return json_response(_body([chart], None))

    def _check_look_back(self, code: str, first: int, last: int) -> None:
        days = _LOOK_BACK.get(code)
        if days is None:
            return
        what = f"{code} data not available for startTime={first} and endTime={last}."
        oldest = self.clock() - timedelta(days=days)
        if first * MICROS < micros(oldest):
            raise _error(
                422,
                "Unprocessable Entity",
                f"{what} The requested range must be within the last {days} days.",
            )
        if code == "1m" and timedelta(seconds=last - first) > _MINUTES_A_CALL:
            raise _error(
                422,
                "Unprocessable Entity",
                f"{what} Only 8 days worth of 1m granularity data are allowed to be fetched per"
                " request.",
            )

    def _splits(self, symbol: Symbol, first: int, last: int) -> dict[str, object]:
        """Those of the window; later ones are not told, and yet adjusted for."""
        return {
            str(since // MICROS): {
                "date": since // MICROS,
                "numerator": ratio,
                "denominator": 1,
                "splitRatio": f"{ratio:g}:1",
            }
            for since, ratio in self.market.splits.get(symbol.name, ())
            if first <= since <= last
        }

    def _bars(self, symbol: Symbol, code: str, first: int, last: int) -> Bars:
        """The bars whose stamps, as the vendor writes them, lie in ``[first, last]``."""
        now = micros(self.clock())
        known = self.market.split_bars(symbol, code, first - DAY, min(last, now) + DAY)
        kind = symbol.asset_class
        if code == "1h" and kind == "equity":
            known = known.moved(_HALF_AN_HOUR)  # its hours begin with the session
        if code == "1d":
            known = at_local_time(known, _ZONES[kind], _BELL[kind])
        bars = stamped_within(known, first, min(last, now))
        if code != "1d":
            return _with_holes(bars)
        running = np.flatnonzero(bars.times > now - DAY)
        if running.size and last >= now:
            # The live bar is stamped with the moment of its last trade, and comes once more when
            # it has settled.
            live = bars.take(running[-1:])
            return joined(bars, live.moved(now // MICROS * MICROS - live.times[0]))
        return bars


def _with_holes(bars: Bars) -> Bars:
    """A row of nulls where up to a few bars are absent: minutes without a trade."""
    step = bars.timeframe.duration // timedelta(microseconds=1)
    if len(bars) < 2:
        return bars
    gaps = np.diff(bars.times)
    absent = np.concatenate(
        [
            np.arange(time + step, time + gap, step)
            for time, gap in zip(bars.times[:-1], gaps, strict=True)
            if step < gap <= 5 * step
        ]
        or [np.empty(0, np.int64)]
    ).astype(np.int64)
    nothing = {name: np.full(absent.size, np.nan) for name in bars.measures}
    whole = joined(bars, Bars(bars.symbol, bars.timeframe, absent, nothing))
    return whole.take(np.argsort(whole.times, kind="stable"))


def _chart(bars: Bars, spelled: str, interval: str) -> dict[str, object]:
    kind = bars.symbol.asset_class
    result: dict[str, object] = {
        "meta": {
            "currency": bars.symbol.quote,
            "symbol": spelled,
            "instrumentType": _KINDS[kind],
            # Of now, whatever the bar: in winter -18000 for New York.
            "gmtoffset": {"equity": -18000, "crypto": 0, "forex": 0}[kind],
            "exchangeTimezoneName": _ZONES[kind],
            "priceHint": 4 if kind == "forex" else 2,
            "dataGranularity": interval,
            "range": "",
        }
    }
    if not len(bars):
        result["indicators"] = {"quote": [{}]}
        return result
    quote = {name: _float32(bars.measures[name]) for name in ("open", "high", "low", "close")}
    volume = bars.measures["volume"]
    if kind == "forex":  # recorded: always 0 there
        volume = np.where(np.isnan(bars.measures["open"]), np.nan, 0.0)
    quote["volume"] = [None if number != number else int(number) for number in volume.tolist()]
    result["timestamp"] = bars.seconds()
    indicators: dict[str, object] = {"quote": [quote]}
    if interval == "1d":
        indicators["adjclose"] = [{"adjclose": quote["close"]}]
    result["indicators"] = indicators
    return result


def _float32(values: np.ndarray) -> list[object]:
    """Numbers as they come out of single precision: 129.0399932861328; null for NaN."""
    return [
        None if number != number else number
        for number in values.astype(np.float32).astype(np.float64).tolist()
    ]


def _error(status: int, code: str, description: str) -> Refused:
    return Refused(status, _body(None, {"code": code, "description": description}))


def _body(result: object, error: object) -> dict[str, object]:
    return {"chart": {"result": result, "error": error}}
