"""The wheel holds all that the package needs at work, and the licences of what it holds."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes

import pytest
from tests.helpers.workspace import ROOT

from deepcrop import __version__

pytestmark = pytest.mark.slow

TRACKED = ("*.py", "*.safetensors", "*.csv", "*.yaml", "*.css", "*.html", "*.js", "*.mjs", "*.svg")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the wheel and the sdist."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built / f"deepcrop-{__version__}-py3-none-any.whl") as file:
        yield file


def test_the_wheel_has_code_weights_templates_and_front_end(wheel):
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for pattern in TRACKED
        for path in (source / "deepcrop").rglob(pattern)
    }
    expected.add("deepcrop/py.typed")
    found = set(wheel.namelist())
    assert expected <= found
    assert not [name for name in found if name.startswith(("tests/", "docs/", "benchmarks/"))]
    assert not [name for name in found if name.endswith((".nbi", ".nbc", ".pyc", ".stamp"))]
    assert {
        "deepcrop/network/default.safetensors",
        "deepcrop/report/templates/report.html",
    } <= found
    assert sum(one.compress_size for one in wheel.infolist()) < 5e6


def test_the_wheel_has_the_licences(wheel):
    folder = f"deepcrop-{__version__}.dist-info/licenses"
    vendored = sorted((ROOT / "src/deepcrop/viewer/static/vendor").iterdir())
    assert wheel.read(f"{folder}/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert vendored
    for package in vendored:
        name = f"{package.relative_to(ROOT).as_posix()}/LICENSE.txt"
        assert wheel.read(f"{folder}/{name}") == (ROOT / name).read_bytes()


def test_the_metadata_names_version_command_and_licence(wheel):
    folder = f"deepcrop-{__version__}.dist-info"
    about = message_from_bytes(wheel.read(f"{folder}/METADATA"))
    assert (about["Name"], about["Version"]) == ("deepcrop", __version__)
    assert about["License-Expression"] == "Apache-2.0"
    assert "torch" not in " ".join(
        one for one in about.get_all("Requires-Dist") if "extra ==" not in one
    )
    assert "deepcrop = deepcrop.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()


def test_the_sdist_has_what_the_tests_need(built):
    with tarfile.open(built / f"deepcrop-{__version__}.tar.gz") as file:
        found = {name.partition("/")[2] for name in file.getnames()}
    assert {
        "CITATION.cff", "LICENSE", "constraints.txt", "examples/points.csv", "tests/conftest.py",
        "docs/index.md", "benchmarks/ground_dates.py",
    } <= found  # fmt: skip


def test_the_citation_has_the_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in text
