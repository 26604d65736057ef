{# Laws of mart_daily_portfolio_summary. A row that is returned breaks one. #}

{# Equity is the balance and what open positions would add to it. #}
{% test equity_is_balance_and_open_pnl(model) %}
  select * from {{ model }}
  where abs(equity - balance - unrealized_pnl) > 1e-9 * greatest(1, abs(balance))
{% endtest %}

{# Exposures by pair add up to the net one, which is not beyond the gross one. #}
{% test exposures_add_up(model) %}
  select * from {{ model }}
  where
    abs(net_exposure - coalesce(list_sum(
      cast(json_extract(exposure_by_pair, '$.*') as double[])
    ), 0)) > 1e-9 * greatest(1, gross_exposure)
    or abs(net_exposure) > gross_exposure * (1 + 1e-9)
{% endtest %}

{# Equity is at its highest or below it, and never was further below than the largest drawdown. #}
{% test drawdown_is_within_the_largest(model) %}
  select * from {{ model }} where drawdown > 0 or drawdown < max_drawdown
{% endtest %}

{# Positions come from a snapshot of the day, or else are said to be carried forward. #}
{% test snapshot_is_of_the_day_or_carried_forward(model) %}
  select * from {{ model }}
  where
    cast(snapshot_at as date) > date
    or is_carried_forward != coalesce(cast(snapshot_at as date) < date, false)
    or days_since_snapshot < date - cast(snapshot_at as date)
{% endtest %}
