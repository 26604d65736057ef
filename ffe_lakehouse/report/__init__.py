"""The report: what the marts say of a period, as one HTML page that needs nothing else.

Here is what is read of the marts, what is made of it for a period, and how it is shown. What a mart
says is computed in ``dbt/``, and nothing of that is computed again. Imports no Dagster; whoever
calls it pays for plotly, so the command imports it only when it runs.
"""
