import subprocess
import sys

import pytest
from typer.testing import CliRunner

from deepcrop import cli, cli_network
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
        cli_network.evaluate(out=tmp_path)
    with pytest.raises(DeepCropError, match="Give one of"):
        cli_network.evaluate(out=tmp_path, samples=tmp_path / "a.npz", real=True)
    with pytest.raises(DeepCropError, match="--real needs --data"):
        cli_network.evaluate(out=tmp_path, real=True)


def test_real_archives_are_passed_on(tmp_path, monkeypatch):
    from deepcrop import real

    asked = []
    monkeypatch.setattr(real, "report", lambda *given: asked.append(given))
    cli_network.evaluate(out=tmp_path, real=True, data=tmp_path / "data")
    cli_network.evaluate(out=tmp_path, real=True, data=tmp_path / "data", overwrite=True)
    assert [one[:3] for one in asked] == 2 * [(tmp_path / "data", None, tmp_path)]
    assert [one[-1] for one in asked] == [False, True]


def test_options_become_a_study(tmp_path, monkeypatch):
    from deepcrop import reproduce, study

    asked = []

    def fake(given):
        asked.append(given)
        (tmp_path / "tables").mkdir(exist_ok=True)
        (tmp_path / "tables" / "methods.md").write_text("the table")
        return tmp_path / "report.md"

    monkeypatch.setattr(reproduce, "reproduce", fake)
    start = ["reproduce", "--data", str(tmp_path), "--out", str(tmp_path)]
    shown = CliRunner().invoke(cli.app, start)
    assert shown.exit_code == 0, shown.output
    assert "the table" in shown.output
    assert "report.md" in shown.output
    more = ["--methods", "paper, default,paper", "--seeds", "2", "--folds", "8", "--archive", "pc"]
    CliRunner().invoke(cli.app, [*start, *more, "--realisations", "3", "--workers", "2"])
    assert asked == [
        study.Study("simulated", tmp_path, tmp_path),
        study.Study("pc", tmp_path, tmp_path, ("paper", "default"), 2, 3, 8, 2),
    ]
    with pytest.raises(DeepCropError, match="Methods magic are unknown"):
        cli_network.reproduce(data=tmp_path, out=tmp_path, methods="magic")
