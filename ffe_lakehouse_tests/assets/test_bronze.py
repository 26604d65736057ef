"""The Bronze assets under real Dagster runs, on real Delta tables."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ffe_lakehouse.assets.bronze import FAILED as WHY_FAILED
from ffe_lakehouse.assets.bronze import REFUSED as WHY_REFUSED
from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import Where
from ffe_lakehouse.partitions import daily_by_pair, partition_key, split_key, table_key
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import State, partition_states

BARS, LETTERS = raw_candles(TIMEFRAMES["1h"]), dead_letters(TIMEFRAMES["1h"])
TABLE, DLQ = table_key(BARS), table_key(LETTERS)
PAIRS = ["BTCUSD", "ETHUSD", "EURUSD"]
NOW = datetime(2024, 6, 1, tzinfo=UTC)
FRIDAY, SATURDAY, SUNDAY = (date(2024, 1, day) for day in (5, 6, 7))
COMPLETE, FAILED, MISSING = State.COMPLETE, State.FAILED, State.MISSING


@dg.asset(
    key=["silver", "downstream"],
    deps=[TABLE],
    partitions_def=daily_by_pair(),
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def downstream() -> None:
    """Depends on Bronze, and does nothing."""


class Desk:
    """A Dagster instance, a lake, the Bronze assets, and a clock that a test sets."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        """An empty lake, where the settings say."""
        self.now = NOW
        self.instance = instance
        self.io = DeltaIOManager(storage_path=get_settings().lake_uri)
        self.instance.add_dynamic_partitions("asset_pair", PAIRS)

    def run(
        self,
        pairs: tuple[str, str] = ("BTCUSD", "BTCUSD"),
        days: tuple[date, date] = (FRIDAY, FRIDAY),
        *,
        tags: dict[str, str] | None = None,
        config: dict[str, str] | None = None,
        also: tuple[dg.AssetsDefinition, ...] = (),
    ) -> dg.ExecuteInProcessResult:
        """One run over the cross product of both ranges, last ones included."""
        first, last = (partition_key(pairs[n], days[n]) for n in (0, 1))
        one = {"partition_key": first} if first == last and tags is None else {}
        ends = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        asset = next(asset for asset in bronze_assets(lambda: self.now) if TABLE in asset.keys)
        return dg.materialize(
            [asset, *also],
            instance=self.instance,
            resources={"io_manager": self.io},
            tags=None if one else {**ends, **(tags or {})},
            run_config={"ops": {"raw_market_data_1h": {"config": config or {}}}},
            raise_on_error=False,
            **one,
        )

    def states(self, key: dg.AssetKey, day: date, *pairs: str) -> list[State]:
        """The state of a day, by pair."""
        found = partition_states(self.instance, key, pairs, day, day, self.now)
        return [found[pair, day] for pair in pairs]

    def statuses(self, key: dg.AssetKey, day: date, *pairs: str) -> list[str | None]:
        """What Dagster itself says of a day, by pair."""
        keys = [partition_key(pair, day) for pair in pairs]
        found = self.instance.get_status_by_partition(key, keys, daily_by_pair()) or {}
        return [status and status.value for status in map(found.get, keys)]

    def records(self, key: dg.AssetKey) -> list[dg.EventLogRecord]:
        """Every materialization of an asset, newest first."""
        return list(self.instance.fetch_materializations(key, limit=1000).records)

    def metadata(self, key: dg.AssetKey, pair: str, day: date) -> dict[str, Any]:
        """The newest metadata of a partition."""
        partition = partition_key(pair, day)
        record = next(r for r in self.records(key) if r.partition_key == partition)
        assert record.asset_materialization is not None
        return {name: v.value for name, v in record.asset_materialization.metadata.items()}

    def rows(self, pair: str) -> int:
        """Stored bars of a pair; 0 if there is no table."""
        lake = self.io.lake
        there = lake.table_exists(BARS.name)
        return lake.read(BARS.name, Where((pair,))).num_rows if there else 0


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


def failure(result: dg.ExecuteInProcessResult) -> Any:
    """What the failed step said."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data


