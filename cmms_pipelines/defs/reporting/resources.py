"""dbt as a resource: one run of it against the `cmms` database.

What belongs here: starting dbt with the right connection, and tidying up behind it. What does not: what the models are.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import orjson
from dagster_dbt import DbtCliResource
from packaging.version import Version

from cmms_pipelines.defs.reporting.kpi_metadata import with_kpis
from cmms_pipelines.defs.reporting.lineage_metadata import with_lineage
from cmms_pipelines.defs.reporting.mart_metadata import with_figures
from cmms_pipelines.defs.reporting.project import EXECUTABLE, PROJECT_DIR, connection_environment, parse_cache
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

RUNS_KEPT = 10
PARTIAL_PARSE = "partial_parse.msgpack"


class Dbt(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Our dbt project, ready to run; the connection comes from the environment when a run starts."""

    work_dir: str
    """Where dbt's own files of each run go: its log, its compiled SQL, its results."""
    time_zone: str = "UTC"
    """Turns the start of a sync into a day."""
    as_of: str | None = None
    """The moment the marts are built for, ISO 8601 with an offset; by default the present."""
    kpi_limits: dict[str, float]
    """What the checks on `daily_kpis` hold its figures against (`domain.kpi_limits`)."""
    database_url: str | None = None
    """A libpq URL; by default the environment's, or the embedded server's."""

    def build(self, context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Run `dbt build` over the selected models and yield their materializations and check results.

        Raises:
            DagsterDbtCliRuntimeError: a model could not be built, or a test of severity error failed.
            PermanentError: there is no database to go to.
        """
        runs = Path(self.work_dir) / "runs"
        _forget_old_runs(runs)
        target = runs / context.run.run_id
        parsed = parse_cache(PROJECT_DIR, Path(self.work_dir) / "target")
        _bring(parsed, target / PARTIAL_PARSE)
        variables = {"time_zone": self.time_zone, "as_of": self.as_of, "kpi_limits": self.kpi_limits}
        address = self._address()
        with _environment(connection_environment(address)):
            invocation = _DbtCli(
                project_dir=str(PROJECT_DIR),
                profiles_dir=str(PROJECT_DIR),
                dbt_executable=str(EXECUTABLE),
                global_config_flags=["--no-use-colors"],
            ).cli(
                ["build", "--vars", orjson.dumps(variables).decode()],
                context=context,
                target_path=target,
            )
        # one at a time: side by side, dagster-dbt's lookers change the folder of the process under one another
        invocation.postprocessing_threadpool_num_threads = 1
        made = invocation.stream().fetch_column_metadata(with_column_lineage=False)
        traced = with_lineage(made, invocation.manifest, target, self.engine(), context.log)
        events = with_figures(traced, self.engine(), context.log, kpi_limits=self.kpi_limits)
        yield from with_kpis(events, address)
        _bring(target / PARTIAL_PARSE, parsed)

    def engine(self) -> "sa.Engine":
        """Return this process's pooled engine on the database."""
        from cmms_pipelines.storage.engine import shared_engine  # noqa: PLC0415 - keeps SQLAlchemy out of the location's start

        return shared_engine(self._address())

    def _address(self) -> str:
        from cmms_pipelines.storage.engine import cmms_address  # noqa: PLC0415

        return self.database_url or cmms_address(read_settings())


class _DbtCli(DbtCliResource):
    @cached_property
    def _cli_version(self) -> Version:
        # dagster-dbt asks `dbt --version`, which takes two seconds and calls PyPI to compare: we know what is installed
        from dbt.version import __version__  # noqa: PLC0415

        return Version(__version__)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process for a while: dagster-dbt hands dbt the process's environment and no other."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _bring(source: Path, destination: Path) -> None:
    """Copy a file, if there is one, so that nobody sees half of it."""
    if not source.exists():
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=destination.parent, delete=False) as scratch:
        scratch.write(source.read_bytes())
    Path(scratch.name).replace(destination)


def _forget_old_runs(runs: Path) -> None:
    """Keep the files of the newest runs only: each has its own copy of everything that dbt compiled."""
    folders = sorted((path for path in runs.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[RUNS_KEPT - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)
