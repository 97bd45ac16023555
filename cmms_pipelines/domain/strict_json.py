"""JSON read strictly: what PostgreSQL's jsonb cannot hold, or what two readers would understand differently, is refused.

What belongs here: bytes to Python values, or a refusal with its reason. What does not: what the values mean (`domain.events`).
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_NUMBER_CHARACTERS = 64
_BOM = b"\xef\xbb\xbf"
# Possessive, and happy without the closing quote: linear in the length of the body whatever it holds.
_STRINGS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SUSPECT_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


@dataclass(frozen=True)
class BodyRefusal:
    """Why a body is refused: a rule id for the audit and for programs, a sentence for people, and where it is."""

    rule: str
    detail: str
    where: str = ""


class RefusedBodyError(ValueError):
    """A body that is refused, with the reason; it ends where the body is read, as a value."""

    def __init__(self, rule: str, detail: str, where: str = "") -> None:
        super().__init__(rule)
        self.refusal = BodyRefusal(rule, detail, where)


def read_json(raw: bytes, max_depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401 - any JSON value
    """Read `raw` as RFC 8259 JSON in UTF-8.

    Refused: invalid UTF-8, a byte order mark, more than `max_depth` levels, a key given twice in one object, NaN and
    Infinity, numbers that overflow a double or 64 bits or are longer than 64 characters, NUL and lone surrogates in text.

    Raises:
        RefusedBodyError: one of these, or no JSON at all.
    """
    if not raw.strip():
        raise RefusedBodyError("empty_body", "The body is empty.")
    if raw.startswith(_BOM):
        raise RefusedBodyError("byte_order_mark", "The body starts with a byte order mark; JSON is sent without one.", "byte 0")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedBodyError("invalid_utf8", "The body is not UTF-8.", f"byte {error.start}") from error
    _refuse_depth(raw, max_depth)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RefusedBodyError("invalid_json", f"The body is not JSON: {error.msg}.", where) from error
    if _SUSPECT_ESCAPE.search(text):
        _refuse_unstorable_text(value, "")
    return value


def _refuse_depth(raw: bytes, max_depth: int) -> None:
    if raw.count(b"{") + raw.count(b"[") <= max_depth:
        return
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(raw):
        first = raw[match.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                where = f"byte {match.start()}"
                raise RefusedBodyError("nested_too_deep", f"The body is nested deeper than {max_depth} levels.", where)
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RefusedBodyError("duplicate_key", "A key is given twice in one object.", _shown(key))
            seen.add(key)
    return result


def _float(text: str) -> float:
    _refuse_long_number(text)
    number = float(text)
    if not math.isfinite(number):
        raise RefusedBodyError("number_too_big", "A number does not fit a 64-bit float.", text)
    return number


def _int(text: str) -> int:
    _refuse_long_number(text)
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise RefusedBodyError("number_too_big", "An integer does not fit 64 bits; send longer identifiers as text.", text)
    return number


def _refuse_long_number(text: str) -> None:
    if len(text) > MAX_NUMBER_CHARACTERS:
        shown = f"{text[:20]}..."
        raise RefusedBodyError("number_too_long", f"A number has more than {MAX_NUMBER_CHARACTERS} characters.", shown)


def _constant(name: str) -> NoReturn:
    raise RefusedBodyError("not_a_number", f"{name} is not JSON.", name)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant)


def _refuse_unstorable_text(value: object, where: str) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise RefusedBodyError("nul_character", "Text holds a NUL character (\\u0000), which cannot be stored.", where)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise RefusedBodyError("lone_surrogate", "Text holds half of a surrogate pair, which is no character.", where)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable_text(key, f"a key of {where or 'the body'}")
            _refuse_unstorable_text(item, f"{where}/{_shown(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_unstorable_text(item, f"{where}/{index}")


def _shown(key: str) -> str:
    """A key as it can stand in an answer: short, and without what cannot be encoded."""
    return key.encode("ascii", "backslashreplace").decode("ascii")[:80]
