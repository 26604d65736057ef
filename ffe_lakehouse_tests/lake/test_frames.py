"""Frames on their way into a table: what fits is kept, what does not is refused and named."""

from itertools import pairwise

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import frames
from ffe_lakehouse.lake.frames import as_arrow, ascends_strictly, sorted_by
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars

BRONZE = raw_candles(TIMEFRAMES["1h"])


def test_a_pandas_frame_and_an_arrow_table_are_the_same_rows() -> None:
    rows = bars("BTCUSD", START, 3, volume=[None, 1.0, 2.0])
    shuffled = rows.to_pandas()[list(reversed(BRONZE.arrow.names))]
    assert as_arrow(BRONZE, shuffled).equals(rows)
    assert as_arrow(BRONZE, rows.select(list(reversed(rows.column_names)))).equals(rows)
    assert as_arrow(BRONZE, shuffled.astype({"open": "float32"})).equals(rows)
    index = rows.schema.get_field_index("open")
    whole = rows.set_column(index, "open", pa.array([100, 100, 100]))
    assert as_arrow(BRONZE, whole).equals(rows)


def test_missing_unknown_and_repeated_columns_are_refused_and_named() -> None:
    rows = bars("BTCUSD", START, 1)
    for frame in (rows.drop_columns("open"), rows.to_pandas().drop(columns="open")):
        with pytest.raises(InputError, match=r"columns missing \['open'\]"):
            as_arrow(BRONZE, frame)
    with pytest.raises(InputError, match=r"not known or twice .*Open"):
        as_arrow(BRONZE, rows.to_pandas().rename(columns={"open": "Open"}))
    with pytest.raises(InputError, match=r"not known or twice .*7"):
        as_arrow(BRONZE, rows.to_pandas().rename(columns={"open": 7}))
    with pytest.raises(InputError, match=r"twice \['x'\]"):
        as_arrow(BRONZE, rows.append_column("x", rows["open"]))
    with pytest.raises(InputError, match=r"twice \['open'\]"):
        as_arrow(BRONZE, rows.append_column("open", rows["open"]))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("open", ["1.5"]),
        ("open", [True]),
        ("open", [[1.5]]),
        ("open", [None]),
        ("open", [START]),
        ("timestamp", [1_700_000_000]),
        ("timestamp", ["2024-01-01"]),
        ("asset_pair", [1]),
        ("asset_pair", [b"BTCUSD"]),
        ("asset_pair", [None]),
        ("is_mock", [1]),
        ("partition_date", [20_000]),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_refused_and_never_guessed_at(
    name: str, values: list[object]
) -> None:
    rows = bars("BTCUSD", START, 1)
    wrong = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    with pytest.raises(InputError, match=name):
        as_arrow(BRONZE, wrong)
    frame = rows.to_pandas()
    frame[name] = pd.Series(values, dtype=object)
    with pytest.raises(InputError, match=name):
        as_arrow(BRONZE, frame)


# --- order

_VALUES = st.none() | st.integers(0, 3)
_CHUNKS = st.lists(st.lists(st.tuples(_VALUES, _VALUES), max_size=5), max_size=5)


def _table(chunks: list[list[tuple[int | None, int | None]]]) -> pa.Table:
    schema = pa.schema([("number", pa.int64()), ("text", pa.string())])
    tables = [
        pa.Table.from_pylist(
            [{"number": a, "text": None if b is None else str(b)} for a, b in chunk], schema
        )
        for chunk in chunks
    ]
    return pa.concat_tables([schema.empty_table(), *tables])


@given(chunks=_CHUNKS, run=st.sampled_from([0.5, 100]))
def test_rows_are_put_in_the_order_in_which_arrow_would_put_them(
    chunks: list[list[tuple[int | None, int | None]]], run: float
) -> None:
    table, names = _table(chunks), ["number", "text"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_RUN", run)  # below 1: runs are moved as a whole if they can be
        found = sorted_by(table, names)
    assert found.to_pylist() == table.sort_by([(name, "ascending") for name in names]).to_pylist()


@given(chunks=_CHUNKS)
def test_rows_ascend_strictly_if_each_is_above_the_one_before(
    chunks: list[list[tuple[int | None, int | None]]],
) -> None:
    rows = [(row["number"], row["text"]) for row in _table(chunks).to_pylist()]
    heights = [(a is None, a or 0, b is None, b or "") for a, b in rows]
    expected = all(before < after for before, after in pairwise(heights))
    assert ascends_strictly(_table(chunks), ["number", "text"]) is expected
