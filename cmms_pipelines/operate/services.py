"""The services of one machine: what runs, on which addresses, in which environment, and how one sees that it is ready.

What belongs here: what the emulator (demo only), the webhook receiver, Dagster's code servers, web server and daemon are.
What does not: starting and stopping them (`operate.supervise`).
"""

import datetime as dt
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.operate import ports
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.engine import Databases, with_driver
from cmms_pipelines.storage.pooling import with_pool

LOOPBACK = "127.0.0.1"
PROJECT = Path(__file__).resolve().parents[2]
EVENTS_WRITTEN_TOGETHER = 1000  # of one asset's partitions: a hundred plants one by one take seconds


@dataclass(frozen=True)
class Service:
    """One service: its command, what must be ready before it, and where one asks whether it is.

    With neither `ready_url` nor `ready_port` a service counts as ready as soon as it runs. One that is not awaited becomes ready
    while the others are used already.
    """

    name: str
    title: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    ready_url: str | None = None
    ready_port: int | None = None
    is_awaited: bool = True


@dataclass(frozen=True)
class Ports:
    """The ports of one start; those that the settings leave to us (0) are chosen."""

    webhook: int
    dagster: int
    code: int
    reporting: int
    emulator: int | None
    viewer: int | None = None


def claim_ports(settings: Settings, *, with_emulator: bool) -> Ports:
    """Choose the ports of the services.

    Raises:
        PermanentError: a port that the settings name is taken; the message names port, service and variable.
    """
    return Ports(
        webhook=ports.claim(
            settings.webhook_host, settings.webhook_port, service="webhook receiver", variable="CMMS_WEBHOOK_PORT"
        ),
        dagster=ports.claim(LOOPBACK, settings.dagster_port, service="Dagster UI", variable="CMMS_DAGSTER_PORT"),
        code=ports.free_port(LOOPBACK),
        reporting=ports.free_port(LOOPBACK),
        emulator=(
            ports.claim(LOOPBACK, settings.emulator_port, service="emulator of the external API", variable="CMMS_EMULATOR_PORT")
            if with_emulator
            else None
        ),
        viewer=(
            ports.claim(
                LOOPBACK,
                settings.dagster_read_only_port,
                service="read-only Dagster UI",
                variable="CMMS_DAGSTER_READ_ONLY_PORT",
            )
            if settings.dagster_read_only_port is not None
            else None
        ),
    )


def dagster_home(home: Path, project: Path = PROJECT) -> Path:
    """Make Dagster's home under `home`, its `dagster.yaml` a link to the repository's, and return it."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    link, target = folder / "dagster.yaml", project / "dagster.yaml"
    if not target.is_file():
        raise PermanentError(f"{target} is missing: the services run from a checkout of the repository.")
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return folder


def dagster_environment(settings: Settings, databases: Databases) -> dict[str, str]:
    """Return what a process with Dagster in it needs: both databases and Dagster's home. It holds passwords: never log it."""
    return {
        "CMMS_HOME": str(settings.home),
        "CMMS_DATABASE_URL": databases.cmms,
        "DAGSTER_DATABASE_URL": with_pool(with_driver(databases.dagster, "psycopg2")),
        "DAGSTER_HOME": str(dagster_home(settings.home)),
        "DAGSTER_EVENT_BATCH_SIZE": str(EVENTS_WRITTEN_TOGETHER),
    }


def service_environment(
    settings: Settings, databases: Databases, chosen: Ports, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment that all services share: the caller's, with addresses resolved and the loopback kept off proxies."""
    environment = dict(os.environ if inherited is None else inherited)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each run imports its code location anew: byte code saves it seconds
    no_proxy = ",".join(filter(None, (environment.get("NO_PROXY") or environment.get("no_proxy"), LOOPBACK, "localhost")))
    return environment | dagster_environment(settings, databases) | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "CMMS_WEBHOOK_HOST": settings.webhook_host,
        "CMMS_WEBHOOK_PORT": str(chosen.webhook),
        "CMMS_DAGSTER_PORT": str(chosen.dagster),
        "CMMS_CODE_HOST": LOOPBACK,
        "CMMS_CODE_PORT": str(chosen.code),
        "CMMS_REPORTING_CODE_HOST": LOOPBACK,
        "CMMS_REPORTING_CODE_PORT": str(chosen.reporting),
    }  # fmt: skip


