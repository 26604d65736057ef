-- Who has which share of a settled trade: those who took part in its decision, or else, wholly, the
-- provider that the trade itself names.

select
    settlements.asset_pair,
    settlements.trade_id,
    settlements.date,
    settlements.is_mock,
    coalesce(participants.provider, settlements.ai_provider, 'unknown') as provider,
    settlements.net_pnl * coalesce(participants.share, 1) as attributed_net_pnl
from {{ ref('settlements') }} as settlements
left join {{ ref('participants') }} as participants
    on participants.asset_pair = settlements.asset_pair
    and participants.decision_id = settlements.decision_id
    and participants.timestamp = settlements.decision_timestamp
