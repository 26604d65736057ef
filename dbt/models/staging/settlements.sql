-- Trades whose P&L is known, on the day of their exit, with the decision behind them. A decision that
-- does not count (it is simulated, and the trade is not) is none.

select
    trades.asset_pair,
    trades.trade_id,
    trades.date,
    trades.is_mock,
    trades.entry_price,
    trades.exit_price,
    trades.net_pnl,
    trades.ai_provider,
    decisions.decision_id,
    decisions.timestamp as decision_timestamp,
    decisions.decision_mode
from {{ ref('trades') }} as trades
left join {{ ref('decisions') }} as decisions
    on decisions.asset_pair = trades.asset_pair
    and decisions.decision_id = trades.matched_decision_id
    and decisions.timestamp = trades.decision_timestamp
    and decisions.is_mock = trades.is_mock
where trades.is_settled
