"""A lake and a Dagster home of their own, and the commands under test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ffe_lakehouse.cli import dlq, pairs, providers, tables
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.ingestion import Ingestion
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import PairDays
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.settings import SimulatedFaults, get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 3)


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit code, and all that it wrote."""

    code: int
    text: str


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation of its own; the working directory is there, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FFE_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "data" / "dagster"))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


@pytest.fixture
def lake(home: Path) -> DeltaLakeManager:
    """The lake of this installation."""
    return DeltaLakeManager(get_settings().lake_uri)


Fill = Callable[..., None]


@pytest.fixture
def fill(lake: DeltaLakeManager) -> Fill:
    """Loads ``FIRST`` to ``LAST`` of a pair; the vendor's clock is at ``now``."""

    def load(
        pair: str,
        timeframe: str = "1h",
        *,
        now: datetime = datetime(2024, 2, 1, tzinfo=UTC),
        generation: int = 0,
        **faults: float,
    ) -> None:
        ingestion = Ingestion(
            provider=SimulatedProvider(0, SimulatedFaults(**faults), generation),
            timeframe=TIMEFRAMES[timeframe],
            batch_days=2,
            max_reject_ratio=1,
            run_id="run-1",
            write=lambda schema, rows, where: lake.append_if_changed(
                schema,
                rows,
                where,
                {"dagster/run_id": "0123456789abcdef", "dagster/partitions": f"{pair}|days"},
            ),
            clock=lambda: now,
        )
        list(ingestion.days(PairDays(pair, FIRST, LAST)))

    return load


@pytest.fixture
def ffe() -> Callable[..., Outcome]:
    """Runs a command as the ``ffe`` script does: a wrong input is one line and exit code 2."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(tables.read)
    app.command("tables")(tables.tables)
    app.command()(tables.history)
    app.command("providers")(providers.providers)
    app.add_typer(dlq.app)
    app.add_typer(pairs.app)

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(result.exception, InputError):
            return Outcome(2, f"ffe: {result.exception}")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.output)

    return run


Run = Callable[..., Outcome]
