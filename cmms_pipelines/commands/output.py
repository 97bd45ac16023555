"""How commands show rows: a table for people, JSON for machines; both on stdout, everything else goes to stderr."""

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_OFF_TERMINAL = 220
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def tell(message: str) -> None:
    """Say what goes on, on stderr."""
    typer.echo(message, err=True)


def show_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, nothing: str) -> None:
    """Print `rows` as a table with their keys as its header, or as a JSON array; `nothing` is said instead of an empty table."""
    if as_json:
        show_json(rows)
        return
    if not rows:
        tell(nothing)
        return
    from rich.table import Table  # noqa: PLC0415 - only where a table is printed

    table = Table(*(str(name) for name in rows[0]), box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console_for_tables().print(table, markup=False)


def console_for_tables() -> "Console":
    """Return a console that is as wide as the terminal, or wide enough for every table where the output goes elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - only where a table is printed

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_OFF_TERMINAL)


def show_json(value: object) -> None:
    """Print `value` as one line of JSON."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return json.dumps(value, default=_plain, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _plain(value: object) -> object:
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
