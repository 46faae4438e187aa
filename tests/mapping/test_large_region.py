"""The paper's area, 40 km x 10 km with 42 and 28 scenes, in bounded memory (make test-large)."""

import json
import subprocess
import sys

import pytest

MEASURED = """
import json, resource, runpy, sys, time
start = time.time()
sys.argv = ["deepcrop", *json.loads(sys.argv[1])]
try:
    runpy.run_module("deepcrop", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
print("MEASURED", json.dumps({"seconds": time.time() - start, "gigabytes": peak}))
"""


def measured(*arguments):
    command = [sys.executable, "-c", MEASURED, json.dumps([str(a) for a in arguments])]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    print(run.stdout)
    return json.loads(run.stdout.split("MEASURED")[1])


@pytest.mark.large
def test_the_papers_area_is_simulated_and_mapped_in_bounded_memory(tmp_path):
    region, maps = tmp_path / "ta1.zarr", tmp_path / "maps"
    period = ["--start", "2018-01-01", "--end", "2019-01-31"]
    scenes = ["--optical-scenes", "42", "--sar-scenes", "28"]
    simulated = measured("simulate", region, "--size", "4000x1000", *period, *scenes)
    assert simulated["gigabytes"] < 2  # 8 asked for
    mapped = measured("map", region, "--year", "2018", "--out", maps)
    assert mapped["gigabytes"] < 2  # 4 asked for
    summary = json.loads((maps / "summary.json").read_text())
    assert summary["scenes"] == {"optical": 42, "optical_usable": 42}
    assert summary["maps"]["curve"]["layers"]["sos50"]["detected_share"] > 0.6
