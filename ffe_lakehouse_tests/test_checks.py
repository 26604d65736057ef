"""The asset checks, run by Dagster over rows that a test wrote straight into the lake."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ffe_lakehouse.automation.jobs import CHECKING
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.checks import CHECKS, _Bars
from ffe_lakehouse.definitions import below_gold
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import PairDays, partition_key, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import KNOWN, bars

PAIRS = ["BTCUSD", "ETHUSD", "EURUSD"]
FRIDAY, SATURDAY, SUNDAY = (date(2024, 1, day) for day in (5, 6, 7))
DAY = timedelta(days=1)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class Desk:
    """A Dagster instance and a lake with what a test puts into it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        """Nothing is loaded."""
        self.instance = instance
        self.lake = DeltaLakeManager(get_settings().lake_uri)
        instance.add_dynamic_partitions("asset_pair", PAIRS)

    def load(
        self, *rows: pa.Table, code: str = "1h", until: datetime | None = None, **counts: int
    ) -> None:
        """Append rows as they are, and tell Dagster of their days; ``counts`` are lies."""
        schema = raw_candles(TIMEFRAMES[code])
        for table in rows:
            self.lake.append(schema, table)
        joined = pa.concat_tables(rows)
        columns = (joined[name].to_pylist() for name in ("asset_pair", "partition_date"))
        for (pair, day), n in Counter(zip(*columns, strict=True)).items():
            told = {"rows_fetched": n, "rows_written": n, "rows_unchanged": 0}
            told |= {"rows_duplicate": 0, "rows_rejected": 0, "dagster/partition_row_count": n}
            end = until or midnight(day + DAY)
            self.tell(pair, day, code, asked_until=dg.MetadataValue.timestamp(end), **told | counts)

    def tell(self, pair: str, day: date, code: str = "1h", **metadata: Any) -> None:
        """Materialize a day by hand."""
        key = table_key(raw_candles(TIMEFRAMES[code]))
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(key, partition=partition_key(pair, day), metadata=metadata)
        )

    def events(
        self,
        pairs: Sequence[str] = ("BTCUSD",),
        days: tuple[date, date] = (FRIDAY, FRIDAY),
        code: str = "1h",
        names: Sequence[str] = tuple(CHECKS),
    ) -> list[dg.DagsterEvent]:
        """Run checks over a box."""
        key = table_key(raw_candles(TIMEFRAMES[code]))
        return list(
            execute(
                self.instance,
                below_gold().resolve_job_def(CHECKING),
                Box(tuple(pairs), *days, (TIMEFRAMES[code],)),
                checks={dg.AssetCheckKey(key, name) for name in names},
            )
        )

    def check(self, *args: Any, **kwargs: Any) -> list[dg.AssetCheckEvaluation]:
        """Run checks over a box; what they found."""
        events = self.events(*args, **kwargs)
        assert events[-1].event_type_value == "PIPELINE_SUCCESS"
        found = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        return [e.asset_check_evaluation_data for e in events if e.event_type is found]

    def broken(self, *args: Any, **kwargs: Any) -> dict[str, int]:
        """How often each check that did not pass is broken, over all partitions."""
        counts: dict[str, int] = {}
        for found in self.check(*args, **kwargs):
            if not found.passed:
                count = found.metadata["count"].value
                assert isinstance(count, int)
                counts[found.check_name] = counts.get(found.check_name, 0) + count
        return counts


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("FFE_HOME", str(tmp_path))
    monkeypatch.setenv("FFE_START_DATE", "1998-01-01")
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(instance)
    get_settings.cache_clear()


def a_day(pair: str = "BTCUSD", day: date = FRIDAY, n: int = 24, **columns: Any) -> pa.Table:
    return bars(pair, midnight(day), n, **columns)


def with_one(price: float, usual: float, n: int = 24) -> list[float]:
    """Prices of which the fourth is another one."""
    return [usual] * 3 + [price] + [usual] * (n - 4)


def test_a_clean_day_passes_every_check(desk: Desk) -> None:
    desk.load(a_day(), a_day(day=FRIDAY - DAY))
    found = desk.check()
    assert {evaluation.check_name for evaluation in found} == set(CHECKS)
    assert all(evaluation.passed for evaluation in found)
    assert {evaluation.partition for evaluation in found} == {"BTCUSD|2024-01-05"}


