"""Coinbase Exchange and Advanced Trade: rows newest first, both ends of a window included."""

import re
from datetime import timedelta

from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse_tests.doubles.market import micros
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

_EXCHANGE = {"60": "1m", "300": "5m", "900": "15m", "3600": "1h", "86400": "1d"}
_ADVANCED = {
    "ONE_MINUTE": "1m",
    "FIVE_MINUTE": "5m",
    "FIFTEEN_MINUTE": "15m",
    "ONE_HOUR": "1h",
    "FOUR_HOUR": "4h",
    "ONE_DAY": "1d",
}
_LONGEST = {"exchange": 300, "advanced": 349}


class CoinbaseDouble(Vendor):
    """Both candle endpoints; they need no key."""

    name = "coinbase"

    def spell(self, symbol: Symbol) -> str | None:
        """``BTC-USD``; crypto alone."""
        return f"{symbol.base}-{symbol.quote}" if symbol.asset_class == "crypto" else None

    def too_many_requests(self) -> Response:
        """By the wording that clients test for."""
        return json_response({"message": "Public rate limit exceeded"}, 429)

    def answer(self, request: Request, edits: Edits) -> Response:
        """``/products/{id}/candles``, and the same below ``/api/v3/brokerage``."""
        if found := re.fullmatch(r"/products/([^/]+)/candles", request.path):
            return self._exchange(found[1], request, edits)
        advanced = r"/api/v3/brokerage/(?:market/)?products/([^/]+)/candles"
        if found := re.fullmatch(advanced, request.path):
            return self._advanced(found[1], request, edits)
        raise no_such_path(request)

    def _exchange(self, product: str, request: Request, edits: Edits) -> Response:
        symbol = self.find(product)
        if symbol is None:
            raise Refused(404, {"message": "NotFound"})
        granularity = request.params.get("granularity", "60")
        if granularity not in _EXCHANGE:
            raise Refused(400, {"message": "Unsupported granularity"})
        step = timedelta(seconds=int(granularity))
        try:
            end = parse_moment(request.params["end"]) if "end" in request.params else self.clock()
            start = (
                parse_moment(request.params["start"])
                if "start" in request.params
                else end - 349 * step
            )
        except ValueError as error:
            raise Refused(400, {"message": str(error)}) from None
        if "start" in request.params and (end - start) / step > _LONGEST["exchange"]:
            raise Refused(
                400,
                {
                    "message": "granularity too small for the requested time range."
                    " Count of aggregations requested exceeds 300"
                },
            )
        end = min(end, self.clock())
        bars = self.market.bars(symbol, _EXCHANGE[granularity], micros(start), micros(end))
        bars = edits.bars(bars.newest_first())
        rows = [
            [second, whole(low), whole(high), whole(first), whole(close), whole(volume)]
            for second, (first, high, low, close), volume in zip(
                bars.seconds(), bars.prices(), bars.of("volume"), strict=True
            )
        ]
        return json_response(rows)

    def _advanced(self, product: str, request: Request, edits: Edits) -> Response:
        symbol = self.find(product)
        if symbol is None:
            raise Refused(
                404, {"error": "NOT_FOUND", "message": f"Product {product} not supported"}
            )
        code = _ADVANCED.get(request.params.get("granularity", ""))
        if code is None:
            raise Refused(400, "granularity argument is invalid")
        bars = self.market.bars(symbol, code, 0, 0)
        try:
            start, end = (int(request.params[name]) for name in ("start", "end"))
        except (KeyError, ValueError):
            raise Refused(
                400,
                {
                    "error": "INVALID_ARGUMENT",
                    "error_details": "start and end argument is invalid",
                },
            ) from None
        span = timedelta(seconds=end - start) / bars.timeframe.duration
        if span > _LONGEST["advanced"]:
            raise Refused(
                400,
                {
                    "error": "INVALID_ARGUMENT",
                    "error_details": "start and end argument is invalid - number of candles"
                    " requested should be less than 350",
                },
            )
        last = min(end * 1_000_000, micros(self.clock()))
        bars = self.market.bars(symbol, code, start * 1_000_000, last)
        bars = edits.bars(bars.newest_first())
        rows = [
            {
                "start": str(second),
                "low": str(whole(low)),
                "high": str(whole(high)),
                "open": str(whole(first)),
                "close": str(whole(close)),
                "volume": str(whole(volume)),
            }
            for second, (first, high, low, close), volume in zip(
                bars.seconds(), bars.prices(), bars.of("volume"), strict=True
            )
        ]
        return json_response({"candles": rows})
