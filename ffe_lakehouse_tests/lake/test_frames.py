"""Frames on their way into a table: what fits is kept, what does not is refused and named."""

import pandas as pd
import pyarrow as pa
import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.frames import as_arrow
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
