{{
    config(
        indexes=[
            {'columns': ['first_seen_on', 'sync_type', 'rule', 'plant_code'], 'unique': true},
        ]
    )
}}

with

failures as (

    select
        sync_type,
        rule,
        severity,
        record_key,
        plant_code,
        status,
        times_seen,
        first_seen_at,
        last_seen_at,
        resolved_at,
        true as is_first
    from {{ ref('stg_cmms__sync_rejections') }}

    union all

    select
        refused.sync_type,
        other.rule,
        other.severity,
        refused.record_key,
        refused.plant_code,
        refused.status,
        refused.times_seen,
        refused.first_seen_at,
        refused.last_seen_at,
        refused.resolved_at,
        false as is_first
    from {{ ref('stg_cmms__sync_rejections') }} as refused
    cross join lateral jsonb_to_recordset(refused.other_failures) as other (rule text, severity text)

),

rejections as (

    select
        *,
        coalesce(plant_code, '(none)') as plant_code_or_none,
        cast(first_seen_at at time zone '{{ var("time_zone") }}' as date) as first_seen_on,
        cast(extract(epoch from resolved_at - first_seen_at) / 3600 as double precision) as hours_to_resolve
    from failures

),

final as (

    select

        ---------- ids
        plant_code_or_none as plant_code,

        ---------- text
        sync_type,
        rule,
        {{ rule_category('rule') }} as category,
        min(severity) as severity,

        ---------- numerics
        count(*) as refusals,
        count(distinct record_key) as records,
        count(*) filter (where is_first) as primary_refusals,
        count(*) filter (where status = 'open') as refusals_open,
        count(*) filter (where status = 'replayed') as refusals_replayed,
        count(*) filter (where status = 'discarded') as refusals_discarded,
        cast(sum(times_seen) as bigint) as times_seen,
        percentile_cont(0.50) within group (order by hours_to_resolve) as hours_to_resolve_p50,
        percentile_cont(0.95) within group (order by hours_to_resolve) as hours_to_resolve_p95,

        ---------- dates
        first_seen_on,

        ---------- timestamps
        max(last_seen_at) as last_seen_at,
        {{ as_of() }} as built_as_of

    from rejections
    group by first_seen_on, sync_type, rule, plant_code_or_none

)

select * from final
