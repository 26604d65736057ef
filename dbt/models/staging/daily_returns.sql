-- What the settled trades of a pair came to on each day and to date, and what it did to its equity.
--
-- Equity only changes on a day with trades, so the one before a day's own is that of the return day
-- before, too, and the change since then is the day's net P&L. Taken as such it is exact: equal gains
-- are equal returns.

{%- set counts = ['trades', 'winning_trades', 'losing_trades', 'open_trades', 'unpriced_trades', 'held_trades'] %}
{%- set sums = ['gross_pnl', 'net_pnl', 'fees', 'gains', 'losses', 'holding_seconds'] %}

with of_day as (
    select
        asset_pair,
        date,
        count(*) filter (where is_settled) as trades,
        count(*) filter (where is_settled and net_pnl > 0) as winning_trades,
        count(*) filter (where is_settled and net_pnl < 0) as losing_trades,
        count(*) filter (where status = 'open') as open_trades,
        count(*) filter (where status = 'closed' and not is_settled) as unpriced_trades,
        count(holding_seconds) filter (where is_settled) as held_trades,
        {{ exact_sum('gross_pnl', filter='is_settled') }} as gross_pnl,
        {{ exact_sum('net_pnl', filter='is_settled') }} as net_pnl,
        {{ exact_sum('fees', filter='is_settled') }} as fees,
        {{ exact_sum('net_pnl', filter='is_settled and net_pnl > 0') }} as gains,
        {{ exact_sum('net_pnl', filter='is_settled and net_pnl < 0') }} as losses,
        {{ exact_sum('holding_seconds', filter='is_settled') }} as holding_seconds
    from {{ ref('trades') }}
    group by asset_pair, date
),

to_date as (
    select
        pair_days.asset_pair,
        pair_days.date,
        pair_days.quote_currency,
        pair_days.is_mock,
        pair_days.periods_per_year,
        pair_days.is_return_day as is_in_calendar,
        coalesce(of_day.trades, 0) as day_trades,
        coalesce(of_day.gross_pnl, 0) as day_gross_pnl,
        coalesce(of_day.net_pnl, 0) as day_net_pnl,
        coalesce(of_day.fees, 0) as day_fees,
        {%- for name in counts %}
        cast(coalesce(sum(of_day.{{ name }}) over so_far, 0) as bigint) as {{ name }},
        {%- endfor %}
        {%- for name in sums %}
        {{ exact_sum('of_day.' ~ name, over='so_far') }} as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('pair_days') }} as pair_days
    left join of_day using (asset_pair, date)
    window so_far as (
        partition by pair_days.asset_pair, pair_days.is_mock
        order by pair_days.date rows unbounded preceding
    )
),

accounts as (
    select
        to_date.*,
        settings.initial_capital,
        settings.risk_free_rate,
        settings.initial_capital + to_date.net_pnl as equity,
        to_date.trades > 0 and (to_date.is_in_calendar or to_date.day_trades > 0) as is_return_day,
        case
            when settings.return_basis = 'equity'
                then settings.initial_capital + coalesce(lag(to_date.net_pnl) over so_far, 0)
            else settings.initial_capital
        end as invested
    from to_date
    cross join {{ source('ffe', 'settings') }} as settings
    window so_far as (partition by to_date.asset_pair, to_date.is_mock order by to_date.date)
)

select
    * exclude (is_in_calendar, risk_free_rate, invested),
    -- An account with nothing left has no return, and one with next to nothing left has none that
    -- says anything. 10,000 is a gain of a million per cent; its square can still be summed up.
    case
        when is_return_day and invested > 0 and abs(day_net_pnl / invested) <= 10000
            then day_net_pnl / invested
    end as daily_return,
    pow(1 + risk_free_rate, 1 / periods_per_year) - 1 as daily_risk_free_rate
from accounts
