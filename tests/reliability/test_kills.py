"""A sample of ``kills.py``, in a process of its own; `make audit` runs all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).with_name("kills.py")
PYTEST = ["-m", "pytest", "-q", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib"]


@pytest.mark.parametrize(
    ("commands", "number"),
    [
        ("overwrite or ingest", 2),
        pytest.param("not overwrite and not ingest", 5, marks=pytest.mark.slow),
    ],
)
def test_a_killed_command_goes_on_to_the_same_bytes(commands, number):
    done = subprocess.run(
        [sys.executable, *PYTEST, "-k", f"sample and ({commands})", str(KILLS)],
        cwd=KILLS.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{number} passed" in done.stdout
