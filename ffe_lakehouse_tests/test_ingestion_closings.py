"""A dead letter that somebody has closed no longer speaks against its day."""

from datetime import date
from pathlib import Path

import pytest

from ffe_lakehouse.dead_letters import Closing, close, read_closings, read_letters
from ffe_lakehouse.ingestion import DayReport, Ingestion
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import PairDays
from ffe_lakehouse.providers.base import Provider
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import Scripted, day, raw

HOURS = TIMEFRAMES["1h"]
NOW = day(60)


class Desk:
    """A lake, and the ingestion into it.

    Attributes:
        lake: The lake.
        asked: For which days the closings were asked.
    """

    def __init__(self, folder: Path) -> None:
        """An empty lake."""
        self.lake = DeltaLakeManager(folder)
        self.asked: list[Where] = []

    def closings(self, where: Where) -> object:
        """As the asset injects it."""
        self.asked.append(where)
        return read_closings(self.lake, where)

    def load(self, provider: Provider, days: int, code: str = "1h") -> list[DayReport]:
        """Load days from the first on; at most one record in ten may be bad."""
        ingestion = Ingestion(
            provider,
            TIMEFRAMES[code],
            batch_days=30,
            max_reject_ratio=0.1,
            run_id="run",
            write=self.lake.append_if_changed,
            clock=lambda: NOW,
            closings=self.closings,  # type: ignore[arg-type]
        )
        window = PairDays("BTCUSD", day(0).date(), day(days - 1).date())
        return [report for batch in ingestion.days(window) for report in batch]

    def close(self, on: date, *, reason: str = "high_below_low") -> int:
        """Discard the letters of a day."""
        where = Where(("BTCUSD",), day(0), day(9))
        letters = read_letters(self.lake, [HOURS], where, [reason])
        of_day = letters.filter([each == on for each in letters["partition_date"].to_pylist()])
        return close(self.lake, of_day, Closing("discarded", "ada", "law", NOW, "run")).num_rows


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def vendor(*bad: int, days: int = 2) -> Scripted:
    """Hours of some days, of which those with these numbers have their high below their low."""
    highs = [90.0 if n in bad else 102.0 for n in range(24 * days)]
    return Scripted((raw(day(0), 24 * days, high=highs), day(days)))


def test_a_day_is_loaded_once_its_letters_are_closed_and_the_others_stay_refused(
    desk: Desk,
) -> None:
    answer = vendor(1, 2, 3, 25, 26, 27)
    assert [report.refused for report in desk.load(answer, 2)] == [True, True]
    assert desk.close(day(0).date()) == 3
    first, second = desk.load(answer, 2)
    assert (first.refused, first.written, first.rejected, first.open_letters) == (False, 21, 3, 0)
    assert (second.refused, second.written, second.open_letters) == (True, 0, 3)


def test_a_bad_record_that_nobody_has_seen_still_counts(desk: Desk) -> None:
    desk.load(vendor(1, 2, 3), 2)
    desk.close(day(0).date())
    # Three more: together with those that are closed it would be six.
    first, _ = desk.load(vendor(1, 2, 3, 4, 5), 2)
    assert (first.refused, first.open_letters) == (False, 2)
    first, _ = desk.load(vendor(1, 2, 3, 6, 7, 8), 2)
    assert (first.refused, first.rejected, first.open_letters) == (True, 6, 5)


def test_letters_of_another_timeframe_are_another_matter(desk: Desk) -> None:
    desk.load(vendor(1, 2, 3), 2)
    desk.close(day(0).date())
    days = Scripted((raw(day(0), 2, "1d", high=[90.0, 102.0]), day(2)))
    first, second = desk.load(days, 2, "1d")
    assert (first.refused, first.open_letters) == (True, 1)
    assert (second.refused, second.open_letters) == (False, 0)


def test_open_letters_of_earlier_answers_are_counted_too(desk: Desk) -> None:
    assert [report.open_letters for report in desk.load(vendor(1, 30), 2)] == [1, 1]
    assert [report.open_letters for report in desk.load(vendor(), 2)] == [1, 1]
    assert [report.open_letters for report in desk.load(vendor(1, 2, 30), 2)] == [2, 1]
    desk.close(day(0).date())
    assert [report.open_letters for report in desk.load(vendor(), 2)] == [0, 1]


def test_where_there_are_no_letters_nobody_is_asked(desk: Desk) -> None:
    desk.load(vendor(), 2)
    assert desk.asked == []
    desk.load(vendor(1), 2)
    assert len(desk.asked) == 1
