"""The clean-up removes what is old and over, and never what is open or business data."""

from datetime import date, datetime

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.reports import SyncCounts, SyncStatus
from cmms_pipelines.storage import rejections, sync_log
from cmms_pipelines.storage.retention import Ages, clean_up_logs
from cmms_pipelines.storage.tables import (
    api_calls,
    api_sync_logs,
    api_tokens,
    audit_log,
    delivery_counts,
    sync_rejections,
    sync_slices,
)
from tests.conftest import Database
from tests.storage.readings_world import make_world, reading, stored, sync
from tests.storage.test_rejections import refusal

DAY = date(2013, 10, 28)
AGES = Ages(logs=90, deliveries=400)


def fill(database: Database, age_days: int) -> None:
    """One finished and one running sync with a request, a slice, and a closed and an open rejection, all of this age."""
    engine = database.engine
    for is_running in (False, True):
        with engine.begin() as connection:
            log = sync_log.insert_log(connection, "running_times", {}, f"{age_days}-{is_running}", None)
            at = connection.scalar(sa.select(sa.func.now()))
            sync_log.mark_slice_done(connection, log, "slice", day=DAY, plant_codes=[], counts=SyncCounts())
            key = f"{age_days}-{is_running}"
            rejections.store(connection, "running_times", log.id, pd.DataFrame([refusal("plant_unknown", key=key)]))
            if not is_running:
                rejections.close_accepted(connection, "running_times", [key], actor="sync", reason="accepted")
        sync_log.record_calls(engine, log, [ApiCall("equipments", "GET", 200, 1, 1.0, 1, 1, None, at)])
        if not is_running:
            sync_log.finish(engine, log, SyncStatus.SUCCESS, stage_seconds={})
        with engine.begin() as connection:
            for table, column, condition in (
                (api_sync_logs, "sync_started_at", api_sync_logs.c.id == log.id),
                (api_sync_logs, "sync_completed_at", api_sync_logs.c.id == log.id),
                (sync_slices, "completed_at", sync_slices.c.sync_log_id == log.id),
                (api_calls, "started_at", api_calls.c.sync_log_id == log.id),
                (sync_rejections, "resolved_at", sync_rejections.c.sync_log_id == log.id),
                (sync_rejections, "first_seen_at", sync_rejections.c.sync_log_id == log.id),
                (sync_rejections, "last_seen_at", sync_rejections.c.sync_log_id == log.id),
            ):
                older = table.c[column] - sa.func.make_interval(0, 0, 0, age_days)
                connection.execute(sa.update(table).where(condition).values({column: older}))


def test_what_is_old_and_over_goes_and_the_rest_stays(database: Database) -> None:
    make_world(database.engine)
    sync(database.engine, reading("B6LG", DAY, 5, 100))
    fill(database, age_days=91)
    fill(database, age_days=89)
    removed = clean_up_logs(database.engine, AGES, run_id="run-1")
    logs = {"api_calls": 2, "sync_slices": 2, "sync_rejections": 1, "api_sync_logs": 1, "api_tokens": 0}
    assert removed == {**logs, "alerts": 0, "alert_deliveries": 0, "delivery_counts": 0, "hook_refusals": 0}
    with database.engine.connect() as connection:
        kept = connection.execute(sa.select(sync_rejections.c.record_key, sync_rejections.c.status).order_by("id")).all()
        logs = connection.execute(sa.select(api_sync_logs.c.sync_type, api_sync_logs.c.status).order_by("id")).all()
    assert [tuple(row) for row in kept] == [("91-True", "open"), ("89-False", "replayed"), ("89-True", "open")]
    assert [tuple(row) for row in logs] == [
        ("running_times", "running"),
        ("running_times", "success"),
        ("running_times", "running"),
        ("clean_up", "success"),
    ]
    assert stored(database.engine) == [(5.0, 100.0, 1, "B6LG")]


def ago(days: int) -> "sa.ColumnElement[datetime]":
    return sa.func.now() - sa.func.make_interval(0, 0, 0, days)


def test_counts_of_deliveries_and_refusals_go_by_an_age_of_their_own_and_what_people_did_stays(database: Database) -> None:
    with database.engine.begin() as connection:
        for days in (399, 401):
            counted = {"cmms_system_id": "atlas", "event_type": "x", "outcome": "accepted", "deliveries": 7}
            connection.execute(sa.insert(delivery_counts).values(minute=ago(days), **counted))
            for action in ("hook.refused", "token.created"):
                connection.execute(sa.insert(audit_log).values(at=ago(days), actor="jane", action=action))
    removed = clean_up_logs(database.engine, AGES, run_id="run-1")
    assert (removed["delivery_counts"], removed["hook_refusals"]) == (1, 1)
    with database.engine.connect() as connection:
        actions = connection.scalars(sa.select(audit_log.c.action).order_by(audit_log.c.at)).all()
        assert connection.scalar(sa.select(sa.func.count()).select_from(delivery_counts)) == 1
        scope = connection.scalar(sa.select(api_sync_logs.c.scope))
    assert actions == ["token.created", "hook.refused", "token.created"]
    assert scope == {"keep_days": 90, "keep_deliveries_days": 400, "removed": removed}


def test_tokens_go_once_they_have_been_out_of_force_for_long(database: Database) -> None:
    times = {
        "in force": {},
        "expires later": {"expires_at": ago(-5)},
        "revoked lately": {"revoked_at": ago(89)},
        "revoked long ago": {"revoked_at": ago(91), "expires_at": ago(-5)},
        "expired long ago": {"expires_at": ago(91)},
    }
    with database.engine.begin() as connection:
        for number, (name, at) in enumerate(times.items()):
            values = {"name": name, "role": "viewer", "token_sha256": bytes([number]) * 32, "created_by": "jane", **at}
            connection.execute(sa.insert(api_tokens).values(**values))
    assert clean_up_logs(database.engine, AGES, run_id="run-1")["api_tokens"] == 2
    with database.engine.connect() as connection:
        names = set(connection.scalars(sa.select(api_tokens.c.name)))
    assert names == {"in force", "expires later", "revoked lately"}


def test_a_clean_up_that_fails_says_in_the_log_how_far_it_came(database: Database) -> None:
    fill(database, age_days=91)
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE cmms.sync_rejections RENAME TO elsewhere"))
    with pytest.raises(sa.exc.ProgrammingError):
        clean_up_logs(database.engine, AGES, run_id="run-1")
    with database.engine.connect() as connection:
        newest = connection.execute(sa.select(api_sync_logs).order_by(api_sync_logs.c.id.desc()).limit(1)).one()
    assert (newest.sync_type, newest.status) == ("clean_up", "failed")
    assert newest.scope["removed"] == {"api_calls": 2, "sync_slices": 2}
    assert newest.error_message.startswith("It stopped half-way")
