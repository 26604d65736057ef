"""A desk's marts, computed once, and lakes for single cases."""

from datetime import date, datetime
from pathlib import Path

import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.report.excerpts import Excerpts, Period, chosen_pairs, read
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold.conftest import dbt_folder, gold
from ffe_lakehouse_tests.gold_lake import GoldLake, at
from ffe_lakehouse_tests.report.desk import SKILLS, Desk

__all__ = ["dbt_folder", "gold"]

DAYS = 40
TURNS_REAL = 20
"""Day on which the real records of XRPUSD begin."""
HOSTILE = "<script>alert('x')</script><b>%{y}`"
"""A provider of this name is in the engine's files."""


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, dbt_folder: Path) -> DeltaLakeManager:
    """40 days of four pairs: BTCUSD and EURGBP are real, SOLUSD is not, XRPUSD turns real."""
    home = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FFE_HOME", str(home))
        patch.setenv("FFE_START_DATE", "2023-01-01")
        get_settings.cache_clear()
        filled = GoldLake(DeltaLakeManager(home / "lake"), dbt_folder)
        records = Desk(
            filled,
            DAYS,
            providers=SKILLS | {HOSTILE: 0.5},
            simulated_until={"SOLUSD": DAYS, "XRPUSD": TURNS_REAL},
        )
        for seed, (pair, price) in enumerate(
            [("BTCUSD", 42_000.0), ("EURGBP", 0.86), ("SOLUSD", 95.0), ("XRPUSD", 0.6)]
        ):
            records.trade(pair, price, seed)
        records.report()
        compute(filled, last=DAYS - 1)
    get_settings.cache_clear()
    return filled.lake


def compute(lake: GoldLake, *models: str, last: float, first: float | None = None) -> None:
    """These marts, or all of them, which must go well."""
    outcomes = lake.outcomes(models or marts(), last, first)
    wrong = [each for each in outcomes if each.status not in ("success", "pass")]
    assert not wrong, wrong


def day(number: int) -> date:
    """Day ``number`` of the tests."""
    return at(number).date()


def stamp(number: int) -> datetime:
    """Its midnight, as in a frame."""
    return at(number).replace(tzinfo=None)


def excerpts(lake: DeltaLakeManager, first: int, last: int, *pairs: str) -> Excerpts:
    """What a report of days ``first`` to ``last`` shows; of all pairs, if none is named."""
    return read(lake, chosen_pairs(lake, pairs or None), Period(day(first), day(last)))
