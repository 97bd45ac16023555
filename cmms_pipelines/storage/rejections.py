"""The quarantine: every refused record whole and once, what it failed, and how it got out again."""

from collections.abc import Sequence
from datetime import date

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.storage.bulk import stage
from cmms_pipelines.storage.tables import api_sync_logs, sync_rejections

_STAGED = {
    "record_key": "text", "rule": "text", "severity": "text", "column_name": "text", "value": "text", "message": "text",
    "other_failures": "jsonb", "payload": "json", "plant_code": "text", "equipment_number": "text", "date": "date",
}  # fmt: skip

# A discarded record that comes again as it was stays discarded. A replay finds records here that did not come again.
_STORE = sa.text(f"""
    WITH sync AS (
        SELECT coalesce((SELECT scope ? 'replay' FROM {api_sync_logs.fullname} WHERE id = :sync_log_id), false) AS is_replay
    ), discarded AS (
        UPDATE {sync_rejections.fullname} AS kept
        SET last_seen_at = now(), times_seen = kept.times_seen + 1, other_failures = again.other_failures,
            sync_log_id = :sync_log_id
        FROM staged_rejections again, sync
        WHERE NOT is_replay AND kept.id = (
            SELECT max(id) FROM {sync_rejections.fullname} older
            WHERE older.status = 'discarded' AND older.sync_type = :sync_type AND older.record_key = again.record_key
              AND older.rule = again.rule AND older.payload::text = again.payload::text)
        RETURNING kept.record_key
    ), back_to_discarded AS (
        UPDATE {sync_rejections.fullname} AS changed
        SET status = 'replayed', resolved_at = now(), resolved_by = 'sync',
            resolution_reason = 'the record came again as it was when it was discarded'
        FROM discarded
        WHERE changed.status = 'open' AND changed.sync_type = :sync_type AND changed.record_key = discarded.record_key
    )
    INSERT INTO {sync_rejections.fullname} AS kept
        (sync_type, record_key, rule, severity, column_name, value, message, other_failures, payload, plant_code,
         equipment_number, date, sync_log_id, dialect, has_decimal_comma)
    SELECT :sync_type, record_key, rule, severity, column_name, value, message, other_failures, payload, plant_code,
           equipment_number, date, :sync_log_id, :dialect, :has_decimal_comma
    FROM staged_rejections new
    WHERE NOT EXISTS (SELECT FROM discarded WHERE discarded.record_key = new.record_key)
    ON CONFLICT (sync_type, record_key) WHERE status = 'open' DO UPDATE SET
        last_seen_at = CASE WHEN (SELECT is_replay FROM sync) THEN kept.last_seen_at ELSE now() END,
        times_seen = kept.times_seen + CASE WHEN (SELECT is_replay FROM sync) THEN 0 ELSE 1 END,
        sync_log_id = CASE WHEN (SELECT is_replay FROM sync) THEN kept.sync_log_id ELSE excluded.sync_log_id END,
        rule = excluded.rule, severity = excluded.severity, column_name = excluded.column_name, value = excluded.value,
        message = excluded.message, other_failures = excluded.other_failures, payload = excluded.payload,
        plant_code = excluded.plant_code, equipment_number = excluded.equipment_number, date = excluded.date,
        dialect = coalesce(excluded.dialect, kept.dialect),
        has_decimal_comma = coalesce(excluded.has_decimal_comma, kept.has_decimal_comma)
""")

_CLOSE_ACCEPTED = sa.text(f"""
    UPDATE {sync_rejections.fullname} AS kept
    SET status = 'replayed', resolved_at = now(), resolved_by = :actor, resolution_reason = :reason
    FROM staged_accepted_keys accepted
    WHERE kept.status = 'open' AND kept.sync_type = :sync_type AND kept.record_key = accepted.record_key
""")


def store(
    connection: sa.Connection, sync_type: str, sync_log_id: int | None, rejected: pd.DataFrame, dialect: Dialect | None = None
) -> None:
    """Put refused records into the quarantine; one that is open, or was discarded as it is, is seen again and not doubled.

    Args:
        connection: inside the transaction that writes the accepted records of the same slice.
        sync_type: whose records they are.
        sync_log_id: of the sync that refused them.
        rejected: record_key (unique), rule, severity, column_name, value and message of its first failure, other_failures (a
            list of dicts with those five, or missing), payload (dict: the raw record), plant_code, equipment_number, date.
        dialect: in which they came, and in which they are to be judged again.
    """
    if rejected.empty:
        return
    stage(connection, "staged_rejections", _STAGED, rejected)
    spoken = {"dialect": dialect and dialect.name, "has_decimal_comma": dialect and dialect.has_decimal_comma}
    connection.execute(_STORE, {"sync_type": sync_type, "sync_log_id": sync_log_id, **spoken})


def just_stored(connection: sa.Connection) -> list[tuple[str, str, str]]:
    """Return key, first rule and message of the records that `store` has put away in this transaction."""
    if connection.scalar(sa.text("SELECT to_regclass('pg_temp.staged_rejections')")) is None:
        return []
    rows = connection.execute(sa.text("SELECT record_key, rule, message FROM staged_rejections ORDER BY 1"))
    return [(row.record_key, row.rule, row.message) for row in rows]


def is_any_open(connection: sa.Connection, sync_type: str, day: date | None = None) -> bool:
    """Tell whether a record waits in the quarantine at all, or one that can be of this day (a day that is unreadable can)."""
    waiting = sa.exists().where(sync_rejections.c.status == "open", sync_rejections.c.sync_type == sync_type)
    if day is not None:
        waiting = waiting.where(sa.func.coalesce(sync_rejections.c.date, day) == day)
    return bool(connection.scalar(sa.select(waiting)))


def close_accepted(
    connection: sa.Connection, sync_type: str, record_keys: Sequence[str] | pd.Series, *, actor: str, reason: str
) -> int:
    """Close the rejections of records that have been accepted since; return how many."""
    if len(record_keys) == 0 or not is_any_open(connection, sync_type):
        return 0
    stage(
        connection,
        "staged_accepted_keys",
        {"record_key": "text"},
        pd.DataFrame({"record_key": pd.Series(record_keys, dtype="str")}),
    )
    return connection.execute(_CLOSE_ACCEPTED, {"sync_type": sync_type, "actor": actor, "reason": reason}).rowcount
