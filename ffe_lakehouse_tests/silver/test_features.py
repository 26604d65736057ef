"""The example of ``docs/features.md`` as a Silver table, by the commands that it names."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from ffe_lakehouse.features import FeatureSet
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.silver.test_commands import ffe  # noqa: F401 - a fixture
from ffe_lakehouse_tests.test_features import (
    Install,
    documented,  # noqa: F401 - a fixture
    install,  # noqa: F401 - a fixture
)

DAYS = ("--assets", "BTCUSD", "--start", "2025-12-20", "--end", "2025-12-21")
BOTH = ("backfill", *DAYS, "--timeframes", "1h", "--layers", "bronze,silver")


def rows(name: str) -> int:
    lake = DeltaLakeManager(get_settings().lake_uri)
    return lake.read(name).num_rows if lake.table_exists(name) else 0


def test_the_documented_features_are_a_table_that_follows_the_bars(
    ffe: Callable[..., Result],  # noqa: F811 - the fixture
    documented: FeatureSet,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    assert ffe(*BOTH).exit_code == 0
    assert rows("silver/features_momentum") == rows(MARKET_DATA_ENRICHED.name) == 48
    shown = ffe("read", "silver/features_momentum", "--columns", "timestamp,momentum_10,mood")
    assert "48 rows of silver/features_momentum" in shown.output
    assert "unknown" in shown.output  # two days are too few to be warm
    assert ffe("check", *DAYS, "--timeframes", "1h").exit_code == 0
    assert documented.function is not None


def test_features_that_cannot_be_used_fail_alone_and_say_why(
    ffe: Callable[..., Result],  # noqa: F811 - the fixture
    install: Install,  # noqa: F811 - the fixture
) -> None:
    code = "def ahead(frame):\n    frame['next'] = frame['close'].shift(-1)\n    return frame\n"
    install("desk_ahead", "desk_ahead", code, ahead="desk_ahead:ahead")
    outcome = ffe(*BOTH)
    assert outcome.exit_code == 1
    assert "'next' looks ahead" in outcome.output
    assert rows("silver/features_ahead") == 0
    assert rows(MARKET_DATA_ENRICHED.name) == 48


@pytest.mark.parametrize("name", ["silver/features_momentum", "features_momentum"])
def test_without_the_package_there_is_no_such_table(
    ffe: Callable[..., Result],  # noqa: F811 - the fixture
    name: str,
) -> None:
    with pytest.raises(Exception, match="unknown table"):
        ffe("read", name)
