{# Laws of mart_trading_performance. A row that is returned breaks one. #}

{# Each trade that counts is settled, open or without P&L, and is in one of these numbers to date. #}
{% test every_trade_counts_once(model) %}
  with of_day as (
      select asset_pair, date, count(*) as trades from {{ ref('trades') }} group by all
  ),

  known as (
      select asset_pair, date, is_mock,
          sum(trades) over (partition by asset_pair, is_mock order by date) as trades
      from {{ ref('pair_days') }} left join of_day using (asset_pair, date)
  )

  select performance.asset_pair, date, performance.trades, open_trades, unpriced_trades,
      known.trades as known_trades
  from {{ model }} as performance
  left join known using (asset_pair, date, is_mock)
  where performance.trades + open_trades + unpriced_trades <> coalesce(known.trades, 0)
{% endtest %}

{# What is left of the gross P&L is the net P&L, but for the last digits. #}
{% test net_pnl_is_gross_pnl_less_fees(model) %}
  select * from {{ model }}
  where abs(day_gross_pnl - day_fees - day_net_pnl)
    > 1e-9 * greatest(1, abs(day_gross_pnl), abs(day_fees))
{% endtest %}

{# The capital is the one of the settings: what was computed with another has to be computed anew. #}
{% test equity_is_capital_and_net_pnl(model) %}
  select performance.*, initial_capital
  from {{ model }} as performance
  cross join {{ source('ffe', 'settings') }}
  where equity <> initial_capital + net_pnl
{% endtest %}

{# There is a deepest drawdown exactly if there is one that lasted, and none is deeper. #}
{% test no_drawdown_is_deeper_than_the_deepest(model) %}
  select * from {{ model }}
  where drawdown > 0 or drawdown < max_drawdown
    or (max_drawdown < 0) <> (max_drawdown_days > 0)
{% endtest %}
