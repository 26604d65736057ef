"""Who answered is told of every row and every day, also where one provider asks several vendors."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ffe_lakehouse.ingestion import DayReport, Ingestion
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import PairDays
from ffe_lakehouse.providers.base import CandleQuery, Page, Provider
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, day, raw, verbatim

HOUR = TIMEFRAMES["1h"]


class TwoVendors(Provider):
    """Of three days, the first vendor has one and a half, the second the rest but the last day."""

    name = "two"

    def fetch(self, query: CandleQuery) -> Iterator[Page]:
        """Two pages with bars and one without, each with its source."""
        first, second = raw(START, 36), raw(START + 36 * HOUR.duration, 12, low=[99.0] * 11 + [0.0])
        middle = START + 36 * HOUR.duration
        yield Page(first, lambda row: verbatim(first, row), middle, source="one")
        yield Page(second, lambda row: verbatim(second, row), day(2), source="other")
        yield Page(raw(START, 0), str, query.end, source="third")


def load(folder: Path) -> list[DayReport]:
    lake = DeltaLakeManager(folder)
    ingestion = Ingestion(
        provider=TwoVendors(),
        timeframe=HOUR,
        batch_days=30,
        max_reject_ratio=0.5,
        run_id="run",
        write=lake.append_if_changed,
        clock=lambda: day(30),
    )
    window = PairDays("BTCUSD", day(0).date(), day(2).date())
    return [report for batch in ingestion.days(window) for report in batch]


def test_every_row_names_the_vendor_that_answered_it(tmp_path: Path) -> None:
    load(tmp_path)
    lake = DeltaLakeManager(tmp_path)
    bars = lake.read(raw_candles(HOUR).name)["source_provider"].to_pylist()
    assert Counter(bars) == {"one": 36, "other": 11}
    letters = lake.read(dead_letters(HOUR).name)["source_provider"].to_pylist()
    assert letters == ["other"]


def test_every_day_names_who_answered_also_that_there_is_nothing(tmp_path: Path) -> None:
    assert [report.vendors for report in load(tmp_path)] == [("one",), ("one", "other"), ("third",)]


def test_loading_again_from_the_same_vendors_writes_nothing(tmp_path: Path) -> None:
    load(tmp_path)
    assert [report.written for report in load(tmp_path)] == [0, 0, 0]
