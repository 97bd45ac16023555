"""Where dlt is installed: an environment of its own beside ours, made once, and again when its lock changes."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from syncing.children import BENCH, PROJECT

_FOLDER = PROJECT / ".venv" / "bench-peer"
_LOCK = BENCH / "requirements-peer.lock"


def python(say: Callable[[str], None]) -> Path:
    """Return the interpreter of the peer's environment, with exactly the locked packages in it."""
    installed = _FOLDER / "installed.lock"
    interpreter = _FOLDER / "bin" / "python"
    if installed.exists() and installed.read_text() == _LOCK.read_text():
        return interpreter
    say("installing dlt into an environment of its own (once)")
    shutil.rmtree(_FOLDER, ignore_errors=True)
    uv = next(iter(sorted((PROJECT / ".venv").glob("uv-*/bin/uv"))), None)
    if uv is None:
        raise SystemExit("run `make setup` first")
    subprocess.run([uv, "venv", "-q", "--python", PROJECT / ".venv" / "bin" / "python", _FOLDER], check=True)
    subprocess.run([uv, "pip", "sync", "-q", "--python", interpreter, "--compile-bytecode", _LOCK], check=True)
    shutil.copyfile(_LOCK, installed)
    return interpreter
