"""`docs/configuration.md` has every kind, key, variable and schedule, each with its default."""

from pathlib import Path

from cmms_pipelines.domain.schedule_times import BUILT_IN
from cmms_pipelines.settings import variable_of
from cmms_pipelines.storage.configuration_centre import KINDS
from cmms_pipelines.storage.settings_in_force import FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")


def test_every_kind_key_and_variable_is_on_the_page() -> None:
    for kind in KINDS:
        assert f"| `{kind}` |" in PAGE
    for kind, keys in FIELDS.items():
        section = PAGE.split(f"### `{kind}`\n")[1].split("\n#")[0]
        for key, field in keys.items():
            (row,) = [line for line in section.splitlines() if line.startswith(f"| `{key}` |")]
            assert f"`{variable_of(field)}`" in row


def test_every_schedule_is_on_the_page_with_its_time() -> None:
    for name, cron in BUILT_IN.items():
        assert f"| `{name}` | `{cron}` |" in PAGE
