{#
  Laws of the marts that share out what happened, among providers or ways of deciding. A row that is
  returned breaks one. Where only some days are stored, the laws hold for these.
#}

{# All the net P&L of a day is shared out, and nothing else: it adds up to that of the pair's trades. #}
{% test shares_out_the_net_pnl(model, net_pnl) %}
  with shared as (
      select asset_pair, date, sum({{ net_pnl }}) as net_pnl from {{ model }} group by all
  ),

  traded as (
      select asset_pair, date, sum(net_pnl) as net_pnl, sum(abs(net_pnl)) as turnover
      from {{ ref('trades') }} where is_settled group by all
  )

  select shared.*, traded.net_pnl as net_pnl_of_pair
  from shared
  left join traded using (asset_pair, date)
  where abs(shared.net_pnl - coalesce(traded.net_pnl, 0)) > 1e-9 * greatest(1, turnover)
{% endtest %}

{# Every settled trade is counted once, on the day of its exit. #}
{% test has_every_trade_once(model) %}
  with shared as (
      select asset_pair, date, sum(day_trades) as trades from {{ model }} group by all
  ),

  traded as (
      select asset_pair, date, count(*) as trades
      from {{ ref('trades') }} where is_settled group by all
  )

  select shared.*, traded.trades as trades_of_pair
  from shared
  left join traded using (asset_pair, date)
  where shared.trades <> coalesce(traded.trades, 0)
{% endtest %}

{# Nothing is larger than what it is a part of. #}
{% test counts_are_nested(model) %}
  {%- set columns = columns_of(model) | map(attribute='name') | list -%}
  select * from {{ model }} where day_decisions > decisions
  {%- for part, whole in [
      ('executed', 'decisions'), ('winning_trades', 'trades'), ('hits', 'calls'), ('calls', 'trades'),
  ] if part in columns and whole in columns %}
    or {{ part }} > {{ whole }}
  {%- endfor %}
{% endtest %}

{# A call is in one bucket at most, that of its confidence. #}
{% test calls_are_in_their_buckets(model) %}
  {%- set ends = [(0, 20), (20, 40), (40, 60), (60, 80), (80, 100)] -%}
  select * from {{ model }}
  where {% for low, high in ends %}calls_{{ low }}_{{ high }} + {% endfor %}0 > calls
  {%- for low, high in ends %}
    or hits_{{ low }}_{{ high }} > calls_{{ low }}_{{ high }}
    or mean_confidence_{{ low }}_{{ high }} not between {{ low }} and {{ high }}
  {%- endfor %}
{% endtest %}

{# Whoever has appeared has a row on every later day, until records of another kind begin to count. #}
{% test nobody_disappears(model, who) %}
  with appeared as (
      select asset_pair, is_mock, {{ who }}, min(date) as first_day from {{ model }} group by all
  ),

  days as (
      select distinct asset_pair, is_mock, date from {{ model }}
  )

  select asset_pair, is_mock, {{ who }}, date
  from appeared
  inner join days using (asset_pair, is_mock)
  anti join {{ model }} using (asset_pair, is_mock, {{ who }}, date)
  where date >= first_day
{% endtest %}
