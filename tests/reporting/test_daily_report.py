"""The daily report: right about the night, safe to open, printable, kept, and sent with the page attached."""

import datetime as dt
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from playwright.sync_api import BrowserContext, Page, Request, sync_playwright
from pydantic import SecretStr

from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.reports.daily import Daily, read_daily
from cmms_pipelines.reports.daily_page import make_page, page_of
from cmms_pipelines.reports.kept import forget_old_pages, path_of, write_page
from cmms_pipelines.reports.mailing import send_report
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import nights
from cmms_pipelines.storage.alert_configuration import write_alert_configuration
from cmms_pipelines.storage.secrets import secret_box
from tests.alerts.conftest import MailServer
from tests.command_line import on_databases
from tests.reporting.conftest import Built
from tests.reporting.known_rows import AS_OF

UI = "https://cmms.example.org"
DAY = dt.date(2026, 3, 10)
CHROMIUM = shutil.which("chromium")
HOSTILE = '<script>document.title="taken"</script><img src=x onerror=alert(1)>'
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed: no page is opened")

_LOG = sa.text("""
    INSERT INTO cmms.api_sync_logs (id, sync_type, status, sync_started_at, sync_completed_at, records_processed, records_success,
                                    records_failed, records_inserted, error_message, dagster_run_id)
    OVERRIDING SYSTEM VALUE
    VALUES (:id, :kind, :status, :at, CAST(:at AS timestamptz) + interval '90 s', 100, 98, 2, 98, :error, 'run-' || :id)
""")
_MOVED_AWAY = sa.text("""
    UPDATE cmms.api_sync_logs SET sync_started_at = sync_started_at - interval '10 hours'
    WHERE sync_started_at > :since RETURNING id
""")
_MOVED_BACK = sa.text("""
    UPDATE cmms.api_sync_logs SET sync_started_at = sync_started_at + interval '10 hours' WHERE id = ANY(:ids)
""")
_REFUSAL = sa.text("""
    INSERT INTO cmms.sync_rejections
        (sync_type, record_key, rule, severity, message, payload, first_seen_at, last_seen_at)
    VALUES ('running_times', 'EQ-of-the-night', 'running_hours_exceed_day', 'error', 'It ran 25 hours.', '{}', :at, :at)
""")


@pytest.fixture(scope="module")
def night(built: Built) -> Iterator[sa.Engine]:
    """The known rows with a night of syncs, all successful; afterwards they are as before.

    Syncs of the known rows that failed in this night begin before it meanwhile.
    """
    engine = built.database.engine
    with engine.begin() as connection:
        moved = list(connection.execute(_MOVED_AWAY, {"since": AS_OF - dt.timedelta(hours=9)}).scalars())
        for number, kind in enumerate(("plants", "equipment", "running_times")):
            at = AS_OF.replace(hour=number)
            connection.execute(_LOG, {"id": 9000 + number, "kind": kind, "status": "success", "at": at, "error": None})
        connection.execute(_REFUSAL, {"at": AS_OF.replace(hour=2)})
    yield engine
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM cmms.sync_rejections WHERE record_key = 'EQ-of-the-night'"))
        connection.execute(sa.text("DELETE FROM cmms.api_sync_logs WHERE id >= 9000"))
        connection.execute(_MOVED_BACK, {"ids": moved})


@pytest.fixture(scope="module")
def daily(night: sa.Engine) -> Daily:
    return read_daily(night, DAY, AS_OF, "UTC")


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with tempfile.TemporaryDirectory(prefix="cmms-browser-") as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        yield context
        context.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()


def test_a_night_whose_syncs_ended_and_whose_plants_have_readings_is_complete(daily: Daily, night: sa.Engine) -> None:
    whole = replace(daily, plants_missing=[])
    assert {sync["sync_type"] for sync in daily.syncs} >= {"plants", "equipment", "running_times"}
    assert whole.not_run == [name for name in whole.not_run if name == "work_orders"]
    assert replace(whole, not_run=[]).is_complete


def test_plants_without_readings_of_yesterday_are_named(daily: Daily, built: Built) -> None:
    yesterday = {row["plant_id"] for row in built.rows.equipment_running_times if row["date"] == dt.date(2026, 3, 9)}
    active = {row["plant_id"] for row in built.rows.equipment if row["is_active"]}
    codes = {row["id"]: row["plant_code"] for row in built.rows.plants}
    without = {row["plant_code"] for row in (*daily.plants_missing, *daily.plants_quiet)}
    assert without == {codes[plant] for plant in active - yesterday}
    assert daily.plants == len(active)
    lacking = replace(daily, not_run=[], plants_missing=[{"plant_code": "B6JFK"}])
    assert lacking.problems == ["1 of 4 plants have no readings of 09 Mar: B6JFK."]
    assert "--date 2026-03-09 --plant B6JFK" in " ".join(action.command for action in lacking.actions)


