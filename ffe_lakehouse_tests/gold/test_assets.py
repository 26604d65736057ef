"""A run of the marts in Dagster: what it stores, what it reports, and how it fails."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from ffe_lakehouse.assets import gold as gold_asset
from ffe_lakehouse.automation.jobs import PORTFOLIO
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.cli.app import app
from ffe_lakehouse.derivation import data_version, newest_read, seen_by
from ffe_lakehouse.gold import runner
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.marts import Days, pair_marts, stale_portfolio
from ffe_lakehouse.partitions import days_between, key_texts, split_key, table_key
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.silver_records import TRADE_LIFECYCLE
from ffe_lakehouse.standing_checks import LEFT_FAILED
from ffe_lakehouse.watermarks import State, failed_partitions, partition_states
from ffe_lakehouse_tests.gold_house import (
    OF_PAIRS,
    PERFORMANCE,
    REGIMES,
    SUMMARY,
    GoldHouse,
    day,
    evaluations,
    failures,
    materialized,
    open_house,
    tell,
)

BOTH = ("BTCUSD", "ETHUSD")
TOO_MUCH = 1e25
"""More than money is summed up to: `exact_sum` raises."""


@pytest.fixture
def house(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GoldHouse]:
    with open_house(tmp_path, tmp_path_factory.getbasetemp(), monkeypatch) as house:
        yield house


def stored(house: GoldHouse, mart: TableSchema) -> set[tuple[str, date]]:
    """Pairs and days that a mart holds rows of."""
    if not house.lake.table_exists(mart.name):
        return set()
    rows = house.rows(mart).to_pylist()
    return {(row.get("asset_pair", ""), row["date"]) for row in rows}


def states(house: GoldHouse, mart: TableSchema, pair: str, first: int, last: int) -> set[State]:
    days = (day(first), day(last))
    return {*partition_states(house.instance, table_key(mart), [pair], *days, house.now).values()}


def not_passed(events: list[dg.DagsterEvent]) -> list[dg.AssetCheckEvaluation]:
    return [each for each in evaluations(events) if not each.passed]


def test_a_run_materializes_and_stores_exactly_its_pairs_and_days(house: GoldHouse) -> None:
    house.trade(0)
    house.trade(1.5)
    house.trade(2.5, -3.0, "ETHUSD")
    house.bar(1, 0.01)
    house.decision(3)
    events = house.run(house.box(1, 4, *BOTH))
    assert not failures(events)

    reported = materialized(events)
    places = [("BTCUSD", day(n)) for n in (1, 2, 3, 4)] + [("ETHUSD", day(n)) for n in (2, 3, 4)]
    expected = {
        (table_key(mart), f"{pair}|{of_day}") for mart in OF_PAIRS for pair, of_day in places
    }
    # ETHUSD has nothing before day 2: to be computed, or to be stored.
    assert {(each.asset_key, str(each.partition)) for each in reported} == expected
    assert len(reported) == len(expected)
    for mart in OF_PAIRS:
        assert stored(house, mart) <= {*places}
    assert stored(house, PERFORMANCE) == {*places}

    newest = newest_read(house.instance, pair_marts()[0], BOTH, day(1), day(4)).ravel()
    seen = dict(zip(key_texts(BOTH, days_between(day(1), day(4))), newest.tolist(), strict=True))
    rows = {mart.name: house.rows(mart).to_pylist() for mart in OF_PAIRS}
    for each in reported:
        assert each.tags["dagster/data_version"] == data_version(seen[str(each.partition)])
        pair, of_day = split_key(str(each.partition))
        of_mart = rows[each.asset_key.to_user_string()]
        count = sum((row["asset_pair"], row["date"]) == (pair, of_day) for row in of_mart)
        assert each.metadata["dagster/partition_row_count"].value == count
    assert sum(map(len, rows.values())) > len(rows[PERFORMANCE.name])

    (run,) = house.instance.get_runs()
    for mart in OF_PAIRS:
        (commit,) = house.commits(mart)
        assert commit["dagster/run_id"] == run.run_id
        assert commit["dagster/partitions"] == "BTCUSD,ETHUSD|2024-01-02...2024-01-05"

    # The tests of dbt are checks of the run: of what it has computed, not of what was there before.
    graph = house.definitions.resolve_asset_graph()
    own = {key for mart in OF_PAIRS for key in graph.get(table_key(mart)).check_keys}
    assert {each.asset_check_key for each in evaluations(events)} == {
        key for key in own if key.name != LEFT_FAILED
    }
    assert all(graph.get(key).description for key in own)
    for check in evaluations(events):
        assert check.passed
        assert check.metadata["count"].value == 0
        assert check.target_materialization_data is not None
        assert check.target_materialization_data.run_id == run.run_id


def test_what_has_not_changed_is_reported_and_not_committed(house: GoldHouse) -> None:
    house.trade(0)
    house.run(house.box(0, 2), [PERFORMANCE])
    later = tell(house.instance, TRADE_LIFECYCLE, 2)
    events = house.run(house.box(1, 2), [PERFORMANCE])
    versions = [each.tags["dagster/data_version"] for each in materialized(events)]
    assert [seen_by(version) == later for version in versions] == [False, True]
    assert len(house.commits(PERFORMANCE)) == 1


def test_a_law_that_is_broken_is_a_failed_check_and_the_partitions_stay(house: GoldHouse) -> None:
    house.trade(0)
    house.trade(1, 3.0, gross_pnl=10.0, fees=1.0)
    events = house.run(house.box(0, 2), [PERFORMANCE])
    assert not failures(events)
    (broken,) = not_passed(events)
    assert broken.check_name == "net_pnl_is_gross_pnl_less_fees"
    assert broken.severity is dg.AssetCheckSeverity.ERROR
    assert broken.metadata["count"].value == 1
    header, _, row = str(broken.metadata["sample"].value).splitlines()
    assert dict(zip(header.split(" | "), row.split(" | "), strict=True))["day_gross_pnl"] == "10.0"
    assert "| BTCUSD | 2024-01-02 |" in row
    assert len(materialized(events)) == 3
    (run,) = house.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.SUCCESS


def test_checks_alone_look_at_what_is_stored_and_compute_nothing(house: GoldHouse) -> None:
    for number in range(5):
        house.trade(number)
    house.run(house.box(2, 4), [PERFORMANCE])
    # Days before the first that was computed are not missing.
    events = house.run(house.box(2, 4), [PERFORMANCE], is_test=True)
    assert not failures(events)
    assert not not_passed(events)
    assert not materialized(events)

    house.lake.table(PERFORMANCE.name).update(
        {"trades": "trades + 1"}, predicate="date = DATE '2024-01-04'"
    )
    commits = len(house.commits(PERFORMANCE))
    events = house.run(house.box(2, 4), [PERFORMANCE], is_test=True)
    assert not failures(events)
    # A test that also reads a source, and its sample with it.
    (broken,) = not_passed(events)
    assert broken.check_name == "every_trade_counts_once"
    assert "| BTCUSD |" in str(broken.metadata["sample"].value)
    assert len(house.commits(PERFORMANCE)) == commits


def test_a_mart_that_fails_for_a_pair_fails_alone_and_says_why(house: GoldHouse) -> None:
    for pair in BOTH:
        house.trade(0, pair=pair)
        house.bar(0, 1e20 if pair == "ETHUSD" else 0.01, pair)
    events = house.run(house.box(0, 1, *BOTH), [PERFORMANCE, REGIMES])
    (reason,) = failures(events)
    assert reason.startswith("ETHUSD mart_market_regime_stats: Runtime Error in model")
    assert "Could not cast value" in reason
    for pair, mart in [("BTCUSD", PERFORMANCE), ("BTCUSD", REGIMES), ("ETHUSD", PERFORMANCE)]:
        assert State.FAILED not in states(house, mart, pair, 0, 1)
        assert {(pair, day(0)), (pair, day(1))} <= stored(house, mart)
    assert states(house, REGIMES, "ETHUSD", 0, 1) == {State.FAILED}
    # The tests of what was computed have run, too.
    assert {each.asset_key for each in evaluations(events)} == {
        *map(table_key, (PERFORMANCE, REGIMES))
    }
    assert not not_passed(events)


def test_a_source_that_cannot_be_read_fails_the_partitions_and_is_named(house: GoldHouse) -> None:
    house.trade(0)
    (file,) = Path(house.lake.table_uri("silver/trade_lifecycle")).rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    (reason,) = failures(house.run(house.box(0, 1), [PERFORMANCE]))
    assert reason.startswith("BTCUSD mart_trading_performance: ")
    assert "cannot read silver/trade_lifecycle" in reason
    assert states(house, PERFORMANCE, "BTCUSD", 0, 1) == {State.FAILED}
    assert not house.lake.table_exists(PERFORMANCE.name)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is put in here happens in the middle of a run, after the marts are stored."""
    happens: list[Any] = []
    build = runner.build

    def busy(scope: Scope, *arguments: Any) -> list[runner.Outcome]:
        outcomes = build(scope, *arguments)
        while happens:
            happens.pop()()
        return outcomes

    monkeypatch.setattr(gold_asset.runner, "build", busy)
    return happens


