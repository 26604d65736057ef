-- Bars with their regime, each of the day on which it opens.

select
    bars.asset_pair,
    bars.partition_date as date,
    bars.timestamp as opened_at,
    bars.timestamp + to_seconds(settings.bar_seconds) as closed_at,
    coalesce(bars.market_regime, 'unknown') as regime,
    case bars.trend_direction
        when 1 then 'up'
        when 0 then 'flat'
        when -1 then 'down'
        else 'unknown'
    end as direction,
    bars.log_returns as log_return,
    bars.is_mock
from {{ source('silver', 'market_data_enriched') }} as bars
cross join {{ source('ffe', 'settings') }} as settings
