"""The page `docs/rules.md`: every rule of the contracts, as operators look them up.

What belongs here: the shape of the page. What does not: the rules and what they say (`domain.contracts`).
"""

from cmms_pipelines.domain.contracts import CONTRACTS
from cmms_pipelines.domain.rejections import Rule, Severity
from cmms_pipelines.domain.tallies import SLICE_RULES

_HEAD = """# Rules

What every record of the external system is held against, and what to do when one is broken. This page is written from the rules
themselves (`cmms_pipelines/domain/contracts.py`); a test keeps it up to date.

| severity | what it means |
|---|---|
| critical | Nothing of the plant can be read: its records are in the quarantine, other plants are written, the sync fails. |
| error | The record is refused, and kept whole in the quarantine (`cmms rejections list`). |
| warning | The record is stored and counted; the rule's id is in `warnings` of its row. |
| info | The record is stored, the rule is counted. |
"""


def rules_page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for table, checked in CONTRACTS.items():
        rules = [*([SLICE_RULES[table]] if table in SLICE_RULES else []), *(one.rule for one in checked)]
        order = list(Severity)
        rows = [_row(rule) for rule in sorted(rules, key=lambda rule: (order.index(rule.severity), rule.id))]
        parts.append(
            f"\n## `{table}`\n\n| rule | column | severity | meaning, and what to do |\n|---|---|---|---|\n" + "".join(rows)
        )
    return "".join(parts)


def _row(rule: Rule) -> str:
    return f"| `{rule.id}` | `{rule.column}` | {rule.severity.value} | {rule.message} |\n"
