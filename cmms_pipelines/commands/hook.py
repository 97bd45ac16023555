"""`cmms hook`: sign a sample event and post it, as a source system would: the testing tool of whoever connects one."""

import datetime as dt
import uuid
from pathlib import Path
from typing import Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, tell
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.events import EventType
from cmms_pipelines.settings import read_settings

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
    from cmms_pipelines.domain.event_formats import BodyFormat  # noqa: PLC0415
    from cmms_pipelines.domain.presets import sample_body  # noqa: PLC0415
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.sync.sample_events import find_signer, local_receiver, post  # noqa: PLC0415

    settings = read_settings()
    now = dt.datetime.now(dt.UTC)
    event_id = uuid.uuid4()
    signer = find_signer(shared_engine(cmms_address(settings)), settings, system, now)
    if signer.source.format is BodyFormat.CANONICAL:
        body: object = {
            "event_id": str(event_id),
            "event_type": event_type.value,
            "cmms_system_id": system,
            "timestamp": now.isoformat(),
            "payload": _payload(event_type, file),
        }
    else:
        body = _read(file) if file else sample_body(signer.source.format, now, event_id)
    reply = post(signer, body, message_id=str(event_id), now=now, receiver=url or local_receiver(settings))
    if as_json:
        show_json({"status": reply.status, "event_id": str(event_id), "answer": reply.text})
    else:
        tell(f"event {event_id}: {reply.status} {reply.reason}")
        typer.echo(reply.text)
    if reply.status != 202:
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
