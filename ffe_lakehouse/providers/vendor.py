"""What every provider that speaks HTTP does the same way.

Asking for the timeframe that the vendor has and rolling it up, going from page to page, asking for
keys, reading a refusal's words. The transport with its limits and retries is in ``http``, the form
of the answers in ``parsing``, and all that is particular in the vendor's own module.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow.compute as pc
from pydantic import SecretStr

from ffe_lakehouse.providers.base import (
    CandleQuery,
    FailureKind,
    Page,
    Provider,
    ProviderError,
)
from ffe_lakehouse.providers.capabilities import Capability, capability
from ffe_lakehouse.providers.http import HttpSource, Response
from ffe_lakehouse.providers.parsing import Answer, unexpected
from ffe_lakehouse.providers.rolling import roll_up_pages

Phrases = Sequence[tuple[str, FailureKind]]
"""What a vendor says (in lower case) and what it means; the first that occurs counts."""

Clock = Callable[[], datetime]
"""Gives the present moment (UTC)."""

_LONGEST_REFUSAL = 4096
_SHOWN = 200

_IDLE_PAGES = 10
"""So many pages in a row may lead on without a bar."""


class VendorProvider(Provider):
    """A vendor behind HTTP.

    A subclass sets ``name`` and ``source`` and answers in ``pages``, in three steps: what is asked
    for, the body, the candles.

    Attributes:
        source: The vendor's host, with limits, retries and circuit breaker.
    """

    waits = True
    source: HttpSource

    def fetch(self, query: CandleQuery) -> Iterator[Page]:
        """Answer ``query`` page by page, rolled up where the vendor lacks the timeframe.

        Raises:
            ProviderError: Of any kind; its message begins with the vendor's name.
        """
        how = capability(self.name, query.symbol, query.timeframe)
        pages = self.pages(replace(query, timeframe=how.asked), how)
        if how.asked == query.timeframe:
            return pages
        return roll_up_pages(pages, how.asked, query)

    @abstractmethod
    def pages(self, query: CandleQuery, how: Capability) -> Iterator[Page]:
        """Answer ``query``, whose timeframe is one that the vendor has on the UTC grid."""


def now() -> datetime:
    """The present moment (UTC)."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """``2024-01-02T03:04:05Z``."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def bearer(key: SecretStr) -> SecretStr:
    """The value of an ``Authorization`` header."""
    return SecretStr(f"Bearer {key.get_secret_value()}")


def windows(
    start: datetime, end: datetime, length: timedelta
) -> Iterator[tuple[datetime, datetime]]:
    """Cut ``[start, end)`` into windows of ``length``, oldest first; the last may be shorter."""
    while start < end:
        until = min(start + length, end)
        yield start, until
        start = until


def token_pages(
    vendor: str, query: CandleQuery, ask: Callable[[str | None], Answer]
) -> Iterator[Page]:
    """The pages of a vendor that says itself where the next one is.

    Args:
        vendor: As in messages.
        query: The window of all pages.
        ask: The page behind a token, the first one behind None.

    Raises:
        ProviderError: ``bad_response``: the same page is named twice, pages go on without a bar, or
            a page has bars from before the end of the one before it.
    """
    token: str | None = None
    seen: set[str] = set()
    covered, idle = query.start, 0
    held: Page | None = None
    while True:
        answer = ask(token)
        page = answer.page(query.start, query.end)
        first, last = (edge.as_py() for edge in pc.min_max(page.candles["timestamp"]).values())
        # A page goes out when the next one has shown that it ended where it seemed to: a bar that
        # strayed into it would hide those in between, or pass for one of another page.
        if first is not None and first < covered:
            raise unexpected(vendor, f"{first} on a page that should begin at {covered}")
        if held is not None:
            yield held
        token = answer.more
        if not token:
            yield page
            return
        idle = idle + 1 if last is None else 0
        if not isinstance(token, str) or token in seen or idle > _IDLE_PAGES:
            raise unexpected(vendor, "a next page that is none, or that leads nowhere")
        seen.add(token)
        if last is not None:  # what follows lies behind the last bar
            covered = min(last + query.timeframe.duration, query.end)
        held = replace(page, covered_until=covered)


def required(vendor: str, key: SecretStr | None, setting: str, where: str) -> SecretStr:
    """A key that the vendor cannot be asked without.

    Raises:
        ProviderError: ``configuration``: it is not set; one line says how to give it.
    """
    if key is None or not key.get_secret_value().strip():
        raise ProviderError(
            "configuration", f"{vendor} needs a key: set {setting} (get one at {where})"
        )
    return key


def refused(vendor: str, response: Response, phrases: Phrases) -> ProviderError | None:
    """The failure that an answer of any status tells in words; None if it has none of these."""
    said = " ".join(response.body[:_LONGEST_REFUSAL].decode(errors="replace").split())
    for phrase, kind in phrases:
        if phrase in said.lower():
            status = f"HTTP {response.status}"
            return ProviderError(kind, f"{vendor} refused ({status}: {said[:_SHOWN]})")
    return None
