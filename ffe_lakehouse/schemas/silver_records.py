"""Silver tables of the engine's records: decisions and trades, joined with the market.

What the engine said of the same thing keeps its name with ``engine_`` before it where the lake says
it, too. The raw tables stand in ``records``.
"""

import pyarrow as pa

from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS
from ffe_lakehouse.schemas.table import DERIVED, TIMESTAMP, Column, Rule, TableSchema

_NUMBER, _TEXT, _FLAG, _COUNT = pa.float64(), pa.string(), pa.bool_(), pa.int64()
_TEXTS = pa.list_(_TEXT)

DECISION_MODES = ("single", "voting", "fallback", "debate")
FALLBACK_TIERS = ("none", "majority_fallback", "average_fallback", "single_provider")


def _of(table: TableSchema, *names: str) -> list[Column]:
    """Columns that mean the same as in a raw table."""
    return [column for name in names for column in table.columns if column.name == name]


_VERSION = (
    Column("revision", _COUNT, "Versions before the one that holds: 0 is the first."),
    Column("known_at", TIMESTAMP, "When we knew this version (UTC)."),
    Column("is_mock", _FLAG, "True if the record or any bar in the row is simulated."),
    Column("record_is_mock", _FLAG, "True if the engine's record itself is of a simulation."),
)

DECISION_HISTORY = TableSchema(
    name="silver/decision_history",
    description="One decision of the engine, with what the market looked like when it fell.",
    columns=(
        *RAW_AI_DECISIONS.columns[: RAW_AI_DECISIONS.arrow.names.index("executed")],
        Column("executed", _FLAG, "It was traded: known after the decision, no feature.", True),
        Column("execution_time", TIMESTAMP, "When (UTC): after the decision.", True),
        Column("execution_success", _FLAG, "Whether the platform took it: likewise.", True),
        *_of(RAW_AI_DECISIONS, "ai_provider", "model_name"),
        Column("engine_regime", _TEXT, "Market regime as the engine saw it.", True),
        Column("bar_timeframe", _TEXT, "Timeframe of the newest bar closed by then.", True),
        Column("bar_timestamp", TIMESTAMP, "Its open time (UTC).", True),
        Column("bar_closed_at", TIMESTAMP, "Its close time, not after `timestamp` (UTC).", True),
        Column("bar_close", _NUMBER, "Its close, in the quote currency.", True),
        Column("bar_is_warm", _FLAG, "Enough bars before it.", True),
        Column("entry_deviation", _NUMBER, "Entry price over the bar's close, less one.", True),
        Column("market_regime", _TEXT, "Regime of that bar.", True),
        Column("trend_direction", pa.int8(), "Direction of that bar: 1, 0 or -1.", True),
        Column("rsi_14", _NUMBER, "Of that bar, 0 to 100.", True),
        Column("adx_14", _NUMBER, "Of that bar, 0 to 100.", True),
        Column("atr_14", _NUMBER, "Of that bar, in the quote currency.", True),
        Column("macd_hist_12_26_9", _NUMBER, "Of that bar, in the quote currency.", True),
        Column("realized_volatility_20", _NUMBER, "Of that bar; not annualized.", True),
        Column("analysis_closed_at", TIMESTAMP, "When the confluence was known (UTC).", True),
        Column("confluence_score", _NUMBER, "-1 (all down) to 1.", True),
        Column("timeframes_seen", _COUNT, "Timeframes in the confluence.", True),
        Column("decision_mode", _TEXT, f"One of {', '.join(DECISION_MODES)}."),
        Column("providers_used", _TEXTS, "Providers that answered.", True),
        Column("providers_failed", _TEXTS, "Providers that did not.", True),
        Column("num_active", _COUNT, "Providers that answered, as the engine counts.", True),
        Column("num_total", _COUNT, "Providers that were asked, as the engine counts.", True),
        Column("failure_rate", _NUMBER, "0 to 1.", True),
        Column("voting_strategy", _TEXT, "`weighted`, `majority`, `stacking` or `debate`.", True),
        Column("fallback_tier", _TEXT, f"One of {', '.join(FALLBACK_TIERS)}.", True),
        Column("engine_fallback_tier", _TEXT, "As the engine says it; older files count.", True),
        Column("agreement_score", _NUMBER, "0 to 1.", True),
        Column("confidence_variance", _NUMBER, "Of the providers' confidences.", True),
        Column("confidence_adjustment_factor", _NUMBER, "What providers that failed cost.", True),
        Column("original_confidence", _NUMBER, "Before that, 0 to 100.", True),
        Column("quorum_penalty_applied", _FLAG, "Confidence cut for want of a quorum.", True),
        Column("local_quorum_met", _FLAG, "Enough local providers answered.", True),
        Column("weight_adjustment_applied", _FLAG, "Weights were shared out anew.", True),
        Column("debate_mode", _FLAG, "As the engine says it.", True),
        Column("original_weights", _TEXT, "Weight by provider, JSON, keys sorted.", True),
        Column("adjusted_weights", _TEXT, "Weight by provider that answered, JSON.", True),
        *_VERSION,
        *DERIVED,
    ),
    key=("asset_pair", "decision_id", "timestamp"),
    sort_by=("asset_pair", "timestamp", "decision_id"),
    rules=(
        Rule(
            "bar_after_decision",
            "the bar had closed when it was decided",
            lambda rows: rows["bar_closed_at"] > rows["timestamp"],
        ),
    ),
)

