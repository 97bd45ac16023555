"""Asset pages with their pictures after a demo, in the light and the dark theme. With SCREENSHOTS=docs they are kept."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from cmms_pipelines.operate.dagster_api import ENDED, DagsterApi, RunStatus
from tests.demo import test_browser
from tests.demo.conftest import TwoStarts
from tests.demo.test_browser import browser, keep_picture, page, pytestmark

__all__ = ["browser", "page", "pytestmark"]
PAGES = {"running_time_trends": "Running hours", "plant_utilisation": "Utilisation", "sync_performance": "Syncs"}
KEPT = {
    ("plant_utilisation", "light"): "plant_utilisation.png",
    ("running_time_trends", "dark"): "running_time_trends_dark.png",
}
THEMES = {"light": "Light", "dark": "Dark"}


@pytest.fixture(scope="module")
def report(demo: TwoStarts) -> Iterator[str]:
    """The run that has made the daily report."""
    with DagsterApi(demo.second["addresses"]["dagster"]) as dagster:
        run_id = dagster.launch("daily_report", {})
        status = RunStatus.QUEUED
        while status not in ENDED:
            time.sleep(0.5)
            status = dagster.run(run_id).status
        assert status is RunStatus.SUCCESS, dagster.failure(run_id)
        yield run_id


def in_theme(page: Page, theme: str) -> None:
    page.add_init_script(f"localStorage.setItem('dagster-theme', JSON.stringify('{THEMES[theme]}'))")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("mart", PAGES)
def test_the_page_of_a_mart_shows_its_picture(page: Page, mart: str, theme: str) -> None:
    in_theme(page, theme)
    page.set_viewport_size({"width": 1500, "height": 950})
    page.goto(f"/assets/analytics/{mart}?view=events")
    row = page.get_by_role("row").filter(has=page.get_by_text("picture", exact=True))
    expect(row.first).to_be_visible()
    assert int(test_browser.metadata(page, "dagster/row_count").replace(",", "")) > 0
    row.get_by_text("[Show Markdown]").first.click()
    drawn = page.locator(".dagster-markdown img")
    expect(drawn).to_be_visible()
    assert str(drawn.get_attribute("alt")).startswith(PAGES[mart])
    assert drawn.evaluate("image => image.complete && image.naturalWidth") > 800
    if (mart, theme) in KEPT:
        keep_picture(page, KEPT[mart, theme])


def test_the_page_of_the_report_says_whether_the_night_is_complete(page: Page, report: str, demo: TwoStarts) -> None:
    page.goto("/assets/reports/daily_report?view=events")
    expect(page.get_by_text("last_night", exact=True).first).to_be_visible()
    assert test_browser.metadata(page, "last_night").lower().endswith("complete")
    expect(page.get_by_role("link", name=report[:8]).first).to_be_visible()
    [path] = (demo.home / "reports").glob("report-*.html")
    page.set_viewport_size({"width": 1100, "height": 1250})
    page.goto(path.as_uri())
    expect(page.get_by_role("status")).to_contain_text(re.compile("Last night is (NOT )?complete"))
    keep_picture(page, "report.png")
