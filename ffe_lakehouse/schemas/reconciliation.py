"""The table that tells how vendors differ."""

import pyarrow as pa

from ffe_lakehouse.schemas.table import DERIVED, Column, TableSchema

_NUMBER, _TEXT, _COUNT = pa.float64(), pa.string(), pa.int64()

PROVIDER_RECONCILIATION = TableSchema(
    name="quality/provider_reconciliation",
    description="How far two vendors are apart on one UTC day of one pair in one timeframe.",
    columns=(
        Column("asset_pair", _TEXT, "Canonical pair."),
        Column("timeframe", _TEXT, "Timeframe code."),
        Column("vendor_a", _TEXT, "The vendor whose name comes first."),
        Column("vendor_b", _TEXT, "The other one."),
        Column("is_mock", pa.bool_(), "True if all bars are simulated: both vendors' are, or none"),
        Column("bars_a", _COUNT, "Bars of `vendor_a`."),
        Column("bars_b", _COUNT, "Bars of `vendor_b`."),
        Column("bars_common", _COUNT, "Open times that both have a bar of."),
        Column(
            "median_deviation_bps",
            _NUMBER,
            "Median |close of b / close of a - 1| of the common bars, in basis points.",
            True,
        ),
        Column("max_deviation_bps", _NUMBER, "The largest of them.", True),
        Column(
            "bias_bps", _NUMBER, "Median of the same with its sign: above 0, b is dearer.", True
        ),
        Column(
            "volume_ratio",
            _NUMBER,
            "Volume of b over volume of a, of the common bars for which both have one.",
            True,
        ),
        Column(
            "offset_bars",
            _COUNT,
            "So many bars later than a does b stamp the same close; null with too few bars.",
            True,
        ),
        Column("offset_seconds", _COUNT, "The same in seconds.", True),
        *DERIVED,
    ),
    key=("asset_pair", "timeframe", "vendor_a", "vendor_b", "partition_date"),
    sort_by=("asset_pair", "timeframe", "partition_date", "vendor_a", "vendor_b"),
    time_column="partition_date",
)
"""It has no row of a real vendor beside a simulated one: nothing can be learned from it."""
