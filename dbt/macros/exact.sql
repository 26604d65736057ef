{#
  Sums that do not depend on the order of what is summed up. A sum of doubles does, in its last bit,
  and DuckDB sums up in parallel: a mart that is computed again would differ from itself. So they
  are summed up as decimals.
#}

{# The sum of money, sizes, seconds: exact to 14 digits after the point, up to 1e24. #}
{% macro exact_sum(value, filter=none, over=none) -%}
  {{ sum_as('decimal(38, 14)', value, filter, over) }}
{%- endmacro %}

{# The sum of ratios such as returns, and of their squares: to 24 digits, up to 1e14. #}
{% macro exact_ratio_sum(value, filter=none, over=none) -%}
  {{ sum_as('decimal(38, 24)', value, filter, over) }}
{%- endmacro %}

{% macro sum_as(type, value, filter, over) -%}
  cast(coalesce(sum(cast({{ value }} as {{ type }}))
    {%- if filter %} filter (where {{ filter }}){% endif -%}
    {%- if over %} over {{ over }}{% endif %}, 0) as double)
{%- endmacro %}

{# A ratio, or null where there is nothing to divide by. #}
{% macro ratio(numerator, denominator) -%}
  (({{ numerator }}) / nullif({{ denominator }}, 0))
{%- endmacro %}
