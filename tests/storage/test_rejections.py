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
        "severity": "error",
        "column_name": "running_hours",
        "value": "85",
        "message": "More hours than the day has.",
        "other_failures": None,
        "payload": {"RECDV": "85", "EXTRA": 'kept\0 "whole" ', "n": 1.10},
        "plant_code": "B6LG",
        "equipment_number": "N526JB",
        "date": pd.Timestamp("2013-10-28"),
    }
    return {**row, **changes}


def also(rule: str) -> dict[str, Any]:
    """What else a refused record failed."""
    return {"rule": rule, "severity": "error", "column_name": "point", "value": "1", "message": "Too long."}


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


def test_a_record_that_fails_several_rules_and_other_ones_another_night_is_one_row_all_the_time(database: Database) -> None:
    store(database, refusal("plant_unknown", other_failures=[also("point_too_long"), also("object_number_too_long")]))
    (first,) = kept(database)
    assert first["other_failures"] == [also("point_too_long"), also("object_number_too_long")]
    store(database, refusal("point_too_long", column_name="point", other_failures=[also("running_hours_exceed_day")]))
    (row,) = kept(database)
    assert (row["id"], row["rule"], row["column_name"], row["status"]) == (first["id"], "point_too_long", "point", "open")
    assert (row["other_failures"], row["times_seen"]) == ([also("running_hours_exceed_day")], 2)
    assert row["first_seen_at"] == first["first_seen_at"] < row["last_seen_at"]
    store(database, refusal("point_too_long"))
    assert kept(database)[0]["other_failures"] is None


def test_a_record_that_is_accepted_later_closes_its_refusals_and_no_others(database: Database) -> None:
    store(database, refusal("plant_unknown", other_failures=[also("point_too_long")]), refusal("plant_unknown", key="other"))
    store(database, refusal("plant_unknown"), sync_type="equipment")
    with database.engine.begin() as connection:
        closed = rejections.close_accepted(connection, "running_times", [KEY, "never seen"], actor="sync", reason="accepted")
    assert closed == 1
    rows = kept(database)
    assert [row["status"] for row in rows] == ["replayed", "open", "open"]
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