def test_a_range_of_pairs_and_days_materializes_every_partition_of_both_tables_once(
    desk: Desk,
) -> None:
    assert desk.run(("BTCUSD", "EURUSD"), (FRIDAY, SUNDAY)).success
    keys = {partition_key(pair, day) for pair in PAIRS for day in (FRIDAY, SATURDAY, SUNDAY)}
    for table in (TABLE, DLQ):
        assert Counter(r.partition_key for r in desk.records(table)) == Counter(keys)
    assert [desk.rows(pair) for pair in PAIRS] == [72, 72, 22 + 0 + 2]
    assert desk.states(TABLE, SATURDAY, *PAIRS) == [COMPLETE, COMPLETE, State.NO_DATA]
    assert desk.states(TABLE, SUNDAY, *PAIRS) == [COMPLETE] * 3


def test_every_partition_carries_the_promised_metadata(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(monkeypatch, SIMULATED_FAULTS__BAD_ROWS="0.2", MAX_REJECT_RATIO="1")
    assert desk.run(("BTCUSD", "EURUSD"), (FRIDAY, SUNDAY)).success
    for record in desk.records(TABLE):
        pair, day = split_key(str(record.partition_key))
        told, letters = desk.metadata(TABLE, pair, day), desk.metadata(DLQ, pair, day)
        fetched, *parts = (told[name] for name in METADATA_ROWS)
        assert fetched == sum(parts)
        assert letters["rows_rejected"] == told["rows_rejected"]
        assert told["source_provider"] == "simulated"
        assert told["dagster/partition_row_count"] == told["rows_written"]
        assert told["bars_expected"] == told["rows_written"] + told["bars_missing"]
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        assert told["asked_until"] == (midnight + timedelta(days=1)).timestamp()
        has_bars = bool(told["rows_written"])
        for name in ("first_timestamp", "last_timestamp", "candles", "sample"):
            assert (name in told) is has_bars
        if has_bars:
            first, last = told["first_timestamp"], told["last_timestamp"]
            assert midnight.timestamp() <= first <= last < told["asked_until"]
            assert "data:image/svg+xml" in told["candles"]
        assert ("reasons" in letters) is bool(letters["rows_rejected"])
    assert any("reasons" in desk.metadata(DLQ, "BTCUSD", day) for day in (FRIDAY, SATURDAY))


def test_a_single_partition_is_a_run_too(desk: Desk) -> None:
    assert desk.run().success
    assert desk.rows("BTCUSD") == 24
    assert [r.partition_key for r in desk.records(TABLE)] == [partition_key("BTCUSD", FRIDAY)]


def test_a_range_that_a_page_of_the_ui_launches_is_loaded_whole(desk: Desk) -> None:
    # Such a run also carries the tags of a single partition, at which Dagster looks first.
    tags = {
        "dagster/partition/asset_pair": "BTCUSD",
        "dagster/partition/date": FRIDAY.isoformat(),
    }
    assert desk.run(("BTCUSD", "ETHUSD"), (FRIDAY, SUNDAY), tags=tags).success
    assert [desk.rows(pair) for pair in PAIRS] == [72, 72, 0]
    for day in (FRIDAY, SATURDAY, SUNDAY):
        assert desk.states(TABLE, day, *PAIRS) == [COMPLETE, COMPLETE, MISSING]


def test_a_pair_whose_provider_fails_fails_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(monkeypatch, SIMULATED_FAULTS__FAILING_PAIRS='["ETHUSD"]')
    result = desk.run(("BTCUSD", "EURUSD"), (FRIDAY, FRIDAY))
    assert not result.success
    for table in (TABLE, DLQ):
        statuses = desk.statuses(table, FRIDAY, *PAIRS)
        assert statuses == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    assert desk.states(TABLE, FRIDAY, *PAIRS) == [COMPLETE, FAILED, COMPLETE]
    said = failure(result).user_failure_data
    assert said.metadata[WHY_FAILED].value == {
        "ETHUSD": ["2024-01-05 to 2024-01-05: timeout: ETHUSD: no answer (simulated)"]
    }
    assert "1h: 1 pair(s) failed. ETHUSD" in said.description
    assert desk.rows("ETHUSD") == 0


def test_what_came_before_a_provider_failed_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten days after its first page of 90 days, the simulated vendor gives no answer.
    setting(monkeypatch, SIMULATED_FAULTS__FAILING_PAIRS='["ETHUSD"]')
    first, last = FRIDAY, FRIDAY + timedelta(99)
    assert not desk.run(("ETHUSD", "ETHUSD"), (first, last)).success
    states = partition_states(desk.instance, TABLE, ["ETHUSD"], first, last, NOW).values()
    done = 90 - 90 % get_settings().batch_days
    assert Counter(states) == {COMPLETE: done, FAILED: 100 - done}
    assert list(states)[:done] == [COMPLETE] * done
    assert desk.rows("ETHUSD") == done * 24
    setting(monkeypatch, SIMULATED_FAULTS__FAILING_PAIRS="[]")
    assert desk.run(("ETHUSD", "ETHUSD"), (first, last)).success
    states = partition_states(desk.instance, TABLE, ["ETHUSD"], first, last, NOW).values()
    assert set(states) == {COMPLETE}
    assert desk.rows("ETHUSD") == 2400


def test_with_too_many_rejects_the_letters_are_kept_and_the_table_fails(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(monkeypatch, SIMULATED_FAULTS__BAD_ROWS="0.5")
    result = desk.run()
    assert not result.success
    assert desk.statuses(DLQ, FRIDAY, "BTCUSD") == ["MATERIALIZED"]
    assert desk.statuses(TABLE, FRIDAY, "BTCUSD") == ["FAILED"]
    assert desk.states(TABLE, FRIDAY, "BTCUSD") == [FAILED]
    assert desk.rows("BTCUSD") == 0
    rejected = desk.metadata(DLQ, "BTCUSD", FRIDAY)["rows_rejected"]
    assert desk.io.lake.read(LETTERS.name).num_rows == rejected > 0
    (reason,) = failure(result).user_failure_data.metadata[WHY_REFUSED].value["BTCUSD"]
    assert reason.startswith(f"2024-01-05: {rejected} of 24 records rejected (")
    assert "dlq/raw_market_data_1h" in reason
    assert "FFE_MAX_REJECT_RATIO" in reason


def test_only_the_days_with_too_many_rejects_fail(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(monkeypatch, SIMULATED_FAULTS__BAD_ROWS="0.04")
    last = FRIDAY + timedelta(29)
    assert not desk.run(days=(FRIDAY, last)).success
    states = partition_states(desk.instance, TABLE, ["BTCUSD"], FRIDAY, last, NOW)
    # Of a day without its one bad record, that bar is missing.
    assert set(states.values()) == {COMPLETE, State.HOLES, FAILED}
    for (pair, day), state in states.items():
        letters = desk.metadata(DLQ, pair, day)
        assert (state is FAILED) is (letters.get("reject_ratio", 0) > 0.05)


def test_another_spelling_of_a_pair_is_refused_and_nothing_is_written(desk: Desk) -> None:
    desk.instance.add_dynamic_partitions("asset_pair", ["btc-usd"])
    result = desk.run(("btc-usd", "btc-usd"))
    assert not result.success
    (reason,) = failure(result).user_failure_data.metadata[WHY_FAILED].value["btc-usd"]
    assert "BTCUSD" in reason
    assert desk.states(TABLE, FRIDAY, "btc-usd") == [FAILED]
    assert desk.records(DLQ) == desk.records(TABLE) == []
    assert not Path(desk.io.storage_path).exists()


def test_without_its_dead_letters_a_partition_fails_and_no_bar_is_written(desk: Desk) -> None:
    in_the_way = Path(desk.io.storage_path, LETTERS.name)
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("no table can be here")
    result = desk.run()
    assert not result.success
    assert list(failure(result).user_failure_data.metadata[WHY_FAILED].value) == ["BTCUSD"]
    for table in (TABLE, DLQ):
        assert desk.statuses(table, FRIDAY, "BTCUSD") == ["FAILED"]
        assert desk.records(table) == []
    assert desk.rows("BTCUSD") == 0
    in_the_way.unlink()
    assert desk.run().success
    assert desk.rows("BTCUSD") == 24


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"provider": "acme"}, ["unknown provider 'acme'", "files", "simulated"]),
        ({"provider": "files"}, ["FFE_FILES_DIR"]),
        ({"provider": "files", "source_dir": "no/such/folder"}, ["no/such/folder"]),
    ],
)
def test_a_wrong_config_fails_clearly(desk: Desk, config: dict[str, str], words: list[str]) -> None:
    result = desk.run(config=config)
    assert not result.success
    told = str(failure(result))
    assert all(word in told for word in words)
    assert desk.states(TABLE, FRIDAY, "BTCUSD") == [FAILED]
    assert not Path(desk.io.storage_path).exists()


