"""Sending test events as a job: a signed sample of each chosen source, through the receiver, until it is applied."""

import datetime as dt
import json
import uuid

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import preview_table
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import operator_errors, run_tags

SEND_TEST_EVENTS = "send_test_events"
_COLUMNS = ("source", "preset", "http_status", "event_id", "status", "latency_ms", "error")


class TestEventsConfig(dg.Config):
    """Whose samples to send; as it stands: those of all active sources that can sign."""

    sources: list[str] = Field(default=[], description="Source systems, such as plant-cmms; empty: all active ones.")
    presets: list[str] = Field(
        default=[],
        description="Kinds of senders (`cmms hook presets`), in place of sources: each gets a source and a secret of its own "
        "for as long as the test takes.",
    )
    receiver: str = Field(default="", description="Where the receiver listens; empty: this machine's.")
    wait_s: float = Field(default=20.0, description="How long to follow each event.")


@dg.op(description="Send a signed sample event for each source, and follow it until it is applied.")
def send_samples(context: dg.OpExecutionContext, config: TestEventsConfig, warehouse: Warehouse) -> int:
    with operator_errors(context):
        from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415 - keeps start-up light
        from cmms_pipelines.settings import read_settings  # noqa: PLC0415
        from cmms_pipelines.sync.sample_events import local_receiver  # noqa: PLC0415
        from cmms_pipelines.sync.trial_sources import active_signers, temporary_sources  # noqa: PLC0415

        engine, settings = warehouse.engine(), read_settings()
        receiver = config.receiver or local_receiver(settings)
        rows: list[dict[str, str]] = []
        with temporary_sources(engine, settings, config.presets) as made:
            for name, source in made:
                rows.append({**_sent(warehouse, source, receiver, config.wait_s), "preset": name})
        if not config.presets:
            for source in config.sources or active_signers(engine):
                rows.append(_sent(warehouse, source, receiver, config.wait_s))
        table = preview_table(({**dict.fromkeys(_COLUMNS, ""), **row} for row in rows), _COLUMNS)
        context.add_output_metadata({"events": len(rows), "sent": table})
        if failed := [row for row in rows if row.get("status") not in {"processed", "ignored"}]:
            said = "; ".join(
                f"{row['source']}: {row['http_status']} {row.get('status', '')} {row.get('error', '')}" for row in failed
            )
            raise PermanentError(f"{len(failed)} of {len(rows)} test events were not applied: {said}")
    return len(rows)


def _sent(warehouse: Warehouse, source: str, receiver: str, wait_s: float) -> dict[str, str]:
    from cmms_pipelines.domain.presets import sample_body  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.settings import read_settings  # noqa: PLC0415
    from cmms_pipelines.sync.sample_events import find_signer, follow, post  # noqa: PLC0415

    engine, now, identifier = warehouse.engine(), dt.datetime.now(dt.UTC), uuid.uuid4()
    signer = find_signer(engine, read_settings(), source, now)
    body = sample_body(signer.source.format, now, identifier)
    answer = post(signer, body, message_id=f"test-{identifier}", now=now, receiver=receiver)
    row = {"source": source, "http_status": str(answer.status)}
    if answer.status != 202:
        return {**row, "error": answer.text[:300]}
    event_id = uuid.UUID(json.loads(answer.text)["id"])
    event = follow(engine, event_id, wait_s) or {}
    told = {"status": event.get("processing_status"), "latency_ms": event.get("latency_ms"), "error": event.get("error_message")}
    return {**row, "event_id": str(event_id), **{name: str(value) for name, value in told.items() if value is not None}}


@dg.job(
    name=SEND_TEST_EVENTS,
    tags=run_tags(max_runtime_s=600, priority=5),
    executor_def=dg.in_process_executor,
    description="Sends a signed sample event of each chosen source or kind of sender, and follows it to its end.",
)
def send_test_events() -> None:
    send_samples()
