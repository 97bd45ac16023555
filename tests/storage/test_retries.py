"""Events that fail for a passing reason are tried again as their source says, and nearly all of them are applied in the end."""

import uuid

import psycopg
import pytest

from cmms_pipelines.domain.retry_policy import RetryPolicy
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.configurations import WEBHOOK, write_configuration
from cmms_pipelines.storage.event_analytics import RetryFigures, retry_figures
from tests.conftest import Database
from tests.storage.inbox_world import SYSTEM, drain_now, inbox, query, work_order

FAILS_SOMETIMES = """
    CREATE FUNCTION cmms.fails_sometimes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF random() < 0.4 THEN RAISE EXCEPTION 'in the way' USING ERRCODE = 'lock_not_available'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fails_sometimes BEFORE INSERT OR UPDATE ON cmms.work_orders
        FOR EACH ROW EXECUTE FUNCTION cmms.fails_sometimes()
"""


def configure(database: Database, **retries: float) -> None:
    source = WebhookSource.model_validate({"retries": retries})
    with database.engine.begin() as connection:
        write_configuration(connection, SYSTEM, WEBHOOK, source.model_dump(mode="json"), actor="tests")


def test_writes_fail_at_random_and_every_good_event_is_applied_in_the_end(database: Database) -> None:
    configure(database, max_retries=50, first_wait_s=0.01, longest_wait_s=0.05)
    query(database.url, FAILS_SOMETIMES)
    for number in range(60):
        work_order(database.url, str(number), type="created", title="A", **({"status": "exploded"} if number % 20 == 0 else {}))
    drain_now(database.url, idle_s=0.2)
    with database.engine.connect() as connection:
        found = retry_figures(connection)
    assert (found.poison, found.exhausted, found.waiting, found.success) == (3, 0, 0, 1.0)
    assert found.recovered > 1
    assert query(database.url, "SELECT count(*) FROM cmms.work_orders") == [(57,)]


def test_retries_and_their_waits_are_those_of_the_source(database: Database) -> None:
    configure(database, max_retries=1, first_wait_s=30)
    work_order(database.url, type="created", title="A")
    drain_now(database.url)
    work_order(database.url, title="B", at=5)
    with psycopg.connect(database.url) as other:
        other.execute("SELECT FROM cmms.work_orders FOR UPDATE")
        assert drain_now(database.url).retried == 1
        waits = "SELECT extract(epoch FROM next_attempt_at - now())::float FROM cmms.maintenance_event_hooks WHERE sequence = 2"
        assert 10 < query(database.url, waits)[0][0] <= 30
        query(database.url, "UPDATE cmms.maintenance_event_hooks SET next_attempt_at = now()")
        assert drain_now(database.url).dead == 1
    assert (inbox(database.url)[1][1] or "").startswith("retries_exhausted: after 1 retries still: ")
    with database.engine.connect() as connection:
        assert retry_figures(connection) == RetryFigures(recovered=0, exhausted=1, waiting=0, poison=0)


def test_waits_double_up_to_the_longest_and_spread_by_the_event() -> None:
    policy = RetryPolicy(first_wait_s=2, longest_wait_s=60)
    events = [uuid.UUID(int=number) for number in range(50)]
    for retries, longest in ((0, 2), (1, 4), (4, 32), (5, 60), (99, 60)):
        waits = [policy.wait_s(retries, event) for event in events]
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len({round(wait, 3) for wait in waits}) > 25


def test_a_policy_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter than first_wait_s"):
        RetryPolicy(first_wait_s=10, longest_wait_s=5)
