"""The table of gaps and the quality score, under real Dagster runs, on real Delta tables."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.assets.metadata import day_metadata
from ffe_lakehouse.assets.quality import quality_assets
from ffe_lakehouse.ingestion import Ingestion
from ffe_lakehouse.inventory import commits
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import PairDays, partition_key, split_key, table_key
from ffe_lakehouse.schemas import CANDLE_GAPS, GAP_CLASSES, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import Scripted, raw

PAIRS = ["BTCUSD", "ETHUSD", "EURUSD", "AAPL"]
HOUR = table_key(raw_candles(TIMEFRAMES["1h"]))
GAPS = table_key(CANDLE_GAPS)
FRIDAY, SATURDAY, SUNDAY, MONDAY = (date(2024, 1, day) for day in (5, 6, 7, 8))
OF_A_DAY = sum(timeframe.bars_per_day for timeframe in TIMEFRAMES.values())


class Desk:
    """A Dagster instance, a lake, Bronze and its gaps, and a clock that a test sets."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        """An empty lake, where the settings say."""
        self.now = datetime(2024, 6, 1, tzinfo=UTC)
        self.instance = instance
        self.io = DeltaIOManager(storage_path=get_settings().lake_uri)
        instance.add_dynamic_partitions("asset_pair", PAIRS)

    def load(self, first: str, last: str, days: tuple[date, date], *codes: str) -> None:
        """Load Bronze of pairs and days, in some timeframes or all."""
        keys = {table_key(raw_candles(TIMEFRAMES[code])) for code in codes or TIMEFRAMES}
        assets = [asset for asset in bronze_assets(lambda: self.now) if keys & asset.keys]
        self._run(assets, (first, last), days)

    def find(self, first: str, last: str, days: tuple[date, date], **tags: str) -> bool:
        """Materialize the gaps of pairs and days; whether that succeeded."""
        return self._run(quality_assets(clock=lambda: self.now), (first, last), days, tags)

    def _run(
        self,
        assets: list[dg.AssetsDefinition],
        pairs: tuple[str, str],
        days: tuple[date, date],
        tags: dict[str, str] | None = None,
    ) -> bool:
        first, last = (partition_key(pairs[n], days[n]) for n in (0, 1))
        ends = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        result = dg.materialize(
            assets,
            instance=self.instance,
            resources={"io_manager": self.io},
            tags={**ends, **(tags or {})},
            raise_on_error=False,
        )
        return result.success

    def told(self, key: dg.AssetKey = GAPS) -> dict[tuple[str, date], dict[str, Any]]:
        """The newest metadata of every materialized partition."""
        newest = {}
        for record in reversed(self.instance.fetch_materializations(key, limit=1000).records):
            assert record.asset_materialization is not None
            metadata = record.asset_materialization.metadata
            values = {name: each.value for name, each in metadata.items()}
            newest[split_key(str(record.partition_key))] = values
        return newest

    def rows(self) -> list[dict[str, Any]]:
        """Everything in the table."""
        rows: list[dict[str, Any]] = self.io.lake.read(CANDLE_GAPS.name).to_pylist()
        return rows


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("FFE_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(instance)
    get_settings.cache_clear()


def setting(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"FFE_{name}", value)
    get_settings.cache_clear()


def test_without_any_bronze_table_every_open_hour_is_a_gap(desk: Desk) -> None:
    assert desk.find("BTCUSD", "AAPL", (FRIDAY, MONDAY))
    told = desk.told()
    assert set(told) == {
        (pair, day) for pair in PAIRS for day in (FRIDAY, SATURDAY, SUNDAY, MONDAY)
    }
    for metadata in told.values():
        expected, closed = metadata["bars_expected"], metadata["bars_market_closed"]
        assert metadata["bars_not_fetched"] == expected
        assert expected + closed == OF_A_DAY
    assert told["BTCUSD", SATURDAY]["bars_expected"] == OF_A_DAY
    assert told["EURUSD", SATURDAY]["bars_expected"] == 0
    assert told["AAPL", FRIDAY]["bars_expected"] == 390 + 78 + 26 + 7 + 3 + 1


def test_the_rows_of_a_partition_are_what_its_metadata_counts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(monkeypatch, SIMULATED_FAULTS__GAPS="0.05")
    desk.load("BTCUSD", "EURUSD", (FRIDAY, SATURDAY), "15m", "1h")
    assert desk.find("BTCUSD", "EURUSD", (FRIDAY, SATURDAY))
    rows = desk.rows()
    assert len({(row["asset_pair"], row["timeframe"], row["first"]) for row in rows}) == len(rows)
    for (pair, day), metadata in desk.told().items():
        mine = [r for r in rows if (r["partition_asset_pair"], r["partition_date"]) == (pair, day)]
        assert metadata["dagster/partition_row_count"] == len(mine)
        for name in GAP_CLASSES:
            of_class = [row for row in mine if row["class"] == name]
            assert metadata[f"gaps_{name}"] == len(of_class)
            assert metadata[f"bars_{name}"] == sum(row["bars"] for row in of_class)
    hours = [r for r in rows if r["timeframe"] == "1h" and r["asset_pair"] == "BTCUSD"]
    stored = desk.io.lake.read("/".join(HOUR.path)).to_pylist()
    there = sum(row["asset_pair"] == "BTCUSD" for row in stored)
    assert there + sum(row["bars"] for row in hours) == 48


def test_a_gap_that_was_asked_for_again_becomes_the_vendors(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(monkeypatch, SIMULATED_FAULTS__GAPS="0.05")
    for found in ("not_fetched", "vendor_has_none"):
        desk.load("BTCUSD", "BTCUSD", (FRIDAY, FRIDAY), "15m")
        assert desk.find("BTCUSD", "BTCUSD", (FRIDAY, FRIDAY))
        assert {row["class"] for row in desk.rows() if row["timeframe"] == "15m"} == {found}


def test_a_day_without_a_gap_is_materialized_without_a_row(desk: Desk) -> None:
    assert desk.find("BTCUSD", "BTCUSD", (FRIDAY, FRIDAY))
    assert len(desk.rows()) == len(TIMEFRAMES)
    desk.load("BTCUSD", "BTCUSD", (FRIDAY, FRIDAY))
    assert desk.find("BTCUSD", "BTCUSD", (FRIDAY, FRIDAY))
    assert desk.rows() == []
    told = desk.told()["BTCUSD", FRIDAY]
    assert (told["bars_expected"], told["dagster/partition_row_count"]) == (OF_A_DAY, 0)


def test_a_run_replaces_the_rows_of_its_partitions_and_no_others(desk: Desk) -> None:
    assert desk.find("BTCUSD", "EURUSD", (FRIDAY, SUNDAY))
    before = Counter((row["asset_pair"], row["partition_date"]) for row in desk.rows())
    first, desk.now = desk.now, desk.now + timedelta(1)
    assert desk.find("BTCUSD", "ETHUSD", (SATURDAY, SATURDAY))
    rows = desk.rows()
    assert Counter((row["asset_pair"], row["partition_date"]) for row in rows) == before
    for row in rows:
        again = row["asset_pair"] != "EURUSD" and row["partition_date"] == SATURDAY
        assert row["found_at"] == (desk.now if again else first)
    (newest, *_) = commits(desk.io.lake, CANDLE_GAPS.name)
    assert newest.partitions == "BTCUSD,ETHUSD|2024-01-06...2024-01-06"


def test_every_partition_is_told_once_also_of_a_range_that_a_page_of_the_ui_launches(
    desk: Desk,
) -> None:
    # Such a run also carries the tags of a single partition, at which Dagster looks first.
    tags = {"dagster/partition/asset_pair": "BTCUSD", "dagster/partition/date": str(FRIDAY)}
    assert desk.find("BTCUSD", "ETHUSD", (FRIDAY, SATURDAY), **tags)
    records = desk.instance.fetch_materializations(GAPS, limit=10).records
    assert sorted(str(record.partition_key) for record in records) == [
        "BTCUSD|2024-01-05", "BTCUSD|2024-01-06", "ETHUSD|2024-01-05", "ETHUSD|2024-01-06"
    ]  # fmt: skip


def test_the_data_version_stays_the_same_while_the_gaps_do(desk: Desk) -> None:
    def versions() -> list[str]:
        assert desk.find("BTCUSD", "BTCUSD", (FRIDAY, FRIDAY))
        (record,) = desk.instance.fetch_materializations(GAPS, limit=1).records
        assert record.asset_materialization is not None
        return [(record.asset_materialization.tags or {})["dagster/data_version"]]

    first = versions()
    assert versions() == first
    desk.load("BTCUSD", "BTCUSD", (FRIDAY, FRIDAY), "1h")
    assert versions() != first


def test_what_is_no_pair_fails_and_the_others_have_their_gaps(desk: Desk) -> None:
    desk.instance.add_dynamic_partitions("asset_pair", ["FOO;BAR"])
    assert not desk.find("AAPL", "FOO;BAR", (FRIDAY, FRIDAY))
    assert set(desk.told()) == {("AAPL", FRIDAY)}
    assert {row["asset_pair"] for row in desk.rows()} == {"AAPL"}


def test_every_loaded_day_has_its_score(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    setting(monkeypatch, SIMULATED_FAULTS__BAD_ROWS="0.1", SIMULATED_FAULTS__GAPS="0.05")
    setting(monkeypatch, MAX_REJECT_RATIO="1")
    desk.load("BTCUSD", "EURUSD", (FRIDAY, SUNDAY), "1h")
    told = desk.told(HOUR)
    assert len(told) == 9
    for day in told.values():
        score = day["quality_score"]
        if not day["bars_expected"]:
            assert score == 1
            continue
        there = 1 - day["bars_missing"] / day["bars_expected"]
        assert score == pytest.approx(there * (1 - day["rows_rejected"] / day["rows_fetched"]))
    assert min(day["quality_score"] for day in told.values()) < 0.9


def test_a_bar_that_had_not_closed_takes_nothing_from_the_score(tmp_path: Path) -> None:
    start, now = datetime(2024, 1, 5, tzinfo=UTC), datetime(2024, 1, 5, 12, 30, tzinfo=UTC)
    closes = [-1.0 if hour == 3 else 101.0 for hour in range(13)]
    ingestion = Ingestion(
        provider=Scripted((raw(start, 13, close=closes), now.replace(minute=0))),
        timeframe=TIMEFRAMES["1h"],
        batch_days=1,
        max_reject_ratio=1,
        run_id="run",
        write=DeltaLakeManager(tmp_path).append_if_changed,
        clock=lambda: now,
    )
    ((report,),) = ingestion.days(PairDays("BTCUSD", FRIDAY, FRIDAY))
    told = day_metadata(report, now)
    assert (told["rows_fetched"], told["rows_rejected"]) == (13, 2)
    assert (told["bars_expected"], told["bars_missing"]) == (12, 1)
    assert told["quality_score"] == pytest.approx((11 / 12) * (11 / 12))
