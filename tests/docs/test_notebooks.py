"""The notebooks of the documentation run from top to bottom, and print what the pages show."""

import pytest
from tests.helpers.notebooks import PAGES, cells, run, served


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    with served(tmp_path_factory.mktemp("served") / "archives") as found:
        yield found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
@pytest.mark.slow
def test_notebook(path, answers, tmp_path, monkeypatch, request):
    pytest.importorskip("torch")
    if path.stem == "cameras":
        request.getfixturevalue("real_data")  # the page shows a real camera
    environment, data = answers
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "DATA").symlink_to(data)
    outputs = run(path, tmp_path)
    for (code, shown), output in zip(cells(path), outputs, strict=True):
        assert output.strip() == (shown or "").strip(), code


def test_there_are_five_and_each_has_something_to_run():
    assert len(PAGES) == 5
    assert all(len(cells(path)) >= 4 for path in PAGES)
