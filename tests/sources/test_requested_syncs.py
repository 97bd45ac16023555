"""An event can start a sync: recorded once, one run for all requests of a scope, and the request shows how it ended."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.test_utils import create_run_for_test

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.equipment.assets import PLANTS
from cmms_pipelines.defs.maintenance.requested_syncs import SYNC_REQUEST, Reach, follow_requests, run_request
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.domain.scoped_syncs import SyncScope, requested_scopes
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import sync_controls
from tests.sources.conftest import World
from tests.storage.inbox_world import add_machines, inbox, query, send

STARTS = {"asset_created": "equipment_of_plant", "asset_updated": "equipment_of_plant", "sync_requested": "named_scope"}
REACH = Reach(["B6JFK", "UAEWR"], date(2026, 1, 1), date(2026, 3, 1))
REQUESTS = "SELECT sync_type, scope -> 'plants', status, lead_id, dagster_run_id FROM cmms.sync_requests ORDER BY id"


@pytest.fixture
def instance(tmp_path: Path) -> dg.DagsterInstance:
    found = dg.DagsterInstance.ephemeral()
    found.add_dynamic_partitions(str(PLANTS.name), list(REACH.plants))
    return found


def tick(world: World, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    found = follow_requests(Warehouse(database_url=world.url), instance, REACH)
    return list(found.run_requests or ()) if isinstance(found, dg.SensorResult) else []


def test_without_configuration_no_event_starts_anything(world: World) -> None:
    world.configure()
    add_machines(world.url, "N526JB")
    send(world.url, "asset_updated", {"equipment_number": "N526JB", "name": "A320-232", "plant_code": "B6JFK"})
    send(world.url, "sync_requested", {"sync": "equipment"})
    world.drain()
    assert [state for state, _ in inbox(world.url)] == ["processed", "held"]
    assert (inbox(world.url)[1][1] or "").startswith("sync_not_allowed: ")
    assert query(world.url, REQUESTS) == []


def test_an_asset_event_asks_for_its_plants_equipment_once_also_for_an_unknown_machine(world: World) -> None:
    world.configure(starts_syncs=STARTS)
    add_machines(world.url, "N526JB")
    send(world.url, "asset_updated", {"equipment_number": "N526JB", "name": "A320-232"})
    send(world.url, "asset_created", {"equipment_number": "N999ZZ", "plant_code": "B6JFK", "name": "A320"})
    send(world.url, "asset_created", {"equipment_number": "N998ZZ", "name": "A320"})
    send(world.url, "asset_deleted", {"equipment_number": "N526JB", "is_active": False})
    world.drain()
    assert [row[:3] for row in query(world.url, REQUESTS)] == [("equipment", ["B6JFK"], "waiting")] * 2
    query(world.url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'pending', processed_at = NULL")
    world.drain()
    outcomes = query(world.url, "SELECT outcome -> 'sync_requests' FROM cmms.maintenance_event_hooks ORDER BY sequence")
    assert outcomes == [([1],), ([2],), ([],), (None,)]


def test_a_requested_sync_is_validated_and_becomes_one_run_for_each_plant_and_for_a_range_of_days(world: World) -> None:
    world.configure(starts_syncs=STARTS)
    add_machines(world.url)
    days = {"sync": "running_times", "plants": ["B6JFK"], "first_day": "2026-02-01", "last_day": "2026-02-03"}
    for payload in ({"sync": "equipment", "plants": ["B6JFK"]}, days, {"sync": "equipment", "plants": ["NO"]}, {"sync": "all"}):
        send(world.url, "sync_requested", payload)
    world.drain()
    assert [state for state, _ in inbox(world.url)] == ["processed", "processed", "dead_letter", "dead_letter"]
    assert [(error or "").partition(":")[0] for _, error in inbox(world.url)[2:]] == ["unknown_plant", "invalid_payload"]
    assert [row[0] for row in query(world.url, REQUESTS)] == ["equipment", "running_times"]


def test_requests_of_one_scope_share_a_run_whose_end_they_show(world: World, instance: dg.DagsterInstance) -> None:
    world.configure(starts_syncs=STARTS)
    add_machines(world.url)
    for plants in (["B6JFK"], ["B6JFK"], ["B6JFK"]):
        send(world.url, "sync_requested", {"sync": "equipment", "plants": plants})
    assert tick(world, instance) == []
    world.drain()
    [asked] = tick(world, instance)
    assert (asked.run_key, asked.partition_key, asked.job_name) == ("sync-request-1", "B6JFK", "sync_equipment")
    assert [one.run_key for one in tick(world, instance)] == ["sync-request-1"], "a tick that was lost asks again, under its key"
    run = create_run_for_test(instance, job_name="sync_equipment", status=dg.DagsterRunStatus.STARTED, tags=dict(asked.tags))
    assert tick(world, instance) == []
    assert [row[2:] for row in query(world.url, REQUESTS)] == [("running", 1, run.run_id)] * 3
    send(world.url, "sync_requested", {"sync": "equipment", "plants": ["B6JFK"]})
    world.drain()
    assert [one.run_key for one in tick(world, instance)] == ["sync-request-4"], "what came after a run had begun needs another"
    instance.report_run_failed(run)
    tick(world, instance)
    assert [row[2] for row in query(world.url, REQUESTS)] == ["failed"] * 3 + ["requested"]


def test_a_pause_holds_what_events_have_asked_for_until_it_is_lifted(world: World, instance: dg.DagsterInstance) -> None:
    world.configure(starts_syncs=STARTS)
    add_machines(world.url)
    days = {"first_day": "2026-02-01", "last_day": "2026-02-03"}
    send(world.url, "sync_requested", {"sync": "running_times", "plants": ["B6JFK"], **days})
    world.drain()
    defs = build_defs(Settings.model_validate({"first_day": REACH.first_day}))
    resources = {"warehouse": Warehouse(database_url=world.url)}

    def sensor_tick() -> SensorExecutionData:
        repository = defs.get_repository_def()
        with dg.build_sensor_context(instance=instance, repository_def=repository, resources=resources) as context:
            return defs.resolve_sensor_def("requested_syncs_sensor").evaluate_tick(context)

    with world.database.engine.begin() as connection:
        sync_controls.pause(connection, actor="jane", reason="the source is being moved")
    held = sensor_tick()
    assert (held.run_requests or [], [row[2] for row in query(world.url, REQUESTS)]) == ([], ["waiting"])
    assert "paused by jane" in (held.skip_message or "")
    with world.database.engine.begin() as connection:
        sync_controls.resume(connection, actor="jane")
    assert [one.job_name for one in sensor_tick().run_requests or ()] == ["sync_running_times"]


def test_a_scope_that_no_partition_has_fails_its_request_and_no_other(world: World, instance: dg.DagsterInstance) -> None:
    world.configure(starts_syncs=STARTS)
    query(world.url, "INSERT INTO cmms.plants (plant_code, name) VALUES ('NEW', 'no partition yet'), ('UAEWR', 'United at EWR')")
    for payload in ({"sync": "equipment", "plants": ["NEW", "UAEWR"]}, {"sync": "running_times", "first_day": "2027-01-01"}):
        send(world.url, "sync_requested", payload)
    world.drain()
    assert [one.partition_key for one in tick(world, instance)] == ["UAEWR"]
    found = query(world.url, "SELECT status, error_message FROM cmms.sync_requests ORDER BY id")
    assert [row[0] for row in found] == ["failed", "requested", "failed"]
    assert "run sync_plants" in found[0][1]
    assert "2026-03-01" in found[2][1]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"sync": "everything"},
        {"sync": "equipment", "first_day": "2026-01-01"},
        {"sync": "running_times"},
        {"sync": "running_times", "first_day": "2026-02-02", "last_day": "2026-02-01"},
        {"sync": "running_times", "first_day": "2026-01-01", "last_day": "2026-02-01"},
        {"sync": "equipment", "plants": [""]},
        {"sync": "equipment", "plants": "B6JFK"},
    ],
)
def test_a_scope_that_cannot_be_meant_is_refused(payload: dict[str, object]) -> None:
    assert isinstance(requested_scopes(payload), str)


def test_runs_of_all_plants_and_of_days_carry_ranges_and_their_request() -> None:
    everything = run_request(7, SyncScope("equipment"), REACH)
    hours = run_request(8, SyncScope("running_times", ("B6JFK",), ("N1",), date(2026, 2, 1), date(2026, 2, 3)), REACH)
    assert isinstance(everything, dg.RunRequest)
    assert isinstance(hours, dg.RunRequest)
    assert set(everything.tags.values()) == {"7", "B6JFK", "UAEWR"}
    assert (hours.tags[SYNC_REQUEST], set(hours.tags.values())) == ("8", {"8", "2026-02-01", "2026-02-03"})
    assert hours.run_config["ops"]["cmms__equipment_running_times"]["config"] == {"plants": ["B6JFK"], "equipment": ["N1"]}