def test_a_plant_whose_source_had_nothing_is_quiet_unless_the_weekday_always_had_readings(night: sa.Engine) -> None:
    day = dt.date(2026, 2, 23)
    asked = sa.text("""
        INSERT INTO cmms.sync_slices (sync_key, slice_key, sync_type, sync_log_id, date, plant_codes)
        VALUES ('k', 's', 'running_times', 9002, :day, ARRAY['AKL', 'LAX'])""")
    gone = sa.text("""
        DELETE FROM cmms.equipment_running_times AS reading USING cmms.plants AS plant
        WHERE plant.id = reading.plant_id AND plant.plant_code IN ('AKL', 'LAX', 'UTC')
          AND (date = :day OR (date = :day - 14 AND plant_code = 'LAX'))""")
    with night.connect() as connection:
        connection.execute(asked, {"day": day})
        connection.execute(gone, {"day": day})
        found = {row["plant_code"]: row["is_lacking"] for row in nights.plants_without(connection, day)[0]}
        connection.rollback()
    assert found == {"UTC": True, "AKL": True, "LAX": False}, "nobody asked; it always had some; it had none two weeks before"


@pytest.mark.parametrize(
    ("status", "error", "problem"),
    [
        ("failed", "401", "The sync of equipment failed."),
        ("cancelled", None, "The sync of equipment was cancelled."),
        ("partial", "3 of 9 slices are missing", "The sync of equipment is complete only in part."),
        ("partial", None, None),
        ("running", None, "The sync of equipment still runs."),
    ],
)
def test_refused_records_do_not_make_a_night_incomplete_but_missing_parts_do(
    daily: Daily, status: str, error: str | None, problem: str | None
) -> None:
    sync = {"sync_type": "equipment", "status": status, "error_message": error, "dagster_run_id": "abc"}
    found = replace(daily, syncs=[sync], not_run=[], plants_missing=[])
    assert found.problems == ([problem] if problem else [])


def test_a_sync_that_usually_runs_and_did_not_is_a_problem_and_the_last_attempt_counts(night: sa.Engine) -> None:
    with night.begin() as connection:
        values = {"kind": "work_orders", "status": "success", "error": None}
        connection.execute(_LOG, {**values, "id": 9100, "at": AS_OF - dt.timedelta(days=2)})
        failed = {"kind": "equipment", "status": "failed", "error": "no answer", "id": 9101, "at": AS_OF.replace(hour=4)}
        connection.execute(_LOG, failed)
    try:
        found = read_daily(night, DAY, AS_OF, "UTC")
    finally:
        with night.begin() as connection:
            connection.execute(sa.text("DELETE FROM cmms.api_sync_logs WHERE id >= 9100"))
    assert "work_orders" in found.not_run
    [equipment] = [sync for sync in found.syncs if sync["sync_type"] == "equipment"]
    assert (equipment["status"], equipment["attempts"]) == ("failed", 2)
    assert "The sync of equipment failed." in found.problems
    assert any(action.page == "runs/run-9101" for action in found.actions)


def test_a_counter_that_stands_still_while_the_machine_runs_is_named(night: sa.Engine) -> None:
    with night.begin() as connection:
        machine = (
            connection.execute(
                sa.text("""
            UPDATE cmms.equipment_running_times SET cumulative_hours = 500, running_hours = 3
            WHERE date BETWEEN '2026-02-24' AND '2026-03-09' AND equipment_id = (
                SELECT equipment_id FROM cmms.equipment_running_times AS reading
                JOIN cmms.equipment AS machine ON machine.id = reading.equipment_id AND machine.is_active
                WHERE date BETWEEN '2026-02-24' AND '2026-03-09' GROUP BY equipment_id HAVING count(*) >= 5 LIMIT 1)
            RETURNING equipment_id""")
            )
            .scalars()
            .first()
        )
        number = connection.execute(
            sa.text("SELECT equipment_number FROM cmms.equipment WHERE id = :id"), {"id": machine}
        ).scalar()
        found = nights.stuck_counters(connection, dt.date(2026, 3, 9), 10)
        connection.rollback()
    assert [row["equipment_number"] for row in found] == [number]


