-- What each way of deciding was worth: one provider alone, a vote, a fallback, a debate.

{%- set means = ['confidence', 'agreement', 'failure_rate', 'confidence_adjustment'] %}

with measured as (
    -- Nobody has checked what an ensemble says of itself; what is no share is not known.
    select
        asset_pair, decision_mode, is_mock, date,
        confidence,
        case when agreement_score between 0 and 1 then agreement_score end as agreement,
        case when failure_rate between 0 and 1 then failure_rate end as failure_rate,
        case when confidence_adjustment_factor between 0 and 1
            then confidence_adjustment_factor
        end as confidence_adjustment
    from {{ ref('decisions') }}
),

decided as (
    select
        asset_pair, decision_mode, is_mock, date,
        count(*) as decisions
        {%- for name in means %},
        count({{ name }}) as known_{{ name }},
        {{ exact_sum(name) }} as sum_{{ name }}
        {%- endfor %}
    from measured
    group by all
),

executed as (
    select asset_pair, decision_mode, is_mock, execution_date as date, count(*) as executed
    from {{ ref('decisions') }}
    where execution_date is not null
    group by all
),

traded as (
    select
        asset_pair, coalesce(decision_mode, 'unknown') as decision_mode, is_mock, date,
        count(*) as trades,
        count(*) filter (net_pnl > 0) as winning_trades,
        {{ exact_sum('net_pnl') }} as net_pnl
    from {{ ref('settlements') }}
    group by all
),

to_date as (
    -- As of each day on which something happened.
    select
        asset_pair, decision_mode, is_mock, date,
        coalesce(decisions, 0) as day_decisions,
        coalesce(trades, 0) as day_trades,
        coalesce(net_pnl, 0) as day_net_pnl,
        {%- for name in ['decisions', 'executed', 'trades', 'winning_trades'] %}
        cast(coalesce(sum({{ name }}) over so_far, 0) as bigint) as {{ name }},
        {%- endfor %}
        {{ exact_sum('net_pnl', over='so_far') }} as net_pnl
        {%- for name in means %},
        sum(known_{{ name }}) over so_far as known_{{ name }},
        {{ exact_sum('sum_' ~ name, over='so_far') }} as sum_{{ name }}
        {%- endfor %}
    from decided
    full join executed using (asset_pair, decision_mode, is_mock, date)
    full join traded using (asset_pair, decision_mode, is_mock, date)
    window so_far as (
        partition by asset_pair, decision_mode, is_mock order by date rows unbounded preceding
    )
),

mode_days as (
    select
        pair_days.asset_pair, modes.decision_mode, pair_days.date, pair_days.quote_currency,
        pair_days.is_mock
    from (select distinct asset_pair, decision_mode, is_mock from to_date) as modes
    inner join {{ ref('pair_days') }} as pair_days using (asset_pair, is_mock)
)

-- What held on the last such day still holds. Before the first one there is none, and no row.
select
    mode_days.asset_pair,
    mode_days.decision_mode,
    mode_days.date,
    mode_days.quote_currency,
    mode_days.is_mock,
    {%- for name in ['day_decisions', 'day_trades', 'day_net_pnl'] %}
    if(to_date.date = mode_days.date, {{ name }}, 0) as {{ name }},
    {%- endfor %}
    decisions,
    executed,
    trades,
    winning_trades,
    {{ ratio('winning_trades', 'trades') }} as win_rate,
    net_pnl,
    {{ ratio('net_pnl', 'trades') }} as expectancy
    {%- for name in means %},
    {{ ratio('sum_' ~ name, 'known_' ~ name) }} as mean_{{ name }}
    {%- endfor %}
from mode_days
asof join to_date
    on to_date.asset_pair = mode_days.asset_pair
    and to_date.decision_mode = mode_days.decision_mode
    and to_date.is_mock = mode_days.is_mock
    and to_date.date <= mode_days.date
