"""A lost memory, reconstructed from the lake: as it was, or less, and never more."""

import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta

import dagster as dg
import pytest

from ffe_lakehouse.backfill import execute
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import Where
from ffe_lakehouse.partitions import ASSET_PAIR, day_start, partition_key, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.rebuild import Rebuilt, forgotten, rebuild
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.universe import Enrolment, enrolments
from ffe_lakehouse.watermarks import (
    State,
    Watermark,
    latest_materializations,
    metadata_of,
    watermarks,
)
from ffe_lakehouse_tests.automation.conftest import FRIDAY, Lakehouse, Open, installation
from ffe_lakehouse_tests.builders import bars

__all__ = ["installation"]  # a fixture

DAY = timedelta(days=1)
TODAY = FRIDAY.date()
PAIRS = ("AAPL", "BTCUSD", "EURUSD")
HOUR = TIMEFRAMES["1h"]
HOURS = table_key(raw_candles(HOUR))


def marks(home: Lakehouse) -> dict[str, list[Watermark]]:
    """How far everything is loaded."""
    return {
        code: watermarks(home.instance, table_key(raw_candles(tf)), PAIRS, home.now)
        for code, tf in TIMEFRAMES.items()
    }


def lose(home: Lakehouse) -> None:
    """Delete Dagster's home; the instance after that knows nothing."""
    home.instance.dispose()
    shutil.rmtree(home.folder / "dagster")
    home.instance = open_instance(get_settings())
    assert not home.instance.get_dynamic_partitions(ASSET_PAIR)


def restore(home: Lakehouse) -> Rebuilt:
    return rebuild(home.instance, home.lake, home.now)


def load(home: Lakehouse, pair: str, first: date, last: date, *codes: str) -> None:
    """One run over some days, as ``ffe backfill`` makes it."""
    home.instance.add_dynamic_partitions(ASSET_PAIR, [pair])
    timeframes = tuple(TIMEFRAMES[code] for code in codes or ("1h",))
    box = Box((pair,), first, last, timeframes)
    keys = [table_key(table(tf)) for tf in timeframes for table in (dead_letters, raw_candles)]
    job = home.definitions.resolve_job_def("ingestion")
    for _ in execute(home.instance, job, box, assets=keys, op_config={"provider": "simulated"}):
        pass


@pytest.fixture
def home(installation: Open) -> Iterator[Lakehouse]:
    opened = installation()
    yield opened
    opened.instance.dispose()


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([FRIDAY], id="one load on a Friday"),
        pytest.param([FRIDAY, FRIDAY + 2 * DAY], id="on a Sunday"),
        pytest.param(
            [FRIDAY + n * timedelta(hours=7) for n in range(11)], id="up to a Monday morning"
        ),
    ],
)
def test_what_was_kept_loaded_is_known_again_and_nothing_is_due(
    home: Lakehouse, moments: list[datetime]
) -> None:
    home.add(*PAIRS, provider="simulated")
    for moment in moments:
        home.move(moment)
        home.tick()
    before = marks(home)
    assert home.due() == []
    lose(home)
    rebuilt = restore(home)
    assert rebuilt.pairs == list(PAIRS)
    assert not rebuilt.skipped
    assert sum(each.untold for each in rebuilt.timeframes) == 0
    assert marks(home) == before
    assert home.due() == []


def test_a_second_rebuilding_reports_nothing(home: Lakehouse) -> None:
    home.add(*PAIRS)
    home.tick()
    lose(home)
    assert forgotten(home.instance, home.lake)
    assert any(each.bars for each in restore(home).timeframes)
    assert forgotten(home.instance, home.lake) == {}
    again = restore(home)
    assert not again.pairs
    assert all(each.bars == each.letters == 0 < each.known for each in again.timeframes)


def test_what_dagster_knows_is_not_touched(home: Lakehouse) -> None:
    home.add("BTCUSD")
    home.tick()
    before = home.loads()
    restore(home)
    assert home.loads() == before
    lose(home)
    key = partition_key("BTCUSD", TODAY - DAY)
    home.instance.report_runless_asset_event(dg.AssetMaterialization(HOURS, partition=key))
    restore(home)
    assert home.loads()["1h", str(key)] == 1


def test_an_enrolment_goes_on_from_the_first_day_that_has_everything(home: Lakehouse) -> None:
    home.add("BTCUSD", start=date(2024, 2, 20), provider="simulated")
    home.tick()
    load(home, "BTCUSD", date(2024, 1, 1), date(2024, 1, 31), "1d")
    load(home, "BTCUSD", date(2024, 2, 1), date(2024, 2, 2), *TIMEFRAMES)
    load(home, "ETHUSD", date(2024, 3, 1), date(2024, 3, 2))
    lose(home)
    restore(home)
    assert enrolments(home.instance) == {
        "BTCUSD": Enrolment("simulated", date(2024, 2, 20)),
        "ETHUSD": Enrolment("simulated", None),
    }


def test_counts_and_reach_are_those_of_the_lake_and_the_checks_pass(
    home: Lakehouse,
) -> None:
    home.add("BTCUSD")
    home.tick()
    key = partition_key("BTCUSD", TODAY)
    before = told(home, key)
    lose(home)
    restore(home)
    after = told(home, key)
    assert after.pop("rebuilt") is True
    assert after.items() <= before.items()
    assert {"rows_fetched", "last_timestamp", "asked_until", "quality_score"} <= after.keys()
    box = Box(("BTCUSD",), TODAY - 7 * DAY, TODAY, (HOUR,))
    graph = home.definitions.resolve_asset_graph()
    checks = [check for check in graph.asset_check_keys if check.asset_key == HOURS]
    job = home.definitions.resolve_job_def("checking")
    results = [
        event.asset_check_evaluation_data
        for event in execute(home.instance, job, box, checks=checks)
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert len(results) >= 8 * 8
    assert [result for result in results if not result.passed] == []


def told(home: Lakehouse, key: str) -> dict[str, object]:
    record = latest_materializations(home.instance, HOURS, [key])[key]
    return {name: value.value for name, value in metadata_of(record).items()}


def test_what_is_no_pair_is_skipped_and_said(home: Lakehouse) -> None:
    home.add("BTCUSD")
    home.tick()
    where = Where(("btc-usd",), day_start(TODAY), day_start(TODAY + DAY))
    home.lake.append_if_changed(raw_candles(HOUR), bars("btc-usd", day_start(TODAY), 2), where)
    lose(home)
    rebuilt = restore(home)
    assert rebuilt.pairs == ["BTCUSD"]
    assert rebuilt.skipped == {"btc-usd": "it is another spelling of BTCUSD"}
    assert forgotten(home.instance, home.lake) == {}


def test_a_day_whose_records_were_refused_is_told_of_its_letters_alone(
    home: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = TODAY - 3 * DAY
    load(home, "BTCUSD", day - DAY, day - DAY)
    monkeypatch.setenv("FFE_SIMULATED_FAULTS", '{"bad_rows": 0.5}')
    get_settings.cache_clear()
    load(home, "BTCUSD", day, day)
    lose(home)
    restore(home)
    assert home.states("BTCUSD", "1h", day - DAY, day) == [State.COMPLETE, State.MISSING]
    key = partition_key("BTCUSD", day)
    letters = table_key(dead_letters(HOUR))
    record = latest_materializations(home.instance, letters, [key])[key]
    assert int(str(metadata_of(record)["rows_rejected"].value)) > 0
