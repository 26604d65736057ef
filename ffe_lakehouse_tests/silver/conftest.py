"""A lakehouse for tests of Silver."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.silver_lakehouse import NOW, SilverLakehouse

Open = Callable[[str], SilverLakehouse]


@pytest.fixture
def open_lakehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens lakehouses; the settings are those of the one that was opened last."""
    opened: list[dg.DagsterInstance] = []

    def open_one(name: str) -> SilverLakehouse:
        monkeypatch.setenv("FFE_HOME", str(tmp_path / name))
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / name / "dagster"))
        # Dagster lays out every day since the first one for each run.
        monkeypatch.setenv("FFE_START_DATE", "2020-01-01")
        monkeypatch.setenv("FFE_BASE_TIMEFRAME", "1h")
        monkeypatch.setenv("FFE_CLOCK_FILE", str(tmp_path / "clock"))
        (tmp_path / "clock").write_text(NOW.isoformat())
        get_settings.cache_clear()
        instance = open_instance(get_settings())
        opened.append(instance)
        return SilverLakehouse(instance, NOW)

    yield open_one
    for instance in opened:
        instance.dispose()
    get_settings.cache_clear()


@pytest.fixture
def lakehouse(open_lakehouse: Open) -> SilverLakehouse:
    """One lakehouse."""
    return open_lakehouse("home")
