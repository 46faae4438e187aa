"""The demonstration, on a region small enough for a test."""

import pytest

from deepcrop.cli import demonstration
from deepcrop.simulation import Region


def test_the_time_left_follows_the_pace_of_the_steps_before(monkeypatch, capsys):
    first, *others = demonstration.STEPS.values()
    clock = iter([0.0, 2.0 * first, 2.0 * first, 470.0])
    monkeypatch.setattr(demonstration.time, "monotonic", lambda: next(clock))
    list(demonstration._steps())
    lines = capsys.readouterr().err.splitlines()
    left = 2 * sum(others)  # the first step took twice what was expected
    assert f"(about {left // 60} min {left % 60:02d} s left)" in lines[1]
    assert lines[len(demonstration.STEPS)] == "Done in 7 min 50 s."


@pytest.mark.slow
def test_the_demo_ends_with_a_table_and_a_picture(tmp_path, capsys):
    pytest.importorskip("torch")
    region = Region(rows=48, cols=64, seed=4, optical_scenes=30, sar_scenes=12)
    for _ in range(2):  # a second time over the first
        demonstration.make_demo(tmp_path / "demo", region)
        said = capsys.readouterr()
        for words in ("NDVI curve", "network", "difference", "as written", "SIMULATED DATA"):
            assert words in said.out
        assert "Step 3 of 3" in said.err
    made = ("comparison.png", "comparison.md", "accuracy_curve.csv", "accuracy_deepcrop.csv")
    made += ("maps/curve/sos50.tif", "maps/deepcrop/sos50.tif")
    assert [name for name in made if not (tmp_path / "demo" / name).exists()] == []
