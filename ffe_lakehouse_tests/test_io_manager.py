"""The IO manager under real Dagster runs, on real Delta tables."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.io_manager import WRITE_MODE, DeltaIOManager
from ffe_lakehouse.lake import Where, tables
from ffe_lakehouse.partitions import daily_by_pair, partition_key
from ffe_lakehouse.schemas import all_tables, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars, box, day, facts

BRONZE = raw_candles(TIMEFRAMES["1h"])
SILVER = replace(BRONZE, name="silver/bars", append_only=False)
PAIRS = ["BRK.B", "BTCUSD", "ETHUSD"]
MODES = {"append": BRONZE, "append_if_changed": BRONZE, "merge": SILVER, "overwrite": SILVER}

Source = Callable[[dg.AssetExecutionContext], Any]


class Desk:
    """A Dagster instance, a lake, and assets that return what a test tells them to."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        """An empty lake in ``folder``."""
        self.io = DeltaIOManager(storage_path=str(folder))
        self.instance = instance
        instance.add_dynamic_partitions("asset_pair", PAIRS)

    def run(
        self,
        asset: dg.AssetsDefinition,
        pairs: tuple[str, str] = ("BTCUSD", "BTCUSD"),
        days: tuple[int, int] = (0, 0),
        io: DeltaIOManager | None = None,
        fails: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """One run over the cross product of both ranges, last ones included."""
        first, last = (partition_key(pairs[i], day(days[i]).date()) for i in (0, 1))
        one = {"partition_key": first} if first == last else {}
        ends = {"dagster/asset_partition_range_start": first}
        ends |= {"dagster/asset_partition_range_end": last}
        upstream = dg.AssetSpec(BRONZE.name.split("/"), partitions_def=daily_by_pair())
        result = dg.materialize(
            [asset] if upstream.key in asset.keys else [asset, upstream],
            instance=self.instance,
            resources={"io_manager": io or self.io},
            tags=None if one else ends,
            raise_on_error=not fails,
            **one,
        )
        assert result.success is not fails
        return result

    def rows(self, name: str, where: Where = Where()) -> list[tuple[str, datetime, float]]:  # noqa: B008
        """Facts of a table."""
        return facts(self.io.lake.read(name, where))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(tables, "all_tables", lambda: {**all_tables(), SILVER.name: SILVER})
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(tmp_path / "lake", instance)


def writer(mode: str, source: Source, name: str | None = None) -> dg.AssetsDefinition:
    """An asset that is written by ``mode``."""
    table = name or MODES[mode].name

    @dg.asset(
        key=table.split("/"),
        partitions_def=daily_by_pair(),
        metadata={WRITE_MODE: mode},
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def rows(context: dg.AssetExecutionContext) -> Any:
        return source(context)

    return rows


def partitions_of(context: dg.AssetExecutionContext, price: float = 100.0, n: int = 3) -> pa.Table:
    """The first ``n`` bars of every partition of the run."""
    keys = [key.keys_by_dimension for key in context.partition_keys]  # type: ignore[attr-defined]
    return pa.concat_tables(
        [
            bars(
                key["asset_pair"],
                datetime.fromisoformat(f"{key['date']}T00:00+00:00"),
                n,
                price=price,
            )
            for key in keys
        ]
    )


def first_bars(pairs: list[str], days: range, price: float = 100.0) -> list[Any]:
    return facts(pa.concat_tables([bars(p, day(d), 3, price=price) for p in pairs for d in days]))


boxes = pytest.mark.parametrize(
    ("pairs", "days"),
    [
        (("BTCUSD", "BTCUSD"), (1, 1)),
        (("BTCUSD", "BTCUSD"), (1, 3)),
        (("BRK.B", "ETHUSD"), (1, 1)),
        (("BRK.B", "BTCUSD"), (1, 3)),
    ],
    ids=["one key", "a range of days", "a range of pairs", "a box"],
)


@boxes
@pytest.mark.parametrize("mode", ["append_if_changed", "merge", "overwrite"])
def test_a_run_that_is_repeated_leaves_the_same_rows(
    desk: Desk, mode: str, pairs: tuple[str, str], days: tuple[int, int]
) -> None:
    name = MODES[mode].name
    everything = writer(mode, partitions_of)
    desk.run(everything, ("BRK.B", "ETHUSD"), (0, 4))
    for _ in range(2):
        desk.run(everything, pairs, days)
        assert desk.rows(name) == first_bars(PAIRS, range(5))


@boxes
def test_a_run_replaces_its_own_partitions_and_no_others(
    desk: Desk, pairs: tuple[str, str], days: tuple[int, int]
) -> None:
    desk.run(writer("overwrite", partitions_of), ("BRK.B", "ETHUSD"), (0, 4))
    fewer = writer("overwrite", lambda context: partitions_of(context, price=7.0, n=1))
    desk.run(fewer, pairs, days)
    replaced = PAIRS[PAIRS.index(pairs[0]) : PAIRS.index(pairs[1]) + 1]
    for pair in PAIRS:
        for number in range(5):
            inside = pair in replaced and days[0] <= number <= days[1]
            expected = (
                bars(pair, day(number), 1, price=7.0) if inside else bars(pair, day(number), 3)
            )
            assert desk.rows(SILVER.name, box(pair, number, number)) == facts(expected)


def test_two_runs_that_append_append_twice(desk: Desk) -> None:
    for _ in range(2):
        desk.run(writer("append", partitions_of))
    assert len(desk.rows(BRONZE.name)) == 6


class FailsOnceAfterTheCommit(DeltaIOManager):
    """Dies after the rows are committed and before Dagster hears of it, the first time."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Commit, and die."""
        super().handle_output(context, obj)
        if context.step_context.previous_attempt_count == 0:
            raise ConnectionError("the network went away")


