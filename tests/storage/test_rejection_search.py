"""The quarantine as operators look at it: what a filter picks, what an export holds, and what a discard leaves behind."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage import rejections
from cmms_pipelines.storage.rejection_search import EXPORTED, RejectionFilter, count, discard, export_csv, find, show
from cmms_pipelines.storage.sync_log import insert_log
from cmms_pipelines.storage.tables import audit_log, sync_rejections
from tests.conftest import Database
from tests.storage.test_rejections import also, kept, refusal, store

RAW = {"RECDV": "85", "EXTRA": 'a "quoted", line\nand another', "MDTXT": "MÆRSK"}


@pytest.fixture
def world(database: Database) -> Database:
    """Three refused readings, one of which failed two rules, and one refused master."""
    store(
        database,
        refusal("plant_unknown", key="a", plant_code="XX", other_failures=[also("point_too_long")]),
        refusal("running_hours_exceed_day", key="b", date=pd.Timestamp("2013-10-29"), payload=RAW),
        refusal("equipment_unknown", key="c", equipment_number="N1", severity="critical"),
    )
    store(database, refusal("plant_unknown", key="m", date=pd.NaT), sync_type="equipment")
    return database


def picked(database: Database, wanted: RejectionFilter) -> set[str]:
    with database.engine.connect() as connection:
        rows = find(connection, wanted)
        assert count(connection, wanted) == len(rows)
    return {row["record_key"] for row in rows}


def ids(database: Database, *keys: str) -> tuple[int, ...]:
    return tuple(row["id"] for row in kept(database) if row["record_key"] in keys)


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({}, "abcm"),
        ({"status": None}, "abcm"),
        ({"status": "discarded"}, ""),
        ({"sync_types": ("running_times",)}, "abc"),
        ({"rules": ("plant_unknown",)}, "am"),
        ({"rules": ("point_too_long", "equipment_unknown")}, "ac"),
        ({"severities": ("critical",)}, "c"),
        ({"plant_codes": ("XX",)}, "a"),
        ({"equipment_numbers": ("N1",)}, "c"),
        ({"first_day": date(2013, 10, 29)}, "b"),
        ({"last_day": date(2013, 10, 28)}, "ac"),
        ({"rules": ("plant_unknown",), "sync_types": ("equipment",)}, "m"),
        ({"seen_since": datetime.now(UTC) + timedelta(hours=1)}, ""),
        ({"seen_until": datetime.now(UTC) + timedelta(hours=1), "first_seen_since": datetime(2013, 1, 1, tzinfo=UTC)}, "abcm"),
        ({"first_seen_until": datetime(2013, 1, 1, tzinfo=UTC)}, ""),
    ],
)
def test_a_filter_picks_records_by_all_that_it_names(world: Database, wanted: dict[str, Any], keys: str) -> None:
    assert picked(world, RejectionFilter(**wanted)) == set(keys)


def test_an_id_names_a_record_and_the_newest_is_shown_first(world: Database) -> None:
    (of_a,) = ids(world, "a")
    assert picked(world, RejectionFilter(ids=(of_a,))) == {"a"}
    store(world, refusal("running_hours_exceed_day", key="b", date=pd.Timestamp("2013-10-29"), payload=RAW))
    with world.engine.connect() as connection:
        assert find(connection, RejectionFilter(), limit=1)[0]["record_key"] == "b"
        record = show(connection, of_a)
        assert (record["id"], record["rule"], record["other_failures"]) == (of_a, "plant_unknown", [also("point_too_long")])
        with pytest.raises(PermanentError, match="There is no rejection 999"):
            show(connection, 999)


def test_an_export_has_every_record_with_its_raw_form_and_can_be_read_back(world: Database) -> None:
    file = io.StringIO()
    with world.engine.connect() as connection:
        assert export_csv(connection, RejectionFilter(), file) == 4
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert tuple(rows[0]) == EXPORTED
    by_key = {row["record_key"]: row for row in rows}
    assert set(by_key) == set("abcm")
    assert json.loads(by_key["b"]["payload"]) == RAW
    assert "MÆRSK" in by_key["b"]["payload"]
    assert (by_key["b"]["date"], by_key["m"]["date"], by_key["b"]["times_seen"]) == ("2013-10-29", "", "1")
    assert (json.loads(by_key["a"]["other_failures"]), by_key["b"]["other_failures"]) == ([also("point_too_long")], "")


def discard_it(database: Database, wanted: RejectionFilter, reason: str = "a test machine") -> list[int]:
    with database.engine.begin() as connection:
        return discard(connection, wanted, actor="jane", reason=reason)


def test_a_discard_closes_its_records_with_who_and_why(world: Database) -> None:
    closed = discard_it(world, RejectionFilter(rules=("point_too_long",)))
    assert closed == list(ids(world, "a"))
    rows = {row["record_key"]: row for row in kept(world)}
    row = rows["a"]
    assert (row["status"], row["resolved_by"], row["resolution_reason"]) == ("discarded", "jane", "a test machine")
    assert {key for key, row in rows.items() if row["status"] == "open"} == {"b", "c", "m"}
    with world.engine.connect() as connection:
        trail = connection.execute(sa.select(audit_log)).one()
    assert (trail.actor, trail.action, trail.reason) == ("jane", "rejections_discarded", "a test machine")
    assert trail.after == {"filter": {"rules": ["point_too_long"]}, "ids": closed, "records": 1}


@pytest.mark.parametrize(
    ("wanted", "reason", "message"),
    [
        (RejectionFilter(), "all of it", "Say which open records"),
        (RejectionFilter(status=None, rules=("plant_unknown",)), "those", "Say which open records"),
        (RejectionFilter(rules=("plant_unknown",)), "  ", "Say why"),
    ],
)
def test_a_discard_needs_a_reason_and_never_takes_everything(
    world: Database, wanted: RejectionFilter, reason: str, message: str
) -> None:
    with pytest.raises(PermanentError, match=message):
        discard_it(world, wanted, reason)
    assert {row["status"] for row in kept(world)} == {"open"}


def test_a_discarded_record_that_comes_again_as_it_was_stays_discarded_and_one_that_changed_does_not(world: Database) -> None:
    discard_it(world, RejectionFilter(ids=ids(world, "b")))
    store(world, refusal("running_hours_exceed_day", key="b", payload=RAW))
    rows = [row for row in kept(world) if row["record_key"] == "b"]
    assert [(row["status"], row["times_seen"]) for row in rows] == [("discarded", 2)]
    assert rows[0]["last_seen_at"] > rows[0]["first_seen_at"]
    store(world, refusal("running_hours_exceed_day", key="b", payload={**RAW, "RECDV": "86"}))
    rows = [row for row in kept(world) if row["record_key"] == "b"]
    assert [(row["status"], row["times_seen"]) for row in rows] == [("discarded", 2), ("open", 1)]


def test_a_discarded_record_that_changed_and_is_again_as_it_was_waits_for_nobody(world: Database) -> None:
    discard_it(world, RejectionFilter(ids=ids(world, "b")))
    store(world, refusal("point_too_long", key="b", payload={**RAW, "RECDV": "86"}))
    store(world, refusal("running_hours_exceed_day", key="b", payload=RAW))
    rows = [row for row in kept(world) if row["record_key"] == "b"]
    assert [(row["rule"], row["status"], row["times_seen"]) for row in rows] == [
        ("running_hours_exceed_day", "discarded", 2),
        ("point_too_long", "replayed", 1),
    ]
    assert rows[1]["resolution_reason"] == "the record came again as it was when it was discarded"
    store(world, refusal("point_too_long", key="b", payload={**RAW, "RECDV": "86"}))
    assert [row["status"] for row in kept(world) if row["record_key"] == "b"] == ["discarded", "replayed", "open"]


def test_a_replay_that_refuses_a_record_again_is_no_further_time_that_it_came(database: Database) -> None:
    with database.engine.begin() as connection:
        nightly = insert_log(connection, "running_times", {}, "nightly", None)
        replay = insert_log(connection, "running_times", {"replay": "all"}, "replay", None)
    for log, value in ((nightly, "85"), (nightly, "85"), (replay, "85 again")):
        with database.engine.begin() as connection:
            frame = pd.DataFrame([refusal("running_hours_exceed_day", value=value)])
            rejections.store(connection, "running_times", log.id, frame)
    with database.engine.connect() as connection:
        row = connection.execute(sa.select(sync_rejections)).one()
    assert (row.times_seen, row.sync_log_id, row.value) == (2, nightly.id, "85 again")
