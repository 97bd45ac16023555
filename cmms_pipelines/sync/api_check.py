"""A check of the connection to the external system, step by step, with a diagnosis and advice for what is wrong.

What belongs here: the steps and what each result means. What does not: how it is probed (`clients.probe`) and shown
(`commands.api`, `defs.operations`). Nothing is written, to no database.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import httpx
import pandas as pd

from cmms_pipelines.clients import probe
from cmms_pipelines.clients.api import ConnectedApi
from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.connect import connect
from cmms_pipelines.clients.odata import VERSIONS
from cmms_pipelines.clients.probe import Finding
from cmms_pipelines.clients.spool import RecordSpool
from cmms_pipelines.clients.transport import Retries, Timeouts
from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.errors import CmmsError, PermanentError
from cmms_pipelines.settings import Settings
from cmms_pipelines.sync.api_sample import advice_for, problems_of
from cmms_pipelines.sync.session import PARTIAL_SHARE
from cmms_pipelines.sync.source import group_rules, plant_records, source_dialect

CLOCK_TOLERANCE_S = 120.0
DAYS_ASKED = 7  # up to yesterday: one machine-free day is no fault
SAMPLE_ROWS = 1000
_ENDPOINTS = {"ims": "plants"} | {name: f"{version.plants}?$top=1" for name, version in VERSIONS.items()}


@dataclass(frozen=True)
class Step:
    """One step of the check: `status` is ok, failed or skipped."""

    name: str
    status: str
    detail: str
    advice: str | None = None
    duration_ms: float | None = None


@dataclass
class ApiCheck:
    """The whole check, its steps in their order; no text in it holds a secret."""

    url: str
    dialect: str
    auth: str
    steps: list[Step] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return bool(self.steps) and all(step.status == "ok" for step in self.steps)

    @property
    def diagnosis(self) -> str:
        """The first thing to look at, in one sentence or two."""
        wrong = next((step for step in self.steps if step.status == "failed"), None)
        return "all is well" if wrong is None else f"{wrong.name}: {wrong.detail} {wrong.advice or ''}".strip()

    def as_json(self) -> dict[str, Any]:
        head = {"url": self.url, "dialect": self.dialect, "auth": self.auth, "is_well": self.is_well, "diagnosis": self.diagnosis}
        return head | {"steps": [asdict(step) for step in self.steps]}


STEPS = ("configuration", "name", "connection", "tls", "credentials", "clock", "plants", "equipment", "running_times", "sample")


def check_api(
    settings: Settings,
    *,
    now: Callable[[], dt.datetime],
    plant_codes: Sequence[str] = (),
    last_day: dt.date | None = None,
    timeout_s: float = 30.0,
) -> ApiCheck:
    """Check the source of the settings from its address to a sample of its records; never raises for what it finds.

    Args:
        settings: where the source is and how to log in.
        now: the clock that the source's is held against.
        plant_codes: ask for these plants; by default for the first ones of the list of plants.
        last_day: the last of the days whose readings are asked for; by default yesterday.
        timeout_s: for each request.
    """
    check = ApiCheck(_shown(settings.api_url), settings.api_dialect.value, settings.api_auth.value)
    steps = _Steps(settings, now, plant_codes, last_day or (now() - dt.timedelta(days=1)).date(), timeout_s)
    for step in steps.run():
        check.steps.append(step)
    return check


def _shown(url: str | None) -> str:
    """An address as it may be printed: without credentials, should somebody have put them there."""
    try:
        parsed = httpx.URL((url or "").strip())
    except httpx.InvalidURL:
        return "(no URL)"
    return str(parsed.copy_with(userinfo=b"", query=None, fragment=None))


class _Steps:
    """The steps in their order; the first that fails for good skips those that need it."""

    def __init__(
        self, settings: Settings, now: Callable[[], dt.datetime], plant_codes: Sequence[str], last_day: dt.date, timeout_s: float
    ) -> None:
        self._settings = settings
        self._now = now
        self._wanted = list(plant_codes)
        self._last_day = last_day
        self._timeout_s = timeout_s
        self._dialect: Dialect = source_dialect(settings)
        self._calls: list[ApiCall] = []
        self._plants = pd.DataFrame()
        self._equipment: list[dict[str, Any]] = []
        self._readings: list[dict[str, Any]] = []

    def run(self) -> Iterator[Step]:
        done: list[str] = []
        for step in self._all():
            done.append(step.name)
            yield step
            if step.status == "failed" and step.name not in ("clock", "sample"):
                break
        for name in STEPS:
            if name not in done:
                yield Step(name, "skipped", "not tried, because of what failed before")

    def _all(self) -> Iterator[Step]:
        try:
            url, credentials = self._address()
        except PermanentError as error:
            yield Step("configuration", "failed", str(error), "Set the variable as docs/configuration.md says.")
            return
        yield Step("configuration", "ok", f"{url}, dialect {self._dialect.name}, auth {credentials.mode}")
        yield from self._network(url)
        yield from self._first_answer(url, credentials)
        with connect(
            str(url),
            self._token(),
            self._settings.api_auth.value,
            self._dialect.name,
            timeouts=Timeouts(connect_s=self._timeout_s, read_s=self._timeout_s),
            retries=Retries(attempts=1),
            max_in_flight=1,
            requests_per_s=self._settings.api_requests_per_s,
            on_call=self._calls.append,
            now=self._now,
        ) as api:
            yield self._told("plants", lambda: self._check_plants(api))
            yield self._told("equipment", lambda: self._check_equipment(api))
            yield self._told("running_times", lambda: self._check_running_times(api))
        yield self._check_sample()

    def _address(self) -> tuple[httpx.URL, Credentials]:
        if self._settings.api_url is None or self._settings.api_token is None:
            missing = "CMMS_API_URL" if self._settings.api_url is None else "CMMS_API_TOKEN"
            raise PermanentError(f"{missing} is not set")
        credentials = Credentials(self._token(), self._settings.api_auth.value)
        connect(self._settings.api_url, self._token(), credentials.mode, self._dialect.name).close()  # refuses what is no URL
        return httpx.URL(self._settings.api_url.strip().rstrip("/") + "/"), credentials

    def _token(self) -> str:
        token = self._settings.api_token
        return token.get_secret_value() if token else ""

    def _network(self, url: httpx.URL) -> Iterator[Step]:
        if proxy := probe.proxy_for(url):
            for name in ("name", "connection", "tls"):
                yield Step(name, "ok", f"left to the proxy {proxy}")
            return
        yield _step("name", probe.find_host(url))
        yield _step("connection", probe.reach(url, self._timeout_s))
        if url.scheme == "https":
            yield _step("tls", probe.shake_hands(url, self._timeout_s, self._now()))
        else:
            yield Step("tls", "ok", "none: http://, so the token travels in the clear")

    def _first_answer(self, url: httpx.URL, credentials: Credentials) -> Iterator[Step]:
        answer = probe.ask(url, credentials, _ENDPOINTS[self._dialect.name], self._timeout_s, self._now)
        if answer.status == 404:  # of the right dialect without plants, of another one, or of a wrong path
            if other := self._other_dialect(url, credentials):
                advice = f"The address speaks another dialect: set CMMS_API_DIALECT={other}."
                yield Step("credentials", "failed", answer.finding.detail, advice, answer.finding.duration_ms)
                return
            yield Step("credentials", "ok", "status 404: let in, and no list of plants there", None, answer.finding.duration_ms)
        else:
            yield _step("credentials", answer.finding)
        yield _clock(answer.clock_offset_s)

    def _other_dialect(self, url: httpx.URL, credentials: Credentials) -> str | None:
        others = [name for name in _ENDPOINTS if name != self._dialect.name]
        asked = ((name, probe.ask(url, credentials, _ENDPOINTS[name], self._timeout_s, self._now)) for name in others)
        return next((name for name, answer in asked if answer.finding.is_well), None)

    def _told(self, name: str, step: Callable[[], Step]) -> Step:
        """Run a step; what the client raises is its failure."""
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
        active = self._plants.loc[self._plants["is_active"], "plant_code"].dropna().to_list()
        for code in (self._wanted or active)[:3]:
            self._equipment += _first_rows(api.equipment([code]))
            if len(self._equipment) >= SAMPLE_ROWS:
                break
        if not self._equipment:
            asked = ", ".join((self._wanted or active)[:3]) or "no plant at all"
            advice = "Check the plant codes, and what the account may read at the source: an empty list is rarely the truth."
            return Step("equipment", "failed", f"the source has no equipment for {asked}.", advice, self._milliseconds())
        return Step("equipment", "ok", f"{len(self._equipment)} records", None, self._milliseconds())

    def _check_running_times(self, api: ConnectedApi) -> Step:
        frame = self._dialect.equipment_frame(self._equipment, self._zones())
        codes = [str(code) for code in frame["plant_code"].dropna().unique()][:1]
        first = self._last_day - dt.timedelta(days=DAYS_ASKED - 1)
        self._readings = _first_rows(api.running_times(codes, first, self._last_day))
        if not self._readings:
            advice = "Check that readings are loaded into the source, and its filter of dates and plants."
            detail = f"no readings of {', '.join(codes)} from {first} to {self._last_day}."
            return Step("running_times", "failed", detail, advice, self._milliseconds())
        return Step("running_times", "ok", f"{len(self._readings)} records of {codes[0]}", None, self._milliseconds())

    def _check_sample(self) -> Step:
        """Map and validate what came; a single bad record is the quarantine's business, many are a wrong mapping."""
        days = [self._last_day - dt.timedelta(days=back) for back in range(DAYS_ASKED)]
        problems = problems_of(
            self._dialect, self._plants, self._equipment, self._readings, days, rules=group_rules(self._settings)
        )
        checked = f"{len(self._equipment)} masters and {len(self._readings)} readings mapped and validated"
        grave = [problem for problem in problems if problem.share > PARTIAL_SHARE]
        if grave:
            advice = "If the fields are right, correct the source; if it names them otherwise, check CMMS_API_DIALECT."
            return Step("sample", "failed", f"{checked}: {'; '.join(map(str, grave))}.", advice_for(grave) or advice)
        few = f"; single ones would go to the quarantine: {'; '.join(map(str, problems))}" if problems else ", all good"
        return Step("sample", "ok", checked + few)

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


def _step(name: str, finding: Finding) -> Step:
    return Step(name, "ok" if finding.is_well else "failed", finding.detail, finding.advice, finding.duration_ms)


def _clock(offset_s: float | None) -> Step:
    if offset_s is None:
        return Step("clock", "ok", "the source does not say what time it is")
    detail = f"the source's clock is {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} ours"
    if abs(offset_s) > CLOCK_TOLERANCE_S:
        return Step("clock", "failed", f"{detail}.", "Set the clocks by NTP: days, retries and signatures depend on them.")
    return Step("clock", "ok", detail)
