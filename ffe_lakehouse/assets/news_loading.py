"""The way of an article: from a vendor's pages to the dead letters and the table of news.

One generator, without Dagster. It holds articles until a batch of days is whole, stores first the
rejects and then the rows, and reports every day: each mention of the pair is accounted for.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa

from ffe_lakehouse.ingestion import Write
from ffe_lakehouse.lake.versions import Change
from ffe_lakehouse.lake.where import Where
from ffe_lakehouse.partitions import ONE_DAY, PairDays, day_start
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.news import (
    Mention,
    NewsPage,
    NewsProvider,
    NewsQuery,
    Placed,
)
from ffe_lakehouse.providers.news_rows import (
    LETTERS,
    failed_answer,
    news_letters,
    news_rows,
    sort_out,
)
from ffe_lakehouse.schemas.records import RAW_NEWS_SENTIMENT
from ffe_lakehouse.symbols import canonical_symbol


@dataclass(frozen=True)
class NewsDay:
    """What became of one day of one pair. ``fetched = written + unchanged + duplicate + rejected``.

    A record is one mention: an article under one ticker of the pair. Articles that do not mention
    the pair at all are counted beside, as ``unrelated``.

    Attributes:
        day: UTC day.
        fetched: Mentions that the vendor delivered for the day.
        written: Mentions that were new or revised.
        revised: Of these, new versions of known ones.
        unchanged: Mentions that were known as they are.
        duplicate: Exact repetitions within the answer.
        rejected: Mentions in the dead letters.
        unrelated: Articles that name the pair nowhere.
        reasons: How often each reason was given; a mention may have several.
        versions: Versions of the day's mentions that the table now holds.
        until: What was published before this moment (UTC) was asked for.
        rows: The day's good mentions, by ``RAW_NEWS_SENTIMENT``, oldest first.
    """

    day: date
    fetched: int
    written: int
    revised: int
    unchanged: int
    duplicate: int
    rejected: int
    unrelated: int
    reasons: Counter[str]
    versions: int
    until: datetime
    rows: pa.Table = field(repr=False)


@dataclass(frozen=True)
class NewsLoading:
    """Who is asked for news, and how the answer is stored.

    Attributes:
        provider: Who is asked.
        batch_days: Days that are committed together.
        run_id: Dagster run, for the dead letters.
        write: Append-if-changed.
        clock: The present moment (UTC).
    """

    provider: NewsProvider
    batch_days: int
    run_id: str
    write: Write
    clock: Callable[[], datetime]

    def days(self, window: PairDays) -> Iterator[list[NewsDay]]:
        """Load the days of ``window``; yields the reports of a batch once it is committed.

        Raises:
            ProviderError: The vendor failed. Batches that were yielded stay.
            InputError: The pair is none, or not in its canonical spelling.
        """
        symbol = canonical_symbol(window.pair, "news")
        # Vendors count in minutes: of the running one, nobody knows yet what it will bring.
        end = min(window.end, self.clock().replace(second=0, microsecond=0))
        query = NewsQuery(symbol, window.start, end)
        begun = whole = window.first
        held: list[Placed] = []

        def store(until: date) -> list[NewsDay]:
            nonlocal held
            edge = day_start(until)
            taken = [each for each in held if each[0] < edge]
            held = [each for each in held if each[0] >= edge]
            return self._store(taken, PairDays(window.pair, begun, until - ONE_DAY), end)

        try:
            for page in self._pages(query):
                held += page.articles
                finished = page.covered_until >= end
                whole = window.last + ONE_DAY if finished else page.covered_until.date()
                while begun < whole and (finished or (whole - begun).days >= self.batch_days):
                    until = min(begun + timedelta(self.batch_days), whole)
                    yield store(until)
                    begun = until
        except ProviderError as failure:
            if begun < whole:  # What has been paid for is not asked for again.
                yield store(whole)
                begun = whole
            if failure.kind == "bad_response":
                self._keep(failure, window.pair, min(begun, window.last))
            raise

    def _pages(self, query: NewsQuery) -> Iterator[NewsPage]:
        if query.start >= query.end:  # The day has only just begun.
            yield NewsPage([], query.end)
            return
        yield from self.provider.fetch(query)

    def _keep(self, failure: ProviderError, pair: str, day: date) -> None:
        """An answer that is none as a whole is a dead letter, too: of the day where it stopped."""
        self._reject([failed_answer(pair, failure)], [day], PairDays(pair, day, day))

    def _reject(self, mentions: list[Mention], on: list[date], days: PairDays) -> None:
        name = self.provider.name
        letters = news_letters(
            mentions, on, name, f"{name}: {days.pair} {days}", self.run_id, self.clock()
        )
        self.write(LETTERS, letters, Where(None, days.start, days.end))

    def _store(self, articles: list[Placed], days: PairDays, end: datetime) -> list[NewsDay]:
        found = [
            (place, replace(mention, pair=days.pair))
            for place, article in sorted(articles, key=lambda each: each[0])
            for mention in article.mentions
        ]
        mentions = [mention for _, mention in found]
        number = np.array([(place.date() - days.first).days for place, _ in found], dtype=np.int64)

        def count(numbers: np.ndarray) -> list[int]:
            counts: list[int] = np.bincount(numbers, minlength=len(days.days)).tolist()
            return counts

        sorting = sort_out(mentions, self.provider.name)
        rejected = number[list(sorting.rejected)]
        self._reject(
            list(sorting.rejected.values()), [days.days[n] for n in rejected.tolist()], days
        )
        good = number[sorting.good]
        lawful = [mentions[n] for n in sorting.good]
        rows = news_rows(lawful, self.provider.name, self.clock())
        changes = self.write(RAW_NEWS_SENTIMENT, rows, Where((days.pair,), days.start, days.end))
        known = (changes.known_days - np.datetime64(days.first, "D")).astype(np.int64)
        unrelated = [place for place, article in articles if not article.mentions]
        reasons: list[Counter[str]] = [Counter() for _ in days.days]
        for on, mention in zip(rejected, sorting.rejected.values(), strict=True):
            reasons[on].update(mention.reasons)
        written = count(good[changes.written])
        edges = np.searchsorted(good, np.arange(len(days.days) + 1)).tolist()
        columns = {
            "fetched": count(number),
            "written": written,
            "revised": count(good[changes.of_row == Change.REVISED]),
            "unchanged": count(good[~changes.written]),
            "duplicate": count(number[sorting.duplicate]),
            "rejected": count(rejected),
            "unrelated": count(
                np.array([(place.date() - days.first).days for place in unrelated], dtype=np.int64)
            ),
            "versions": [sum(both) for both in zip(count(known), written, strict=True)],
        }
        return [
            NewsDay(
                day=day,
                reasons=reasons[n],
                until=min(day_start(day + ONE_DAY), end),
                rows=rows.slice(edges[n], edges[n + 1] - edges[n]),
                **{name: values[n] for name, values in columns.items()},
            )
            for n, day in enumerate(days.days)
        ]