@pytest.mark.browser
@needs_chromium
def test_the_page_says_at_the_top_whether_the_night_is_complete_and_asks_nobody_for_anything(
    night: sa.Engine, page: Page, tmp_path: Path
) -> None:
    daily, text = make_page(night, DAY, AS_OF, time_zone="Europe/Berlin", dagster_url=UI)
    path = tmp_path / "report.html"
    write_page(text, path)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(_address(request)))
    page.set_viewport_size({"width": 1100, "height": 900})
    page.goto(path.as_uri())
    verdict = page.get_by_role("status")
    assert ("NOT complete" in verdict.inner_text()) is not daily.is_complete
    box = verdict.bounding_box()
    assert box
    assert box["y"] < 200, "seen without scrolling"
    body = page.locator("body").inner_text()
    for heading in (
        "What to do",
        "Syncs of the night",
        "What was refused, and why",
        "Machines that need attention",
        "What waits",
    ):
        assert heading in body
    assert daily.refused[0]["rule"] in body
    assert "EQ-of-the-night" in body
    assert daily.gaps[0]["equipment_number"] in body
    pictures = page.locator("figure img")
    assert pictures.count() == 9
    assert all(pictures.nth(place).evaluate("image => image.naturalWidth") > 800 for place in range(9))
    assert page.get_by_alt_text("Maintenance due by plant").is_visible()
    due = page.locator("table", has=page.get_by_text("expected on", exact=True))
    assert due.get_by_role("row").count() == 1 + len(daily.due)
    for column, shown in (("equipment_number", daily.due[0]["equipment_number"]), ("status", "overdue")):
        assert shown in due.get_by_role("row").nth(1).inner_text(), column
    limits = page.locator("table", has=page.get_by_text("wanted", exact=True))
    assert limits.get_by_role("row").count() == 1 + len(KpiLimits.model_fields)
    assert "at least 95 %" in limits.inner_text()
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
    assert page.locator(f"a[href='{UI}/runs/run-9001']").count() == 1
    folder = os.environ.get("SCREENSHOTS_OF_KNOWN_ROWS")
    if folder:
        page.screenshot(path=Path(folder) / "report.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=Path(folder) / "report_dark.png", full_page=True)


@pytest.mark.browser
@needs_chromium
def test_the_page_follows_the_theme_on_the_screen_and_is_light_on_paper(night: sa.Engine, page: Page, tmp_path: Path) -> None:
    _, text = make_page(night, DAY, AS_OF, time_zone="UTC", dagster_url=UI)
    write_page(text, tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri())
    paper = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paper) == "rgb(20, 24, 28)"
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


@pytest.mark.browser
@needs_chromium
def test_what_comes_from_outside_is_text_on_the_page_and_never_runs(daily: Daily, page: Page, tmp_path: Path) -> None:
    refused = {
        "sync_type": "equipment", "rule": HOSTILE, "severity": "error", "records": 1, "new": 1, "plants": 1,
        "example": HOSTILE, "example_key": HOSTILE,
    }  # fmt: skip
    sync = {**daily.syncs[0], "error_message": HOSTILE, "dagster_run_id": '"><b>x</b>'}
    hostile = replace(
        daily,
        paused=HOSTILE,
        refused=[refused],
        syncs=[sync],
        plants_quiet=[{"plant_code": HOSTILE}],
        plants_missing=[{"plant_code": HOSTILE, "name": HOSTILE, "machines": 1, "newest_on": None, "was_asked": False}],
        due=[{HOSTILE: HOSTILE}],
        due_columns=[HOSTILE],
    )
    text = page_of(hostile, {}, time_zone="UTC", dagster_url=UI)
    write_page(text, tmp_path / "hostile.html")
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto((tmp_path / "hostile.html").as_uri())
    assert page.title() == "NOT complete · maintenance data, 2026-03-10"
    assert page.locator("script, b:text('x')").count() == 0
    assert page.locator("img").count() == 0
    assert HOSTILE in page.locator("body").inner_text()
    assert said == []


def test_the_job_writes_keeps_and_shows_the_report(night: sa.Engine, built: Built) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job = built.definitions.resolve_job_def("daily_report")
        config = {"ops": {"reports__daily_report": {"config": {"date": "2026-03-10"}}}}
        result = job.execute_in_process(instance=instance, run_config=config)
    [event] = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    path = path_of(built.home, DAY)
    assert metadata["path"].value == str(path)
    assert metadata["size_bytes"].value == path.stat().st_size > 50_000
    assert metadata["channels_reached"].value == metadata["channels_failed"].value == 0
    assert metadata["last_night"].value in ("complete", "NOT complete")
    assert "Maintenance data: the night to Tuesday, 10 March 2026" in path.read_text()


