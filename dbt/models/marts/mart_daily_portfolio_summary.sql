with settled as (
    select
        date,
        is_mock,
        {{ exact_sum('realized_pnl') }} as realized_pnl,
        count(*) filter (where realized_pnl is null) as unconverted_trades
    from {{ ref('account_trades') }}
    group by date, is_mock
),

reported as (
    select
        date,
        max(taken_at) as snapshot_at,
        min(reported_on) as oldest_report,
        max(reported_on) as newest_report
    from {{ ref('snapshots') }}
    group by date
),

held as (
    select
        date,
        count(*) as positions,
        {{ exact_sum('unrealized_pnl') }} as unrealized_pnl,
        {{ exact_sum('abs(exposure)') }} as gross_exposure,
        {{ exact_sum('exposure') }} as net_exposure,
        count(*) filter (where exposure is null) as unconverted_positions
    from {{ ref('positions') }}
    group by date
),

pair_exposures as (
    select date, asset_pair, {{ exact_sum('exposure') }} as exposure
    from {{ ref('positions') }}
    where exposure is not null
    group by date, asset_pair
),

exposures as (
    select
        date,
        cast(to_json(
            map_from_entries(list((asset_pair, exposure) order by asset_pair))
        ) as varchar) as exposure_by_pair
    from pair_exposures
    group by date
),

days as (
    select
        days.date,
        settings.account_currency,
        days.is_mock,
        settings.initial_balance,
        coalesce(settled.realized_pnl, 0) as day_realized_pnl,
        {{ exact_sum('settled.realized_pnl', over='to_date') }} as realized_pnl,
        coalesce(sum(settled.unconverted_trades) over to_date, 0) as unconverted_trades,
        coalesce(held.unrealized_pnl, 0) as unrealized_pnl,
        coalesce(held.positions, 0) as positions,
        coalesce(held.gross_exposure, 0) as gross_exposure,
        coalesce(held.net_exposure, 0) as net_exposure,
        coalesce(exposures.exposure_by_pair, '{}') as exposure_by_pair,
        coalesce(held.unconverted_positions, 0) as unconverted_positions,
        reported.snapshot_at,
        days.date - reported.oldest_report as days_since_snapshot,
        coalesce(reported.newest_report < days.date, false) as is_carried_forward
    from {{ ref('portfolio_days') }} as days
    cross join {{ source('ffe', 'settings') }} as settings
    left join settled on settled.date = days.date and settled.is_mock = days.is_mock
    left join reported on reported.date = days.date
    left join held on held.date = days.date
    left join exposures on exposures.date = days.date
    window to_date as (
        partition by days.is_mock order by days.date rows unbounded preceding
    )
),

valued as (
    select
        *,
        initial_balance + realized_pnl as balance,
        balance + unrealized_pnl as equity
    from days
),

peaks as (
    select *, greatest(initial_balance, max(equity) over to_date) as peak
    from valued
    window to_date as (partition by is_mock order by date rows unbounded preceding)
),

falls as (
    -- Zero at the peak and nowhere else, and no digit lost near it.
    select *, (equity - peak) / peak as drawdown
    from peaks
)

select
    date,
    account_currency,
    is_mock,
    balance,
    day_realized_pnl,
    realized_pnl,
    unrealized_pnl,
    equity,
    positions,
    gross_exposure,
    net_exposure,
    exposure_by_pair,
    unconverted_trades,
    unconverted_positions,
    drawdown,
    min(drawdown) over to_date as max_drawdown,
    snapshot_at,
    days_since_snapshot,
    is_carried_forward
from falls
window to_date as (partition by is_mock order by date rows unbounded preceding)