def test_what_changes_while_it_is_computed_is_stale_again(
    house: GoldHouse, meanwhile: list[Any]
) -> None:
    house.trade(0)
    # A trade comes in, and another run computes day 1.
    meanwhile += [lambda: house.trade(3), lambda: tell(house.instance, PERFORMANCE, 1)]
    events = house.run(house.box(0, 4), [PERFORMANCE])
    newest = newest_read(house.instance, pair_marts()[0], ["BTCUSD"], day(0), day(4))[0]
    seen = [seen_by(each.tags["dagster/data_version"]) for each in materialized(events)]
    behind = [a < b for a, b in zip(seen, newest.tolist(), strict=True)]
    # Of day 1 nobody knows whose rows were written last.
    assert behind == [False, True, False, True, True]
    assert seen[1] == 0


def test_days_in_any_order_come_to_the_same_as_all_at_once(house: GoldHouse) -> None:
    for number in range(8):
        for pair, sign in zip(BOTH, (1, -1), strict=True):
            net_pnl = sign * (-1.1) ** number
            costs = {"gross_pnl": net_pnl + 0.1, "fees": 0.1}
            house.silver.trade(number + 0.3, net_pnl, asset_pair=pair, **costs)
            house.silver.bar(number, ("trend", "range")[number % 2], sign, asset_pair=pair)
    for pair in BOTH:
        house.store(TRADE_LIFECYCLE, 0, pair)
    some = [PERFORMANCE, REGIMES]
    for box in (
        house.box(4, 6, *BOTH),
        house.box(0, 3, "ETHUSD"),
        house.box(7, 9, *BOTH),
        house.box(0, 3, "BTCUSD"),
    ):
        assert not failures(house.run(box, some))
    in_parts = {mart.name: house.rows(mart) for mart in some}
    # As `dbt build` alone does it: of all pairs, from the first day to today.
    names = [mart.name.rpartition("/")[2] for mart in some]
    outcomes = runner.build(Scope(house.lake, day(9)), names, house.silver.dbt)
    assert {each.status for each in outcomes} == {"success", "pass"}
    for mart in some:
        assert house.rows(mart).equals(in_parts[mart.name])
        assert in_parts[mart.name].num_rows >= 20
        # There was nothing to write: not even the last bit differs.
        assert len(house.commits(mart)) == 4


