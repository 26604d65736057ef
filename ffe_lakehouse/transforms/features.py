"""A user's features: what they are, that they know no later bar, and the rows that they make.

A function gets the enriched bars of one pair and timeframe as a pandas frame and gives the frame
back with columns of its own. Which types these have is learnt by probing the function on bars that
are made up here, and the probe also tries to catch it looking ahead. Where the functions come from
is in ``ffe_lakehouse.features``.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api import types

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import TIMESTAMP, Column, TableSchema, storage_periods
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED, MARKET_DATA_UNIFIED
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.enrichment import CARRIED, enrich
from ffe_lakehouse.transforms.history import history_start, split_by_period

FeatureFunction = Callable[[pd.DataFrame], pd.DataFrame]
"""``calculate_features``: enriched bars in, the same rows with more columns out."""

PROBE_BARS = 600
"""Enriched 1h bars on which a function is probed: 25 days."""

_PLACE = ("partition_date", "partition_asset_pair", "storage_period")
_KEPT = ("timestamp", "asset_pair", "timeframe")
_ENRICHED = {column.name: column for column in MARKET_DATA_ENRICHED.columns}
GIVEN: tuple[str, ...] = tuple(name for name in _ENRICHED if name not in _PLACE)
"""Columns of the frame that a function gets."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_KINDS = {pa.float64(): "numbers", pa.bool_(): "bools", pa.string(): "texts"}
_TOLERANCE = 1e-9
# Short ones find what is filled in from behind; many, a feature that has only a few values.
_PREFIXES = (1, 2, 3, 5, *range(8, PROBE_BARS, 23), PROBE_BARS)


def is_name(text: str) -> bool:
    """Whether it can be a part of a table's name, or a column's."""
    return _NAME.fullmatch(text) is not None


def feature_table(
    name: str, features: Mapping[str, pa.DataType], description: str = ""
) -> TableSchema:
    """The table of a set of features: keys and layout are those of ``market_data_enriched``.

    Args:
        name: Of the set; the table is ``silver/features_{name}``.
        features: Types by column.
        description: What one row is; by default that it has these features.
    """
    own = [Column(each, kind, f"Feature of {name!r}.", True) for each, kind in features.items()]
    return TableSchema(
        name=f"silver/features_{name}",
        description=description or f"The features {name!r} of one enriched bar.",
        columns=(
            *(_ENRICHED[each] for each in _KEPT),
            *own,
            *(_ENRICHED[each] for each in ("is_mock", *_PLACE)),
        ),
        key=MARKET_DATA_ENRICHED.key,
        partition_by=MARKET_DATA_ENRICHED.partition_by,
        sort_by=MARKET_DATA_ENRICHED.sort_by,
    )


def probe(function: FeatureFunction) -> dict[str, pa.DataType]:
    """The types of a function's features, by column: number, bool or text.

    The function is called with ``PROBE_BARS`` bars, and with the first of them alone: a value that
    is another one when later bars are known (or when it is computed a second time) is an error.
    What hangs on a later bar only once in hundreds of bars can slip through.

    Raises:
        InputError: The function fails, returns something else, or looks ahead.
    """
    bars = made_up_bars()
    found = _call(function, bars)
    if found.columns.empty:
        raise InputError("it adds no column to the frame: return the frame with new columns")
    kinds: dict[str, pa.DataType] = {}
    for name in found.columns:
        kind = _kind(name, found[name])
        if kind is None or found[name].isna().all():
            raise InputError(
                f"{name!r} has no value on {PROBE_BARS} bars, so nobody can tell whether it looks"
                " ahead: let it begin earlier, with min_periods for example"
            )
        kinds[name] = kind
    whole = _columns(found, kinds)
    for length in _PREFIXES:
        part = bars.slice(0, length)
        known = _columns(_call(function, part), kinds)
        for name, values in known.items():
            other = _first_difference(values, whole[name])
            if other is not None:
                at = bars["timestamp"][other].as_py()
                raise InputError(
                    f"{name!r} looks ahead: at bar {other} ({at}) it is {_shown(values[other])}"
                    f" when {length} bars are known and {_shown(whole[name][other])} when"
                    f" {PROBE_BARS} are. Compute each row from itself and the rows before it:"
                    " rolling, ewm, shift(1), ffill; no shift(-1), bfill, centred window, mean of"
                    " the whole column, or chance"
                )
    return kinds


