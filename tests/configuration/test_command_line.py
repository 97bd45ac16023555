"""The tree of commands: each prints JSON for machines, but those that stay until they are stopped."""

from collections.abc import Iterator
from typing import Any

import typer

from cmms_pipelines.cli import app

SERVICES = {"cmms up", "cmms webhook", "cmms emulator"}
CONTRACT = {
    "cmms demo", "cmms up", "cmms db url", "cmms db migrate", "cmms db stop", "cmms sync equipment", "cmms sync running-times",
    "cmms events process", "cmms events replay", "cmms hook send", "cmms rejections list", "cmms rejections replay",
    "cmms rejections discard", "cmms conflicts list", "cmms conflicts show", "cmms conflicts resolve", "cmms conflicts undo",
    "cmms alerts list", "cmms alerts ack", "cmms alerts test", "cmms config show", "cmms config validate", "cmms config diff",
    "cmms config history", "cmms config rollback", "cmms config set", "cmms tokens create", "cmms emulator",
}  # fmt: skip


def commands(command: Any, name: str = "cmms") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - of the click that typer brings
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for part, one in (inner or {}).items():
        yield from commands(one, f"{name} {part}")


def test_every_command_that_ends_prints_json_for_machines() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert set(found) >= CONTRACT
    without = {name for name, command in found.items() if not any("--json" in one.opts for one in command.params)}
    assert without == SERVICES
    assert all(command.help for command in found.values())
