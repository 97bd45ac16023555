{#- Every model lands in the profile's schema (`analytics`), or in the one it names: never in a mix of both names. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
