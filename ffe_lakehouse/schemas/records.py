"""Bronze tables of the engine's own records, and their dead letters.

Every table keeps the record verbatim (``record``) beside the typed columns that are read from it:
what is read of it may change, what was said may not.
"""

from functools import lru_cache

import pyarrow as pa

from ffe_lakehouse.schemas.table import (
    DERIVED,
    PROVENANCE,
    TIMESTAMP,
    Column,
    Rule,
    TableSchema,
)

_NUMBER, _TEXT, _FLAG = pa.float64(), pa.string(), pa.bool_()
_RECORD = Column("record", pa.string(), "The record as JSON, keys sorted, nothing left out.")
_PERIOD = DERIVED[-1]


def _above_zero(column: str) -> Rule:
    return Rule(
        "price_not_positive", f"{column} is above zero, if there is one", lambda f: f[column] <= 0
    )


def _not_below_zero(column: str) -> Rule:
    return Rule(
        "price_not_positive",
        f"{column} is not below zero, if there is one",
        lambda f: f[column] < 0,
    )


RAW_AI_DECISIONS = TableSchema(
    name="bronze/raw_ai_decisions",
    description="One version of one decision of the engine, as it left it.",
    columns=(
        Column("decision_id", _TEXT, "The engine's `id`: unique together with `timestamp`."),
        Column("timestamp", TIMESTAMP, "When it was decided (UTC)."),
        Column("asset_pair", _TEXT, "Canonical pair."),
        Column("action", _TEXT, "`BUY`, `SELL` or `HOLD`."),
        Column("confidence", _NUMBER, "0 to 100.", True),
        Column("reasoning", _TEXT, "In the engine's words.", True),
        Column("entry_price", _NUMBER, "Price it was decided at, in the quote currency.", True),
        Column("stop_loss_price", _NUMBER, "In the quote currency.", True),
        Column("stop_loss_fraction", _NUMBER, "Share of the entry price.", True),
        Column("take_profit_percentage", _NUMBER, "As the engine says it.", True),
        Column("suggested_amount", _NUMBER, "As the engine says it.", True),
        Column("recommended_position_size", _NUMBER, "Base units.", True),
        Column("signal_only", _FLAG, "A signal, not meant to be traded.", True),
        Column("executed", _FLAG, "It was traded.", True),
        Column("execution_time", TIMESTAMP, "When (UTC).", True),
        Column("execution_success", _FLAG, "Whether the platform took it.", True),
        Column("execution_message", _TEXT, "What the platform said.", True),
        Column("ai_provider", _TEXT, "Who decided: `local`, `ensemble`, …", True),
        Column("model_name", _TEXT, "Which model.", True),
        Column("market_regime", _TEXT, "As the engine saw it.", True),
        Column("ensemble_metadata", _TEXT, "JSON.", True),
        Column("debate_metadata", _TEXT, "JSON.", True),
        Column("market_data", _TEXT, "What the engine saw of the market, JSON.", True),
        Column("balance_snapshot", _TEXT, "Balances by account, JSON.", True),
        _RECORD,
        *PROVENANCE,
        _PERIOD,
    ),
    key=("asset_pair", "decision_id", "timestamp"),
    values=("record",),
    rules=(
        Rule(
            "confidence_out_of_range",
            "confidence lies in [0, 100]",
            lambda f: (f["confidence"] < 0) | (f["confidence"] > 100),
        ),
        _above_zero("entry_price"),
        _above_zero("stop_loss_price"),
        # Zero is what the engine suggests to put into a HOLD.
        _not_below_zero("suggested_amount"),
        _not_below_zero("recommended_position_size"),
    ),
    sort_by=("asset_pair", "timestamp", "decision_id"),
    append_only=True,
)

RAW_TRADE_EXECUTIONS = TableSchema(
    name="bronze/raw_trade_executions",
    description="One version of one trade of the engine: open, or with its outcome.",
    columns=(
        Column("trade_id", _TEXT, "The engine's id; of an older outcome file, the decision's."),
        Column("timestamp", TIMESTAMP, "What it tells of last: exit, or entry if open (UTC)."),
        Column("asset_pair", _TEXT, "Canonical pair."),
        Column("product", _TEXT, "The pair as the engine spells it."),
        Column("decision_id", _TEXT, "The decision behind it, where the engine knows it.", True),
        Column("side", _TEXT, "`LONG` or `SHORT`."),
        Column("entry_time", TIMESTAMP, "UTC."),
        Column("entry_price", _NUMBER, "In the quote currency."),
        Column("entry_size", _NUMBER, "Base units."),
        Column("exit_time", TIMESTAMP, "UTC; null while it is open.", True),
        Column("exit_price", _NUMBER, "In the quote currency.", True),
        Column("exit_price_source", _TEXT, "Where the engine has the exit price from.", True),
        Column("exit_size", _NUMBER, "Base units.", True),
        Column("realized_pnl", _NUMBER, "As the engine says, in the quote currency.", True),
        Column("fees", _NUMBER, "In the quote currency.", True),
        Column("holding_duration_seconds", _NUMBER, "As the engine says.", True),
        Column("roi_percent", _NUMBER, "As the engine says.", True),
        Column("ai_provider", _TEXT, "Of an older outcome file: who decided.", True),
        _RECORD,
        *PROVENANCE,
        _PERIOD,
    ),
    # A trade that comes again with another exit is another version: the latest exit is the one
    # that holds, in whatever order the files come.
    key=("asset_pair", "trade_id", "timestamp"),
    values=("record",),
    rules=(
        *map(_above_zero, ("entry_price", "entry_size", "exit_price", "exit_size")),
        Rule(
            "exit_before_entry",
            "exit_time is not before entry_time",
            lambda f: f["exit_time"] < f["entry_time"],
        ),
    ),
    sort_by=("asset_pair", "timestamp", "trade_id"),
    append_only=True,
)