def feature_rows(
    function: FeatureFunction,
    enriched: pa.Table,
    schema: TableSchema,
    timeframe: Timeframe,
    start: datetime,
    end: datetime,
) -> pa.Table:
    """The features of the bars in ``[start, end)``.

    A row is a function of the bars in ``[history_start(its period), its own timestamp]``: the
    function is called once for every storage period, with the bars from there on. So it has the
    same values however the days are cut into windows.

    Args:
        function: Passed the ``probe``.
        enriched: Rows of ``market_data_enriched``: one pair, one timeframe, ascending. They reach
            back to ``history_start(timeframe, start)``, if there are any so early.
        schema: By ``feature_table``.
        timeframe: Of the bars.
        start: First open time, included (UTC).
        end: Last open time, excluded (UTC).

    Returns:
        Rows by ``schema``, ascending. A number that is not finite is null.

    Raises:
        InputError: The function fails, or returns other columns or types than it did when probed.
    """
    kinds = {column.name: column.type for column in schema.columns if column.name not in _ENRICHED}
    times = enriched["timestamp"].cast(pa.int64()).to_numpy()
    parts = [schema.arrow.empty_table()]
    for since, until in split_by_period(timeframe, start, end):
        bounds = (history_start(timeframe, since), since, until)
        micros = [pa.scalar(moment, TIMESTAMP).cast(pa.int64()).as_py() for moment in bounds]
        zero, first, last = np.searchsorted(times, micros).tolist()
        if first == last:
            continue
        bars = enriched.slice(zero, last - zero)
        features = _columns(_call(function, bars), kinds)
        rows = enriched.slice(first, last - first)
        columns = [
            features[name].slice(first - zero) if name in kinds else rows[name]
            for name in schema.arrow.names
        ]
        parts.append(pa.table(columns, schema=schema.arrow))
    return pa.concat_tables(parts)


def made_up_bars() -> pa.Table:
    """``PROBE_BARS`` enriched bars of a random walk, always the same, by ``GIVEN``."""
    timeframe, start = TIMEFRAMES["1h"], datetime(2024, 1, 1, tzinfo=UTC)
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, PROBE_BARS)))
    opened = np.append(100.0, close[:-1])
    spread = 1 + np.abs(rng.normal(0, 0.005, (2, PROBE_BARS)))
    times = np.datetime64(start.replace(tzinfo=None), "us") + np.arange(PROBE_BARS) * timeframe.step
    days = times.astype("datetime64[D]")
    columns = {
        "timestamp": pa.array(times).cast(TIMESTAMP),
        "open": opened,
        "high": np.maximum(opened, close) * spread[0],
        "low": np.minimum(opened, close) / spread[1],
        "close": close,
        "volume": rng.uniform(1, 100, PROBE_BARS),
        "asset_pair": ["BTCUSD"] * PROBE_BARS,
        "timeframe": [timeframe.code] * PROBE_BARS,
        "source_provider": ["simulated"] * PROBE_BARS,
        "is_mock": [True] * PROBE_BARS,
        "partition_date": pa.array(days),
        "partition_asset_pair": ["BTCUSD"] * PROBE_BARS,
        "storage_period": storage_periods(days, timeframe),
    }
    schema = pa.schema([MARKET_DATA_UNIFIED.arrow.field(name) for name in CARRIED])
    bars = pa.table([columns[name] for name in CARRIED], schema=schema)
    return enrich(bars, timeframe, start, start + timedelta(days=366)).select(GIVEN)


