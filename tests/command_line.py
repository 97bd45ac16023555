"""`cmms` for tests: as a process of its own, or in this one, where the start of an interpreter would show nothing."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmms_pipelines.cli import app
from tests.conftest import Database


class CommandLine:
    """`cmms` with an environment of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CMMS_", "DAGSTER_"))}
        self.environment = inherited | dict(environment)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start it as a process."""
        command = [sys.executable, "-m", "cmms_pipelines.cli", *arguments]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run it in this process, and put back what it changes for its own."""
        out, errors = io.StringIO(), io.StringIO()
        kept, on_term = dict(os.environ), signal.getsignal(signal.SIGTERM)
        os.environ.clear()
        os.environ.update(self.environment)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), warnings.catch_warnings():
                code = _exit_code(arguments)
        finally:
            os.environ.clear()
            os.environ.update(kept)
            signal.signal(signal.SIGTERM, on_term)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the command says
        finished = self(*arguments, "--json")
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout.splitlines()[-1])


def on_databases(database: Database, dagster_url: str, home: Path, **environment: str) -> CommandLine:
    """`cmms` on one database, with Dagster's own beside it."""
    given = {"CMMS_HOME": str(home), "CMMS_DATABASE_URL": database.url, "DAGSTER_DATABASE_URL": dagster_url}
    return CommandLine(given | environment)


def _exit_code(arguments: tuple[str, ...]) -> int:
    try:
        app(args=list(arguments))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
