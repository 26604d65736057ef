"""Laws of the dead letters, whatever is done with them, and in whatever order."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.dead_letters import (
    Closing,
    close,
    having,
    open_letters,
    read_closings,
    read_letters,
    replay,
)
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.where import around
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import bars
from ffe_lakehouse_tests.dead_letters.letters import (
    FETCHED,
    HOUR,
    SWAPPED,
    at,
    letter,
    letters,
    record,
)

HOURS = TIMEFRAMES["1h"]
BRONZE, LETTERS = raw_candles(HOURS), dead_letters(HOURS)
LATER = at(20)

one_letter = st.builds(
    lambda hour, text, vendor, fetched, reason: letter(
        at(2) + hour * HOUR,
        record=text,
        source_provider=vendor,
        _extracted_at=FETCHED + fetched * HOUR,
        reasons=[reason],
    ),
    st.integers(0, 30),
    st.sampled_from([record(), record(50.0), record(swapped=False), "rubbish"]),
    st.sampled_from(["one", "two"]),
    st.integers(0, 2),
    st.sampled_from(["high_below_low", "missing_close"]),
)
some_letters = st.lists(one_letter, min_size=1, max_size=12, unique_by=lambda row: row["letter_id"])
# What is done, with letters of which reason, and whether it dies before it has closed them.
deeds = st.lists(
    st.tuples(
        st.sampled_from(["replay", "replay swapped", "discard", "fetch"]),
        st.sampled_from([(), ("high_below_low",), ("missing_close",)]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def new_lake(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], DeltaLakeManager]:
    return lambda: DeltaLakeManager(tmp_path_factory.mktemp("lake"))


def versions(lake: DeltaLakeManager) -> Counter[tuple[object, ...]]:
    """How often each bar is stored, with its values."""
    names = [*BRONZE.key, "open", "high", "low", "close"]
    rows = lake.read(BRONZE.name, columns=names).to_pylist()
    return Counter(tuple(row.values()) for row in rows)


def open_now(lake: DeltaLakeManager) -> pa.Table:
    return open_letters(read_letters(lake, [HOURS]), read_closings(lake))


@given(some_letters, deeds)
@settings(max_examples=40)
def test_each_letter_is_open_or_closed_once_and_each_bar_is_of_one_letter(
    new_lake: Callable[[], DeltaLakeManager],
    found: list[dict[str, object]],
    done: list[tuple[str, tuple[str, ...], bool]],
) -> None:
    lake = new_lake()
    every = letters(*found)
    lake.append(LETTERS, every)
    lake.append(BRONZE, BRONZE.arrow.empty_table())
    written = 0
    for number, (deed, reasons, dies) in enumerate(done):
        taken = having(open_now(lake), reasons)
        before = versions(lake)
        now = LATER + timedelta(hours=number)
        if deed == "fetch":
            fetched = bars("BTCUSD", at(2, number), 3, known=now, provider="one")
            lake.append_if_changed(BRONZE, fetched, around(fetched))
            continue
        settled = taken
        if deed != "discard" and taken.num_rows:
            mapping = SWAPPED if "swapped" in deed else {}
            result = replay(lake, HOURS, taken, mapping, now, lake.append_if_changed)
            # Every letter is in one place, and each that was written is one bar more.
            assert not (result.written & result.there).any()
            assert [not why for why in result.why_open] == result.settled.tolist()
            assert (versions(lake) - before).total() == result.written.sum()
            assert not before - versions(lake)
            written += int(result.written.sum())
            settled = taken.filter(pa.array(result.settled))
        if not dies:
            closing = Closing("replayed", "ada", "law", now, f"run {number}")
            assert close(lake, settled, closing).num_rows == settled.num_rows
        closed = read_closings(lake)["letter_id"].to_pylist()
        assert len(set(closed)) == len(closed)
        still_open = open_now(lake)["letter_id"].to_pylist()
        assert sorted(closed + still_open) == sorted(every["letter_id"].to_pylist())
    # A bar has at most one version of a replay, and one of the vendor.
    keys = Counter(key[: len(BRONZE.key)] for key in versions(lake).elements())
    assert set(keys.values()) <= {1, 2}
    assert written <= len(keys)


@given(some_letters)
@settings(max_examples=20)
def test_a_replay_that_was_killed_and_done_again_ends_as_one_that_was_not(
    new_lake: Callable[[], DeltaLakeManager], found: list[dict[str, object]]
) -> None:
    ends = []
    for tries in (1, 3):
        lake = new_lake()
        lake.append(LETTERS, letters(*found))
        for _ in range(tries):
            taken = open_now(lake)
            result = replay(lake, HOURS, taken, SWAPPED, LATER, lake.append_if_changed)
        settled = taken.filter(pa.array(result.settled))
        close(lake, settled, Closing("replayed", "ada", "law", LATER, "run"))
        ends.append((versions(lake), sorted(open_now(lake)["letter_id"].to_pylist())))
    assert ends[0] == ends[1]
