"""What the page of each model shows after a real build: rows, figures, and pictures."""

import base64
import io

import dagster as dg
import pytest
import sqlalchemy as sa
from PIL import Image

from cmms_pipelines.defs.metadata import LARGEST_PICTURE, LONGEST_CELL, picture_markdown
from cmms_pipelines.defs.reporting.mart_metadata import with_figures
from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.reports.pictures import PICTURES
from cmms_pipelines.reports.previews import ALL_PLANTS, PREVIEWED, VIEWS, preview_of
from tests.reporting.conftest import MARTS, Built

DRAWN = {name.removeprefix("analytics.") for name in PICTURES if name.startswith("analytics.")}


@pytest.fixture(scope="module")
def pages(built: Built) -> dict[str, dict[str, dg.MetadataValue]]:
    return {
        event.materialization.asset_key.path[-1]: dict(event.materialization.metadata)
        for event in built.result.get_asset_materialization_events()
    }


def test_every_model_shows_its_first_rows_and_how_many_there_are(
    built: Built, pages: dict[str, dict[str, dg.MetadataValue]]
) -> None:
    assert len(pages) > len(MARTS)
    with built.database.engine.connect() as connection:
        for name, page in pages.items():
            rows = connection.execute(sa.select(sa.func.count()).select_from(sa.table(name, schema="analytics"))).scalar_one()
            assert page["dagster/row_count"].value == rows, name
            preview = page["preview"]
            assert isinstance(preview, dg.TableMetadataValue)
            assert len(preview.records) == min(rows, PREVIEWED), name
            for record in preview.records:
                assert all(len(cell) <= LONGEST_CELL for cell in record.data.values() if isinstance(cell, str)), name


def test_what_needs_somebody_comes_first(built: Built, pages: dict[str, dict[str, dg.MetadataValue]]) -> None:
    def shown(mart: str, column: str) -> list[object]:
        preview = pages[mart]["preview"]
        assert isinstance(preview, dg.TableMetadataValue)
        return [record.data[column] for record in preview.records]

    longest = sorted((row["days_missing"] for row in built.marts["gap_analysis"]), reverse=True)
    assert shown("gap_analysis", "days_missing") == longest[:PREVIEWED]
    most_open = sorted((row["refusals_open"] for row in built.marts["error_analysis"]), reverse=True)
    assert shown("error_analysis", "refusals_open") == most_open[:PREVIEWED]
    newest = sorted((str(row["sync_started_at"]) for row in built.marts["sync_performance"]), reverse=True)
    assert shown("sync_performance", "sync_started_at") == newest[:PREVIEWED]
    latest = [row["days_late"] for row in built.marts["data_freshness"] if row["is_active"]]
    assert shown("data_freshness", "days_late")[0] == (None if None in latest else max(latest))


def test_the_most_urgent_maintenance_the_newest_day_and_the_whole_come_first(
    built: Built, pages: dict[str, dict[str, dg.MetadataValue]]
) -> None:
    def shown(mart: str, column: str) -> list[object]:
        preview = pages[mart]["preview"]
        assert isinstance(preview, dg.TableMetadataValue)
        return [record.data[column] for record in preview.records]

    for mart in ("maintenance_due", "needs_maintenance"):
        assert shown(mart, "priority") == list(range(1, min(len(built.marts[mart]), PREVIEWED) + 1)), mart
    assert shown("sync_errors", "open_rejections")[0] == max(row["open_rejections"] for row in built.marts["sync_errors"])
    plants = sorted(
        (row for row in built.marts["equipment_counts"] if row["plant_code"] != ALL_PLANTS),
        key=lambda row: (-row["maintenance_overdue"], -row["needs_maintenance"], -row["sync_errors"], row["plant_code"]),
    )
    assert shown("equipment_counts", "plant_code") == [ALL_PLANTS, *(row["plant_code"] for row in plants)][:PREVIEWED]
    days = sorted((str(row["date"]) for row in built.marts["daily_kpis"]), reverse=True)
    assert shown("daily_kpis", "date") == days[:PREVIEWED]
    worst = sorted(row["availability"] for row in built.marts["reliability"] if row["availability"] is not None)
    assert shown("reliability", "availability")[: len(worst)] == pytest.approx(worst[:PREVIEWED])


