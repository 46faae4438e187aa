"""`reproduce` killed at its file operations: the same command gives an undisturbed run's bytes.

From the samples on: cameras and cubes are killed in ``tests/studies``, and `fetch` in ``kills.py``.
`test_kills_reproduce.py` runs this in a process of its own (see ``kills.py``), which kills at a few
operations; ``-k full`` kills at every one.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.kills import in_child, killed_at, operations_of
from tests.helpers.network_batches import small
from tests.helpers.paper_samples import camera_years, make_samples

from deepcrop.evaluation import weights_report
from deepcrop.network import CONFIGS
from deepcrop.phenology import season_dates
from deepcrop.studies import paper_experiment, paper_samples
from deepcrop.studies.paper_settings import PaperExperiment
from deepcrop.training import samples
from deepcrop.training.experiment import Phase
from deepcrop.training.fit import Training

SAMPLE = 2  # kills


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Function that runs the experiment into a folder: two trainings, tables, figures."""
    season_dates(np.zeros((1, 40)), 10.0 * np.arange(40))  # loads the kernels once, not in children
    folder = tmp_path_factory.mktemp("input")
    years = camera_years(folder)
    made = make_samples(years)
    tiny = small("transformer-only", width=16, heads=2, feedforward=16, layers=1, trunk=())
    short = Phase("cameras", Training(steps=2, eval_interval=1), cameras=1)

    def simulate(_years, path, *_arguments, **_options):
        """Stands for minutes of simulation; the file is written as there."""
        if not path.exists():
            samples.save(made, path)
        return samples.load(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepcrop.report.page.DPI", 20)
        patch.setattr(weights_report, "MAX_PROFILES", 1)
        patch.setitem(CONFIGS, "transformer-only", tiny)
        patch.setattr(paper_experiment, "recipe", lambda config, start=None: short)
        patch.setattr(paper_experiment, "camera_network", lambda experiment: years)
        patch.setattr(paper_samples, "simulated_samples", simulate)
        settings = PaperExperiment(
            "simulated", folder, folder, ("transformer-only",), seeds=2, repeats=2
        )
        yield lambda out: paper_experiment.reproduce(replace(settings, out=out))


def contents(folder):
    """Bytes of all files; of logs without their times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = path.read_bytes() if path.is_file() else b""
        if name.endswith("log.csv"):
            found[name] = [line.rpartition(b",")[0] for line in found[name].splitlines()]
    return found


@pytest.mark.parametrize("share", ["sample", "full"])
def test_killed_and_run_again(run, tmp_path, share):
    out = tmp_path / "out"
    total = operations_of(lambda: run(out))
    expected = contents(out)
    assert {"report.md", "tables/methods.csv", "samples_field.npz"} <= set(expected)
    step = 1 if share == "full" else total // SAMPLE
    for count in range(max(1, step // 2), total + 1, step):
        shutil.rmtree(out)
        assert killed_at(count, lambda: run(out))
        in_child(lambda: run(out))
        made = contents(out)
        assert set(made) == set(expected), count
        assert [name for name in made if made[name] != expected[name]] == [], count
