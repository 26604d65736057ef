-- What trading a pair has come to, day by day. Every number is defined in docs/marts-performance.md.
--
-- Standard deviations are taken from returns less the first one: what cancels out in the sums of
-- squares is then never much more than what is left (Chan, Golub, LeVeque, The American Statistician
-- 37, 1983), so Sharpe is exact to 12 digits however steady the returns are.

with returns as (
    select
        *,
        count(daily_return) over so_far as return_days,
        first_value(daily_return ignore nulls) over so_far as first_return
    from {{ ref('daily_returns') }}
    window so_far as (partition by asset_pair, is_mock order by date rows unbounded preceding)
),

moments as (
    select
        *,
        {{ exact_ratio_sum('daily_return - first_return', over='so_far') }} as deviations,
        {{ exact_ratio_sum('pow(daily_return - first_return, 2)', over='so_far') }} as squares,
        {{ exact_ratio_sum('pow(least(daily_return - daily_risk_free_rate, 0), 2)', over='so_far') }}
            as downside_squares
    from returns
    window so_far as (partition by asset_pair, is_mock order by date rows unbounded preceding)
),

statistics as (
    select
        *,
        first_return + {{ ratio('deviations', 'return_days') }} - daily_risk_free_rate as mean_excess_return,
        -- A variance that is lost in the last digits may come out below zero.
        sqrt(greatest(
            {{ ratio("squares - " ~ ratio('pow(deviations, 2)', 'return_days'), 'return_days - 1') }}, 0
        )) as standard_deviation,
        sqrt({{ ratio('downside_squares', 'return_days') }}) as downside_deviation,
        -- A day or two of gains, annualized, may be more than a double holds.
        case when equity > 0
            then nullif(
                pow(equity / initial_capital, {{ ratio('periods_per_year', 'return_days') }}), 'infinity'
            ) - 1
        end as annual_return
    from moments
)

select
    asset_pair,
    date,
    quote_currency,
    is_mock,
    day_trades,
    day_gross_pnl,
    day_net_pnl,
    day_fees,
    trades,
    winning_trades,
    losing_trades,
    open_trades,
    unpriced_trades,
    {{ ratio('winning_trades', 'trades') }} as win_rate,
    {{ ratio('gains', 'abs(losses)') }} as profit_factor,
    {{ ratio('net_pnl', 'trades') }} as expectancy,
    gross_pnl,
    net_pnl,
    fees,
    {{ ratio('gains', 'winning_trades') }} as average_win,
    {{ ratio('losses', 'losing_trades') }} as average_loss,
    {{ ratio('holding_seconds / 3600', 'held_trades') }} as average_holding_hours,
    equity,
    is_return_day,
    daily_return,
    return_days,
    annual_return,
    {{ ratio('mean_excess_return', 'standard_deviation') }} * sqrt(periods_per_year) as sharpe_ratio,
    case when return_days > 1
        then {{ ratio('mean_excess_return', 'downside_deviation') }} * sqrt(periods_per_year)
    end as sortino_ratio,
    drawdown,
    max_drawdown,
    max_drawdown_days,
    nullif({{ ratio('annual_return', 'abs(max_drawdown)') }}, 'infinity') as calmar_ratio
from statistics
inner join {{ ref('drawdowns') }} using (asset_pair, date)
