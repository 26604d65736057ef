"""Files in the landing folder: looks of the sensor, and the real runs that they lead to."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.assets.reference import reference_assets
from ffe_lakehouse.automation.jobs import ingestion
from ffe_lakehouse.automation.landing import LANDED_TAG, LANDING, landing, landing_sensor
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.membership import members
from ffe_lakehouse.partitions import ASSET_PAIR, table_key
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.universe import Enrolment, enrol, enrolments
from ffe_lakehouse.watermarks import State, partition_states
from ffe_lakehouse_tests.builders import raw

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
TUESDAY = datetime(2024, 1, 2, tzinfo=UTC)
LONG_AGO = 1_700_000_000


@dataclass
class Landing:
    """An installation with a landing folder.

    Attributes:
        folder: Where files land.
        instance: Dagster's memory.
        logged: What the last look said.
    """

    folder: Path
    instance: dg.DagsterInstance
    logged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The code location, with a clock that stands still."""
        self.definitions = dg.Definitions(
            assets=[*bronze_assets(lambda: NOW), *reference_assets()],
            jobs=[ingestion, landing],
            sensors=[landing_sensor(lambda: NOW)],
            resources={"io_manager": DeltaIOManager(storage_path=get_settings().lake_uri)},
            executor=dg.in_process_executor,
        )

    @property
    def lake(self) -> DeltaLakeManager:
        """Its tables."""
        return DeltaLakeManager(get_settings().lake_uri)

    def put(self, name: str, content: str | bytes, changed: float = LONG_AGO) -> Path:
        """A file that nobody writes any more."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (changed, changed))
        return path

    def candles(
        self, name: str, hours: int = 24, start: datetime = TUESDAY, price: float = 100.0
    ) -> Path:
        """A file of hourly candles."""
        path = self.put(name, "")
        rows = raw(start, hours, price=price)
        pq.write_table(rows, path) if path.suffix == ".parquet" else pa_csv.write_csv(rows, path)
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def look(self) -> list[dg.RunRequest]:
        """What the sensor requests; Dagster's daemon does the rest in this order, too."""
        sensor = self.definitions.resolve_sensor_def("landing_sensor")
        with dg.build_sensor_context(self.instance, definitions=self.definitions) as context:
            found = sensor.evaluate_tick(context)
        self.skipped = found.skip_message
        for event in found.asset_events:
            self.instance.report_runless_asset_event(event)
        for request in found.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(ASSET_PAIR, request.partition_keys)
        return list(found.run_requests or ())

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Execute a requested run."""
        job = self.definitions.resolve_job_def(str(request.job_name))
        return job.execute_in_process(
            run_config=request.run_config,
            tags=request.tags,
            asset_selection=request.asset_selection,
            instance=self.instance,
            raise_on_error=False,
        )

    def land(self) -> list[dg.ExecuteInProcessResult]:
        """Look once, and execute all that is requested."""
        return [self.run(request) for request in self.look()]

    def states(self, pair: str, first: date, last: date, code: str = "1h") -> list[State]:
        """Where the days of a pair stand."""
        key = table_key(raw_candles(TIMEFRAMES[code]))
        return list(partition_states(self.instance, key, [pair], first, last, NOW).values())

    def prices(self, code: str = "1h") -> list[float]:
        """The open of every version of every bar."""
        rows = self.lake.read(raw_candles(TIMEFRAMES[code]).name)
        found: list[float] = rows["open"].to_pylist()
        return found


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Landing]:
    monkeypatch.setenv("FFE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    get_settings.cache_clear()
    with open_instance(get_settings()) as instance:
        yield Landing(tmp_path / "landing", instance)
    get_settings.cache_clear()


def why(result: dg.ExecuteInProcessResult) -> str:
    """What a failed run says."""
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert error is not None
    return f"{error.message} {error.cause.message if error.cause else ''}"


def days(request: dg.RunRequest) -> tuple[str, str]:
    return (
        request.tags["dagster/asset_partition_range_start"],
        request.tags["dagster/asset_partition_range_end"],
    )


# --- what is looked for


def test_without_a_folder_the_sensor_says_where_it_looked(installation: Landing) -> None:
    assert installation.look() == []
    assert installation.skipped is not None
    assert str(installation.folder) in installation.skipped
    assert "candles/" in installation.skipped
    (installation.folder / "candles").mkdir(parents=True)
    assert installation.look() == []


def test_another_folder_can_be_named(
    installation: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_LANDING_DIR", str(tmp_path / "inbox"))
    get_settings.cache_clear()
    installation.folder = tmp_path / "inbox"
    installation.candles("candles/BTCUSD_1h.csv")
    (run,) = installation.land()
    assert run.success


def test_a_file_that_is_still_written_is_left_alone(installation: Landing) -> None:
    installation.put("symbols/fresh.csv", "symbol\nAAPL\n", changed=time.time())
    installation.put("symbols/.hidden.csv", "symbol\nAAPL\n")
    installation.put("candles/BTCUSD_1h.csv.part", "timestamp,op")
    assert installation.look() == []
    installation.put("symbols/fresh.csv", "symbol\nAAPL\n", changed=time.time() - 60)
    assert len(installation.look()) == 1


def test_a_file_whose_time_is_far_ahead_is_loaded_nevertheless(installation: Landing) -> None:
    installation.put("symbols/ahead.csv", "symbol\nAAPL\n", changed=time.time() + 86_400)
    assert len(installation.look()) == 1


# --- candle files


@pytest.mark.parametrize("name", ["BTCUSD_1h.parquet", "btc-usd_60min.csv"])
def test_a_candle_file_becomes_a_run_over_its_days_and_no_others(
    installation: Landing, name: str
) -> None:
    installation.candles(f"candles/{name}", 30, TUESDAY + timedelta(hours=20))
    (request,) = installation.look()
    assert days(request) == ("BTCUSD|2024-01-02", "BTCUSD|2024-01-04")
    assert request.asset_selection == [
        table_key(table(TIMEFRAMES["1h"])) for table in (dead_letters, raw_candles)
    ]
    assert request.asset_check_keys == []  # None would be all checks, on every day
    assert installation.run(request).success
    assert len(installation.prices()) == 30
    assert State.MISSING not in installation.states("BTCUSD", date(2024, 1, 2), date(2024, 1, 4))
    around = (date(2024, 1, 1), date(2024, 1, 5))
    assert [installation.states("BTCUSD", each, each) for each in around] == [[State.MISSING]] * 2


def test_a_file_is_loaded_once(installation: Landing) -> None:
    installation.candles("candles/BTCUSD_1h.csv")
    assert len(installation.land()) == 1
    assert installation.look() == []
    assert len(installation.instance.get_runs()) == 1


def test_what_was_loaded_is_forgotten_with_its_run(installation: Landing) -> None:
    installation.candles("candles/BTCUSD_1h.csv")
    (run,) = installation.land()
    installation.instance.delete_run(run.run_id)
    assert len(installation.look()) == 1


def test_two_looks_before_a_run_begins_ask_for_it_under_one_key(installation: Landing) -> None:
    installation.candles("candles/BTCUSD_1h.csv")
    (first,), (second,) = installation.look(), installation.look()
    assert first.run_key == second.run_key == first.tags[LANDED_TAG]
    assert str(first.run_key).startswith("candles/BTCUSD_1h.csv:")


def test_a_changed_file_is_loaded_again_and_only_what_differs_is_added(
    installation: Landing,
) -> None:
    path = installation.candles("candles/BTCUSD_1h.csv")
    installation.land()
    os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
    assert len(installation.land()) == 1
    assert len(installation.prices()) == 24
    rows = path.read_text().splitlines()
    rows[1] = rows[1].replace("100,102", "101,102")
    path.write_text("\n".join(rows))
    os.utime(path, (LONG_AGO + 2, LONG_AGO + 2))
    installation.land()
    assert sorted(installation.prices())[-2:] == [100.0, 101.0]
    assert len(installation.prices()) == 25


def test_a_new_pair_is_enrolled_for_files_so_that_no_vendor_is_asked_for_it(
    installation: Landing,
) -> None:
    installation.candles("candles/BTCUSD_1h.csv")
    installation.land()
    assert enrolments(installation.instance) == {"BTCUSD": Enrolment("files", None)}


def test_a_known_pair_stays_with_its_provider(installation: Landing) -> None:
    enrol(installation.instance, ["BTCUSD"], start=None, provider="coinbase")
    installation.candles("candles/BTCUSD_1h.csv")
    (run,) = installation.land()
    assert run.success
    assert enrolments(installation.instance) == {"BTCUSD": Enrolment("coinbase", None)}


def test_files_of_one_pair_over_the_same_days_are_one_run(installation: Landing) -> None:
    installation.candles("candles/BTCUSD_1h.csv")
    installation.candles("candles/BTCUSD_4h.csv", 1)
    installation.candles("candles/BTCUSD_1d.csv", 30)
    installation.candles("candles/ETHUSD_1h.csv")
    requests = installation.look()
    assert sorted((days(request), len(request.asset_selection or ())) for request in requests) == [
        (("BTCUSD|2024-01-02", "BTCUSD|2024-01-02"), 4),
        (("BTCUSD|2024-01-02", "BTCUSD|2024-01-03"), 2),
        (("ETHUSD|2024-01-02", "ETHUSD|2024-01-02"), 2),
    ]
    both = next(request for request in requests if len(request.asset_selection or ()) == 4)
    assert len(both.tags[LANDED_TAG].split()) == 2
    for request in requests:
        installation.run(request)
    assert installation.look() == []


def test_bars_before_the_first_day_of_the_lake_are_left_out(
    installation: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_START_DATE", "2024-01-03")
    get_settings.cache_clear()
    installation.candles("candles/BTCUSD_1h.csv", 48)
    installation.candles("candles/ETHUSD_1h.csv", 24)
    fault, request = installation.look()
    assert days(request) == ("BTCUSD|2024-01-03", "BTCUSD|2024-01-03")
    assert "no bar from FFE_START_DATE=2024-01-03 until now" in why(installation.run(fault))


def test_a_bar_that_has_not_closed_does_not_count(installation: Landing) -> None:
    installation.candles("candles/BTCUSD_1h.csv", 48, NOW.replace(hour=0))
    (request,) = installation.look()
    assert days(request) == ("BTCUSD|2024-06-01", "BTCUSD|2024-06-01")
    assert installation.run(request).success
    assert len(installation.prices()) == 12


# --- files that cannot be loaded


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("candles/BTCUSD_1h.parquet", "no Parquet", "cannot read .*BTCUSD_1h.parquet"),
        ("candles/BTCUSD_1h.csv", "timestamp,open\n", "has no column high"),
        ("candles/BTCUSD_1h.csv", "time,open,high,low,close\nx,1,1,1,1\n", "no time of column"),
        ("candles/BTCUSD_1h.csv", "time,open,high,low,close\n", "no bar from"),
        ("candles/BTCUSD_2h.csv", "timestamp\n", "its name is not PAIR_TIMEFRAME"),
        ("candles/notes.txt", "hello", "its name is not PAIR_TIMEFRAME"),
        ("symbols/list.xlsx", "PK", "a symbol list ends in .csv or .txt"),
        ("symbols/list.csv", "symbol\nAAPL\nGOO GLE\n", "line 3 'GOO GLE'"),
        ("symbols/---.txt", "AAPL\n", "names no index"),
        ("BTCUSD_1h.csv", "timestamp\n", "move it into candles/ or symbols/"),
    ],
)
def test_a_file_that_cannot_be_loaded_makes_one_failed_run_that_says_why(
    installation: Landing, name: str, content: str, reason: str
) -> None:
    path = installation.put(name, content)
    installation.candles("candles/ETHUSD_1h.csv")
    failed, loaded = sorted(installation.land(), key=lambda run: run.success)
    assert not failed.success
    assert loaded.success
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(why(failed))
    assert path.name in why(failed)
    assert installation.look() == []
    assert set(enrolments(installation.instance)) == {"ETHUSD"}


@pytest.mark.parametrize(
    ("reason", "again"), [(RunFailureReason.STEP_FAILURE, False), (RunFailureReason.UNKNOWN, True)]
)
def test_dagster_runs_again_whose_process_died_and_not_what_a_bad_file_failed(
    installation: Landing, reason: RunFailureReason, again: bool
) -> None:
    installation.put("candles/BTCUSD_1h.csv", "rubbish")
    (result,) = installation.land()
    run = installation.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert auto_reexecution_should_retry_run(installation.instance, run, reason) is again


def test_of_two_files_of_one_name_the_one_that_is_not_read_is_named(installation: Landing) -> None:
    installation.candles("candles/BTCUSD_1h.parquet")
    installation.candles("candles/BTCUSD_1h.csv", price=200.0)
    failed, loaded = installation.land()
    assert "BTCUSD_1h.csv was not loaded" in why(failed)
    assert loaded.success
    assert set(installation.prices()) == {100.0}


def test_two_spellings_of_one_pair_are_refused_both(installation: Landing) -> None:
    installation.candles("candles/BTCUSD_1h.csv")
    installation.candles("candles/BTC-USD_1h.csv")
    runs = installation.land()
    assert [run.success for run in runs] == [False, False]
    assert all("keep one of them" in why(run) for run in runs)


def test_a_file_that_is_too_large_to_be_looked_through_names_the_way_out(
    installation: Landing,
) -> None:
    path = installation.put("candles/BTCUSD_1m.csv.gz", "")
    with path.open("wb") as file:
        file.truncate(110 * 2**20)  # a sparse file; unpacked it would be five times as large
    os.utime(path, (LONG_AGO, LONG_AGO))
    (run,) = installation.land()
    assert "`ffe backfill --source" in why(run)


# --- symbol lists


def test_a_symbol_list_is_remembered_as_an_index_and_its_pairs_are_enrolled(
    installation: Landing,
) -> None:
    installation.put("symbols/Tech-2024.csv", "symbol\nAAPL\nMSFT\n")
    installation.put("symbols/coins.txt", "# mine\nBTCUSD\n")
    assert [run.success for run in installation.land()] == [True, True]
    assert members(installation.lake, "tech_2024", NOW.date()) == ["AAPL", "MSFT"]
    assert members(installation.lake, "coins", NOW.date()) == ["BTCUSD"]
    assert set(enrolments(installation.instance)) == {"AAPL", "BTCUSD", "MSFT"}
    assert installation.look() == []


def test_an_index_is_of_the_day_on_which_its_list_was_seen(installation: Landing) -> None:
    installation.put("symbols/tech.csv", "symbol\nAAPL\n")
    (request,) = installation.look()
    assert request.job_name == LANDING
    assert request.run_config["ops"]["land"]["config"]["as_of"] == "2024-06-01"


# --- many files


def test_a_look_takes_a_limited_number_of_files_and_the_next_ones_the_others(
    installation: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_MAX_RUNS_PER_TICK", "3")
    get_settings.cache_clear()
    for number in range(4):
        installation.put(f"symbols/list-{number}.txt", f"A{number}USD\n")
    for number in range(3):
        installation.candles(f"candles/B{number}USD_1h.csv", 1)
    assert [len(installation.land()) for _ in range(4)] == [3, 3, 1, 0]
    assert len(enrolments(installation.instance)) == 7
