"""The documentation builds without a warning, and its pages ask for nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from tests.helpers.workspace import ROOT

from deepcrop import cli
from deepcrop.products import layers


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Loads(HTMLParser):
    """Addresses that a browser loads by itself when it shows a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(attrs.get("src") or "")
        if tag == "link" and attrs.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(attrs["href"])


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loads = Loads(page.read_text(encoding="utf-8")).found
        assert loads
        assert not [one for one in loads if re.match(r"(https?:)?//", one)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_equations_are_mathml(site):
    page = (site / "method.html").read_text(encoding="utf-8")
    assert page.count("<math") > 20
    assert "arithmatex" not in page
    assert "\\frac" not in page


@pytest.mark.slow
def test_every_command_and_layer_is_there(site):
    commands = (site / "commands.html").read_text(encoding="utf-8")
    for name in typer.main.get_command(cli.app).commands:
        assert f"deepcrop {name}" in commands
    product = (site / "product.html").read_text(encoding="utf-8")
    for method in (*layers.METHODS, layers.DIFFERENCE):
        for layer in layers.describe(method, 2018):
            assert f"{layer.name}.tif" in product
    assert all(words in product for words in layers.FLAGS.values())
    python = (site / "python.html").read_text(encoding="utf-8")
    for name in (
        "deepcrop.map_seasons",
        "deepcrop.products.results.Result",
        "deepcrop.phenology.extract",
    ):
        assert f'id="{name}"' in python


@pytest.mark.slow
def test_notebooks_can_be_downloaded(site):
    for page in (ROOT / "docs" / "notebooks").glob("*.md"):
        made = json.loads((site / "notebooks" / f"{page.stem}.ipynb").read_text(encoding="utf-8"))
        kinds = [cell["cell_type"] for cell in made["cells"]]
        assert kinds.count("code") >= 4
        assert any(cell.get("outputs") for cell in made["cells"])
        assert f"{page.stem}.ipynb" in (site / "notebooks" / f"{page.stem}.html").read_text()


def test_every_page_is_in_the_contents():
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in contents, page


def test_the_conda_environment_has_what_the_package_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    packages = dict(re.match(r"(\S+)\s*(.*)", one).groups() for one in listed if type(one) is str)
    called = {"matplotlib": "matplotlib-base", "torch": "pytorch", "dask": "dask-core"}
    optional = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *optional["network"],
        *optional["dask"],
        *optional["parcels"],
    ]
    for text in wanted:
        need = Requirement(text)
        name = need.name.lower()
        found = Requirement(f"{name}{packages[called.get(name, name)]}")
        assert found.specifier == need.specifier, name
