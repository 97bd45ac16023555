"""Documents of configuration as people write them: what is wrong with one, and what two of them differ in.

What belongs here: errors of a model as sentences that name the field and what was probably meant, and differences. What does
not: the models themselves, and where documents are kept (`storage.configuration_centre`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cmms_pipelines.domain.errors import PermanentError

_SECRETS = ("token", "password", "secret", "credential", "api_key", "apikey")
_MISSING = object()


class UnusableDocumentError(PermanentError):
    """A document does not fit its model; `problems` has one sentence for each field."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        text = "; ".join(problems)
        super().__init__(f"{what} is not usable: {text}" + ("" if text.endswith("?") else "."))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Difference:
    """A value that two documents do not share; None where one does not have it."""

    key: str
    before: Any
    after: Any


def checked(model: type[BaseModel], document: object, what: str) -> BaseModel:
    """Return a document as its model.

    Raises:
        UnusableDocumentError: it does not fit; no sentence repeats a value that pydantic refused.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise UnusableDocumentError(what, [_sentence(model, one) for one in error.errors(include_input=False)]) from error


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Return what differs, by the dotted name of its key, in the order of names."""
    ours, theirs = dict(_flat(before)), dict(_flat(after))
    return [
        Difference(key, ours.get(key), theirs.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key, _MISSING) != theirs.get(key, _MISSING)
    ]


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _sentence(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    location = tuple(error["loc"])
    name = ".".join(map(str, location)) or "the document"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] != "extra_forbidden":
        return f"{name}: {message}"
    key = str(location[-1])
    if any(word in key.lower() for word in _SECRETS):
        return f"{name}: secrets are never part of a configuration: they stay in the environment (CMMS_API_TOKEN), or sealed"
    known = list(_names(model, location[:-1]))
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return f"{name}: there is no such key; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")


def _names(annotation: object, path: Sequence[object]) -> tuple[str, ...]:
    """Return the keys that a model knows at a place inside it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not path:
            return tuple(annotation.model_fields)
        field = annotation.model_fields.get(str(path[0]))
        return () if field is None else _names(field.annotation, path[1:])
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _names(inner[0], path)
    if origin in (Union, UnionType):
        return next((found for one in inner if (found := _names(one, path))), ())
    of_values = [one for one in inner if one is not Ellipsis]
    return _names(of_values[-1], path[1:]) if of_values and path else ()
