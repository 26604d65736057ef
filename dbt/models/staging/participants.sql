-- Who took part in a decision: what each provider said, and the share of the outcome that is its own.

with seats as (
    select
        decisions.asset_pair,
        decisions.decision_id,
        decisions.timestamp,
        decisions.date,
        decisions.execution_date,
        decisions.is_mock,
        said.provider,
        said.role,
        said.action,
        -- Nobody has checked what a provider says.
        case when said.confidence between 0 and 100 then said.confidence end as confidence,
        said.role in ('voter', 'judge') as is_opinion,
        greatest(coalesce(said.adjusted_weight, 0), 0) as weight
    from {{ source('silver', 'provider_decisions') }} as said
    inner join {{ ref('decisions') }} as decisions using (asset_pair, decision_id, timestamp)
    where decisions.decision_mode <> 'single'
),

voices as (
    -- One a provider: what it thinks, rather than what it had to argue; of that the loudest.
    select * exclude (role) replace (max(weight) over own_seats as weight)
    from seats
    window own_seats as (partition by asset_pair, decision_id, timestamp, provider)
    qualify row_number() over (
        own_seats order by is_opinion desc, confidence desc nulls last, role
    ) = 1
),

participants as (
    select * from voices
    union all by name
    select
        asset_pair,
        decision_id,
        timestamp,
        date,
        execution_date,
        is_mock,
        coalesce(ai_provider, 'unknown') as provider,
        action,
        confidence,
        true as is_opinion,
        1.0 as weight
    from {{ ref('decisions') }}
    anti join voices using (asset_pair, decision_id, timestamp)
),

weighed as (
    -- As parts of the largest weight, so that no sum overflows; alike where nobody has any.
    select
        * replace (coalesce({{ ratio('weight', 'max(weight) over everyone') }}, 1) as weight)
    from participants
    window everyone as (partition by asset_pair, decision_id, timestamp)
)

select * exclude (weight), weight / {{ exact_ratio_sum('weight', over='everyone') }} as share
from weighed
window everyone as (partition by asset_pair, decision_id, timestamp)
