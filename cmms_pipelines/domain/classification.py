"""Equipment groups: which group a machine belongs to, by rules in configuration.

A rule is tried in the order of the file; the first that matches gives the group. `when` names fields of the master record
(EQTYP, EQART, HERST, ... as the source sends them) and what they must be; `group_from` takes the group's name from a field.
"""

from collections.abc import Iterable, Mapping, Sequence
from re import IGNORECASE, fullmatch
from re import compile as compile_regex
from re import error as RegexError  # noqa: N812 - a class, whatever its name
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cmms_pipelines.domain.errors import PermanentError


class GroupRule(BaseModel):
    """One classification rule; `when` values are text to equal, a list to be one of, or `{matches: regex}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    description: str | None = None
    group_from: str | None = None
    when: dict[str, str | list[str] | dict[str, str]] = {}

    @model_validator(mode="after")
    def _names_a_group(self) -> Self:
        if (self.name is None) == (self.group_from is None):
            raise ValueError("a rule has either `name` or `group_from`")
        for field, condition in self.when.items():
            if isinstance(condition, dict) and set(condition) != {"matches"}:
                raise ValueError(f"the condition on {field} must be text, a list, or {{matches = ...}}")
            if isinstance(condition, dict) and not _is_regex(condition["matches"]):
                raise ValueError(f"the condition on {field} is no regular expression")
        return self

    def group_of(self, attributes: Mapping[str, Any]) -> str | None:
        """Return the group that this rule gives to a machine with these fields, or None where it does not apply."""
        if not all(_meets(attributes.get(field), condition) for field, condition in self.when.items()):
            return None
        if self.name is not None:
            return self.name
        value = str(attributes.get(self.group_from or "") or "").strip()
        return value[:100] or None


DEFAULT_RULES: Sequence[GroupRule] = (
    GroupRule(group_from="group_name", description="the group that the source names"),
    GroupRule(group_from="EQART", description="the source's object type"),
)


def read_rules(document: Mapping[str, Any]) -> Sequence[GroupRule]:
    """Read rules from a parsed file: `{"group": [rule, ...]}`.

    Raises:
        PermanentError: a rule cannot be used; the message says which and why.
    """
    groups = document.get("group")
    if not isinstance(groups, list) or not groups:
        raise PermanentError("The equipment groups file has no [[group]] entry.")
    rules = []
    for position, entry in enumerate(groups, start=1):
        try:
            rules.append(GroupRule.model_validate(entry))
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the rule"
            raise PermanentError(f"Equipment group rule {position}: {where}: {first['msg']}") from error
    return rules


def classify(attributes: Mapping[str, Any], rules: Sequence[GroupRule]) -> str | None:
    """Return the group of a machine, or None where no rule applies."""
    return next((group for rule in rules if (group := rule.group_of(attributes)) is not None), None)


def classify_all(machines: Iterable[Mapping[str, Any]], rules: Sequence[GroupRule]) -> list[str | None]:
    """Return the group of each machine; machines that agree in all fields that rules look at are classified once."""
    fields = sorted({field for rule in rules for field in (*rule.when, rule.group_from) if field is not None})
    known: dict[tuple[str, ...], str | None] = {}
    groups = []
    for attributes in machines:
        looked_at = tuple([str(attributes.get(field) or "") for field in fields])
        if looked_at not in known:
            known[looked_at] = classify(attributes, rules)
        groups.append(known[looked_at])
    return groups


def _is_regex(pattern: str) -> bool:
    try:
        compile_regex(pattern)
    except RegexError:
        return False
    return True


def _meets(value: object, condition: str | list[str] | dict[str, str]) -> bool:
    text = str(value or "").strip()
    if isinstance(condition, str):
        return text == condition
    if isinstance(condition, list):
        return text in condition
    return fullmatch(condition["matches"], text, IGNORECASE) is not None
