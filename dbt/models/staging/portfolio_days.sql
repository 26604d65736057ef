-- Every day of the portfolio, from its first snapshot or trade to the last day that is computed.
--
-- Simulated and real records are never mixed: from the day of the first real one on, simulated ones no
-- longer count (`is_mock` is false from there).

with seen as (
    select partition_date as date, is_mock
    from {{ source('bronze', 'raw_portfolio_snapshots') }}
    union all
    select date, is_mock
    from {{ ref('account_trades') }}
),

first_days as (
    select min(date) as first_day, min(date) filter (where not is_mock) as first_real_day
    from seen
),

days as (
    select
        first_real_day,
        cast(unnest(generate_series(first_day, last_day, interval 1 day)) as date) as date
    from first_days
    cross join {{ source('ffe', 'settings') }}
)

select date, coalesce(date < first_real_day, true) as is_mock
from days
