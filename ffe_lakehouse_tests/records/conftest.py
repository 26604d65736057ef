"""A desk for every test."""

from pathlib import Path

import pytest

from ffe_lakehouse_tests.records.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty landing folder, and an empty lake."""
    return Desk(tmp_path)
