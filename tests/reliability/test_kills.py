"""A sample of ``kills.py``, in a process of its own; `make audit` runs all of it."""

import subprocess
import sys
from pathlib import Path

KILLS = Path(__file__).with_name("kills.py")
PYTEST = ["-m", "pytest", "-q", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib"]


def test_killed_commands_go_on_to_the_same_bytes():
    done = subprocess.run(
        [sys.executable, *PYTEST, "-k", "sample", str(KILLS)],
        cwd=KILLS.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "8 passed" in done.stdout
