"""What a feature is, that it does not look ahead, and that batches do not change it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import enrich
from ffe_lakehouse.transforms.features import (
    GIVEN,
    PROBE_BARS,
    feature_rows,
    feature_table,
    made_up_bars,
    probe,
)
from ffe_lakehouse.transforms.history import history_start
from ffe_lakehouse_tests.transforms.series import grid, unified, walk

DAYS = [datetime(2023, 12, 28, tzinfo=UTC) + timedelta(days=n) for n in range(9)]
NUMBER, FLAG, TEXT = pa.float64(), pa.bool_(), pa.string()

Make = Callable[[pd.DataFrame], object]


def several(frame: pd.DataFrame) -> pd.DataFrame:
    """A feature of every type; one that sums up, one that hangs on how many bars there are."""
    frame["total"] = frame["close"].cumsum()
    frame["place"] = np.arange(len(frame))
    frame["smooth"] = frame["close"].ewm(span=20).mean()
    frame["rises"] = frame["close"] > frame["open"]
    frame["regime"] = frame["market_regime"].fillna("none")
    return frame


KINDS = {"total": NUMBER, "place": NUMBER, "smooth": NUMBER, "rises": FLAG, "regime": TEXT}
SCHEMA = feature_table("several", KINDS)


def column(make: Make) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A function with one feature."""
    return lambda frame: frame.assign(a=make(frame))


@cache
def bars(code: str) -> pa.Table:
    """Ragged enriched bars around New Year, from as far back as they are needed."""
    timeframe = TIMEFRAMES[code]
    begin = history_start(timeframe, DAYS[0]) - timedelta(days=3)
    n = int((DAYS[-1] - begin) / timeframe.duration)
    kept = np.flatnonzero(np.random.default_rng(1).random(n) < 0.9)
    measures = walk(5, len(kept), unknown=0.0)
    made = unified(code, grid(code, begin, kept), measures)
    return enrich(made, timeframe, begin, DAYS[-1])


def rows(code: str, start: datetime, end: datetime, known: pa.Table | None = None) -> pa.Table:
    enriched = bars(code) if known is None else known
    return feature_rows(several, enriched, SCHEMA, TIMEFRAMES[code], start, end)


@pytest.mark.parametrize("code", TIMEFRAMES)
@settings(max_examples=8)
@given(data=st.data())
def test_features_do_not_depend_on_how_the_days_are_cut_nor_on_what_comes_later(
    code: str, data: st.DataObject
) -> None:
    whole = rows(code, DAYS[0], DAYS[-1])
    cuts = sorted(data.draw(st.sets(st.sampled_from(DAYS[1:-1]), max_size=4)))
    edges = [DAYS[0], *cuts, DAYS[-1]]
    parts = [rows(code, *edge) for edge in pairwise(edges)]
    assert pa.concat_tables(parts).equals(whole)
    until = data.draw(st.integers(1, whole.num_rows)) if whole.num_rows else 0
    left_out = whole.num_rows - until
    known = bars(code).slice(0, bars(code).num_rows - left_out)
    assert rows(code, DAYS[0], DAYS[-1], known).equals(whole.slice(0, until))
    late = bars(code).slice(1) if code == "1d" else bars(code).slice(2)  # before the history
    assert rows(code, DAYS[0], DAYS[-1], late).equals(whole)


def test_the_history_begins_with_the_storage_period() -> None:
    found = rows("1h", DAYS[0], DAYS[-1])
    times = bars("1h")["timestamp"].to_pylist()
    for row in (0, found.num_rows - 1):
        moment = found["timestamp"][row].as_py()
        since = history_start(TIMEFRAMES["1h"], moment)
        assert found["place"][row].as_py() == sum(since <= each < moment for each in times)


def test_the_frame_is_what_is_promised() -> None:
    seen = []

    def look(frame: pd.DataFrame) -> pd.DataFrame:
        seen.append(frame.copy())
        return frame.assign(a=frame["close"])

    kinds = probe(look)
    feature_rows(
        look, bars("15m"), feature_table("look", kinds), TIMEFRAMES["15m"], DAYS[5], DAYS[6]
    )
    assert len(seen[0]) == PROBE_BARS
    for frame in seen:
        assert tuple(frame.columns) == GIVEN
        assert frame.index.equals(pd.RangeIndex(len(frame)))
        assert frame["timestamp"].is_monotonic_increasing
        assert str(frame["timestamp"].dtype.tz) == "UTC"
        assert frame["trend_direction"].dtype == np.float64
    assert {str(frame.dtypes.to_dict()) for frame in seen} == {str(seen[0].dtypes.to_dict())}
    assert seen[0]["is_warm"].nunique() == 2


def test_a_function_may_do_with_its_frame_what_it_likes() -> None:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame["close"] = 0.0
        frame.loc[:, "volume"] = np.nan
        return frame[["close"]].assign(a=1)

    before = made_up_bars()
    assert probe(spoil) == {"a": NUMBER}
    assert made_up_bars().equals(before)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda f: f["close"], NUMBER),
        (lambda f: f["bars_seen"], NUMBER),
        (lambda f: f["close"].astype("float32"), NUMBER),
        (lambda f: f["close"].pct_change(50).astype("Float64"), NUMBER),
        (lambda f: f["bars_seen"].astype("Int64").where(f["is_warm"]), NUMBER),
        (lambda f: f["is_warm"], FLAG),
        (lambda f: f["is_warm"].astype("boolean").where(f["is_warm"]), FLAG),
        (lambda f: f["is_warm"].astype(object).where(f["is_warm"]), FLAG),
        (lambda f: f["market_regime"], TEXT),
        (lambda f: f["market_regime"].astype("category"), TEXT),
        (lambda f: f["trend_direction"].astype("category"), NUMBER),
        (lambda f: pd.Series(["x"] * len(f), dtype=object), TEXT),
    ],
)
def test_numbers_bools_and_texts_are_learnt(make: Make, kind: pa.DataType) -> None:
    assert probe(column(make)) == {"a": kind}


