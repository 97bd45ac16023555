"""`cmms config conflicts`: how conflicts with each system are decided, with versions and the way back to one."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.commands.runs import operator
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from cmms_pipelines.domain.conflict_policy import ConflictPolicy
    from cmms_pipelines.storage.conflict_policies import SystemPolicy

app = typer.Typer(help="How conflicts with each system are decided.", no_args_is_help=True)
_System = Annotated[str, typer.Argument(help="The system.")]
_File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A policy as a JSON object.")]


@app.command()
def show(system: _System, *, as_json: AsJson = False) -> None:  # noqa: ARG001 - it is JSON in any case
    """Print the policy of a system as JSON, all defaults included; version 0 is the default policy."""
    from cmms_pipelines.storage.conflict_policies import find_policy  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        show_json(_shown(find_policy(connection, system)))


@app.command()
def validate(file: _File, *, as_json: AsJson = False) -> None:  # noqa: ARG001 - it is JSON in any case
    """Check a policy without storing it; exit code 1 if it is not usable."""
    show_json(_read(file).model_dump(mode="json", exclude_defaults=True))


@app.command(name="set")
def set_policy(
    system: _System,
    file: _File,
    *,
    version: Annotated[int | None, typer.Option(min=0, help="Only if it is still at this version.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a policy the one of a system; what it leaves out is as by default."""
    from cmms_pipelines.storage.conflict_policies import change_policy  # noqa: PLC0415 - loads SQLAlchemy

    policy = _read(file)
    with _engine().begin() as connection:
        changed = change_policy(connection, system, policy, expected_version=version, actor=operator())
    if as_json:
        show_json(_shown(changed))
    else:
        tell(f"the policy of {system} is at version {changed.version}")


@app.command()
def history(system: _System, *, as_json: AsJson = False) -> None:
    """List all versions of a system's policy, the newest first."""
    from cmms_pipelines.storage.conflict_policies import policy_history  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        rows = [asdict(version) for version in policy_history(connection, system)]
    show_rows(rows, as_json=as_json, nothing="no versions: the default policy decides")


@app.command()
def rollback(
    system: _System,
    to: Annotated[int, typer.Option("--to", min=0, help="The version whose content becomes the newest; 0: the default policy.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier version of a system's policy."""
    from cmms_pipelines.storage.conflict_policies import rollback_policy  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().begin() as connection:
        changed = rollback_policy(connection, system, to, expected_version=None, actor=operator())
    if as_json:
        show_json(_shown(changed))
    else:
        tell(f"the policy of {system} is at version {changed.version}, with the content of version {to}")


def _read(file: Path) -> "ConflictPolicy":
    import orjson  # noqa: PLC0415

    from cmms_pipelines.storage.conflict_policies import read_policy  # noqa: PLC0415 - loads SQLAlchemy

    try:
        return read_policy(orjson.loads(file.read_bytes()))
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"{file} is not JSON: {error}.") from error


def _shown(found: "SystemPolicy") -> dict[str, Any]:
    return {"cmms_system_id": found.cmms_system_id, "version": found.version, "policy": found.policy.model_dump(mode="json")}


def _engine() -> "sa.Engine":
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy

    return shared_engine(cmms_address(read_settings()))