@pytest.mark.parametrize("mode", MODES)
def test_a_step_that_is_tried_again_after_its_commit_writes_once(desk: Desk, mode: str) -> None:
    @dg.asset(
        key=MODES[mode].name.split("/"),
        partitions_def=daily_by_pair(),
        metadata={WRITE_MODE: mode},
        retry_policy=dg.RetryPolicy(max_retries=1),
    )
    def rows(context: dg.AssetExecutionContext) -> pa.Table:
        return partitions_of(context)

    result = desk.run(rows, io=FailsOnceAfterTheCommit(storage_path=desk.io.storage_path))
    assert len([e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]) == 1
    assert desk.rows(MODES[mode].name) == first_bars(["BTCUSD"], range(1))


@pytest.mark.parametrize("mode", MODES)
def test_a_pandas_frame_is_written_like_an_arrow_table(desk: Desk, mode: str) -> None:
    desk.run(writer(mode, lambda context: partitions_of(context).to_pandas()))
    assert desk.rows(MODES[mode].name) == first_bars(["BTCUSD"], range(1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "stray",
    [bars("ETHUSD", START, 1), bars("BTCUSD", day(-1), 1), bars("BTCUSD", day(1), 1)],
    ids=["another pair", "the day before", "the day after"],
)
def test_rows_outside_of_the_run_are_refused_together_with_the_others(
    desk: Desk, mode: str, stray: pa.Table
) -> None:
    def source(context: dg.AssetExecutionContext) -> pa.Table:
        return pa.concat_tables([partitions_of(context), stray])

    result = desk.run(writer(mode, source), fails=True)
    assert "1 rows lie outside of the run's partitions" in failure_of(result)
    assert not desk.io.lake.table_exists(MODES[mode].name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows.drop_columns("open"),
        lambda rows: rows.append_column("x", rows["open"]),
        lambda rows: rows.to_pandas().assign(open="1.5"),
        lambda rows: rows.to_pandas().assign(open=None),
        lambda rows: rows.to_pylist(),
        lambda _: None,
    ],
    ids=["a column short", "a column too many", "text", "null", "a list", "nothing"],
)
def test_a_write_that_fails_changes_nothing(desk: Desk, mode: str, spoil: Any) -> None:
    desk.run(writer(mode, partitions_of))
    before = desk.io.lake.table(MODES[mode].name).version()
    desk.run(writer(mode, lambda context: spoil(partitions_of(context, 7.0))), fails=True)
    assert desk.rows(MODES[mode].name) == first_bars(["BTCUSD"], range(1))
    assert desk.io.lake.table(MODES[mode].name).version() == before


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    event = next(event for event in result.all_events if event.is_step_failure)
    error: Any = event.step_failure_data.error
    return str(error.to_string())


def test_an_unknown_mode_is_refused_with_those_that_exist(desk: Desk) -> None:
    result = desk.run(writer("upsert", partitions_of, BRONZE.name), fails=True)
    known = "append, append_if_changed, merge, overwrite"
    assert f"unknown ffe/write_mode 'upsert' of {BRONZE.name}: use one of {known}" in failure_of(
        result
    )


