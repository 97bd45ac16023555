"""The tables of schema `cmms`, in SQLAlchemy Core: the one source of table and column names.

What belongs here: columns, keys, indexes, and the constraints that hold the rules of the domain in the database too.
What does not: queries (beside their callers), the monthly partitions (`storage.partitions`), and how a database gets here
(`storage/migrations`; a test holds the two together).
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

SCHEMA = "cmms"

metadata = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    },
)

HOURS = sa.Numeric(14, 4)
SYNC_TYPES = ("plants", "equipment", "running_times", "work_orders", "clean_up")
SYNC_STATUSES = ("running", "success", "partial", "failed", "cancelled")
SEVERITIES = ("critical", "error", "warning", "info")
ALERT_SEVERITIES = ("critical", "high", "medium", "low", "info")
HOOK_STATUSES = ("pending", "held", "processed", "ignored", "quarantined", "dead_letter")


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)


def _uuid() -> sa.Column[object]:
    return sa.Column("id", pg.UUID, primary_key=True, server_default=sa.text("gen_random_uuid()"))


def _at(name: str, *, is_optional: bool = False) -> sa.Column[object]:
    """Return a time column; a required one is set by the database to the start of the transaction."""
    if is_optional:
        return sa.Column(name, pg.TIMESTAMP(timezone=True))
    return sa.Column(name, pg.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()"))


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _commented(column: sa.Column[Any], comment: str) -> sa.Column[Any]:
    column.comment = comment
    return column


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=f"{column}_known")


plants = sa.Table(
    "plants",
    metadata,
    _id(),
    sa.Column("plant_code", sa.String(20), nullable=False, unique=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("time_zone", sa.String(64), nullable=False, server_default="UTC"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    _at("created_at"),
    _at("updated_at"),
    sa.CheckConstraint("plant_code <> '' AND plant_code = btrim(plant_code)", name="plant_code_trimmed"),
)

equipment_groups = sa.Table(
    "equipment_groups",
    metadata,
    _id(),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("description", sa.Text),
    sa.Column("classification_rule", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("position", sa.Integer, nullable=False, server_default="0", comment="rules are tried in this order"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    _at("created_at"),
    _at("updated_at"),
)

equipment = sa.Table(
    "equipment",
    metadata,
    _id(),
    sa.Column("equipment_number", sa.String(50), nullable=False, unique=True),
    sa.Column("plant_id", sa.BigInteger, sa.ForeignKey("cmms.plants.id"), nullable=False, index=True),
    sa.Column("equipment_group_id", sa.BigInteger, sa.ForeignKey("cmms.equipment_groups.id"), index=True),
    sa.Column("company_code", sa.String(10)),
    sa.Column("equipment_description", sa.String(255)),
    sa.Column("object_number", sa.String(50)),
    sa.Column("point", sa.String(50)),
    sa.Column(
        "attributes",
        pg.JSONB,
        nullable=False,
        server_default="{}",
        comment="the source's classification fields as they came: EQTYP, EQART, HERST, ...",
    ),
    sa.Column("api_created_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    _at("created_at"),
    _at("updated_at"),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column(
        "record_digest",
        sa.BigInteger,
        comment="of the one record that the row was written from, while nothing else has changed the row",
    ),
    sa.CheckConstraint("equipment_number <> '' AND equipment_number = btrim(equipment_number)", name="equipment_number_trimmed"),
)

equipment_running_times = sa.Table(
    "equipment_running_times",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(cache=1000), nullable=False),
    sa.Column("equipment_id", sa.BigInteger, sa.ForeignKey("cmms.equipment.id"), nullable=False),
    sa.Column("plant_id", sa.BigInteger, sa.ForeignKey("cmms.plants.id"), nullable=False),
    sa.Column("point", sa.String(50)),
    sa.Column("date", sa.Date, nullable=False, comment="the business day at the machine, not the UTC day"),
    sa.Column("date_time", pg.TIMESTAMP(timezone=True)),
    sa.Column("description", sa.Text),
    sa.Column("running_hours", HOURS, comment="hours of `days_covered` days; null when the counter went back"),
    sa.Column("cumulative_hours", HOURS, comment="the counter as read; null when the source gave none"),
    sa.Column("days_covered", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("company_code", sa.String(10)),
    sa.Column("equipment_description", sa.String(255)),
    sa.Column("object_number", sa.String(50)),
    sa.Column(
        "readings",
        pg.JSONB,
        comment="what each plant reported, by plant code, when more than one did or the row does not say it all; a reading of an "
        "event whose counter fell waits here, marked",
    ),
    sa.Column("warnings", pg.ARRAY(sa.Text), comment="ids of the rules that this reading met with severity warning"),
    sa.Column("source", sa.String(100), nullable=False, server_default="external_api"),
    sa.Column("api_created_at", pg.TIMESTAMP(timezone=True)),
    _at("created_at"),
    _at("updated_at"),
    sa.Column(
        "record_digest",
        sa.BigInteger,
        comment="of the one record that the row was written from, while nothing else has changed the row",
    ),
    sa.PrimaryKeyConstraint("equipment_id", "date"),
    sa.CheckConstraint("running_hours >= 0", name="running_hours_not_negative"),
    sa.CheckConstraint("running_hours <= 26 * days_covered", name="running_hours_fit_days"),
    sa.CheckConstraint("cumulative_hours >= 0", name="cumulative_hours_not_negative"),
    sa.CheckConstraint(
        "running_hours IS NOT NULL OR cumulative_hours IS NOT NULL OR (readings IS NOT NULL AND source <> 'external_api')",
        name="says_something",
    ),
    sa.CheckConstraint("days_covered >= 1", name="days_covered_positive"),
    sa.Index("equipment_running_times_plant_id_date_idx", "plant_id", "date"),
    sa.Index("equipment_running_times_date_idx", "date", postgresql_using="brin"),
    postgresql_partition_by="RANGE (date)",
)

api_sync_logs = sa.Table(
    "api_sync_logs",
    metadata,
    _id(),
    sa.Column("sync_type", sa.String(30), nullable=False),
    sa.Column("status", sa.String(20), nullable=False, server_default="running"),
    sa.Column("scope", pg.JSONB, nullable=False, server_default="{}"),
    _count("records_processed"),
    _count("records_success"),
    _count("records_failed"),
    _count("records_inserted"),
    _count("records_updated"),
    _count("records_unchanged"),
    _count("records_merged"),
    _count("records_warned"),
    sa.Column("stage_seconds", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("error_message", sa.Text),
    _at("sync_started_at"),
    _at("sync_completed_at", is_optional=True),
    sa.Column("dagster_run_id", sa.String(64), index=True),
    _at("created_at"),
    _at("updated_at"),
    sa.Column("slices_total", sa.Integer, comment="of the whole sync, those of earlier attempts included; null until planned"),
    sa.Column("slices_done", sa.Integer, nullable=False, server_default="0", comment="by this attempt"),
    sa.Column("activity", sa.Text, comment="what a running sync waits for, if it waits"),
    _one_of("sync_type", SYNC_TYPES),
    _one_of("status", SYNC_STATUSES),
    sa.CheckConstraint("records_processed = records_success + records_failed", name="every_record_accounted_for"),
    sa.CheckConstraint(
        "records_success = records_inserted + records_updated + records_unchanged + records_merged",
        name="every_success_accounted_for",
    ),
    sa.CheckConstraint("(status = 'running') = (sync_completed_at IS NULL)", name="completed_when_not_running"),
    sa.Index("api_sync_logs_sync_type_sync_started_at_idx", "sync_type", sa.text("sync_started_at DESC")),
    sa.Index("api_sync_logs_running_idx", "sync_type", postgresql_where=sa.text("status = 'running'")),
)

sync_slices = sa.Table(
    "sync_slices",
    metadata,
    _id(),
    sa.Column(
        "sync_key",
        sa.String(200),
        nullable=False,
        comment="one sync as the operator sees it: retries of a run share it",
    ),
    sa.Column("slice_key", sa.String(500), nullable=False, comment="day and plants of this slice"),
    sa.Column("sync_type", sa.String(30), nullable=False),
    sa.Column(
        "sync_log_id",
        sa.BigInteger,
        sa.ForeignKey("cmms.api_sync_logs.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("date", sa.Date),
    sa.Column("plant_codes", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("counts", pg.JSONB, nullable=False, server_default="{}"),
    _at("completed_at"),
    sa.UniqueConstraint("sync_key", "slice_key"),
    _one_of("sync_type", SYNC_TYPES),
    sa.Index("sync_slices_completed_at_idx", "completed_at", postgresql_using="brin"),
)

sync_claims = sa.Table(
    "sync_claims",
    metadata,
    sa.Column(
        "sync_log_id",
        sa.BigInteger,
        sa.ForeignKey("cmms.api_sync_logs.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        comment="counts only while its sync holds the session lock of this number (storage.sync_claims)",
    ),
    sa.Column("sync_type", sa.String(30), nullable=False),
    sa.Column("plant_codes", pg.ARRAY(sa.Text), comment="null: all plants"),
    sa.Column("first_day", sa.Date, comment="null: not a matter of days"),
    sa.Column("last_day", sa.Date),
    _one_of("sync_type", SYNC_TYPES),
    sa.CheckConstraint("(first_day IS NULL) = (last_day IS NULL)", name="days_are_both_given"),
)

sync_controls = sa.Table(
    "sync_controls",
    metadata,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("is_set", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("changed_by", sa.String(200), nullable=False),
    _at("changed_at"),
    _one_of("name", ("pause", "stop")),
)

sync_rejections = sa.Table(
    "sync_rejections",
    metadata,
    _id(),
    sa.Column("sync_type", sa.String(30), nullable=False),
    sa.Column("record_key", sa.String(300), nullable=False, comment="the record's business key as far as it could be read"),
    sa.Column("rule", sa.String(100), nullable=False, comment="the first that it failed, as the next four columns say of it"),
    sa.Column("severity", sa.String(20), nullable=False),
    sa.Column("column_name", sa.String(100)),
    sa.Column("value", sa.Text),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column(
        "other_failures",
        pg.JSONB(none_as_null=True),
        comment="what else it failed: rule, severity, column_name, value, message of each; null: nothing",
    ),
    sa.Column("payload", sa.JSON, nullable=False, comment="the record as it came; json, not jsonb: nothing in it is changed"),
    sa.Column("plant_code", sa.String(100)),
    sa.Column("equipment_number", sa.String(100)),
    sa.Column("date", sa.Date),
    sa.Column("status", sa.String(20), nullable=False, server_default="open"),
    sa.Column("times_seen", sa.Integer, nullable=False, server_default="1"),
    _at("first_seen_at"),
    _at("last_seen_at"),
    sa.Column("sync_log_id", sa.BigInteger, sa.ForeignKey("cmms.api_sync_logs.id", ondelete="SET NULL"), index=True),
    sa.Column("resolved_by", sa.String(200)),
    sa.Column("resolution_reason", sa.Text),
    _at("resolved_at", is_optional=True),
    sa.Column(
        "dialect", sa.String(20), comment="of the source that sent it; null: not known, a replay takes the one that is set"
    ),
    sa.Column("has_decimal_comma", sa.Boolean, comment="how its numbers are written; null as for dialect"),
    _one_of("sync_type", SYNC_TYPES),
    _one_of("severity", SEVERITIES),
    _one_of("status", ("open", "replayed", "discarded")),
    sa.CheckConstraint("(status = 'open') = (resolved_at IS NULL)", name="resolved_when_not_open"),
    sa.Index(
        "sync_rejections_open_key",
        "sync_type",
        "record_key",
        unique=True,
        postgresql_where=sa.text("status = 'open'"),
    ),
    sa.Index("sync_rejections_equipment_number_idx", "equipment_number", postgresql_where=sa.text("status = 'open'")),
    sa.Index("sync_rejections_plant_code_idx", "plant_code", postgresql_where=sa.text("status = 'open'")),
    sa.Index("sync_rejections_last_seen_at_idx", "last_seen_at"),
    sa.Index("sync_rejections_open_rule_idx", "sync_type", "rule", "date", postgresql_where=sa.text("status = 'open'")),
    sa.Index(
        "sync_rejections_discarded_key_idx",
        "sync_type",
        "record_key",
        "rule",
        postgresql_where=sa.text("status = 'discarded'"),
    ),
    sa.Index("sync_rejections_resolved_at_idx", "resolved_at", postgresql_where=sa.text("status <> 'open'")),
)

counter_events = sa.Table(
    "counter_events",
    metadata,
    _id(),
    sa.Column("equipment_id", sa.BigInteger, sa.ForeignKey("cmms.equipment.id"), nullable=False),
    sa.Column("date", sa.Date, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("counter_before", HOURS, nullable=False),
    sa.Column("counter_after", HOURS, nullable=False),
    sa.Column("offset_hours", HOURS, nullable=False, comment="lifetime hours = counter + the sum of these up to its day"),
    _at("detected_at"),
    sa.UniqueConstraint("equipment_id", "date"),
    _one_of("kind", ("reset", "rollover", "replacement")),
)

counter_facts = sa.Table(
    "counter_facts",
    metadata,
    sa.Column("equipment_id", sa.BigInteger, sa.ForeignKey("cmms.equipment.id"), primary_key=True, autoincrement=False),
    sa.Column("overflow_at", HOURS, comment="hours at which the counter starts again from 0: the most that a reading named"),
    sa.Column("is_counting_backwards", sa.Boolean, nullable=False, server_default=sa.false()),
    _at("updated_at"),
    sa.CheckConstraint("overflow_at > 0", name="overflow_at_positive"),
)

api_calls = sa.Table(
    "api_calls",
    metadata,
    _id(),
    sa.Column("sync_log_id", sa.BigInteger, sa.ForeignKey("cmms.api_sync_logs.id", ondelete="CASCADE"), index=True),
    sa.Column("endpoint", sa.String(300), nullable=False),
    sa.Column("method", sa.String(10), nullable=False),
    sa.Column("status", sa.SmallInteger),
    sa.Column("attempts", sa.SmallInteger, nullable=False),
    sa.Column("duration_ms", sa.Float, nullable=False),
    sa.Column("bytes_received", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text),
    _at("started_at"),
    sa.Column("dagster_run_id", sa.String(64)),
    sa.Index("api_calls_started_at_idx", "started_at", postgresql_using="brin"),
)

maintenance_event_hooks = sa.Table(
    "maintenance_event_hooks",
    metadata,
    _uuid(),
    sa.Column("sequence", sa.BigInteger, sa.Identity(), nullable=False, unique=True, comment="order of arrival"),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column("event_type", sa.String(50), nullable=False),
    sa.Column("event_payload", pg.JSONB, nullable=False),
    sa.Column("hmac_signature", sa.String(255), nullable=False),
    sa.Column("processing_status", sa.String(20), nullable=False, server_default="pending"),
    _at("created_at"),
    _at("processed_at", is_optional=True),
    sa.Column("error_message", sa.Text),
    sa.Column("retry_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("raw_body", sa.LargeBinary, nullable=False, comment="the bytes that were signed: the record"),
    sa.Column("body_sha256", sa.LargeBinary, nullable=False),
    sa.Column("dedup_key", sa.String(300), nullable=False),
    sa.Column("headers", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("occurred_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("entity_key", sa.String(300), nullable=False),
    sa.Column("next_attempt_at", pg.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
    sa.Column("outcome", pg.JSONB, comment="what applying it did, field by field"),
    sa.Column("dagster_run_id", sa.String(64), comment="the run that applied or refused it last"),
    sa.Column("retries_total", sa.Integer, nullable=False, server_default="0", comment="attempts that failed, over all replays"),
    sa.Column("replays", sa.Integer, nullable=False, server_default="0", comment="how often an operator put it back"),
    sa.Column("replayed_at", pg.TIMESTAMP(timezone=True), comment="when last; latency counts from here"),
    sa.Column("origin", sa.String(20), nullable=False, server_default="webhook", comment="sweep: no webhook has brought it"),
    sa.Column("fetched_payload", pg.JSONB, comment="what the source's API said of the entity; goes over the event's payload"),
    sa.Column("fetched_at", pg.TIMESTAMP(timezone=True)),
    sa.UniqueConstraint("cmms_system_id", "dedup_key"),
    _one_of("processing_status", HOOK_STATUSES),
    _one_of("origin", ("webhook", "sweep")),
    sa.CheckConstraint("octet_length(body_sha256) = 32", name="body_sha256_length"),
    sa.CheckConstraint("processing_status IN ('pending', 'held') OR processed_at IS NOT NULL", name="processed_at_when_done"),
    sa.Index(
        "maintenance_event_hooks_pending_idx",
        "next_attempt_at",
        "sequence",
        postgresql_where=sa.text("processing_status = 'pending'"),
    ),
    sa.Index(
        "maintenance_event_hooks_entity_idx",
        "cmms_system_id",
        "entity_key",
        "sequence",
        postgresql_where=sa.text("processing_status IN ('pending', 'held')"),
    ),
    sa.Index("maintenance_event_hooks_created_at_idx", "created_at", postgresql_using="brin"),
    sa.Index("maintenance_event_hooks_processing_status_idx", "processing_status", "event_type"),
    sa.Index("maintenance_event_hooks_found_by_sweep_idx", "created_at", postgresql_where=sa.text("origin = 'sweep'")),
)

sync_configurations = sa.Table(
    "sync_configurations",
    metadata,
    _uuid(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column("sync_type", sa.String(50), nullable=False),
    sa.Column("configuration", pg.JSONB, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    _at("created_at"),
    _at("updated_at"),
    sa.UniqueConstraint("cmms_system_id", "sync_type"),
)

sync_configuration_versions = sa.Table(
    "sync_configuration_versions",
    metadata,
    sa.Column("configuration_id", pg.UUID, sa.ForeignKey("cmms.sync_configurations.id", ondelete="CASCADE"), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("configuration", pg.JSONB, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("changed_by", sa.String(200), nullable=False),
    _at("changed_at"),
    sa.PrimaryKeyConstraint("configuration_id", "version"),
)

webhook_secrets = sa.Table(
    "webhook_secrets",
    metadata,
    _uuid(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False, index=True),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False, comment="encrypted with CMMS_SECRET_KEY"),
    _at("created_at"),
    _at("expires_at", is_optional=True),
    _at("last_used_at", is_optional=True),
    _at("revoked_at", is_optional=True),
)

source_api_tokens = sa.Table(
    "source_api_tokens",
    metadata,
    sa.Column("cmms_system_id", sa.String(100), primary_key=True),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False, comment="encrypted with CMMS_SECRET_KEY"),
    sa.Column("changed_by", sa.String(200), nullable=False),
    _at("changed_at"),
)

sync_requests = sa.Table(
    "sync_requests",
    metadata,
    _id(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column(
        "hook_id",
        pg.UUID,
        sa.ForeignKey("cmms.maintenance_event_hooks.id", ondelete="SET NULL"),
        comment="the event that asked",
    ),
    sa.Column("sync_type", sa.String(30), nullable=False),
    sa.Column("scope", pg.JSONB, nullable=False),
    sa.Column("scope_key", sa.String(64), nullable=False, comment="requests with the same key become one run"),
    sa.Column("status", sa.String(20), nullable=False, server_default="waiting"),
    sa.Column("lead_id", sa.BigInteger, comment="the request whose run serves this one too"),
    sa.Column("dagster_run_id", sa.String(64)),
    sa.Column("error_message", sa.Text),
    _at("created_at"),
    _at("started_at", is_optional=True),
    _at("ended_at", is_optional=True),
    sa.UniqueConstraint("hook_id", "scope_key"),
    _one_of("sync_type", ("equipment", "running_times")),
    _one_of("status", ("waiting", "requested", "running", "success", "failed", "cancelled")),
    sa.Index("sync_requests_open_idx", "id", postgresql_where=sa.text("status IN ('waiting', 'requested', 'running')")),
)

reconciliation_sweeps = sa.Table(
    "reconciliation_sweeps",
    metadata,
    _id(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column("status", sa.String(20), nullable=False, server_default="running"),
    _commented(_at("changed_since"), "of the source's clock: changes from here on were asked for"),
    _commented(_at("changed_until"), "not included; what is newer may still be on its way"),
    _commented(_count("entities"), "that the source named as changed"),
    _commented(_count("known"), "that events had brought"),
    _commented(_count("waiting"), "whose events are in the inbox, not applied yet"),
    _commented(_count("missed"), "put into the inbox by this sweep"),
    _commented(_count("refused"), "without a number, or that the inbox could not take"),
    sa.Column("examples", pg.JSONB, nullable=False, server_default="[]", comment="of what was missed"),
    sa.Column("error_message", sa.Text),
    sa.Column("dagster_run_id", sa.String(64)),
    _at("started_at"),
    _at("ended_at", is_optional=True),
    _one_of("status", ("running", "success", "failed")),
    sa.Index("reconciliation_sweeps_cmms_system_id_started_at_idx", "cmms_system_id", sa.text("started_at DESC")),
)

delivery_counts = sa.Table(
    "delivery_counts",
    metadata,
    sa.Column("minute", pg.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column("event_type", sa.String(50), nullable=False),
    sa.Column("outcome", sa.String(20), nullable=False, comment="what the sender was told"),
    sa.Column("deliveries", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("minute", "cmms_system_id", "event_type", "outcome"),
    _one_of("outcome", ("accepted", "duplicate", "quarantined")),
    sa.CheckConstraint("deliveries > 0", name="deliveries_positive"),
)

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    _uuid(),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("token_sha256", sa.LargeBinary, nullable=False, unique=True, comment="of 256 random bits: it needs no salt"),
    sa.Column("created_by", sa.String(200), nullable=False),
    _at("created_at"),
    _at("expires_at", is_optional=True),
    _at("last_used_at", is_optional=True),
    _at("revoked_at", is_optional=True),
    _one_of("role", ("viewer", "operator", "admin")),
    sa.CheckConstraint("octet_length(token_sha256) = 32", name="token_sha256_length"),
    sa.Index("api_tokens_name_in_force_key", "name", unique=True, postgresql_where=sa.text("revoked_at IS NULL")),
)

work_orders = sa.Table(
    "work_orders",
    metadata,
    _id(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column("work_order_number", sa.String(100), nullable=False),
    sa.Column("status", sa.String(30), nullable=False),
    sa.Column("priority", sa.String(20)),
    sa.Column("title", sa.String(255)),
    sa.Column("description", sa.Text),
    sa.Column("work_type", sa.String(50)),
    sa.Column("equipment_id", sa.BigInteger, sa.ForeignKey("cmms.equipment.id"), index=True),
    sa.Column("plant_id", sa.BigInteger, sa.ForeignKey("cmms.plants.id"), index=True),
    sa.Column("assignee", sa.String(200)),
    sa.Column("due_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("scheduled_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("started_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("completed_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("closed_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("cost", sa.Numeric(14, 2)),
    sa.Column("currency", sa.String(3)),
    sa.Column("parts", pg.JSONB, nullable=False, server_default="[]"),
    sa.Column("tags", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("notes", pg.JSONB, nullable=False, server_default="[]"),
    sa.Column(
        "is_partial",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="seen in an update, not yet created",
    ),
    sa.Column("source_updated_at", pg.TIMESTAMP(timezone=True), comment="source time of the newest event applied"),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    _at("created_at"),
    _at("updated_at"),
    sa.UniqueConstraint("cmms_system_id", "work_order_number"),
    _one_of("status", ("requested", "open", "scheduled", "in_progress", "on_hold", "completed", "closed", "cancelled")),
    sa.Index("work_orders_open_idx", "status", "due_at", postgresql_where=sa.text("status NOT IN ('closed', 'cancelled')")),
)

work_order_status_history = sa.Table(
    "work_order_status_history",
    metadata,
    _id(),
    sa.Column("work_order_id", sa.BigInteger, sa.ForeignKey("cmms.work_orders.id", ondelete="CASCADE"), nullable=False),
    sa.Column("from_status", sa.String(30), comment="null: the first status that was ever stated"),
    sa.Column("to_status", sa.String(30), nullable=False),
    sa.Column("at", pg.TIMESTAMP(timezone=True), nullable=False, comment="when it happened at whoever stated it"),
    _at("recorded_at"),
    sa.Column("changed_by", sa.String(20), nullable=False),
    sa.Column("source", sa.String(200), nullable=False, comment="id of the event or of the sync's log, or a person's name"),
    sa.Column("reason", sa.Text),
    sa.Column(
        "is_applied",
        sa.Boolean,
        nullable=False,
        server_default=sa.true(),
        comment="false: it arrived too late to move the status",
    ),
    sa.UniqueConstraint("work_order_id", "at", "to_status"),
    _one_of("changed_by", ("event", "api_sync", "local_edit", "resolution")),
)

failures = sa.Table(
    "failures",
    metadata,
    _id(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column(
        "failure_key", sa.String(300), nullable=False, comment="number at the source, else machine and time of the failure"
    ),
    sa.Column("failure_number", sa.String(100)),
    sa.Column("status", sa.String(20), nullable=False, comment="follows from repaired_at"),
    sa.Column("equipment_id", sa.BigInteger, sa.ForeignKey("cmms.equipment.id"), index=True),
    sa.Column("plant_id", sa.BigInteger, sa.ForeignKey("cmms.plants.id"), index=True),
    sa.Column("failed_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("detected_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("repaired_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("severity", sa.String(20)),
    sa.Column("failure_code", sa.String(50)),
    sa.Column("cause", sa.Text),
    sa.Column("damage", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("downtime_hours", HOURS),
    sa.Column("work_order_number", sa.String(100), comment="of the same system; the order may arrive later"),
    sa.Column("is_partial", sa.Boolean, nullable=False, server_default=sa.false(), comment="its machine has not been named yet"),
    sa.Column("source_updated_at", pg.TIMESTAMP(timezone=True), comment="source time of the newest event applied"),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    _at("created_at"),
    _at("updated_at"),
    sa.UniqueConstraint("cmms_system_id", "failure_key"),
    _one_of("status", ("open", "repaired")),
    sa.CheckConstraint("(status = 'repaired') = (repaired_at IS NOT NULL)", name="repaired_when_repaired_at"),
    sa.CheckConstraint("downtime_hours >= 0", name="downtime_hours_not_negative"),
    sa.Index("failures_work_order_idx", "cmms_system_id", "work_order_number"),
    sa.Index("failures_failed_at_idx", "failed_at"),
)

inspections = sa.Table(
    "inspections",
    metadata,
    _id(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column("inspection_key", sa.String(300), nullable=False, comment="number at the source, else machine, type and day"),
    sa.Column("inspection_number", sa.String(100)),
    sa.Column("inspection_type", sa.String(100)),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("equipment_id", sa.BigInteger, sa.ForeignKey("cmms.equipment.id"), index=True),
    sa.Column("plant_id", sa.BigInteger, sa.ForeignKey("cmms.plants.id"), index=True),
    sa.Column("due_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("completed_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("result", sa.String(20)),
    sa.Column("findings", pg.JSONB, nullable=False, server_default="[]"),
    sa.Column("inspector", sa.String(200)),
    sa.Column("next_due_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("priority", sa.String(20)),
    sa.Column("work_order_number", sa.String(100), comment="of the same system; the order may arrive later"),
    sa.Column("is_partial", sa.Boolean, nullable=False, server_default=sa.false(), comment="completed, but never announced"),
    sa.Column("source_updated_at", pg.TIMESTAMP(timezone=True), comment="source time of the newest event applied"),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    _at("created_at"),
    _at("updated_at"),
    sa.UniqueConstraint("cmms_system_id", "inspection_key"),
    _one_of("status", ("due", "completed")),
    sa.CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed_when_completed_at"),
    sa.Index("inspections_due_idx", "due_at", postgresql_where=sa.text("status = 'due'")),
)

maintenance_schedule = sa.Table(
    "maintenance_schedule",
    metadata,
    _id(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column("schedule_key", sa.String(300), nullable=False, comment="item number at the source, else machine, plan and day"),
    sa.Column("item_number", sa.String(100)),
    sa.Column("plan_number", sa.String(100)),
    sa.Column("task", sa.String(255)),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("equipment_id", sa.BigInteger, sa.ForeignKey("cmms.equipment.id"), index=True),
    sa.Column("plant_id", sa.BigInteger, sa.ForeignKey("cmms.plants.id"), index=True),
    sa.Column("scheduled_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("due_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("completed_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("cancelled_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("cancelled_because", sa.Text),
    sa.Column("priority", sa.String(20)),
    sa.Column("description", sa.Text),
    sa.Column("assignee", sa.String(200)),
    sa.Column("estimated_hours", HOURS),
    sa.Column(
        "is_partial", sa.Boolean, nullable=False, server_default=sa.false(), comment="completed or cancelled, never scheduled"
    ),
    sa.Column("source_updated_at", pg.TIMESTAMP(timezone=True), comment="source time of the newest event applied"),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    _at("created_at"),
    _at("updated_at"),
    sa.UniqueConstraint("cmms_system_id", "schedule_key"),
    _one_of("status", ("scheduled", "completed", "cancelled")),
    sa.CheckConstraint("estimated_hours >= 0", name="estimated_hours_not_negative"),
    sa.Index("maintenance_schedule_open_idx", "scheduled_at", postgresql_where=sa.text("status = 'scheduled'")),
)

maintenance_rules = sa.Table(
    "maintenance_rules",
    metadata,
    _id(),
    sa.Column("name", sa.String(100), nullable=False, comment="a machine's rule takes the place of its group's of the same name"),
    sa.Column("task", sa.String(255), comment="what is to be done"),
    sa.Column("equipment_group_id", sa.BigInteger, sa.ForeignKey("cmms.equipment_groups.id")),
    sa.Column("equipment_id", sa.BigInteger, sa.ForeignKey("cmms.equipment.id"), index=True),
    sa.Column("interval_hours", HOURS, comment="of running; null: hours do not matter"),
    sa.Column("interval_days", sa.Integer, comment="of the calendar; null: days do not matter"),
    sa.Column("tolerance_hours", HOURS, nullable=False, server_default="0", comment="before and after the point where it is due"),
    sa.Column("tolerance_days", sa.Integer, nullable=False, server_default="0"),
    sa.Column(
        "scheduling",
        sa.String(20),
        nullable=False,
        server_default="floating",
        comment="floating: from the completion; fixed: on the grid from the first baseline",
    ),
    sa.Column("work_type", sa.String(50), comment="only work orders of this kind complete it; null: of any kind"),
    sa.Column("title_contains", sa.String(255), comment="only work whose title or task has these words completes it; null: any"),
    sa.Column("baseline_hours", HOURS, comment="lifetime hours to count from while nothing was completed"),
    sa.Column("baseline_on", sa.Date, comment="the day to count from while nothing was completed"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    _at("created_at"),
    _at("updated_at"),
    sa.UniqueConstraint("equipment_group_id", "name"),
    sa.UniqueConstraint("equipment_id", "name"),
    _one_of("scheduling", ("floating", "fixed")),
    sa.CheckConstraint("name <> '' AND name = btrim(name)", name="name_trimmed"),
    sa.CheckConstraint("(equipment_group_id IS NULL) <> (equipment_id IS NULL)", name="for_a_group_or_a_machine"),
    sa.CheckConstraint("interval_hours IS NOT NULL OR interval_days IS NOT NULL", name="has_an_interval"),
    sa.CheckConstraint("interval_hours > 0", name="interval_hours_positive"),
    sa.CheckConstraint("interval_days > 0", name="interval_days_positive"),
    sa.CheckConstraint("tolerance_hours >= 0 AND tolerance_hours < COALESCE(interval_hours, 1)", name="tolerance_hours_fit"),
    sa.CheckConstraint("tolerance_days >= 0 AND tolerance_days < COALESCE(interval_days, 1)", name="tolerance_days_fit"),
    sa.CheckConstraint("baseline_hours >= 0", name="baseline_hours_not_negative"),
)

source_snapshots = sa.Table(
    "source_snapshots",
    metadata,
    _id(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False),
    sa.Column("entity_type", sa.String(50), nullable=False),
    sa.Column("entity_key", sa.String(300), nullable=False),
    sa.Column("snapshot", pg.JSONB, nullable=False, comment="the last state both sides agreed on, field by field"),
    sa.Column("field_times", pg.JSONB, nullable=False, server_default="{}", comment="source time of each field's last change"),
    sa.Column("occurred_at", pg.TIMESTAMP(timezone=True)),
    _at("updated_at"),
    sa.UniqueConstraint("cmms_system_id", "entity_type", "entity_key"),
    sa.Index("source_snapshots_equipment_idx", "entity_key", postgresql_where=sa.text("entity_type = 'equipment'")),
)

local_edits = sa.Table(
    "local_edits",
    metadata,
    _id(),
    sa.Column(
        "cmms_system_id",
        sa.String(100),
        nullable=False,
        server_default="",
        comment="the system whose work order it is; empty for a machine, which no system has alone",
    ),
    sa.Column("entity_type", sa.String(50), nullable=False),
    sa.Column("entity_key", sa.String(300), nullable=False),
    sa.Column("field", sa.String(300), nullable=False),
    sa.Column("value", pg.JSONB, comment="null: cleared"),
    sa.Column("base", pg.JSONB, comment="the value that both sides agreed on last"),
    sa.Column(
        "earlier_values",
        pg.JSONB,
        nullable=False,
        server_default="[]",
        comment="what was written here before, so that a late echo of it is recognised",
    ),
    sa.Column("edited_by", sa.String(200), nullable=False),
    sa.Column("edited_at", pg.TIMESTAMP(timezone=True), nullable=False),
    sa.UniqueConstraint("entity_type", "entity_key", "cmms_system_id", "field"),
    _one_of("entity_type", ("work_order", "equipment")),
)

sync_conflicts = sa.Table(
    "sync_conflicts",
    metadata,
    _id(),
    sa.Column("cmms_system_id", sa.String(100), nullable=False, comment="the other side"),
    sa.Column("entity_type", sa.String(50), nullable=False, comment="work_order, equipment or meter"),
    sa.Column("entity_key", sa.String(300), nullable=False, comment="number of the order or machine"),
    sa.Column("field", sa.String(300), nullable=False, comment="what both sides had changed"),
    sa.Column("base", pg.JSONB, comment="what both sides agreed on last"),
    sa.Column("ours", pg.JSONB, comment="the value here; it stands while the conflict is open"),
    sa.Column("theirs", pg.JSONB, comment="the value there"),
    sa.Column("rule", sa.String(100), nullable=False, comment="the rule that decided or escalated it"),
    sa.Column("reason", sa.Text, nullable=False, comment="one sentence for whoever decides"),
    sa.Column("severity", sa.String(20), nullable=False, server_default="warning", comment="how grave"),
    sa.Column(
        "status",
        sa.String(20),
        nullable=False,
        server_default="open",
        comment="whether it waits, was resolved, ended by itself, or was undone",
    ),
    sa.Column("resolution", pg.JSONB, comment="the value that counts since"),
    sa.Column("resolved_by", sa.String(200), comment="who decided; the engine where a rule did"),
    _at("resolved_at", is_optional=True),
    sa.Column(
        "hook_id",
        pg.UUID,
        sa.ForeignKey("cmms.maintenance_event_hooks.id", ondelete="SET NULL"),
        index=True,
        comment="the event that brought it; null where none did",
    ),
    _at("created_at"),
    sa.Column("decision", sa.String(20), comment="whose value counts; null while open"),
    sa.Column(
        "is_automatic", sa.Boolean, nullable=False, server_default=sa.false(), comment="decided by a rule, not by a person"
    ),
    sa.Column("ours_by", sa.String(200), comment="who edited it here"),
    _at("ours_at", is_optional=True),
    _at("theirs_at", is_optional=True),
    sa.Column(
        "occurrences", sa.Integer, nullable=False, server_default="1", comment="how often the source stated something in conflict"
    ),
    _at("last_seen_at"),
    sa.Column("resolution_reason", sa.Text, comment="why it was decided so"),
    sa.Column(
        "undo_state",
        pg.JSONB,
        comment="value, local edit and base as they were before the decision: what an undo restores",
    ),
    sa.Column(
        "is_reopened",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="a decision was undone: no rule decides the same statement again",
    ),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    _one_of("severity", SEVERITIES),
    _one_of("status", ("open", "resolved", "converged", "undone")),
    _one_of("decision", ("ours", "theirs", "merged", "by_hand")),
    sa.CheckConstraint("(status = 'open') = (resolved_at IS NULL)", name="resolved_when_not_open"),
    sa.Index("sync_conflicts_entity_type_entity_key_idx", "entity_type", "entity_key"),
    sa.Index(
        "sync_conflicts_open_key",
        "cmms_system_id",
        "entity_type",
        "entity_key",
        "field",
        unique=True,
        postgresql_where=sa.text("status = 'open'"),
    ),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    _id(),
    _at("at"),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("action", sa.String(100), nullable=False),
    sa.Column("entity_type", sa.String(50)),
    sa.Column("entity_key", sa.String(300)),
    sa.Column("before", pg.JSONB),
    sa.Column("after", pg.JSONB),
    sa.Column("reason", sa.Text),
    sa.Column("dagster_run_id", sa.String(64)),
    sa.Index("audit_log_entity_type_entity_key_idx", "entity_type", "entity_key"),
    sa.Index("audit_log_at_idx", "at", postgresql_using="brin"),
)

alerts = sa.Table(
    "alerts",
    metadata,
    _id(),
    sa.Column("fingerprint", sa.String(200), nullable=False),
    sa.Column("severity", sa.String(20), nullable=False),
    sa.Column("title", sa.String(300), nullable=False),
    sa.Column("detail", sa.Text, nullable=False, server_default=""),
    sa.Column("status", sa.String(20), nullable=False, server_default="open"),
    sa.Column("occurrences", sa.Integer, nullable=False, server_default="1"),
    _at("first_seen_at"),
    _at("last_seen_at"),
    sa.Column("acknowledged_by", sa.String(200)),
    _at("acknowledged_at", is_optional=True),
    _at("resolved_at", is_optional=True),
    sa.Column("dagster_run_id", sa.String(64)),
    sa.Column("trigger", sa.String(30), nullable=False, server_default="", comment="what was looked for when it was found"),
    sa.Column("cause", sa.Text, nullable=False, server_default="", comment="what it probably comes from, and what to do first"),
    sa.Column("figures", pg.JSONB, nullable=False, server_default="{}", comment="how much, by name"),
    sa.Column("notified_severity", sa.String(20), nullable=False, server_default="info", comment="the gravest that was told"),
    _at("notified_at"),
    sa.Column("acknowledgement", sa.Text, comment="what the one who took it said"),
    _one_of("severity", ALERT_SEVERITIES),
    _one_of("status", ("open", "acknowledged", "resolved")),
    sa.Index("alerts_unresolved_key", "fingerprint", unique=True, postgresql_where=sa.text("status <> 'resolved'")),
    sa.Index("alerts_last_seen_at_idx", "last_seen_at"),
)

alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    _id(),
    sa.Column("alert_id", sa.BigInteger, sa.ForeignKey("cmms.alerts.id", ondelete="CASCADE"), index=True),
    sa.Column("channel", sa.String(50), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("severity", sa.String(20), nullable=False),
    sa.Column("title", sa.String(300), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("status", sa.String(20), nullable=False, server_default="pending"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    _at("next_attempt_at"),
    sa.Column("error", sa.Text, comment="why the last attempt failed; never an address"),
    _at("created_at"),
    _at("delivered_at", is_optional=True),
    _one_of("kind", ("opened", "raised", "repeated", "resolved", "trial", "report")),
    _one_of("severity", ALERT_SEVERITIES),
    _one_of("status", ("pending", "delivered", "superseded", "given_up")),
    sa.CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_at_when_delivered"),
    sa.CheckConstraint("(alert_id IS NULL) = (kind IN ('trial', 'report'))", name="only_a_trial_has_no_alert"),
    sa.Index("alert_deliveries_pending_idx", "next_attempt_at", postgresql_where=sa.text("status = 'pending'")),
    sa.Index("alert_deliveries_created_at_idx", "created_at"),
)
