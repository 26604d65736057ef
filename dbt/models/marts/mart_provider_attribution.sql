-- What each provider was worth: its decisions, its share of the P&L, and how good its calls were.

{%- set buckets = ['0_20', '20_40', '40_60', '60_80', '80_100'] %}
{%- set counts = [
    'decisions', 'rated_decisions', 'executed', 'trades', 'calls', 'hits', 'rated_calls',
] %}
{%- set sums = ['attributed_net_pnl', 'confidence', 'squared_error'] %}
{%- for bucket in buckets %}
    {%- do counts.extend(['calls_' ~ bucket, 'hits_' ~ bucket]) %}
    {%- do sums.append('confidence_' ~ bucket) %}
{%- endfor %}

with decided as (
    select
        asset_pair, provider, is_mock, date,
        count(*) as decisions,
        count(confidence) as rated_decisions,
        {{ exact_sum('confidence') }} as confidence
    from {{ ref('participants') }}
    group by all
),

executed as (
    select asset_pair, provider, is_mock, execution_date as date, count(*) as executed
    from {{ ref('participants') }}
    where execution_date is not null
    group by all
),

attributed as (
    select
        asset_pair, provider, is_mock, date,
        count(*) as trades,
        {{ exact_sum('attributed_net_pnl') }} as attributed_net_pnl
    from {{ ref('attributions') }}
    group by all
),

rated as (
    select
        *,
        case when confidence = 100 then 4 else floor(confidence / 20) end as bucket,
        confidence / 100 - is_hit::integer as error
    from {{ ref('calls') }}
),

called as (
    select
        asset_pair, provider, is_mock, date,
        count(*) as calls,
        count(*) filter (is_hit) as hits,
        count(confidence) as rated_calls,
        {%- for bucket in buckets %}
        count(*) filter (bucket = {{ loop.index0 }}) as calls_{{ bucket }},
        count(*) filter (bucket = {{ loop.index0 }} and is_hit) as hits_{{ bucket }},
        {{ exact_sum('confidence', filter='bucket = ' ~ loop.index0) }} as confidence_{{ bucket }},
        {%- endfor %}
        {{ exact_sum('error * error') }} as squared_error
    from rated
    group by all
),

to_date as (
    -- As of each day on which something happened.
    select
        asset_pair, provider, is_mock, date,
        coalesce(decisions, 0) as day_decisions,
        coalesce(attributed_net_pnl, 0) as day_attributed_net_pnl,
        {%- for name in counts %}
        cast(coalesce(sum({{ name }}) over so_far, 0) as bigint) as {{ name }},
        {%- endfor %}
        {%- for name in sums %}
        {{ exact_sum(name, over='so_far') }} as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from decided
    full join executed using (asset_pair, provider, is_mock, date)
    full join attributed using (asset_pair, provider, is_mock, date)
    full join called using (asset_pair, provider, is_mock, date)
    window so_far as (
        partition by asset_pair, provider, is_mock order by date rows unbounded preceding
    )
),

provider_days as (
    select
        pair_days.asset_pair, providers.provider, pair_days.date, pair_days.quote_currency,
        pair_days.is_mock
    from (select distinct asset_pair, provider, is_mock from to_date) as providers
    inner join {{ ref('pair_days') }} as pair_days using (asset_pair, is_mock)
)

-- What held on the last such day still holds. Before the first one there is none, and no row.
select
    provider_days.asset_pair,
    provider_days.provider,
    provider_days.date,
    provider_days.quote_currency,
    provider_days.is_mock,
    if(to_date.date = provider_days.date, day_decisions, 0) as day_decisions,
    if(to_date.date = provider_days.date, day_attributed_net_pnl, 0) as day_attributed_net_pnl,
    decisions,
    executed,
    {{ ratio('confidence', 'rated_decisions') }} as mean_confidence,
    trades,
    attributed_net_pnl,
    calls,
    hits,
    {{ ratio('hits', 'calls') }} as hit_rate,
    {{ ratio('squared_error', 'rated_calls') }} as brier_score
    {%- for bucket in buckets %},
    calls_{{ bucket }},
    hits_{{ bucket }},
    {{ ratio('confidence_' ~ bucket, 'calls_' ~ bucket) }} as mean_confidence_{{ bucket }}
    {%- endfor %}
from provider_days
asof join to_date
    on to_date.asset_pair = provider_days.asset_pair
    and to_date.provider = provider_days.provider
    and to_date.is_mock = provider_days.is_mock
    and to_date.date <= provider_days.date