def test_the_source_folder_of_the_config_is_read(desk: Desk, shared_data: Path) -> None:
    folder = str(shared_data / "candles" / "coinbase")
    day = date(2020, 1, 1)
    assert desk.run(days=(day, day), config={"provider": "files", "source_dir": folder}).success
    told = desk.metadata(TABLE, "BTCUSD", day)
    assert (told["source_provider"], told["rows_written"]) == ("files", 24)


def test_what_depends_on_bronze_goes_on_in_the_same_run_and_nothing_is_told_twice(
    desk: Desk,
) -> None:
    result = desk.run(("BTCUSD", "ETHUSD"), (FRIDAY, SUNDAY), also=(downstream,))
    assert result.success
    assert not [event for event in result.all_events if event.is_step_skipped]
    for key in (TABLE, DLQ, downstream.key):
        assert set(Counter(r.partition_key for r in desk.records(key)).values()) == {1}
        assert len(desk.records(key)) == 6


def test_what_depends_on_bronze_does_not_go_on_when_bronze_failed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(monkeypatch, SIMULATED_FAULTS__FAILING_PAIRS='["ETHUSD"]')
    assert not desk.run(("BTCUSD", "ETHUSD"), also=(downstream,)).success
    assert desk.records(downstream.key) == []


def test_a_second_run_writes_nothing_and_keeps_the_data_version(desk: Desk) -> None:
    def told() -> tuple[Any, ...]:
        materialization = desk.records(TABLE)[0].asset_materialization
        assert materialization is not None
        tags = dict(materialization.tags or {})
        version = desk.io.lake.table(BARS.name).version()
        return tags["dagster/data_version"], version, desk.rows("BTCUSD")

    assert desk.run().success
    before = told()
    desk.now += timedelta(days=3)
    assert desk.run().success
    assert told() == before
    counts = [desk.metadata(TABLE, "BTCUSD", FRIDAY)[name] for name in METADATA_ROWS]
    assert counts == [24, 0, 24, 0, 0]
    assert len(desk.records(TABLE)) == 2


