{# What holds for every mart, by what its YAML says of its columns. A row that is returned fails. #}

{# A column with the constraint `not_null` has a value in every row. #}
{% test never_null(model) %}
  {%- set columns = columns_of(model) | selectattr('constraints') | map(attribute='name') | list -%}
  select * from {{ model }}
  where {% for name in columns %}{{ name }} is null{{ ' or ' if not loop.last }}{% endfor %}
{% endtest %}

{# No number is infinite, and none is NaN. #}
{% test finite(model) %}
  {%- set columns = columns_of(model) | selectattr('data_type', 'equalto', 'double')
      | map(attribute='name') | list -%}
  select * from {{ model }}
  where {% for name in columns %}not isfinite({{ name }}){{ ' or ' if not loop.last }}{% endfor %}
{% endtest %}

{# No two rows have the same key. #}
{% test unique_key(model) %}
  {%- set key = node_of(model).config.meta.key if execute else [] -%}
  select {{ key | join(', ') }}, count(*) as rows from {{ model }}
  group by all having count(*) > 1
{% endtest %}
