-- Received = stored + refused, and stored = inserted + updated + unchanged + merged: a row here has lost or invented records.
select
    sync_log_id,
    records_processed,
    records_success,
    records_failed,
    records_inserted,
    records_updated,
    records_unchanged,
    records_merged
from {{ ref('stg_cmms__api_sync_logs') }}
where
    records_processed <> records_success + records_failed
    or records_success <> records_inserted + records_updated + records_unchanged + records_merged
