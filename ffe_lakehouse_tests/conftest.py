"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The machine that runs the tests may be busy: a slow example is no failure.
settings.register_profile("lakehouse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lakehouse")

REPOSITORY = Path(__file__).resolve().parent.parent


ACCEPTED_WARNINGS = [
    # exchange_calendars 4.13.2 uses what pandas 3.1 deprecates; the first is blamed on pandas.
    "ignore:Series.values returning an ndarray that drops timezone:DeprecationWarning",
    "ignore::DeprecationWarning:exchange_calendars",
    # dagster-dbt 0.29 asks for sqlglot[rs], of which sqlglot 30 says to use another one.
    "ignore:sqlglotrs is deprecated:DeprecationWarning",
    "ignore:sqlglot.rs. is deprecated:UserWarning",
]


def pytest_configure(config: pytest.Config) -> None:
    for line in ACCEPTED_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recorded vendor data: ``$FFE_SHARED/data``; ``shared`` lies beside the repository."""
    folder = Path(os.environ.get("FFE_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}: set FFE_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1")  # so that its absence is restored
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
