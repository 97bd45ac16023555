"""Each accepted event takes effect once, in the order of its entity, whatever goes wrong around it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg
import sqlalchemy as sa

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.storage.drain import DrainReport, drain
from cmms_pipelines.storage.drain_turns import DrainState, drain_state
from cmms_pipelines.storage.inbox_claims import claim
from tests.conftest import Database
from tests.storage.inbox_world import NOON, add_machines, drain_now, inbox, order_row, query, send, work_order


def test_a_poison_event_does_not_stop_the_others_of_its_batch(database: Database) -> None:
    work_order(database.url, "1", type="created")
    work_order(database.url, "2", type="created", cost="a lot", status="exploded")
    work_order(database.url, "3", type="created", parts=["seal"] * 3, currency="EUR")
    send(database.url, "shift_handed_over", {"equipment_number": "N526JB"})
    work_order(database.url, "2", title="the order's next event")
    report = drain_now(database.url)
    assert (report.applied, report.dead, report.held) == (3, 1, 1)
    states = inbox(database.url)
    assert [state for state, _ in states] == ["processed", "dead_letter", "processed", "held", "processed"]
    assert states[1][1] is not None
    assert states[1][1].startswith("invalid_payload: ")
    assert "cost" in states[1][1]
    assert "a lot" not in states[1][1]
    assert (states[3][1] or "").startswith("no_handler: ")


def test_an_event_that_the_database_refuses_is_singled_out(database: Database) -> None:
    query(database.url, "ALTER TABLE cmms.work_orders ADD CONSTRAINT no_trap CHECK (title <> 'trap')")
    for number in range(20):
        work_order(database.url, str(number), type="created", title="trap" if number == 13 else "fine")
        work_order(database.url, str(number), description="second event", at=1)
    report = drain_now(database.url)
    dead = [error for state, error in inbox(database.url) if state == "dead_letter"]
    assert (report.applied, report.dead) == (39, 1)
    assert dead[0] is not None
    assert "no_trap" in dead[0]
    assert query(database.url, "SELECT count(*) FROM cmms.work_orders") == [(20,)]


def test_a_transient_failure_is_tried_again_later_and_the_entitys_other_events_wait_for_it(database: Database) -> None:
    for number in ("1", "2"):
        work_order(database.url, number, type="created", title="A")
    drain_now(database.url)
    work_order(database.url, "1", title="B", at=5)
    work_order(database.url, "1", title="C", at=6)
    work_order(database.url, "2", title="B", at=5)
    with psycopg.connect(database.url) as other:
        other.execute("SELECT FROM cmms.work_orders WHERE work_order_number = '1' FOR UPDATE")
        report = drain_now(database.url)
    assert (report.applied, report.retried) == (1, 1)
    states = query(
        database.url,
        "SELECT processing_status, retry_count, next_attempt_at > now() FROM cmms.maintenance_event_hooks ORDER BY sequence",
    )
    assert states[2:] == [("pending", 1, True), ("pending", 0, False), ("processed", 0, False)]
    assert drain_now(database.url).claimed == 0
    query(database.url, "UPDATE cmms.maintenance_event_hooks SET next_attempt_at = now()")
    assert drain_now(database.url).applied == 2
    assert order_row(database.url, "1")["title"] == "C"


def test_an_event_that_fails_too_often_becomes_a_dead_letter(database: Database) -> None:
    work_order(database.url, type="created", title="A")
    drain_now(database.url)
    work_order(database.url, title="B", at=5)
    query(database.url, "UPDATE cmms.maintenance_event_hooks SET retry_count = 8 WHERE processing_status = 'pending'")
    with psycopg.connect(database.url) as other:
        other.execute("SELECT FROM cmms.work_orders FOR UPDATE")
        assert drain_now(database.url).dead == 1
    assert (inbox(database.url)[1][1] or "").startswith("retries_exhausted: after 8 retries")


def test_an_event_about_an_unknown_machine_is_held_until_the_machine_exists(database: Database) -> None:
    add_machines(database.url, "N526JB")
    send(database.url, "asset_updated", {"equipment_number": "N999ZZ", "description": "from the CMMS"})
    work_order(database.url, type="created", equipment_number="N999ZZ")
    send(database.url, "meter_reading_recorded", {"equipment_number": "N999ZZ", "reading": 5})
    report = drain_now(database.url)
    assert (report.held, report.applied) == (3, 0)
    assert (inbox(database.url)[0][1] or "").startswith("equipment_unknown: waits until equipment 'N999ZZ' exists")
    assert drain_now(database.url).claimed == 0
    add_machines(database.url, "N999ZZ")
    report = drain_now(database.url)
    assert (report.released, report.applied) == (3, 3)
    assert query(database.url, "SELECT equipment_description FROM cmms.equipment WHERE equipment_number = 'N999ZZ'") == [
        ("from the CMMS",)
    ]


def test_two_drains_at_once_apply_each_event_once_and_in_order(database: Database) -> None:
    orders, updates = 12, 40
    with psycopg.connect(database.url) as connection:
        for step in range(updates):
            for number in range(orders):
                payload = {
                    "work_order_number": str(number),
                    "title": f"step {step}",
                    "notes": [{"at": f"{step:04}", "text": "n"}],
                }
                send(database.url, "work_order_updated", payload, at=NOON + timedelta(minutes=step), connection=connection)
    reports: list[DrainReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(drain_now(database.url, batch_size=7, is_beside=True, idle_s=0.3)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.applied for report in reports) == orders * updates
    assert sum(report.ignored for report in reports) == 0, "an event that came out of order would have been ignored as stale"
    orders_now = query(database.url, "SELECT DISTINCT title, jsonb_array_length(notes) FROM cmms.work_orders")
    assert orders_now == [("step 39", 40)]


def test_an_event_is_not_claimed_while_an_earlier_one_of_its_entity_is_being_applied(database: Database) -> None:
    work_order(database.url, title="first")
    work_order(database.url, title="second", at=1)
    work_order(database.url, "other", title="free")
    with psycopg.connect(database.url) as other:
        other.execute("SELECT FROM cmms.maintenance_event_hooks WHERE sequence = 1 FOR UPDATE")
        assert drain_now(database.url).applied == 1
        assert [state for state, _ in inbox(database.url)] == ["pending", "pending", "processed"]
    assert drain_now(database.url).applied == 2


def test_a_claim_reads_what_it_takes_and_not_everything_that_waits(database: Database) -> None:
    """After a burst the statistics know nothing of it: the plan must not depend on them."""
    work_order(database.url, "0", title="A")
    query(
        database.url,
        "INSERT INTO cmms.maintenance_event_hooks (cmms_system_id, event_type, event_payload, hmac_signature, raw_body, "
        "body_sha256, dedup_key, occurred_at, entity_key) SELECT cmms_system_id, event_type, event_payload, '', raw_body, "
        "body_sha256, 'copy:' || n, occurred_at, 'work_order:' || n / 4 FROM cmms.maintenance_event_hooks, "
        "generate_series(1, 8000) n",
    )
    read = sa.text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'maintenance_event_hooks'")
    with database.engine.begin() as connection:
        assert len(claim(connection, 100).events) == 100
        assert (connection.scalar(read) or 0) < 1_000


_KILLED = """
import sys
from cmms_pipelines.storage.drain import drain
drain(sys.argv[1], run_id="killed", idle_s=60, max_s=60, batch_size=50, progress=lambda report: print(report.claimed, flush=True))
"""


def test_events_of_a_killed_drain_stay_pending_and_the_next_applies_them_once(database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        for number in range(400):
            payload = {"work_order_number": str(number % 50), "title": f"t{number}"}
            send(database.url, "work_order_updated", payload, at=NOON + timedelta(seconds=number), connection=connection)
    # a lock in the way of the third batch keeps the drain inside its transaction until it is killed
    with (
        psycopg.connect(database.url) as blocker,
        subprocess.Popen([sys.executable, "-c", _KILLED, database.url], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        blocker.execute("LOCK TABLE cmms.maintenance_event_hooks IN EXCLUSIVE MODE")
        os.kill(process.pid, signal.SIGKILL)
    done = query(database.url, "SELECT count(*) FROM cmms.maintenance_event_hooks WHERE processing_status = 'processed'")[0][0]
    assert 0 < done < 400
    report = drain_now(database.url, idle_s=1.0)
    assert report.applied == 400 - done
    assert query(database.url, "SELECT count(*) FROM cmms.work_orders") == [(50,)]
    titles = {row[0] for row in query(database.url, "SELECT title FROM cmms.work_orders")}
    assert titles == {f"t{number}" for number in range(350, 400)}


def test_a_lost_database_connection_is_a_transient_error_and_loses_nothing(database: Database) -> None:
    work_order(database.url, title="A")
    errors: list[Exception] = []

    def run() -> None:
        try:
            drain(database.url, idle_s=30, max_s=30)
        except TransientError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with psycopg.connect(database.url, autocommit=True) as connection:
        _until(lambda: inbox(database.url)[0][0] == "processed")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    thread.join()
    assert len(errors) == 1
    work_order(database.url, "2", title="B")
    assert drain_now(database.url).applied == 1


def test_a_waiting_drain_applies_a_new_event_within_a_moment(database: Database) -> None:
    reports: list[DrainReport] = []
    thread = threading.Thread(target=lambda: reports.append(drain(database.url, idle_s=1.2, max_s=20)))
    thread.start()
    _until(lambda: _state(database) is DrainState.WORKING)
    for number in range(5):
        time.sleep(0.15)
        work_order(database.url, str(number), title="A")
    thread.join()
    assert reports[0].applied == 5
    assert (reports[0].percentile_ms(1.0) or 1e9) < 500
    assert reports[0].ended_because == "nothing came"


def test_a_second_drain_ends_at_once_while_the_first_is_at_work(database: Database) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=lambda: drain(database.url, idle_s=30, max_s=30, should_stop=stop.is_set))
    thread.start()
    _until(lambda: _state(database) is DrainState.WORKING)
    assert drain_now(database.url).ended_because == "another drain is at work"
    stop.set()
    thread.join()
    assert _state(database) is DrainState.ABSENT


def test_a_drain_at_the_end_of_its_life_works_until_the_next_one_has_taken_over(database: Database) -> None:
    first: list[DrainReport] = []
    second: list[DrainReport] = []
    old = threading.Thread(target=lambda: first.append(drain(database.url, idle_s=30, max_s=0.2, grace_s=20)))
    old.start()
    _until(lambda: _state(database) is DrainState.LEAVING)
    work_order(database.url, "1", title="A")
    _until(lambda: inbox(database.url)[0][0] == "processed")
    new = threading.Thread(target=lambda: second.append(drain(database.url, idle_s=4.0, max_s=20)))
    new.start()
    old.join()
    _until(lambda: _state(database) is DrainState.WORKING)
    work_order(database.url, "2", title="B")
    new.join()
    assert (first[0].applied, second[0].applied) == (1, 1)
    assert first[0].ended_because == "its time was over"
    assert _state(database) is DrainState.ABSENT


def test_a_drain_that_nobody_follows_ends_after_its_grace(database: Database) -> None:
    started = time.monotonic()
    report = drain(database.url, idle_s=30, max_s=0.2, grace_s=0.5)
    assert report.ended_because == "its time was over"
    assert 0.6 < time.monotonic() - started < 4


def test_a_limit_is_kept(database: Database) -> None:
    for number in range(10):
        work_order(database.url, str(number), title="A")
    assert drain_now(database.url, limit=4).applied == 4
    assert [state for state, _ in inbox(database.url)].count("pending") == 6


def _state(database: Database) -> DrainState:
    with psycopg.connect(database.url, autocommit=True) as connection:
        return drain_state(connection)


def _until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
