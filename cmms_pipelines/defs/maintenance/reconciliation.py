"""The sweep for missed events as a job and a schedule: what changed at the sources that no webhook has told."""

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.maintenance.assets import INBOX
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import EXTERNAL_API_POOL, SYNC_RETRIES, operator_errors, run_tags, skip_while_paused
from cmms_pipelines.settings import Settings

FIND_MISSED_EVENTS = "find_missed_events"


class SweepConfig(dg.Config):
    """Which sources to ask."""

    sources: list[str] = Field(default=[], description="Source systems, such as s4; empty: all whose API says what changed.")


@dg.op(
    pool=EXTERNAL_API_POOL,
    retry_policy=SYNC_RETRIES,
    description="Ask each source what changed since the last sweep, and put into the inbox what no event has brought.",
)
def sweep_sources(context: dg.OpExecutionContext, config: SweepConfig, warehouse: Warehouse) -> int:
    with operator_errors(context):
        from cmms_pipelines.domain.errors import PermanentError, TransientError  # noqa: PLC0415 - keeps start-up light
        from cmms_pipelines.settings import read_settings  # noqa: PLC0415
        from cmms_pipelines.sync.reconciliation import sweep  # noqa: PLC0415

        settings, run_id = read_settings(), context.run.run_id
        swept = sweep(warehouse.engine(), settings, systems=config.sources, run_id=run_id, progress=context.log.info)
        figures = {
            name: sum(getattr(one.counts, name) for one in swept)
            for name in ("entities", "known", "waiting", "missed", "refused")
        }
        examples = [{"source": one.cmms_system_id, **example} for one in swept for example in one.counts.examples]
        metadata = {**figures, "sources": len(swept), "examples": dg.MetadataValue.json(examples)}
        context.add_output_metadata(metadata)
        context.log_event(dg.AssetObservation(INBOX, metadata={f"sweep_{name}": value for name, value in metadata.items()}))
        context.log.info("Swept %d sources: %s", len(swept), figures)
        if failed := [one for one in swept if one.error]:
            kind = TransientError if any(one.is_passing for one in failed) else PermanentError
            raise kind("; ".join(f"{one.cmms_system_id}: {one.error}" for one in failed))
    return int(figures["missed"])


@dg.job(
    name=FIND_MISSED_EVENTS,
    tags=run_tags(max_runtime_s=3600, priority=-5),
    executor_def=dg.in_process_executor,
    description="Asks the sources' own APIs what changed since the last sweep, and brings what webhooks have missed.",
)
def find_missed_events() -> None:
    sweep_sources()


def build(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule, by the clock of `settings.time_zone`."""

    @dg.schedule(
        name="find_missed_events_daily",
        job=find_missed_events,
        cron_schedule="30 3 * * *",
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night at 03:30, where a source has an API that says what changed.",
    )
    def find_missed_events_daily(_context: dg.ScheduleEvaluationContext, warehouse: Warehouse) -> dg.RunRequest | dg.SkipReason:
        from cmms_pipelines.sync.reconciliation import swept_sources  # noqa: PLC0415 - keeps start-up light

        if paused := skip_while_paused(warehouse):
            return paused
        if not swept_sources(warehouse.engine()):
            return dg.SkipReason("No source has an API that says what changed.")
        return dg.RunRequest()

    return find_missed_events_daily