def services(
    settings: Settings, chosen: Ports, *, is_first_start: bool, workspace: Path = PROJECT / "workspace.yaml"
) -> list[Service]:
    """Return the services that `cmms up` runs, in the order of their start.

    On the first start the daemon waits for the web server, so that one process alone creates Dagster's tables.
    """
    wanted = [
        Service(
            "webhook",
            "webhook receiver",
            _cmms("webhook"),
            ready_url=f"{webhook_address(settings, chosen)}/health/ready",
        ),
        _code_server("code", "pipelines", "cmms_pipelines.definitions", "cmms", chosen.code),
        _web_server("webserver", "Dagster UI", chosen.dagster, workspace, after=("code",)),
        Service(
            "daemon",
            "Dagster daemon",
            _python("dagster._daemon", "run", "-w", str(workspace), "--log-level", "warning"),
            after=("code", "webserver") if is_first_start else ("code",),
        ),
        Service("alerts", "watcher of alerts", _cmms("alerts", "watch"), after=("webserver", "daemon")),
        _code_server(
            "reporting",
            "reporting",
            "cmms_pipelines.definitions_reporting",
            "reporting",
            chosen.reporting,
            after=("webserver", "daemon"),  # dbt takes seconds to load, and nothing needs it at once
        ),
    ]
    if chosen.viewer is not None:
        title = "read-only Dagster UI"
        wanted.append(_web_server("viewer", title, chosen.viewer, workspace, "--read-only", after=("webserver",)))
    return wanted


def emulator_environment(port: int, token: str, today: dt.date) -> dict[str, str]:
    """Return what makes the emulator on `port` the external API of all services, with `token` for both sides.

    Its machines come with classification rules of their own, and with daily partitions since the year before `today`.
    """
    return {
        "CMMS_API_URL": f"http://{LOOPBACK}:{port}",
        "CMMS_API_TOKEN": token,
        "CMMS_API_AUTH": "raw",
        "CMMS_API_DIALECT": "ims",
        "CMMS_PLANTS_FILE": "",
        "CMMS_EQUIPMENT_GROUPS_FILE": str(PROJECT / "cmms_pipelines" / "emulator" / "equipment_groups.toml"),
        "CMMS_FIRST_DAY": f"{today.year - 1}-01-01",
    }


def emulator(port: int) -> Service:
    """Return the emulator of the external API; it lets in whoever sends the token of `emulator_environment`."""
    return Service(
        "emulator",
        "emulator of the external API",
        _cmms("emulator", "--port", str(port)),
        ready_url=f"http://{LOOPBACK}:{port}/health",
    )


def webhook_address(settings: Settings, chosen: Ports) -> str:
    """Return where senders on this machine reach the receiver."""
    host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(settings.webhook_host, settings.webhook_host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{chosen.webhook}" if ":" in host else f"http://{host}:{chosen.webhook}"


def _web_server(name: str, title: str, port: int, workspace: Path, *options: str, after: tuple[str, ...]) -> Service:
    address = ("-h", LOOPBACK, "-p", str(port), "-w", str(workspace))
    command = _python("dagster_webserver", *address, "--dagster-log-level", "warning", *options)
    return Service(name, title, command, after, ready_url=f"http://{LOOPBACK}:{port}/server_info")


def _code_server(name: str, title: str, module: str, location: str, port: int, *, after: tuple[str, ...] = ()) -> Service:
    command = _python(
        "dagster",
        "api",
        "grpc",
        "-m",
        module,
        "-h",
        LOOPBACK,
        "-p",
        str(port),
        "--location-name",
        location,
        "--log-level",
        "warning",
    )
    return Service(name, f"code server of the {title}", command, after, ready_port=port, is_awaited=not after)


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def _cmms(*arguments: str) -> tuple[str, ...]:
    return _python("cmms_pipelines.cli", *arguments)
