"""Relative links and pictures of README, documentation and the like lead to something."""

import re

import pytest
from tests.helpers.pages import PAGES
from tests.helpers.workspace import ROOT

GENERATED = {"docs/commands.md"}
"""Pages that `docs/hooks.py` makes."""


def links(text):
    """Targets of links, pictures and HTML sources; not of code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    found = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    return [target for target in found if not re.match(r"[a-z]+:|//", target)]


def anchors(text):
    """Anchors of the headings, as mkdocs and GitHub name them."""
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    titles = re.findall(r"^#+ +(.*?)(?: *\{.*\})?$", text, re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles)
    named = set(re.findall(r"\{ *#([\w-]+)", text))
    return named | {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", one)).strip("-") for one in plain
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    for target in links(text):
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        if other.is_relative_to(ROOT) and other.relative_to(ROOT).as_posix() in GENERATED:
            continue
        if other.suffix == ".ipynb":  # made from the page of that name
            other = other.with_suffix(".md")
        assert other.exists(), f"{page}: {target}"
        if anchor and other.suffix == ".md":
            assert anchor in anchors(other.read_text(encoding="utf-8")), f"{page}: {target}"
