"""What a process says of the memory that it has had."""

import subprocess
import sys

TELL = "from cmms_pipelines.sync.memory import peak_mb; print(peak_mb())"


def peak_of(before: str, after: str = "") -> int:
    done = subprocess.run([sys.executable, "-c", f"{before}\n{TELL}\n{after}"], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def test_the_peak_is_kept_when_the_memory_is_given_back() -> None:
    assert peak_of("held = bytearray(300 << 20); del held") > peak_of("") + 250


def test_what_the_program_had_that_started_this_one_does_not_count() -> None:
    start = f"import subprocess, sys; held = bytearray(300 << 20); subprocess.run([sys.executable, '-c', {TELL!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    assert int(done.stdout) < peak_of("") + 50
