"""Bitemporal tables: what is new, what is a revision, and what was known when."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where, newest_versions
from ffe_lakehouse.lake.versions import Change, compare, refuse_repeats
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import KNOWN, START, bars, box

HOURS = raw_candles(TIMEFRAMES["1h"])
DAY = box("BTCUSD", 0, 0)
TICK = timedelta(microseconds=1)
NAN = float("nan")


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLakeManager:
    return DeltaLakeManager(tmp_path)


def fetched(lake: DeltaLakeManager, rows: pa.Table) -> list[Change]:
    return [Change(code) for code in lake.append_if_changed(HOURS, rows, DAY).of_row]


def opens(lake: DeltaLakeManager, known_on: datetime | None = None, newest: bool = True) -> Any:
    where = Where(DAY.pairs, DAY.start, DAY.end, known_on)
    return lake.read(HOURS.name, where, ["open"], newest=newest)["open"].to_pylist()


def test_a_bar_is_new_then_unchanged_then_revised(lake: DeltaLakeManager) -> None:
    assert fetched(lake, bars("BTCUSD", START, 2)) == [Change.NEW] * 2
    assert fetched(lake, bars("BTCUSD", START, 2)) == [Change.UNCHANGED] * 2
    later = bars("BTCUSD", START, 3, known=KNOWN + TICK, volume=[5.0, 6.0, 5.0])
    assert fetched(lake, later) == [Change.UNCHANGED, Change.REVISED, Change.NEW]


def test_a_value_that_comes_back_is_a_revision_again(lake: DeltaLakeManager) -> None:
    for hour, price in enumerate([100.0, 200.0, 100.0]):
        rows = bars("BTCUSD", START, 1, price=price, known=KNOWN + timedelta(hours=hour))
        fetched(lake, rows)
    assert opens(lake, newest=False) == [100.0, 200.0, 100.0]
    assert opens(lake) == [100.0]


def test_another_vendors_bar_is_another_fact(lake: DeltaLakeManager) -> None:
    fetched(lake, bars("BTCUSD", START, 1, provider="a"))
    assert fetched(lake, bars("BTCUSD", START, 1, provider="b")) == [Change.NEW]
    assert len(opens(lake)) == 2


def test_only_what_was_known_at_the_moment_is_read(lake: DeltaLakeManager) -> None:
    fetched(lake, bars("BTCUSD", START, 1, price=100.0))
    revised_at = KNOWN + timedelta(days=1)
    fetched(lake, bars("BTCUSD", START, 1, price=200.0, known=revised_at))
    assert opens(lake, KNOWN - TICK) == []
    assert opens(lake, KNOWN) == [100.0]
    assert opens(lake, revised_at - TICK) == [100.0]
    assert opens(lake, revised_at) == [200.0]


def test_with_a_clock_that_was_set_back_the_last_answer_is_still_the_newest(
    lake: DeltaLakeManager,
) -> None:
    for hours, price in ((0, 100.0), (-5, 200.0), (-9, 300.0)):
        rows = bars("BTCUSD", START, 1, price=price, known=KNOWN + timedelta(hours=hours))
        fetched(lake, rows)
        assert opens(lake) == [price]
        assert fetched(lake, rows) == [Change.UNCHANGED]
    assert opens(lake, newest=False) == [100.0, 200.0, 300.0]


@pytest.mark.parametrize("value", [None, NAN], ids=["null", "NaN"])
@pytest.mark.parametrize("name", ["volume", "trade_count", "vwap"])
def test_an_unknown_value_is_the_same_as_itself(
    lake: DeltaLakeManager, name: str, value: float | None
) -> None:
    rows = bars("BTCUSD", START, 1)
    index = rows.schema.get_field_index(name)
    rows = rows.set_column(index, rows.schema.field(index), pa.array([value], pa.float64()))
    assert fetched(lake, rows) == [Change.NEW]
    assert fetched(lake, rows) == [Change.UNCHANGED]


@pytest.mark.parametrize(("before", "after"), [(None, 1.0), (1.0, None)])
def test_a_value_that_appears_or_disappears_is_a_revision(
    lake: DeltaLakeManager, before: float | None, after: float | None
) -> None:
    fetched(lake, bars("BTCUSD", START, 1, volume=before))
    assert fetched(lake, bars("BTCUSD", START, 1, volume=after)) == [Change.REVISED]


def test_the_days_of_every_known_version_are_told(lake: DeltaLakeManager) -> None:
    fetched(lake, bars("BTCUSD", START, 1))
    fetched(lake, bars("BTCUSD", START, 1, price=200.0))
    changes = lake.append_if_changed(HOURS, bars("BTCUSD", START, 2), DAY)
    assert changes.known_days.tolist() == [START.date()] * 2
    assert changes.written.tolist() == [True, True]
    assert changes.version is not None


def test_a_fact_that_is_given_twice_at_once_is_refused() -> None:
    rows = pa.concat_tables([bars("BTCUSD", START, 3), bars("BTCUSD", START, 1, price=200.0)])
    with pytest.raises(InputError, match="1 rows repeat the asset_pair, timestamp, source_prov"):
        refuse_repeats(HOURS, rows)
    with pytest.raises(InputError, match="1 rows repeat"):
        refuse_repeats(HOURS, pa.concat_tables([bars("BTCUSD", START, 1)] * 2))


def test_facts_that_differ_in_any_part_of_the_key_are_not_refused() -> None:
    parts = [
        bars("BTCUSD", START, 3),
        bars("ETHUSD", START, 3),
        bars("BTCUSD", START, 3, provider="b"),
    ]
    refuse_repeats(HOURS, pa.concat_tables(parts))
    refuse_repeats(HOURS, parts[0].take([2, 0, 1]))
    refuse_repeats(HOURS, parts[0].slice(0, 0))
    refuse_repeats(HOURS, parts[0].slice(0, 1))


# --- laws, against plain Python

versions = st.lists(
    st.tuples(st.sampled_from(["A", "B"]), st.integers(0, 3), st.integers(0, 9)),
    max_size=25,
    unique_by=lambda row: row,
)


@given(versions)
@settings(deadline=None)
def test_the_newest_version_of_every_fact_is_kept_once(rows: list[tuple[str, int, int]]) -> None:
    table = pa.table(
        {
            name: [row[at] for row in rows]
            for at, name in enumerate(("pair", "time", "_extracted_at"))
        }
    )
    found = newest_versions(table, ("pair", "time")).to_pylist()
    newest = {(pair, time): known for pair, time, known in sorted(rows)}
    assert [((row["pair"], row["time"]), row["_extracted_at"]) for row in found] == list(
        newest.items()
    )


values = st.sampled_from([1.0, 2.0, None, NAN])
sides = st.dictionaries(st.integers(0, 5), st.tuples(values, values), max_size=6)


@given(known=sides, given_now=sides)
@settings(deadline=None)
def test_what_changed_is_what_differs_from_the_newest_known_version(
    known: dict[int, tuple[Any, ...]], given_now: dict[int, tuple[Any, ...]]
) -> None:
    def table(side: dict[int, tuple[Any, ...]], at: datetime) -> pa.Table:
        times = [START + timedelta(hours=hour) for hour in side]
        volume, vwap = ([pair[i] for pair in side.values()] for i in (0, 1))
        rows = bars("BTCUSD", START, len(side), known=at, timestamp=times)
        for name, column in (("volume", volume), ("vwap", vwap)):
            index = rows.schema.get_field_index(name)
            rows = rows.set_column(index, HOURS.arrow.field(name), pa.array(column, pa.float64()))
        return rows

    def plain(pair: tuple[Any, ...]) -> list[float | None]:
        return [None if value is None or np.isnan(value) else value for value in pair]

    change, stamped = compare(HOURS, table(given_now, KNOWN), table(known, KNOWN))
    expected = [
        Change.NEW
        if hour not in known
        else Change.UNCHANGED
        if plain(known[hour]) == plain(pair)
        else Change.REVISED
        for hour, pair in given_now.items()
    ]
    assert change.tolist() == expected
    stamps = stamped["_extracted_at"].to_pylist()
    assert stamps == [KNOWN + TICK * (what is Change.REVISED) for what in expected]