PROVIDER_DECISIONS = TableSchema(
    name="silver/provider_decisions",
    description="What one provider said, in one role, towards one decision of an ensemble.",
    columns=(
        Column("decision_id", _TEXT, "As in silver/decision_history."),
        Column("timestamp", TIMESTAMP, "When it was decided (UTC)."),
        Column("asset_pair", _TEXT, "Canonical pair."),
        Column("provider", _TEXT, "Who said it; `unknown` where the engine names nobody."),
        Column("role", _TEXT, "`bull`, `bear` or `judge` of a debate; else `voter`."),
        Column("action", _TEXT, "`BUY`, `SELL` or `HOLD`.", True),
        Column("confidence", _NUMBER, "0 to 100.", True),
        Column("amount", _NUMBER, "As the provider says it.", True),
        Column("reasoning", _TEXT, "In the provider's words.", True),
        Column("original_weight", _NUMBER, "Its weight before any provider failed.", True),
        Column("adjusted_weight", _NUMBER, "Its weight in this decision.", True),
        Column("agrees", _FLAG, "Its action is that of the decision.", True),
        Column("is_mock", _FLAG, "True if the decision is of a simulation."),
        *DERIVED,
    ),
    key=("asset_pair", "decision_id", "timestamp", "provider", "role"),
    sort_by=("asset_pair", "timestamp", "decision_id"),
)

TRADE_LIFECYCLE = TableSchema(
    name="silver/trade_lifecycle",
    description="One trade as it is known now: entry, exit, outcome, and what the market did.",
    columns=(
        Column("trade_id", _TEXT, "The engine's id."),
        Column("timestamp", TIMESTAMP, "Exit, or entry while it is open (UTC)."),
        Column("asset_pair", _TEXT, "Canonical pair."),
        *_of(RAW_TRADE_EXECUTIONS, "product"),
        Column("status", _TEXT, "`open` or `closed`."),
        *_of(RAW_TRADE_EXECUTIONS, "side", "entry_time", "entry_price", "entry_size", "exit_time"),
        *_of(RAW_TRADE_EXECUTIONS, "exit_price", "exit_price_source", "exit_size"),
        Column("remaining_size", _NUMBER, "Entry size less exit size, base units.", True),
        Column("fees", _NUMBER, "In the quote currency; null if the engine names none.", True),
        Column("gross_pnl", _NUMBER, "From prices and exit size, in the quote currency.", True),
        Column("net_pnl", _NUMBER, "Gross P&L less the fees that are known.", True),
        Column("engine_pnl", _NUMBER, "As the engine says, in the quote currency.", True),
        Column("pnl_basis", _TEXT, "What the engine's agrees with: `net`, `gross`, `none`.", True),
        Column("pnl_agrees", _FLAG, "It agrees with one of them; null: nothing to compare.", True),
        Column("pnl_difference", _NUMBER, "The engine's less the nearer of ours.", True),
        Column("return", _NUMBER, "Net P&L over entry price times exit size.", True),
        Column("engine_roi_percent", _NUMBER, "As the engine says.", True),
        Column("holding_seconds", _NUMBER, "From entry to exit.", True),
        Column("engine_holding_seconds", _NUMBER, "As the engine says.", True),
        Column("max_adverse_excursion", _NUMBER, "Share of the entry price, at most 0.", True),
        Column("max_favourable_excursion", _NUMBER, "Share of the entry price, at least 0.", True),
        Column("excursion_bars", _COUNT, "1m bars that lie wholly within the trade.", True),
        Column("excursion_minutes", _COUNT, "Whole minutes within the trade.", True),
        Column("entry_bar_timeframe", _TEXT, "Timeframe of the newest bar closed by entry.", True),
        Column("entry_bar_timestamp", TIMESTAMP, "Its open time (UTC).", True),
        Column("entry_bar_closed_at", TIMESTAMP, "Its close time, not after entry (UTC).", True),
        Column("entry_bar_close", _NUMBER, "Its close, in the quote currency.", True),
        Column("entry_deviation", _NUMBER, "Entry price over that close, less one.", True),
        Column("regime_at_entry", _TEXT, "Regime of that bar.", True),
        Column("trend_direction_at_entry", pa.int8(), "Direction of that bar: 1, 0, -1.", True),
        Column("decision_id", _TEXT, "The decision behind it, as the engine says.", True),
        Column("matched_decision_id", _TEXT, "The same, if the lake has that decision.", True),
        Column("decision_timestamp", TIMESTAMP, "When that was decided (UTC).", True),
        Column("decision_match", _TEXT, "`given`, `missing` (named, not in the lake), `none`."),
        *_of(RAW_TRADE_EXECUTIONS, "ai_provider"),
        Column("is_revised", _FLAG, "Its outcome was told more than once."),
        *_VERSION,
        *DERIVED,
    ),
    key=("asset_pair", "trade_id"),
    sort_by=("asset_pair", "timestamp", "trade_id"),
    rules=(
        Rule(
            "excursion_of_wrong_sign",
            "max_adverse_excursion <= 0 <= max_favourable_excursion",
            lambda rows: (
                (rows["max_adverse_excursion"] > 0) | (rows["max_favourable_excursion"] < 0)
            ),
        ),
        Rule(
            "exit_before_entry",
            "entry_time <= exit_time",
            lambda rows: rows["exit_time"] < rows["entry_time"],
        ),
        Rule(
            "bar_after_entry",
            "the bar had closed when the trade began",
            lambda rows: rows["entry_bar_closed_at"] > rows["entry_time"],
        ),
    ),
)

SILVER_RECORDS = (DECISION_HISTORY, PROVIDER_DECISIONS, TRADE_LIFECYCLE)