VIOLATIONS = {
    "ohlc_rules": [a_day(high=with_one(97.5, 102.0))],
    "unique_versions": [a_day(), a_day(n=1)],
    "price_range": [a_day(price=2e6)],
    "plausible_moves": [
        a_day(
            open=with_one(200.0, 100.0),
            high=with_one(202.0, 102.0),
            low=with_one(198.0, 98.0),
            close=with_one(201.0, 101.0),
        )
    ],
    "completeness": [a_day(n=22)],
    "market_hours": [bars("EURUSD", midnight(FRIDAY), 23)],
}
COUNTS = {"price_range": 24, "plausible_moves": 2, "completeness": 2, "unique_versions": 2}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_check_is_broken_by_its_own_violation_and_no_other_one(desk: Desk, name: str) -> None:
    pair = VIOLATIONS[name][0]["asset_pair"][0].as_py()
    desk.load(*VIOLATIONS[name])
    assert desk.broken([pair]) == {name: COUNTS.get(name, 1)}
    (found,) = desk.check([pair], names=[name])
    assert found.severity is CHECKS[name][0]
    assert found.metadata["count"].value == COUNTS.get(name, 1)
    assert found.metadata["sample"].value


def test_a_null_where_the_table_allows_none_is_found() -> None:
    rows = a_day().to_pandas()
    rows.loc[5, "close"] = None
    hour = TIMEFRAMES["1h"]
    found = _Bars(hour, PairDays("BTCUSD", FRIDAY, FRIDAY), rows, rows).offenders(get_settings())
    del found["completeness"]  # of the days before the window, too, which nobody asks for
    assert {name: list(of.index) for name, of in found.items() if len(of)} == {"no_nulls": [5]}


def test_a_table_whose_nulls_another_writer_brought_does_not_pass(desk: Desk) -> None:
    rows = a_day()
    close = rows.schema.get_field_index("close")
    rows = rows.set_column(close, "close", pa.array([None] * 24, pa.float64()))
    schema = raw_candles(TIMEFRAMES["1h"])
    write_deltalake(desk.lake.table_uri(schema.name), rows, partition_by=[*schema.partition_by])
    desk.tell("BTCUSD", FRIDAY)
    assert desk.events(names=["no_nulls"])[-1].event_type_value == "PIPELINE_FAILURE"


SEVERITIES = {
    "ohlc_rules": "ERROR",
    "no_nulls": "ERROR",
    "unique_versions": "ERROR",
    "conservation": "ERROR",
    "price_range": "WARN",
    "plausible_moves": "WARN",
    "completeness": "WARN",
    "market_hours": "WARN",
    "quality_score": "WARN",
}


def test_what_breaks_the_lake_is_an_error_and_what_may_be_true_a_warning(desk: Desk) -> None:
    assert {name: severity.value for name, (severity, _) in CHECKS.items()} == SEVERITIES


def test_every_partition_of_a_range_has_results_of_its_own(desk: Desk) -> None:
    for pair in ("BTCUSD", "ETHUSD"):
        for day in (FRIDAY, SATURDAY, SUNDAY):
            bad = (pair, day) == ("ETHUSD", SATURDAY)
            desk.load(a_day(pair, day, high=with_one(97.5, 102.0) if bad else 102.0))
    found = desk.check(["BTCUSD", "ETHUSD"], (FRIDAY, SUNDAY))
    assert len(found) == len(CHECKS) * 6
    assert len({(e.check_name, e.partition) for e in found}) == len(found)
    broken = [(e.check_name, e.partition) for e in found if not e.passed]
    assert broken == [("ohlc_rules", "ETHUSD|2024-01-06")]


def test_a_result_is_about_the_newest_materialization_of_its_partition(desk: Desk) -> None:
    desk.load(a_day())
    desk.tell("BTCUSD", FRIDAY)
    (found,) = desk.check(names=["ohlc_rules"])
    key = table_key(raw_candles(TIMEFRAMES["1h"]))
    (newest, _) = desk.instance.fetch_materializations(key, limit=5).records
    assert found.target_materialization_data is not None
    assert found.target_materialization_data.storage_id == newest.storage_id


