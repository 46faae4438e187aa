"""Tests stand alone: none imports another, and no module is loaded under two names."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parent


def imports(path):
    """Modules that a file imports, in full words."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{name.name}" for name in node.names)


def test_no_test_imports_another():
    found = [(path, name) for path in sorted(TESTS.rglob("*.py")) for name in imports(path)]
    assert found
    for path, name in found:
        words = f"{path.relative_to(TESTS)} imports {name}"
        assert not name.startswith("."), words
        assert not any(part.startswith("test_") for part in name.split(".")), words
        if name.split(".")[0] == "tests":
            assert name.split(".")[1] in ("helpers", "archive", "fuzz"), words


def test_no_module_has_two_names():
    names = defaultdict(set)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (TESTS in Path(file).parents or "deepcrop" in Path(file).parts):
            names[file].add(name)
    assert {file: found for file, found in names.items() if len(found) > 1} == {}
