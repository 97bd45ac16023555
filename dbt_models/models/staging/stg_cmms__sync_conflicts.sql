with

source as (

    select * from {{ source('cmms', 'sync_conflicts') }}

),

renamed as (

    select

        ---------- ids
        id as conflict_id,
        cmms_system_id,
        entity_key,
        hook_id,

        ---------- text
        entity_type,
        field,
        rule,
        severity,
        status,
        decision,
        resolved_by,

        ---------- numerics
        occurrences,
        cast(extract(epoch from resolved_at - created_at) as double precision) as resolved_after_s,

        ---------- booleans
        is_automatic,

        ---------- timestamps
        created_at,
        resolved_at

    from source

)

select * from renamed
