"""What we ask of the Dagster web server, through the same GraphQL that its UI uses.

What belongs here: launching, following and ending runs. What does not: what is launched and why (`operate.demo`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import httpx

from cmms_pipelines.domain.errors import PermanentError, TransientError

_JOBS = """
query Jobs { workspaceOrError { __typename ... on PythonError { message } ... on Workspace { locationEntries { name loadStatus
  locationOrLoadError { __typename ... on PythonError { message }
    ... on RepositoryLocation { repositories { name jobs { name } sensors { name } } } } } } } }
"""
_LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on UnauthorizedError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on PipelineNotFoundError { message }
  ... on PresetNotFoundError { message } ... on ConflictingExecutionParamsError { message } } }
"""
_RUNS = """
query Runs($filter: RunsFilter!, $limit: Int!) { runsOrError(filter: $filter, limit: $limit) { __typename
  ... on PythonError { message }
  ... on Runs { results { runId jobName status creationTime startTime endTime tags { key value } } } } }
"""
_FAILURE = """
query Failure($run: ID!) { logsForRun(runId: $run) { __typename ... on EventConnection { events { __typename
  ... on ExecutionStepFailureEvent { error { message causes { message } } }
  ... on RunFailureEvent { message error { message } } } } } }
"""
_TERMINATE = """
mutation Terminate($runs: [String!]!, $policy: TerminateRunPolicy!) { terminateRuns(runIds: $runs, terminatePolicy: $policy) {
  __typename ... on PythonError { message } } }
"""
_DAEMONS = """
query Daemons { instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""


class RunStatus(StrEnum):
    """The states of a run that matter to us; the names are Dagster's."""

    QUEUED = "QUEUED"
    NOT_STARTED = "NOT_STARTED"
    STARTING = "STARTING"
    STARTED = "STARTED"
    CANCELING = "CANCELING"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELED = "CANCELED"
    MANAGED = "MANAGED"


IN_FLIGHT = (RunStatus.STARTING, RunStatus.STARTED, RunStatus.CANCELING)
ENDED = (RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELED)


@dataclass(frozen=True)
class Run:
    """A run as the UI shows it; times are seconds since the epoch."""

    run_id: str
    job_name: str
    status: RunStatus
    created_at_s: float
    started_at_s: float | None
    ended_at_s: float | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class _Job:
    location: str
    repository: str
    name: str

    def selector(self) -> dict[str, str]:
        return {"repositoryLocationName": self.location, "repositoryName": self.repository, "jobName": self.name}


class DagsterApi:
    """A client of one web server; close it, or use it as a context."""

    def __init__(self, address: str, timeout_s: float = 60) -> None:
        self._client = httpx.Client(base_url=address, timeout=timeout_s, trust_env=False)
        self._jobs: dict[str, _Job] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def launch(self, job_name: str, tags: Mapping[str, str], run_config: Mapping[str, Any] | None = None) -> str:
        """Queue a run of a job, in whichever code location has it, and return its id.

        Raises:
            PermanentError: no location has the job, or Dagster refuses the launch.
        """
        params = {
            "selector": self._find(job_name).selector(),
            "mode": "default",
            "runConfigData": dict(run_config or {}),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(_LAUNCH, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            reasons = [error["message"] for error in answer.get("errors", [])] or [answer.get("message", answer["__typename"])]
            raise PermanentError(f"Dagster refused to launch {job_name}: {'; '.join(reasons)}")
        return str(answer["run"]["runId"])

    def runs(self, *, limit: int = 200, **filters: object) -> list[Run]:
        """Return runs, newest first; `filters` are the fields of Dagster's `RunsFilter`."""
        answer = self._ask(_RUNS, filter=filters, limit=limit)["runsOrError"]
        if "results" not in answer:
            raise PermanentError(f"Dagster does not list its runs: {answer.get('message', answer['__typename'])}")
        return [
            Run(
                row["runId"],
                row["jobName"],
                RunStatus(row["status"]),
                row["creationTime"],
                row["startTime"],
                row["endTime"],
                {tag["key"]: tag["value"] for tag in row["tags"]},
            )
            for row in answer["results"]
        ]

    def run(self, run_id: str) -> Run:
        """Return one run.

        Raises:
            PermanentError: there is none with this id.
        """
        found = self.runs(limit=1, runIds=[run_id])
        if not found:
            raise PermanentError(f"Dagster knows no run {run_id}.")
        return found[0]

    def failure(self, run_id: str) -> str:
        """Return what a failed run says about its failure, the innermost cause last."""
        events = self._ask(_FAILURE, run=run_id)["logsForRun"].get("events", [])
        for event in events:
            error = event.get("error")
            if event["__typename"] == "ExecutionStepFailureEvent" and error:
                messages = [error["message"], *(cause["message"] for cause in error.get("causes") or [])]
                return str(messages[-1]).strip()
        said = [event["message"] for event in events if event["__typename"] == "RunFailureEvent" and event.get("message")]
        return str(said[-1]).strip() if said else "its log gives no reason"

    def terminate(self, run_ids: Sequence[str], *, at_once: bool = False) -> None:
        """Ask runs to end; `at_once` marks them as canceled although their process may not answer (it is gone)."""
        if run_ids:
            policy = "MARK_AS_CANCELED_IMMEDIATELY" if at_once else "SAFE_TERMINATE"
            self._ask(_TERMINATE, runs=list(run_ids), policy=policy)

    def unhealthy_daemons(self) -> list[str]:
        """Return the required daemons that have not given a sign of life lately."""
        statuses = self._ask(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [status["daemonType"] for status in statuses if status["required"] and not status["healthy"]]

    def unloaded_locations(self) -> dict[str, str]:
        """Return the code locations that are not loaded, each with the reason."""
        problems: dict[str, str] = {}
        for entry in self._locations():
            found = entry["locationOrLoadError"] or {}
            if entry["loadStatus"] != "LOADED" or found.get("__typename") != "RepositoryLocation":
                problems[entry["name"]] = found.get("message") or "is loading"
        return problems

    def _find(self, job_name: str) -> _Job:
        if job_name in self._jobs:
            return self._jobs[job_name]
        for entry in self._locations():
            for repository in (entry["locationOrLoadError"] or {}).get("repositories", []):
                for job in repository["jobs"]:
                    self._jobs[job["name"]] = _Job(entry["name"], repository["name"], job["name"])
        if job_name in self._jobs:
            return self._jobs[job_name]
        raise PermanentError(f"No code location has a job {job_name}: {self.unloaded_locations() or 'all are loaded'}.")

    def _locations(self) -> list[dict[str, Any]]:
        answer = self._ask(_JOBS)["workspaceOrError"]
        if "locationEntries" not in answer:
            raise PermanentError(f"Dagster does not show its code locations: {answer.get('message')}")
        return list(answer["locationEntries"])

    def _ask(self, query: str, **variables: object) -> dict[str, Any]:
        try:
            reply = self._client.post("/graphql", json={"query": query, "variables": variables})
            answer: dict[str, Any] = reply.json()
        except (httpx.TransportError, ValueError) as error:
            raise TransientError(f"The Dagster web server does not answer: {error}") from error
        if answer.get("errors"):
            raise PermanentError(f"Dagster did not understand us: {answer['errors'][0]['message']}")
        data: dict[str, Any] = answer["data"]
        return data
