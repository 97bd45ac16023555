"""`cmms up`, `cmms demo`, and the services that they start: `cmms emulator`, `cmms webhook`."""

from typing import Annotated

import typer

from cmms_pipelines.commands.output import console_for_tables, show_json, tell
from cmms_pipelines.settings import read_settings


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    for command in (up, demo, emulator, webhook):
        app.command()(command)


def up(
    read_only_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Also a Dagster UI that only shows, on this port (CMMS_DAGSTER_READ_ONLY_PORT)."),
    ] = None,
) -> None:
    """Run all services on this machine until Ctrl-C: webhook receiver, Dagster UI and daemon, and the embedded database."""
    from cmms_pipelines.operate import stack, supervise  # noqa: PLC0415 - loads SQLAlchemy and httpx

    settings = read_settings()
    if read_only_port is not None:
        settings = settings.model_copy(update={"dagster_read_only_port": read_only_port})
    try:
        with stack.running(settings, tell) as running:
            viewer = f" · read-only {running.viewer_address}" if running.viewer_address else ""
            tell(f"Dagster UI {running.dagster_address}{viewer} · webhook receiver {running.webhook_address} · Ctrl-C stops all")
            running.supervisor.wait()
    except supervise.StopRequested:
        tell("stopped")


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the summary; the exit code says whether every figure is right.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Show the whole system on real data: sync it, send signed events, build marts, check every figure; stay up until Ctrl-C."""
    from cmms_pipelines.operate import demo as demonstration  # noqa: PLC0415 - loads SQLAlchemy and httpx
    from cmms_pipelines.operate import supervise  # noqa: PLC0415
    from cmms_pipelines.operate.report import print_summary  # noqa: PLC0415

    try:
        with demonstration.prepared(read_settings(), tell) as prepared:
            summary = prepared.run()
            if as_json:
                show_json(summary.as_json())
            else:
                print_summary(summary, console_for_tables())
            if once:
                raise typer.Exit(0 if summary.is_right else 1)
            tell("Ctrl-C stops everything")
            prepared.stack.supervisor.wait()
    except supervise.StopRequested as request:
        tell("stopped")
        if once:
            raise typer.Exit(130) from request


def emulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 for any free one (CMMS_EMULATOR_PORT, 8090).")
    ] = None,
    dialect: Annotated[str, typer.Option(help="The API that it speaks: ims, odata_v2 or odata_v4.")] = "ims",
    faults: Annotated[str, typer.Option(help="Disturbances, as `429=0.05,500=0.01,seed=7`.")] = "",
    *,
    latency_ms: Annotated[float, typer.Option(min=0, help="Milliseconds by which each reply is delayed.")] = 0,
    page_size: Annotated[int, typer.Option(min=1, help="Rows of a page, in the OData dialects.")] = 1000,
    traps: Annotated[
        str, typer.Option(help="Paging traps of the OData dialects: no_filter, plus, quotes, repeat, overlap, deleted.")
    ] = "",
    standard: Annotated[
        bool, typer.Option("--standard", help="Documents of the OData dialects without plant and company, as SAP's own service.")
    ] = False,
    counters: Annotated[
        bool, typer.Option("--counters", help="Let some counters overflow, be replaced, go back, or run backwards.")
    ] = False,
) -> None:
    """Serve the external API over real flight data. Clients must send CMMS_API_TOKEN; without one a token is made and printed."""
    import secrets  # noqa: PLC0415

    from cmms_pipelines.emulator.faults import Faults  # noqa: PLC0415 - loads FastAPI
    from cmms_pipelines.emulator.odata import Traps  # noqa: PLC0415
    from cmms_pipelines.emulator.server import create_app, serve  # noqa: PLC0415

    settings = read_settings()
    token = settings.api_token.get_secret_value() if settings.api_token else ""
    if not token:
        token = secrets.token_urlsafe(24)
        tell(f"CMMS_API_TOKEN={token}")
    app = create_app(
        token,
        Faults.parse(faults),
        latency_ms,
        dialect=dialect,
        page_size=page_size,
        traps=Traps.parse(traps),
        has_counters=counters,
        is_standard=standard,
    )
    serve(
        host,
        settings.emulator_port if port is None else port,
        app,
        on_listening=lambda address: tell(f"the emulator listens on {address}"),
    )


def webhook() -> None:
    """Serve the webhook receiver on CMMS_WEBHOOK_HOST and CMMS_WEBHOOK_PORT."""
    from cmms_webhook.server import serve  # noqa: PLC0415 - loads FastAPI

    serve(read_settings())
