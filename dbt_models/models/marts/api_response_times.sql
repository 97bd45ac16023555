{{
    config(
        indexes=[
            {'columns': ['called_on', 'endpoint', 'method'], 'unique': true},
        ]
    )
}}

with

calls as (

    select
        *,
        cast(started_at at time zone '{{ var("time_zone") }}' as date) as called_on
    from {{ ref('stg_cmms__api_calls') }}

),

final as (

    select

        ---------- ids
        endpoint,
        method,

        ---------- numerics
        count(*) as calls,
        count(*) filter (where has_failed) as calls_failed,
        cast(sum(attempts - 1) as bigint) as retries,
        cast(sum(rows_received) as bigint) as rows_received,
        cast(sum(bytes_received) as bigint) as bytes_received,
        percentile_cont(0.50) within group (order by duration_ms) as p50_ms,
        percentile_cont(0.95) within group (order by duration_ms) as p95_ms,
        percentile_cont(0.99) within group (order by duration_ms) as p99_ms,
        max(duration_ms) as max_ms,

        ---------- dates
        called_on,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from calls
    group by called_on, endpoint, method

)

select * from final
