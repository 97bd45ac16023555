{#- What kind of mistake a rule of the contracts speaks of, from the end of its id: rules are named for what is wrong. -#}
{% macro rule_category(rule) -%}
    case
        when {{ rule }} like '%\_missing' then 'required'
        when {{ rule }} like '%\_invalid' or {{ rule }} like '%\_unreadable' then 'format'
        when {{ rule }} like '%\_too\_long' then 'length'
        when {{ rule }} like '%\_unknown' then 'reference'
        when {{ rule }} like '%\_not\_unique' then 'uniqueness'
        when
            {{ rule }} like '%\_negative' or {{ rule }} like '%\_exceed\_day' or {{ rule }} like '%\_too\_large'
            or {{ rule }} like '%\_not\_requested'
            then 'range'
        else 'progress'
    end
{%- endmacro %}
