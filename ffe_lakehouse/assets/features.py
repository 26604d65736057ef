"""Features that users bring: a table for each set of them, computed from enriched bars."""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from ffe_lakehouse.assets.derived import Batch, Compute
from ffe_lakehouse.assets.silver import by_pair, read
from ffe_lakehouse.derivation import Derived, Upstream
from ffe_lakehouse.features import FeatureSet
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.history import HISTORY_DAYS, history_start


def derived_features(features: FeatureSet) -> Derived:
    """What a set reads and writes: it may look back as far as the indicators do."""
    return Derived((features.table,), (Upstream((MARKET_DATA_ENRICHED,), HISTORY_DAYS),))


def compute_features(features: FeatureSet) -> Compute:
    """What computes a set."""
    return partial(_feature_days, features)


def _feature_days(features: FeatureSet, lake: DeltaLakeManager, batch: Batch) -> Sequence[pa.Table]:
    features.usable()
    found = [features.table.arrow.empty_table()]
    for timeframe in TIMEFRAMES.values():
        begin = history_start(timeframe, batch.start)
        where = Where(batch.pairs, begin, batch.end, timeframes=(timeframe.code,))
        for bars in by_pair(read(lake, MARKET_DATA_ENRICHED, where)).values():
            found.append(features.rows(bars, timeframe, batch.start, batch.end))
    return [pa.concat_tables(found)]
