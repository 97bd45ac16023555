{#- Hours by the clock on the wall from the start of one date to the start of another in a time zone: a day has 23, 24 or 25. -#}
{% macro local_hours(first_date, after_date, time_zone) -%}
    cast(
        extract(
            epoch from
            (cast({{ after_date }} as timestamp) at time zone {{ time_zone }})
            - (cast({{ first_date }} as timestamp) at time zone {{ time_zone }})
        ) / 3600 as numeric(10, 4)
    )
{%- endmacro %}
