-- Decisions that count on their day: real ones, or simulated ones before the first real record of the
-- pair. What became known after the decision is of the day on which it happened.

select
    decisions.* exclude (partition_date, record_is_mock, executed, execution_time),
    decisions.partition_date as date,
    case
        when decisions.executed
            then greatest(
                decisions.partition_date,
                cast(coalesce(decisions.execution_time, decisions.timestamp) as date)
            )
    end as execution_date,
    pair_days.is_mock
from {{ source('silver', 'decision_history') }} as decisions
inner join {{ ref('pair_days') }} as pair_days
    on pair_days.asset_pair = decisions.asset_pair
    and pair_days.date = decisions.partition_date
    and pair_days.is_mock = decisions.record_is_mock
