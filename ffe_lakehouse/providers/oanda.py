"""Candles of Oanda's v20 interface: mid prices, on the UTC grid because every request says so.

Its ``volume`` counts price updates, so it is our trade count, and there is no volume. A bar that is
``complete: false`` has not closed. Pages are counted from a time: closed hours cost no request.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import compress
from operator import itemgetter

import pyarrow as pa

from ffe_lakehouse.providers.base import CandleQuery, Page, ProviderError
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
    unexpected,
)
from ffe_lakehouse.providers.vendor import (
    Clock,
    Phrases,
    VendorProvider,
    bearer,
    iso,
    now,
    refused,
    required,
)
from ffe_lakehouse.settings import Settings

LAG = timedelta(minutes=5)
"""A bar may be called incomplete for so long after it has closed (seen: one second)."""

_PRICES = {"open": "o", "high": "h", "low": "l", "close": "c"}
_REFUSALS: Phrases = (("instrument'", "invalid_symbol"),)


class OandaProvider(VendorProvider):
    """Oanda, forex and CFD pairs such as EUR_USD."""

    name = "oanda"

    def __init__(self, settings: Settings, clock: Clock = now) -> None:
        """Nothing is asked before the first question.

        Raises:
            ProviderError: ``configuration``: there is no token.
        """
        token = required(
            self.name,
            settings.oanda_token,
            "FFE_OANDA_TOKEN",
            "oanda.com; a live token needs FFE_OANDA_BASE_URL=https://api-fxtrade.oanda.com, too",
        )
        self._clock = clock
        self.source = HttpSource(
            settings.oanda_base_url,
            vendor_policy(self.name, settings),
            headers={"Authorization": bearer(token), "Accept-Datetime-Format": "RFC3339"},
            refusal=refusal,
        )

    def pages(self, query: CandleQuery, how: Capability) -> Iterator[Page]:
        """Pages of up to 5,000 bars, each from where the last one ended.

        Raises:
            ProviderError: ``bad_response``, too, if a bar is still incomplete long after it closed.
        """
        instrument = spell(self.name, query.symbol)
        bar, start = query.timeframe.duration, query.start
        while start < query.end:
            # A count instead of `to` never lies in the future and spends nothing on closed hours.
            count = min(how.page, -((start - query.end) // bar))
            answer, running = parse(self._ask(instrument, how, start, count), instrument, how.code)
            until = query.end
            opens = sorted([*moments(answer.candles), *running])
            if answer.candles.num_rows + len(running) >= count and opens:
                # Of more rows than were asked for, the latest are strays.
                until = min(opens[:count][-1] + bar, query.end)
            if until <= start:
                raise unexpected(self.name, f"bars before {start} when asked for those after it")
            overdue = min(until, self._clock() - LAG - bar)
            late = min((open_ for open_ in running if start <= open_ < overdue), default=None)
            yield answer.page(start, late or until)
            if late is not None:
                raise unexpected(self.name, f"{instrument} of {late} as incomplete, after {LAG}")
            start = until

    def _ask(self, instrument: str, how: Capability, start: datetime, count: int) -> bytes:
        params: dict[str, str | int] = {
            "granularity": how.code,
            "price": "M",
            "from": iso(start),
            "count": count,
            "smooth": "false",
            "alignmentTimezone": "UTC",
            "dailyAlignment": 0,
        }
        return self.source.get(f"/v3/instruments/{instrument}/candles", params).body


def parse(body: bytes, instrument: str, granularity: str) -> tuple[Answer, list[datetime]]:
    """Candles of a body, and the open times of those that are incomplete, which are left out.

    Raises:
        ProviderError: ``bad_response``: it holds something else, or another instrument.
    """
    found = decode(body, "oanda")
    rows = member(found, "candles", list, "oanda")
    # A recorded answer of 2016 spells DE30_EUR with a slash.
    said = f"{found.get('instrument')} {found.get('granularity')}".replace("/", "_")
    if said != f"{instrument} {granularity}":
        raise unexpected("oanda", f"{said} when asked for {instrument} {granularity}")
    mids = pick(rows, "mid")
    prices = {name: numbers(pick(mids, key)) for name, key in _PRICES.items()}
    candles = table(times(pick(rows, "time")), **prices, trade_count=numbers(pick(rows, "volume")))
    done = [flag is not False for flag in pick(rows, "complete")]
    if all(done):
        return Answer(candles, Verbatim(body, itemgetter("candles"))), []
    record = Verbatim(body, lambda decoded: list(compress(decoded["candles"], done)))
    running = candles.filter(pa.array([not flag for flag in done]))
    return Answer(candles.filter(pa.array(done)), record), moments(running)


def refusal(response: Response) -> ProviderError | None:
    """The class of a refusal; None if the answer is none."""
    return refused("oanda", response, _REFUSALS)
