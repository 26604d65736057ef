"""What is wrong with stored bars, one function a property; and what a day of them is worth.

Pure functions over a pandas frame of a Bronze table, or over its counts. Whether a finding is an
error or a warning, and to which partition it belongs, is decided in ``checks``.
"""

import numpy as np
import pandas as pd
from pandera.errors import SchemaErrors

from ffe_lakehouse.schemas import PRICES, TableSchema
from ffe_lakehouse.settings import PriceRange


def schema_violations(schema: TableSchema, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Row numbers that break the table's Pandera schema.

    Args:
        schema: The table.
        rows: Its rows, with an index from 0.

    Returns:
        For ``rules``, ``nulls`` and ``unique``: the rows, ascending.
    """
    found: dict[str, set[int]] = {"rules": set(), "nulls": set(), "unique": set()}
    rules = {rule.description for rule in schema.rules}
    try:
        schema.pandera.validate(rows, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        for check, index in zip(cases["check"], cases["index"], strict=True):
            kind = "nulls" if check == "not_nullable" else "unique"
            found["rules" if check in rules else kind].add(int(index))
    return {kind: np.array(sorted(numbers), dtype=np.int64) for kind, numbers in found.items()}


def outside_price_range(bars: pd.DataFrame, limits: PriceRange) -> np.ndarray:
    """Boolean vector: bars with a price that is not in ``low < price < high``."""
    prices = bars[list(PRICES)].to_numpy()
    return np.asarray(((prices <= limits.low) | (prices >= limits.high)).any(axis=1))


def implausible_moves(bars: pd.DataFrame, most: float) -> np.ndarray:
    """Boolean vector: bars that span, or jump from the bar before them, more than ``most``.

    A span is ln(highest / lowest price of the bar), a jump ln(close / close of the bar before).

    Args:
        bars: Of one pair, by vendor, ascending in time. A vendor's first has no bar before it.
        most: Natural logarithm.
    """
    prices = bars[list(PRICES)].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        span = np.log(prices.max(axis=1) / prices.min(axis=1))
        close = np.log(bars["close"].to_numpy())
    jump = np.abs(np.diff(close, prepend=close[:1]))
    vendor = bars["source_provider"].to_numpy()
    jump[1:][vendor[1:] != vendor[:-1]] = 0.0
    broken: np.ndarray = (span > most) | (jump > most)
    return broken


def quality_score(*, expected: int, missing: int, judged: int, rejected: int) -> float:
    """What a day of bars is worth, from 0 to 1.

    The share of the expected bars that are there, times the share of the judged records that were
    not rejected. A share of nothing is 1: of a day on which the market is closed, all is there.

    Args:
        expected: Bars that the trading calendar expects.
        missing: Of these, how many are not there.
        judged: Records that the vendor delivered for the day.
        rejected: Of these, how many broke a rule.
    """
    there = 1 - missing / expected if expected else 1.0
    sound = 1 - rejected / judged if judged else 1.0
    return there * sound
