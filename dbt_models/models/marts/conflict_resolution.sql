{{
    config(
        indexes=[
            {'columns': ['opened_on', 'cmms_system_id', 'entity_type', 'field', 'rule'], 'unique': true},
        ]
    )
}}

with

conflicts as (

    select
        *,
        cast(created_at at time zone '{{ var("time_zone") }}' as date) as opened_on,
        status = 'open' as is_open,
        status in ('resolved', 'undone') and is_automatic as is_decided_by_rule,
        status in ('resolved', 'undone') and not is_automatic as is_decided_by_hand,
        extract(epoch from {{ as_of() }} - created_at) as age_s
    from {{ ref('stg_cmms__sync_conflicts') }}

),

final as (

    select

        ---------- ids
        cmms_system_id,

        ---------- text
        entity_type,
        field,
        rule,

        ---------- numerics
        count(*) as conflicts,
        count(*) filter (where is_decided_by_rule) as decided_by_rule,
        count(*) filter (where is_decided_by_hand) as decided_by_hand,
        count(*) filter (where status = 'converged') as converged,
        count(*) filter (where status = 'undone') as undone,
        count(*) filter (where is_open) as still_open,
        count(*) filter (where decision = 'ours') as decided_for_ours,
        count(*) filter (where decision = 'theirs') as decided_for_theirs,
        count(*) filter (where decision = 'merged') as merged,
        count(*) filter (where decision = 'by_hand') as valued_by_hand,
        cast(count(*) filter (where is_decided_by_rule) as double precision) / count(*) as automatic_rate,
        cast(count(*) filter (where not is_decided_by_rule) as double precision) / count(*) as escalation_rate,
        percentile_cont(0.50) within group (order by resolved_after_s)
            filter (where not is_decided_by_rule) as time_to_resolve_p50_s,
        percentile_cont(0.95) within group (order by resolved_after_s)
            filter (where not is_decided_by_rule) as time_to_resolve_p95_s,
        count(*) filter (where is_open and age_s < 86400) as open_under_1_day,
        count(*) filter (where is_open and age_s >= 86400 and age_s < 604800) as open_1_to_7_days,
        count(*) filter (where is_open and age_s >= 604800) as open_over_7_days,

        ---------- dates
        opened_on,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from conflicts
    group by opened_on, cmms_system_id, entity_type, field, rule

)

select * from final
