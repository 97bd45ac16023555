"""`cmms sync`: materialize through Dagster in this process, with the real instance, so that the UI shows the run."""

import datetime as dt
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import dagster as dg

app = typer.Typer(help="Bring data of the external system into the database, here and now.", no_args_is_help=True)

RANGE_START, RANGE_END, PARTITION = (
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
    "dagster/partition",
)
_QUIET = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
Plants = Annotated[list[str] | None, typer.Option("--plant", help="Only this plant; may be given several times.")]


@app.command()
def plants(*, as_json: AsJson = False) -> None:
    """Sync the plants."""
    _run("sync_plants", [{}], as_json=as_json)


@app.command()
def equipment(plant: Plants = None, *, as_json: AsJson = False) -> None:
    """Sync the equipment of all active plants, or of some; each of those is a run of its own."""
    known = _active_plants()
    unknown = sorted(set(plant or ()) - set(known))
    if unknown:
        raise PermanentError(f"No active plant has the code {', '.join(unknown)}: `cmms sync plants` brings new ones.")
    if not known:
        raise PermanentError("There are no active plants yet: run `cmms sync plants` first.")
    partitions = [{PARTITION: code} for code in plant] if plant else [{RANGE_START: known[0], RANGE_END: known[-1]}]
    _run("sync_equipment", partitions, as_json=as_json)


@app.command("running-times")
def running_times(
    date: Annotated[dt.datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="The day, or the first of several.")],
    to: Annotated[dt.datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last day.")] = None,
    plant: Plants = None,
    equipment_number: Annotated[
        list[str] | None, typer.Option("--equipment", help="Only this machine; may be given several times.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Sync the running hours of one day, or of all days from --date to --to, in one run."""
    first, last = date.date(), (to or date).date()
    if last < first:
        raise typer.BadParameter(f"--to {last} is before --date {first}.")
    days = {PARTITION: first.isoformat()} if first == last else {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
    config = {"plants": plant or [], "equipment": equipment_number or []}
    run_config = {"ops": {"cmms__equipment_running_times": {"config": config}}}
    _run("sync_running_times", [days], run_config, as_json=as_json)


def _active_plants() -> list[str]:
    import sqlalchemy as sa  # noqa: PLC0415

    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.tables import plants as table  # noqa: PLC0415

    query = sa.select(table.c.plant_code).where(table.c.is_active).order_by(table.c.plant_code)
    with shared_engine(cmms_address(read_settings())).connect() as connection:
        return list(connection.scalars(query))


def _run(job_name: str, runs: list[dict[str, str]], run_config: Mapping[str, Any] | None = None, *, as_json: bool) -> None:
    """Execute a job once for each set of tags and print the rows that these runs left in the sync log."""
    from cmms_pipelines.operate.services import dagster_environment  # noqa: PLC0415
    from cmms_pipelines.operate.stack import prepare_databases  # noqa: PLC0415
    from cmms_pipelines.storage.engine import shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.sync_log import read_of_run  # noqa: PLC0415

    settings = read_settings()
    databases = prepare_databases(settings, tell)
    os.environ.update(dagster_environment(settings, databases))  # Dagster finds its instance through the environment alone
    import dagster as dg  # noqa: PLC0415 - takes a second

    warnings.simplefilter("ignore", dg.BetaWarning)

    from cmms_pipelines.definitions import definitions  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with dg.DagsterInstance.get() as instance:
        job = definitions().resolve_job_def(job_name)
        for tags in runs:
            failure, run_id = _execute(job, instance, tags, run_config)
            rows += read_of_run(shared_engine(databases.cmms), run_id)
            failures += [failure] if failure else []
    if as_json:
        show_json(rows)
    else:
        shown = ("sync_type", "status", "records_processed", "records_success", "records_failed", "records_inserted")
        more = ("records_updated", "records_unchanged", "records_merged", "records_warned", "dagster_run_id", "error_message")
        show_rows([{name: row[name] for name in shown + more} for row in rows], as_json=False, nothing="nothing was synced")
    if failures:
        raise PermanentError("; ".join(failures))


def _execute(
    job: "dg.JobDefinition", instance: "dg.DagsterInstance", tags: dict[str, str], run_config: Mapping[str, Any] | None
) -> tuple[str | None, str]:
    result = job.execute_in_process(
        run_config={**_QUIET, **(run_config or {})},
        instance=instance,
        partition_key=tags.get(PARTITION),
        tags={"cmms/started_by": "command line", **tags},
        raise_on_error=False,
    )
    if result.success:
        return None, result.run_id
    said = [event.event_specific_data for event in result.all_events if event.is_step_failure]
    texts = [getattr(getattr(data, "user_failure_data", None), "description", None) for data in said]
    return next(filter(None, texts), f"run {result.run_id} failed; the Dagster UI shows why"), result.run_id
