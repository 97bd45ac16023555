"""`docs/configuration.md` has every kind, key, variable, schedule and limit, each with its default."""

import datetime as dt
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel

from cmms_pipelines.domain.alert_configuration import AlertConfiguration, RepeatMinutes, Routes, Thresholds
from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.domain.schedule_times import BUILT_IN
from cmms_pipelines.settings import Settings, variable_of
from cmms_pipelines.storage.configuration_centre import KINDS
from cmms_pipelines.storage.settings_in_force import FIELDS
from cmms_pipelines.sync.equipment import READINGS_A_MASTER_WEIGHS

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
LITERAL = re.compile(r"`([^`]*)`")
AT_ITS_OWN_PORT = "http://127.0.0.1:CMMS_DAGSTER_PORT"


def section(title: str) -> str:
    return PAGE.split(f"{title}\n")[1].split("\n#")[0]


def rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def documented_defaults(variable: str) -> list[str]:
    """What stands in the column of defaults wherever a table has the variable, of several in one row at its place."""
    found = []
    for cells in rows(PAGE):
        names = [name for cell in cells[:2] for name in LITERAL.findall(cell) if name == name.upper()]
        if variable in names:
            defaults = cells[-1].split(", ") if len(names) > 1 else [cells[-1]]
            found.append(defaults[names.index(variable)])
    return found


def written(default: object) -> str | None:
    """A default as it is written down; None where there is none, and words say what holds instead."""
    if default is None or isinstance(default, BaseModel) or default in ((), {}):
        return None
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, dt.time):
        return f"{default:%H:%M}"
    return f"{default:g}" if isinstance(default, float) else str(default.value if isinstance(default, StrEnum) else default)


def test_every_kind_key_and_variable_is_on_the_page() -> None:
    for kind in KINDS:
        assert f"| `{kind}` |" in PAGE
    for kind, keys in FIELDS.items():
        for key, field in keys.items():
            (row,) = [cells for cells in rows(section(f"### `{kind}`")) if cells[0] == f"`{key}`"]
            assert f"`{variable_of(field)}`" in row[1]


def test_every_variable_is_on_the_page_with_the_default_of_the_code() -> None:
    for name, field in Settings.model_fields.items():
        default = AT_ITS_OWN_PORT if name == "dagster_url" else written(field.get_default(call_default_factory=True))
        said = documented_defaults(variable_of(name))
        assert said, name
        for cell in said:
            assert cell == f"`{default}`" if default is not None else cell and not LITERAL.fullmatch(cell), name
    assert Settings.model_validate({"dagster_port": 3001}).dagster_address == AT_ITS_OWN_PORT.replace("CMMS_DAGSTER_PORT", "3001")


def test_masters_are_worked_on_in_the_documented_part_of_a_chunk() -> None:
    (row,) = [cells for cells in rows(PAGE) if cells[0] == "`CMMS_SYNC_CHUNK_ROWS`"]
    assert row[1].endswith("of masters, which weigh more, an eighth")
    assert READINGS_A_MASTER_WEIGHS == 8


def test_every_schedule_is_on_the_page_with_its_time() -> None:
    for name, cron in BUILT_IN.items():
        assert f"| `{name}` | `{cron}` |" in PAGE


def test_every_limit_of_a_key_figure_is_on_the_page_with_its_default() -> None:
    said = {LITERAL.findall(cells[0])[0]: float(cells[-1]) for cells in rows(section("## Limits of key figures"))}
    assert said == KpiLimits().model_dump()


def test_every_field_of_alerts_is_on_the_page_with_its_default() -> None:
    said = {}
    for what, _meaning, defaults in rows(section("## Alerts")):
        first, *others = LITERAL.findall(what)
        group = first.rpartition(".")[0]
        names = [first, *(f"{group}{name}" for name in others)]
        said |= dict(zip(names, defaults.split(", ") if others and ", " in defaults else [defaults] * len(names), strict=True))
    expected = {"clear_after_s": written(AlertConfiguration().clear_after_s)}
    expected |= {f"routes.{name}": "none" for name in Routes.model_fields}
    expected |= {f"repeat_after_min.{name}": written(value) or "null" for name, value in RepeatMinutes()}
    expected |= {f"thresholds.{name}": written(value) for name, value in Thresholds()}
    assert {name: default for name, default in said.items() if not name.startswith("channels.")} == expected
