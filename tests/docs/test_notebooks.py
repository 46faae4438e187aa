"""The notebooks of the documentation run from top to bottom, as printed."""

import re

import matplotlib.pyplot as plt
import pytest
from tests.helpers.workspace import ROOT, archives

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.md"))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with archives(tmp_path_factory.mktemp("archives")) as found:
        yield found


def cells(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.slow
def test_notebook(path, served, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    environment, data = served
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").symlink_to(data)
    space = {}
    for cell in cells(path):
        try:
            exec(compile(cell, str(path), "exec"), space)
        except Exception as error:
            raise AssertionError(f"{path.name}:\n{cell}") from error
        plt.close("all")
    assert "NaN" not in capsys.readouterr().out.replace("nan", "NaN")


def test_there_are_five_and_each_has_something_to_run():
    assert len(NOTEBOOKS) == 5
    assert all(len(cells(path)) >= 4 for path in NOTEBOOKS)