def test_counts_of_maintenance_and_machines_agree_with_the_machines(
    built: Built, pages: dict[str, dict[str, dg.MetadataValue]]
) -> None:
    due, status, page = built.marts["maintenance_due"], built.marts["equipment_status"], pages["maintenance_due"]
    told = {name: page[name].value for name in ("overdue", "due", "due_soon", "unknown")}
    assert told == {name: sum(row["status"] == name for row in due) for name in told}
    needing = {row["equipment_id"] for row in due if row["needs_maintenance"]}
    assert page["machines_that_need_maintenance"].value == len(needing)
    counts = pages["equipment_counts"]
    assert counts["machines_active"].value == sum(row["is_active"] for row in status)
    assert counts["machines_that_need_maintenance"].value == len(needing)
    assert counts["machines_with_sync_errors"].value == sum(row["has_sync_errors"] for row in status)
    assert counts["plants"].value == len({row["plant_code"] for row in status})
    known = [row for row in built.marts["reliability"] if row["level"] == "machine" and row["availability"] is not None]
    assert pages["reliability"]["machines_known"].value == len(known) > 0
    failed = sum(row["syncs_failed"] > 0 for row in built.marts["daily_kpis"])
    assert pages["daily_kpis"]["days_with_failed_syncs"].value == failed


def test_counts_are_numbers_of_the_marts_under_names_that_stay(
    built: Built, pages: dict[str, dict[str, dg.MetadataValue]]
) -> None:
    gaps, status = built.marts["gap_analysis"], built.marts["equipment_status"]
    assert pages["gap_analysis"]["days_missing"].value == sum(row["days_missing"] for row in gaps)
    assert pages["gap_analysis"]["rows_open"].value == sum(row["is_open"] for row in gaps)
    assert pages["equipment_status"]["rows_active"].value == sum(row["is_active"] for row in status)
    assert pages["equipment_status"]["machines_inactive"].value == sum(not row["is_active"] for row in status)
    broken = sum(1 + len(row["other_failures"] or ()) for row in built.rows.sync_rejections)
    assert pages["error_analysis"]["refusals"].value == broken
    hours = sum(row["running_hours"] or 0 for row in built.marts["running_time_trends"] if row["period"] == "day")
    assert pages["running_time_trends"]["running_hours"].value == pytest.approx(float(hours), abs=1e-3)
    for mart, view in VIEWS.items():
        for name in view.counts if mart in pages else ():
            assert isinstance(pages[mart][name], dg.IntMetadataValue | dg.FloatMetadataValue), f"{mart}: {name}"


@pytest.mark.parametrize("mart", sorted(DRAWN))
def test_a_mart_that_people_would_rather_look_at_has_a_picture(mart: str, pages: dict[str, dict[str, dg.MetadataValue]]) -> None:
    markdown = pages[mart]["picture"]
    assert isinstance(markdown, dg.MarkdownMetadataValue)
    head, _, rest = str(markdown.value).partition("](data:image/png;base64,")
    assert head.startswith("![")
    png = base64.b64decode(rest.removesuffix(")"))
    assert len(png) < LARGEST_PICTURE
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert picture.width > 800


def test_a_mart_that_nobody_has_named_shows_its_newest_rows_and_counts_its_truths(built: Built) -> None:
    with built.database.engine.begin() as connection:
        connection.execute(
            sa.text("""
            CREATE TABLE analytics.new_mart AS
            SELECT 'EQ-' || n AS equipment_number, date '2026-01-01' + n AS due_on, n % 3 = 0 AS is_due
            FROM generate_series(1, 90) n
            """)
        )
        found = preview_of(connection, "new_mart")
        connection.rollback()
    assert found.counts == {"row_count": 90, "rows_due": 30}
    assert [row["equipment_number"] for row in found.rows[:2]] == ["EQ-90", "EQ-89"]


def test_a_preview_that_takes_too_long_leaves_the_model_built_and_says_why(built: Built) -> None:
    key = dg.AssetKey(["analytics", "conflict_resolution"])
    event = dg.AssetMaterialization(key, metadata={"unique_id": "model.cmms.conflict_resolution"})
    log = dg.build_op_context().log
    with built.database.engine.connect() as held:
        held.execute(sa.text("LOCK TABLE analytics.conflict_resolution IN ACCESS EXCLUSIVE MODE"))
        [refused] = with_figures([event], built.database.engine, log, patience="100ms")
    assert refused.asset_key == key
    assert set(refused.metadata) == {"unique_id", "preview_left_out"}
    [shown] = with_figures([event], built.database.engine, log)
    assert "preview" in shown.metadata


def test_the_picture_of_the_key_figures_has_the_limits_in_force(built: Built) -> None:
    picture = PICTURES["analytics.daily_kpis"]
    with built.database.engine.connect() as connection:
        usual, same = picture.drawn(connection), picture.drawn(connection, KpiLimits())
        strict = picture.drawn(connection, KpiLimits(refusal_rate=0.001))
    assert usual == same != strict


def test_a_picture_that_is_too_large_for_the_event_log_is_refused() -> None:
    with pytest.raises(ValueError, match="the limit"):
        picture_markdown("too large", b"\0" * (LARGEST_PICTURE + 1))
