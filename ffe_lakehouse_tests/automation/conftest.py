"""An installation whose clock the tests move, and whose sensors they ask."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from ffe_lakehouse.definitions import below_gold
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.universe import enrol
from ffe_lakehouse.watermarks import State, partition_states

FRIDAY = datetime(2024, 3, 8, 10, 0, 20, tzinfo=UTC)
ITS_RUN = {"_extracted_at", "_ingestion_id"}
"""Columns that say when, and by which write, a row came."""


@dataclass
class Lakehouse:
    """One installation.

    Attributes:
        folder: Its home.
        instance: Its memory.
        definitions: Its code location.
        runs: Every run that was launched, in order.
    """

    folder: Path
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    runs: list[dg.RunRequest] = field(default_factory=list)

    @property
    def lake(self) -> DeltaLakeManager:
        """Its tables."""
        return DeltaLakeManager(get_settings().lake_uri)

    @property
    def now(self) -> datetime:
        """What its clock says."""
        return datetime.fromisoformat((self.folder / "clock").read_text())

    def move(self, to: datetime | timedelta) -> None:
        """Set the clock, or put it forward."""
        moment = self.now + to if isinstance(to, timedelta) else to
        (self.folder / "clock").write_text(moment.isoformat())

    def add(self, *pairs: str, start: date | None = None, provider: str | None = None) -> None:
        """Take pairs into the universe."""
        enrol(self.instance, pairs, start=start, provider=provider)

    def due(self) -> list[dg.RunRequest]:
        """What the incremental sensor requests now."""
        sensor = self.definitions.resolve_sensor_def("incremental_load_sensor")
        with dg.build_sensor_context(self.instance, definitions=self.definitions) as context:
            return list(sensor.evaluate_tick(context).run_requests or ())

    def tick(self) -> list[dg.RunRequest]:
        """Launch what is due, as the daemon does: one run a key."""
        requests = self.due()
        for request in requests:
            self.launch(request)
        return requests

    def launch(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Execute a requested run here."""
        assert request.run_key not in {run.run_key for run in self.runs}
        self.runs.append(request)
        checks = request.asset_check_keys
        job = self.definitions.resolve_job_def(str(request.job_name)).get_subset(
            asset_selection=set(request.asset_selection or ()),
            asset_check_selection=None if checks is None else set(checks),
        )
        return job.execute_in_process(
            run_config={**request.run_config, **QUIET},
            tags=request.tags,
            instance=self.instance,
            raise_on_error=False,
        )

    def states(self, pair: str, code: str, first: date, last: date) -> list[State]:
        """Where the days of a pair stand."""
        key = table_key(raw_candles(TIMEFRAMES[code]))
        return list(partition_states(self.instance, key, [pair], first, last, self.now).values())

    def loads(self) -> Counter[tuple[str, str]]:
        """How often each day of each pair was loaded, by timeframe and partition."""
        found: Counter[tuple[str, str]] = Counter()
        for code, timeframe in TIMEFRAMES.items():
            key = table_key(raw_candles(timeframe))
            records = self.instance.fetch_materializations(key, limit=10_000).records
            found.update((code, str(record.partition_key)) for record in records)
        return found

    def bars(self) -> dict[str, pa.Table]:
        """Every Bronze table, without the columns that differ from run to run."""
        found = {}
        for timeframe in TIMEFRAMES.values():
            schema = raw_candles(timeframe)
            if self.lake.table_exists(schema.name):
                names = [name for name in schema.arrow.names if name not in ITS_RUN]
                rows = self.lake.read(schema.name, columns=names)
                found[schema.name] = rows.sort_by([(name, "ascending") for name in schema.key])
        return found


QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Open = Callable[..., Lakehouse]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens installations; the settings are those of the one that was opened last."""
    opened: list[dg.DagsterInstance] = []

    def open_one(name: str = "home", now: datetime = FRIDAY, **settings: object) -> Lakehouse:
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("FFE_HOME", str(folder))
        monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))
        monkeypatch.setenv("FFE_CLOCK_FILE", str(folder / "clock"))
        # Dagster lays out every day since the first one for each run: 0.4 s since 2015.
        settings = {"start_date": "2024-01-01"} | settings
        for setting, value in settings.items():
            text = value if isinstance(value, str) else json.dumps(value)
            monkeypatch.setenv(f"FFE_{setting.upper()}", text)
        get_settings.cache_clear()
        instance = open_instance(get_settings())
        opened.append(instance)
        made = Lakehouse(folder, instance, below_gold())
        made.move(now)
        return made

    yield open_one
    for instance in opened:
        instance.dispose()
    get_settings.cache_clear()


@pytest.fixture
def lakehouse(installation: Open) -> Lakehouse:
    """One installation with the settings that everybody has."""
    return installation()


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the simulated vendor fail for these pairs from now on, and for no others."""

    def fail(*pairs: str) -> None:
        monkeypatch.setenv("FFE_SIMULATED_FAULTS", json.dumps({"failing_pairs": pairs}))
        get_settings.cache_clear()

    return fail
