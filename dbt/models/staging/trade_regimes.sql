-- Trades whose P&L is known, on the day of their exit, with the regime that they began in: that of the
-- newest bar closed by then. As in Silver, a bar counts for ten days from its open time.

with at_entry as (
    select
        trades.asset_pair,
        trades.date,
        trades.net_pnl,
        bars.regime,
        bars.direction,
        bars.opened_at >= trades.entry_time - interval 10 days as is_recent
    from {{ ref('trades') }} as trades
    asof left join {{ ref('bars') }} as bars
        on bars.asset_pair = trades.asset_pair
        and bars.closed_at <= trades.entry_time
    where trades.is_settled
)

select
    asset_pair,
    date,
    net_pnl,
    case when is_recent then regime else 'unknown' end as regime,
    case when is_recent then direction else 'unknown' end as direction
from at_entry
