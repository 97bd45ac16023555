"""`cmms hook`: sign a sample event and post it, as a source system would: the testing tool of whoever connects one."""

import datetime as dt
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, tell
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.events import EventType
from cmms_pipelines.settings import Settings, read_settings

if TYPE_CHECKING:
    from pydantic import SecretStr

    from cmms_pipelines.domain.signatures import SchemeName
    from cmms_pipelines.domain.webhook_source import WebhookSource

app = typer.Typer(help="Events of source systems.", no_args_is_help=True)

_SAMPLE_WORK_ORDER = {"work_order_number": "WO-SAMPLE-1", "title": "A sample work order", "priority": "medium"}
_SAMPLE_MACHINE = {"equipment_number": "N14228", "description": "A sample machine"}


@app.command()
def presets(*, as_json: AsJson = False) -> None:
    """List the kinds of senders that a source can be configured as, with what is good to know about each."""
    from cmms_pipelines.domain.presets import PRESETS  # noqa: PLC0415

    if as_json:
        show_json(
            [
                {"name": name, "title": kind.title, "scheme": kind.scheme, "format": kind.body_format, "note": kind.note}
                for name, kind in PRESETS.items()
            ]
        )
        return
    for name, kind in PRESETS.items():
        typer.echo(f"{name:18} {kind.title}: scheme {kind.scheme}, format {kind.body_format}. {kind.note}")


@app.command()
def send(
    system: Annotated[str, typer.Option("--system", help="The source system, one that is registered with a secret.")],
    event_type: Annotated[EventType, typer.Option("--type", help="The type of the event, for a source in our own format.")],
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", exists=True, dir_okay=False, help="The payload as a JSON object; in another format the whole body."
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="The receiver; by default this machine's.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Sign an event as the system would, with its newest secret, post it and print the answer; exit code 1 unless it is 202.

    A source with a sender's format gets that sender's sample of a new work order, or the body in `--file`.
    """
    import httpx  # noqa: PLC0415
    import orjson  # noqa: PLC0415

    from cmms_pipelines.domain.event_formats import BodyFormat  # noqa: PLC0415
    from cmms_pipelines.domain.presets import sample_body  # noqa: PLC0415

    settings = read_settings()
    now = dt.datetime.now(dt.UTC)
    event_id = uuid.uuid4()
    source, secret = _source(settings, system, now)
    if source.format is BodyFormat.CANONICAL:
        body: object = {
            "event_id": str(event_id),
            "event_type": event_type.value,
            "cmms_system_id": system,
            "timestamp": now.isoformat(),
            "payload": _payload(event_type, file),
        }
    else:
        body = _read(file) if file else sample_body(source.format, now, event_id)
    sent = orjson.dumps(body)
    headers = _signature(source.scheme, secret, sent, now, str(event_id)) | {"Content-Type": "application/json"}
    host, port = settings.webhook_host, settings.webhook_port
    address = f"{(url or f'http://{host}:{port}').rstrip('/')}/api/v1/hooks/maintenance/events/{system}"
    try:
        reply = httpx.post(address, content=sent, headers=headers, timeout=30)
    except httpx.TransportError as error:
        raise TransientError(f"The webhook receiver at {address} does not answer: {error}. Does it run (`cmms up`)?") from error
    if as_json:
        show_json({"status": reply.status_code, "event_id": str(event_id), "answer": reply.text})
    else:
        tell(f"event {event_id}: {reply.status_code} {reply.reason_phrase}")
        typer.echo(reply.text)
    if reply.status_code != httpx.codes.ACCEPTED:
        raise typer.Exit(1)


def _payload(event_type: EventType, file: Path | None) -> object:
    if file is None:
        return _SAMPLE_WORK_ORDER if event_type.value.startswith(("work_order", "maintenance")) else _SAMPLE_MACHINE
    return _read(file)


def _read(file: Path) -> object:
    import orjson  # noqa: PLC0415

    try:
        return orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"{file} is not JSON: {error}.") from error


def _source(settings: Settings, system: str, now: dt.datetime) -> "tuple[WebhookSource, SecretStr | None]":
    from cmms_pipelines.storage.configurations import WEBHOOK, read_configurations, read_source  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.secrets import active_secrets, secret_box  # noqa: PLC0415

    with shared_engine(cmms_address(settings)).connect() as connection:
        found = read_configurations(connection, WEBHOOK, system)
        known = active_secrets(connection, secret_box(settings), now, system)
    if not found:
        raise PermanentError(f"No source of events is registered as {system!r}.")
    return read_source(found[0].configuration), next((stored.value for stored in known if stored.value is not None), None)


def _signature(
    scheme: "SchemeName", secret: "SecretStr | None", body: bytes, now: dt.datetime, message_id: str
) -> dict[str, str]:
    from cmms_pipelines.domain.signatures import SchemeName, key_of, sign  # noqa: PLC0415

    if scheme is SchemeName.UNSIGNED:
        return {}
    if secret is None:
        raise PermanentError("The source has no secret in force that our key can decrypt.")
    return sign(scheme, key_of(scheme, secret.get_secret_value()), body, now, message_id)
