"""The members of an index on any day, on a real Delta table and a real Dagster instance."""

import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.membership import Change, index_name, load_index, members
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import INDEX_MEMBERSHIP
from ffe_lakehouse.symbol_lists import symbols_from_list

NOW = datetime(2024, 12, 31, 12, tzinfo=UTC)
FIRST = date(2024, 1, 1)
SYMBOLS = ["AAPL", "BRK.B", "BTCUSD", "MSFT", "NVDA"]
KEY = table_key(INDEX_MEMBERSHIP)


def day(number: int) -> date:
    return FIRST + timedelta(number)


@dataclass
class Library:
    """A lake and a Dagster instance, and the clock of both."""

    instance: dg.DagsterInstance
    lake: DeltaLakeManager
    now: datetime = NOW

    def load(self, number: int | None, *symbols: str, index: str = "tests") -> Change:
        """Load a list as of a day, which is counted from ``FIRST``."""
        as_of = None if number is None else day(number)
        parsed = symbols_from_list(symbols)
        return load_index(self.instance, self.lake, index, parsed, as_of, lambda: self.now)

    def members(self, number: int, index: str = "tests") -> list[str]:
        """The members on a day."""
        return members(self.lake, index, day(number))

    def rows(self) -> list[tuple[str, date, date | None]]:
        """Symbol, added and removed of every stay."""
        stays = self.lake.read(INDEX_MEMBERSHIP.name).to_pylist()
        return [(stay["symbol"], stay["added"], stay["removed"]) for stay in stays]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Library(instance, DeltaLakeManager(tmp_path))


def test_who_comes_is_added_and_who_is_gone_is_removed(library: Library) -> None:
    first = library.load(0, "AAPL", "MSFT")
    assert (first.members, first.added, first.removed) == (2, ["AAPL", "MSFT"], [])
    second = library.load(5, "MSFT", "NVDA")
    assert (second.members, second.added, second.removed) == (2, ["NVDA"], ["AAPL"])
    assert library.rows() == [
        ("AAPL", day(0), day(5)),
        ("MSFT", day(0), None),
        ("NVDA", day(5), None),
    ]


def test_who_comes_back_has_a_second_stay(library: Library) -> None:
    for number, symbols in ((0, "AAPL MSFT"), (1, "MSFT"), (2, "AAPL MSFT")):
        library.load(number, *symbols.split())
    assert [library.members(n) for n in range(3)] == [["AAPL", "MSFT"], ["MSFT"], ["AAPL", "MSFT"]]
    assert library.rows()[:2] == [("AAPL", day(0), day(1)), ("AAPL", day(2), None)]


def test_the_same_list_changes_nothing_also_out_of_its_turn(library: Library) -> None:
    library.load(0, "AAPL", "MSFT")
    library.load(5, "MSFT")
    before = library.lake.read(INDEX_MEMBERSHIP.name)
    for number, symbols in ((0, ("MSFT", "AAPL")), (3, ("AAPL", "MSFT")), (5, ("MSFT",))):
        change = library.load(number, *symbols)
        assert (change.members, change.added, change.removed) == (len(symbols), [], [])
    assert library.lake.read(INDEX_MEMBERSHIP.name).equals(before)
    assert len(library.lake.history(INDEX_MEMBERSHIP.name)) == 3


def test_another_list_of_the_same_day_takes_the_place_of_the_first(library: Library) -> None:
    library.load(0, "AAPL", "MSFT")
    library.load(5, "NVDA")
    library.now += timedelta(hours=1)
    library.load(5, "MSFT", "NVDA")
    assert library.rows() == [
        ("AAPL", day(0), day(5)),
        ("MSFT", day(0), None),
        ("NVDA", day(5), None),
    ]
    stays = library.lake.read(INDEX_MEMBERSHIP.name).to_pylist()
    known = {stay["symbol"]: stay["recorded_at"] for stay in stays}
    assert known == {"AAPL": NOW, "MSFT": library.now, "NVDA": NOW}


def test_a_list_from_before_the_newest_change_is_refused(library: Library) -> None:
    library.load(0, "AAPL")
    library.load(5, "MSFT")
    before = library.rows()
    with pytest.raises(InputError, match="tests changed on 2024-01-06, which is after 2024-01-04"):
        library.load(3, "NVDA")
    with pytest.raises(InputError, match="2024-01-06, which is after 2023-12-31"):
        library.load(-1, "AAPL")
    assert library.rows() == before
    library.load(3, "NVDA", index="another")


