"""`cmms sync`: materialize through Dagster in this process, with the real instance, so that the UI shows the run."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.commands.runs import PARTITION, JobRunner, job_runner, operator
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings

app = typer.Typer(help="Bring data of the external system into the database, and hold or stop what does.", no_args_is_help=True)

_SHOWN = (
    "sync_type", "status", "records_processed", "records_success", "records_failed", "records_inserted", "records_updated",
    "records_unchanged", "records_merged", "records_warned", "dagster_run_id", "error_message",
)  # fmt: skip
_STATUS = (
    "id",
    "sync_type",
    "status",
    "scope",
    "records_processed",
    "slices_done",
    "slices_total",
    "activity",
    "sync_started_at",
)
Plants = Annotated[list[str] | None, typer.Option("--plant", help="Only this plant; may be given several times.")]
Machines = Annotated[list[str] | None, typer.Option("--equipment", help="Only this machine; may be given several times.")]
FullRefresh = Annotated[
    bool,
    typer.Option("--full-refresh", help="Everything of the scope again, for running hours also of plants that are inactive."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is shown wherever a sync waits or was stopped.")]


@app.command()
def plants(*, as_json: AsJson = False) -> None:
    """Sync the plants; machines and readings that waited for one are applied."""
    with job_runner() as runner:
        _run(runner, "sync_plants", [{}], as_json=as_json)


@app.command()
def equipment(
    plant: Plants = None, equipment_number: Machines = None, *, full_refresh: FullRefresh = False, as_json: AsJson = False
) -> None:
    """Sync the equipment of all active plants, or of some; each of those is a run of its own."""
    known = _active_plants()
    unknown = sorted(set(plant or ()) - set(known))
    if unknown:
        raise PermanentError(f"No active plant has the code {', '.join(unknown)}: `cmms sync plants` brings new ones.")
    if not known:
        raise PermanentError("There are no active plants yet: run `cmms sync plants` first.")
    config = {"equipment": equipment_number or [], "full_refresh": full_refresh}
    run_config = {"ops": {"cmms__equipment": {"config": config}}}
    with job_runner() as runner:
        partitions = [{PARTITION: code} for code in plant] if plant else [_all_plants(runner)]
        _run(runner, "sync_equipment", partitions, run_config, as_json=as_json)


@app.command("running-times")
def running_times(
    date: Annotated[dt.datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="The day, or the first of several.")],
    to: Annotated[dt.datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last day.")] = None,
    plant: Plants = None,
    equipment_number: Machines = None,
    *,
    full_refresh: FullRefresh = False,
    as_json: AsJson = False,
) -> None:
    """Sync the running hours of one day, or of all days from --date to --to, in one run."""
    first, last = date.date(), (to or date).date()
    if last < first:
        raise typer.BadParameter(f"--to {last} is before --date {first}.")
    config = {"plants": plant or [], "equipment": equipment_number or [], "full_refresh": full_refresh}
    run_config = {"ops": {"cmms__equipment_running_times": {"config": config}}}
    with job_runner() as runner:
        from cmms_pipelines.defs.running import range_tags  # noqa: PLC0415 - Dagster takes a second

        days = {PARTITION: first.isoformat()} if first == last else range_tags(first.isoformat(), last.isoformat())
        _run(runner, "sync_running_times", [days], run_config, as_json=as_json)


@app.command("work-orders")
def work_orders(
    first_day: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="Changed on this day or later; by default since the sync before."),
    ] = None,
    plant: Plants = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Sync the work orders that have changed; events about the same orders may come at any time."""
    config = {"first_day": first_day.date().isoformat() if first_day else "", "plants": plant or []}
    with job_runner() as runner:
        _run(runner, "sync_work_orders", [{}], {"ops": {"sync_changed_work_orders": {"config": config}}}, as_json=as_json)


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show whether syncs are paused, which ones run or wait now, and how the last one of each kind ended."""
    from cmms_pipelines.storage import sync_claims, sync_controls, sync_log  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415

    with shared_engine(cmms_address(read_settings())).connect() as connection:
        controls = sync_controls.read_controls(connection)
        running = sync_log.read_many(connection, [sync.id for sync in sync_claims.living(connection)])
        finished = sync_log.newest_finished(connection)
    if as_json:
        flags = {"paused": controls.pause and vars(controls.pause), "stopped": controls.stop and vars(controls.stop)}
        show_json({**flags, "running": running, "finished": finished})
        return
    typer.echo(f"Syncs are paused {controls.pause}" if controls.pause else "Syncs are not paused.")
    rows = [{name: row[name] for name in _STATUS} for row in running]
    show_rows(rows, as_json=False, nothing="No sync runs now.")
    show_rows([{name: row[name] for name in _SHOWN} for row in finished], as_json=False, nothing="No sync has ended yet.")


@app.command()
def pause(reason: Reason = "", *, as_json: AsJson = False) -> None:
    """Hold every schedule, and every running sync before its next slice, until `cmms sync resume`."""
    _set_pause(is_paused=True, reason=reason, as_json=as_json)


@app.command()
def resume(reason: Reason = "", *, as_json: AsJson = False) -> None:
    """Let all syncs go on where they were paused."""
    _set_pause(is_paused=False, reason=reason, as_json=as_json)


@app.command()
def stop(
    reason: Reason = "",
    *,
    and_pause: Annotated[bool, typer.Option("--pause", help="Also pause, so that nothing starts again.")] = False,
    as_json: AsJson = False,
) -> None:
    """End every sync in flight and in the queue, wherever it was started, and say which; finished slices are kept."""
    config = {"reason": reason, "by": operator(), "pause": and_pause}
    with job_runner() as runner:
        ended = runner.run("emergency_stop", run_config={"ops": {"stop": {"config": config}}})
        if ended.failure is not None:
            raise PermanentError(ended.failure)
        stopped: list[dict[str, str]] = ended.result.output_for_node("stop")
    show_rows(stopped, as_json=as_json, nothing="no sync was running or waiting")


def _set_pause(*, is_paused: bool, reason: str, as_json: bool) -> None:
    from cmms_pipelines.storage import sync_controls  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415

    change = sync_controls.pause if is_paused else sync_controls.resume
    with shared_engine(cmms_address(read_settings())).begin() as connection:
        is_new = change(connection, actor=operator(), reason=reason or None)
    if as_json:
        show_json({"paused": is_paused, "changed": is_new})
        return
    state = "paused" if is_paused else "not paused"
    tell(f"syncs are {state}" if is_new else f"syncs were {state} already")


def _active_plants() -> list[str]:
    import sqlalchemy as sa  # noqa: PLC0415

    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.tables import plants as table  # noqa: PLC0415

    query = sa.select(table.c.plant_code).where(table.c.is_active).order_by(table.c.plant_code)
    with shared_engine(cmms_address(read_settings())).connect() as connection:
        return list(connection.scalars(query))


def _all_plants(runner: JobRunner) -> dict[str, str]:
    """Return the tags of a run of all plants, from the first to the last in the order in which Dagster keeps them."""
    from cmms_pipelines.defs.equipment.assets import PLANTS  # noqa: PLC0415 - Dagster takes a second
    from cmms_pipelines.defs.running import range_tags  # noqa: PLC0415

    codes = list(runner.instance.get_dynamic_partitions(str(PLANTS.name)))
    if not codes:
        raise PermanentError("Dagster knows no plants yet: run `cmms sync plants` first.")
    return range_tags(codes[0], codes[-1])


def _run(
    runner: JobRunner,
    job_name: str,
    runs: Sequence[Mapping[str, str]],
    run_config: Mapping[str, Any] | None = None,
    *,
    as_json: bool,
) -> None:
    """Execute a job once for each set of tags and print the rows that these runs left in the sync log."""
    from cmms_pipelines.storage.engine import shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.sync_log import read_of_run  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    for tags in runs:
        ended = runner.run(job_name, tags=tags, run_config=run_config)
        rows += read_of_run(shared_engine(runner.database_url), ended.run_id)
        failures += [ended.failure] if ended.failure else []
    if as_json:
        show_json(rows)
    else:
        show_rows([{name: row[name] for name in _SHOWN} for row in rows], as_json=False, nothing="nothing was synced")
    if failures:
        raise PermanentError("; ".join(failures))
