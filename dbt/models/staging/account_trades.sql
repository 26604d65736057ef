-- Trades of all pairs whose P&L is known, on the day of their exit, in the currency of the account.
-- Which of them count, `portfolio_days` says.

select
    trades.partition_date as date,
    trades.record_is_mock as is_mock,
    case settings.account_currency
        when pairs.quote_currency then trades.net_pnl
        when pairs.base_currency then {{ ratio('trades.net_pnl', 'trades.exit_price') }}
    end as realized_pnl
from {{ source('silver', 'trade_lifecycle') }} as trades
cross join {{ source('ffe', 'settings') }} as settings
left join {{ source('ffe', 'pairs') }} as pairs on pairs.asset_pair = trades.asset_pair
where trades.status = 'closed' and trades.net_pnl is not null