def test_the_running_day_is_unfinished_then_late_and_complete_once_loaded_again(
    desk: Desk,
) -> None:
    desk.now = datetime(2024, 1, 5, 12, 30, tzinfo=UTC)
    assert desk.run().success
    assert desk.rows("BTCUSD") == 12  # the bar of 12:00 has not closed
    told = desk.metadata(TABLE, "BTCUSD", FRIDAY)
    assert (told["bars_expected"], told["bars_missing"]) == (12, 0)
    assert desk.states(TABLE, FRIDAY, "BTCUSD") == [State.UNFINISHED]

    desk.now = datetime(2024, 1, 6, 0, 10, tzinfo=UTC)  # closed, but not settled
    assert desk.run().success
    assert desk.states(TABLE, FRIDAY, "BTCUSD") == [State.UNFINISHED]

    desk.now = datetime(2024, 1, 6, 0, 15, tzinfo=UTC)
    assert desk.states(TABLE, FRIDAY, "BTCUSD") == [State.LATE]
    assert desk.run().success
    assert desk.states(TABLE, FRIDAY, "BTCUSD") == [COMPLETE]
    assert desk.rows("BTCUSD") == 24


def test_a_day_of_which_no_bar_has_closed_is_loaded_with_nothing(desk: Desk) -> None:
    desk.now = datetime(2024, 1, 5, 0, 30, tzinfo=UTC)
    assert desk.run().success
    assert desk.rows("BTCUSD") == 0
    assert desk.states(TABLE, FRIDAY, "BTCUSD") == [State.UNFINISHED]
