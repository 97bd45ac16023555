"""Query options of OData as far as clients of these services use them: $filter, $select, $orderby, $top, $skip, $skiptoken.

What belongs here: reading them and applying them to rows of Python values. What does not: paging and envelopes (`odata`).
"""

import datetime as dt
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, unquote_plus

Row: TypeAlias = dict[str, Any]
OPTIONS = ("$filter", "$select", "$orderby", "$top", "$skip", "$skiptoken", "$inlinecount", "$count", "$format")
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "ne": operator.ne, "gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le,
}  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<stamp>datetime(?:offset)?'(?P<stamp_value>[^']*)')|(?P<text>'(?:[^']|'')*')"
    r"|(?P<instant>\d{4}-\d\d-\d\dT[\d:]+Z)|(?P<date>\d{4}-\d\d-\d\d)(?!\d)"
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[A-Za-z_]\w*)|(?P<mark>[()]))"
)


class QueryError(ValueError):
    """A query option that cannot be understood."""


@dataclass(frozen=True)
class Comparison:
    """One property held against one literal."""

    name: str
    sign: str
    value: Any

    def matches(self, row: Mapping[str, Any]) -> bool:
        ours, theirs = row[self.name], self.value
        if isinstance(ours, dt.date) and not isinstance(ours, dt.datetime) and isinstance(theirs, dt.datetime):
            theirs = theirs.date()
        if ours is None:
            return (self.sign == "ne") == (theirs not in (None, ""))
        return bool(_OPERATORS[self.sign](ours, theirs))


@dataclass(frozen=True)
class Junction:
    """Several conditions of which all (`and`) or any (`or`) must hold."""

    word: str
    parts: tuple["Condition", ...]

    def matches(self, row: Mapping[str, Any]) -> bool:
        return (all if self.word == "and" else any)(part.matches(row) for part in self.parts)


Condition: TypeAlias = Comparison | Junction
EVERYTHING = Junction("and", ())


def options_of(raw_query: str) -> dict[str, str]:
    """Split a query string; `+` is a blank, but in a token that the server made itself. Raises `QueryError`."""
    options: dict[str, str] = {}
    for part in filter(None, raw_query.split("&")):
        name, _, value = part.partition("=")
        name = unquote(name)
        if name.startswith("$") and name not in OPTIONS:
            raise QueryError(f"System query option '{name}' is not supported")
        options[name] = unquote(value) if name == "$skiptoken" else unquote_plus(value)
    return options


def parse_filter(text: str, properties: Collection[str]) -> Condition:
    """Read `$filter`. Raises `QueryError` for what it does not know, unknown properties included."""
    if not text.strip():
        return EVERYTHING
    reader = _Reader(text, properties)
    condition = reader.junction("or")
    if reader.peek() is not None:
        raise QueryError(f"Invalid token '{reader.peek()}' in $filter")
    return condition


def at_most_days(condition: Condition, name: str) -> tuple[dt.date | None, dt.date | None]:
    """The first and last date of property `name` that the conditions in `and` allow."""
    first: dt.date | None = None
    last: dt.date | None = None
    for part in _conjuncts(condition):
        if not isinstance(part, Comparison) or part.name != name or not isinstance(part.value, dt.date):
            continue
        day = part.value.date() if isinstance(part.value, dt.datetime) else part.value
        if part.sign in ("eq", "ge", "gt"):
            first = max(first or day, day)
        if part.sign in ("eq", "le", "lt"):
            last = min(last or day, day)
    return first, last


def at_most_values(condition: Condition, name: str) -> set[str] | None:
    """The values of property `name` that the conditions in `and` allow; None for all."""
    for part in _conjuncts(condition):
        choices = part.parts if isinstance(part, Junction) and part.word == "or" else (part,)
        if all(isinstance(one, Comparison) and one.name == name and one.sign == "eq" for one in choices):
            return {str(one.value) for one in choices if isinstance(one, Comparison)}
    return None


def ordered(rows: Iterable[Row], text: str, properties: Collection[str]) -> list[Row]:
    """Rows by `$orderby`, stable. Raises `QueryError`."""
    result = list(rows)
    for part in reversed([part.split() for part in text.split(",") if part.strip()]):
        name, direction = part[0], part[1] if len(part) > 1 else "asc"
        _require(name, properties)
        if direction not in ("asc", "desc") or len(part) > 2:
            raise QueryError(f"Invalid $orderby '{' '.join(part)}'")
        result.sort(key=operator.itemgetter(name), reverse=direction == "desc")
    return result


def selected(text: str, properties: Collection[str]) -> list[str]:
    """The properties that `$select` asks for; all of them without it. Raises `QueryError`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        _require(name, properties)
    return names or list(properties)


def whole_number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise QueryError(f"Invalid value '{text}' of {name}")
    return int(text)


def _require(name: str, properties: Collection[str]) -> None:
    if name not in properties:
        raise QueryError(f"Property {name} not found in type")


def _conjuncts(condition: Condition) -> list[Condition]:
    if isinstance(condition, Junction) and condition.word == "and":
        return [one for part in condition.parts for one in _conjuncts(part)]
    return [condition]


class _Reader:
    """A recursive reader of `$filter`: `or` binds weaker than `and`."""

    def __init__(self, text: str, properties: Collection[str]) -> None:
        self._tokens: list[tuple[str, Any]] = []
        self._position = 0
        self._properties = properties
        at, text = 0, text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise QueryError(f"Invalid token '{text[at : at + 20]}' in $filter")
            at = match.end()
            self._tokens.append(_token(match))

    def peek(self) -> Any:  # noqa: ANN401 - a token's value
        return self._tokens[self._position][1] if self._position < len(self._tokens) else None

    def junction(self, word: str) -> Condition:
        parts = [self._part(word)]
        while self.peek() == word:
            self._next()
            parts.append(self._part(word))
        return parts[0] if len(parts) == 1 else Junction(word, tuple(parts))

    def _part(self, word: str) -> Condition:
        return self.junction("and") if word == "or" else self._single()

    def _single(self) -> Condition:
        if self.peek() == "(":
            self._next()
            condition = self.junction("or")
            if self._next() != ("mark", ")"):
                raise QueryError("A bracket in $filter is not closed")
            return condition
        (name_kind, name), (sign_kind, sign), (value_kind, value) = self._next(), self._next(), self._next()
        if name_kind != "word" or sign_kind != "word" or sign not in _OPERATORS or value_kind in ("mark", "word"):
            raise QueryError(f"Invalid comparison '{name} {sign} {value}' in $filter")
        _require(name, self._properties)
        return Comparison(name, sign, value)

    def _next(self) -> tuple[str, Any]:
        if self._position >= len(self._tokens):
            raise QueryError("$filter ends too early")
        self._position += 1
        return self._tokens[self._position - 1]


def _token(match: re.Match[str]) -> tuple[str, Any]:
    kind = match.lastgroup or ""
    kind = "stamp" if kind == "stamp_value" else kind
    text = match.group(kind)
    try:
        if kind in ("stamp", "instant"):
            return kind, dt.datetime.fromisoformat(match.group("stamp_value") or text)
        if kind == "date":
            return kind, dt.date.fromisoformat(text)
    except ValueError as error:
        raise QueryError(f"Invalid date '{text}' in $filter") from error
    if kind == "text":
        return kind, text[1:-1].replace("''", "'")
    if kind == "number":
        return kind, float(text)
    if text in ("true", "false"):
        return "flag", text == "true"
    return kind, text
