"""Every job as an engineer finds it: what it does and does not, each field explained, and nothing to fill in but what must be."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import dagster as dg
import pytest

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.settings import Settings

ANSWERED: dict[str, dict[str, Any]] = {
    "acknowledge_alert": {"acknowledge": {"alert": 1}},
    "backfill_running_times": {"backfill_days": {"first_day": "2026-01-01", "last_day": "2026-01-31"}},
    "discard_rejections": {"discard": {"reason": "a test"}},
    "send_test_events": {},
    "set_maintenance_rule": {"set_rule": {"name": "250 h inspection"}},
}
"""What must be filled in, by job and step; every other job starts as it stands."""


@cache
def jobs() -> dict[str, dg.JobDefinition]:
    repository = build_defs(Settings()).get_repository_def()
    return {job.name: job for job in repository.get_all_jobs() if not job.name.startswith("__")}


def fields(job: dg.JobDefinition) -> Iterator[tuple[str, Any]]:
    for node in job.nodes:
        schema = node.definition.config_schema.config_type
        yield from ((f"{node.name}.{name}", field) for name, field in getattr(schema, "fields", {}).items())


def test_there_is_a_job_for_every_action() -> None:
    assert {
        "sync_now",
        "backfill_running_times",
        "retry_failed",
        "replay_events",
        "replay_rejections",
        "discard_rejections",
        "resolve_conflicts",
        "undo_decision",
        "edit_record",
        "create_work_order",
        "set_maintenance_rule",
        "acknowledge_alert",
        "emergency_stop",
        "pause_syncs",
        "resume_syncs",
    } <= set(jobs())


@pytest.mark.parametrize("name", sorted(jobs()))
def test_a_job_says_what_it_does_explains_each_field_and_starts_as_it_stands(name: str) -> None:
    job = jobs()[name]
    assert job.description
    assert len(job.description) >= 40, job.description
    assert job.tags["dagster/max_runtime"].isdigit()
    for field, schema in fields(job):
        assert schema.description, field
        assert len(schema.description) >= 10, field
    required = {field for field, schema in fields(job) if schema.is_required}
    answered = ANSWERED.get(name, {})
    assert required == {f"{step}.{field}" for step, config in answered.items() for field in config}
    dg.validate_run_config(job, {"ops": {step: {"config": config} for step, config in answered.items()}} if answered else {})
