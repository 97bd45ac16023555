"""What the code location of the reports consists of."""

from datetime import datetime
from urllib.parse import unquote, urlsplit

import dagster as dg

from cmms_pipelines.defs.reporting import daily_report, export
from cmms_pipelines.defs.reporting.assets import build_assets
from cmms_pipelines.defs.reporting.jobs import build_marts, build_schedule
from cmms_pipelines.defs.reporting.project import PROJECT_DIR, prepare_manifest
from cmms_pipelines.defs.reporting.resources import Dbt
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.timing import timed
from cmms_pipelines.settings import Settings


def build(settings: Settings, *, database_url: str | None = None, as_of: datetime | None = None) -> dg.Definitions:
    """Return assets, checks, jobs and schedules of the reports.

    `database_url` and `as_of` are for tests: a database other than the environment's, a moment other than the present.
    The database need not answer: only its name goes into the manifest.

    Raises:
        PermanentError: the dbt project is missing or does not parse.
    """
    work_dir = settings.home / "dbt"
    manifest = prepare_manifest(PROJECT_DIR, work_dir / "target", _database_name(settings, database_url))
    report, report_job, report_schedule = daily_report.build(settings)
    return dg.Definitions(
        assets=[build_assets(manifest), report],
        jobs=[build_marts, report_job, export.build(settings)],
        schedules=timed([build_schedule(settings.time_zone), report_schedule], settings),
        resources={
            "warehouse": Warehouse(database_url=database_url),
            "dbt": Dbt(
                work_dir=str(work_dir),
                time_zone=settings.time_zone,
                kpi_limits=settings.kpi_limits.model_dump(),
                as_of=as_of.isoformat() if as_of else None,
                database_url=database_url,
            ),
        },
        executor=dg.in_process_executor,
    )


def _database_name(settings: Settings, database_url: str | None) -> str:
    given = database_url or (settings.database_url.get_secret_value() if settings.database_url else None)
    return unquote(urlsplit(given).path.removeprefix("/")) if given else "cmms"
