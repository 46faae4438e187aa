import subprocess
import sys

import pytest
from typer.testing import CliRunner

from deepcrop import cli
from deepcrop.cli import networks
from deepcrop.errors import DeepCropError


def test_the_command_line_starts_without_torch():
    words = "import deepcrop.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], timeout=120, check=False).returncode == 0


@pytest.mark.parametrize("command", ["evaluate", "reproduce"])
def test_help_has_an_example(command):
    shown = CliRunner().invoke(cli.app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"deepcrop {command} --" in shown.output


def test_what_to_score_must_be_said_once(tmp_path):
    with pytest.raises(DeepCropError, match=r"Give one of --samples SET\.npz and --real"):
        networks.evaluate(out=tmp_path)
    with pytest.raises(DeepCropError, match="Give one of"):
        networks.evaluate(out=tmp_path, samples=tmp_path / "a.npz", real=True)
    with pytest.raises(DeepCropError, match="--real needs --data"):
        networks.evaluate(out=tmp_path, real=True)
    with pytest.raises(DeepCropError, match="--all-sites is for --samples"):
        networks.evaluate(out=tmp_path, real=True, data=tmp_path, all_sites=True)


@pytest.mark.parametrize(
    ("name", "value"), [("data", "DATA"), ("without_radar", "w.safetensors"), ("overwrite", None)]
)
def test_what_only_the_real_archives_know_is_refused_without_them(name, value, tmp_path):
    option = f"--{name.replace('_', '-')}"
    line = ["evaluate", "--samples", "a.npz", "--out", str(tmp_path), option]
    shown = CliRunner().invoke(cli.app, line if value is None else [*line, value])
    assert isinstance(shown.exception, DeepCropError)
    assert f"{option}: only with --real" in str(shown.exception)


def test_horizons_have_no_options_of_full_seasons(tmp_path):
    line = ["evaluate", "--samples", "a.npz", "--out", str(tmp_path), "--horizons"]
    shown = CliRunner().invoke(cli.app, [*line, "--all-sites"])
    assert "--all-sites: not with --horizons" in str(shown.exception)
    shown = CliRunner().invoke(cli.app, line)
    assert "a.npz: No such file or directory; expected samples" in str(shown.exception)


def test_real_archives_are_passed_on(tmp_path, monkeypatch):
    from deepcrop.studies import real_satellites

    asked = []
    monkeypatch.setattr(
        real_satellites, "report", lambda *given, overwrite: asked.append((*given, overwrite))
    )
    data, other = tmp_path / "data", tmp_path / "optical.safetensors"
    networks.evaluate(out=tmp_path, real=True, data=data)
    networks.evaluate(out=tmp_path, real=True, data=data, overwrite=True)
    line = ["evaluate", "--real", "--data", str(data), "--out", str(tmp_path)]
    assert CliRunner().invoke(cli.app, [*line, "--without-radar", str(other)]).exit_code == 0
    assert asked == [
        (data, None, tmp_path, None, False), (data, None, tmp_path, None, True),
        (data, None, tmp_path, other, False),
    ]  # fmt: skip


def test_options_become_an_experiment(tmp_path, monkeypatch):
    from deepcrop.studies import paper_experiment, paper_settings

    asked = []

    def fake(given):
        asked.append(given)
        (tmp_path / "tables").mkdir(exist_ok=True)
        (tmp_path / "tables" / "methods.md").write_text("the table")
        return tmp_path / "report.md"

    monkeypatch.setattr(paper_experiment, "reproduce", fake)
    start = ["reproduce", "--data", str(tmp_path), "--out", str(tmp_path)]
    shown = CliRunner().invoke(cli.app, start)
    assert shown.exit_code == 0, shown.output
    assert "the table" in shown.output
    assert "report.md" in shown.output
    more = ["--methods", "paper, default,paper", "--seeds", "2", "--folds", "8", "--archive", "pc"]
    CliRunner().invoke(cli.app, [*start, *more, "--repeats", "3", "--workers", "2"])
    assert asked == [
        paper_settings.PaperExperiment("simulated", tmp_path, tmp_path),
        paper_settings.PaperExperiment("pc", tmp_path, tmp_path, ("paper", "default"), 2, 3, 8, 2),
    ]
    with pytest.raises(DeepCropError, match="Methods magic are unknown"):
        networks.reproduce(data=tmp_path, out=tmp_path, methods="magic")
