"""The order of imports between the rooms holds, and an import against the order is found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def package(tmp_path) -> Path:
    """A copy of the package's Python files, beside the contract."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def only_python(folder, names):
        return [name for name in names if not (Path(folder, name).is_dir() or name.endswith(".py"))]

    return Path(shutil.copytree(ROOT / "src/deepcrop", tmp_path / "deepcrop", ignore=only_python))


def check_imports(package: Path) -> subprocess.CompletedProcess:
    command = "from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_room_imports_against_the_order(package):
    done = check_imports(package)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("stages.py", "import deepcrop.cube.io", "deepcrop.stages is not allowed to import"),
        (
            "grid/tiles.py",
            "if TYPE_CHECKING:\n    from deepcrop.mapping.region import MapResult",
            "deepcrop.grid is not allowed to import deepcrop.mapping",
        ),
        (
            "report/page.py",
            "def late():\n    from deepcrop.cameras import labels",
            "deepcrop.report is not allowed to import deepcrop.cameras",
        ),
        ("attic.py", "NOTHING = 0", "attic"),  # a module without a room
    ],
)
def test_an_import_against_the_order_is_found(package, file, line, found):
    with (package / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    done = check_imports(package)
    assert done.returncode == 1
    assert found in " ".join(done.stdout.split()), done.stdout
