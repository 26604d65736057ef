"""Silver tables of market data: one row a bar, whatever the vendors said of it."""

import pyarrow as pa

from ffe_lakehouse.schemas.candles import OHLC_RULES
from ffe_lakehouse.schemas.table import TIMESTAMP, Column, TableSchema
from ffe_lakehouse.timeframes import TIMEFRAMES

_NUMBER, _TEXT = pa.float64(), pa.string()
_KEY = ("asset_pair", "timeframe", "timestamp")
_LAYOUT = ("partition_asset_pair", "timeframe", "storage_period")
"""A pair and timeframe is what is read and computed at once."""

_PLACE = (
    Column("partition_date", pa.date32(), "UTC day: the date half of the Dagster partition."),
    Column("partition_asset_pair", _TEXT, "The pair half of the Dagster partition."),
    Column("storage_period", _TEXT, "UTC month (1m to 15m) or year: Delta partition in time."),
)

_BAR = (
    Column("timestamp", TIMESTAMP, "Open time of the bar (UTC)."),
    Column("asset_pair", _TEXT, "Canonical pair."),
    Column("timeframe", _TEXT, "Timeframe code."),
    Column("open", _NUMBER, "First price, in the quote currency."),
    Column("high", _NUMBER, "Highest price, in the quote currency."),
    Column("low", _NUMBER, "Lowest price, in the quote currency."),
    Column("close", _NUMBER, "Last price, in the quote currency."),
    Column("volume", _NUMBER, "Base units; null if the vendor has none.", True),
    Column("source_provider", _TEXT, "Vendor whose bar it is."),
    Column("is_mock", pa.bool_(), "True if the bar is simulated."),
)

MARKET_DATA_UNIFIED = TableSchema(
    name="silver/market_data_unified",
    description="One bar, of the vendor that goes before the others; with what they said.",
    columns=(
        *_BAR,
        Column("trade_count", _NUMBER, "Trades, if the vendor counts them.", True),
        Column("vwap", _NUMBER, "Volume-weighted average price, if given.", True),
        Column("providers_seen", pa.list_(_TEXT), "Every vendor that has the bar, sorted."),
        Column(
            "max_deviation_bps",
            _NUMBER,
            "Of the others' closes, the one furthest off this one, in basis points; null if there"
            " is no other (mock bars are not compared with real ones).",
            True,
        ),
        Column("revision", pa.int64(), "How often its vendor has revised it: 0 is the first."),
        Column("known_at", TIMESTAMP, "When we knew this version (UTC)."),
        *_PLACE,
    ),
    key=_KEY,
    rules=OHLC_RULES,
    partition_by=_LAYOUT,
    sort_by=_KEY,
)

INDICATORS: dict[str, str] = {
    "rsi_14": "Relative strength index, 0 to 100.",
    "macd_12_26_9": "EMA 12 less EMA 26 of the close.",
    "macd_signal_12_26_9": "EMA 9 of the MACD.",
    "macd_hist_12_26_9": "MACD less its signal.",
    "bb_upper_20_2": "SMA 20 plus two standard deviations.",
    "bb_middle_20_2": "SMA 20.",
    "bb_lower_20_2": "SMA 20 less two standard deviations.",
    "atr_14": "Average true range, in the quote currency.",
    "adx_14": "Average directional index, 0 to 100.",
    "plus_di_14": "Positive directional indicator.",
    "minus_di_14": "Negative directional indicator.",
    "ema_12": "Exponential moving average of the close.",
    "ema_26": "Exponential moving average of the close.",
    "sma_20": "Simple moving average of the close.",
    "sma_50": "Simple moving average of the close.",
    "sma_200": "Simple moving average of the close.",
    "stoch_k_14_3": "Slow stochastic %K, 0 to 100.",
    "stoch_d_14_3_3": "Slow stochastic %D: SMA 3 of %K.",
    "obv": "On-balance volume since the storage period began; null without volume.",
    "vwap_session": "Volume-weighted (H+L+C)/3 since 00:00 UTC; null without volume.",
    "returns": "Close over the close of the bar before, less one.",
    "log_returns": "Natural logarithm of close over the close of the bar before.",
    "realized_volatility_20": "Standard deviation of the last 20 log returns; not annualized.",
}
"""Columns of ``market_data_enriched`` by what they hold; TA-Lib's names, with their periods."""

REGIMES = ("trend", "range", "volatile")

MARKET_DATA_ENRICHED = TableSchema(
    name="silver/market_data_enriched",
    description="One unified bar with its indicators, none of which knows a later bar.",
    columns=(
        *_BAR,
        *(Column(name, _NUMBER, what, True) for name, what in INDICATORS.items()),
        Column(
            "market_regime",
            _TEXT,
            f"One of {', '.join(REGIMES)}; null for the first 213 bars.",
            True,
        ),
        Column("trend_direction", pa.int8(), "1 if +DI is above -DI, -1 if below, else 0.", True),
        Column(
            "bars_seen",
            pa.int64(),
            "Bars from the start of its history to this one, both included.",
        ),
        Column(
            "is_warm", pa.bool_(), "More than 400 bars seen: no value hangs on where they begin."
        ),
        *_PLACE,
    ),
    key=_KEY,
    rules=OHLC_RULES,
    partition_by=_LAYOUT,
    sort_by=_KEY,
)

MULTI_TIMEFRAME_ANALYSIS = TableSchema(
    name="silver/multi_timeframe_analysis",
    description="At one bar's close: the last closed bar of each timeframe, and how they agree.",
    columns=(
        Column("timestamp", TIMESTAMP, "Open time of the base bar (UTC)."),
        Column("asset_pair", _TEXT, "Canonical pair."),
        Column("timeframe", _TEXT, "Base timeframe."),
        Column("closed_at", TIMESTAMP, "Close of the base bar: nothing later is known here (UTC)."),
        Column("close", _NUMBER, "Close of the base bar, in the quote currency."),
        Column("is_mock", pa.bool_(), "True if any of the bars is simulated."),
        Column("is_warm", pa.bool_(), "Every bar that has a score is warm."),
        *(
            column
            for code in TIMEFRAMES
            for column in (
                Column(f"bar_{code}", TIMESTAMP, f"Open of the last closed {code} bar.", True),
                Column(f"trend_{code}", _NUMBER, "-1 (down) to 1.", True),
                Column(f"momentum_{code}", _NUMBER, "-1 (falling) to 1.", True),
                Column(f"regime_{code}", _TEXT, f"One of {', '.join(REGIMES)}.", True),
                Column(f"score_{code}", _NUMBER, "Its part in the confluence, -1 to 1.", True),
            )
        ),
        Column("timeframes_seen", pa.int64(), "Timeframes that have a score."),
        Column("confluence_score", _NUMBER, "-1 (all down) to 1; null if none has one.", True),
        *_PLACE,
    ),
    key=_KEY,
    partition_by=_LAYOUT,
    sort_by=_KEY,
)

SILVER_MARKET = (MARKET_DATA_UNIFIED, MARKET_DATA_ENRICHED, MULTI_TIMEFRAME_ANALYSIS)