def test_the_report_comes_each_morning_after_the_marts_by_the_clock_of_the_settings(built: Built) -> None:
    schedule = built.definitions.resolve_schedule_def("daily_report_morning")
    assert (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone) == ("daily_report", "15 6 * * *", "UTC")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    built_marts = built.definitions.resolve_job_def("build_marts").asset_layer.executable_asset_keys
    assert dg.AssetKey(["reports", "daily_report"]) not in built_marts


def test_old_reports_go_and_other_files_stay(tmp_path: Path) -> None:
    for name in ("report-2026-01-01.html", "report-2026-02-01.html", "report-2026-03-01.html", "mine.html"):
        write_page("x", tmp_path / "reports" / name)
    assert forget_old_pages(tmp_path, dt.date(2026, 2, 1)) == 1
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [
        "mine.html", "report-2026-02-01.html", "report-2026-03-01.html",
    ]  # fmt: skip


def test_the_report_is_mailed_with_its_page_to_the_channels_of_its_route(
    night: sa.Engine, daily: Daily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, secret_key=SecretStr(Fernet.generate_key().decode()), dagster_url=UI)
    path = path_of(tmp_path, DAY)
    write_page(page_of(daily, {}, time_zone="UTC", dagster_url=UI), path)
    assert send_report(night, settings, daily, path) == [], "nothing is sent until somebody asks for it"
    mail = MailServer()
    monkeypatch.setenv("REPORT_MAIL_URL", mail.url)
    monkeypatch.setenv("REPORT_DEAD_URL", "mailto://127.0.0.1:9?mode=insecure&from=a@example.org&to=b@example.org")
    given = {
        "channels": {"mail": {"url_env": "REPORT_MAIL_URL"}, "dead": {"url_env": "REPORT_DEAD_URL"}},
        "routes": {"report": ["dead", "mail"]},
    }
    try:
        with night.begin() as connection:
            write_alert_configuration(connection, secret_box(settings), given, actor="tests")
        sent = {one.channel: one.error for one in send_report(night, settings, daily, path)}
        [arrived] = mail.mails
        assert sent["mail"] is None
        assert sent["dead"]
        subject = mail.subjects()[0]
        assert subject == f"[report] 2026-03-10: last night is {'complete' if daily.is_complete else 'NOT complete'}"
        assert "What to do:" in mail.text()
        [page] = [part for part in arrived.walk() if part.get_filename()]
        assert page.get_filename() == "report-2026-03-10.html"
        assert page.get_payload(decode=True) == path.read_bytes()
        with night.connect() as connection:
            log = sa.text("SELECT channel, kind, status FROM cmms.alert_deliveries WHERE kind = 'report' ORDER BY channel")
            assert connection.execute(log).all() == [("dead", "report", "given_up"), ("mail", "report", "delivered")]
    finally:
        mail.stop()
        with night.begin() as connection:
            connection.execute(sa.text("DELETE FROM cmms.alert_deliveries"))
            connection.execute(sa.text("DELETE FROM cmms.sync_configurations"))


def test_the_command_writes_a_report_and_says_what_it_found(
    night: sa.Engine, built: Built, server_url: str, tmp_path: Path
) -> None:
    cmms = on_databases(built.database, server_url, tmp_path / "home")
    said = cmms.json("report", "--date", "2026-03-10", "--output", str(tmp_path / "r.html"))
    assert said["path"] == str(tmp_path / "r.html")
    assert said["bytes"] == (tmp_path / "r.html").stat().st_size
    assert said["is_complete"] is (said["problems"] == [])
    assert said["sent"] == []


def test_the_export_job_writes_a_mart_and_names_the_marts(built: Built, tmp_path: Path) -> None:
    job = built.definitions.resolve_job_def("export")

    def run(**config: object) -> dg.ExecuteInProcessResult:
        given = {"ops": {"export_mart": {"config": {"folder": str(tmp_path), **config}}}}
        return job.execute_in_process(run_config=given, raise_on_error=False)

    done = run(mart="equipment_status", format="parquet")
    assert done.success
    [event] = list(done.get_step_success_events())
    assert event.step_key == "export_mart"
    assert (tmp_path / "equipment_status.parquet").stat().st_size > 1000
    for wrong, sentence in (
        ({"mart": "nothing"}, "there are api_response_times"),
        ({"mart": "x", "format": "pdf"}, "csv, xlsx, parquet"),
    ):
        [failure] = run(**wrong).get_failed_step_keys() and [run(**wrong).failure_data_for_node("export_mart")]
        assert failure
        assert sentence in str(failure.user_failure_data.description if failure.user_failure_data else "")


def _address(request: Request) -> str:
    return request.url
