"""The engine's decisions beside the market they fell in, and what each provider said towards them.

A decision's file may lack anything, or hold it as another type: what cannot be read is null, and no
decision is left out. What a decision's columns mean stands in ``docs/decisions-and-trades.md``.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.lake.versions import newest_versions
from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS
from ffe_lakehouse.schemas.silver_records import (
    DECISION_HISTORY,
    FALLBACK_TIERS,
    PROVIDER_DECISIONS,
)
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.asof import (
    last_closed,
    microseconds,
    newest_closed,
    refuse_several_pairs,
    take_or_null,
)
from ffe_lakehouse.transforms.silver_rows import YEARLY, silver_rows

_KEY = RAW_AI_DECISIONS.key
OF_THE_BAR = (
    *("close", "is_warm", "is_mock", "market_regime", "trend_direction", "rsi_14", "adx_14"),
    *("atr_14", "macd_hist_12_26_9", "realized_volatility_20"),
)
"""Columns of ``market_data_enriched`` that a decision, or a trade, is joined with."""
_OF_THE_ANALYSIS = ("closed_at", "confluence_score", "timeframes_seen", "is_mock")
_STRATEGIES = frozenset({"none", "primary", "weighted", "majority", "stacking", "debate"})


def decision_history(
    decisions: pa.Table, bars: Mapping[Timeframe, pa.Table], analysis: pa.Table
) -> pa.Table:
    """Each decision once, with the newest bar and confluence that were known when it fell.

    Args:
        decisions: Rows by ``RAW_AI_DECISIONS`` of ONE pair, every version that is known.
        bars: Bars of the pair by ``MARKET_DATA_ENRICHED``, by timeframe, in any order.
        analysis: Rows of the pair by ``MULTI_TIMEFRAME_ANALYSIS``.

    Returns:
        Rows by ``DECISION_HISTORY``, one a key, ascending in time.

    Raises:
        InputError: The rows are of more than one pair.
    """
    refuse_several_pairs(decisions, analysis, *bars.values())
    newest = _newest(decisions)
    moments = microseconds(newest["timestamp"])
    bar = newest_closed(bars, OF_THE_BAR, moments)
    closes = microseconds(analysis["closed_at"])
    found = last_closed(microseconds(analysis["timestamp"]), closes, moments)
    seen = take_or_null(analysis.select(_OF_THE_ANALYSIS), found)

    columns = {name: newest[name] for name in newest.column_names}
    columns |= {name: bar[name] for name in bar.column_names if name not in ("close", "is_mock")}
    columns |= {
        "engine_regime": newest["market_regime"],
        "bar_close": bar["close"],
        "bar_is_warm": bar["is_warm"],
        "entry_deviation": pc.subtract(pc.divide(newest["entry_price"], bar["close"]), 1.0),
        "analysis_closed_at": seen["closed_at"],
        "confluence_score": seen["confluence_score"],
        "timeframes_seen": seen["timeframes_seen"],
        "revision": _revisions(decisions, newest),
        "known_at": newest["_extracted_at"],
        "record_is_mock": newest["is_mock"],
        "is_mock": any_mock(newest["is_mock"], bar["is_mock"], seen["is_mock"]),
    }
    told = zip(_metadata(newest), newest["ai_provider"].to_pylist(), strict=True)
    fields = pa.Table.from_pylist([_ensemble(*each) for each in told], schema=_ENSEMBLE)
    columns |= {name: fields[name] for name in fields.column_names}
    return silver_rows(DECISION_HISTORY, columns, YEARLY)


def provider_decisions(decisions: pa.Table) -> pa.Table:
    """What each provider said towards each decision of an ensemble.

    In a debate a provider may sit in more than one seat: it has a row for each role that it said
    something in. A provider that holds no seat is a ``voter``.

    Args:
        decisions: Rows by ``RAW_AI_DECISIONS`` of any pairs, every version that is known.

    Returns:
        Rows by ``PROVIDER_DECISIONS``, in the order of the decisions.
    """
    newest = _newest(decisions)
    rows, owners = [], []
    for number, metadata in enumerate(_metadata(newest)):
        original = _object(metadata.get("original_weights"))
        adjusted = _object(metadata.get("adjusted_weights"))
        for provider, role, said in _statements(metadata):
            owners.append(number)
            action = _text(said.get("action"))
            rows.append(
                {
                    "provider": provider,
                    "role": role,
                    "action": action.upper() if action else None,
                    "confidence": _number(said.get("confidence")),
                    "amount": _number(said.get("amount")),
                    "reasoning": _text(said.get("reasoning")),
                    "original_weight": _number(original.get(provider)),
                    "adjusted_weight": _number(adjusted.get(provider)),
                }
            )
    said_schema = pa.schema([PROVIDER_DECISIONS.arrow.field(name) for name in _SAID])
    said_rows = pa.Table.from_pylist(rows, schema=said_schema)
    of = newest.select([*_KEY, "action", "is_mock"]).take(pa.array(owners, pa.int64()))
    columns = {name: of[name] for name in (*_KEY, "is_mock")}
    columns |= {name: said_rows[name] for name in said_rows.column_names}
    columns["agrees"] = pc.equal(said_rows["action"], of["action"])
    return silver_rows(PROVIDER_DECISIONS, columns, YEARLY)


def any_mock(*flags: pa.ChunkedArray) -> pa.Array:
    """True where any of the flags is; a null is none."""
    return pa.array(np.logical_or.reduce([flag.fill_null(False).to_numpy() for flag in flags]))


def _newest(decisions: pa.Table) -> pa.Table:
    order = [(name, "ascending") for name in ("timestamp", "asset_pair", "decision_id")]
    return newest_versions(decisions, _KEY).sort_by(order)


def _revisions(decisions: pa.Table, newest: pa.Table) -> pa.Array:
    counts = decisions.group_by(list(_KEY)).aggregate([([], "count_all")])
    known = {tuple(row[name] for name in _KEY): row["count_all"] for row in counts.to_pylist()}
    keys = zip(*(newest[name].to_pylist() for name in _KEY), strict=True)
    return pa.array([known[key] - 1 for key in keys], pa.int64())


def _metadata(decisions: pa.Table) -> list[dict[str, Any]]:
    """``ensemble_metadata`` of every decision; empty where there is none that can be read."""
    return [_object(text) for text in decisions["ensemble_metadata"].to_pylist()]


def _statements(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Provider, role and what was said; each role once, each provider without one once."""
    said = _object(metadata.get("provider_decisions"))
    roles, seats = _object(metadata.get("role_decisions")), _object(metadata.get("debate_seats"))
    seated = set()
    for role in [*roles, *(role for role in seats if role not in roles)]:
        statement = _object(roles.get(role))
        provider = _text(statement.get("provider")) or _text(seats.get(role)) or "unknown"
        if role in roles or provider in said:
            seated.add(provider)
            yield provider, role, statement or _object(said.get(provider))
    for provider, statement in said.items():
        if provider not in seated:
            yield provider, "voter", _object(statement)


