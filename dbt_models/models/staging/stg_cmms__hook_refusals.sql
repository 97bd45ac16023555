with

source as (

    select * from {{ source('cmms', 'audit_log') }}
    where action = 'hook.refused'

),

renamed as (

    select

        ---------- ids
        id as audit_id,
        cast(coalesce(entity_key, '(unknown)') as varchar(300)) as cmms_system_id,

        ---------- text
        reason,

        ---------- numerics
        cast(after ->> 'count' as bigint) as refusals,

        ---------- timestamps
        at as refused_at

    from source

)

select * from renamed
