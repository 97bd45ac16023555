"""The Dagster UI after a demo, seen in a real browser. With SCREENSHOTS=docs it writes the pictures of the documentation."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from tests.demo.conftest import TwoStarts

CHROMIUM = shutil.which("chromium")
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SLOW_MS = 60_000
GROUPS = ("equipment", "maintenance", "operations", "reporting", "running_hours")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed: the UI is not looked at"),
]


@pytest.fixture(scope="module")
def browser(demo: TwoStarts) -> Iterator[BrowserContext]:
    with tempfile.TemporaryDirectory(prefix="cmms-browser-") as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=list(SWITCHES),
            base_url=demo.second["addresses"]["dagster"],
            viewport={"width": 1600, "height": 1000},
        )
        context.set_default_timeout(SLOW_MS)
        expect.set_options(timeout=SLOW_MS)
        yield context
        context.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()


def keep_picture(page: Page, name: str) -> None:
    """Write a picture where the environment asks for it."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(folder) / name)


def test_the_asset_graph_shows_the_assets_of_both_code_locations(page: Page) -> None:
    page.set_viewport_size({"width": 1800, "height": 1450})
    page.goto("/asset-groups")
    for group in GROUPS:
        expect(page.get_by_text(group, exact=True).filter(visible=True).last).to_be_visible()
    closed = page.get_by_role("button", name="arrow_drop_down")
    for place in reversed(range(len(GROUPS))):  # the list beside the graph: a group each, from below so that places stay
        closed.nth(place).click()
    for name in ("plants", "equipment", "equipment_r.*_times", "work_orders", "sync_conflicts", "alerts", "equipment_status"):
        expect(page.get_by_text(re.compile(f"^{name}$")).filter(visible=True).last).to_be_visible()  # long names have a … inside
    keep_picture(page, "asset_graph.png")


def test_the_page_of_the_running_hours_shows_a_green_materialization_with_its_counts(page: Page, demo: TwoStarts) -> None:
    page.set_viewport_size({"width": 1600, "height": 1250})
    page.goto(f"/assets/cmms/equipment_running_times?view=partitions&partition={demo.second['days']['last']}")
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()
    expect(page.get_by_text("Materialized (7)")).to_be_visible()
    expect(page.get_by_text("sync_running_times").first).to_be_visible()
    received = int(metadata(page, "records_received"))
    assert received == int(metadata(page, "records_stored")) + int(metadata(page, "records_refused")) > 0
    keep_picture(page, "running_times.png")


def test_the_page_of_the_sensor_shows_the_runs_that_it_started(page: Page, demo: TwoStarts) -> None:
    page.goto("/locations/__repository__@cmms/sensors/maintenance_inbox_sensor?view=runs")
    for run_id in demo.second["events"]["runs"]:
        expect(page.get_by_role("link", name=run_id[:8])).to_be_visible()
    expect(page.get_by_text("process_maintenance_events").last).to_be_visible()


def metadata(page: Page, name: str) -> str:
    """Return the value that the page shows beside a metadata name."""
    return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True)).get_by_role("cell").nth(1).inner_text()