def _ensemble(metadata: Mapping[str, Any], ai_provider: str | None) -> dict[str, Any]:
    strategy = _text(metadata.get("voting_strategy"))
    tier = _tier(metadata.get("fallback_tier"), strategy)
    debate = _flag(metadata.get("debate_mode"))
    if strategy == "debate" or debate:
        mode = "debate"
    elif tier is not None and tier != "none":
        mode = "fallback"
    elif metadata or ai_provider == "ensemble":
        mode = "voting"
    else:
        mode = "single"
    read = {field.name: _READERS[field.type](metadata.get(field.name)) for field in _ENSEMBLE}
    return read | {
        "decision_mode": mode,
        "voting_strategy": strategy,
        "fallback_tier": tier,
        "engine_fallback_tier": _said_tier(metadata.get("fallback_tier")),
        "original_weights": _weights(metadata.get("original_weights")),
        "adjusted_weights": _weights(metadata.get("adjusted_weights")),
    }


def _tier(said: object, strategy: str | None) -> str | None:
    """The tier by today's names. Older files count them: 1 is the strategy itself, 4 the last."""
    number = _integer(said)
    if number is not None:
        return FALLBACK_TIERS[number - 1] if 1 <= number <= len(FALLBACK_TIERS) else None
    text = (_text(said) or "").lower()
    if text in _STRATEGIES or (text and text == strategy):
        return "none"
    return text if text == "single_provider" or text.endswith("_fallback") else None


def _object(value: object) -> dict[str, Any]:
    """A JSON object, or the text of one; else empty."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _integer(value: object) -> int | None:
    number = _number(value)
    if number is None or not number.is_integer() or abs(number) >= 2**53:
        return None
    return int(number)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(value: object) -> list[str] | None:
    if not isinstance(value, list):
        return None
    return [each for each in value if isinstance(each, str)]


def _said_tier(value: object) -> str | None:
    return str(value) if isinstance(value, str | int | float) else None


def _weights(value: object) -> str | None:
    if not isinstance(value, dict):
        return None
    numbers = {name: _number(weight) for name, weight in value.items()}
    return orjson.dumps(numbers, option=orjson.OPT_SORT_KEYS).decode()


_SAID = (
    *("provider", "role", "action", "confidence", "amount", "reasoning"),
    *("original_weight", "adjusted_weight"),
)
_FIRST, _LAST = (
    DECISION_HISTORY.arrow.get_field_index(name) for name in ("decision_mode", "adjusted_weights")
)
_ENSEMBLE = pa.schema(list(DECISION_HISTORY.arrow)[_FIRST : _LAST + 1])
_READERS = {
    pa.string(): _text,
    pa.float64(): _number,
    pa.int64(): _integer,
    pa.bool_(): _flag,
    pa.list_(pa.string()): _texts,
}
