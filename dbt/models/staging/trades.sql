-- Trades that count on their day: real ones, or simulated ones before the first real record of the pair.
-- A trade is of the day of its exit; of the day of its entry while it is open.

select
    trades.* exclude (partition_date, record_is_mock),
    trades.partition_date as date,
    pair_days.is_mock,
    -- Closed without a known exit size: there is no P&L.
    trades.status = 'closed' and trades.net_pnl is not null as is_settled
from {{ source('silver', 'trade_lifecycle') }} as trades
inner join {{ ref('pair_days') }} as pair_days
    on pair_days.asset_pair = trades.asset_pair
    and pair_days.date = trades.partition_date
    and pair_days.is_mock = trades.record_is_mock
