"""The tables of the first version.

Revision: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("fingerprint", sa.String(length=200), nullable=False),
        sa.Column("severity", sa.String(length=20), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.String(length=20), server_default="open", nullable=False),
        sa.Column("occurrences", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_seen_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("acknowledged_by", sa.String(length=200), nullable=True),
        sa.Column("acknowledged_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("resolved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("dagster_run_id", sa.String(length=64), nullable=True),
        sa.CheckConstraint("severity IN ('critical', 'high', 'medium', 'low', 'info')", name=op.f("alerts_severity_known_check")),
        sa.CheckConstraint("status IN ('open', 'acknowledged', 'resolved')", name=op.f("alerts_status_known_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("alerts_pkey")),
        schema="cmms",
    )
    op.create_index("alerts_last_seen_at_idx", "alerts", ["last_seen_at"], unique=False, schema="cmms")
    op.create_index(
        "alerts_unresolved_key",
        "alerts",
        ["fingerprint"],
        unique=True,
        schema="cmms",
        postgresql_where=sa.text("status <> 'resolved'"),
    )
    op.create_table(
        "api_sync_logs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sync_type", sa.String(length=30), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="running", nullable=False),
        sa.Column("scope", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("records_processed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_success", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_inserted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_updated", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_unchanged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_merged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_warned", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("stage_seconds", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("sync_started_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sync_completed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("dagster_run_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(status = 'running') = (sync_completed_at IS NULL)",
            name=op.f("api_sync_logs_completed_when_not_running_check"),
        ),
        sa.CheckConstraint(
            "status IN ('running', 'success', 'partial', 'failed', 'cancelled')",
            name=op.f("api_sync_logs_status_known_check"),
        ),
        sa.CheckConstraint(
            "sync_type IN ('plants', 'equipment', 'running_times', 'work_orders', 'clean_up')",
            name=op.f("api_sync_logs_sync_type_known_check"),
        ),
        sa.CheckConstraint(
            "records_processed = records_success + records_failed",
            name=op.f("api_sync_logs_every_record_accounted_for_check"),
        ),
        sa.CheckConstraint(
            "records_success = records_inserted + records_updated + records_unchanged + records_merged",
            name=op.f("api_sync_logs_every_success_accounted_for_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_sync_logs_pkey")),
        schema="cmms",
    )
    op.create_index(op.f("api_sync_logs_dagster_run_id_idx"), "api_sync_logs", ["dagster_run_id"], unique=False, schema="cmms")
    op.create_index(
        "api_sync_logs_running_idx",
        "api_sync_logs",
        ["sync_type"],
        unique=False,
        schema="cmms",
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index(
        "api_sync_logs_sync_type_sync_started_at_idx",
        "api_sync_logs",
        ["sync_type", sa.literal_column("sync_started_at DESC")],
        unique=False,
        schema="cmms",
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("entity_type", sa.String(length=50), nullable=True),
        sa.Column("entity_key", sa.String(length=300), nullable=True),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("dagster_run_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_pkey")),
        schema="cmms",
    )
    op.create_index("audit_log_at_idx", "audit_log", ["at"], unique=False, schema="cmms", postgresql_using="brin")
    op.create_index(
        "audit_log_entity_type_entity_key_idx", "audit_log", ["entity_type", "entity_key"], unique=False, schema="cmms"
    )
    op.create_table(
        "equipment_groups",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("classification_rule", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False, comment="rules are tried in this order"),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("equipment_groups_pkey")),
        sa.UniqueConstraint("name", name=op.f("equipment_groups_name_key")),
        schema="cmms",
    )
    op.create_table(
        "maintenance_event_hooks",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="order of arrival"),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("event_type", sa.String(length=50), nullable=False),
        sa.Column("event_payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("hmac_signature", sa.String(length=255), nullable=False),
        sa.Column("processing_status", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("processed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("retry_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("raw_body", sa.LargeBinary(), nullable=False, comment="the bytes that were signed: the record"),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("dedup_key", sa.String(length=300), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("entity_key", sa.String(length=300), nullable=False),
        sa.Column("next_attempt_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "outcome",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="what applying it did, field by field",
        ),
        sa.Column("dagster_run_id", sa.String(length=64), nullable=True, comment="the run that applied or refused it last"),
        sa.CheckConstraint(
            "processing_status IN ('pending', 'held') OR processed_at IS NOT NULL",
            name=op.f("maintenance_event_hooks_processed_at_when_done_check"),
        ),
        sa.CheckConstraint(
            "processing_status IN ('pending', 'held', 'processed', 'ignored', 'quarantined', 'dead_letter')",
            name=op.f("maintenance_event_hooks_processing_status_known_check"),
        ),
        sa.CheckConstraint("octet_length(body_sha256) = 32", name=op.f("maintenance_event_hooks_body_sha256_length_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("maintenance_event_hooks_pkey")),
        sa.UniqueConstraint("cmms_system_id", "dedup_key", name=op.f("maintenance_event_hooks_cmms_system_id_dedup_key_key")),
        sa.UniqueConstraint("sequence", name=op.f("maintenance_event_hooks_sequence_key")),
        schema="cmms",
    )
    op.create_index(
        "maintenance_event_hooks_created_at_idx",
        "maintenance_event_hooks",
        ["created_at"],
        unique=False,
        schema="cmms",
        postgresql_using="brin",
    )
    op.create_index(
        "maintenance_event_hooks_entity_idx",
        "maintenance_event_hooks",
        ["cmms_system_id", "entity_key", "sequence"],
        unique=False,
        schema="cmms",
        postgresql_where=sa.text("processing_status IN ('pending', 'held')"),
    )
    op.create_index(
        "maintenance_event_hooks_pending_idx",
        "maintenance_event_hooks",
        ["next_attempt_at", "sequence"],
        unique=False,
        schema="cmms",
        postgresql_where=sa.text("processing_status = 'pending'"),
    )
    op.create_index(
        "maintenance_event_hooks_processing_status_idx",
        "maintenance_event_hooks",
        ["processing_status", "event_type"],
        unique=False,
        schema="cmms",
    )
    op.create_table(
        "plants",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("plant_code", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("time_zone", sa.String(length=64), server_default="UTC", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("plant_code <> '' AND plant_code = btrim(plant_code)", name=op.f("plants_plant_code_trimmed_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("plants_pkey")),
        sa.UniqueConstraint("plant_code", name=op.f("plants_plant_code_key")),
        schema="cmms",
    )
    op.create_table(
        "source_snapshots",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("entity_type", sa.String(length=50), nullable=False),
        sa.Column("entity_key", sa.String(length=300), nullable=False),
        sa.Column(
            "snapshot",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the last state both sides agreed on, field by field",
        ),
        sa.Column(
            "field_times",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="source time of each field's last change",
        ),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("source_snapshots_pkey")),
        sa.UniqueConstraint(
            "cmms_system_id",
            "entity_type",
            "entity_key",
            name=op.f("source_snapshots_cmms_system_id_entity_type_entity_key_key"),
        ),
        schema="cmms",
    )
    op.create_table(
        "sync_configurations",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("sync_type", sa.String(length=50), nullable=False),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("sync_configurations_pkey")),
        sa.UniqueConstraint("cmms_system_id", "sync_type", name=op.f("sync_configurations_cmms_system_id_sync_type_key")),
        schema="cmms",
    )
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False, comment="encrypted with CMMS_SECRET_KEY"),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_used_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_secrets_pkey")),
        schema="cmms",
    )
    op.create_index(
        op.f("webhook_secrets_cmms_system_id_idx"), "webhook_secrets", ["cmms_system_id"], unique=False, schema="cmms"
    )
    op.create_table(
        "api_calls",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sync_log_id", sa.BigInteger(), nullable=True),
        sa.Column("endpoint", sa.String(length=300), nullable=False),
        sa.Column("method", sa.String(length=10), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("bytes_received", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("dagster_run_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["sync_log_id"], ["cmms.api_sync_logs.id"], name=op.f("api_calls_sync_log_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_calls_pkey")),
        schema="cmms",
    )
    op.create_index("api_calls_started_at_idx", "api_calls", ["started_at"], unique=False, schema="cmms", postgresql_using="brin")
    op.create_index(op.f("api_calls_sync_log_id_idx"), "api_calls", ["sync_log_id"], unique=False, schema="cmms")
    op.create_table(
        "equipment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("equipment_number", sa.String(length=50), nullable=False),
        sa.Column("plant_id", sa.BigInteger(), nullable=False),
        sa.Column("equipment_group_id", sa.BigInteger(), nullable=True),
        sa.Column("company_code", sa.String(length=10), nullable=True),
        sa.Column("equipment_description", sa.String(length=255), nullable=True),
        sa.Column("object_number", sa.String(length=50), nullable=True),
        sa.Column("point", sa.String(length=50), nullable=True),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="the source's classification fields as they came: EQTYP, EQART, HERST, ...",
        ),
        sa.Column("api_created_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "equipment_number <> '' AND equipment_number = btrim(equipment_number)",
            name=op.f("equipment_equipment_number_trimmed_check"),
        ),
        sa.ForeignKeyConstraint(
            ["equipment_group_id"], ["cmms.equipment_groups.id"], name=op.f("equipment_equipment_group_id_fkey")
        ),
        sa.ForeignKeyConstraint(["plant_id"], ["cmms.plants.id"], name=op.f("equipment_plant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("equipment_pkey")),
        sa.UniqueConstraint("equipment_number", name=op.f("equipment_equipment_number_key")),
        schema="cmms",
    )
    op.create_index(op.f("equipment_equipment_group_id_idx"), "equipment", ["equipment_group_id"], unique=False, schema="cmms")
    op.create_index(op.f("equipment_plant_id_idx"), "equipment", ["plant_id"], unique=False, schema="cmms")
    op.create_table(
        "sync_configuration_versions",
        sa.Column("configuration_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("changed_by", sa.String(length=200), nullable=False),
        sa.Column("changed_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["configuration_id"],
            ["cmms.sync_configurations.id"],
            name=op.f("sync_configuration_versions_configuration_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("configuration_id", "version", name=op.f("sync_configuration_versions_pkey")),
        schema="cmms",
    )
    op.create_table(
        "sync_conflicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("entity_type", sa.String(length=50), nullable=False),
        sa.Column("entity_key", sa.String(length=300), nullable=False),
        sa.Column("field", sa.String(length=100), nullable=False),
        sa.Column("base", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("ours", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("theirs", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("rule", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(length=20), server_default="warning", nullable=False),
        sa.Column("status", sa.String(length=20), server_default="open", nullable=False),
        sa.Column("resolution", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("resolved_by", sa.String(length=200), nullable=True),
        sa.Column("resolved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("hook_id", sa.UUID(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "severity IN ('critical', 'error', 'warning', 'info')", name=op.f("sync_conflicts_severity_known_check")
        ),
        sa.CheckConstraint(
            "status IN ('open', 'resolved', 'converged', 'undone')", name=op.f("sync_conflicts_status_known_check")
        ),
        sa.ForeignKeyConstraint(
            ["hook_id"],
            ["cmms.maintenance_event_hooks.id"],
            name=op.f("sync_conflicts_hook_id_fkey"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sync_conflicts_pkey")),
        schema="cmms",
    )
    op.create_index(op.f("sync_conflicts_hook_id_idx"), "sync_conflicts", ["hook_id"], unique=False, schema="cmms")
    op.create_index(
        "sync_conflicts_open_key",
        "sync_conflicts",
        ["cmms_system_id", "entity_type", "entity_key", "field"],
        unique=True,
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_table(
        "sync_rejections",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sync_type", sa.String(length=30), nullable=False),
        sa.Column(
            "record_key",
            sa.String(length=300),
            nullable=False,
            comment="the record's business key as far as it could be read",
        ),
        sa.Column("rule", sa.String(length=100), nullable=False),
        sa.Column(
            "is_primary",
            sa.Boolean(),
            nullable=False,
            comment="the first failure of a record; the others explain it further",
        ),
        sa.Column("severity", sa.String(length=20), nullable=False),
        sa.Column("column_name", sa.String(length=100), nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "payload",
            sa.JSON(),
            nullable=False,
            comment="the record as it came; json, not jsonb: nothing in it is changed",
        ),
        sa.Column("plant_code", sa.String(length=100), nullable=True),
        sa.Column("equipment_number", sa.String(length=100), nullable=True),
        sa.Column("date", sa.Date(), nullable=True),
        sa.Column("status", sa.String(length=20), server_default="open", nullable=False),
        sa.Column("times_seen", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_seen_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sync_log_id", sa.BigInteger(), nullable=True),
        sa.Column("resolved_by", sa.String(length=200), nullable=True),
        sa.Column("resolution_reason", sa.Text(), nullable=True),
        sa.Column("resolved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'open') = (resolved_at IS NULL)", name=op.f("sync_rejections_resolved_when_not_open_check")
        ),
        sa.CheckConstraint(
            "severity IN ('critical', 'error', 'warning', 'info')", name=op.f("sync_rejections_severity_known_check")
        ),
        sa.CheckConstraint("status IN ('open', 'replayed', 'discarded')", name=op.f("sync_rejections_status_known_check")),
        sa.CheckConstraint(
            "sync_type IN ('plants', 'equipment', 'running_times', 'work_orders', 'clean_up')",
            name=op.f("sync_rejections_sync_type_known_check"),
        ),
        sa.ForeignKeyConstraint(
            ["sync_log_id"],
            ["cmms.api_sync_logs.id"],
            name=op.f("sync_rejections_sync_log_id_fkey"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sync_rejections_pkey")),
        schema="cmms",
    )
    op.create_index(
        "sync_rejections_equipment_number_idx",
        "sync_rejections",
        ["equipment_number"],
        unique=False,
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index("sync_rejections_last_seen_at_idx", "sync_rejections", ["last_seen_at"], unique=False, schema="cmms")
    op.create_index(
        "sync_rejections_open_key",
        "sync_rejections",
        ["sync_type", "record_key", "rule"],
        unique=True,
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index(
        "sync_rejections_plant_code_idx",
        "sync_rejections",
        ["plant_code"],
        unique=False,
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index(op.f("sync_rejections_sync_log_id_idx"), "sync_rejections", ["sync_log_id"], unique=False, schema="cmms")
    op.create_table(
        "sync_slices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "sync_key",
            sa.String(length=200),
            nullable=False,
            comment="one sync as the operator sees it: retries of a run share it",
        ),
        sa.Column("slice_key", sa.String(length=500), nullable=False, comment="day and plants of this slice"),
        sa.Column("sync_type", sa.String(length=30), nullable=False),
        sa.Column("sync_log_id", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.Date(), nullable=True),
        sa.Column("plant_codes", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("completed_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "sync_type IN ('plants', 'equipment', 'running_times', 'work_orders', 'clean_up')",
            name=op.f("sync_slices_sync_type_known_check"),
        ),
        sa.ForeignKeyConstraint(
            ["sync_log_id"], ["cmms.api_sync_logs.id"], name=op.f("sync_slices_sync_log_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sync_slices_pkey")),
        sa.UniqueConstraint("sync_key", "slice_key", name=op.f("sync_slices_sync_key_slice_key_key")),
        schema="cmms",
    )
    op.create_index(op.f("sync_slices_sync_log_id_idx"), "sync_slices", ["sync_log_id"], unique=False, schema="cmms")
    op.create_table(
        "counter_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("equipment_id", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("counter_before", sa.Numeric(precision=14, scale=4), nullable=False),
        sa.Column("counter_after", sa.Numeric(precision=14, scale=4), nullable=False),
        sa.Column(
            "offset_hours",
            sa.Numeric(precision=14, scale=4),
            nullable=False,
            comment="lifetime hours = counter + the sum of these up to its day",
        ),
        sa.Column("detected_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('reset', 'rollover', 'replacement')", name=op.f("counter_events_kind_known_check")),
        sa.ForeignKeyConstraint(["equipment_id"], ["cmms.equipment.id"], name=op.f("counter_events_equipment_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("counter_events_pkey")),
        sa.UniqueConstraint("equipment_id", "date", name=op.f("counter_events_equipment_id_date_key")),
        schema="cmms",
    )
    op.create_table(
        "equipment_running_times",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("equipment_id", sa.BigInteger(), nullable=False),
        sa.Column("plant_id", sa.BigInteger(), nullable=False),
        sa.Column("point", sa.String(length=50), nullable=True),
        sa.Column("date", sa.Date(), nullable=False, comment="the business day at the machine, not the UTC day"),
        sa.Column("date_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column(
            "running_hours",
            sa.Numeric(precision=14, scale=4),
            nullable=True,
            comment="hours of `days_covered` days; null when the counter went back",
        ),
        sa.Column(
            "cumulative_hours",
            sa.Numeric(precision=14, scale=4),
            nullable=True,
            comment="the counter as read; null when the source gave none",
        ),
        sa.Column("days_covered", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("company_code", sa.String(length=10), nullable=True),
        sa.Column("equipment_description", sa.String(length=255), nullable=True),
        sa.Column("object_number", sa.String(length=50), nullable=True),
        sa.Column(
            "readings",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="what each plant reported, by plant code, when more than one did; their sum is running_hours",
        ),
        sa.Column(
            "warnings",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="ids of the rules that this reading met with severity warning",
        ),
        sa.Column("source", sa.String(length=100), server_default="external_api", nullable=False),
        sa.Column("api_created_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cumulative_hours >= 0", name=op.f("equipment_running_times_cumulative_hours_not_negative_check")),
        sa.CheckConstraint("days_covered >= 1", name=op.f("equipment_running_times_days_covered_positive_check")),
        sa.CheckConstraint(
            "running_hours <= 26 * days_covered", name=op.f("equipment_running_times_running_hours_fit_days_check")
        ),
        sa.CheckConstraint("running_hours >= 0", name=op.f("equipment_running_times_running_hours_not_negative_check")),
        sa.CheckConstraint(
            "running_hours IS NOT NULL OR cumulative_hours IS NOT NULL",
            name=op.f("equipment_running_times_says_something_check"),
        ),
        sa.ForeignKeyConstraint(["equipment_id"], ["cmms.equipment.id"], name=op.f("equipment_running_times_equipment_id_fkey")),
        sa.ForeignKeyConstraint(["plant_id"], ["cmms.plants.id"], name=op.f("equipment_running_times_plant_id_fkey")),
        sa.PrimaryKeyConstraint("equipment_id", "date", name=op.f("equipment_running_times_pkey")),
        schema="cmms",
        postgresql_partition_by="RANGE (date)",
    )
    op.create_index(
        "equipment_running_times_date_idx",
        "equipment_running_times",
        ["date"],
        unique=False,
        schema="cmms",
        postgresql_using="brin",
    )
    op.create_index(
        "equipment_running_times_plant_id_date_idx",
        "equipment_running_times",
        ["plant_id", "date"],
        unique=False,
        schema="cmms",
    )
    op.create_table(
        "work_orders",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("work_order_number", sa.String(length=100), nullable=False),
        sa.Column("status", sa.String(length=30), nullable=False),
        sa.Column("priority", sa.String(length=20), nullable=True),
        sa.Column("title", sa.String(length=255), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("work_type", sa.String(length=50), nullable=True),
        sa.Column("equipment_id", sa.BigInteger(), nullable=True),
        sa.Column("plant_id", sa.BigInteger(), nullable=True),
        sa.Column("assignee", sa.String(length=200), nullable=True),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("scheduled_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("completed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("cost", sa.Numeric(precision=14, scale=2), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("parts", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("notes", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column(
            "is_partial",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="seen in an update, not yet created",
        ),
        sa.Column(
            "source_updated_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="source time of the newest event applied",
        ),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('requested', 'open', 'scheduled', 'in_progress', 'on_hold', 'completed', 'closed', 'cancelled')",
            name=op.f("work_orders_status_known_check"),
        ),
        sa.ForeignKeyConstraint(["equipment_id"], ["cmms.equipment.id"], name=op.f("work_orders_equipment_id_fkey")),
        sa.ForeignKeyConstraint(["plant_id"], ["cmms.plants.id"], name=op.f("work_orders_plant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("work_orders_pkey")),
        sa.UniqueConstraint("cmms_system_id", "work_order_number", name=op.f("work_orders_cmms_system_id_work_order_number_key")),
        schema="cmms",
    )
    op.create_index(op.f("work_orders_equipment_id_idx"), "work_orders", ["equipment_id"], unique=False, schema="cmms")
    op.create_index(
        "work_orders_open_idx",
        "work_orders",
        ["status", "due_at"],
        unique=False,
        schema="cmms",
        postgresql_where=sa.text("status NOT IN ('closed', 'cancelled')"),
    )
    op.create_index(op.f("work_orders_plant_id_idx"), "work_orders", ["plant_id"], unique=False, schema="cmms")


def downgrade() -> None:
    op.drop_index(op.f("work_orders_plant_id_idx"), table_name="work_orders", schema="cmms")
    op.drop_index(
        "work_orders_open_idx",
        table_name="work_orders",
        schema="cmms",
        postgresql_where=sa.text("status NOT IN ('closed', 'cancelled')"),
    )
    op.drop_index(op.f("work_orders_equipment_id_idx"), table_name="work_orders", schema="cmms")
    op.drop_table("work_orders", schema="cmms")
    op.drop_index("equipment_running_times_plant_id_date_idx", table_name="equipment_running_times", schema="cmms")
    op.drop_index(
        "equipment_running_times_date_idx", table_name="equipment_running_times", schema="cmms", postgresql_using="brin"
    )
    op.drop_table("equipment_running_times", schema="cmms")
    op.drop_table("counter_events", schema="cmms")
    op.drop_index(op.f("sync_slices_sync_log_id_idx"), table_name="sync_slices", schema="cmms")
    op.drop_table("sync_slices", schema="cmms")
    op.drop_index(op.f("sync_rejections_sync_log_id_idx"), table_name="sync_rejections", schema="cmms")
    op.drop_index(
        "sync_rejections_plant_code_idx",
        table_name="sync_rejections",
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.drop_index(
        "sync_rejections_open_key",
        table_name="sync_rejections",
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.drop_index("sync_rejections_last_seen_at_idx", table_name="sync_rejections", schema="cmms")
    op.drop_index(
        "sync_rejections_equipment_number_idx",
        table_name="sync_rejections",
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.drop_table("sync_rejections", schema="cmms")
    op.drop_index(
        "sync_conflicts_open_key",
        table_name="sync_conflicts",
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.drop_index(op.f("sync_conflicts_hook_id_idx"), table_name="sync_conflicts", schema="cmms")
    op.drop_table("sync_conflicts", schema="cmms")
    op.drop_table("sync_configuration_versions", schema="cmms")
    op.drop_index(op.f("equipment_plant_id_idx"), table_name="equipment", schema="cmms")
    op.drop_index(op.f("equipment_equipment_group_id_idx"), table_name="equipment", schema="cmms")
    op.drop_table("equipment", schema="cmms")
    op.drop_index(op.f("api_calls_sync_log_id_idx"), table_name="api_calls", schema="cmms")
    op.drop_index("api_calls_started_at_idx", table_name="api_calls", schema="cmms", postgresql_using="brin")
    op.drop_table("api_calls", schema="cmms")
    op.drop_index(op.f("webhook_secrets_cmms_system_id_idx"), table_name="webhook_secrets", schema="cmms")
    op.drop_table("webhook_secrets", schema="cmms")
    op.drop_table("sync_configurations", schema="cmms")
    op.drop_table("source_snapshots", schema="cmms")
    op.drop_table("plants", schema="cmms")
    op.drop_index("maintenance_event_hooks_processing_status_idx", table_name="maintenance_event_hooks", schema="cmms")
    op.drop_index(
        "maintenance_event_hooks_pending_idx",
        table_name="maintenance_event_hooks",
        schema="cmms",
        postgresql_where=sa.text("processing_status = 'pending'"),
    )
    op.drop_index(
        "maintenance_event_hooks_entity_idx",
        table_name="maintenance_event_hooks",
        schema="cmms",
        postgresql_where=sa.text("processing_status IN ('pending', 'held')"),
    )
    op.drop_index(
        "maintenance_event_hooks_created_at_idx",
        table_name="maintenance_event_hooks",
        schema="cmms",
        postgresql_using="brin",
    )
    op.drop_table("maintenance_event_hooks", schema="cmms")
    op.drop_table("equipment_groups", schema="cmms")
    op.drop_index("audit_log_entity_type_entity_key_idx", table_name="audit_log", schema="cmms")
    op.drop_index("audit_log_at_idx", table_name="audit_log", schema="cmms", postgresql_using="brin")
    op.drop_table("audit_log", schema="cmms")
    op.drop_index("api_sync_logs_sync_type_sync_started_at_idx", table_name="api_sync_logs", schema="cmms")
    op.drop_index(
        "api_sync_logs_running_idx",
        table_name="api_sync_logs",
        schema="cmms",
        postgresql_where=sa.text("status = 'running'"),
    )
    op.drop_index(op.f("api_sync_logs_dagster_run_id_idx"), table_name="api_sync_logs", schema="cmms")
    op.drop_table("api_sync_logs", schema="cmms")
    op.drop_index("alerts_unresolved_key", table_name="alerts", schema="cmms", postgresql_where=sa.text("status <> 'resolved'"))
    op.drop_index("alerts_last_seen_at_idx", table_name="alerts", schema="cmms")
    op.drop_table("alerts", schema="cmms")
