"""What the tests of the regimes and of the portfolio share: comparison, and runs in any order."""

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from ffe_lakehouse.gold import runner
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.lake import Where
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse_tests.gold_lake import DAY, GoldLake

Row = dict[str, Any]
Run = tuple[int, int, tuple[str, ...] | None]
"""First and last day, and the pairs; ``None`` is every pair."""

DAYS = 24
"""Days that the random lakes have."""


def day_of(number: int) -> Any:
    """The date so many days after day 0."""
    return DAY + timedelta(days=number)


def assert_same(found: Sequence[Row], expected: Sequence[Row], key: Sequence[str]) -> None:
    """Rows are the same by key, in any order: floats to 1e-9, all else exactly."""
    actual, wanted = (
        {tuple(row[name] for name in key): row for row in rows} for rows in (found, expected)
    )
    assert actual.keys() == wanted.keys()
    for where, row in wanted.items():
        wrong = {
            name: f"{actual[where][name]} is not {value}"
            for name, value in row.items()
            if not _same(actual[where][name], value)
        }
        assert not wrong, f"{where}: {wrong}"


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
    return type(found) is type(expected) and bool(found == expected)


def run(gold: GoldLake, mart: str, runs: Iterable[Run]) -> list[Row]:
    """What a mart has after these runs, one after the other."""
    for first, last, pairs in runs:
        gold.build(mart, last, first, pairs, write=False)
    return gold.read(mart)


@st.composite
def runs_in_any_order(draw: st.DrawFn, pairs: tuple[str, ...] = ()) -> list[Run]:
    """All days, cut into a few runs: in any order, of one pair or of all of them at once.

    Each loads nothing later than its own last day: a row that knew a later one would differ.
    """
    cuts = draw(st.sets(st.integers(1, DAYS - 1), min_size=1, max_size=2))
    begins, ends = [0, *sorted(cuts)], [*sorted(cuts), DAYS]
    runs: list[Run] = []
    for begin, end in zip(begins, ends, strict=True):
        one_by_one = bool(pairs) and draw(st.booleans())
        of: list[tuple[str, ...] | None] = [(pair,) for pair in pairs] if one_by_one else [None]
        runs += [(begin, end - 1, each) for each in of]
    return draw(st.permutations(runs))


def failing_tests(gold: GoldLake, mart: str, **damage: Any) -> set[str]:
    """Tests of dbt that fail once columns of the latest stored row say something else."""
    schema = marts()[mart]
    rows = gold.lake.read(schema.name).to_pylist()
    max(rows, key=lambda row: row["date"]).update(damage)
    gold.lake.merge_if_changed(schema, pa.Table.from_pylist(rows, schema.arrow), Where())
    last = max(row["date"] for row in rows)
    outcomes = runner.test(Scope(gold.lake, last), [mart], gold.dbt)
    names = [each.unique_id.split(".")[2] for each in outcomes if each.status != "pass"]
    return {name.removesuffix("_").removesuffix(f"_{mart}") for name in names}
