"""Structured logs: one event a line, as JSON, on standard output and in a rotating file under `CMMS_HOME/logs`.

What belongs here: the format, the file, and what every line carries. What does not: what is logged. Every service of ours calls
`configure_logging` once; runs of Dagster write theirs through `RunLog`, which `dagster.yaml` names. Local variables of
tracebacks are never shown, and passwords in addresses are masked. Importing it is light: each run pays for it.
"""

import datetime as dt
import json
import logging
import os
import re
import sys
from collections.abc import MutableMapping
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from cmms_pipelines.log_context import bound_fields

LARGEST_BYTES = 10_000_000
FILES_KEPT = 5
_PASSWORD = re.compile(r"(://[^/\s:@\"]*:)[^@\s\"]+@")
_OF_RUNS = {"run_id": "run_id", "job_name": "job", "step_key": "step"}


def configure_logging(home: Path, name: str, level: int = logging.INFO) -> None:
    """Set up structlog and the standard library for this process; called once, by whoever owns the process.

    Args:
        home: CMMS_HOME.
        name: of the service: its file is `logs/<name>.jsonl`.
        level: of our own lines; those of libraries begin at warning.
    """
    import structlog  # noqa: PLC0415 - runs do without it

    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), RotatingLog(home / "logs" / f"{name}.jsonl")]
    for handler in handlers:
        handler.setFormatter(JsonLine())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.contextvars.merge_contextvars, _as_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(logging.WARNING)
    for package in ("cmms_pipelines", "cmms_webhook"):
        logging.getLogger(package).setLevel(level)


class JsonLine(logging.Formatter):
    """A record as one line of JSON: `event`, what was logged with it, `level`, `logger`, `timestamp`, and whose run it is.

    What is bound where it is logged (`log_context`) comes with it: sync, slice, plants and day.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, its addresses without passwords."""
        meta: Any = getattr(record, "dagster_meta", None)
        line: dict[str, Any] = dict(record.msg) if isinstance(record.msg, dict) else {"event": record.getMessage()}
        line = {**line, **{name: value for name, value in bound_fields().items() if name not in line}}
        if isinstance(meta, dict):
            line["event"] = meta.get("orig_message") or line["event"]
            line |= {ours: meta[theirs] for theirs, ours in _OF_RUNS.items() if meta.get(theirs)}
            if reason := _reason(meta.get("dagster_event")):
                line["reason"] = reason
        at = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line |= {"level": record.levelname.lower(), "logger": record.name, "timestamp": at.isoformat().replace("+00:00", "Z")}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _PASSWORD.sub(r"\1***@", json.dumps(line, default=str, ensure_ascii=False))


def _reason(event: object) -> object:
    """Return why a step failed, in the words that the UI shows: the event's own text says only that it did."""
    failure = getattr(getattr(event, "event_specific_data", None), "user_failure_data", None)
    return getattr(failure, "description", None)


class RotatingLog(WatchedFileHandler):
    """A file that several processes append to: whoever finds it too large moves it on, the others follow to the new one."""

    def __init__(self, path: Path, largest_bytes: int = LARGEST_BYTES, kept: int = FILES_KEPT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, encoding="utf-8", delay=True)
        self._path, self._largest_bytes, self._kept = path, largest_bytes, kept

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, into a new file where the old one is full."""
        if self.stream is not None and os.fstat(self.stream.fileno()).st_size >= self._largest_bytes:
            self._rotate()
        super().emit(record)

    def _rotate(self) -> None:
        from filelock import FileLock, Timeout  # noqa: PLC0415 - once in ten megabytes

        try:
            with FileLock(f"{self._path}.lock", timeout=0):
                if self._path.exists() and self._path.stat().st_size >= self._largest_bytes:
                    for number in range(self._kept - 1, 0, -1):
                        older = self._numbered(number)
                        if older.exists():
                            older.replace(self._numbered(number + 1))
                    self._path.replace(self._numbered(1))
        except Timeout:
            return  # somebody else is at it; this line still goes into the old file

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class RunLog(RotatingLog):
    """The lines of runs in `logs/runs.jsonl`, each with its run, job and step."""

    def __init__(self) -> None:
        home = Path(os.environ.get("CMMS_HOME") or ".cmms").expanduser().absolute()
        super().__init__(home / "logs" / "runs.jsonl")
        self.setFormatter(JsonLine())


def _as_record(_logger: object, _method: str, event: MutableMapping[str, Any]) -> tuple[tuple[object], dict[str, object]]:
    """Hand an event of structlog to the standard library, whole: `JsonLine` writes it."""
    failure = event.pop("exc_info", None)
    return (event,), {"exc_info": failure}
