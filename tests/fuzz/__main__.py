"""Run the whole fuzz suite: `python -m tests.fuzz [INPUTS] [READER ...]`.

Each reader runs in a process of its own, so that its peak memory is known and a crash or a hang
costs that reader only. The result is a table; the exit status is 1 if anything failed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.harness import Counts, fuzz
from tests.fuzz.readers import READERS

INPUTS = 20_000
MOST_MEMORY = 2 * 2**30


def main(arguments: list[str]) -> int:
    """Run every reader and print the table."""
    if arguments[:1] == ["--one"]:
        return _one(arguments[1], int(arguments[2]))
    inputs = int(arguments[0]) if arguments else INPUTS
    wanted = arguments[1:]
    chosen = [reader for reader in READERS if not wanted or reader.name in wanted]
    shares = sum(reader.share for reader in chosen)
    print(f"{'reader':22} inputs answered refused tracebacks hangs slowest  memory  seconds")
    total, failed = 0, False
    for reader in chosen:
        started = time.monotonic()
        examples = -(-inputs * reader.share // shares)
        command = [sys.executable, "-m", "tests.fuzz", "--one", reader.name, str(examples)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=7200)
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            print(
                f"{reader.name:22} the process ended with {done.returncode}: {done.stderr[-800:]}"
            )
            failed = True
            continue
        found = json.loads(lines[-1])
        counts = Counts(**found["counts"])
        print(
            f"{reader.name:22} {counts.inputs:6} {counts.answered:8} {counts.refused:7} "
            f"{counts.raised:10} {counts.hangs:5} {counts.slowest:6.1f}s "
            f"{found['memory'] / 2**20:5.0f} MB {time.monotonic() - started:7.0f}",
            flush=True,
        )
        for place, text in counts.failures.items():
            print(f"--- {place}\n{text}\n", file=sys.stderr, flush=True)
        total += counts.inputs
        failed |= bool(counts.failures) or found["memory"] > MOST_MEMORY
    print(f"{total} inputs")
    return int(failed)


def _one(name: str, examples: int) -> int:
    reader = next(reader for reader in READERS if reader.name == name)
    os.environ["NO_COLOR"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        counts = fuzz(reader, Path(folder), examples)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"counts": asdict(counts), "memory": memory}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
