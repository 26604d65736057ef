-- Positions held at the end of each day, in the currency of the account.

with held as (
    select date, unnest(positions) as position
    from {{ ref('snapshots') }}
)

select
    held.date,
    held.position.asset_pair as asset_pair,
    held.position.unrealized_pnl as unrealized_pnl,
    case held.position.side when 'LONG' then 1 when 'SHORT' then -1 end
    * case settings.account_currency
        when pairs.quote_currency then held.position.size * held.position.current_price
        when pairs.base_currency then held.position.size
    end as exposure
from held
cross join {{ source('ffe', 'settings') }} as settings
left join {{ source('ffe', 'pairs') }} as pairs on pairs.asset_pair = held.position.asset_pair
