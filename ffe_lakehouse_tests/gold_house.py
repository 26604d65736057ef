"""An installation whose Silver a test writes, and whose marts Dagster's own runs compute."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from shutil import copytree
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult

from ffe_lakehouse.automation.jobs import MARTS, PORTFOLIO
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.cli.deriving import own_checks
from ffe_lakehouse.definitions import defs
from ffe_lakehouse.gold.runner import prepare
from ffe_lakehouse.gold.scope import Scope, given
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.marts import Days, pair_marts, portfolio_marts
from ffe_lakehouse.partitions import ASSET_PAIR, partition_key, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import dbt_project, marts
from ffe_lakehouse.schemas.records import RAW_PORTFOLIO_SNAPSHOTS
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.schemas.silver_records import DECISION_HISTORY, TRADE_LIFECYCLE
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold_lake import DAY, GoldLake, at

NOW = at(9.5)
"""Noon of day 9."""
FIRST_DAY = DAY - timedelta(5)
"""``FFE_START_DATE``: Dagster lays out every day since for each run."""
OF_PAIRS = [each.tables[0] for each in pair_marts()]
PERFORMANCE, REGIMES = (
    marts()[f"mart_{name}"] for name in ("trading_performance", "market_regime_stats")
)
(SUMMARY,) = portfolio_marts()


def day(number: int) -> date:
    """Day 0 of the tests, and those after it."""
    return DAY + timedelta(number)


@dataclass
class GoldHouse:
    """Silver by hand, Gold by runs.

    Attributes:
        home: What ``FFE_HOME`` is.
        instance: Dagster's memory.
        silver: Rows of Silver and Bronze.
    """

    home: Path
    instance: dg.DagsterInstance
    silver: GoldLake

    @cached_property
    def definitions(self) -> dg.Definitions:
        """The code location."""
        return defs()

    @property
    def lake(self) -> DeltaLakeManager:
        """The tables."""
        return self.silver.lake

    @property
    def now(self) -> datetime:
        """What its clock says."""
        return datetime.fromisoformat((self.home / "clock").read_text())

    def move(self, by: timedelta) -> None:
        """Put the clock forward."""
        (self.home / "clock").write_text((self.now + by).isoformat())

    def trade(self, number: float, net_pnl: float = 1.0, pair: str = "BTCUSD", **more: Any) -> None:
        """A trade that is settled on a day, in Silver and in Dagster's memory."""
        self.silver.trade(number, net_pnl, asset_pair=pair, **more)
        self.store(TRADE_LIFECYCLE, number, pair)

    def decision(self, number: float, pair: str = "BTCUSD", **more: Any) -> None:
        """A decision of one provider, likewise."""
        self.silver.decision(number, asset_pair=pair, **more)
        self.store(DECISION_HISTORY, number, pair)

    def bar(self, number: float, log_return: float, pair: str = "BTCUSD") -> None:
        """An upward trend of an hour, likewise."""
        self.silver.bar(number, "trend", 1, log_returns=log_return, asset_pair=pair)
        self.store(MARKET_DATA_ENRICHED, number, pair)

    def snapshot(self, number: float, **more: Any) -> None:
        """A portfolio without positions, likewise."""
        self.silver.snapshot(number, [], **more)
        self.store(RAW_PORTFOLIO_SNAPSHOTS, number, None)

    def store(self, table: TableSchema, number: float, pair: str | None) -> None:
        """Write what was gathered, and tell Dagster of a day of a table."""
        self.silver.write()
        tell(self.instance, table, int(number), pair)

    def box(self, first: int, last: int, *pairs: str) -> Box:
        """Days of pairs that are neighbours; of BTCUSD if none is named."""
        return Box(pairs or ("BTCUSD",), day(first), day(last), ())

    def run(
        self, what: Box | Days, tables: Sequence[TableSchema] = (), *, is_test: bool = False
    ) -> list[dg.DagsterEvent]:
        """Compute marts and test them, or test them alone; what happened."""
        of_pairs = isinstance(what, Box)
        job = self.definitions.resolve_job_def(MARTS if of_pairs else PORTFOLIO)
        keys = [table_key(table) for table in tables or (OF_PAIRS if of_pairs else [SUMMARY])]
        assets = [] if is_test else keys
        checks = own_checks(job, keys)
        return list(execute(self.instance, job, what, assets=assets, checks=checks))

    def rows(self, table: TableSchema) -> pa.Table:
        """A table as it is stored, in the order of its key."""
        return self.lake.read(table.name)

    def commits(self, table: TableSchema) -> list[dict[str, object]]:
        """What was committed to a table since it was made, newest first."""
        return self.lake.history(table.name)[:-1]


