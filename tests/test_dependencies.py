"""Each package that the code imports is declared, in core or in the extra that needs it."""

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "deepcrop"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

WHOLE = {
    "network": (
        "network", "training", "studies", "evaluation/weights_report.py",
        "evaluation/horizon_report.py",
    ),
    "viewer": ("viewer",),
}  # fmt: skip
"""Packages and modules that cannot be imported without an extra."""

WITHIN = {
    "dask": ("mapping/lazy.py",),
    "cluster": ("mapping/dask_cluster.py",),
    "parcels": ("mapping/parcels.py", "products/fields.py"),
    "labels": ("cameras/label_table.py", "training/real_excerpts.py"),
    "earthengine": ("sources/earthengine",),
    "network": ("cli/maps.py", "mapping/dask_cluster.py", "viewer/pixel_distribution.py"),
    "safe": ("sources/safe",),
}
"""Packages and modules that import packages of an extra within functions."""


def declared(requirements) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


CORE = declared(PROJECT["project"]["dependencies"])
EXTRAS = {
    name: declared(texts) for name, texts in PROJECT["project"]["optional-dependencies"].items()
}


def imports(body, deferred: bool = False) -> Iterator[tuple[str, bool]]:
    """Give each module that is imported, and whether only when asked for or for its types."""
    for node in ast.iter_child_nodes(body):
        inner = (
            deferred
            or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        )
        match node:
            case ast.Import():
                yield from ((alias.name, deferred) for alias in node.names)
            case ast.ImportFrom(level=0):
                yield from ((f"{node.module}.{alias.name}", deferred) for alias in node.names)
            case ast.Call(args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(node.func).endswith("import_module"):
                    yield name, deferred
        yield from imports(node, inner)


def in_rooms(module: str, rooms) -> bool:
    return any(module == room or module.startswith(f"{room}/") for room in rooms)


def undeclared(module: str, source: str, providers) -> list[str]:
    """List imports of packages that neither core nor an extra of this module declares."""
    whole = {extra for extra, rooms in WHOLE.items() if in_rooms(module, rooms)}
    within = {extra for extra, rooms in WITHIN.items() if in_rooms(module, rooms)}
    found = []
    for name, deferred in imports(ast.parse(source)):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top == "deepcrop":
            continue
        extras = whole | within if deferred else whole
        allowed = CORE.union(*(EXTRAS[extra] for extra in extras))
        if not allowed & providers(name):
            found.append(name)
    return found


@pytest.fixture(scope="module")
def providers():
    """A function that names the distributions which hold a module."""
    for name in set().union(*EXTRAS.values()):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed; this test needs all extras")
    distributions = importlib.metadata.packages_distributions()
    files: dict[str, set[str]] = {}

    def find(name: str) -> set[str]:
        top, _, rest = name.partition(".")
        candidates = set(distributions.get(top, ()))
        if len(candidates) > 1:  # a namespace such as google: whose files hold this module?
            folder = f"{top}/{rest.partition('.')[0]}"
            for one in candidates - set(files):
                files[one] = {
                    "/".join(path.with_suffix("").parts[:2])
                    for path in importlib.metadata.files(one) or ()
                }
            candidates = {one for one in candidates if folder in files[one]}
        # A package of the module's own name may only require the one that holds the files: pystac.
        return {canonicalize_name(one) for one in (*candidates, top)}

    return find


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def test_each_import_is_declared(providers):
    found = {
        module: names
        for module in MODULES
        if (names := undeclared(module, (PACKAGE / module).read_text(encoding="utf-8"), providers))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("mapping/region.py", "import torch", ["torch"]),
        ("mapping/region.py", "def run():\n    import torch", ["torch"]),
        ("mapping/region.py", "import scipy.signal", ["scipy.signal"]),
        ("sources/earthengine/connection.py", "import ee", ["ee"]),
        ("sources/earthengine/connection.py", "def ask():\n    import ee", []),
        (
            "sources/earthengine/connection.py",
            "def ask():\n    from google.auth import default",
            [],
        ),
        ("sources/earthengine/connection.py", "def ask():\n    import google.cloud.storage", None),
        ("cameras/label_table.py", "importlib.import_module('pyarrow.parquet')", None),
        ("network/model.py", "import torch", []),
    ],
)
def test_an_import_that_is_not_declared_is_found(module, source, expected, providers):
    found = undeclared(module, source, providers)
    assert found if expected is None else found == expected


@pytest.mark.parametrize("table", [WHOLE, WITHIN])
def test_the_modules_of_extras_exist(table):
    assert set(table) <= set(EXTRAS)
    for rooms in table.values():
        for room in rooms:
            assert (PACKAGE / room).exists(), room


def test_each_extra_is_installed_for_development():
    group = PROJECT["dependency-groups"]["dev"]
    own = next(one for one in group if isinstance(one, str) and one.startswith("deepcrop["))
    assert Requirement(own).extras == set(EXTRAS)
