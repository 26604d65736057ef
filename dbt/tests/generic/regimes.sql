{# Laws of mart_market_regime_stats. A row that is returned breaks one. #}

{# The regimes of a pair share its bars among them. #}
{% test time_shares_add_up_to_one(model) %}
  select asset_pair, date, sum(time_share) as time_shares from {{ model }}
  group by all having abs(time_shares - 1) > 1e-9
{% endtest %}

{# Each bar and each trade of a day is in one regime, and the net P&L with it. #}
{% test regimes_add_up_to_the_pair(model) %}
  with regimes as (
      select asset_pair, date,
          sum(day_bars) as bars, sum(day_trades) as trades, sum(day_net_pnl) as net_pnl
      from {{ model }} group by all
  ),

  barred as (
      select asset_pair, date, count(*) as bars from {{ ref('bars') }} group by all
  ),

  traded as (
      select asset_pair, date,
          count(*) as trades, sum(net_pnl) as net_pnl, sum(abs(net_pnl)) as turnover
      from {{ ref('trades') }} where is_settled group by all
  )

  select regimes.*, barred.bars as bars_of_pair, traded.trades as trades_of_pair,
      traded.net_pnl as net_pnl_of_pair
  from regimes
  left join barred using (asset_pair, date)
  left join traded using (asset_pair, date)
  where
      regimes.bars <> coalesce(barred.bars, 0)
      or regimes.trades <> coalesce(traded.trades, 0)
      or abs(regimes.net_pnl - coalesce(traded.net_pnl, 0)) > 1e-9 * greatest(1, turnover)
{% endtest %}

{# Nothing of a day is missing from the count to date, and no trade wins that is not one. #}
{% test counts_include_the_day(model) %}
  select * from {{ model }}
  where day_bars > bars or day_trades > trades or winning_trades > trades
{% endtest %}
