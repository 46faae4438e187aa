"""Every command's help has an example, and every example works as it is printed.

They run one after the other in one folder, as a reader would type them: what one makes, the next
reads. Archives are on the loopback; training takes two steps instead of many, and `reproduce` one
method.
"""

import glob
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import typer
from tests.helpers.camera_images import write_jpeg, write_mask
from tests.helpers.workspace import ROOT, archives

from deepcrop import cli

COMMANDS = typer.main.get_command(cli.app).commands
ORDER = (
    "simulate",
    "map",
    "points",
    "report",
    "score",
    "gcc",
    "labels",
    "fetch",
    "update",
    "doctor",
    "train",
)
SLOW = ("reproduce", "evaluate", "demo")


def examples(name):
    """Command lines of a command's help."""
    paragraphs = re.split(r"\n\s*\n", COMMANDS[name].help)
    words = (" ".join(paragraph.split()) for paragraph in paragraphs)
    return [found[1] for one in words if (found := re.match(r"[^`]*?: (deepcrop .*)", one))]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_of_itself(name):
    assert examples(name)
    assert all(one.startswith(f"deepcrop {name}") for one in examples(name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the repository's examples, of data, and of all that the examples make."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("examples")
    with archives(folder) as (environment, data), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("COLUMNS", "200")
        (folder / "examples").symlink_to(ROOT / "examples")
        write_mask(folder / "mead2_AG_1000_01.tif")
        write_jpeg(folder / "images", "mead2_2020_06_02_120000", (90, 110, 50))
        (folder / "phenocam").symlink_to(data / "phenocam" / "series")
        patch.chdir(folder)
        yield folder


@pytest.fixture
def short_training(monkeypatch):
    from deepcrop.studies import paper_experiment, paper_settings
    from deepcrop.training import fit as fitting
    from deepcrop.training import run_experiment

    whole = fitting.fit

    def fit(network, train, valid, settings, *rest, **more):
        short = replace(settings, steps=2, eval_interval=1)
        return whole(network, train, valid, short, *rest, **more)

    monkeypatch.setattr(run_experiment, "fit", fit)
    monkeypatch.setattr(paper_experiment, "fit", fit)
    monkeypatch.setattr(paper_settings, "METHODS", ("optical-only",))
    for module in ("report.page", "figures.style"):
        monkeypatch.setattr(f"deepcrop.{module}.DPI", 40)


def run(line, monkeypatch):
    """Run a command line in this process, as the shell would split it; returns the exit status."""
    words = shlex.split(line)
    words = [one for word in words for one in sorted(glob.glob(word)) or [word]]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0


@pytest.mark.slow
def test_examples_work_as_printed(folder, short_training, monkeypatch, capsys):
    for name in ORDER:
        for line in examples(name):
            status = run(line, monkeypatch)
            output = capsys.readouterr()
            assert status == 0 or name == "doctor", f"{line}\n{output.out}\n{output.err}"
            assert output.out
    made = (
        "maps/curve/sos50.tif",
        "maps/difference/sos50.tif",
        "maps/report/report.html",
        "dates.csv",
        "accuracy.csv",
        "cameras/mead2_AG_1000_3day.csv",
        "labels.csv",
    )
    made += ("solano.zarr", "issues", "runs/tiny/1_cameras/weights.safetensors")
    assert [one for one in made if not (folder / one).exists()] == []


@pytest.mark.slow
def test_the_example_of_real_files(folder, real_data, monkeypatch):
    monkeypatch.setenv("DEEPCROP_REAL_DATA", str(real_data.resolve()))
    for line in examples("ingest"):
        assert run(line, monkeypatch) == 0


@pytest.mark.large  # trains, evaluates and reproduces: six minutes
def test_the_examples_that_take_longer(folder, short_training, monkeypatch):
    for name in SLOW:
        for line in examples(name):
            assert run(line, monkeypatch) == 0, line
    made = ("reproduced/report.html", "scores/report.html", "scores/tables/methods.csv")
    made += ("demo/comparison.png",)
    assert [one for one in made if not (folder / one).exists()] == []
    for line in examples("view"):  # of what the demo has made
        words = [sys.executable, "-m", "deepcrop", *shlex.split(line)[1:]]
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT / "src")}
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as viewer:
            try:
                assert "http://127.0.0.1" in viewer.stdout.readline()
            finally:
                viewer.send_signal(signal.SIGINT)


def test_no_example_is_forgotten():
    # `safe` needs products of Sentinel-1; tests/cli/test_safe.py runs it on simulated ones.
    assert {*ORDER, *SLOW, "ingest", "view", "safe"} == set(COMMANDS)
