"""A check of the connection to the external system, step by step, with a diagnosis and advice for what is wrong.

What belongs here: the order of the steps, and those up to the first answer. What does not: each endpoint (`sync.api_endpoints`),
how a connection is probed (`clients.probe`) and how a check is shown (`commands.api`, `defs.operations`). Nothing is written, to
no database.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from cmms_pipelines.clients import probe
from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.connect import connect
from cmms_pipelines.clients.odata import VERSIONS
from cmms_pipelines.clients.probe import Finding
from cmms_pipelines.clients.transport import Retries, Timeouts
from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import Settings
from cmms_pipelines.sync.api_endpoints import EndpointSteps, Step
from cmms_pipelines.sync.source import source_dialect

CLOCK_TOLERANCE_S = 120.0
_ENDPOINTS = {"ims": "plants"} | {name: f"{version.plants}?$top=1" for name, version in VERSIONS.items()}


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


STEPS = (
    "configuration", "name", "connection", "tls", "credentials", "clock", "plants", "equipment", "running_times", "work_orders",
    "sample",
)  # fmt: skip
_NEEDED_BY_NONE = ("clock", "work_orders", "sample")


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
        last_day: the last of the days whose readings and changed work orders are asked for; by default yesterday.
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
        self._timeout_s = timeout_s
        self._dialect: Dialect = source_dialect(settings)
        self._endpoints = EndpointSteps(settings, self._dialect, plant_codes, last_day)

    def run(self) -> Iterator[Step]:
        done: list[str] = []
        for step in self._all():
            done.append(step.name)
            yield step
            if step.status == "failed" and step.name not in _NEEDED_BY_NONE:
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
            on_call=self._endpoints.on_call,
            now=self._now,
        ) as api:
            yield from self._endpoints.run(api)
        yield self._endpoints.sample()

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


def _step(name: str, finding: Finding) -> Step:
    return Step(name, "ok" if finding.is_well else "failed", finding.detail, finding.advice, finding.duration_ms)


def _clock(offset_s: float | None) -> Step:
    if offset_s is None:
        return Step("clock", "ok", "the source does not say what time it is")
    detail = f"the source's clock is {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} ours"
    if abs(offset_s) > CLOCK_TOLERANCE_S:
        return Step("clock", "failed", f"{detail}.", "Set the clocks by NTP: days, retries and signatures depend on them.")
    return Step("clock", "ok", detail)
