"""The job that tests the connection, run through Dagster against a real source."""

import datetime as dt

import dagster as dg
import pytest

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.settings import Settings
from cmms_pipelines.sync.api_check import STEPS
from tests.conftest import Database
from tests.emulator_server import TOKEN, running_emulator


class SourceOf(SourceSystem):
    """A source at a given address."""

    url: str
    token: str

    def settings(self) -> Settings:
        return Settings.model_validate({"api_url": self.url, "api_token": self.token})


def run_check(database: Database, url: str, token: str) -> dg.ExecuteInProcessResult:
    definitions = build_defs(
        Settings(), {"warehouse": Warehouse(database_url=database.url), "source_system": SourceOf(url=url, token=token)}
    )
    with dg.instance_for_test() as instance:
        return definitions.resolve_job_def("check_external_api").execute_in_process(instance=instance, raise_on_error=False)


def test_the_job_shows_each_step_in_the_ui(database: Database) -> None:
    with running_emulator(clock=lambda: dt.datetime.now(dt.UTC)) as server:
        result = run_check(database, server.url, TOKEN)
    assert result.success
    metadata = next(event.step_output_data.metadata for event in result.all_events if event.is_successful_output)
    assert metadata["diagnosis"].value == "all is well"
    statuses = [record.data["status"] for record in metadata["steps"].records]  # type: ignore[union-attr]
    assert statuses == ["ok"] * len(STEPS)


def test_the_job_fails_with_the_diagnosis_and_without_the_token(database: Database) -> None:
    with running_emulator() as server:
        result = run_check(database, server.url, "s3cr3t-t0ken-value")
    assert not result.success
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert "status 401" in str(failure.user_failure_data.description)
    assert "steps" in failure.user_failure_data.metadata
    assert "s3cr3t" not in str(failure)


@pytest.mark.parametrize("name", ["check_external_api"])
def test_the_job_has_a_limit_and_waits_for_the_external_apis_pool(name: str) -> None:
    job = build_defs(Settings()).resolve_job_def(name)
    assert job.tags["dagster/max_runtime"] == "600"
    assert job.description
    assert {node.pool for node in job.graph.node_defs} == {"external_api"}  # type: ignore[attr-defined]
