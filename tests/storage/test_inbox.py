"""The receiving side of the inbox: each event once, nothing lost, and whoever listens is woken."""

import dataclasses
import datetime as dt
import hashlib
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.storage.inbox import CHANNEL, Accepted, ReceivedHook, accept, inbox_counts
from cmms_pipelines.storage.tables import maintenance_event_hooks as hooks_table
from tests.conftest import Database


def hook(key: str = "id:1", body: bytes = b"{}", system: str = "plant-cmms", **changes: object) -> ReceivedHook:
    base = ReceivedHook(
        cmms_system_id=system,
        event_type="work_order_updated",
        payload={"big": 2**62, "text": "MÆRSK 😀"},
        occurred_at=dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        entity_key="work_order:4711",
        dedup_key=key,
        raw_body=body,
        body_sha256=hashlib.sha256(body).digest(),
        signature="abc",
        headers={"content-type": "application/json"},
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def store(database: Database, *hooks: ReceivedHook) -> list[Accepted]:
    with database.engine.begin() as connection:
        return accept(connection, hooks)


def outcomes(results: list[Accepted]) -> list[str]:
    return [result.outcome.value for result in results]


def rows(database: Database) -> list[sa.RowMapping]:
    with database.engine.connect() as connection:
        return list(connection.execute(sa.select(hooks_table).order_by(hooks_table.c.sequence)).mappings())


def test_a_group_is_stored_whole_and_in_order_of_arrival(database: Database) -> None:
    results = store(database, *[hook(f"id:{number}", b"%d" % number) for number in range(50)])
    stored = rows(database)
    assert outcomes(results) == ["accepted"] * 50
    assert [row["id"] for row in stored] == [result.id for result in results]
    assert [row["raw_body"] for row in stored] == [b"%d" % number for number in range(50)]
    first = stored[0]
    assert first["event_payload"] == {"big": 2**62, "text": "MÆRSK 😀"}
    assert first["processing_status"] == "pending"
    assert (first["hmac_signature"], first["headers"]) == ("abc", {"content-type": "application/json"})


def test_a_known_event_is_a_duplicate_with_the_id_of_the_first(database: Database) -> None:
    (first,) = store(database, hook())
    again = store(database, hook(), hook("id:2", b"2"), hook())
    assert outcomes(again) == ["duplicate", "accepted", "duplicate"]
    assert again[0].id == again[2].id == first.id
    assert len(rows(database)) == 2


def test_the_same_event_twice_in_one_group_is_stored_once(database: Database) -> None:
    results = store(database, hook(), hook(), hook())
    assert outcomes(results) == ["accepted", "duplicate", "duplicate"]
    assert len({result.id for result in results}) == 1


def test_the_same_key_with_another_body_is_kept_and_quarantined(database: Database) -> None:
    results = store(database, hook(body=b"one"), hook(body=b"two"), hook(body=b"two"), hook(body=b"three"))
    assert outcomes(results) == ["accepted", "quarantined", "quarantined", "quarantined"]
    again = store(database, hook(body=b"two"), hook(body=b"one"))
    assert outcomes(again) == ["quarantined", "duplicate"]
    assert again[0].id == results[1].id == results[2].id
    stored = rows(database)
    assert sorted(row["raw_body"] for row in stored) == [b"one", b"three", b"two"]
    aside = [row for row in stored if row["processing_status"] == "quarantined"]
    assert len(aside) == 2
    assert all(row["processed_at"] and row["dedup_key"].startswith("id:1:") for row in aside)


def test_keys_of_different_systems_do_not_meet(database: Database) -> None:
    assert outcomes(store(database, hook(), hook(system="other"))) == ["accepted", "accepted"]


def test_the_longest_key_fits_in_quarantine_too(database: Database) -> None:
    key = "id:" + "x" * 200
    assert outcomes(store(database, hook(key), hook(key, b"other"))) == ["accepted", "quarantined"]


def test_a_long_signature_is_cut_to_its_column(database: Database) -> None:
    store(database, hook(signature="s" * 1000))
    assert len(rows(database)[0]["hmac_signature"]) == 255


def test_many_writers_of_one_event_store_one_row(database: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = [results[0] for results in threads.map(lambda _: store(database, hook()), range(40))]
    assert outcomes(results).count("accepted") == 1
    assert len({result.id for result in results}) == 1
    assert len(rows(database)) == 1


def test_listeners_hear_of_new_events_at_the_commit_and_not_of_duplicates(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        with database.engine.begin() as connection:
            accept(connection, [hook(), hook("id:2")])
            assert list(listener.notifies(timeout=0.1)) == []
        assert len(list(listener.notifies(timeout=2, stop_after=1))) == 1
        store(database, hook())
        assert list(listener.notifies(timeout=0.2)) == []


def test_nothing_is_stored_when_the_transaction_fails(database: Database) -> None:
    def fail() -> None:
        with database.engine.begin() as connection:
            accept(connection, [hook()])
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert rows(database) == []


def test_counts_name_every_status(database: Database) -> None:
    assert inbox_counts(database.engine) == dict.fromkeys((status.value for status in HookStatus), 0)
    store(database, hook(), hook(body=b"other"), hook("id:2", first_status=HookStatus.HELD))
    counts = inbox_counts(database.engine)
    assert (counts["pending"], counts["held"], counts["quarantined"]) == (1, 1, 1)


def test_an_empty_group_is_nothing(database: Database) -> None:
    assert store(database) == []