def _call(function: FeatureFunction, bars: pa.Table) -> pd.DataFrame:
    """The new columns of a function's frame.

    Raises:
        InputError: It fails, or returns something else than its rows with more columns.
    """
    # A number that may be missing is always a float: else a frame's types hung on its rows.
    whole = bars.schema.get_field_index("trend_direction")
    direction = bars["trend_direction"].cast(pa.float64())
    frame = bars.set_column(whole, "trend_direction", direction).select(GIVEN).to_pandas()
    try:
        found = function(frame.copy())
    except Exception as error:  # Whatever a stranger's function raises.
        raise InputError(
            f"it fails on {len(frame)} bars: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, pd.DataFrame):
        raise InputError(f"it returns a {type(found).__name__}: return a pandas.DataFrame")
    if not found.index.equals(frame.index):
        raise InputError(
            f"it returns {len(found)} rows for {len(frame)} bars, or in another order: return one"
            " for each, under the index of the frame that it is given"
        )
    named = [str(name) for name in found.columns]
    for name in named:
        if named.count(name) > 1 or name in _PLACE or not (name in GIVEN or is_name(name)):
            raise InputError(
                f"{name!r} cannot be a feature: a name occurs once, has only small letters, digits"
                f" and _, begins with a letter, and is none of {', '.join(_PLACE)}"
            )
    added = found[[name for name in found.columns if name not in GIVEN]]
    return added.astype(dict.fromkeys(added.select_dtypes("category"), object))


def _columns(found: pd.DataFrame, kinds: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """The features as Arrow columns of these types.

    Raises:
        InputError: They are others.
    """
    if set(found.columns) != kinds.keys():
        raise InputError(
            f"it returns {', '.join(sorted(found.columns)) or 'nothing'} for {len(found)} bars, and"
            f" {', '.join(sorted(kinds))} on those of the probe: return the same for any bars"
        )
    columns = {}
    for name, kind in kinds.items():
        values = found[name]
        if _kind(name, values) not in (kind, None):
            raise InputError(
                f"{name!r} is no longer {_KINDS[kind]} on {len(found)} bars: return the same type"
                " for any bars"
            )
        if pa.types.is_floating(kind):
            numbers = values.to_numpy(np.float64, na_value=np.nan)
            columns[name] = pa.array(numbers, mask=~np.isfinite(numbers))
        else:
            columns[name] = pa.array(values.astype(object), kind, from_pandas=True)
    return columns


def _kind(name: str, values: pd.Series) -> pa.DataType | None:
    """What a column holds; None if nothing.

    Raises:
        InputError: Neither numbers nor bools nor texts.
    """
    if types.is_numeric_dtype(values.dtype) and not types.is_bool_dtype(values.dtype):
        if not types.is_complex_dtype(values.dtype):
            return pa.float64()
    else:
        match types.infer_dtype(values, skipna=True):
            case "empty":
                return None
            case "boolean":
                return pa.bool_()
            case "string":
                return pa.string()
            case "floating" | "integer" | "mixed-integer-float" | "decimal":
                return pa.float64()
    raise InputError(f"{name!r} holds {values.dtype}: a feature is a number, a bool or a text")


def _shown(value: pa.Scalar) -> str:
    found = value.as_py()
    return f"{found:.4g}" if isinstance(found, float) else str(found)


def _first_difference(values: pa.Array, whole: pa.Array) -> int | None:
    """The first place at which ``values`` is not what ``whole`` begins with."""
    whole = whole.slice(0, len(values))
    same = pc.equal(values, whole)
    if pa.types.is_floating(values.type):
        # What cancels out to nearly zero may do so in another way: it is small beside the others.
        usual = pc.approximate_median(pc.abs(whole))
        size = pc.max_element_wise(pc.abs(values), pc.abs(whole), usual)
        near = pc.less_equal(pc.abs(pc.subtract(values, whole)), pc.multiply(size, _TOLERANCE))
        same = pc.or_(same, near)
    both_null = pc.and_(pc.is_null(values), pc.is_null(whole))
    differs = np.flatnonzero(~pc.or_(same.fill_null(False), both_null).to_numpy(False))
    return int(differs[0]) if differs.size else None
