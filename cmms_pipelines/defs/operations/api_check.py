"""The job that tests the connection to the external system, for those who have the UI and no shell."""

import datetime as dt

import dagster as dg

from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import EXTERNAL_API_POOL, run_tags


def build() -> dg.Definitions:
    """Return the job `check_external_api`; it writes nothing, and fails with the diagnosis where something is wrong."""

    @dg.op(
        pool=EXTERNAL_API_POOL,
        description="Address, credentials, clock, each endpoint, and a sample mapped and validated: `cmms api check` in the UI.",
    )
    def check_connection(context: dg.OpExecutionContext, warehouse: Warehouse, source_system: SourceSystem) -> None:
        from cmms_pipelines.sync.api_check import check_api  # noqa: PLC0415 - keeps start-up light

        result = check_api(source_system.in_force(warehouse, context.log.warning), now=lambda: dt.datetime.now(dt.UTC))
        records = [
            dg.TableRecord(
                {
                    "step": step.name,
                    "status": step.status,
                    "milliseconds": round(step.duration_ms or 0),
                    "found": step.detail,
                    "advice": step.advice or "",
                }
            )
            for step in result.steps
        ]
        metadata: dict[str, dg.MetadataValue] = {
            "diagnosis": dg.MetadataValue.text(result.diagnosis),
            "steps": dg.MetadataValue.table(records),
            "url": dg.MetadataValue.text(result.url),
            "dialect": dg.MetadataValue.text(result.dialect),
        }
        if not result.is_well:
            raise dg.Failure(description=result.diagnosis, metadata=metadata, allow_retries=False)
        context.add_output_metadata(metadata)

    @dg.job(
        name="check_external_api",
        tags=run_tags(max_runtime_s=600, priority=5),
        executor_def=dg.in_process_executor,
        description="Test the connection to the external system; the result is the step's metadata.",
    )
    def check_external_api() -> None:
        check_connection()

    return dg.Definitions(jobs=[check_external_api])
