"""The examples in docstrings run, and each public function has one."""

import doctest
import importlib
import inspect
import shutil
from pathlib import Path

import pytest

import deepcrop

PACKAGE = Path(deepcrop.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("deepcrop", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.fixture
def folder(region_path, tmp_path, monkeypatch):
    """A working folder with ``region.zarr``, a simulated region; examples may read and write it."""
    shutil.copytree(region_path, tmp_path / "region.zarr")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run(module):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testmod(importlib.import_module(module), optionflags=flags)
    assert found.attempted
    assert not found.failed


def test_each_public_function_has_an_example():
    public = [getattr(deepcrop, name) for name in deepcrop.__all__]
    public.append(deepcrop.phenology.extract)
    without = [
        one.__name__
        for one in public
        if inspect.isfunction(one) and ">>> " not in (inspect.getdoc(one) or "")
    ]
    assert without == []
