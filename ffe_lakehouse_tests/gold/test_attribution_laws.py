"""Laws of both marts of attribution, over histories that nobody would have thought of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffe_lakehouse.gold import runner
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse_tests.gold.attribution_oracle import Oracle, differences
from ffe_lakehouse_tests.gold.attribution_records import DAYS, PAIRS, History, histories
from ffe_lakehouse_tests.gold_lake import GoldLake, at

PERFORMANCE = "mart_trading_performance"
PROVIDERS, MODES = "mart_provider_attribution", "mart_ensemble_effectiveness"
LAST = DAYS + 2
"""Two days more than a history has."""
KEYS = {
    PROVIDERS: ("asset_pair", "provider", "date"),
    MODES: ("asset_pair", "decision_mode", "date"),
}
pytestmark = pytest.mark.slow
few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
fewer = settings(few, max_examples=4)


@contextmanager
def lake(gold: GoldLake, history: History) -> Iterator[GoldLake]:
    """A lake of its own: that of the fixture is the same for all examples."""
    with TemporaryDirectory() as folder:
        yield history.lake(Path(folder), gold.dbt)


def compute(gold: GoldLake, *marts: str, **scope: Any) -> None:
    outcomes = gold.outcomes(marts, write=False, **scope)
    wrong = [each for each in outcomes if each.status not in ("success", "pass")]
    assert not wrong, "\n".join(f"{each.unique_id}: {each.message}" for each in wrong)


def rows(gold: GoldLake, mart: str) -> list[dict[str, Any]]:
    """All rows; of equal bits if they are equal: none of their numbers is NaN or -0."""
    return sorted(gold.read(mart), key=lambda row: [row[name] for name in KEYS[mart]])


@few
@given(histories())
def test_every_row_is_what_plain_python_makes_of_the_records(
    gold: GoldLake, history: History
) -> None:
    with lake(gold, history) as made:
        compute(made, *KEYS, last=LAST)
        oracle = Oracle(made.rows, at(LAST).date())
        assert differences(made.read(PROVIDERS), oracle.providers(), *KEYS[PROVIDERS]) == []
        assert differences(made.read(MODES), oracle.modes(), *KEYS[MODES]) == []


@fewer
@given(histories())
def test_over_the_providers_and_over_the_modes_the_net_pnl_is_that_of_the_pair(
    gold: GoldLake, history: History
) -> None:
    with lake(gold, history) as made:
        compute(made, PERFORMANCE, *KEYS, last=LAST)
        for row in made.read(PERFORMANCE):
            for mart, column in ((PROVIDERS, "attributed_net_pnl"), (MODES, "net_pnl")):
                of_day = [
                    each
                    for each in made.read(mart)
                    if (each["asset_pair"], each["date"]) == (row["asset_pair"], row["date"])
                ]
                assert sum(each[column] for each in of_day) == pytest.approx(
                    row["net_pnl"], rel=1e-9, abs=1e-6
                )
                assert {each["is_mock"] for each in of_day} <= {row["is_mock"]}


@fewer
@given(histories(), st.permutations([(pair, day) for pair in PAIRS for day in (0, 4)]))
def test_the_order_in_which_partitions_are_computed_changes_no_bit(
    gold: GoldLake, history: History, turns: list[tuple[str, int]]
) -> None:
    lasts = {0: 3, 4: LAST}
    with lake(gold, history) as whole, lake(gold, history) as parts:
        compute(whole, *KEYS, last=LAST)
        for pair, first in turns:
            compute(parts, *KEYS, first=first, last=lasts[first], pairs=(pair,))
        for mart in KEYS:
            assert repr(rows(parts, mart)) == repr(rows(whole, mart))


@fewer
@given(histories(), st.integers(0, DAYS - 1))
def test_what_comes_later_changes_no_row_of_before(
    gold: GoldLake, history: History, day: int
) -> None:
    with lake(gold, history.known_by(day)) as then, lake(gold, history) as now:
        compute(then, *KEYS, last=day)
        compute(now, *KEYS, last=LAST)
        for mart in KEYS:
            known = [row for row in rows(now, mart) if row["date"] <= at(day).date()]
            assert repr(known) == repr(rows(then, mart))


@fewer
@given(histories())
def test_the_laws_hold_for_the_days_that_are_stored_where_others_are_not(
    gold: GoldLake, history: History
) -> None:
    with lake(gold, history) as made:
        compute(made, *KEYS, first=2, last=3)
        compute(made, *KEYS, first=6, last=LAST)
        outcomes = runner.test(Scope(made.lake, at(LAST).date()), KEYS, made.dbt)
        assert {each.status for each in outcomes} == {"pass"}
