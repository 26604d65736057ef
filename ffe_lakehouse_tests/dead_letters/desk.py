"""A Dagster instance, a lake, a folder of candle files, and the assets that work on them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.assets.closings import CLOSING_OP, closings_asset
from ffe_lakehouse.automation.jobs import CHECKING
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.checks import CHECKS
from ffe_lakehouse.dead_letters import open_letters, read_closings, read_letters
from ffe_lakehouse.definitions import below_gold
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import days_between, partition_key, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import CLOSINGS, dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import Known, latest_materializations, metadata_of, survey

HOURS = TIMEFRAMES["1h"]
BARS, LETTERS = raw_candles(HOURS), dead_letters(HOURS)
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 5)
DAYS = days_between(FIRST, LAST)
LONG_AFTER = datetime(2024, 6, 1, tzinfo=UTC)
SWAPPED = {"high": "low", "low": "high"}


def write_file(folder: Path, swapped: int, pair: str = "BTCUSD") -> None:
    """Five days of hours; of the first ``swapped`` of them, high and low have changed places."""
    lines = ["timestamp,open,high,low,close,volume"]
    for n in range(24 * len(DAYS)):
        opens = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=n)
        high, low = (98, 102) if n < swapped else (102, 98)
        lines.append(f"{opens:%Y-%m-%dT%H:%MZ},{100 + n / 1000},{high},{low},101,{n + 1}")
    (folder / f"{pair}_1h.csv").write_text("\n".join(lines) + "\n")


class Desk:
    """What a test does, and what it looks at.

    Attributes:
        now: The present moment; a test may set it.
        instance: Dagster's memory.
        folder: Where the candle files lie.
        io: The lake, for Dagster; a test may take one that breaks.
    """

    def __init__(self, instance: dg.DagsterInstance, folder: Path) -> None:
        """An empty lake, where the settings say."""
        self.now = LONG_AFTER
        self.instance, self.folder = instance, folder
        self.io = DeltaIOManager(storage_path=get_settings().lake_uri)
        if not instance.get_dynamic_partitions("asset_pair"):
            instance.add_dynamic_partitions("asset_pair", ["BTCUSD", "ETHUSD"])

    @property
    def lake(self) -> DeltaLakeManager:
        """The lake, whatever ``io`` does."""
        return DeltaLakeManager(get_settings().lake_uri)

    def load(self, first: date = FIRST, last: date = LAST, pair: str = "BTCUSD") -> bool:
        """Load the file of a pair; whether no day failed."""
        asset = next(each for each in bronze_assets(lambda: self.now) if _bars(each))
        config = {"provider": "files", "source_dir": str(self.folder)}
        return self._run(asset, "raw_market_data_1h", config, (first, last), (pair, pair))

    def close(
        self,
        action: str = "replay",
        *,
        days: tuple[date, date] = (FIRST, LAST),
        pairs: tuple[str, str] = ("BTCUSD", "BTCUSD"),
        **config: Any,
    ) -> bool:
        """Run the asset of the closings; whether it succeeded."""
        asked = {"action": action, "why": "because", "by": "ada", **config}
        asset = closings_asset(lambda: self.now)
        return self._run(asset, CLOSING_OP, asked, days, pairs)

    def _run(
        self,
        asset: dg.AssetsDefinition,
        op: str,
        config: Mapping[str, Any],
        days: tuple[date, date],
        pairs: tuple[str, str],
    ) -> bool:
        first, last = (partition_key(pairs[n], days[n]) for n in (0, 1))
        tags = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        return dg.materialize(
            [asset],
            instance=self.instance,
            resources={"io_manager": self.io},
            tags=tags,
            run_config={"ops": {op: {"config": dict(config)}}},
            raise_on_error=False,
        ).success

    def bars(self) -> list[tuple[Any, ...]]:
        """Every version of every bar, but for when and by which write it came."""
        names = [
            name for name in BARS.arrow.names if name not in ("_extracted_at", "_ingestion_id")
        ]
        rows = self.lake.read(BARS.name, columns=names).to_pylist()
        return sorted(tuple(map(str, row.values())) for row in rows)

    def letters(self) -> pa.Table:
        """All letters, open and closed."""
        return read_letters(self.lake, [HOURS])

    def open(self) -> pa.Table:
        """The open ones."""
        return open_letters(self.letters(), read_closings(self.lake))

    def closings(self) -> list[dict[str, Any]]:
        """All closings."""
        return read_closings(self.lake).to_pylist()

    def known(self, days: Sequence[date] = DAYS, pair: str = "BTCUSD") -> list[Known]:
        """What is known of the days of the bars."""
        keys = [str(partition_key(pair, day)) for day in days]
        return list(survey(self.instance, table_key(BARS), keys, self.now).values())

    def told(self, table: str, day: date, pair: str = "BTCUSD") -> dict[str, Any]:
        """The last metadata of a day of ``bars``, ``letters`` or ``closings``."""
        key = table_key({"bars": BARS, "letters": LETTERS, "closings": CLOSINGS}[table])
        partition = str(partition_key(pair, day))
        record = latest_materializations(self.instance, key, [partition]).get(partition)
        return {} if record is None else {n: v.value for n, v in metadata_of(record).items()}

    def reports(self) -> int:
        """How often a day of bars was reported."""
        return len(self.instance.fetch_materializations(table_key(BARS), limit=1000).records)

    def broken(self, pair: str = "BTCUSD") -> list[tuple[str, str]]:
        """Checks of severity ERROR that do not pass, with their partition."""
        events = execute(
            self.instance,
            below_gold().resolve_job_def(CHECKING),
            Box((pair,), FIRST, LAST, (HOURS,)),
            checks={dg.AssetCheckKey(table_key(BARS), name) for name in CHECKS},
        )
        found = [
            event.asset_check_evaluation_data
            for event in events
            if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]
        assert found
        error = dg.AssetCheckSeverity.ERROR
        return [
            (each.check_name, str(each.partition))
            for each in found
            if not each.passed and each.severity is error
        ]


def _bars(asset: dg.AssetsDefinition) -> bool:
    return table_key(BARS) in asset.keys