def test_a_run_of_the_portfolio_materializes_and_stores_exactly_its_days(house: GoldHouse) -> None:
    house.snapshot(1)
    house.trade(2, 5.0, "ETHUSD")
    assert stale_portfolio(house.instance, day(0), day(3), house.now) == [Days(day(1), day(3))]
    events = house.run(Days(day(0), day(3)))
    assert not failures(events)
    assert not not_passed(events)
    days = ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert [each.partition for each in materialized(events)] == days
    assert [row["realized_pnl"] for row in house.rows(SUMMARY).to_pylist()] == [0, 5, 5]
    (commit,) = house.commits(SUMMARY)
    assert commit["dagster/partitions"] == "|2024-01-01...2024-01-04"
    assert stale_portfolio(house.instance, day(0), day(3), house.now) == []


def test_a_portfolio_that_failed_is_told_by_the_standing_check_and_the_doctor(
    house: GoldHouse,
) -> None:
    house.trade(0, TOO_MUCH)
    (reason,) = failures(house.run(Days(day(0), day(2))))
    assert reason.startswith("mart_daily_portfolio_summary: Runtime Error in model")
    failed = failed_partitions(house.instance, table_key(SUMMARY), house.now)
    assert list(failed) == ["2024-01-01", "2024-01-02", "2024-01-03"]
    key = dg.AssetCheckKey(table_key(SUMMARY), LEFT_FAILED)
    job = house.definitions.resolve_job_def(PORTFOLIO)
    (evaluation,) = evaluations(execute(house.instance, job, Days(day(0), day(2)), checks=[key]))
    assert not evaluation.passed
    assert evaluation.metadata["count"].value == 3
    assert evaluation.metadata["sample"].value == "- 2024-01-01..2024-01-03"
    told = CliRunner().invoke(app, ["doctor"])
    assert told.exit_code == 0, told.output
