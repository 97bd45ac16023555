"""The steps of the check that ask the source: one for each endpoint that syncs use, and the sample that came from them.

What belongs here: what an endpoint is asked for, and what its answer means. What does not: the way to the source
(`sync.api_check`), and which rules a sample breaks (`sync.api_sample`).
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from cmms_pipelines.clients import probe
from cmms_pipelines.clients.api import ConnectedApi
from cmms_pipelines.clients.replies import RefusedError
from cmms_pipelines.clients.spool import RecordSpool
from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.errors import CmmsError
from cmms_pipelines.domain.schedule_times import is_on
from cmms_pipelines.settings import Settings
from cmms_pipelines.sync.api_sample import advice_for, problems_of
from cmms_pipelines.sync.session import PARTIAL_SHARE
from cmms_pipelines.sync.source import group_rules, plant_records

DAYS_ASKED = 7  # up to yesterday: one machine-free day is no fault
PLANTS_ASKED = 3
SAMPLE_ROWS = 1000
ORDERS_SCHEDULE = "sync_work_orders_nightly"


@dataclass(frozen=True)
class Step:
    """One step of the check: `status` is ok, failed or skipped."""

    name: str
    status: str
    detail: str
    advice: str | None = None
    duration_ms: float | None = None


class EndpointSteps:
    """The steps in their order; each needs those before it, but the sample no work orders."""

    def __init__(self, settings: Settings, dialect: Dialect, plant_codes: Sequence[str], last_day: dt.date) -> None:
        """`plant_codes` are asked for, by default the first ones of the list; `last_day` is the last of `DAYS_ASKED`."""
        self._settings = settings
        self._dialect = dialect
        self._wanted = list(plant_codes)
        self._first_day = last_day - dt.timedelta(days=DAYS_ASKED - 1)
        self._last_day = last_day
        self._calls: list[ApiCall] = []
        self._plants = pd.DataFrame()
        self._equipment: list[dict[str, Any]] = []
        self._readings: list[dict[str, Any]] = []
        self._orders: list[dict[str, Any]] = []

    def on_call(self, call: ApiCall) -> None:
        """Note a request of the client that `run` is given."""
        self._calls.append(call)

    def run(self, api: ConnectedApi) -> Iterator[Step]:
        """Ask each endpoint; what the client raises is its step's failure."""
        yield self._told("plants", lambda: self._check_plants(api))
        yield self._told("equipment", lambda: self._check_equipment(api))
        yield self._told("running_times", lambda: self._check_running_times(api))
        yield self._told("work_orders", lambda: self._check_work_orders(api))

    def sample(self) -> Step:
        """Map and validate what came; a single bad record is the quarantine's business, many are a wrong mapping."""
        days = [self._last_day - dt.timedelta(days=back) for back in range(DAYS_ASKED)]
        rules = group_rules(self._settings)
        problems = problems_of(self._dialect, self._plants, self._equipment, self._readings, self._orders, days=days, rules=rules)
        counts = f"{len(self._equipment)} masters, {len(self._readings)} readings and {len(self._orders)} work orders"
        checked = f"{counts} mapped and validated"
        grave = [problem for problem in problems if problem.share > PARTIAL_SHARE]
        if grave:
            advice = "If the fields are right, correct the source; if it names them otherwise, check CMMS_API_DIALECT."
            return Step("sample", "failed", f"{checked}: {'; '.join(map(str, grave))}.", advice_for(grave) or advice)
        few = f"; single ones would go to the quarantine: {'; '.join(map(str, problems))}" if problems else ", all good"
        return Step("sample", "ok", checked + few)

    def _told(self, name: str, step: Callable[[], Step]) -> Step:
        try:
            return step()
        except CmmsError as error:
            status = self._calls[-1].status if self._calls else None
            return Step(name, "failed", str(error), probe.advice_for(status))

    def _check_plants(self, api: ConnectedApi) -> Step:
        records = plant_records(self._settings, api)
        frame = self._dialect.plants_frame(records)
        self._plants = frame.assign(plant_id=range(1, len(frame) + 1), time_zone=frame["time_zone"].fillna("UTC"))
        source = "CMMS_PLANTS_FILE" if self._settings.plants_file else "the source"
        unknown = sorted(set(self._wanted) - set(frame["plant_code"].dropna()))
        if unknown:
            advice = "Ask for a plant of the list, or complete the list (CMMS_PLANTS_FILE)."
            return Step("plants", "failed", f"{', '.join(unknown)} not among the {len(frame)} plants of {source}.", advice)
        return Step("plants", "ok", f"{len(frame)} plants of {source}", None, self._milliseconds())

    def _check_equipment(self, api: ConnectedApi) -> Step:
        codes = self._plants_asked()
        for code in codes:
            self._equipment += _first_rows(api.equipment([code]))
            if len(self._equipment) >= SAMPLE_ROWS:
                break
        if not self._equipment:
            asked = ", ".join(codes) or "no plant at all"
            advice = "Check the plant codes, and what the account may read at the source: an empty list is rarely the truth."
            return Step("equipment", "failed", f"the source has no equipment for {asked}.", advice, self._milliseconds())
        return Step("equipment", "ok", f"{len(self._equipment)} records", None, self._milliseconds())

    def _check_running_times(self, api: ConnectedApi) -> Step:
        frame = self._dialect.equipment_frame(self._equipment, self._zones())
        codes = [str(code) for code in frame["plant_code"].dropna().unique()][:1]
        self._readings = _first_rows(api.running_times(codes, self._first_day, self._last_day))
        if not self._readings:
            advice = "Check that readings are loaded into the source, and its filter of dates and plants."
            detail = f"no readings of {', '.join(codes)} from {self._first_day} to {self._last_day}."
            return Step("running_times", "failed", detail, advice, self._milliseconds())
        return Step("running_times", "ok", f"{len(self._readings)} records of {codes[0]}", None, self._milliseconds())

    def _check_work_orders(self, api: ConnectedApi) -> Step:
        """No change within the days is no fault; nothing is asked of a source whose orders nobody syncs."""
        if not is_on(ORDERS_SCHEDULE, self._settings.schedules):
            return Step("work_orders", "ok", f"not asked for: {ORDERS_SCHEDULE} is switched off")
        codes = self._plants_asked()
        try:
            self._orders = _first_rows(api.work_orders(codes, self._first_day, self._last_day))
        except RefusedError as error:
            if error.status not in (404, 405):
                raise
            advice = (
                f"The nightly sync of work orders asks for it: have it opened at the source, or switch {ORDERS_SCHEDULE} off "
                "(docs/configuration.md)."
            )
            detail = f"the source has no {self._calls[-1].endpoint} (status {error.status})."
            return Step("work_orders", "failed", detail, advice, self._milliseconds())
        detail = f"{len(self._orders)} records of {', '.join(codes)} that changed from {self._first_day} to {self._last_day}"
        return Step("work_orders", "ok", detail, None, self._milliseconds())

    def _plants_asked(self) -> list[str]:
        active = self._plants.loc[self._plants["is_active"], "plant_code"].dropna().to_list()
        return (self._wanted or active)[:PLANTS_ASKED]

    def _zones(self) -> dict[str, str]:
        return dict(zip(self._plants["plant_code"], self._plants["time_zone"], strict=True))

    def _milliseconds(self) -> float | None:
        """How long the slowest request since the last step took."""
        slowest = max((call.duration_ms for call in self._calls), default=None)
        self._calls.clear()
        return slowest


def _first_rows(pages: Iterator[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The first page that has rows, cut to the size of a sample."""
    for page in pages:
        with closing(page) if isinstance(page, RecordSpool) else nullcontext():
            if rows := list(islice(page, SAMPLE_ROWS)):
                return rows
    return []