def test_days_that_are_not_loaded_are_not_checked(desk: Desk) -> None:
    desk.load(a_day(day=SATURDAY))
    found = desk.check(days=(FRIDAY, SUNDAY))
    assert {evaluation.partition for evaluation in found} == {"BTCUSD|2024-01-06"}


@pytest.mark.parametrize("lie", ["rows_fetched", "rows_duplicate", "dagster/partition_row_count"])
def test_counts_that_do_not_add_up_break_conservation(desk: Desk, lie: str) -> None:
    desk.load(a_day(), **{lie: 23})
    (found,) = [found for found in desk.check() if not found.passed]
    assert found.check_name == "conservation"
    assert "23" in str(found.metadata["sample"].value)


def test_rows_that_are_lost_or_doubled_break_conservation(desk: Desk) -> None:
    schema = raw_candles(TIMEFRAMES["1h"])
    desk.load(a_day(day=SATURDAY))
    desk.load(a_day())
    desk.lake.append(schema, a_day())
    assert desk.broken()["conservation"] == 1
    (found,) = desk.check(names=["conservation"])
    assert "24 rows when it was materialized, 48 in the table" in str(found.metadata["sample"])
    desk.lake.table(schema.name).restore(1)  # Saturday's rows alone
    (found,) = desk.check(names=["conservation"])
    assert "24 rows when it was materialized, 0 in the table" in str(found.metadata["sample"])
    assert desk.broken(days=(SATURDAY, SATURDAY)) == {}


def test_a_partition_without_counts_has_nothing_to_conserve(desk: Desk) -> None:
    desk.lake.append(raw_candles(TIMEFRAMES["1h"]), a_day())
    desk.tell("BTCUSD", FRIDAY)
    (found,) = desk.check(names=["conservation"])
    assert found.passed
    assert "without counts" in str(found.description)


@pytest.mark.parametrize(("score", "passes"), [(1.0, True), (0.8, True), (0.7999, False)])
def test_a_day_below_the_threshold_is_a_warning(desk: Desk, score: float, passes: bool) -> None:
    desk.load(a_day())
    desk.tell("BTCUSD", FRIDAY, quality_score=score)
    (found,) = desk.check(names=["quality_score"])
    assert (found.passed, found.severity.value) == (passes, "WARN")
    below = "Data quality below threshold: 79.99% is less than 80.00%"
    assert found.description == (f"{score:.2%}" if passes else below)
    assert ("sample" in found.metadata) is not passes


def test_the_threshold_is_a_setting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.load(a_day())
    desk.tell("BTCUSD", FRIDAY, quality_score=0.6)
    assert desk.broken(names=["quality_score"]) == {"quality_score": 1}
    monkeypatch.setenv("FFE_MIN_QUALITY_SCORE", "0.6")
    get_settings.cache_clear()
    assert desk.broken(names=["quality_score"]) == {}


def test_a_partition_without_a_score_is_not_compared(desk: Desk) -> None:
    desk.load(a_day())
    (found,) = desk.check(names=["quality_score"])
    assert found.passed
    assert "without a score" in str(found.description)


def test_bars_that_had_not_closed_when_they_were_asked_for_are_not_missing(desk: Desk) -> None:
    desk.load(a_day(n=12), until=midnight(FRIDAY) + timedelta(hours=13))
    assert desk.broken() == {"completeness": 1}
    (found,) = desk.check(names=["completeness"])
    assert found.metadata["sample"].value == "- 2024-01-05T12:00Z"


def test_an_empty_day_of_a_closed_market_is_complete(desk: Desk) -> None:
    desk.load(a_day("EURUSD", n=22))
    counts = dict.fromkeys(["fetched", "written", "unchanged", "duplicate", "rejected"], 0)
    told = {f"rows_{name}": n for name, n in counts.items()} | {"dagster/partition_row_count": 0}
    desk.tell("EURUSD", SATURDAY, **told)
    assert desk.broken(["EURUSD"], (FRIDAY, SATURDAY)) == {}


def test_a_jump_from_the_day_before_is_found_when_a_day_is_checked_alone(desk: Desk) -> None:
    desk.load(a_day(), a_day(day=SATURDAY, price=200.0))
    assert desk.broken(days=(SATURDAY, SATURDAY)) == {"plausible_moves": 1}
    assert desk.broken(days=(FRIDAY, FRIDAY)) == {}