@contextmanager
def open_house(
    home: Path, basetemp: Path, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> Iterator[GoldHouse]:
    """A house whose clock stands at ``NOW``.

    Args:
        home: Its folder, which is there already.
        basetemp: Where dbt reads the project once for many houses.
        monkeypatch: Sets the environment.
        settings: Others than the defaults.
    """
    dbt = prepare(basetemp / "dbt")
    (home / "dbt").symlink_to(dbt.parent)
    (home / "clock").write_text(NOW.isoformat())
    given = {"home": home, "start_date": FIRST_DAY, "clock_file": home / "clock"} | settings
    for name, value in given.items():
        text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
        monkeypatch.setenv(f"FFE_{name.upper()}", text)
    get_settings.cache_clear()
    empty = basetemp / "dagster"
    if not empty.exists():
        # Its tables take 0.4 s to be made, an empty home none to be copied.
        monkeypatch.setenv("DAGSTER_HOME", str(empty))
        with open_instance(get_settings()) as instance:
            instance.get_dynamic_partitions(ASSET_PAIR)
    copytree(empty, home / "dagster")
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    lake = DeltaLakeManager(get_settings().lake_uri)
    with open_instance(get_settings()) as instance:
        yield GoldHouse(home, instance, GoldLake(lake, dbt))
    get_settings.cache_clear()


def typed(
    gold: GoldLake, *arguments: str, last: float, pairs: tuple[str, ...] | None = None
) -> dbtRunnerResult:
    """Run a command of dbt as it is typed, on the lake as it is up to day ``last``.

    Raises:
        RuntimeError: It did not get as far as the models.
    """
    project, folder = str(dbt_project()), str(gold.dbt)
    places = ("--project-dir", project, "--profiles-dir", project, "--target-path", folder)
    silent = ("--quiet", "--log-path", folder, "--log-level-file", "none")
    with given(Scope(gold.lake, at(last).date(), None, pairs)):
        result = dbtRunner().invoke([*arguments, *places, *silent])
    DuckDBConnectionManager.close_all_connections()
    if result.exception is not None:
        raise RuntimeError(str(result.exception)) from result.exception
    return result


def tell(
    instance: dg.DagsterInstance,
    table: TableSchema,
    number: int,
    pair: str | None = "BTCUSD",
    tags: dict[str, str] | None = None,
) -> int:
    """Tell Dagster that a day of a table was computed; the number of that event."""
    if pair is not None and pair not in instance.get_dynamic_partitions(ASSET_PAIR):
        instance.add_dynamic_partitions(ASSET_PAIR, [pair])
    key = day(number).isoformat() if pair is None else partition_key(pair, day(number))
    event = dg.AssetMaterialization(table_key(table), partition=key, tags=tags or {})
    instance.report_runless_asset_event(event)
    (record,) = instance.fetch_materializations(table_key(table), limit=1).records
    return record.storage_id


def materialized(events: Iterable[dg.DagsterEvent]) -> list[dg.AssetMaterialization]:
    """What a run has materialized."""
    return [
        each.step_materialization_data.materialization
        for each in events
        if each.is_step_materialization
    ]


def evaluations(events: Iterable[dg.DagsterEvent]) -> list[dg.AssetCheckEvaluation]:
    """What became of the checks of a run."""
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    return [each.asset_check_evaluation_data for each in events if each.event_type is kind]


def failures(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """Why steps of a run failed, in their own words if they have any."""
    found = []
    for each in events:
        if each.is_step_failure:
            said = each.step_failure_data.user_failure_data
            found.append(str(said.description if said else each.step_failure_data.error))
    return found
