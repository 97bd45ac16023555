{#- The moment the marts are built for: `var('as_of')`, else the start of the transaction. -#}
{% macro as_of() -%}
    {%- if var('as_of') -%} cast('{{ var("as_of") }}' as timestamp with time zone)
    {%- else -%} current_timestamp
    {%- endif -%}
{%- endmacro %}
