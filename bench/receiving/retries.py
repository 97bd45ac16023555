"""How many events that fail for a passing reason are applied in the end, with failures put in their way by the database itself.

A trigger on `cmms.work_orders` raises `lock_not_available`, as a lock in the way does, for one order in five, another fifth each
second: halving a batch finds the same orders in the way. The code that applies events is the one that runs every day. Some of
the events nobody can apply (poison); they are counted apart.

Figures: `retry_success`, the share of events that failed at least once and were applied in the end; `retried_events`, `retries`;
`retries_exhausted`; `poison_events`; `retried_first_share`, the share of all good events that failed at least once.
"""

import datetime as dt
import hashlib
import time
from collections.abc import Callable

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.events import CanonicalEvent, entity_key
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.configurations import WEBHOOK, write_configuration
from cmms_pipelines.storage.drain import drain
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.event_analytics import retry_figures
from cmms_pipelines.storage.inbox import ReceivedHook, accept

SYSTEM = "bench-retries"
EVENTS, QUICK_EVENTS = 2_000, 300
POISON_SHARE = 0.02
FAILING = 0.2
RETRIES = {"max_retries": 8, "first_wait_s": 0.2, "longest_wait_s": 5.0}
_TRIGGER = """
    CREATE OR REPLACE FUNCTION cmms.bench_fails_sometimes() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        IF NEW.cmms_system_id = '{system}' AND mod(
            abs(hashtext(NEW.work_order_number || floor(extract(epoch FROM clock_timestamp()))::text)::bigint), 1000
        ) < 1000 * {share} THEN
            RAISE EXCEPTION 'a lock of the benchmark is in the way' USING ERRCODE = 'lock_not_available';
        END IF;
        RETURN NEW;
    END $body$;
    CREATE OR REPLACE TRIGGER bench_fails_sometimes BEFORE INSERT OR UPDATE ON cmms.work_orders
        FOR EACH ROW EXECUTE FUNCTION cmms.bench_fails_sometimes()
"""
_NO_TRIGGER = "DROP FUNCTION IF EXISTS cmms.bench_fails_sometimes() CASCADE"


def measure(
    address: str, *, is_quick: bool, say: Callable[[str], None], events: int | None = None, timeout_s: float = 240.0
) -> dict[str, float | int]:
    """Put events into the inbox of a migrated database, drain it in the way of the trigger, and return the figures.

    Args:
        address: libpq URL of the database; nothing else may drain its inbox.
        events: how many, in place of the number that `is_quick` says.
    """
    count = events or (QUICK_EVENTS if is_quick else EVENTS)
    engine = make_engine(address)
    source = WebhookSource.model_validate({"retries": RETRIES})
    try:
        with engine.begin() as connection:
            write_configuration(connection, SYSTEM, WEBHOOK, source.model_dump(mode="json"), actor="bench")
            accept(connection, [_hook(number, is_poison=number % round(1 / POISON_SHARE) == 0) for number in range(count)])
            connection.exec_driver_sql(_TRIGGER.format(system=SYSTEM, share=FAILING))
        say(f"{count} events, {FAILING:.0%} of the orders in the way, {POISON_SHARE:.0%} of the events can never be applied")
        deadline = time.monotonic() + timeout_s
        while _pending(engine) and time.monotonic() < deadline:
            drain(address, idle_s=1.0, max_s=timeout_s, is_beside=True)
        with engine.connect() as connection:
            found = retry_figures(connection, system=SYSTEM)
            retries = connection.scalar(sa.text(_RETRIES), {"system": SYSTEM})
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(_NO_TRIGGER)
        engine.dispose()
    if found.waiting or found.success is None:
        raise SystemExit(f"retries: {found.waiting} events were not decided after {timeout_s} s")
    retried = found.recovered + found.exhausted
    return {
        "retry_success": round(found.success, 5),
        "retried_events": retried,
        "retried_first_share": round(retried / (count - found.poison), 4),
        "retries": int(retries or 0),
        "retries_exhausted": found.exhausted,
        "poison_events": found.poison,
    }


_RETRIES = "SELECT sum(retries_total) FROM cmms.maintenance_event_hooks WHERE cmms_system_id = :system"
_PENDING = """
    SELECT count(*) FROM cmms.maintenance_event_hooks WHERE cmms_system_id = :system AND processing_status = 'pending'
"""


def _pending(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.text(_PENDING), {"system": SYSTEM}) or 0)


def _hook(number: int, *, is_poison: bool) -> ReceivedHook:
    now = dt.datetime.now(dt.UTC)
    payload = {
        "work_order_number": f"{SYSTEM}-{number}",
        "title": "Replace filter",
        "status": "no such status" if is_poison else "open",
    }
    event = CanonicalEvent("work_order_created", now, payload, SYSTEM, f"{SYSTEM}-{number}")
    body = {"event_type": event.event_type, "timestamp": now.isoformat(), "event_id": event.event_id, "payload": payload}
    raw = orjson.dumps(body)
    return ReceivedHook(
        cmms_system_id=SYSTEM,
        event_type=event.event_type,
        payload=payload,
        occurred_at=now,
        entity_key=entity_key(event),
        dedup_key=f"id:{event.event_id}",
        raw_body=raw,
        body_sha256=hashlib.sha256(raw).digest(),
    )