def test_only_the_newest_version_of_a_bar_has_to_be_plausible(desk: Desk) -> None:
    desk.load(a_day(price=2e6, n=1), a_day(known=KNOWN + DAY))
    assert desk.broken() == {}


def test_at_most_twenty_offenders_are_named(desk: Desk) -> None:
    desk.load(a_day(price=2e6))
    (found,) = desk.check(names=["price_range"])
    assert found.metadata["count"].value == 24
    assert len(str(found.metadata["sample"].value).splitlines()) == 20


# Of each dirty row that holds prices: a pair to store it under, the close of the bar before it
# (told in the column `why`, or plain), and the checks that see it.
DIRTY: dict[tuple[str, str], tuple[str, float, set[str]]] = {
    ("fat_finger_low", "BTC-USD coinbase"): ("BTCUSD", 1173.0, {"plausible_moves"}),
    ("tiny_volume_jump", "BTC-USD coinbase"): ("BTCUSD", 260.0, {"plausible_moves"}),
    ("unit_switch_100x", "SSW.JO"): ("SSW.JO", 3501.0, {"plausible_moves"}),
    ("unit_switch_100x", "AET.L"): ("AET.L", 1455.0, {"plausible_moves"}),
    ("unit_switch_inside_bar", "ASAI.L"): ("ASAI.L", 58.0, {"plausible_moves"}),
    ("split_not_applied", "4063.T"): ("SHIN", 20710.0, {"plausible_moves"}),
    ("split_garbage", "ALPHA.PA"): ("ALPHA.PA", 2.0, {"plausible_moves", "price_range"}),
    ("zero_volume_series", "CLC.L"): ("CLC.L", 0.6, {"plausible_moves"}),
    ("split_unadjusted", "AAPL"): ("AAPL", 645.57, {"plausible_moves"}),
    ("real_crash_not_split", "AAPL"): ("AAPL", 53.5, {"plausible_moves"}),
    ("close_above_high", "LSC.L"): ("LSC.L", 0.375, {"ohlc_rules"}),
    ("open_above_high", "ELCO.L"): ("ELCO.L", 0.65, {"ohlc_rules"}),
    ("weekend_row", "C:EURUSD Sat"): ("EURUSD", 1.0644, {"market_hours"}),
    # Seen by none: these days end with two hours of trade, from 22:00 UTC, so a daily bar belongs
    # there; and what it holds is too small a move to tell it from a true one.
    ("weekend_row", "C:EURUSD Sun"): ("EURUSD", 1.0705, set()),
    ("holiday_repeat", "EURUSD=X"): ("EURUSD", 1.12208, set()),
    # Never stored, so nothing to check: `unclosed_bar`, and a day that does not begin at 00:00 UTC.
    ("in_progress_bar", "BTC/EUR"): ("", 0, set()),
    ("in_progress_bar", "USD_CAD"): ("", 0, set()),
}


def test_every_dirty_row_that_could_be_stored_is_seen_or_known_not_to_be(
    desk: Desk, shared_data: Path
) -> None:
    seen = set()
    with (shared_data / "bad_rows.csv").open(newline="") as file:
        dirty = [row for row in csv.DictReader(file) if row["close"]]
    for row in dirty:
        when, _, weekday = row["timestamp"].partition(" ")
        key = row["kind"], f"{row['symbol']} {weekday.strip('()')}".strip()
        pair, before, expected = DIRTY[key]
        seen.add(key)
        if not pair:
            continue
        assert parse_symbol(pair).name == pair
        if pair not in desk.instance.get_dynamic_partitions("asset_pair"):
            desk.instance.add_dynamic_partitions("asset_pair", [pair])
        start = datetime.fromisoformat(when.replace("Z", "+00:00"))
        start = start.replace(tzinfo=start.tzinfo or UTC).astimezone(UTC)
        code = row["timeframe"]
        prices = {name: float(row[name]) for name in ("open", "high", "low", "close")}
        plain = dict.fromkeys(prices, before)
        step = TIMEFRAMES[code].duration
        desk.load(bars(pair, start - step, 1, code, **plain), code=code)
        desk.load(bars(pair, start, 1, code, **prices), code=code)
        broken = desk.broken([pair], (start.date(), start.date()), code)
        assert set(broken) - {"completeness", "conservation"} == expected, row["why"]
    assert seen == set(DIRTY)
