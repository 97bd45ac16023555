"""What every line of a log says beside its own: which sync, slice, plants and day it is about.

What belongs here: binding such fields, and carrying them into threads. What does not: the format of lines (`logs`). Whoever
starts a thread for a part of a sync starts it through `carried`: a thread knows nothing of whoever started it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_FIELDS: ContextVar[Mapping[str, object]] = ContextVar("cmms_log_fields")


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Put these fields on every line of the block; None takes one off."""
    token = _FIELDS.set({name: value for name, value in {**bound_fields(), **fields}.items() if value is not None})
    try:
        yield
    finally:
        _FIELDS.reset(token)


def bound_fields() -> Mapping[str, object]:
    """Return the fields of this thread."""
    return _FIELDS.get({})


def carried(work: Callable[P, T]) -> Callable[P, T]:
    """Return `work` such that it has the fields of the present thread in whichever thread it is called, once or often."""
    fields = dict(bound_fields())

    def with_fields(*args: P.args, **kwargs: P.kwargs) -> T:
        with bound(**fields):
            return work(*args, **kwargs)

    return with_fields
