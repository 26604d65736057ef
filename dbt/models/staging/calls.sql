-- What a provider called, up or down, and whether the price went there from entry to exit.

select
    settlements.asset_pair,
    settlements.trade_id,
    settlements.date,
    settlements.is_mock,
    participants.provider,
    participants.confidence,
    case participants.action
        when 'BUY' then settlements.exit_price > settlements.entry_price
        else settlements.exit_price < settlements.entry_price
    end as is_hit
from {{ ref('settlements') }} as settlements
inner join {{ ref('participants') }} as participants
    on participants.asset_pair = settlements.asset_pair
    and participants.decision_id = settlements.decision_id
    and participants.timestamp = settlements.decision_timestamp
where participants.is_opinion and participants.action in ('BUY', 'SELL')
