{#- The day of a moment in the time zone of the schedules (`CMMS_TIME_ZONE`). -#}
{% macro local_date(moment) -%}
    cast({{ moment }} at time zone '{{ var("time_zone") }}' as date)
{%- endmacro %}
