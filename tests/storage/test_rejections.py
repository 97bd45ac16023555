"""The quarantine: a refusal is kept once however often it comes, and closed by the record that comes right."""

from datetime import date
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.storage import rejections
from cmms_pipelines.storage.tables import sync_rejections
from tests.conftest import Database

KEY = "N526JB|2013-10-28|B6LG"


def refusal(rule: str, key: str = KEY, **changes: object) -> dict[str, Any]:
    row = {
        "record_key": key,
        "rule": rule,
        "is_primary": True,
        "severity": "error",
        "column_name": "running_hours",
        "value": "85",
        "message": "More hours than the day has.",
        "payload": {"RECDV": "85", "EXTRA": 'kept\0 "whole" ', "n": 1.10},
        "plant_code": "B6LG",
        "equipment_number": "N526JB",
        "date": pd.Timestamp("2013-10-28"),
    }
    return {**row, **changes}


def store(database: Database, *refusals: dict[str, Any], sync_type: str = "running_times") -> None:
    with database.engine.begin() as connection:
        rejections.store(connection, sync_type, None, pd.DataFrame(refusals))


def kept(database: Database) -> list[dict[str, Any]]:
    with database.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(sync_rejections).order_by(sync_rejections.c.id)).mappings()]


def test_a_refused_record_is_kept_whole(database: Database) -> None:
    store(database, refusal("running_hours_exceed_day"))
    (row,) = kept(database)
    assert row["payload"] == {"RECDV": "85", "EXTRA": 'kept\0 "whole" ', "n": 1.10}
    assert (row["status"], row["times_seen"], row["value"], row["date"].isoformat()) == ("open", 1, "85", "2013-10-28")


def test_a_refusal_seen_again_is_one_row_that_counts(database: Database) -> None:
    store(database, refusal("running_hours_exceed_day"))
    first = kept(database)[0]
    store(database, refusal("running_hours_exceed_day", value="70", payload={"RECDV": "70"}))
    (row,) = kept(database)
    assert (row["times_seen"], row["value"], row["payload"]) == (2, "70", {"RECDV": "70"})
    assert row["first_seen_at"] == first["first_seen_at"] < row["last_seen_at"]


def test_a_record_that_fails_another_rule_now_leaves_the_old_one(database: Database) -> None:
    store(database, refusal("plant_unknown"), refusal("point_too_long", is_primary=False))
    store(database, refusal("point_too_long"), refusal("running_hours_exceed_day", is_primary=False))
    assert [(row["rule"], row["status"], row["is_primary"]) for row in kept(database)] == [
        ("plant_unknown", "replayed", True),
        ("point_too_long", "open", True),
        ("running_hours_exceed_day", "open", False),
    ]


def test_a_record_that_is_accepted_later_closes_its_refusals_and_no_others(database: Database) -> None:
    store(database, refusal("plant_unknown"), refusal("point_too_long", is_primary=False), refusal("plant_unknown", key="other"))
    store(database, refusal("plant_unknown"), sync_type="equipment")
    with database.engine.begin() as connection:
        closed = rejections.close_accepted(connection, "running_times", [KEY, "never seen"], actor="sync", reason="accepted")
    assert closed == 2
    rows = kept(database)
    assert [row["status"] for row in rows] == ["replayed", "replayed", "open", "open"]
    assert (rows[0]["resolved_by"], rows[0]["resolution_reason"]) == ("sync", "accepted")
    assert rows[0]["resolved_at"] is not None


def test_a_refusal_that_comes_back_after_it_was_closed_is_a_new_one(database: Database) -> None:
    store(database, refusal("plant_unknown"))
    with database.engine.begin() as connection:
        rejections.close_accepted(connection, "running_times", [KEY], actor="sync", reason="accepted")
    store(database, refusal("plant_unknown"))
    assert [(row["status"], row["times_seen"]) for row in kept(database)] == [("replayed", 1), ("open", 1)]


@pytest.mark.parametrize("keys", [[], [KEY]])
def test_with_nothing_open_there_is_nothing_to_close(database: Database, keys: list[str]) -> None:
    with database.engine.begin() as connection:
        assert rejections.close_accepted(connection, "running_times", keys, actor="sync", reason="accepted") == 0


def test_what_waits_is_asked_for_by_day_and_a_day_that_nobody_can_read_may_be_any(database: Database) -> None:
    def is_any_open(sync_type: str, day: date | None = None) -> bool:
        with database.engine.connect() as connection:
            return rejections.is_any_open(connection, sync_type, day)

    refused, other = date(2013, 10, 28), date(2013, 10, 29)
    assert not is_any_open("running_times")
    store(database, refusal("running_hours_exceed_day"))
    assert is_any_open("running_times")
    assert not is_any_open("equipment")
    assert (is_any_open("running_times", refused), is_any_open("running_times", other)) == (True, False)
    store(database, refusal("date_invalid", key="N526JB|someday|B6LG", date=pd.NaT))
    assert is_any_open("running_times", other)
