"""The roll-up proof, run by Dagster over days that were really loaded."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.backfill import execute, run_box
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import Where
from ffe_lakehouse.partitions import daily_by_pair, day_start, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.rollup_checks import ROLLUP_PROOF, rollup_checks
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES

FRIDAY, SATURDAY = date(2024, 1, 5), date(2024, 1, 6)
LONG_AFTER = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
COARSE = tuple(TIMEFRAMES)[1:]
WARN = dg.AssetCheckSeverity.WARN


class Desk:
    """A Dagster instance, a lake, Bronze and its roll-up proof."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        """Nothing is loaded."""
        self.instance = instance
        self.now = LONG_AFTER
        self.io = DeltaIOManager(storage_path=get_settings().lake_uri)
        instance.add_dynamic_partitions("asset_pair", ["BTCUSD", "EURUSD", "AAPL"])
        bronze = bronze_assets(lambda: self.now)
        keys = [table_key(raw_candles(timeframe)) for timeframe in TIMEFRAMES.values()]
        loading = dg.AssetSelection.assets(*bronze).without_checks()
        self.location = dg.Definitions(
            assets=bronze,
            asset_checks=rollup_checks(),
            jobs=[
                dg.define_asset_job("load", loading),
                dg.define_asset_job("prove", dg.AssetSelection.checks_for_assets(*keys)),
            ],
            resources={"io_manager": self.io},
            executor=dg.in_process_executor,
        )

    def load(
        self,
        *codes: str,
        pair: str = "BTCUSD",
        days: tuple[date, date] = (FRIDAY, SATURDAY),
        **config: str,
    ) -> None:
        """Load days in some timeframes, of the simulated vendor if no other one is named."""
        timeframes = tuple(TIMEFRAMES[code] for code in codes)
        job = self.location.resolve_job_def("load")
        config = {"provider": "simulated"} | config
        box = Box((pair,), *days, timeframes)
        assert run_box(self.instance, job, box, config, lambda _: None) == []

    def revise(self, code: str, row: int, day: date = FRIDAY, **values: float) -> None:
        """Append a version of a bar of BTCUSD with other values."""
        schema = raw_candles(TIMEFRAMES[code])
        where = Where(("BTCUSD",), day_start(day), day_start(day + DAY))
        bar = self.io.lake.read(schema.name, where, newest=True).slice(row, 1)
        later = bar["_extracted_at"][0].as_py() + DAY
        (told,) = bar.to_pylist()
        revised = [told | values | {"_extracted_at": later}]
        self.io.lake.append(schema, type(bar).from_pylist(revised, schema.arrow))

    def prove(
        self,
        *codes: str,
        pair: str = "BTCUSD",
        days: tuple[date, date] = (FRIDAY, SATURDAY),
    ) -> dict[str, list[dg.AssetCheckEvaluation]]:
        """What the check says of each day, by timeframe."""
        timeframes = tuple(TIMEFRAMES[code] for code in codes or COARSE)
        keys = {table_key(raw_candles(timeframe)): timeframe.code for timeframe in timeframes}
        events = list(
            execute(
                self.instance,
                self.location.resolve_job_def("prove"),
                Box((pair,), *days, timeframes),
                checks=[dg.AssetCheckKey(key, ROLLUP_PROOF) for key in keys],
            )
        )
        assert events[-1].event_type_value == "PIPELINE_SUCCESS"
        found: dict[str, list[dg.AssetCheckEvaluation]] = {code: [] for code in keys.values()}
        for event in events:
            if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                found[keys[evaluation.asset_key]].append(evaluation)
        return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("FFE_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(instance)
    get_settings.cache_clear()


def told(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in evaluation.metadata.items()}


def broken(found: dict[str, list[dg.AssetCheckEvaluation]]) -> dict[str, list[str]]:
    """Partitions that do not pass, by timeframe."""
    bad = {code: [str(e.partition) for e in of if not e.passed] for code, of in found.items()}
    return {code: partitions for code, partitions in bad.items() if partitions}


def sample(evaluation: dg.AssetCheckEvaluation) -> Sequence[str]:
    return str(told(evaluation)["sample"]).splitlines()


def test_there_is_one_check_for_every_timeframe_that_has_a_finer_one() -> None:
    specs = [spec for check in rollup_checks() for spec in check.check_specs]
    assert [spec.asset_key.path[-1] for spec in specs] == [f"raw_market_data_{c}" for c in COARSE]
    assert {spec.name for spec in specs} == {ROLLUP_PROOF}
    assert {spec.partitions_def for spec in specs} == {daily_by_pair()}


def test_the_simulated_vendor_agrees_with_itself_in_all_timeframes(desk: Desk) -> None:
    desk.load(*TIMEFRAMES)
    found = desk.prove()
    assert broken(found) == {}
    for code, evaluations in found.items():
        bars = TIMEFRAMES[code].bars_per_day
        assert [e.partition for e in evaluations] == ["BTCUSD|2024-01-05", "BTCUSD|2024-01-06"]
        assert [told(e) for e in evaluations] == [{"count": 0, "judged": bars, "bars": bars}] * 2
        assert {e.description for e in evaluations} == {f"{bars} of {bars} bars compared with 1m"}


def test_a_broken_coarse_bar_is_named_with_both_values_and_only_it(desk: Desk) -> None:
    desk.load(*TIMEFRAMES)
    schema = raw_candles(TIMEFRAMES["1h"])
    right = desk.io.lake.read(schema.name).slice(9, 1).to_pylist()[0]
    desk.revise("1h", 9, high=right["high"] * 1.01, volume=right["volume"] * 2)
    found = desk.prove()
    assert broken(found) == {"1h": ["BTCUSD|2024-01-05"]}
    (friday, _) = found["1h"]
    assert friday.severity is WARN
    assert told(friday)["count"] == 1
    (line,) = sample(friday)
    wrong = f"{right['open']:.10g} {right['high'] * 1.01:.10g} {right['low']:.10g}"
    made = f"{right['open']:.10g} {right['high']:.10g} {right['low']:.10g}"
    assert line.startswith(f"- 2024-01-05T09:00Z simulated {wrong} ")
    assert f"its 1m bars make {made} " in line
    assert line.endswith(f"{right['volume']:.10g}")


def test_a_broken_minute_makes_one_bar_of_every_coarser_timeframe_unequal(desk: Desk) -> None:
    desk.load(*TIMEFRAMES)
    desk.revise("1m", 61, SATURDAY, high=1e6)
    found = desk.prove()
    assert broken(found) == {code: ["BTCUSD|2024-01-06"] for code in COARSE}
    starts = {"5m": "01:00", "15m": "01:00", "1h": "01:00", "4h": "00:00", "1d": "00:00"}
    for code, opens in starts.items():
        (line,) = sample(found[code][1])
        assert line.startswith(f"- 2024-01-06T{opens}Z simulated ")


def test_a_result_is_about_the_newest_materialization_of_its_partition(desk: Desk) -> None:
    desk.load("1h", "1d", days=(FRIDAY, FRIDAY))
    desk.load("1h", "1d", days=(FRIDAY, FRIDAY))
    (evaluation,) = desk.prove("1d")["1d"]
    key = table_key(raw_candles(TIMEFRAMES["1d"]))
    newest = desk.instance.fetch_materializations(key, limit=1).records[0]
    assert evaluation.target_materialization_data is not None
    assert evaluation.target_materialization_data.storage_id == newest.storage_id


def test_a_day_is_compared_with_the_finest_bars_that_are_there(desk: Desk) -> None:
    desk.load("15m", "1h", "4h")
    desk.load("1m", days=(SATURDAY, SATURDAY))
    found = desk.prove("15m", "1h", "4h")
    assert broken(found) == {}
    assert [e.description for e in found["15m"]] == [
        "nothing finer to compare",
        "96 of 96 bars compared with 1m",
    ]
    assert [e.description for e in found["4h"]] == [
        "6 of 6 bars compared with 15m",
        "6 of 6 bars compared with 1m",
    ]


def test_with_nothing_finer_a_day_passes_and_says_so(desk: Desk) -> None:
    desk.load("1h")
    for evaluation in desk.prove("1h")["1h"]:
        assert evaluation.passed
        assert evaluation.description == "nothing finer to compare"
        assert told(evaluation) == {"count": 0, "judged": 0, "bars": 24}


def test_a_finer_table_of_another_vendor_proves_nothing(desk: Desk, shared_data: Path) -> None:
    folder = str(shared_data / "candles" / "oanda")
    days = (date(2026, 2, 11), date(2026, 2, 11))
    desk.load("1m", days=days)
    desk.load("5m", days=days, provider="files", source_dir=folder)
    (evaluation,) = desk.prove("5m", days=days)["5m"]
    assert evaluation.passed
    assert evaluation.description == "nothing finer to compare"


def test_real_bars_of_oanda_are_the_roll_up_of_its_minutes(desk: Desk, shared_data: Path) -> None:
    folder = str(shared_data / "candles" / "oanda")
    days = (date(2026, 2, 10), date(2026, 2, 13))
    desk.load("1m", "5m", days=days, provider="files", source_dir=folder)
    found = desk.prove("5m", days=days)
    assert broken(found) == {}
    # The minutes begin on the 10th at 21:48; on the other days, four of them had no trade.
    assert [e.description for e in found["5m"]] == [
        "26 of 288 bars compared with 1m",
        "288 of 288 bars compared with 1m",
        "288 of 288 bars compared with 1m",
        "264 of 264 bars compared with 1m",
    ]


def write_minutes(folder: Path, *, swapped: int | None = None, lost: int | None = None) -> None:
    """A day and a half of minutes, and their 5m bars, of which no minute is swapped or lost."""
    minutes, bars = (["timestamp,open,high,low,close,volume"] for _ in range(2))
    for n in range(2160):
        opens = day_start(FRIDAY) - DAY / 2 + timedelta(minutes=n)
        high, low = (98, 102) if n == swapped else (102, 98)
        if n != lost:
            minutes.append(f"{opens:%Y-%m-%dT%H:%MZ},100,{high},{low},101,1")
        if n % 5 == 0:
            bars.append(f"{opens:%Y-%m-%dT%H:%MZ},100,102,98,101,5")
    (folder / "BTCUSD_1m.csv").write_text("\n".join(minutes) + "\n")
    (folder / "BTCUSD_5m.csv").write_text("\n".join(bars) + "\n")


def test_a_minute_that_was_refused_is_a_hole_of_ours_and_judges_nobody(
    desk: Desk, tmp_path: Path
) -> None:
    write_minutes(tmp_path, swapped=720 + 7)
    days = (FRIDAY - DAY, FRIDAY)
    desk.load("1m", "5m", days=days, provider="files", source_dir=str(tmp_path))
    (_, friday) = desk.prove("5m", days=days)["5m"]
    assert friday.passed
    assert friday.description == "287 of 288 bars compared with 1m"


def test_a_minute_that_the_vendor_does_not_have_is_a_hole_of_its_own(
    desk: Desk, tmp_path: Path
) -> None:
    write_minutes(tmp_path, lost=720 + 7)
    days = (FRIDAY - DAY, FRIDAY)
    desk.load("1m", "5m", days=days, provider="files", source_dir=str(tmp_path))
    (_, friday) = desk.prove("5m", days=days)["5m"]
    assert friday.description == "288 of 288 bars compared with 1m"
    (line,) = sample(friday)
    assert line == ("- 2024-01-05T00:05Z files 100 102 98 101 5: its 1m bars make 100 102 98 101 4")
    # Asked for while the day was running, the minute may still come.
    desk.now = day_start(FRIDAY + DAY)
    desk.load("1m", days=days, provider="files", source_dir=str(tmp_path))
    (_, friday) = desk.prove("5m", days=days)["5m"]
    assert friday.description == "287 of 288 bars compared with 1m"


def test_a_hole_at_midnight_is_judged_as_any_other_if_the_vendor_was_there_before(
    desk: Desk, tmp_path: Path
) -> None:
    write_minutes(tmp_path, lost=720)
    days = (FRIDAY - DAY, FRIDAY)
    desk.load("1m", "5m", days=days, provider="files", source_dir=str(tmp_path))
    (friday,) = desk.prove("5m", days=(FRIDAY, FRIDAY))["5m"]
    assert friday.description == "288 of 288 bars compared with 1m"
    assert len(sample(friday)) == 1


def test_at_most_twenty_bars_are_named_and_all_are_counted(desk: Desk, tmp_path: Path) -> None:
    write_minutes(tmp_path)
    bars = (tmp_path / "BTCUSD_5m.csv").read_text()
    (tmp_path / "BTCUSD_5m.csv").write_text(bars.replace(",101,", ",100.5,"))
    desk.load("1m", "5m", days=(FRIDAY, FRIDAY), provider="files", source_dir=str(tmp_path))
    (friday,) = desk.prove("5m", days=(FRIDAY, FRIDAY))["5m"]
    assert told(friday)["count"] == 288
    assert len(sample(friday)) == 20


def test_a_bar_of_no_finer_one_says_so(desk: Desk, tmp_path: Path) -> None:
    write_minutes(tmp_path)
    minutes = (tmp_path / "BTCUSD_1m.csv").read_text().splitlines()
    kept = [line for line in minutes if not line.startswith("2024-01-05T03:0")]
    (tmp_path / "BTCUSD_1m.csv").write_text("\n".join(kept) + "\n")
    days = (FRIDAY - DAY, FRIDAY)
    desk.load("1m", "5m", days=days, provider="files", source_dir=str(tmp_path))
    (_, friday) = desk.prove("5m", days=days)["5m"]
    assert [line.rpartition(": ")[2] for line in sample(friday)] == ["no 1m bar"] * 2


def test_forex_without_volume_is_proven_by_its_prices(desk: Desk) -> None:
    desk.load("15m", "1h", "1d", pair="EURUSD")
    found = desk.prove("1h", "1d", pair="EURUSD")
    assert broken(found) == {}
    (friday, saturday) = found["1h"]
    assert friday.description == "22 of 22 bars compared with 15m"
    assert told(saturday) == {"count": 0, "judged": 0, "bars": 0}


def test_hours_of_a_share_are_proven_and_its_sessions_are_not(desk: Desk) -> None:
    desk.load("15m", "1h", "1d", pair="AAPL", days=(FRIDAY - DAY, FRIDAY))
    found = desk.prove("1h", "1d", pair="AAPL", days=(FRIDAY - DAY, FRIDAY))
    assert broken(found) == {}
    assert [e.description for e in found["1h"]][1] == "7 of 7 bars compared with 15m"
    assert "a session of an exchange" in str(found["1d"][1].description)


def test_a_long_range_is_proven_in_parts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffe_lakehouse.rollup_checks._DAYS_AT_ONCE", 2)
    days = (FRIDAY - 3 * DAY, SATURDAY)
    desk.load("1h", "4h", days=days)
    desk.revise("4h", 0, SATURDAY, close=1.0, low=1.0)
    found = desk.prove("4h", days=days)
    assert broken(found) == {"4h": ["BTCUSD|2024-01-06"]}
    assert [e.description for e in found["4h"]] == ["6 of 6 bars compared with 1h"] * 5
