"""Modules, functions and files that the pages name are there."""

import importlib
import re

import pytest
from tests.helpers.pages import PAGES
from tests.helpers.workspace import ROOT


def exists(name):
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def names(text):
    """Names of the package: in code, in imports, and what is called of imported modules."""
    found = set(re.findall(r"[`\s](deepcrop(?:\.\w+)+)[`(]", text))
    for module, listed in re.findall(
        r"^\s*(?:With `)?from (deepcrop[\w.]*) import ([\w, ]+)", text, re.M
    ):
        for name in listed.split(","):
            whole = f"{module}.{name.split(' as ')[0].strip()}"
            found.add(whole)
            found |= {f"{whole}.{used}" for used in re.findall(rf"\b{name.strip()}\.(\w+)\(", text)}
    return {
        name for name in found if not name.endswith((".json", ".safetensors", ".timer", ".service"))
    }


def test_what_is_a_name():
    text = (
        "With `from deepcrop.training import samples`,\n\n    samples.save(x)\n`deepcrop.nothing`"
    )
    assert names(text) == {
        "deepcrop.training.samples",
        "deepcrop.training.samples.save",
        "deepcrop.nothing",
    }
    assert exists("deepcrop.training.samples.save")
    assert not exists("deepcrop.nothing")


@pytest.mark.parametrize("page", PAGES)
def test_names_of_the_package_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [name for name in sorted(names(text)) if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_repository_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"\b((?:src|tests|benchmarks|examples)/[\w./-]+\.\w+)\b", text)
    assert [path for path in sorted(set(named)) if not (ROOT / path).exists()] == []
