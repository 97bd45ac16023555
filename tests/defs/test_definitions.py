"""What the Dagster UI shows before anything has run: names, groups, owners, columns, limits, and when what starts."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData
from dagster._utils.schedules import schedule_execution_time_iterator

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.equipment.assets import PartitionChanges, partition_changes
from cmms_pipelines.defs.operations.controls import SYNC_JOBS
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import CLEAN_UP_RETRIES, EXTERNAL_API_POOL, RANGE_END, RANGE_START, SYNC_RETRIES
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import sync_controls, tables
from cmms_pipelines.storage.configurations import WEBHOOK, write_configuration
from tests.conftest import TEMPLATE, Database, new_database

SYNCED = {
    "plants": ("equipment", tables.plants),
    "equipment": ("equipment", tables.equipment),
    "equipment_running_times": ("running_hours", tables.equipment_running_times),
}
OBSERVED = ["equipment_groups", "api_sync_logs", "sync_rejections", "api_calls", "counter_events"]
SCHEDULES = {
    "sync_plants_nightly": ("sync_plants", "50 23 * * *"),
    "sync_equipment_nightly": ("sync_equipment", "0 0 * * *"),
    "sync_running_times_daily": ("sync_running_times", "0 1 * * *"),
    "sync_work_orders_nightly": ("sync_work_orders", "30 1 * * *"),
    "find_missed_events_daily": ("find_missed_events", "30 3 * * *"),
    "clean_up_logs_weekly": ("clean_up_logs", "0 4 * * 0"),
}


STAY_INSIDE = {  # all that look at our own tables alone; every other schedule asks somebody else's system
    "clean_up_logs_weekly",
    "observe_inbox_quarter_hourly",
    "observe_conflicts_hourly",
    "observe_operations_hourly",
    "check_alerts_hourly",
}
GO_OUTSIDE = sorted({schedule.name for schedule in build_defs(Settings()).schedules or ()} - STAY_INSIDE)


SWEPT = WebhookSource.model_validate(
    {"api": {"base_url": "https://s4.example", "entities": {"equipment": {"changes": {"path": "machines?since={since}"}}}}}
)


@cache
def defs_in(time_zone: str) -> dg.Definitions:
    return build_defs(Settings.model_validate({"time_zone": time_zone, "first_day": date(2013, 1, 1)}))


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return defs_in("Europe/Berlin")


def asset(defs: dg.Definitions, name: str) -> dg.AssetsDefinition:
    return defs.resolve_assets_def(dg.AssetKey(["cmms", name]))


@pytest.mark.parametrize("name", SYNCED)
def test_a_synced_table_tells_its_story_on_its_own_page(defs: dg.Definitions, name: str) -> None:
    group, table = SYNCED[name]
    spec = asset(defs, name).get_asset_spec(dg.AssetKey(["cmms", name]))
    assert (spec.group_name, list(spec.owners), spec.kinds) == (
        group,
        ["team:maintenance-data"],
        {"python", "postgres", "pandas"},
    )
    assert spec.description
    assert spec.metadata["dagster/table_name"] == f"cmms.{name}"
    columns = spec.metadata["dagster/column_schema"].columns
    assert [column.name for column in columns] == [column.name for column in table.columns]
    assert all(column.type for column in columns)


def test_the_quarantine_and_the_logs_are_assets_that_one_can_see(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for name in OBSERVED:
        node = graph.get(dg.AssetKey(["cmms", name]))
        assert (node.group_name, node.owners, bool(node.description)) == ("operations", ["team:maintenance-data"], True)
        assert "dagster/column_schema" in node.metadata


def test_lineage_runs_from_plants_over_equipment_to_running_hours(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    parents = {name: {key.path[-1] for key in graph.get(dg.AssetKey(["cmms", name])).parent_keys} for name in SYNCED}
    assert parents == {"plants": set(), "equipment": {"plants"}, "equipment_running_times": {"equipment"}}


def test_running_hours_are_partitioned_by_local_day_and_equipment_by_plant_each_in_one_run(defs: dg.Definitions) -> None:
    days = asset(defs, "equipment_running_times")
    assert isinstance(days.partitions_def, dg.DailyPartitionsDefinition)
    assert (days.partitions_def.timezone, days.partitions_def.get_first_partition_key()) == ("Europe/Berlin", "2013-01-01")
    plants = asset(defs, "equipment")
    assert isinstance(plants.partitions_def, dg.DynamicPartitionsDefinition)
    assert plants.backfill_policy == dg.BackfillPolicy.single_run()
    assert days.backfill_policy == dg.BackfillPolicy.multi_run(max_partitions_per_run=31)  # a month is one run, a year twelve


@pytest.mark.parametrize("name", SYNCED)
def test_syncs_share_one_pool_and_retry_three_times_with_growing_waits(defs: dg.Definitions, name: str) -> None:
    op = asset(defs, name).op
    assert op.pool == EXTERNAL_API_POOL == "external_api"
    assert op.retry_policy == SYNC_RETRIES
    assert (SYNC_RETRIES.max_retries, SYNC_RETRIES.backoff) == (3, dg.Backoff.EXPONENTIAL)


@pytest.mark.parametrize(
    ("job", "op"),
    [
        ("sync_work_orders", "sync_changed_work_orders"),
        ("sync_now", "sync_on_demand"),
        ("backfill_running_times", "backfill_days"),
        ("retry_failed", "retry_what_failed"),
        ("find_missed_events", "sweep_sources"),
    ],
)
def test_so_do_the_syncs_that_are_no_assets(defs: dg.Definitions, job: str, op: str) -> None:
    found = defs.resolve_job_def(job).graph.node_named(op).definition
    assert isinstance(found, dg.OpDefinition)
    assert (found.pool, found.retry_policy) == (EXTERNAL_API_POOL, SYNC_RETRIES)


def test_the_clean_up_is_tried_twice(defs: dg.Definitions) -> None:
    node = defs.resolve_job_def("clean_up_logs").graph.node_named("clean_up")
    assert node.definition.retry_policy == CLEAN_UP_RETRIES  # type: ignore[attr-defined]
    assert CLEAN_UP_RETRIES.max_retries == 1


@pytest.mark.parametrize(
    ("job", "max_runtime_s", "priority"),
    [
        ("sync_plants", 600, 20),
        ("sync_equipment", 1800, 10),
        ("sync_running_times", 3600, 10),
        ("sync_work_orders", 3600, 0),
        ("replay_rejections", 3600, 5),
        ("discard_rejections", 600, 5),
        ("resolve_conflicts", 600, 5),
        ("undo_decision", 120, 5),
        ("edit_record", 120, 5),
        ("create_work_order", 120, 5),
        ("emergency_stop", 120, 100),
        ("pause_syncs", 120, 100),
        ("resume_syncs", 120, 100),
        ("clean_up_logs", 600, -10),
    ],
)
def test_every_job_has_its_time_limit_and_its_place_in_the_queue(
    defs: dg.Definitions, job: str, max_runtime_s: int, priority: int
) -> None:
    definition = defs.resolve_job_def(job)
    assert definition.tags["dagster/max_runtime"] == str(max_runtime_s)
    assert definition.tags["dagster/priority"] == str(priority)
    assert definition.description


def test_checks_claim_what_a_sync_must_keep(defs: dg.Definitions) -> None:
    checks = {f"{key.asset_key.path[-1]}:{key.name}" for key in defs.resolve_asset_graph().asset_check_keys}
    assert {
        "equipment:every_record_accounted_for",
        "equipment:every_active_plant_has_equipment",
        "equipment_running_times:every_record_accounted_for",
        "equipment_running_times:every_decrease_is_an_event",
    } <= checks


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("time_zone", ["Europe/Berlin", "Asia/Jakarta"])
def test_every_schedule_runs_by_the_configured_clock_and_from_the_start(name: str, time_zone: str) -> None:
    schedule = defs_in(time_zone).resolve_schedule_def(name)
    assert (schedule.job_name, schedule.cron_schedule) == SCHEDULES[name]
    assert schedule.execution_timezone == time_zone
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.description


@pytest.fixture(scope="module")
def warehouse(server_url: str) -> Iterator[Warehouse]:
    """A database in which nobody has paused anything."""
    for url in new_database(server_url, template=TEMPLATE):
        found = Warehouse(database_url=url)
        yield found
        found.engine().dispose()


def days_asked_for(warehouse: Warehouse, time_zone: str, tick: datetime) -> tuple[str, str]:
    with dg.DagsterInstance.ephemeral() as instance:
        (request,) = tick_of(warehouse, defs_in(time_zone), instance, "sync_running_times_daily", tick).run_requests or []
    return request.tags[RANGE_START], request.tags[RANGE_END]


def tick_of(
    warehouse: Warehouse, defs: dg.Definitions, instance: dg.DagsterInstance, name: str, tick: datetime
) -> ScheduleExecutionData:
    repository, resources = defs.get_repository_def(), {"warehouse": warehouse}
    with dg.build_schedule_context(
        instance, scheduled_execution_time=tick, repository_def=repository, resources=resources
    ) as context:
        return defs.resolve_schedule_def(name).evaluate_tick(context)


@pytest.mark.parametrize(
    ("time_zone", "tick", "last_day"),
    [
        ("Europe/Berlin", datetime(2026, 3, 15, 1, tzinfo=ZoneInfo("Europe/Berlin")), "2026-03-14"),
        ("Asia/Jakarta", datetime(2026, 3, 15, 1, tzinfo=ZoneInfo("Asia/Jakarta")), "2026-03-14"),
        ("Asia/Jakarta", datetime(2026, 3, 14, 18, tzinfo=UTC), "2026-03-14"),
        ("America/New_York", datetime(2026, 3, 15, 5, tzinfo=UTC), "2026-03-14"),
        ("UTC", datetime(2026, 1, 1, 1, tzinfo=UTC), "2025-12-31"),
    ],
)
def test_the_nightly_run_asks_for_yesterday_and_the_two_days_before_it_by_the_configured_clock(
    warehouse: Warehouse, time_zone: str, tick: datetime, last_day: str
) -> None:
    first_day = date.fromisoformat(last_day) - timedelta(days=2)
    assert days_asked_for(warehouse, time_zone, tick) == (first_day.isoformat(), last_day)


@pytest.mark.parametrize(
    ("look_back_days", "tick", "days"),
    [(1, 20, ("2026-01-19", "2026-01-19")), (7, 20, ("2026-01-13", "2026-01-19")), (7, 13, ("2026-01-10", "2026-01-12"))],
)
def test_the_nightly_run_looks_back_as_far_as_configured_but_never_before_the_first_day(
    warehouse: Warehouse, look_back_days: int, tick: int, days: tuple[str, str]
) -> None:
    settings = Settings.model_validate({"first_day": date(2026, 1, 10), "look_back_days": look_back_days})
    with dg.DagsterInstance.ephemeral() as instance:
        at = datetime(2026, 1, tick, 1, tzinfo=UTC)
        (request,) = tick_of(warehouse, build_defs(settings), instance, "sync_running_times_daily", at).run_requests or []
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == days


@pytest.mark.parametrize("name", GO_OUTSIDE)
def test_a_pause_holds_every_schedule_with_a_reason_that_says_so(database: Database, defs: dg.Definitions, name: str) -> None:
    warehouse = Warehouse(database_url=database.url)
    with database.engine.begin() as connection:
        sync_controls.pause(connection, actor="jane", reason="the source is being moved")
        write_configuration(connection, "s4", WEBHOOK, SWEPT.model_dump(mode="json"), actor="tests")
    tick = datetime(2026, 3, 15, 1, tzinfo=UTC)
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("plants", ["B6JF"])
        held = tick_of(warehouse, defs, instance, name, tick)
        with database.engine.begin() as connection:
            sync_controls.resume(connection, actor="jane")
        resumed = tick_of(warehouse, defs, instance, name, tick)
    warehouse.engine().dispose()
    assert not held.run_requests
    assert "paused by jane" in (held.skip_message or "")
    assert "the source is being moved" in (held.skip_message or "")
    assert len(resumed.run_requests or []) == 1


def test_what_asks_somebody_elses_system_is_in_one_pool_and_ends_with_an_emergency_stop(defs: dg.Definitions) -> None:
    pooled = {
        job.name
        for job in defs.resolve_all_job_defs()
        if any(
            node.definition.pool == EXTERNAL_API_POOL for node in job.graph.nodes if isinstance(node.definition, dg.OpDefinition)
        )
    }
    scheduled = {defs.resolve_schedule_def(name).job_name for name in GO_OUTSIDE}
    assert scheduled <= pooled
    assert pooled - {"__ASSET_JOB", "check_external_api"} <= SYNC_JOBS  # a check of the connection ends within seconds


@pytest.mark.parametrize(
    ("time_zone", "around"),
    [
        ("America/New_York", datetime(2026, 10, 30, 12, tzinfo=UTC)),  # 01:00 comes twice on 1 November
        ("America/New_York", datetime(2026, 3, 6, 12, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 27, 12, tzinfo=UTC)),
        ("Europe/Lisbon", datetime(2026, 3, 27, 12, tzinfo=UTC)),  # 01:00 does not exist on 29 March
        ("America/Santiago", datetime(2026, 9, 4, 12, tzinfo=UTC)),  # 00:00 does not exist on 6 September
    ],
)
def test_every_day_is_the_last_of_one_run_where_the_clock_changes(warehouse: Warehouse, time_zone: str, around: datetime) -> None:
    ticks = schedule_execution_time_iterator(around.timestamp(), "0 1 * * *", time_zone)
    asked = [date.fromisoformat(days_asked_for(warehouse, time_zone, tick)[1]) for tick in islice(ticks, 5)]
    assert asked == [asked[0] + timedelta(days=offset) for offset in range(5)]


def test_the_equipment_run_takes_all_plants_at_once_and_waits_for_the_first_ones(
    warehouse: Warehouse, defs: dg.Definitions
) -> None:
    tick = datetime(2026, 3, 15, tzinfo=ZoneInfo("Europe/Berlin"))
    with dg.instance_for_test() as instance:
        before = tick_of(warehouse, defs, instance, "sync_equipment_nightly", tick)
        instance.add_dynamic_partitions("plants", ["B6EW", "B6JF", "B6LG"])
        (request,) = tick_of(warehouse, defs, instance, "sync_equipment_nightly", tick).run_requests or []
    assert not before.run_requests
    assert "run sync_plants first" in (before.skip_message or "")
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("B6EW", "B6LG")


@pytest.mark.parametrize(
    ("plants", "existing", "is_in_flight", "changes"),
    [
        ({}, [], False, PartitionChanges([], [])),
        ({"B": True, "A": True}, [], False, PartitionChanges(["A", "B"], [])),
        ({"A": True, "B": True}, ["A"], True, PartitionChanges(["B"], [])),
        ({"A": True, "B": False}, ["A", "B"], False, PartitionChanges([], ["B"])),
        ({"A": True}, ["A", "C"], False, PartitionChanges([], ["C"])),
        ({"A": True, "B": False}, ["A", "B", "C"], True, PartitionChanges([], [])),
    ],
)
def test_partitions_follow_the_active_plants_and_none_goes_while_a_run_is_in_flight(
    plants: dict[str, bool], existing: list[str], is_in_flight: bool, changes: PartitionChanges
) -> None:
    assert partition_changes(plants, existing, is_in_flight=is_in_flight) == changes


@pytest.mark.parametrize(
    ("job", "op", "fields"),
    [
        ("sync_equipment", "cmms__equipment", {"equipment", "full_refresh"}),
        ("sync_running_times", "cmms__equipment_running_times", {"plants", "equipment", "full_refresh"}),
        ("sync_work_orders", "sync_changed_work_orders", {"first_day", "plants"}),
        ("replay_rejections", "replay", {"rules", "plants", "first_day", "dry_run"}),
        ("discard_rejections", "discard", {"ids", "reason", "by"}),
        ("pause_syncs", "pause", {"reason", "by"}),
        ("emergency_stop", "stop", {"reason", "by", "pause"}),
    ],
)
def test_the_launchpad_explains_every_field_and_needs_no_answer_but_a_reason(
    defs: dg.Definitions, job: str, op: str, fields: set[str]
) -> None:
    schema = defs.resolve_job_def(job).graph.node_named(op).definition.config_schema.config_type.fields  # type: ignore[attr-defined]
    assert fields <= set(schema)
    assert all(field.description for field in schema.values())
    assert {name for name, field in schema.items() if field.is_required} == ({"reason"} if op == "discard" else set())
