"""The page of rules says what the rules say."""

from pathlib import Path

from cmms_pipelines.domain.rules_page import rules_page

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
WRITE = "from cmms_pipelines.domain.rules_page import rules_page; print(rules_page(), end=str())"


def test_the_page_of_rules_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == rules_page(), f'write it anew: .venv/bin/python -c "{WRITE}" > docs/rules.md'


def test_every_rule_says_what_it_means_in_a_sentence_that_fits_a_table() -> None:
    for line in rules_page().splitlines():
        if line.startswith("| `"):
            rule, _column, _severity, message = (cell.strip() for cell in line.strip("|").split("|"))
            assert message.endswith("."), rule