POSITION = pa.struct(
    [
        ("asset_pair", _TEXT),
        ("product", _TEXT),
        ("side", _TEXT),
        ("size", _NUMBER),
        ("entry_price", _NUMBER),
        ("current_price", _NUMBER),
        ("unrealized_pnl", _NUMBER),
    ]
)

RAW_PORTFOLIO_SNAPSHOTS = TableSchema(
    name="bronze/raw_portfolio_snapshots",
    description="The whole portfolio of one platform at one moment.",
    columns=(
        Column("timestamp", TIMESTAMP, "When (UTC)."),
        Column("platform", _TEXT, "Whose portfolio."),
        Column("total_pnl", _NUMBER, "As the engine says, in the account's currency.", True),
        Column("position_count", pa.int64(), "As the engine says.", True),
        Column("positions", pa.list_(POSITION), "One by one, pairs canonical."),
        _RECORD,
        *(column for column in PROVENANCE if column.name != "partition_asset_pair"),
        _PERIOD,
    ),
    key=("platform", "timestamp"),
    values=("record",),
    partition_by=("storage_period",),
    sort_by=("platform", "timestamp"),
    append_only=True,
)
"""By date alone: a portfolio is of no single pair, and an empty one of none at all."""

RAW_NEWS_SENTIMENT = TableSchema(
    name="bronze/raw_news_sentiment",
    description="What one article says of one pair, by one vendor's judgement.",
    columns=(
        Column("timestamp", TIMESTAMP, "When it was published (UTC)."),
        Column("asset_pair", _TEXT, "Canonical pair."),
        Column("article_id", _TEXT, "The vendor's id of the article, or else its address."),
        Column("ticker", _TEXT, "What it is about, as the vendor spells it: `CRYPTO:BTC`."),
        Column("title", _TEXT, "Headline."),
        Column("url", _TEXT, "Where it stands.", True),
        Column("publisher", _TEXT, "Who published it.", True),
        Column("summary", _TEXT, "In the vendor's words.", True),
        Column("topics", pa.list_(_TEXT), "The vendor's topics or keywords."),
        Column("relevance_score", _NUMBER, "0 to 1: how much it is about the ticker.", True),
        Column("sentiment_score", _NUMBER, "-1 (bearish) to 1, of the ticker.", True),
        Column("sentiment_label", _TEXT, "The vendor's word for it.", True),
        Column("overall_sentiment_score", _NUMBER, "-1 to 1, of the whole article.", True),
        Column("overall_sentiment_label", _TEXT, "The vendor's word for it.", True),
        _RECORD,
        *PROVENANCE,
        _PERIOD,
    ),
    key=("asset_pair", "source_provider", "article_id", "ticker", "timestamp"),
    values=("record",),
    sort_by=("asset_pair", "timestamp", "article_id"),
    append_only=True,
)

RECORDS = (
    RAW_AI_DECISIONS,
    RAW_TRADE_EXECUTIONS,
    RAW_PORTFOLIO_SNAPSHOTS,
    RAW_NEWS_SENTIMENT,
)

RECORD_REASONS: dict[str, str] = {
    "unreadable_file": "the file, or a line of it, is no JSON object",
    "missing_field": "a field that a record cannot do without is missing; `detail` names it",
    "wrong_type": "a field holds another kind of value than it should: an object for a number",
    "bad_time": "a time cannot be read",
    "in_the_future": "its time is more than a day ahead of the clock",
    "before_start_date": "its time is before FFE_START_DATE, the first day of the lake",
    "unknown_product": "the pair is none that is known: a futures code, a misspelling",
    "unknown_action": "the action is none of BUY, SELL, HOLD",
    "unknown_side": "the side is none of LONG, SHORT",
    "not_finite": "a number cannot be read as a finite one",
    "price_not_positive": "a price or a traded size is not above zero, or a suggested one below",
    "confidence_out_of_range": "the confidence is not in [0, 100]",
    "exit_before_entry": "the trade ends before it begins",
    "conflicting_version": "two records of the same answer give the same fact other values",
}
"""Every reason a record of the engine can be rejected for. Codes are stable."""


@lru_cache
def record_letters(table: TableSchema) -> TableSchema:
    """The dead-letter table beside a Bronze table of records."""
    name = table.name.removeprefix("bronze/")
    return TableSchema(
        name=f"dlq/{name}",
        description=f"One record for {name} that a rule refused, verbatim, with every reason.",
        columns=(
            Column("letter_id", _TEXT, "Digest of what was refused: equal letters are one."),
            Column("timestamp", TIMESTAMP, "The record's own time, if it could be read.", True),
            Column("asset_pair", _TEXT, "Canonical pair, if there is one.", True),
            Column("reasons", pa.list_(_TEXT), "Stable reason codes; all that apply."),
            Column("detail", _TEXT, "In words: which field, which value.", True),
            Column("record", _TEXT, "The record, or the line or file that is none, verbatim."),
            Column("source", _TEXT, "File and line, or the vendor's answer."),
            Column("run_id", _TEXT, "Dagster run that refused it."),
            *(column for column in PROVENANCE if column.name != "partition_asset_pair"),
            _PERIOD,
        ),
        key=("letter_id",),
        partition_by=("storage_period",),
        sort_by=("partition_date", "letter_id"),
        time_column="partition_date",
        append_only=True,
    )
