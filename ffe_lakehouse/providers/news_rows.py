"""From what articles say of pairs to rows of the lake: news, dead letters, and nothing in between.

Which mention is a row, an exact repetition or a reject is settled here, for a vendor's answer and
for a file alike.
"""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from ffe_lakehouse.providers.news import Mention
from ffe_lakehouse.schemas.records import RAW_NEWS_SENTIMENT, RECORD_REASONS, record_letters
from ffe_lakehouse.schemas.table import TableSchema

LETTERS = record_letters(RAW_NEWS_SENTIMENT)


@dataclass(frozen=True)
class Sorting:
    """Every mention in exactly one of three places (numbers from 0, ascending).

    Attributes:
        good: Rows.
        duplicate: Exact repetitions of another mention.
        rejected: Mentions that break a rule, by their number, with all their reasons.
    """

    good: list[int]
    duplicate: list[int]
    rejected: dict[int, Mention]


def sort_out(mentions: Sequence[Mention], vendor: str) -> Sorting:
    """Tell rows from repetitions and rejects.

    Two articles that differ and are one fact by the table's key are both rejected: which of them
    holds, nobody can tell.
    """
    first: set[tuple[Any, ...]] = set()
    duplicate, rejected, lawful = [], {}, {}
    for number, mention in enumerate(mentions):
        same = (mention.pair, mention.columns.get("ticker"), mention.record)
        if same in first:
            duplicate.append(number)
        elif mention.reasons:
            rejected[number] = mention
        else:
            facts = {**mention.columns, "asset_pair": mention.pair, "source_provider": vendor}
            lawful[number] = tuple(facts[name] for name in RAW_NEWS_SENTIMENT.key)
        first.add(same)
    times = Counter(lawful.values())
    for number, fact in lawful.items():
        if times[fact] > 1:
            rejected[number] = replace(
                mentions[number],
                reasons=("conflicting_version",),
                detail=f"{times[fact]} articles that differ have this id and ticker",
            )
    good = [number for number, fact in lawful.items() if times[fact] == 1]
    return Sorting(good, duplicate, dict(sorted(rejected.items())))


def news_rows(mentions: Sequence[Mention], vendor: str, extracted_at: datetime) -> pa.Table:
    """Lawful mentions as rows of ``RAW_NEWS_SENTIMENT``, in their order."""
    own = [
        {
            **mention.columns,
            "record": mention.record,
            "asset_pair": mention.pair,
            "partition_asset_pair": mention.pair,
            "partition_date": mention.columns["timestamp"].date(),
        }
        for mention in mentions
    ]
    return _table(RAW_NEWS_SENTIMENT, own, vendor, extracted_at)


def news_letters(
    mentions: Sequence[Mention],
    days: Sequence[date],
    vendor: str,
    source: str,
    run_id: str,
    extracted_at: datetime,
) -> pa.Table:
    """Rejected mentions as rows of the dead-letter table, in their order.

    Args:
        mentions: With their reasons; no two of the same pair, ticker and record.
        days: Whose partition each belongs to (UTC).
        vendor: As in ``source_provider``.
        source: Where they came from: what was asked for, or a file.
        run_id: Dagster run.
        extracted_at: When they came (UTC).
    """
    own = [
        {
            "letter_id": _letter_id(mention, vendor),
            "timestamp": mention.columns.get("timestamp"),
            "asset_pair": mention.pair,
            "reasons": sorted(mention.reasons, key=list(RECORD_REASONS).index),
            "detail": mention.detail,
            "record": mention.record,
            "source": source,
            "run_id": run_id,
            "partition_date": day,
        }
        for mention, day in zip(mentions, days, strict=True)
    ]
    return _table(LETTERS, own, vendor, extracted_at)


def failed_answer(pair: str, failure: Exception) -> Mention:
    """An answer that could not be read at all, as the reject that it is.

    There is no record to keep verbatim: the record is what was wrong with the answer.
    """
    record = json.dumps({"error": str(failure)})
    return Mention(pair, {}, record, ("unreadable_file",), str(failure))


def _letter_id(mention: Mention, vendor: str) -> str:
    ticker = mention.columns.get("ticker")
    what = f"{vendor}|{mention.pair}|{ticker}|{mention.record}"
    return hashlib.sha256(what.encode()).hexdigest()[:32]


def _table(
    schema: TableSchema, own: list[dict[str, Any]], vendor: str, extracted_at: datetime
) -> pa.Table:
    common = {
        "source_provider": vendor,
        "_extracted_at": extracted_at,
        "_ingestion_id": str(uuid.uuid4()),
        "is_mock": False,
    }
    rows = [{**common, "storage_period": f"{row['partition_date']:%Y}", **row} for row in own]
    return pa.Table.from_pylist(rows, schema=schema.arrow)
