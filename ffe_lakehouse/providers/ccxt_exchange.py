"""Candles of the exchanges that the library ccxt knows, as ``ccxt:kraken``; needs no key.

ccxt brings its own transport (requests), rate limiter and errors, so the HTTP stack of ``http`` is
not used: no circuit breaker, no bound on the size of an answer, and rates are kept by process. What
is ours: retries of what can heal, the rolling up of timeframes, and what an answer covers. Rows
whose time cannot be read do not get here: ccxt drops them.

An exchange is asked by ``since`` and ``limit``. What it makes of them differs: most count bars from
``since``, some cut a window of time, a few ignore it and tell their latest bars.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeVar

import orjson

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import CandleQuery, FailureKind, Page, Provider, ProviderError
from ffe_lakehouse.providers.parsing import Answer, moments, numbers, pick, table, times, unexpected
from ffe_lakehouse.providers.rolling import roll_up_pages
from ffe_lakehouse.providers.statuses import HEALING
from ffe_lakehouse.providers.timestamps import to_micros
from ffe_lakehouse.providers.vendor import Clock, now
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

T = TypeVar("T")

PREFIX = "ccxt:"

_COLUMNS = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
_KINDS: Mapping[str, FailureKind] = {
    "RateLimitExceeded": "rate_limited",
    "DDoSProtection": "rate_limited",
    "AuthenticationError": "authentication",
    "BadSymbol": "invalid_symbol",
    "RequestTimeout": "timeout",
    "NetworkError": "unavailable",
}
"""By the name of ccxt's exception, or of the nearest one that it is derived from."""

_PAGE = 100  # where ccxt does not know how many bars the exchange tells at once
_LONGEST_MESSAGE = 600


class CcxtProvider(Provider):
    """One exchange, spot pairs such as BTC/USDT."""

    waits = True

    def __init__(
        self,
        exchange: str,
        settings: Settings,
        *,
        config: Mapping[str, Any] = {},
        clock: Clock = now,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Nothing is asked yet.

        Args:
            exchange: As ccxt spells it.
            settings: Waits between retries, and the time-out.
            config: More for ccxt's constructor: ``urls``, ``markets``.
            clock: The present moment.
            sleep: Waits for so many seconds.

        Raises:
            InputError: ccxt is not installed, has no such exchange, or no candles of it.
        """
        self.name = PREFIX + exchange
        self._waits = settings.retry_waits
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()  # ccxt's session and rate limiter are for one thread
        ours = {
            "enableRateLimit": True,
            "timeout": round(1000 * settings.http_timeout_seconds),
            "enableLastJsonResponse": True,
        }
        self._exchange = _exchange_class(exchange)({**ours, **config})
        if self._exchange.has.get("fetchOHLCV") is not True:
            raise InputError(f"provider {self.name!r} cannot be used: ccxt has no candles of it")

    def fetch(self, query: CandleQuery) -> Iterator[Page]:
        """Answer ``query`` page by page, rolled up where the exchange lacks the timeframe.

        Raises:
            ProviderError: Of any kind; its message begins with the provider's name.
        """
        has = self._exchange.timeframes or {}
        fitting = [it for it in TIMEFRAMES.values() if it.code in has and it <= query.timeframe]
        if query.symbol.asset_class != "crypto" or not fitting:
            raise ProviderError(
                "invalid_symbol",
                f"{self.name} has no {query.timeframe} of {query.symbol}, which is"
                f" {query.symbol.asset_class}: it has crypto, {', '.join(has)}",
            )
        asked = max(fitting)
        pages = self._pages(replace(query, timeframe=asked))
        return pages if asked == query.timeframe else roll_up_pages(pages, asked, query)

    def _pages(self, query: CandleQuery) -> Iterator[Page]:
        step = query.timeframe.duration
        pair = self._pair(query.symbol)
        spot = (self._exchange.features or {}).get("spot") or {}
        size = int((spot.get("fetchOHLCV") or {}).get("limit") or _PAGE)
        covered = query.start
        while True:
            answer = self._ask(pair, query.timeframe, covered, size)
            present = self._clock()
            opens = [at for at in moments(answer.candles) if covered <= at <= present]
            until = covered + size * step  # without a bar: nothing was traded for so long
            if opens:
                first, last = min(opens), max(opens)
                until = query.timeframe.floor(last) + step
                # A full page after `covered` would end before the present if it began where asked.
                if len(opens) >= size and first >= covered + step and last + 2 * step >= present:
                    raise ProviderError(
                        "no_data",
                        f"{self.name} tells only its latest {len(opens)} bars of"
                        f" {query.timeframe}, which begin at {first:%Y-%m-%d %H:%M} UTC",
                    )
            page = answer.page(covered, query.end)
            covered = min(until, query.end)
            yield replace(page, covered_until=covered)
            if covered == query.end:
                return

    def _pair(self, symbol: Symbol) -> str:
        """The exchange's unified symbol of a pair; its markets are loaded once."""
        markets = self._retried(self._exchange.load_markets)
        pair = f"{symbol.base}/{symbol.quote}"
        if pair not in markets:
            like = sorted(name for name in markets if name.startswith(f"{symbol.base}/"))
            others = f": it has {', '.join(like[:5])}" if like else ""
            raise ProviderError("invalid_symbol", f"{self.name} has no {pair}{others}")
        return pair

    def _ask(self, pair: str, timeframe: Timeframe, since: datetime, limit: int) -> Answer:
        def ask() -> Any:
            rows = self._exchange.fetch_ohlcv(pair, timeframe.code, to_micros(since) // 1000, limit)
            # ccxt takes a page of HTML for a list of nothing.
            if not isinstance(rows, list) or self._exchange.last_json_response is None:
                raise unexpected(self.name, "something that is no JSON")
            return rows

        rows = self._retried(ask)
        columns = {name: numbers(pick(rows, at)) for name, at in _COLUMNS.items()}
        candles = table(times(pick(rows, 0)), **columns)
        return Answer(candles, lambda i: orjson.dumps(rows[i]).decode())

    def _retried(self, call: Callable[[], T]) -> T:
        """What ``call`` returns, in the end; ccxt waits for its turn by itself."""
        for wait in (*self._waits, None):
            try:
                with self._lock:
                    return call()
            except ProviderError:
                raise
            except Exception as error:  # ccxt lets through what a strange answer breaks in it
                failure = self._failure(error)
                if wait is None or failure.kind not in HEALING:
                    raise failure from error
            self._sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _failure(self, error: Exception) -> ProviderError:
        names = [each.__name__ for each in type(error).__mro__]
        kinds: list[FailureKind] = [_KINDS[name] for name in names if name in _KINDS]
        line = " ".join(f"{self.name}: {names[0]}: {error}".split())
        return ProviderError(kinds[0] if kinds else "bad_response", line[:_LONGEST_MESSAGE])


def _exchange_class(exchange: str) -> Callable[[Mapping[str, Any]], Any]:
    try:
        library = import_module("ccxt")
    except ImportError as error:
        raise InputError(
            f"provider '{PREFIX}{exchange}' needs ccxt: pip install 'ffe-lakehouse[ccxt]'"
        ) from error
    if exchange not in library.exchanges:
        near = get_close_matches(exchange.lower(), library.exchanges, n=5)
        names = ", ".join(PREFIX + name for name in near or ("kraken", "binance", "…"))
        raise InputError(f"ccxt has no exchange {exchange!r}: use one like {names}")
    found: Callable[[Mapping[str, Any]], Any] = getattr(library, exchange)
    return found
