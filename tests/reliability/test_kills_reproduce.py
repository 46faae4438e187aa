"""A sample of ``kills_reproduce.py``, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).with_name("kills_reproduce.py")
PYTEST = ["-m", "pytest", "-q", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib"]


@pytest.mark.large  # draws the figures of a dozen runs
def test_the_experiment_goes_on_to_the_same_bytes():
    done = subprocess.run(
        [sys.executable, *PYTEST, "-k", "sample", str(KILLS)],
        cwd=KILLS.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "1 passed" in done.stdout
