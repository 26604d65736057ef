"""Silver on a cluster: two executors, each a process of its own."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ffe_lakehouse.assets.derived import Batch
from ffe_lakehouse.assets.silver import enrich_days
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.spark import SparkEngine
from ffe_lakehouse.providers.base import CandleQuery
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED, MARKET_DATA_UNIFIED
from ffe_lakehouse.settings import SimulatedFaults, get_settings
from ffe_lakehouse.spark_silver import enrich_pairs
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.fusion import fuse
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows
from ffe_lakehouse_tests.conftest import REPOSITORY
from ffe_lakehouse_tests.spark.conftest import running

pytestmark = pytest.mark.spark
CODES = ("1h", "1d")
# Forex and a share have closed days, and the former no volume.
PAIRS = ("AAPL", "ADAUSD", "BTCUSD", "DOGEUSD", "ETHUSD", "EURUSD", "LINKUSD", "LTCUSD", "SOLUSD")
PAIRS = (*PAIRS, "XRPUSD")
QUARTER = Batch(PAIRS, date(2024, 1, 1), date(2024, 3, 30))
SINCE = datetime(2023, 9, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SparkEngine]:
    """A master, two workers, and an executor of each."""
    # Workers begin with an environment of their own.
    with running(
        "local-cluster[2,1,1024]", {"spark.executorEnv.PYTHONPATH": str(REPOSITORY)}
    ) as on:
        import pyspark

        yield on
        application = str(on.session.sparkContext.applicationId)
    home = os.environ.get("SPARK_HOME", Path(pyspark.__file__).parent)
    shutil.rmtree(Path(home, "work", application), ignore_errors=True)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> DeltaLakeManager:
    """Unified bars of a quarter, and of what its indicators look back at."""
    lake = DeltaLakeManager(tmp_path_factory.mktemp("lake"), durable=False)
    priority = get_settings().provider_priority
    unified = []
    for pair in PAIRS:
        for timeframe in (TIMEFRAMES[code] for code in CODES):
            query = CandleQuery(parse_symbol(pair), timeframe, SINCE, QUARTER.end)
            pages = SimulatedProvider(0, SimulatedFaults()).fetch(query)
            candles = pa.concat_tables([page.candles for page in pages])
            source = Provenance(True, pair, timeframe, QUARTER.end)
            vendor = pa.array(["simulated"] * candles.num_rows)
            unified.append(fuse(bronze_rows(candles, vendor, source), timeframe, priority))
    lake.append(MARKET_DATA_UNIFIED, pa.concat_tables(unified))
    return lake


def test_two_executors_enrich_as_this_process_does(
    cluster: SparkEngine, lake: DeltaLakeManager
) -> None:
    found = enrich_pairs(cluster, lake, PAIRS, QUARTER.start, QUARTER.end)
    context = cluster.session.sparkContext
    assert context._jsc.sc().getExecutorMemoryStatus().size() == 1 + 2  # and the driver

    order = [(name, "ascending") for name in MARKET_DATA_ENRICHED.sort_by]
    expected = enrich_days(lake, QUARTER)[0].sort_by(order)
    assert expected.num_rows > 10 * 90
    assert pc.count_distinct(expected["asset_pair"]).as_py() == 10
    assert found.schema.equals(expected.schema)
    for name in expected.column_names:
        here, there = expected[name], found[name]
        assert here.is_null().equals(there.is_null()), name
        if pa.types.is_floating(here.type):
            np.testing.assert_allclose(
                there.to_numpy(), here.to_numpy(), rtol=1e-9, atol=1e-9, err_msg=name
            )
        else:
            assert here.equals(there), name


def test_what_was_never_unified_cannot_be_enriched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no silver/market_data_unified"):
        enrich_pairs(SparkEngine(), DeltaLakeManager(tmp_path), PAIRS, QUARTER.start, QUARTER.end)
