"""The demo: real data through real services, every figure checked, and nothing written twice."""

import subprocess
import sys

import httpx

from tests.demo.conftest import TwoStarts

SYNCS = ("plants", "equipment", "running_times")


def test_every_figure_is_right_at_both_starts(demo: TwoStarts) -> None:
    assert demo.first["problems"] == []
    assert demo.second["problems"] == []
    assert demo.first["is_right"]
    assert demo.second["is_right"]


def test_every_record_of_the_source_is_stored_or_refused_by_a_rule(demo: TwoStarts) -> None:
    syncs = {sync["sync_type"]: sync for sync in demo.first["syncs"]}
    assert tuple(syncs) == SYNCS
    for sync in syncs.values():
        assert sync["in_source"] == sync["received"] == sync["stored"] + sync["refused"] > 0
        assert sync["refused"] == sum(sync["refused_by_rule"].values())
    assert syncs["plants"]["received"] == 35
    assert syncs["equipment"]["received"] == 3322
    assert syncs["equipment"]["refused"] == 6, "six machines of the register belong to no plant"
    assert syncs["running_times"]["refused"] > 0, "machines without a master have readings on any day"


def test_events_are_applied_by_runs_that_the_sensor_started(demo: TwoStarts) -> None:
    events = demo.first["events"]
    assert events["sent"] == events["accepted"] == 300
    assert events["applied"] + events["ignored"] + events["held"] == 300
    assert events["applied"] >= 280
    assert events["held"] == events["waiting_expected"] > 0
    assert events["runs"]
    assert events["unsigned_refused"]
    assert demo.first["tables"]["work_orders"] == 100


def test_orders_that_both_sides_change_are_conflicts_of_which_a_rule_and_a_person_decide_one_each(demo: TwoStarts) -> None:
    for start, edited in ((demo.first, 3), (demo.second, 0)):
        conflicts = start["conflicts"]
        assert (conflicts["contested"], conflicts["edited"], conflicts["stale_refused"]) == (3, edited, True)
        assert (conflicts["waiting"], conflicts["decided_by_rule"], conflicts["decided_by_hand"]) == (1, 1, 1)
        assert conflicts["open_in_queue"] == 1
    assert demo.second["contradictions"]["duplicate"] == demo.second["contradictions"]["sent"] == 3
    assert demo.first["marts"]["conflict_resolution"] > 0


def test_the_marts_are_built_on_what_was_synced(demo: TwoStarts) -> None:
    assert demo.first["marts"]["equipment_status"] == demo.first["tables"]["equipment"] == 3316
    assert demo.first["marts"]["sync_performance"] >= len(SYNCS)
    machines, *told = demo.first["maintenance"].values()
    assert (machines > 1000, sum(told)) == (True, machines)
    assert demo.first["maintenance"].keys() >= {"overdue", "due", "due_soon", "ok"}


def test_a_second_start_writes_no_row_twice(demo: TwoStarts) -> None:
    assert [(sync["inserted"], sync["updated"]) for sync in demo.second["syncs"]] == [(0, 0)] * len(SYNCS)
    assert demo.second["events"]["duplicate"] == demo.second["events"]["sent"] == 300
    growing = {"api_sync_logs"}
    for table, rows in demo.first["tables"].items():
        assert demo.second["tables"][table] == rows or table in growing, table


def test_the_addresses_of_the_summary_answer(demo: TwoStarts) -> None:
    addresses = demo.second["addresses"]
    assert httpx.get(f"{addresses['dagster']}/server_info").is_success
    assert httpx.get(addresses["webhook"]).is_success
    assert httpx.get(f"{addresses['emulator']}/health").is_success


def test_a_second_set_of_services_on_the_same_home_is_refused_in_one_sentence(demo: TwoStarts) -> None:
    command = [sys.executable, "-m", "cmms_pipelines.cli", "up"]
    refused = subprocess.run(command, env=demo.environment, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"cmms: The services of {demo.home} run already")
    assert len(refused.stderr.splitlines()) == 1