@pytest.mark.parametrize(
    "make",
    [
        lambda f: f["close"].shift(-1),
        lambda f: f["close"].shift(-1) > f["close"],
        lambda f: f["close"] - f["close"].mean(),
        lambda f: f["close"] / f["close"].iloc[-1],
        lambda f: f["close"].rank(),
        lambda f: f["sma_200"].bfill(),
        lambda f: f["sma_50"].interpolate(limit_direction="both"),
        lambda f: f["close"].rolling(3, center=True).mean(),
        lambda f: f["close"][::-1].ewm(span=5).mean(),
        lambda f: pd.Series(np.convolve(f["close"], np.ones(3) / 3, "same")),
        lambda f: f["market_regime"].shift(-1).fillna("none"),
        lambda f: np.full(len(f), len(f)),
        lambda f: np.random.default_rng().random(len(f)),
    ],
)
def test_what_looks_ahead_is_refused_with_the_column_the_bar_and_the_way_out(make: Make) -> None:
    with pytest.raises(InputError, match=r"'a' looks ahead: at bar \d+ \(2024-01-") as caught:
        probe(column(make))
    assert "rolling, ewm, shift(1)" in str(caught.value)


@pytest.mark.parametrize("ahead", range(1, 30))
def test_a_feature_that_knows_any_later_bar_is_refused(ahead: int) -> None:
    with pytest.raises(InputError, match="looks ahead"):
        probe(column(lambda f: f["close"].shift(-ahead) > f["close"]))


@pytest.mark.parametrize(
    "make",
    [
        lambda f: f["close"].rolling(200).std(),
        lambda f: f["close"].expanding().mean(),
        lambda f: f["close"].ewm(halflife=30).var(),
        lambda f: f["close"].rolling(20).rank(pct=True),
        lambda f: f["close"] - f["close"].rolling(20).mean() - (f["close"] - f["sma_20"]),
        lambda f: f["volume"].fillna(0).cumsum(),
        lambda f: f["timestamp"].dt.hour,
    ],
)
def test_what_looks_back_is_not_mistaken_for_looking_ahead(make: Make) -> None:
    assert probe(column(make)) == {"a": NUMBER}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda _: None, "returns a NoneType: return a pandas.DataFrame"),
        (lambda f: f["close"], "returns a Series"),
        (lambda f: f, "adds no column"),
        (lambda f: f.iloc[:-1], "returns 599 rows for 600 bars"),
        (lambda f: f.iloc[::-1], "or in another order"),
        (lambda f: f.set_index("timestamp"), "under the index"),
        (lambda f: f.assign(A=1), "'A' cannot be a feature"),
        (lambda f: f.assign(storage_period="x"), "'storage_period' cannot be a feature"),
        (lambda f: f.rename(columns={"open": 7}), "'7' cannot be a feature"),
        (lambda f: pd.concat([f.assign(a=1), f.assign(a=1)[["a"]]], axis=1), "'a' cannot be"),
        (lambda f: f.assign(a=f["timestamp"]), "a feature is a number, a bool or a text"),
        (lambda f: f.assign(a=f["close"] * 1j), "a feature is a number, a bool or a text"),
        (lambda f: f.assign(a=[[1]] * len(f)), "a feature is a number, a bool or a text"),
        (lambda f: f.assign(a=["x"] + [1] * (len(f) - 1)), "a feature is a number"),
        (lambda f: f.assign(a=np.nan), "'a' has no value on 600 bars"),
        (lambda f: f.assign(a=f["close"].rolling(601).mean()), "min_periods"),
        (lambda f: f.assign(a=f["close"].iloc[5]), "it fails on 1 bars: IndexError"),
        (lambda f: f.assign(a=1, **({"b": 1} if len(f) > 9 else {})), "it returns a for 1 bars"),
        (lambda f: f.assign(a=1 if len(f) > 9 else "x"), "'a' is no longer numbers on 1 bars"),
    ],
)
def test_what_is_no_set_of_features_is_refused_and_told_how_to_become_one(
    function: Callable[[pd.DataFrame], pd.DataFrame], reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        probe(function)
    assert reason in str(caught.value)


def test_a_number_that_is_not_finite_is_null() -> None:
    def divide(frame: pd.DataFrame) -> pd.DataFrame:
        with np.errstate(divide="ignore"):
            return frame.assign(a=1.0 / (np.arange(len(frame)) % 2))

    found = feature_rows(
        divide,
        bars("1d"),
        feature_table("divide", probe(divide)),
        TIMEFRAMES["1d"],
        DAYS[0],
        DAYS[4],
    )
    assert set(found["a"].to_pylist()) == {None, 1.0}


def test_without_bars_there_are_no_rows_and_the_function_is_not_asked() -> None:
    def never(frame: pd.DataFrame) -> pd.DataFrame:
        raise AssertionError

    nothing = MARKET_DATA_ENRICHED.arrow.empty_table()
    found = feature_rows(never, nothing, SCHEMA, TIMEFRAMES["1h"], DAYS[0], DAYS[1])
    assert found.equals(SCHEMA.arrow.empty_table())


def test_the_table_has_the_keys_and_the_layout_of_the_enriched_bars() -> None:
    assert SCHEMA.name == "silver/features_several"
    for name in ("key", "partition_by", "sort_by"):
        assert getattr(SCHEMA, name) == getattr(MARKET_DATA_ENRICHED, name)
    assert [each.name for each in SCHEMA.columns if each.nullable] == list(KINDS)
