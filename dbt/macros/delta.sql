{#
  A model whose rows are those of a Delta table of the lake. They are computed into DuckDB's memory,
  where the tests look at them, and stored in one commit by `ffe_lakehouse.gold.plugin`.
#}
{% materialization delta, adapter='duckdb' %}
  {%- set target = this.incorporate(type='table') -%}
  {{ run_hooks(pre_hooks) }}
  {% call statement('main') -%}
    create or replace table {{ target }} as (
      {{ compiled_code }}
    )
  {%- endcall %}
  {{ adapter.commit() }}
  {% do adapter.store_relation('lake', target, [], '', 'delta', config) %}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}
