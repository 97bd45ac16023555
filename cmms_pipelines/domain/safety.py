"""Which fields and texts are about the safety of people: those that no rule ever decides.

What belongs here: recognising them by their names and words. What does not: what follows (`domain.conflicts`).
"""

import re
from functools import cache

_NAMES = re.compile(
    r"(?:^|_)(?:is_)?(?:safe|safety|unsafe|lock_?out|locked_?out|loto|tag_?out|tagged_?out|hazard\w*|danger\w*|permit|permits|"
    r"isolat\w*|interlock\w*|energi[sz]ed|de_?energi[sz]ed|zero_energy|confined_space|hot_work|emergency_stop|e_stop|"
    r"do_not_(?:operate|start|energi[sz]e)|ppe)(?:_|$)"
)
_WORDS = re.compile(
    r"\b(?:lock(?:ed)?[ -]?out|loto|tag(?:ged)?[ -]?out|do not (?:operate|start|energi[sz]e|use)|danger|hazard(?:ous)?|"
    r"unsafe|out of service for safety)\b",
    re.IGNORECASE,
)


@cache
def is_safety_name(name: str) -> bool:
    """Return whether a field, a tag or a part is about safety or lock-out by its name (`isLockedOut`, `attributes.LOTO`)."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return _NAMES.search(re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_")) is not None


def speaks_of_safety(text: str) -> bool:
    """Return whether a free text warns of a danger or of a machine that must not be started."""
    return _WORDS.search(text) is not None
