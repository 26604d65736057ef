"""Bronze rows of several vendors: a handful that a test spells out, or real ones from a file."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ffe_lakehouse.providers.base import CandleQuery
from ffe_lakehouse.providers.files import FilesProvider
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows
from ffe_lakehouse_tests.builders import KNOWN, START, raw

HOUR = timedelta(hours=1)


class Said(NamedTuple):
    """One version of one 1h bar of one vendor.

    ``slot`` counts hours from ``START``, ``known`` hours from ``KNOWN``.
    """

    vendor: str
    slot: int = 0
    known: int = 0
    close: float = 100.0
    is_mock: bool = False
    pair: str = "BTCUSD"
    volume: float | None = 5.0


def bronze(said: Sequence[Said]) -> pa.Table:
    """What was said as rows of Bronze 1h, in the same order; high and low leave room for any."""
    candles = raw(
        START,
        len(said),
        timestamp=[START + each.slot * HOUR for each in said],
        high=1e6,
        low=1e-6,
        close=[each.close for each in said],
        volume=[each.volume for each in said],
    )
    vendors = pa.array([each.vendor for each in said], pa.string())
    source = Provenance(False, "BTCUSD", TIMEFRAMES["1h"], KNOWN)
    rows = bronze_rows(candles, vendors, source)
    pairs = [each.pair for each in said]
    own = {
        "asset_pair": pairs,
        "partition_asset_pair": pairs,
        "_extracted_at": [KNOWN + each.known * HOUR for each in said],
        "is_mock": [each.is_mock for each in said],
    }
    for name, values in own.items():
        field = rows.schema.field(name)
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, field, pa.array(values, field.type))
    return rows


def real_candles(folder: Path, pair: str, code: str) -> pa.Table:
    """All candles of a recorded file, by ``RAW_CANDLES``."""
    start, end = datetime(1990, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    query = CandleQuery(parse_symbol(pair), TIMEFRAMES[code], start, end)
    return pa.concat_tables(page.candles for page in FilesProvider(folder).fetch(query))


def real_bars(folder: Path, pair: str, code: str) -> pa.Table:
    """All candles of a recorded file as Bronze rows of the vendor whose name the folder has."""
    candles = real_candles(folder, pair, code)
    source = Provenance(False, pair, TIMEFRAMES[code], KNOWN)
    return bronze_rows(candles, pa.array([folder.name] * candles.num_rows), source)
