-- Every day of every pair, from its first record or bar to the last day that is computed.
--
-- Simulated and real records are never mixed: from the day of the first real record of a pair on, its
-- simulated ones no longer count (`is_mock` is false from there).

with seen as (
    select asset_pair, partition_date, not record_is_mock as is_real
    from {{ source('silver', 'trade_lifecycle') }}
    union all
    select asset_pair, partition_date, not record_is_mock
    from {{ source('silver', 'decision_history') }}
    union all
    select asset_pair, partition_date, false
    from {{ source('silver', 'market_data_enriched') }}
),

first_days as (
    select
        asset_pair,
        min(partition_date) as first_day,
        min(partition_date) filter (where is_real) as first_real_day
    from seen
    group by asset_pair
)

select
    first_days.asset_pair,
    calendar.date,
    pairs.base_currency,
    pairs.quote_currency,
    pairs.periods_per_year,
    calendar.is_return_day,
    coalesce(calendar.date < first_days.first_real_day, true) as is_mock
from first_days
inner join {{ source('ffe', 'pairs') }} as pairs using (asset_pair)
inner join {{ source('ffe', 'calendar') }} as calendar
    on calendar.asset_class = pairs.asset_class and calendar.date >= first_days.first_day
