{#- Yesterday and today a KPI is known to lie on the right side of its limit, `kpi_limits` of the project's variables. -#}
{% test kpi_within_limit(model, column_name, kpi, is_floor) %}
select
    date,
    {{ column_name }},
    {{ var('kpi_limits')[kpi] }} as limit_set
from {{ model }}
where
    date >= (select max(date) from {{ model }}) - 1
    and {{ column_name }} {{ '<' if is_floor else '>' }} {{ var('kpi_limits')[kpi] }}
{% endtest %}
