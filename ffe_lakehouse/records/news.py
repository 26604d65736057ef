"""News that a vendor gave and somebody kept as a file: each mention of a pair is a record.

How a vendor's answer is understood stands in ``providers.news``; here it becomes what the loading
of the engine's records works with.
"""

from collections.abc import Sequence

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.news import Mention, parse_news
from ffe_lakehouse.providers.news_rows import sort_out
from ffe_lakehouse.records.fields import Faults
from ffe_lakehouse.records.files import LandedFile, Said, refused
from ffe_lakehouse.records.rows import Judged
from ffe_lakehouse.symbols import Symbol

_UNKNOWN = "file"


def read_news(file: LandedFile, symbols: Sequence[Symbol]) -> tuple[list[Judged], int]:
    """The mentions of these pairs in a file, and how many articles mention none of them.

    Raises:
        OSError: It cannot be read.
    """
    data = file.path.read_bytes()
    try:
        news = parse_news(data, symbols)
    except InputError as error:
        said = refused(file, file.name, data, str(error))
        return [Judged(said, {}, Faults({"unreadable_file"}, [str(error)]), _UNKNOWN)], 0
    mentions = news.mentions
    rejected = sort_out(mentions, news.vendor).rejected
    # What is said twice shares its fate, or a refused version would be stored by its repetition.
    refused_as = {_same(each): each for each in rejected.values()}
    found = [_judged(file, refused_as.get(_same(each), each), news.vendor) for each in mentions]
    return found, news.unrelated


def _same(mention: Mention) -> tuple[object, ...]:
    return mention.pair, mention.columns.get("ticker"), mention.record


def _judged(file: LandedFile, mention: Mention, vendor: str) -> Judged:
    row = {**mention.columns, "asset_pair": mention.pair, "is_mock": False}
    faults = Faults(set(mention.reasons), [mention.detail] if mention.detail else [])
    # Of one article, each mention is a letter of its own.
    which = f"{vendor}|{mention.pair}|{mention.columns.get('ticker')}"
    return Judged(Said(file, file.name, mention.record, None), row, faults, vendor, which)