def test_an_asset_whose_key_is_no_table_is_refused(desk: Desk) -> None:
    result = desk.run(writer("append", partitions_of, "bronze/nonsense"), fails=True)
    assert "unknown table 'bronze/nonsense'" in failure_of(result)


def test_an_overwrite_without_partitions_is_refused(desk: Desk) -> None:
    @dg.asset(key=SILVER.name.split("/"))
    def rows() -> pa.Table:
        return bars("BTCUSD", START, 1)

    with pytest.raises(InputError, match="which pairs or days"):
        dg.materialize([rows], resources={"io_manager": desk.io})


def test_a_commit_says_which_run_and_partitions_it_belongs_to(desk: Desk) -> None:
    result = desk.run(writer("overwrite", partitions_of), ("BRK.B", "BTCUSD"), (0, 2))
    newest = desk.io.lake.history(SILVER.name, 1)[0]
    assert newest["dagster/run_id"] == result.run_id
    assert newest["dagster/asset_key"] == SILVER.name
    assert newest["dagster/partitions"] == "BRK.B,BTCUSD|2024-01-01...2024-01-03"
    materialization = result.asset_materializations_for_node("silver__bars")[0]
    assert materialization.metadata["dagster/partition_row_count"].value == 18
    assert materialization.metadata["delta_version"].value == newest["version"]
    assert str(materialization.metadata["dagster/uri"].value).endswith(SILVER.name)


# --- loading


def downstream(seen: list[Any], kind: Any) -> dg.AssetsDefinition:
    def load(context: dg.AssetExecutionContext, upstream: Any) -> None:
        seen.append(upstream)

    load.__annotations__["upstream"] = kind
    return dg.asset(
        key="downstream",
        ins={"upstream": dg.AssetIn(key=BRONZE.name.split("/"))},
        partitions_def=daily_by_pair(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )(load)


@boxes
@pytest.mark.parametrize("kind", [pd.DataFrame, pa.Table])
def test_a_run_loads_its_own_partitions_as_the_type_it_asks_for(
    desk: Desk, kind: type, pairs: tuple[str, str], days: tuple[int, int]
) -> None:
    desk.run(writer("append", partitions_of), ("BRK.B", "ETHUSD"), (0, 4))
    seen: list[Any] = []
    desk.run(downstream(seen, kind), pairs, days)
    assert isinstance(seen[0], kind)
    rows = pa.Table.from_pandas(seen[0]) if kind is pd.DataFrame else seen[0]
    wanted = PAIRS[PAIRS.index(pairs[0]) : PAIRS.index(pairs[1]) + 1]
    assert facts(rows) == first_bars(wanted, range(days[0], days[1] + 1))


def test_the_newest_versions_are_loaded(desk: Desk) -> None:
    lake = desk.io.lake
    for hours, price in ((0, 100.0), (1, 200.0)):
        known = day(100) + timedelta(hours=hours)
        rows = bars("BTCUSD", START, 3, price=price, known=known)
        lake.append_if_changed(BRONZE, rows, box("BTCUSD", 0, 0))
    seen: list[Any] = []
    desk.run(downstream(seen, pa.Table))
    assert facts(seen[0]) == first_bars(["BTCUSD"], range(1), price=200.0)


def test_loading_opens_only_the_files_of_its_partitions(desk: Desk) -> None:
    for pairs, days in ((("BTCUSD", "BTCUSD"), (0, 0)), (("BTCUSD", "BTCUSD"), (5, 5))):
        desk.run(writer("append", partitions_of), pairs, days)
    files = list(Path(desk.io.lake.table_uri(BRONZE.name)).rglob("*.parquet"))
    desk.run(writer("append", partitions_of), ("ETHUSD", "ETHUSD"))
    desk.run(writer("append", partitions_of), days=(9, 9))
    for file in Path(desk.io.lake.table_uri(BRONZE.name)).rglob("*.parquet"):
        if file not in files:
            file.write_bytes(b"damaged")
    seen: list[Any] = []
    desk.run(downstream(seen, pa.Table), days=(0, 5))
    assert facts(seen[0]) == first_bars(["BTCUSD"], range(0, 6, 5))


def test_fetched_and_empty_can_be_loaded(desk: Desk) -> None:
    desk.run(writer("append", lambda context: partitions_of(context, n=0)))
    seen: list[Any] = []
    desk.run(downstream(seen, pd.DataFrame))
    assert list(seen[0].columns) == BRONZE.arrow.names
    assert seen[0].empty
