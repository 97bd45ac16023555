"""The options by which every command of `cmms rejections` picks records, once for all of them."""

import datetime as dt
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cmms_pipelines.storage.rejection_search import RejectionFilter

_DAY = ["%Y-%m-%d"]
_TIME = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

Command = Callable[..., None]


class Status(StrEnum):
    """Whether a refusal is settled."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class SyncType(StrEnum):
    """Whose records they are."""

    PLANTS = "plants"
    EQUIPMENT = "equipment"
    RUNNING_TIMES = "running_times"
    WORK_ORDERS = "work_orders"


class RefusingSeverity(StrEnum):
    """The severities that refuse a record."""

    CRITICAL = "critical"
    ERROR = "error"


Times = dt.datetime | None
_OPTIONS: Mapping[str, Any] = {
    "ids": Annotated[list[int] | None, typer.Option("--id", help="This one, as `list` numbers it; repeatable.")],
    "sync_types": Annotated[list[SyncType] | None, typer.Option("--sync-type", help="Only of this sync; repeatable.")],
    "rules": Annotated[list[str] | None, typer.Option("--rule", help="Only refused by this rule; repeatable.")],
    "severities": Annotated[list[RefusingSeverity] | None, typer.Option("--severity", help="Only of this severity; repeatable.")],
    "plant_codes": Annotated[list[str] | None, typer.Option("--plant", help="Only of this plant; repeatable.")],
    "equipment_numbers": Annotated[list[str] | None, typer.Option("--equipment", help="Only of this machine; repeatable.")],
    "first_day": Annotated[
        Times, typer.Option("--date", formats=_DAY, metavar="DAY", help="Readings of this day; with --to, from it on.")
    ],
    "last_day": Annotated[Times, typer.Option("--to", formats=_DAY, metavar="DAY", help="Readings up to this day.")],
    "seen_since": Annotated[
        Times, typer.Option("--seen-since", formats=_TIME, metavar="TIME", help="Came last at this time or later.")
    ],
    "seen_until": Annotated[
        Times, typer.Option("--seen-until", formats=_TIME, metavar="TIME", help="Came last at this time or earlier.")
    ],
    "first_seen_since": Annotated[
        Times, typer.Option("--first-seen-since", formats=_TIME, metavar="TIME", help="Came first then or later.")
    ],
    "first_seen_until": Annotated[
        Times, typer.Option("--first-seen-until", formats=_TIME, metavar="TIME", help="Came first then or earlier.")
    ],
}
_STATUS = Annotated[Status, typer.Option("--status", help="Refusals that are open, or were settled one way or the other.")]


def picks_records(*, has_status: bool) -> Callable[[Command], Command]:
    """Give a command the options that pick records; it gets them as its first argument, a `RejectionFilter`.

    Without `has_status` only open records can be picked.
    """

    def decorate(command: Command) -> Command:
        own = list(inspect.signature(command).parameters.values())[1:]

        @wraps(command)
        def picking(**given: Any) -> None:  # noqa: ANN401 - the options of several commands
            chosen = {name: given.pop(name) for name in _OPTIONS}
            status = given.pop("status") if has_status else Status.OPEN
            command(_filter(chosen, status), **given)

        options = [_parameter(name, kind, None) for name, kind in _OPTIONS.items()]
        options += [_parameter("status", _STATUS, Status.OPEN)] if has_status else []
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        picking.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        picking.__annotations__ = {one.name: one.annotation for one in [*own, *options]}
        return picking

    return decorate


def _parameter(name: str, kind: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _filter(chosen: Mapping[str, Any], status: Status) -> "RejectionFilter":
    from cmms_pipelines.storage.rejection_search import RejectionFilter  # noqa: PLC0415 - loads SQLAlchemy

    lists = {name: tuple(map(_plain, value)) for name, value in chosen.items() if isinstance(value, list)}
    times = {
        name: value if value.tzinfo else value.astimezone() for name, value in chosen.items() if isinstance(value, dt.datetime)
    }
    first, last = chosen["first_day"], chosen["last_day"]
    days = {"first_day": first and first.date(), "last_day": (last or first) and (last or first).date()}
    return replace(RejectionFilter(status=status.value), **{**lists, **times, **days})


def _plain(value: object) -> object:
    return value.value if isinstance(value, StrEnum) else value
