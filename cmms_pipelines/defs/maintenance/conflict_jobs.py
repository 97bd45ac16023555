"""Deciding conflicts and editing records as jobs, for those who have the UI and no shell."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import preview_table
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import operator_errors, run_tags

RESOLVE_CONFLICTS = "resolve_conflicts"
EDIT_RECORD = "edit_record"
CREATE_WORK_ORDER = "create_work_order"
UNDO_DECISION = "undo_decision"
_COLUMNS = ("id", "entity_type", "entity_key", "field", "ours", "theirs", "decision", "resolution")


class ResolveConflictsConfig(dg.Config):
    """Which open conflicts to decide, and how; what is left empty does not restrict, but something must.

    Everything has a default, so that the launchpad shows all there is to fill in; a run says in a sentence what is missing.
    """

    choice: str = Field(default="", description="ours, theirs, or by_hand with a value and one id.")
    reason: str = Field(default="", description="Why, which has to be said; it is kept with each decision.")
    value: str = Field(default="", description='By hand: the value as JSON, such as "high" or 12.5.')
    ids: list[int] = Field(default=[], description="Numbers of conflicts, as the queue shows them.")
    sources: list[str] = Field(default=[], description="Systems, such as plant-cmms.")
    entity_types: list[str] = Field(default=[], description="work_order, equipment, meter.")
    entities: list[str] = Field(default=[], description="Numbers of orders or machines.")
    fields: list[str] = Field(default=[], description="Fields, such as title or attributes.HERST.")
    rules: list[str] = Field(default=[], description="Rules that escalated them, such as 9_undecided.")
    severities: list[str] = Field(default=[], description="critical, error, warning, info.")
    older_than_h: float = Field(default=0.0, description="Opened at least so many hours ago.")
    dry_run: bool = Field(default=True, description="Say what it would do, and change nothing: switch it off to decide.")
    by: str = Field(default="Dagster UI", description="Who you are.")


class UndoDecisionConfig(dg.Config):
    """Which decision to take back."""

    id: int = Field(default=0, description="The number of the conflict, as the run that decided it and the audit log show it.")
    reason: str = Field(default="", description="Why, which has to be said; it is kept with the decision.")
    version: int = Field(default=0, description="Only if the conflict is still at this version; 0: whatever is there.")
    dry_run: bool = Field(default=True, description="Say whether it can be undone, and change nothing: switch it off to undo.")
    by: str = Field(default="Dagster UI", description="Who you are.")


class EditRecordConfig(dg.Config):
    """What to change on one work order or machine."""

    entity_type: str = Field(default="work_order", description="work_order or equipment.")
    key: str = Field(default="", description="Of an order its id here, of a machine its number.")
    changes: dict[str, Any] = Field(default={}, description="Fields with their new values, at least one; null clears one.")
    version: int = Field(default=0, description="Only if it is still at this version; 0: whatever is there.")
    reason: str = Field(default="", description="Why; it is kept in the audit log.")
    by: str = Field(default="Dagster UI", description="Who you are.")


class CreateWorkOrderConfig(dg.Config):
    """A work order to be made for a machine."""

    equipment_number: str = Field(default="", description="The machine; it has to be named.")
    title: str = Field(default="", description="What is to be done; it has to be said.")
    fields: dict[str, Any] = Field(default={}, description="More of it: priority, assignee, due_at, description, parts, ...")
    source: str = Field(default="local", description="Whose order it is: a system, or local.")
    work_order_number: str = Field(default="", description="Its number there; empty: one is given here.")
    reason: str = Field(default="", description="Why; it is kept in the audit log.")
    by: str = Field(default="Dagster UI", description="Who you are.")


@dg.op(description="Decide open conflicts, one by hand or many by a filter; or say what that would do.")
def decide_conflicts(context: dg.OpExecutionContext, config: ResolveConflictsConfig, warehouse: Warehouse) -> list[int]:
    import orjson  # noqa: PLC0415 - keeps start-up light

    from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415
    from cmms_pipelines.storage.conflict_queue import Choice, Resolution, resolve, resolve_all  # noqa: PLC0415
    from cmms_pipelines.storage.conflict_search import ConflictFilter  # noqa: PLC0415

    with operator_errors(context):
        try:
            choice = Choice(config.choice)
        except ValueError as error:
            raise PermanentError(f"Say what to decide: choice is ours, theirs or by_hand, and not {config.choice!r}.") from error
        try:
            value = orjson.loads(config.value) if config.value else None
        except ValueError as error:
            raise PermanentError(f"The value is no JSON: {error}.") from error
        by = Resolution(choice, config.by, config.reason, value, context.run.run_id)
        wanted = ConflictFilter(
            statuses=["open"],
            ids=config.ids,
            systems=config.sources,
            entity_types=config.entity_types,
            entity_keys=config.entities,
            fields=config.fields,
            rules=config.rules,
            severities=config.severities,
            older_than_s=config.older_than_h * 3600 or None,
        )
        with warehouse.engine().connect() as connection, connection.begin() as transaction:
            now = datetime.now(UTC)
            if len(config.ids) == 1:
                rows = [resolve(connection, config.ids[0], by, now=now)]
            else:
                rows = resolve_all(connection, wanted, by, now=now)
            if config.dry_run:
                transaction.rollback()
    decided = preview_table(rows, _COLUMNS, lambda value: orjson.dumps(value).decode())
    context.add_output_metadata({"is_dry_run": config.dry_run, "conflicts": len(rows), "decided": decided})
    context.log.info("%d conflicts %s decided", len(rows), "would be" if config.dry_run else "were")
    return [row["id"] for row in rows]


@dg.op(description="Take back what a person or a rule decided; the conflict is open again, and left to a person.")
def take_back(context: dg.OpExecutionContext, config: UndoDecisionConfig, warehouse: Warehouse) -> int:
    from cmms_pipelines.storage.conflict_queue import undo  # noqa: PLC0415 - keeps start-up light

    with operator_errors(context), warehouse.engine().connect() as connection, connection.begin() as transaction:
        opened = undo(
            connection,
            config.id,
            actor=config.by,
            reason=config.reason,
            now=datetime.now(UTC),
            expected_version=config.version or None,
            run_id=context.run.run_id,
        )
        if config.dry_run:
            transaction.rollback()
    context.add_output_metadata({"is_dry_run": config.dry_run, "undone": config.id, "open": opened["id"]})
    context.log.info("The decision of conflict %d %s taken back", config.id, "would be" if config.dry_run else "was")
    return int(opened["id"])


@dg.op(description="Change fields of one work order or machine here; the edit is merged with what its sources say.")
def change_record(context: dg.OpExecutionContext, config: EditRecordConfig, warehouse: Warehouse) -> int:
    from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.domain.local_edits import EQUIPMENT, WORK_ORDER, EquipmentEdit, WorkOrderEdit  # noqa: PLC0415
    from cmms_pipelines.storage.editing import edit_equipment, edit_work_order  # noqa: PLC0415

    with operator_errors(context), _fitting("changes"):
        known: dict[str, Any] = {
            "expected_version": config.version or None,
            "actor": config.by,
            "now": datetime.now(UTC),
            "reason": config.reason or None,
            "run_id": context.run.run_id,
        }
        with warehouse.engine().begin() as connection:
            if config.entity_type == WORK_ORDER and config.key.isdigit():
                wanted = WorkOrderEdit.model_validate(config.changes)
                row = edit_work_order(connection, int(config.key), wanted, **known)
            elif config.entity_type == EQUIPMENT:
                row = edit_equipment(connection, config.key, EquipmentEdit.model_validate(config.changes), **known)
            else:
                raise PermanentError("Name a work_order by its id, or an equipment by its number.")
    edits = {str(edit["field"]): str(edit["value"]) for edit in row["edits"]}
    context.add_output_metadata(
        {"version": row["version"], "edits_in_force": edits, "open_conflicts": len(row["open_conflicts"])}
    )
    return int(row["version"])


@dg.op(description="Make a work order for a machine; what its sources say of it later is merged with it.")
def make_work_order(context: dg.OpExecutionContext, config: CreateWorkOrderConfig, warehouse: Warehouse) -> int:
    from cmms_pipelines.domain.local_edits import NewWorkOrder  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.storage.creating import create_work_order as create  # noqa: PLC0415

    said = {**config.fields, "title": config.title, "equipment_number": config.equipment_number, "cmms_system_id": config.source}
    if config.work_order_number:
        said["work_order_number"] = config.work_order_number
    reason, run_id = config.reason or None, context.run.run_id
    with operator_errors(context), _fitting("order"), warehouse.engine().begin() as connection:
        order = NewWorkOrder.model_validate(said)
        row = create(connection, order, actor=config.by, now=datetime.now(UTC), reason=reason, run_id=run_id)
    context.add_output_metadata(
        {
            "id": row["id"],
            "work_order_number": row["work_order_number"],
            "plant_code": row["plant_code"] or "",
            "status": row["status"],
        }
    )
    return int(row["id"])


@contextmanager
def _fitting(what: str) -> Iterator[None]:
    """Say what of a launchpad's input does not fit, in a sentence."""
    from pydantic import ValidationError  # noqa: PLC0415 - keeps start-up light

    from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415

    try:
        yield
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
        raise PermanentError(f"The {what} does not fit: {problems}.") from error


@dg.job(
    name=CREATE_WORK_ORDER,
    tags=run_tags(max_runtime_s=120, priority=5),
    executor_def=dg.in_process_executor,
    description="Make a work order for a machine here, with who and why; a source that states it later is merged with it.",
)
def create_work_order() -> None:
    make_work_order()


@dg.job(
    name=RESOLVE_CONFLICTS,
    tags=run_tags(max_runtime_s=600, priority=5),
    executor_def=dg.in_process_executor,
    description="Decide conflicts that wait, one by hand or many by a filter; as it stands, only say what that would do.",
)
def resolve_conflicts() -> None:
    decide_conflicts()


@dg.job(
    name=UNDO_DECISION,
    tags=run_tags(max_runtime_s=120, priority=5),
    executor_def=dg.in_process_executor,
    description="Take back a decision about a conflict, of a person or of a rule; as it stands, only say whether it can be.",
)
def undo_decision() -> None:
    take_back()


@dg.job(
    name=EDIT_RECORD,
    tags=run_tags(max_runtime_s=120, priority=5),
    executor_def=dg.in_process_executor,
    description="Change a work order or a machine here, with who and why; no sync and no event overwrites it unheard.",
)
def edit_record() -> None:
    change_record()