def test_a_list_is_of_today_if_no_day_is_named_and_never_of_tomorrow(library: Library) -> None:
    assert library.load(None, "AAPL").as_of == NOW.date()
    with pytest.raises(InputError, match="2025-01-01 is in the future"):
        library.load(366, "AAPL")


def test_indices_do_not_touch_each_other(library: Library) -> None:
    library.load(0, "AAPL", index="one")
    library.load(0, "MSFT", index="two")
    library.load(1, "NVDA", index="one")
    assert library.members(1, "one") == ["NVDA"]
    assert library.members(1, "two") == ["MSFT"]


def test_what_nobody_knows_is_not_answered_with_an_empty_index(library: Library) -> None:
    with pytest.raises(InputError, match="unknown index 'tests': there are none yet"):
        library.members(0)
    library.load(3, "AAPL")
    with pytest.raises(InputError, match="tests is known from 2024-01-04 on, not on 2024-01-03"):
        library.members(2)
    with pytest.raises(InputError, match="unknown index 'other': there are tests"):
        library.members(3, "other")


def test_dagster_is_told_of_every_list(library: Library) -> None:
    library.load(0, "AAPL", "MSFT")
    library.load(5, "MSFT", "NVDA")
    newest = library.instance.get_latest_materialization_event(KEY)
    assert newest is not None
    assert newest.asset_materialization is not None
    told = {name: value.value for name, value in newest.asset_materialization.metadata.items()}
    assert told == {
        "index": "tests",
        "as_of": "2024-01-06",
        "members": 2,
        "added": 1,
        "removed": 1,
        "symbols_added": "NVDA",
        "symbols_removed": "AAPL",
        "dagster/row_count": 3,
    }


def test_lists_of_several_indices_that_come_at_once_are_all_there(library: Library) -> None:
    names = [f"index_{n}" for n in range(6)]
    loads = [
        threading.Thread(target=library.load, args=(0, symbol), kwargs={"index": name})
        for name, symbol in zip(names, [*SYMBOLS, "TSLA"], strict=True)
    ]
    for load in loads:
        load.start()
    for load in loads:
        load.join()
    assert [library.members(0, name) for name in names] == [[s] for s in [*SYMBOLS, "TSLA"]]


def test_of_two_lists_of_one_index_at_once_the_later_day_counts_from_its_day(
    library: Library,
) -> None:
    library.load(0, "AAPL")
    refused: list[InputError] = []

    def load(number: int, *symbols: str) -> None:
        try:
            library.load(number, *symbols)
        except InputError as error:  # the other one was faster, and is of a later day
            refused.append(error)

    both = [threading.Thread(target=load, args=each) for each in ((1, "AAPL", "MSFT"), (2, "NVDA"))]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert library.members(2) == ["NVDA"]
    assert library.members(1) == (["AAPL"] if refused else ["AAPL", "MSFT"])


LISTS = st.lists(
    st.tuples(st.integers(0, 3), st.sets(st.sampled_from(SYMBOLS), min_size=1)),
    min_size=1,
    max_size=6,
)


@given(LISTS)
@settings(max_examples=25)
def test_an_index_is_on_any_day_what_the_last_list_until_then_says(
    lists: Sequence[tuple[int, set[str]]],
) -> None:
    """Lists of rising days; those of one day come one after the other."""
    said: dict[int, set[str]] = {}
    number = 0
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        library = Library(instance, DeltaLakeManager(folder))
        for step, symbols in lists:
            number += step
            library.load(number, *symbols)
            said[number] = symbols
        for n in range(min(said), number + 2):
            last = max(known for known in said if known <= n)
            assert library.members(n) == sorted(said[last])
        stays = library.rows()
        assert len({stay[:2] for stay in stays}) == len(stays)
        assert all(removed is None or added < removed for _, added, removed in stays)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sp500-2025", "sp500_2025"),
        ("S&P 500", "s_p_500"),
        ("s_and_p_500", "s_and_p_500"),
        (" Tech Stocks. ", "tech_stocks"),
    ],
)
def test_an_index_is_named_in_lower_case_with_underscores(text: str, name: str) -> None:
    assert index_name(text) == name
    assert index_name(name) == name


def test_a_name_without_letter_and_digit_is_refused() -> None:
    with pytest.raises(InputError, match="'--' names no index"):
        index_name("--")
