"""The page of rules says what the rules say."""

import re
from pathlib import Path

from cmms_pipelines.domain.rules_page import rules_page

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
ACTION = re.compile(
    r"(^|[:;,.] (?:else )?)((add|ask|check|compare|correct|discard|enter|fill|look at|remove|say so|shorten) |nothing to do\.$)",
    re.IGNORECASE,
)
WRITE = "from cmms_pipelines.domain.rules_page import rules_page; print(rules_page(), end=str())"


def test_the_page_of_rules_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == rules_page(), f'write it anew: .venv/bin/python -c "{WRITE}" > docs/rules.md'


def test_every_rule_says_what_it_means_in_a_sentence_that_fits_a_table() -> None:
    for line in rules_page().splitlines():
        if line.startswith("| `"):
            rule, _column, _severity, message = (cell.strip() for cell in line.strip("|").split("|"))
            assert message.endswith("."), rule


def test_every_rule_says_what_to_do_or_that_there_is_nothing_to_do() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", rules_page(), re.MULTILINE)
    assert len(rows) == rules_page().count("\n| `")
    assert [rule for rule, message in rows if not ACTION.search(message)] == []
