with bar_days as (
    select
        asset_pair,
        regime,
        direction,
        date,
        count(*) as bars,
        count(*) filter (where is_mock) as mock_bars,
        count(log_return) as returns,
        {{ exact_ratio_sum('log_return') }} as return_sum,
        {{ exact_ratio_sum('log_return * log_return') }} as square_sum
    from {{ ref('bars') }}
    group by all
),

trade_days as (
    select
        asset_pair,
        regime,
        direction,
        date,
        count(*) as trades,
        count(*) filter (where net_pnl > 0) as winning_trades,
        {{ exact_sum('net_pnl') }} as net_pnl
    from {{ ref('trade_regimes') }}
    group by all
),

seen as (
    select asset_pair, regime, direction, date from bar_days
    union all
    select asset_pair, regime, direction, date from trade_days
),

regimes as (
    select asset_pair, regime, direction, min(date) as first_day
    from seen
    group by all
),

days as (
    select
        pair_days.asset_pair,
        regimes.regime,
        regimes.direction,
        pair_days.date,
        pair_days.quote_currency,
        pair_days.is_mock as are_trades_mock,
        coalesce(bar_days.bars, 0) as day_bars,
        bar_days.mock_bars,
        bar_days.returns,
        bar_days.return_sum,
        bar_days.square_sum,
        coalesce(trade_days.trades, 0) as day_trades,
        trade_days.winning_trades,
        coalesce(trade_days.net_pnl, 0) as day_net_pnl
    from regimes
    inner join {{ ref('pair_days') }} as pair_days using (asset_pair)
    left join bar_days using (asset_pair, regime, direction, date)
    left join trade_days using (asset_pair, regime, direction, date)
    where pair_days.date >= regimes.first_day
),

-- Bars are counted across the border between simulated and real records, trades are not.
to_date as (
    select
        asset_pair,
        regime,
        direction,
        date,
        quote_currency,
        are_trades_mock,
        day_bars,
        day_trades,
        day_net_pnl,
        sum(day_bars) over of_regime as bars,
        sum(day_bars) over of_pair as bars_of_pair,
        sum(mock_bars) over of_regime as mock_bars,
        sum(returns) over of_regime as returns,
        {{ exact_ratio_sum('return_sum', over='of_regime') }} as return_sum,
        {{ exact_ratio_sum('square_sum', over='of_regime') }} as square_sum,
        sum(day_trades) over of_trades as trades,
        coalesce(sum(winning_trades) over of_trades, 0) as winning_trades,
        {{ exact_sum('day_net_pnl', over='of_trades') }} as net_pnl
    from days
    window
        -- Of a pair there are several rows a day.
        of_pair as (partition by asset_pair order by date range unbounded preceding),
        of_regime as (
            partition by asset_pair, regime, direction order by date rows unbounded preceding
        ),
        of_trades as (
            partition by asset_pair, regime, direction, are_trades_mock
            order by date rows unbounded preceding
        )
)

select
    to_date.asset_pair,
    to_date.regime,
    to_date.direction,
    to_date.date,
    settings.mart_timeframe as timeframe,
    to_date.quote_currency,
    coalesce(to_date.mock_bars > 0, false)
    or (to_date.are_trades_mock and to_date.trades > 0) as is_mock,
    to_date.day_bars,
    to_date.day_trades,
    to_date.day_net_pnl,
    to_date.bars,
    {{ ratio('to_date.bars', 'to_date.bars_of_pair') }} as time_share,
    to_date.trades,
    to_date.winning_trades,
    {{ ratio('to_date.winning_trades', 'to_date.trades') }} as win_rate,
    to_date.net_pnl,
    {{ ratio('to_date.net_pnl', 'to_date.trades') }} as expectancy,
    {{ ratio('to_date.return_sum', 'to_date.returns') }} as mean_bar_return,
    -- Rounding may leave a variance of zero below it.
    case when to_date.returns > 1 then sqrt(greatest(0, (
        to_date.square_sum - to_date.return_sum * to_date.return_sum / to_date.returns
    ) / (to_date.returns - 1))) end as bar_volatility
from to_date
cross join {{ source('ffe', 'settings') }} as settings
