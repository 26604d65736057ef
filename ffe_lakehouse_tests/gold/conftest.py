"""Lakes for tests of the marts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ffe_lakehouse.gold.runner import prepare
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold_lake import GoldLake


@pytest.fixture(scope="session")
def dbt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What dbt knows of the project: read once."""
    return prepare(tmp_path_factory.mktemp("dbt"))


@pytest.fixture
def gold(tmp_path: Path, dbt_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoldLake]:
    """An empty lake; settings are the defaults."""
    monkeypatch.setenv("FFE_HOME", str(tmp_path))
    monkeypatch.setenv("FFE_START_DATE", "2023-01-01")
    get_settings.cache_clear()
    yield GoldLake(DeltaLakeManager(tmp_path / "lake"), dbt_folder)
    get_settings.cache_clear()
