"""Where the daily reports are kept, under `CMMS_HOME/reports`, and for how long.

What belongs here: files. What does not: what is in them (`reports.daily_page`).
"""

import datetime as dt
import os
import re
from pathlib import Path

from cmms_pipelines.domain.errors import PermanentError

FOLDER = "reports"
_NAME = re.compile(r"report-(\d{4}-\d{2}-\d{2})\.html")


def path_of(home: Path, day: dt.date) -> Path:
    """Return where the report of a morning is kept."""
    return home / FOLDER / f"report-{day.isoformat()}.html"


def write_page(page: str, output: Path) -> int:
    """Put a page into a file, whole or not at all; return its size in bytes.

    Raises:
        PermanentError: the file cannot be written.
    """
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        size = unfinished.write_bytes(page.encode())
        unfinished.replace(output)
    except OSError as error:
        raise PermanentError(f"{output} cannot be written: {error.strerror or error}.") from error
    return size


def forget_old_pages(home: Path, before: dt.date) -> int:
    """Remove the kept reports of mornings before a day; return how many went. Other files of the folder stay."""
    removed = 0
    for path in (home / FOLDER).glob("report-*.html"):
        found = _NAME.fullmatch(path.name)
        if found and found[1] < before.isoformat():
            path.unlink(missing_ok=True)
            removed += 1
    return removed
